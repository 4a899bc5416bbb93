// Several shards on the queue pairs of one port in memory, in virtual time, for IPv4 and IPv6.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/support/family.h"
#include "tests/support/segment_builder.h"

namespace usher::test {

// Accepts only when it is told to.
struct Doorman : Application {
  void OnAcceptable(Acceptor a) override { acceptor = a; }
  Acceptor acceptor;
};

class ShardedStackTest : public testing::TestWithParam<Family> {
 protected:
  static constexpr uint16_t kPort = 80;
  static constexpr uint32_t kHosts = 16;

  void Make(uint32_t shards, const PortCapabilities& capabilities = {},
            StackOptions options = {.max_connections = 4096}) {
    std::vector<std::vector<ShardInterface>> interfaces(shards);
    for (uint32_t i = 0; i < shards; ++i) {
      pools_.push_back(std::make_unique<HeapPool>(1024));
      ports_.push_back(std::make_unique<MemoryPort>(*pools_[i], kOurMac, capabilities));
      InterfaceConfig config;
      config.addresses = {{Ip("198.18.0.2"), 15}, {Ip("2001:2::2"), 48}};
      config.announce = i == 0;
      config.dad_transmits = 0;
      interfaces[i].push_back({ports_[i].get(), config});
    }
    auto stack = Stack::Create(options, interfaces, random_);
    ASSERT_TRUE(stack.ok()) << stack.status();
    stack_ = *std::move(stack);
    for (uint32_t i = 0; i < shards; ++i) {
      Shard& s = stack_->shard(i);
      s.Start(now_);
      for (uint32_t host = 1; host <= kHosts; ++host)
        s.interface(0).SetPermanentNeighbour(now_, Host(host), kPeerMac);
    }
    Forget();
  }

  uint32_t count() const { return stack_->shard_count(); }
  Shard& shard(uint32_t i) { return stack_->shard(i); }
  uint64_t Get(uint32_t i, Counter c) { return shard(i).counters().Get(c); }

  // Of the peer, from 1 on.
  static IpAddress Host(uint32_t number) {
    return GetParam() == Family::kIpv6 ? Ip("2001:2::1:" + std::to_string(number))
                                       : IpAddress::V4(0xc6120100 + number);
  }
  // The `i`th client.
  static FourTuple Client(uint32_t i) {
    return {Ip(GetParam() == Family::kIpv6 ? "2001:2::2" : "198.18.0.2"), Host(1 + i % kHosts),
            kPort, static_cast<uint16_t>(20000 + i)};
  }

  void Give(uint32_t queue, const Bytes& frame) { ASSERT_TRUE(ports_[queue]->Inject(frame)); }
  // Polls all of them until what they say to each other has been heard.
  void Poll(int rounds = 4) {
    for (int round = 0; round < rounds; ++round)
      for (uint32_t i = 0; i < count(); ++i) stack_->Poll(i, now_);
  }
  void Forget() {
    for (auto& port : ports_)
      while (!port->TakeSent().empty()) {
      }
  }
  // What was sent by queue `i`.
  std::vector<SentTcp> Sent(uint32_t i) {
    std::vector<SentTcp> all;
    for (auto f = ports_[i]->TakeSent(); !f.empty(); f = ports_[i]->TakeSent())
      if (const auto s = ParseSent(f)) all.push_back(*s);
    return all;
  }

  Instant now_ = Instant::FromNanos(1'000'000'000);
  SeededRandom random_{1};
  std::vector<std::unique_ptr<HeapPool>> pools_;
  std::vector<std::unique_ptr<MemoryPort>> ports_;
  std::unique_ptr<Stack> stack_;
};

}  // namespace usher::test
