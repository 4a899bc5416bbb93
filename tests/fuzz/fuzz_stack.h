// A whole stack over the memory port, for fuzz targets: one shard, both families, virtual time.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/tcp.h"

namespace usher::fuzz {

// A violated invariant ends the run as a crash does: libFuzzer keeps the input.
inline void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

inline const MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
inline const MacAddress kPeerMac{{2, 0, 0, 0, 0, 2}};
inline const IpAddress kOurs = *IpAddress::Parse("198.18.0.2");
inline const IpAddress kPeer = *IpAddress::Parse("198.18.0.1");
inline const IpAddress kOurs6 = *IpAddress::Parse("2001:2::2");
inline const IpAddress kPeer6 = *IpAddress::Parse("2001:2::1");

class FuzzStack {
 public:
  static constexpr uint32_t kBuffers = 512;

  // Small tables, so that thousands of stacks can be made in a second, and so that they fill.
  explicit FuzzStack(StackOptions options = {}) {
    options.max_connections = 16;
    options.sysctls.tcp_mem = {256, 384, 512};
    options.sysctls.tcp_max_tw_buckets = 8;
    options.passive_open.max_listeners = 4;
    options.passive_open.max_requests = 16;
    options.passive_open.max_parked_acks = 4;
    options.passive_open.max_saved_syns = 4;
    options.passive_open.max_fast_open_resets = 4;
    options.network.neighbours_confirmed = 16;
    options.network.neighbours_offered = 8;
    options.network.neighbours_resolving = 8;
    options.network.reassembly_datagrams = 4;
    options.network.reassembly_per_source = 3;
    options.network.tx_backlog = 64;
    InterfaceConfig config;
    config.addresses = {{kOurs, 15}, {kOurs6, 48}};
    config.dad_transmits = 0;
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port_, config}}};
    auto stack = Stack::Create(options, interfaces, random_);
    Require(stack.ok(), "a stack can be made");
    stack_ = *std::move(stack);
    stack_->Start(0, now_);
    shard().interface(0).SetPermanentNeighbour(now_, kPeer, kPeerMac);
    shard().interface(0).SetPermanentNeighbour(now_, kPeer6, kPeerMac);
    Poll();
  }
  // Every buffer is back where it came from.
  ~FuzzStack() {
    while (!TakeSent().empty()) {
    }
    stack_.reset();
    Require(pool_.available() == kBuffers, "all packet buffers are given back");
  }

  Stack& stack() { return *stack_; }
  Shard& shard() { return stack_->shard(0); }
  Instant now() const { return now_; }

  void Give(std::span<const uint8_t> frame) {
    port_.Inject(frame);  // a frame longer than a buffer no port would deliver
  }
  void Poll() { stack_->Poll(0, now_); }
  void Advance(Duration d) {
    now_ = now_ + d;
    Poll();
  }
  std::vector<uint8_t> TakeSent() { return port_.TakeSent(); }

 private:
  Instant now_ = Instant::FromNanos(1'000'000'000);
  HeapPool pool_{kBuffers};
  MemoryPort port_{pool_, kOurMac};
  SeededRandom random_{1};
  std::unique_ptr<Stack> stack_;
};

// `l4` in an IP packet in a frame from the peer to us; the IP header is right.
inline std::vector<uint8_t> FrameOf(bool v4, uint8_t protocol, std::span<const uint8_t> l4,
                                    uint8_t tos = 0, uint8_t hop_limit = 64) {
  const size_t ip_size = v4 ? size_t{Ipv4Header::kSize} : size_t{Ipv6Header::kSize};
  std::vector<uint8_t> frame(EthernetView::kHeaderSize + ip_size + l4.size());
  EthernetHeader{.dst = kOurMac, .src = kPeerMac, .type = v4 ? EtherType::kIpv4 : EtherType::kIpv6}
      .Emit(frame.data());
  uint8_t* ip = frame.data() + EthernetView::kHeaderSize;
  const auto length = static_cast<uint16_t>(l4.size());
  if (v4) {
    Ipv4Header{.src = kPeer,
               .dst = kOurs,
               .payload_length = length,
               .protocol = protocol,
               .ttl = hop_limit,
               .dscp_ecn = tos}
        .Emit(ip);
  } else {
    Ipv6Header{.src = kPeer6,
               .dst = kOurs6,
               .payload_length = length,
               .next_header = protocol,
               .hop_limit = hop_limit,
               .traffic_class = tos}
        .Emit(ip);
  }
  std::copy(l4.begin(), l4.end(), ip + ip_size);
  return frame;
}

}  // namespace usher::fuzz
