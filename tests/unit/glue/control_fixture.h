// A stack over memory ports, polled by a thread, with listeners that nobody accepts from.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/tcp.h"

namespace usher {

class ControlTest : public testing::Test, public Application {
 protected:
  static constexpr MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
  static constexpr MacAddress kPeerMac{{2, 0, 0, 0, 0, 2}};
  static constexpr uint16_t kPort = 80;
  const IpAddress kOurs = IpAddress::V4(0xc6120002);
  const IpAddress kPeer = IpAddress::V4(0xc6120001);

  void SetUp() override { Make(2); }

  void Make(uint32_t shards, uint32_t max_connections = 4096) {
    StackOptions options;
    options.max_connections = max_connections;
    options.sysctls.tcp_max_syn_backlog = 128;
    InterfaceConfig config;
    config.addresses = {{kOurs, 15}};
    std::vector<std::vector<ShardInterface>> interfaces;
    for (uint32_t i = 0; i < shards; ++i) {
      // As if the port spread flows itself: each shard keeps what it is given.
      ports_.push_back(std::make_unique<MemoryPort>(pool_, kOurMac, PortCapabilities{.rss = true}));
      interfaces.push_back({ShardInterface{ports_.back().get(), config}});
    }
    auto stack = Stack::Create(options, interfaces, random_);
    ASSERT_TRUE(stack.ok()) << stack.status();
    stack_ = *std::move(stack);
    for (uint32_t i = 0; i < shards; ++i) {
      stack_->shard(i).interface(0).SetPermanentNeighbour(now_, kPeer, kPeerMac);
    }
    ListenSpec spec;
    spec.address = IpAddress::V4(0);
    spec.port = kPort;
    spec.backlog = 5;
    ASSERT_TRUE(stack_->Listen(spec, *this).ok());
  }

  void TearDown() override {
    StopPolling();
    stack_.reset();
    ports_.clear();
  }

  // From now on the stack belongs to a thread; time stands still.
  void StartPolling() {
    poller_ = std::thread([this] {
      while (!stop_polling_) {
        for (uint32_t i = 0; i < stack_->shard_count(); ++i) stack_->Poll(i, now_);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    });
  }
  void StopPolling() {
    stop_polling_ = true;
    if (poller_.joinable()) poller_.join();
  }

  // Before StartPolling: a segment from the peer's `port` to shard i, and the first answer.
  std::vector<uint8_t> Send(uint32_t i, uint16_t port, uint16_t flags, uint32_t seq, uint32_t ack) {
    std::vector<uint8_t> f(14 + 20 + 60);
    EthernetHeader{.dst = kOurMac, .src = kPeerMac, .type = EtherType::kIpv4}.Emit(f.data());
    TcpHeader h;
    h.src_port = port;
    h.dst_port = kPort;
    h.seq = Seq(seq);
    h.ack = Seq(ack);
    h.flags = flags;
    h.window = 65535;
    const size_t header = h.Emit(f.data() + 34, TcpOptions{});
    f.resize(34 + header);
    Ipv4Header ip;
    ip.src = kPeer;
    ip.dst = kOurs;
    ip.payload_length = static_cast<uint16_t>(f.size() - 34);
    ip.Emit(f.data() + 14);
    FillTcpChecksum(f.data() + 34, f.size() - 34, kPeer, kOurs);
    EXPECT_TRUE(ports_[i]->Inject(f));
    stack_->Poll(i, now_);
    std::vector<uint8_t> answer = ports_[i]->TakeSent();
    while (ports_[i]->sent_count() != 0) ports_[i]->TakeSent();
    return answer;
  }

  // Before StartPolling: half a handshake with shard i; returns our ISS.
  uint32_t SendSyn(uint32_t i, uint16_t port) {
    const std::vector<uint8_t> answer = Send(i, port, TcpFlags::kSyn, 1000, 0);
    if (answer.size() < 54) return 0;
    const auto tcp = TcpView::Parse(Ipv4View::Parse(std::span(answer).subspan(14))->payload());
    return tcp->seq().value();
  }
  // The whole of it.
  void Connect(uint32_t i, uint16_t port) {
    const uint32_t iss = SendSyn(i, port);
    Send(i, port, TcpFlags::kAck, 1001, iss + 1);
  }

  HeapPool pool_{1024};
  std::vector<std::unique_ptr<MemoryPort>> ports_;
  SeededRandom random_{1};
  Instant now_ = Instant::FromNanos(1'000'000'000'000);
  std::unique_ptr<Stack> stack_;
  std::atomic<bool> stop_polling_ = false;
  std::thread poller_;
};

}  // namespace usher
