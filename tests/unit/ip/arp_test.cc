#include "stack/ip/arp.h"

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

class ArpTest : public IpTest {
 protected:
  std::optional<ArpPacket> SentArp() {
    const Bytes frame = Sent();
    if (frame.size() < 42) return std::nullopt;
    return ArpPacket::Parse({frame.data() + 14, frame.size() - 14});
  }
  // A frame that says "`ip` is at `mac`" unasked.
  Bytes Gratuitous(uint16_t operation, const IpAddress& ip, const MacAddress& mac) {
    return Ethernet(MacAddress::Broadcast(), mac, EtherType::kArp,
                    Arp({.operation = operation,
                         .sender_mac = mac,
                         .sender_ip = ip,
                         .target_mac = {},
                         .target_ip = ip}));
  }
  const IpAddress us_ = Ip("198.18.0.2");
  const IpAddress peer_ = Ip("198.18.0.1");
};

TEST_F(ArpTest, RequestIsAnsweredInPlace) {
  Make();
  const uint32_t before = pool_->available();
  Give(ArpRequest(peer_, kPeerMac, us_));
  EXPECT_EQ(pool_->available(), before - 1) << "the answer is in the request's buffer";
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 42u);
  EXPECT_EQ(EthernetView::Parse(sent)->dst(), kPeerMac);
  EXPECT_EQ(EthernetView::Parse(sent)->src(), kOurMac);
  const auto arp = ArpPacket::Parse({sent.data() + 14, 28});
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->operation, ArpOperation::kReply);
  EXPECT_EQ(arp->sender_mac, kOurMac);
  EXPECT_EQ(arp->sender_ip, us_);
  EXPECT_EQ(arp->target_mac, kPeerMac);
  EXPECT_EQ(arp->target_ip, peer_);
  EXPECT_EQ(interface_->neighbours().StateOf(now_, peer_), NeighbourState::kStale);
  EXPECT_EQ(Count(Counter::UsherArpInRequests), 1u);
  EXPECT_EQ(Count(Counter::UsherArpOutReplies), 1u);
}

TEST_F(ArpTest, RequestForAnotherIsNeitherAnsweredNorLearnt) {
  Make();
  Give(ArpRequest(peer_, kPeerMac, Ip("198.18.0.77")));
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

TEST_F(ArpTest, ProbeIsAnsweredButNotLearnt) {
  Make();
  Give(ArpRequest(Ip("0.0.0.0"), kPeerMac, us_));
  EXPECT_EQ(port_->sent_count(), 1u);
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

TEST_F(ArpTest, UnaskedReplyCreatesNothing) {
  Make();
  Give(ArpReply(peer_, kPeerMac));
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

TEST_F(ArpTest, GratuitousArpIsVerified) {
  Make();
  SendTcp(us_, peer_);
  Give(ArpReply(peer_, kPeerMac));
  DropSent();
  Give(Gratuitous(ArpOperation::kRequest, peer_, Mac(7)));
  EXPECT_EQ(*interface_->neighbours().LinkAddressOf(peer_), kPeerMac);
  const auto asked = SentArp();
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->target_ip, peer_);
  Give(ArpReply(peer_, Mac(7)));
  EXPECT_EQ(*interface_->neighbours().LinkAddressOf(peer_), Mac(7));
}

TEST_F(ArpTest, AddressesAreAnnouncedTwice) {
  Make();
  Pass(Duration::Millis(1999));
  EXPECT_EQ(port_->sent_count(), 0u);
  Pass(Duration::Millis(1));
  const auto arp = SentArp();
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->operation, ArpOperation::kRequest);
  EXPECT_EQ(arp->sender_ip, us_);
  EXPECT_EQ(arp->target_ip, us_);
  Pass(Duration::Seconds(100));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(ArpTest, ConflictIsToldAndDefendedAtABoundedRate) {
  Make();
  for (int i = 0; i < 100; ++i) {
    Give(Gratuitous(i % 2 == 0 ? ArpOperation::kRequest : ArpOperation::kReply, us_, Mac(9)));
    now_ = now_ + Duration::Millis(10);
  }
  EXPECT_EQ(Count(Counter::UsherArpConflicts), 100u);
  ASSERT_EQ(events_.size(), 1u);
  EXPECT_EQ(events_[0].kind, NetworkEvent::Kind::kAddressConflict);
  EXPECT_EQ(events_[0].address, us_);
  EXPECT_EQ(events_[0].mac, Mac(9));
  EXPECT_EQ(ToString(events_[0]), "interface 0: 198.18.0.2 is also claimed by 02:00:00:00:00:09");
  EXPECT_EQ(port_->sent_count(), 1u);
  const auto defence = SentArp();
  ASSERT_TRUE(defence);
  EXPECT_EQ(defence->sender_ip, us_);
  EXPECT_EQ(defence->target_ip, us_);
  now_ = now_ + Duration::Seconds(10);
  Give(Gratuitous(ArpOperation::kRequest, us_, Mac(9)));
  EXPECT_EQ(events_.size(), 2u);
  EXPECT_EQ(port_->sent_count(), 1u);
}

TEST_F(ArpTest, OurOwnEchoIsNoConflict) {
  Make();
  Give(Ethernet(MacAddress::Broadcast(), Mac(5), EtherType::kArp,
                Arp({.operation = ArpOperation::kRequest,
                     .sender_mac = kOurMac,
                     .sender_ip = us_,
                     .target_mac = {},
                     .target_ip = us_})));
  EXPECT_EQ(Count(Counter::UsherArpConflicts), 0u);
  EXPECT_TRUE(events_.empty());
}

TEST_F(ArpTest, FloodLeavesBoundsAndKnownNeighboursAlone) {
  Make();
  SendTcp(us_, peer_);
  Give(ArpReply(peer_, kPeerMac));
  DropSent();
  const uint32_t before = pool_->available();
  for (uint32_t i = 0; i < 10'000; ++i) {
    Give(ArpRequest(IpAddress::V4(0xc6130000 + i), Mac(static_cast<uint8_t>(i | 4)), us_));
    DropSent();
  }
  EXPECT_LE(interface_->neighbours().size(), limits_.neighbours_offered + 1);
  EXPECT_EQ(interface_->neighbours().StateOf(now_, peer_), NeighbourState::kReachable);
  EXPECT_EQ(pool_->available(), before);
}

// Every field of a request that can be wrong in one bit: never an answer that names anything but
// our address and link address, never a crash.
TEST_F(ArpTest, OneBitErrors) {
  Make();
  const Bytes good = ArpRequest(peer_, kPeerMac, us_);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    Give(bad);
    while (port_->sent_count() > 0) {
      const Bytes sent = Sent();
      const auto arp = ArpPacket::Parse({sent.data() + 14, sent.size() - 14});
      ASSERT_TRUE(arp) << "bit " << bit;
      EXPECT_EQ(arp->sender_ip, us_) << "bit " << bit;
      EXPECT_EQ(arp->sender_mac, kOurMac) << "bit " << bit;
      EXPECT_FALSE(EthernetView::Parse(sent)->dst().is_multicast() &&
                   arp->operation == ArpOperation::kReply)
          << "bit " << bit;
    }
  }
}

TEST_F(ArpTest, EveryTruncation) {
  Make();
  const Bytes good = ArpRequest(peer_, kPeerMac, us_);
  for (size_t size = 1; size < good.size(); ++size) {
    Give(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_EQ(port_->sent_count(), 0u) << size;
  }
  EXPECT_EQ(Count(Counter::UsherLinkBadLength), good.size() - 1);
}

TEST_F(ArpTest, AnsweredWithAnEmptyPool) {
  Make();
  std::vector<void*> held;
  ASSERT_TRUE(port_->Inject(ArpRequest(peer_, kPeerMac, us_)));
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  Poll();
  EXPECT_EQ(port_->sent_count(), 1u);
  DropSent();
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  // And asked, from the reserve.
  interface_->neighbours().Queue(now_,
                                 interface_->neighbours().FindOrCreate(now_, Ip("198.18.0.9")),
                                 {.handle = held.back(), .length = 60});
  held.pop_back();
  interface_->Flush();
  EXPECT_EQ(port_->sent_count(), 1u);
  for (void* handle : held) pool_->Free(handle);
}

// Who cannot be anybody's neighbour is not answered, nor learnt from.
TEST_F(ArpTest, SendersThatCannotBeAreIgnored) {
  Make();
  for (const char* nobody : {"224.0.0.1", "255.255.255.255", "127.0.0.1"}) {
    Give(ArpRequest(Ip(nobody), kPeerMac, us_));
    EXPECT_EQ(port_->sent_count(), 0u) << nobody;
  }
  Give(ArpRequest(peer_, MacAddress{}, us_));
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

// An answer to a question of ours, but not to us: it does not end the asking.
TEST_F(ArpTest, ReplyToSomebodyElseIsNoAnswer) {
  Make();
  SendTcp(us_, peer_);
  DropSent();
  Give(Ethernet(kOurMac, kPeerMac, EtherType::kArp,
                Arp({.operation = ArpOperation::kReply,
                     .sender_mac = kPeerMac,
                     .sender_ip = peer_,
                     .target_mac = kOurMac,
                     .target_ip = Ip("198.18.0.77")})));
  EXPECT_EQ(interface_->neighbours().StateOf(now_, peer_), NeighbourState::kIncomplete);
  EXPECT_EQ(port_->sent_count(), 0u);
}

// RFC 5227 section 2.1.1: a probe is answered, but there is nothing to learn.
TEST_F(ArpTest, ProbeFromNowhereIsAnswered) {
  config_.addresses = {{us_, 1}};  // on whose prefix 0.0.0.0 does not lie
  Make();
  Give(ArpRequest(Ip("0.0.0.0"), kPeerMac, us_));
  ASSERT_TRUE(SentArp());
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

// Confirmed by asking the one it was, at its own link address (RFC 1122 section 2.3.2.1).
TEST_F(ArpTest, ProbeGoesToTheLinkAddressThatIsKnown) {
  Make();
  Pass(Duration::Seconds(10));  // the announcements
  Give(ArpRequest(peer_, kPeerMac, us_));
  DropSent();
  SendTcp(us_, peer_);
  DropSent();
  Pass(Duration::Seconds(6));
  const Bytes frame = Sent();
  ASSERT_GE(frame.size(), 42u);
  EXPECT_EQ(EthernetView::Parse(frame)->dst(), kPeerMac);
  DropSent();
}

TEST_F(ArpTest, WithoutABufferNobodyIsAsked) {
  pool_size_ = 64;
  limits_.control_reserve = 0;
  Make();
  Path path;
  ASSERT_TRUE(egress_->FindPath(us_, peer_, &path));
  TxFrame frame;
  ASSERT_TRUE(egress_->Begin(path, Family::kIpv4, &frame));
  std::vector<void*> held;
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  WriteTcp(frame.l4, {});
  egress_->CommitTcp(frame, {us_, peer_, 20, 0, 0});
  egress_->Flush();
  EXPECT_EQ(port_->sent_count(), 0u);
  for (void* handle : held) pool_->Free(handle);
  Pass(Duration::Millis(1000));
  ASSERT_TRUE(SentArp()) << "asked again";
}

}  // namespace
}  // namespace usher::ip_test
