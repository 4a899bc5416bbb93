#include "stack/ip/ndp.h"

#include <algorithm>

#include "stack/wire/mld.h"
#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

const IpAddress kUs = Ip("2001:2::2");
const IpAddress kPeer = Ip("2001:2::1");
const IpAddress kLinkLocal = Ip("fe80::ff:fe00:1");  // of kOurMac
const IpAddress kRouter = Ip("fe80::9");
const IpAddress kAllNodes = Ip("ff02::1");

// What the stack sent, taken apart.
struct SentMessage {
  MacAddress dst_mac;
  IpAddress src, dst;
  uint8_t hop_limit = 0;
  uint8_t type = 0;
  Bytes message;
  bool router_alert = false;
};

class NdpTest : public IpTest {
 protected:
  NdpTest() { config_.addresses = {{kUs, 48}}; }

  // Made, and all addresses past their test.
  void MakeReady() {
    Make();
    Pass(Duration::Seconds(5));
    ASSERT_TRUE(interface_->Ready());
    Pass(Duration::Seconds(20));
    DropSent();
  }

  std::optional<SentMessage> SentIcmp() {
    const Bytes frame = Sent();
    const auto ethernet = EthernetView::Parse(frame);
    if (!ethernet || ethernet->type() != EtherType::kIpv6) return std::nullopt;
    const auto ip = Ipv6View::Parse(ethernet->payload());
    if (!ip) return std::nullopt;
    const auto walk = Ipv6Extensions::Walk(*ip);
    if (walk.protocol != IpProtocol::kIcmpv6) return std::nullopt;
    const ByteSpan message = ip->packet().subspan(walk.payload_at);
    EXPECT_TRUE(Icmpv6View::Parse(message)->VerifyChecksum(ip->src(), ip->dst()));
    EXPECT_EQ(ethernet->src(), kOurMac);
    return SentMessage{ethernet->dst(),  ip->src(),  ip->dst(),
                       ip->hop_limit(),  message[0], Bytes(message.begin(), message.end()),
                       walk.router_alert};
  }
  std::vector<SentMessage> AllSent(uint8_t type) {
    std::vector<SentMessage> all;
    while (port_->sent_count() > 0) {
      auto message = SentIcmp();
      if (message && message->type == type) all.push_back(*message);
    }
    return all;
  }

  Bytes Icmp(Bytes message, const IpAddress& src, const IpAddress& dst, uint8_t hop_limit = 255,
             const MacAddress& from = kPeerMac) {
    FillIcmpv6Checksum(message.data(), message.size(), src, dst);
    return Ethernet(
        dst.is_multicast() ? MulticastMac(dst) : kOurMac, from, EtherType::kIpv6,
        Ipv6({.src = src, .dst = dst, .next_header = IpProtocol::kIcmpv6, .hop_limit = hop_limit},
             message));
  }
  Bytes Solicit(const IpAddress& target, const IpAddress& src,
                std::optional<MacAddress> mac = kPeerMac, const MacAddress& from = kPeerMac) {
    Bytes message(NeighborSolicitation::kMaxSize);
    message.resize(NeighborSolicitation{target, mac}.Emit(message.data()));
    return Icmp(message, src, SolicitedNodeMulticast(target), 255, from);
  }
  Bytes Advert(const IpAddress& target, const IpAddress& dst, bool solicited, bool router = false,
               const MacAddress& mac = kPeerMac) {
    Bytes message(NeighborAdvertisement::kMaxSize);
    message.resize(NeighborAdvertisement{.target = target,
                                         .target_mac = mac,
                                         .router = router,
                                         .solicited = solicited,
                                         .override_entry = true}
                       .Emit(message.data()));
    return Icmp(message, target, dst, 255, mac);
  }
  Bytes RouterAdvert(uint16_t lifetime, const Bytes& options = {}, uint32_t reachable = 0,
                     uint32_t retransmit = 0, uint8_t hop_limit = 0,
                     const IpAddress& src = kRouter) {
    Bytes message(16);
    message[0] = Icmpv6Type::kRouterAdvertisement;
    message[4] = hop_limit;
    Store16(&message[6], lifetime);
    Store32(&message[8], reachable);
    Store32(&message[12], retransmit);
    return Icmp(message + options, src, kAllNodes, 255, Mac(9));
  }
  static Bytes PrefixOption(const IpAddress& prefix, uint8_t length, uint32_t lifetime) {
    Bytes o(32);
    o[0] = 3;
    o[1] = 4;
    o[2] = length;
    o[3] = 0x80;
    Store32(&o[4], lifetime);
    StoreIpv6(&o[16], prefix);
    return o;
  }
  static Bytes SourceMacOption(const MacAddress& mac) {
    Bytes o{1, 1, 0, 0, 0, 0, 0, 0};
    StoreMac(&o[2], mac);
    return o;
  }
  AddressState StateOf(const IpAddress& address) {
    for (const auto& a : interface_->addresses().v6())
      if (a.address == address) return a.state;
    ADD_FAILURE() << "no address " << address.ToString();
    return AddressState::kDuplicate;
  }
  bool Told(NetworkEvent::Kind kind, const IpAddress& address) const {
    return std::any_of(events_.begin(), events_.end(), [&](const NetworkEvent& e) {
      return e.kind == kind && e.address == address;
    });
  }
};

TEST_F(NdpTest, AddressesAreTestedBeforeUse) {
  Make();
  EXPECT_FALSE(interface_->Ready());
  EXPECT_EQ(StateOf(kUs), AddressState::kTentative);
  EXPECT_FALSE(egress_->IsLocal(kUs));
  Give(Solicit(kUs, kPeer));
  EXPECT_TRUE(AllSent(Icmpv6Type::kNeighborAdvertisement).empty()) << "not ours yet";
  Pass(Duration::Millis(1000));
  const auto tests = AllSent(Icmpv6Type::kNeighborSolicitation);
  ASSERT_EQ(tests.size(), 2u) << "ours and the link-local one";
  for (const auto& test : tests) {
    EXPECT_TRUE(test.src.is_unspecified());
    EXPECT_EQ(test.hop_limit, 255);
    const auto solicit = NeighborSolicitation::Parse(test.message, {test.src, test.dst, 255});
    ASSERT_TRUE(solicit);
    EXPECT_FALSE(solicit->source_mac);
    EXPECT_EQ(test.dst, SolicitedNodeMulticast(solicit->target));
    EXPECT_EQ(test.dst_mac, MulticastMac(test.dst));
  }
  Pass(Duration::Millis(1000));
  EXPECT_TRUE(interface_->Ready());
  EXPECT_TRUE(egress_->IsLocal(kUs));
  EXPECT_TRUE(egress_->IsLocal(kLinkLocal));
  EXPECT_TRUE(Told(NetworkEvent::Kind::kAddressReady, kUs));
  // Who knew them by another card learns of this one.
  const auto adverts = AllSent(Icmpv6Type::kNeighborAdvertisement);
  ASSERT_EQ(adverts.size(), 2u);
  for (const auto& sent : adverts) {
    EXPECT_EQ(sent.dst, kAllNodes);
    EXPECT_EQ(sent.dst_mac, MulticastMac(kAllNodes));
    const auto advert = NeighborAdvertisement::Parse(sent.message, {sent.src, sent.dst, 255});
    ASSERT_TRUE(advert);
    EXPECT_EQ(advert->target, sent.src);
    EXPECT_TRUE(advert->override_entry);
    EXPECT_FALSE(advert->solicited);
    EXPECT_EQ(*advert->target_mac, kOurMac);
  }
}

TEST_F(NdpTest, TestedAsOftenAsConfiguredOrNotAtAll) {
  config_.dad_transmits = 3;
  Make();
  Pass(Duration::Seconds(10));
  EXPECT_EQ(AllSent(Icmpv6Type::kNeighborSolicitation).size(), 6u);
  config_.dad_transmits = 0;
  interface_.reset();
  Make();
  EXPECT_TRUE(interface_->Ready());
  EXPECT_TRUE(egress_->IsLocal(kUs));
}

TEST_F(NdpTest, AnswerToTheTestMakesADuplicate) {
  Make();
  Pass(Duration::Millis(1000));
  Give(Advert(kUs, kAllNodes, false, false, Mac(9)));
  EXPECT_EQ(StateOf(kUs), AddressState::kDuplicate);
  ASSERT_TRUE(Told(NetworkEvent::Kind::kDuplicateAddress, kUs));
  Pass(Duration::Seconds(10));
  EXPECT_TRUE(interface_->Ready());
  EXPECT_FALSE(egress_->IsLocal(kUs));
  EXPECT_TRUE(egress_->IsLocal(kLinkLocal));
  DropSent();
  Give(Solicit(kUs, kPeer));
  EXPECT_EQ(port_->sent_count(), 0u);
  Give(FromPeer6(Ipv6({.src = kPeer, .dst = kUs}, Bytes(20))));
  EXPECT_EQ(in_.tcp_count, 0u);
}

TEST_F(NdpTest, AnotherTestOfTheSameAddressMakesADuplicateOurOwnEchoDoesNot) {
  Make();
  Pass(Duration::Millis(1000));
  Bytes ours;
  while (port_->sent_count() > 0) {
    const Bytes frame = Sent();
    if (frame.size() > 54 && frame[54] == Icmpv6Type::kNeighborSolicitation) ours = frame;
  }
  ASSERT_FALSE(ours.empty());
  Give(ours);
  EXPECT_EQ(StateOf(kUs), AddressState::kTentative);
  EXPECT_EQ(StateOf(kLinkLocal), AddressState::kTentative);
  Give(Solicit(kUs, IpAddress(), std::nullopt));
  EXPECT_EQ(StateOf(kUs), AddressState::kDuplicate);
}

TEST_F(NdpTest, SolicitationIsAnsweredAndLearntFrom) {
  MakeReady();
  const uint32_t before = pool_->available();
  Give(Solicit(kUs, kPeer));
  EXPECT_EQ(pool_->available(), before - 1);
  const auto sent = SentIcmp();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->dst_mac, kPeerMac);
  EXPECT_EQ(sent->src, kUs);
  EXPECT_EQ(sent->dst, kPeer);
  EXPECT_EQ(sent->hop_limit, 255);
  const auto advert = NeighborAdvertisement::Parse(sent->message, {sent->src, sent->dst, 255});
  ASSERT_TRUE(advert);
  EXPECT_EQ(advert->target, kUs);
  EXPECT_EQ(advert->target_mac, kOurMac);
  EXPECT_TRUE(advert->solicited);
  EXPECT_TRUE(advert->override_entry);
  EXPECT_FALSE(advert->router);
  EXPECT_EQ(interface_->neighbours().StateOf(now_, kPeer), NeighbourState::kStale);
}

TEST_F(NdpTest, SomebodysTestOfOurAddressIsAnsweredToAll) {
  MakeReady();
  Give(Solicit(kUs, IpAddress(), std::nullopt));
  const auto sent = SentIcmp();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->dst, kAllNodes);
  EXPECT_EQ(sent->dst_mac, MulticastMac(kAllNodes));
  EXPECT_FALSE(NeighborAdvertisement::Parse(sent->message, {sent->src, sent->dst, 255})->solicited);
}

TEST_F(NdpTest, MessagesFromBeyondTheLinkAreNotBelieved) {
  MakeReady();
  Bytes message(NeighborSolicitation::kMaxSize);
  NeighborSolicitation{kUs, kPeerMac}.Emit(message.data());
  Give(Icmp(message, kPeer, SolicitedNodeMulticast(kUs), 254));
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(Count(Counter::Icmp6InErrors), 1u);
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

TEST_F(NdpTest, PacketWaitsForTheNeighbour) {
  MakeReady();
  SendTcp(kUs, kPeer, Pattern(7));
  const auto asked = SentIcmp();
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->type, Icmpv6Type::kNeighborSolicitation);
  EXPECT_EQ(asked->src, kUs);
  EXPECT_EQ(asked->dst, SolicitedNodeMulticast(kPeer));
  EXPECT_EQ(port_->sent_count(), 0u);
  Give(Advert(kPeer, kUs, true));
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 14u + 40 + 20 + 7);
  EXPECT_EQ(EthernetView::Parse(sent)->dst(), kPeerMac);
  EXPECT_EQ(EthernetView::Parse(sent)->type(), EtherType::kIpv6);
  const auto ip = Ipv6View::Parse({sent.data() + 14, sent.size() - 14});
  ASSERT_TRUE(ip);
  EXPECT_TRUE(checksum::IsIntact(
      checksum::Sum(ip->payload(), checksum::PseudoHeader(kUs, kPeer, IpProtocol::kTcp, 27))));
  EXPECT_EQ(interface_->neighbours().StateOf(now_, kPeer), NeighbourState::kReachable);
}

TEST_F(NdpTest, RouterIsAskedForThenUsedThenForgotten) {
  Make();
  Path path;
  const IpAddress far = Ip("2600::1");
  Pass(Duration::Seconds(30));
  const auto solicits = AllSent(Icmpv6Type::kRouterSolicitation);
  ASSERT_EQ(solicits.size(), 3u);
  EXPECT_EQ(solicits[0].src, kLinkLocal);
  EXPECT_EQ(solicits[0].dst, Ip("ff02::2"));
  EXPECT_FALSE(egress_->FindPath(kUs, far, &path));

  Give(RouterAdvert(1800, SourceMacOption(Mac(9))));
  EXPECT_TRUE(Told(NetworkEvent::Kind::kRouterFound, kRouter));
  ASSERT_TRUE(egress_->FindPath(kUs, far, &path));
  SendTcp(kUs, far);
  EXPECT_EQ(EthernetView::Parse(Sent())->dst(), Mac(9));

  Pass(Duration::Seconds(1799));
  EXPECT_TRUE(egress_->FindPath(kUs, far, &path));
  Pass(Duration::Seconds(1));
  EXPECT_FALSE(egress_->FindPath(kUs, far, &path));
  EXPECT_TRUE(Told(NetworkEvent::Kind::kRouterLost, kRouter));

  Give(RouterAdvert(1800));
  EXPECT_TRUE(egress_->FindPath(kUs, far, &path));
  Give(RouterAdvert(0));
  EXPECT_FALSE(egress_->FindPath(kUs, far, &path));
}

TEST_F(NdpTest, RouterThatIsNoneAnyMoreIsForgotten) {
  MakeReady();
  Path path;
  Give(RouterAdvert(1800, SourceMacOption(Mac(9))));
  ASSERT_TRUE(egress_->FindPath(kUs, Ip("2600::1"), &path));
  Give(Advert(kRouter, kUs, true, /*router=*/false, Mac(9)));
  EXPECT_FALSE(egress_->FindPath(kUs, Ip("2600::1"), &path));
}

TEST_F(NdpTest, SilentRouterGivesWayToAnother) {
  MakeReady();
  const IpAddress other = Ip("fe80::a");
  Give(RouterAdvert(1800));
  Give(RouterAdvert(1800, SourceMacOption(Mac(10)), 0, 0, 0, other));
  Path path;
  ASSERT_TRUE(egress_->FindPath(kUs, Ip("2600::1"), &path));
  EXPECT_EQ(path.neighbour, interface_->neighbours().Find(other)) << "the one with an address";
}

TEST_F(NdpTest, ParametersOfTheLinkAreTakenOver) {
  MakeReady();
  const Bytes mtu{5, 1, 0, 0, 0, 0, 0x05, 0x14};  // 1300
  Give(RouterAdvert(1800, mtu + PrefixOption(Ip("2001:db8::"), 64, 100), 0, 0, 33));
  EXPECT_EQ(interface_->mtu(Family::kIpv6), 1300);
  EXPECT_EQ(interface_->mtu(Family::kIpv4), 1500);
  const IpAddress near = Ip("2001:db8::5");
  Path path;
  ASSERT_TRUE(egress_->FindPath(kUs, near, &path));
  EXPECT_EQ(path.mtu, 1300);
  EXPECT_EQ(path.neighbour, interface_->neighbours().Find(near)) << "on the link";
  Pass(Duration::Seconds(100));
  ASSERT_TRUE(egress_->FindPath(kUs, near, &path));
  EXPECT_EQ(path.neighbour, interface_->neighbours().Find(kRouter)) << "by the router";
  for (const uint16_t bad : {1279, 1501}) {
    Bytes option = mtu;
    Store16(&option[6], bad);
    Give(RouterAdvert(1800, option));
    EXPECT_EQ(interface_->mtu(Family::kIpv6), 1300) << bad;
  }
}

TEST_F(NdpTest, ForgedAdvertisementsStayInBounds) {
  MakeReady();
  for (uint32_t i = 0; i < 1000; ++i) {
    auto bytes = Ip("fe80::").bytes();
    Store32(&bytes[12], 0x100 + i);
    auto prefix = Ip("2001:db8::").bytes();
    Store32(&prefix[4], i);
    Give(RouterAdvert(1800, SourceMacOption(Mac(9)) + PrefixOption(IpAddress::V6(prefix), 64, 1000),
                      1, 1, 0, IpAddress::V6(bytes)));
  }
  EXPECT_LE(interface_->neighbours().size(), limits_.neighbours_offered + limits_.default_routers);
  DropSent();
  // A retransmission timer of 1 ms is not taken over.
  SendTcp(kUs, kPeer);
  Pass(Duration::Millis(99));
  EXPECT_EQ(AllSent(Icmpv6Type::kNeighborSolicitation).size(), 1u);
}

TEST_F(NdpTest, ConfiguredGatewayIsNotReplaced) {
  config_.gateway6 = Ip("2001:2::fe");
  MakeReady();
  Give(RouterAdvert(1800, SourceMacOption(Mac(9))));
  Path path;
  ASSERT_TRUE(egress_->FindPath(kUs, Ip("2600::1"), &path));
  EXPECT_EQ(path.neighbour, interface_->neighbours().Find(Ip("2001:2::fe")));
}

TEST_F(NdpTest, RedirectsAreCountedOnly) {
  MakeReady();
  Bytes message(40);
  message[0] = Icmpv6Type::kRedirect;
  StoreIpv6(&message[8], kRouter);
  StoreIpv6(&message[24], kPeer);
  Give(Icmp(message, kRouter, kUs));
  EXPECT_EQ(Count(Counter::Icmp6InRedirects), 1u);
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

TEST_F(NdpTest, LateConflictIsToldAtABoundedRate) {
  MakeReady();
  events_.clear();
  for (int i = 0; i < 50; ++i) Give(Advert(kUs, kAllNodes, false, false, Mac(9)));
  EXPECT_EQ(Count(Counter::UsherNdConflicts), 50u);
  EXPECT_EQ(events_.size(), 1u);
  EXPECT_EQ(StateOf(kUs), AddressState::kPreferred);
}

TEST_F(NdpTest, GroupsAreReportedAndQueriesAnswered) {
  Make();
  Pass(Duration::Seconds(10));
  const auto joins = AllSent(Icmpv6Type::kMldv2Report);
  ASSERT_GE(joins.size(), 3u);
  EXPECT_EQ(joins.back().src, kLinkLocal);
  for (const auto& join : joins) {
    EXPECT_EQ(join.dst, Ip("ff02::16"));
    EXPECT_EQ(join.hop_limit, 1);
    EXPECT_TRUE(join.router_alert);
    EXPECT_EQ(join.message[8], MldRecordType::kChangeToExclude);
  }
  // Start() reported the groups already; Make() has dropped that.
  Bytes hop(8);
  MldHopByHop::Emit(hop.data());
  const auto query = [&](size_t size, uint16_t delay, const IpAddress& group, uint8_t hop_limit) {
    Bytes q(size);
    q[0] = Icmpv6Type::kMldQuery;
    Store16(&q[4], delay);
    StoreIpv6(&q[8], group);
    FillIcmpv6Checksum(q.data(), q.size(), kRouter, kAllNodes);
    Give(Ethernet(MulticastMac(kAllNodes), Mac(9), EtherType::kIpv6,
                  Ipv6({.src = kRouter, .dst = kAllNodes, .next_header = 0, .hop_limit = hop_limit},
                       hop + q)));
  };
  query(28, 5000, IpAddress(), 1);
  EXPECT_TRUE(AllSent(Icmpv6Type::kMldv2Report).empty()) << "answered at a random time";
  Pass(Duration::Millis(5000));
  auto answers = AllSent(Icmpv6Type::kMldv2Report);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(Load16(&answers[0].message[6]), 2) << "both solicited-node groups";
  EXPECT_EQ(answers[0].message[8], MldRecordType::kModeIsExclude);
  query(24, 1000, SolicitedNodeMulticast(kUs), 1);
  Pass(Duration::Seconds(1));
  EXPECT_EQ(AllSent(131).size(), 2u) << "an old querier gets old reports";
  query(28, 1000, Ip("ff02::1:ff99:9999"), 1);
  query(28, 1000, IpAddress(), 64);
  Pass(Duration::Seconds(2));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(NdpTest, OtherShardsKeepQuiet) {
  config_.announce = false;
  config_.addresses.push_back({Ip("198.18.0.2"), 15});
  Make();
  EXPECT_TRUE(interface_->Ready());
  Pass(Duration::Seconds(100));
  EXPECT_EQ(port_->sent_count(), 0u);
  Give(Solicit(kUs, kPeer));
  EXPECT_EQ(port_->sent_count(), 1u);
}

// One changed byte anywhere in each kind of message.
TEST_F(NdpTest, OneByteChanges) {
  MakeReady();
  const Bytes frames[] = {
      Solicit(kUs, kPeer), Advert(kPeer, kUs, true),
      RouterAdvert(1800, SourceMacOption(Mac(9)) + PrefixOption(Ip("2001:db8::"), 64, 100))};
  for (const Bytes& good : frames) {
    for (size_t at = 0; at < good.size(); ++at) {
      for (int value = 0; value < 256; ++value) {
        Bytes bad = good;
        bad[at] = static_cast<uint8_t>(value);
        if (at >= 14 && bad.size() > 58 && at != 56 && at != 57) {
          // With its checksum mended it gets further in.
          const IpAddress src = LoadIpv6(&bad[22]), dst = LoadIpv6(&bad[38]);
          FillIcmpv6Checksum(&bad[54], bad.size() - 54, src, dst);
        }
        Give(bad);
        while (port_->sent_count() > 0) {
          const auto sent = SentIcmp();
          ASSERT_TRUE(sent) << at << "=" << value;
          if (sent->type != Icmpv6Type::kNeighborAdvertisement) continue;
          EXPECT_TRUE(sent->src == kUs || sent->src == kLinkLocal) << at << "=" << value;
        }
      }
    }
  }
  EXPECT_EQ(StateOf(kUs), AddressState::kPreferred);
}

TEST_F(NdpTest, OtherShardsLearnRoutersQuietly) {
  config_.announce = false;
  Make();
  events_.clear();
  Give(RouterAdvert(1800, SourceMacOption(Mac(9))));
  Path path;
  EXPECT_TRUE(egress_->FindPath(kUs, Ip("2600::1"), &path));
  Give(RouterAdvert(0));
  EXPECT_FALSE(egress_->FindPath(kUs, Ip("2600::1"), &path));
  Give(RouterAdvert(100));
  Give(Advert(kRouter, kUs, true, /*router=*/false, Mac(9)));
  EXPECT_FALSE(egress_->FindPath(kUs, Ip("2600::1"), &path));
  Give(RouterAdvert(100));
  Pass(Duration::Seconds(100));
  EXPECT_FALSE(egress_->FindPath(kUs, Ip("2600::1"), &path));
  EXPECT_TRUE(events_.empty());
}

// Our own test come back, its nonce behind another option; a nonce of another length is not ours.
TEST_F(NdpTest, NonceIsFoundBehindOtherOptions) {
  Make();
  Pass(Duration::Millis(1000));
  Bytes ours;
  while (port_->sent_count() > 0) {
    const Bytes frame = Sent();
    if (frame.size() > 54 && frame[54] == Icmpv6Type::kNeighborSolicitation &&
        LoadIpv6(&frame[62]) == kUs)
      ours.assign(frame.begin() + 54, frame.end());
  }
  ASSERT_EQ(ours.size(), NeighborSolicitation::kSize + 8);
  const Bytes head(ours.begin(), ours.begin() + NeighborSolicitation::kSize);
  const Bytes nonce(ours.begin() + NeighborSolicitation::kSize, ours.end());
  const Bytes other{99, 1, 0, 0, 0, 0, 0, 0};
  Give(Icmp(head + other + nonce, IpAddress(), SolicitedNodeMulticast(kUs), 255, Mac(9)));
  EXPECT_EQ(StateOf(kUs), AddressState::kTentative);
  Bytes longer = nonce + Bytes(8);
  longer[1] = 2;
  Give(Icmp(head + longer, IpAddress(), SolicitedNodeMulticast(kUs), 255, Mac(9)));
  EXPECT_EQ(StateOf(kUs), AddressState::kDuplicate);
}

TEST_F(NdpTest, DuplicateAddressIsNeitherAnsweredForNorTestedAgain) {
  Make();
  Pass(Duration::Millis(1000));
  Give(Advert(kUs, kAllNodes, false, false, Mac(9)));
  ASSERT_EQ(StateOf(kUs), AddressState::kDuplicate);
  Pass(Duration::Seconds(10));
  DropSent();
  const uint64_t conflicts = Count(Counter::UsherNdConflicts);
  events_.clear();
  Bytes solicit(NeighborSolicitation::kMaxSize);
  solicit.resize(NeighborSolicitation{kUs, kPeerMac}.Emit(solicit.data()));
  Give(Icmp(solicit, kPeer, kAllNodes));  // the group of all, of which we are
  EXPECT_EQ(port_->sent_count(), 0u);
  Give(Advert(kUs, kAllNodes, false, false, Mac(9)));  // its owner speaks
  EXPECT_EQ(Count(Counter::UsherNdConflicts), conflicts);
  EXPECT_TRUE(events_.empty());
}

TEST_F(NdpTest, OurOwnAdvertisementComeBackIsNoConflict) {
  MakeReady();
  events_.clear();
  Give(Advert(kUs, kAllNodes, false, false, kOurMac));
  EXPECT_EQ(Count(Counter::UsherNdConflicts), 0u);
  EXPECT_TRUE(events_.empty());
}

TEST_F(NdpTest, LateConflictIsToldAgainAfterAWhile) {
  MakeReady();
  events_.clear();
  Give(Advert(kUs, kAllNodes, false, false, Mac(9)));
  Pass(Duration::Seconds(3600));
  Give(Advert(kUs, kAllNodes, false, false, Mac(9)));
  EXPECT_EQ(events_.size(), 2u);
  DropSent();
}

// From our address comes all kinds of things; only an advertisement that is whole is a claim to it.
TEST_F(NdpTest, OnlyAWholeAdvertisementFromOurAddressIsAConflict) {
  MakeReady();
  events_.clear();
  Bytes corrupt = Advert(kUs, kAllNodes, false, false, Mac(9));
  corrupt.back() ^= 1;
  Give(corrupt);
  Give(Solicit(kPeer, kUs, Mac(9), Mac(9)));
  Give(Ethernet(kOurMac, Mac(9), EtherType::kIpv6,
                Ipv6({.src = kUs, .dst = kUs, .next_header = IpProtocol::kIcmpv6}, Bytes(3))));
  Give(Ethernet(kOurMac, Mac(9), EtherType::kIpv6, Ipv6({.src = kUs, .dst = kUs}, Bytes(20))));
  EXPECT_EQ(Count(Counter::Ip6InAddrErrors), 4u);
  EXPECT_EQ(Count(Counter::UsherNdConflicts), 0u);
  EXPECT_EQ(in_.tcp_count, 0u);
  EXPECT_TRUE(events_.empty());
}

// RFC 4861 does not say it, but a link address that no card can have is nobody's.
TEST_F(NdpTest, LinkAddressesOfNobodyAreNotLearnt) {
  MakeReady();
  for (const MacAddress& nobody : {MacAddress{}, MacAddress::Broadcast()}) {
    Give(Solicit(kUs, kPeer, nobody));
    EXPECT_EQ(port_->sent_count(), 0u);
    EXPECT_EQ(interface_->neighbours().size(), 0u);
    SendTcp(kUs, kPeer);
    DropSent();
    Bytes message(NeighborAdvertisement::kMaxSize);
    NeighborAdvertisement{.target = kPeer, .target_mac = nobody, .solicited = true}.Emit(
        message.data());
    Give(Icmp(message, kPeer, kUs));
    EXPECT_EQ(interface_->neighbours().StateOf(now_, kPeer), NeighbourState::kIncomplete);
    Give(RouterAdvert(1800, SourceMacOption(nobody)));
    EXPECT_EQ(interface_->neighbours().LinkAddressOf(kRouter), nullptr);
    interface_->neighbours().Clear();
  }
}

// Nobody is asked from an address that is not known to be ours; the asking goes on when it is.
TEST_F(NdpTest, NeighboursAreAskedForWhenThereIsAnAddressToAskFrom) {
  Make();
  SendTcp(kUs, kPeer);
  Pass(Duration::Millis(500));
  for (const auto& sent : AllSent(Icmpv6Type::kNeighborSolicitation))
    EXPECT_TRUE(sent.src.is_unspecified()) << "only tests";
  Pass(Duration::Seconds(3));
  bool asked = false;
  for (const auto& sent : AllSent(Icmpv6Type::kNeighborSolicitation))
    asked |= sent.src == kUs && LoadIpv6(&sent.message[8]) == kPeer;
  EXPECT_TRUE(asked);
}

// Without buffers nothing is sent, and what was to be is sent later.
TEST_F(NdpTest, TestsAndSolicitationsSurviveAnEmptyPool) {
  limits_.control_reserve = 0;
  pool_size_ = 64;
  Make();
  std::vector<void*> held;
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  Pass(Duration::Seconds(3));
  EXPECT_EQ(StateOf(kUs), AddressState::kTentative) << "not tested yet";
  EXPECT_EQ(port_->sent_count(), 0u);
  for (void* handle : held) pool_->Free(handle);
  held.clear();
  Pass(Duration::Seconds(3));
  EXPECT_EQ(AllSent(Icmpv6Type::kNeighborSolicitation).size(), 2u);
  EXPECT_EQ(StateOf(kUs), AddressState::kPreferred);
  interface_->Advance(now_);
  Path path;
  ASSERT_TRUE(egress_->FindPath(kUs, kPeer, &path));
  TxFrame frame;
  ASSERT_TRUE(egress_->Begin(path, Family::kIpv6, &frame));
  DropSent();
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  WriteTcp(frame.l4, {});
  egress_->CommitTcp(frame, {kUs, kPeer, 20, 0, 0});
  egress_->Flush();
  Pass(Duration::Millis(1500));
  EXPECT_EQ(port_->sent_count(), 0u);
  for (void* handle : held) pool_->Free(handle);
  Pass(Duration::Millis(1000));
  EXPECT_EQ(AllSent(Icmpv6Type::kNeighborSolicitation).size(), 1u);
}

}  // namespace
}  // namespace usher::ip_test
