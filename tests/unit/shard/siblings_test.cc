// What one queue receives and every shard must know.

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "stack/wire/arp.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/icmpv6.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/ndp.h"
#include "stack/wire/tcp.h"

namespace usher {
namespace {

constexpr MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress kPeerMac{{2, 0, 0, 0, 0, 2}};
const IpAddress kOurs = *IpAddress::Parse("198.18.0.2");
const IpAddress kPeer = *IpAddress::Parse("198.18.0.1");
const IpAddress kOurs6 = *IpAddress::Parse("2001:2::2");
const IpAddress kPeer6 = *IpAddress::Parse("2001:2::1");

struct NoOne : Application {};

// Two shards on two queue pairs of one port.
class SiblingsTest : public testing::Test {
 protected:
  SiblingsTest() {
    StackOptions options;
    options.max_connections = 64;
    std::vector<std::vector<ShardInterface>> interfaces(2);
    for (size_t i = 0; i < 2; ++i) {
      InterfaceConfig config;
      config.addresses = {{kOurs, 15}, {kOurs6, 48}};
      config.announce = i == 0;
      config.dad_transmits = 0;
      interfaces[i].push_back({&ports_[i], config});
      before_[i] = pools_[i].available();
    }
    auto stack = Stack::Create(options, interfaces, random_);
    EXPECT_TRUE(stack.ok()) << stack.status();
    stack_ = *std::move(stack);
    for (uint32_t i = 0; i < 2; ++i) stack_->shard(i).Start(now_);
    Forget();
  }

  void Poll() {
    for (uint32_t round = 0; round < 2; ++round)
      for (uint32_t i = 0; i < 2; ++i) stack_->Poll(i, now_);
  }
  void Forget() {
    for (MemoryPort& port : ports_)
      while (!port.TakeSent().empty()) {
      }
  }
  NeighbourState StateAt(uint32_t shard, const IpAddress& address) {
    return stack_->shard(shard).interface(0).neighbours().StateOf(now_, address);
  }
  // Shard `i` opens a connection, which needs the peer's link address.
  void Connect(uint32_t i, const IpAddress& to) {
    Connection c;
    ASSERT_EQ(stack_->Connect(i, to, 80, application_, &c), Error::kNone);
    Poll();
    ASSERT_EQ(StateAt(i, to), NeighbourState::kIncomplete);
    Forget();
  }
  // The destination port of the first TCP segment that shard `i` has sent, over IPv4 or IPv6.
  std::optional<uint16_t> SentTo(uint32_t i) {
    for (auto f = ports_[i].TakeSent(); !f.empty(); f = ports_[i].TakeSent()) {
      const auto v4 = Ipv4View::Parse(std::span(f).subspan(14));
      const auto v6 = Ipv6View::Parse(std::span(f).subspan(14));
      const ByteSpan payload = v4 ? v4->payload() : v6 ? v6->payload() : ByteSpan();
      const auto tcp = TcpView::Parse(payload);
      if (tcp) return tcp->dst_port();
    }
    return std::nullopt;
  }

  NoOne application_;
  Instant now_ = Instant::FromNanos(1'000'000'000);
  HeapPool pools_[2] = {HeapPool(256), HeapPool(256)};
  MemoryPort ports_[2] = {MemoryPort(pools_[0], kOurMac), MemoryPort(pools_[1], kOurMac)};
  uint32_t before_[2];
  SeededRandom random_{1};
  std::unique_ptr<Stack> stack_;
};

std::vector<uint8_t> ArpReply() {
  std::vector<uint8_t> f(14 + ArpPacket::kSize);
  EthernetHeader{.dst = kOurMac, .src = kPeerMac, .type = EtherType::kArp}.Emit(f.data());
  ArpPacket{.operation = ArpOperation::kReply,
            .sender_mac = kPeerMac,
            .sender_ip = kPeer,
            .target_mac = kOurMac,
            .target_ip = kOurs}
      .Emit(f.data() + 14);
  return f;
}

TEST_F(SiblingsTest, ArpReplyAtTheOtherQueueIsHeard) {
  Connect(1, kPeer);
  ASSERT_TRUE(ports_[0].Inject(ArpReply()));
  Poll();
  EXPECT_EQ(StateAt(1, kPeer), NeighbourState::kReachable);
  EXPECT_EQ(SentTo(1), 80);  // the SYN that waited
  // Once: what is relayed is not relayed back.
  EXPECT_EQ(stack_->shard(1).counters().Get(Counter::UsherHandedOverIn), 1u);
  Poll();
  EXPECT_EQ(stack_->shard(0).counters().Get(Counter::UsherHandedOverIn), 0u);
}

TEST_F(SiblingsTest, NeighbourAdvertisementAtTheOtherQueueIsHeard) {
  Connect(0, kPeer6);
  std::vector<uint8_t> f(14 + 40 + 64);
  EthernetHeader{.dst = kOurMac, .src = kPeerMac, .type = EtherType::kIpv6}.Emit(f.data());
  const size_t size =
      NeighborAdvertisement{
          .target = kPeer6, .target_mac = kPeerMac, .solicited = true, .override_entry = true}
          .Emit(f.data() + 54);
  f.resize(54 + size);
  Ipv6Header{.src = kPeer6,
             .dst = kOurs6,
             .payload_length = static_cast<uint16_t>(size),
             .next_header = IpProtocol::kIcmpv6,
             .hop_limit = 255}
      .Emit(f.data() + 14);
  FillIcmpv6Checksum(f.data() + 54, size, kPeer6, kOurs6);
  ASSERT_TRUE(ports_[1].Inject(f));
  Poll();
  EXPECT_EQ(StateAt(0, kPeer6), NeighbourState::kReachable);
  EXPECT_EQ(SentTo(0), 80);
}

TEST_F(SiblingsTest, RequestIsAnsweredOnce) {
  std::vector<uint8_t> f(14 + ArpPacket::kSize);
  EthernetHeader{.dst = MacAddress::Broadcast(), .src = kPeerMac, .type = EtherType::kArp}.Emit(
      f.data());
  ArpPacket{.operation = ArpOperation::kRequest,
            .sender_mac = kPeerMac,
            .sender_ip = kPeer,
            .target_mac = {},
            .target_ip = kOurs}
      .Emit(f.data() + 14);
  ASSERT_TRUE(ports_[1].Inject(f));
  Poll();
  EXPECT_EQ(ports_[0].sent_count(), 0u);
  EXPECT_EQ(ports_[1].sent_count(), 1u);
}

TEST_F(SiblingsTest, AFloodIsBoundedAndLeaksNothing) {
  const auto reply = ArpReply();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(ports_[0].Inject(reply));
  for (int i = 0; i < 10; ++i) stack_->Poll(0, now_);
  EXPECT_EQ(stack_->shard(0).counters().Get(Counter::UsherRelayDropped), 0u);
  for (int i = 0; i < 10; ++i) stack_->Poll(1, now_);
  EXPECT_EQ(stack_->shard(1).counters().Get(Counter::UsherHandedOverIn), 200u);
  Forget();
  const uint32_t held1 = before_[1] - pools_[1].available();
  const uint32_t held0 = before_[0] - pools_[0].available();
  EXPECT_LE(held0, 64u);  // the links' reserves for control frames
  EXPECT_EQ(held0, held1);
}

}  // namespace
}  // namespace usher
