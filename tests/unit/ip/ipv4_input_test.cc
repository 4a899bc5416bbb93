#include <algorithm>
#include <set>

#include "stack/wire/udp.h"
#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

class Ipv4InputTest : public IpTest {
 protected:
  Bytes Tcp() {
    Bytes segment(20);
    WriteTcp(segment.data(), {});
    return segment;
  }
  Bytes Packet4(const IpAddress& src, const IpAddress& dst) {
    return Ipv4({.src = src, .dst = dst}, Tcp());
  }
  // A header with `options`, a multiple of 4 bytes.
  Bytes WithOptions(const Bytes& options, const Bytes& payload, uint8_t protocol) {
    Bytes packet = Ipv4({.src = peer_, .dst = us_, .protocol = protocol}, payload);
    packet.insert(packet.begin() + 20, options.begin(), options.end());
    packet[0] = static_cast<uint8_t>(0x45 + options.size() / 4);
    Store16(&packet[2], static_cast<uint16_t>(packet.size()));
    FixHeader(packet);
    return packet;
  }
  static void FixHeader(Bytes& packet) {
    const size_t size = static_cast<size_t>(packet[0] & 15) * 4;
    Store16(&packet[10], 0);
    Store16(&packet[10], checksum::Finish(checksum::Sum({packet.data(), size})));
  }
  Bytes Udp(uint16_t port, const Bytes& data, uint16_t sum = 0) {
    Bytes udp(8);
    Store16(&udp[0], 5000);
    Store16(&udp[2], port);
    Store16(&udp[4], static_cast<uint16_t>(8 + data.size()));
    Store16(&udp[6], sum);
    return udp + data;
  }
  Bytes EchoRequest(const Bytes& data) {
    Bytes message(8 + data.size());
    Icmpv4Message{.type = Icmpv4Type::kEchoRequest, .rest = 0x12340001}.Emit(message.data(), data);
    return message;
  }
  void ExpectDropped(const Bytes& packet, Counter counter, const char* what) {
    const uint64_t before = Count(counter);
    Give(FromPeer4(packet));
    EXPECT_EQ(in_.tcp_count, 0u) << what;
    EXPECT_EQ(port_->sent_count(), 0u) << what;
    EXPECT_EQ(Count(counter), before + 1) << what;
  }

  const IpAddress us_ = Ip("198.18.0.2");
  const IpAddress peer_ = Ip("198.18.0.1");
};

TEST_F(Ipv4InputTest, SegmentArrivesWithItsFacts) {
  Make();
  Bytes packet = Ipv4({.src = peer_, .dst = us_, .ttl = 9, .dscp_ecn = 0xb9}, Tcp());
  Bytes padded = FromPeer4(packet);
  padded.resize(60);
  Give(padded, kRxL4ChecksumGood);
  ASSERT_EQ(in_.tcp_count, 1u);
  const L4Packet& segment = in_.tcp[0];
  EXPECT_EQ(segment.source, peer_);
  EXPECT_EQ(segment.destination, us_);
  EXPECT_EQ(segment.l4_length, 20u) << "padding is cut off";
  EXPECT_EQ(Load16(segment.l4), 80);
  EXPECT_EQ(segment.tos, 0xb9);
  EXPECT_EQ(segment.hop_limit, 9);
  EXPECT_TRUE(segment.checksum_good);
  EXPECT_FALSE(segment.to_multicast);
  EXPECT_EQ(Count(Counter::IpInDelivers), 1u);
}

TEST_F(Ipv4InputTest, BurstIsSortedAndCounted) {
  Make();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(port_->Inject(FromPeer4(Packet4(peer_, us_))));
  ASSERT_TRUE(port_->Inject(ArpRequest(peer_, kPeerMac, us_)));
  ASSERT_TRUE(port_->Inject(
      FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kIcmp}, EchoRequest({})))));
  Poll();
  EXPECT_EQ(in_.tcp_count, 10u);
  EXPECT_EQ(port_->sent_count(), 2u);
  EXPECT_EQ(Count(Counter::UsherRxPackets), 12u);
}

TEST_F(Ipv4InputTest, OptionsAreSkippedSourceRoutesRefused) {
  Make();
  Give(FromPeer4(WithOptions({7, 7, 4, 0, 0, 0, 0, 0}, Tcp(), IpProtocol::kTcp)));
  ASSERT_EQ(in_.tcp_count, 1u);
  EXPECT_EQ(Load16(in_.tcp[0].l4), 80);
  const Counter errors = Counter::IpInHdrErrors;
  ExpectDropped(WithOptions({131, 7, 4, 1, 2, 3, 4, 0}, Tcp(), 6), errors, "loose source route");
  ExpectDropped(WithOptions({1, 137, 7, 4, 1, 2, 3, 4}, Tcp(), 6), errors, "strict source route");
  ExpectDropped(WithOptions({7, 0, 0, 0}, Tcp(), 6), errors, "option of length 0");
  ExpectDropped(WithOptions({7, 1, 0, 0}, Tcp(), 6), errors, "option of length 1");
  ExpectDropped(WithOptions({7, 9, 0, 0}, Tcp(), 6), errors, "option too long");
  ExpectDropped(WithOptions({1, 1, 1, 7}, Tcp(), 6), errors, "option cut off");
}

TEST_F(Ipv4InputTest, AnswerToASegmentWithOptionsHasNone) {
  Make();
  Give(FromPeer4(WithOptions({1, 1, 1, 1}, Tcp(), IpProtocol::kTcp)));
  ASSERT_EQ(in_.tcp_count, 1u);
  TxFrame frame;
  ASSERT_TRUE(egress_->BeginReply(in_.tcp[0], &frame));
  WriteTcp(frame.l4, {});
  egress_->CommitTcp(frame, {us_, peer_, 20, 0, 0});
  egress_->Flush();
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 54u);
  const auto ip = Ipv4View::Parse({sent.data() + 14, 40});
  ASSERT_TRUE(ip);
  EXPECT_TRUE(ip->VerifyChecksum());
  EXPECT_EQ(ip->header_size(), 20u);
}

TEST_F(Ipv4InputTest, MartiansAreDropped) {
  Make();
  for (const char* source :
       {"198.18.0.2", "127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.2.3", "240.0.0.1",
        "255.255.255.255", "198.19.255.255", "198.18.0.0"})
    ExpectDropped(Packet4(Ip(source), us_), Counter::IpInAddrErrors, source);
  for (const char* destination : {"198.18.0.3", "127.0.0.1", "0.0.0.0", "8.8.8.8", "224.0.0.5"})
    ExpectDropped(Packet4(peer_, Ip(destination)), Counter::IpInAddrErrors, destination);
}

TEST_F(Ipv4InputTest, BroadcastIsMarked) {
  Make();
  for (const char* destination : {"255.255.255.255", "198.19.255.255", "224.0.0.1"}) {
    Give(FromPeer4(Packet4(peer_, Ip(destination))));
    ASSERT_EQ(in_.tcp_count, 1u) << destination;
    EXPECT_TRUE(in_.tcp[0].to_multicast) << destination;
  }
}

// As Linux's tcp_v4_rcv: whatever its IP address, it is IP that is delivered but no TCP.
TEST_F(Ipv4InputTest, TcpInAFrameToManyIsDropped) {
  Make();
  uint64_t frames = 0;
  for (const MacAddress& to : {MacAddress::Broadcast(), MacAddress{{1, 0, 0x5e, 0, 0, 1}}}) {
    for (const IpAddress& destination : {us_, Ip("198.19.255.255"), Ip("224.0.0.1")}) {
      Give(Ethernet(to, kPeerMac, EtherType::kIpv4, Packet4(peer_, destination)));
      EXPECT_EQ(in_.tcp_count, 0u) << destination.ToString();
      EXPECT_EQ(Count(Counter::UsherTcpToManyDropped), ++frames);
      EXPECT_EQ(Count(Counter::IpInDelivers), frames);
    }
  }
}

TEST_F(Ipv4InputTest, BadChecksumDroppedUnlessThePortSaysGood) {
  Make();
  Bytes packet = Packet4(peer_, us_);
  packet[10] ^= 1;
  ExpectDropped(packet, Counter::IpExtInCsumErrors, "checksum");
  Give(FromPeer4(packet), kRxIpChecksumGood);
  EXPECT_EQ(in_.tcp_count, 1u);
}

TEST_F(Ipv4InputTest, LinkLayerRefusals) {
  Make();
  const Bytes packet = Packet4(peer_, us_);
  Give(Ethernet(Mac(77), kPeerMac, EtherType::kIpv4, packet));
  EXPECT_EQ(Count(Counter::UsherLinkNotForUs), 1u);
  Give(Ethernet(kOurMac, MacAddress::Broadcast(), EtherType::kIpv4, packet));
  EXPECT_EQ(Count(Counter::UsherLinkNotForUs), 2u);
  Give(Ethernet(kOurMac, kPeerMac, 0x88cc, packet));
  Give(Ethernet(kOurMac, kPeerMac, 100, packet));
  EXPECT_EQ(Count(Counter::UsherLinkUnknownEtherType), 2u);
  Give(Ethernet(kOurMac, kPeerMac, EtherType::kIpv4, packet, 5));
  EXPECT_EQ(Count(Counter::UsherLinkVlanMismatch), 1u);
  Give(Bytes(13));
  EXPECT_EQ(Count(Counter::UsherLinkBadLength), 1u);
  EXPECT_EQ(in_.tcp_count, 0u);
}

TEST_F(Ipv4InputTest, VlanIsTakenAndKept) {
  config_.vlan = 42;
  Make();
  Give(Ethernet(kOurMac, kPeerMac, EtherType::kIpv4, Packet4(peer_, us_)));
  Give(Ethernet(kOurMac, kPeerMac, EtherType::kIpv4, Packet4(peer_, us_), 43));
  EXPECT_EQ(Count(Counter::UsherLinkVlanMismatch), 2u);
  Bytes twice = Ethernet(kOurMac, kPeerMac, EtherType::kVlan, Bytes{0, 42, 8, 0}, 42);
  Give(twice + Packet4(peer_, us_));
  EXPECT_EQ(Count(Counter::UsherLinkVlanMismatch), 3u);
  Give(Ethernet(kOurMac, kPeerMac, EtherType::kIpv4, Packet4(peer_, us_), 42));
  ASSERT_EQ(in_.tcp_count, 1u);
  TxFrame frame;
  ASSERT_TRUE(egress_->BeginReply(in_.tcp[0], &frame));
  WriteTcp(frame.l4, {});
  egress_->CommitTcp(frame, {us_, peer_, 20, 0, 0});
  egress_->Flush();
  const Bytes answer = Sent();
  ASSERT_EQ(answer.size(), 58u);
  EXPECT_EQ(EthernetView::Parse(answer)->vlan_id(), 42);

  Give(Ethernet(MacAddress::Broadcast(), kPeerMac, EtherType::kArp,
                Arp({.operation = ArpOperation::kRequest,
                     .sender_mac = kPeerMac,
                     .sender_ip = peer_,
                     .target_mac = {},
                     .target_ip = us_}),
                42));
  EXPECT_EQ(EthernetView::Parse(Sent())->vlan_id(), 42);
  SendTcp(us_, peer_);
  const Bytes own = Sent();
  ASSERT_EQ(own.size(), 58u);
  EXPECT_EQ(EthernetView::Parse(own)->vlan_id(), 42);
  EXPECT_EQ(EthernetView::Parse(own)->type(), EtherType::kIpv4);
}

TEST_F(Ipv4InputTest, EchoIsAnsweredInPlaceWithoutOptions) {
  Make();
  const Bytes data = Pattern(56);
  const uint32_t before = pool_->available();
  Give(FromPeer4(WithOptions({1, 1, 1, 1}, EchoRequest(data), IpProtocol::kIcmp)));
  EXPECT_EQ(pool_->available(), before - 1);
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 14u + 20 + 8 + 56);
  const auto ip = Ipv4View::Parse({sent.data() + 14, sent.size() - 14});
  ASSERT_TRUE(ip);
  EXPECT_TRUE(ip->VerifyChecksum());
  EXPECT_EQ(ip->src(), us_);
  EXPECT_EQ(ip->dst(), peer_);
  const auto icmp = Icmpv4View::Parse(ip->payload());
  EXPECT_EQ(icmp->type(), Icmpv4Type::kEchoReply);
  EXPECT_EQ(icmp->rest(), 0x12340001u);
  EXPECT_TRUE(icmp->VerifyChecksum());
  EXPECT_TRUE(std::equal(data.begin(), data.end(), icmp->body().begin(), icmp->body().end()));
  EXPECT_EQ(Count(Counter::IcmpInEchos), 1u);
  EXPECT_EQ(Count(Counter::IcmpOutEchoReps), 1u);
}

TEST_F(Ipv4InputTest, BroadcastEchoIsNotAnswered) {
  Make();
  Give(Ethernet(MacAddress::Broadcast(), kPeerMac, EtherType::kIpv4,
                Ipv4({.src = peer_, .dst = Ip("198.19.255.255"), .protocol = IpProtocol::kIcmp},
                     EchoRequest({}))));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Ipv4InputTest, UnreachablePortAndProtocol) {
  Make();
  Give(FromPeer4(
      Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp}, Udp(53, Pattern(1000)))));
  Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 14u + 576);
  auto ip = Ipv4View::Parse({sent.data() + 14, sent.size() - 14});
  auto icmp = Icmpv4View::Parse(ip->payload());
  ASSERT_TRUE(icmp);
  EXPECT_TRUE(icmp->VerifyChecksum());
  EXPECT_EQ(icmp->type(), Icmpv4Type::kDestinationUnreachable);
  EXPECT_EQ(icmp->code(), Icmpv4Unreachable::kPort);
  ASSERT_TRUE(icmp->quote());
  EXPECT_EQ(icmp->quote()->dst_port, 53);
  Give(FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = 132}, Pattern(40))));
  sent = Sent();
  ASSERT_FALSE(sent.empty());
  icmp = Icmpv4View::Parse(ByteSpan(sent).subspan(34));
  EXPECT_EQ(icmp->code(), Icmpv4Unreachable::kProtocol);
  EXPECT_EQ(Count(Counter::IpInUnknownProtos), 1u);
}

TEST_F(Ipv4InputTest, ErrorsAreNeverSentAboutWhatMustNotBeAnswered) {
  Make();
  const Bytes udp = Udp(53, Pattern(10));
  Give(Ethernet(MacAddress::Broadcast(), kPeerMac, EtherType::kIpv4,
                Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp}, udp)));
  Give(Ethernet(
      MacAddress::Broadcast(), kPeerMac, EtherType::kIpv4,
      Ipv4({.src = peer_, .dst = Ip("255.255.255.255"), .protocol = IpProtocol::kUdp}, udp)));
  Give(FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp},
                      Udp(53, Pattern(10), 0x1234))));  // wrong checksum
  Bytes short_udp = udp;
  Store16(&short_udp[4], 100);
  Give(FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp}, short_udp)));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Ipv4InputTest, ErrorsHaveARate) {
  limits_.icmp_msgs_per_sec = 100;
  limits_.icmp_msgs_burst = 10;
  Make();
  const Bytes frame = FromPeer4(
      Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp}, Udp(53, Pattern(10))));
  for (int i = 0; i < 100; ++i) Give(frame);
  EXPECT_LE(port_->sent_count(), 10u);
  EXPECT_GE(port_->sent_count(), 3u);
  EXPECT_EQ(port_->sent_count() + Count(Counter::IcmpOutRateLimitGlobal), 100u);
  DropSent();
  for (int i = 0; i < 1000; ++i) {
    now_ = now_ + Duration::Millis(1);
    Give(frame);
  }
  EXPECT_LE(port_->sent_count(), 110u);
  EXPECT_GE(port_->sent_count(), 30u);
}

TEST_F(Ipv4InputTest, ErrorAboutOurSegmentGoesUp) {
  Make();
  Bytes tcp = Tcp();
  Store32(&tcp[4], 0x11223344);
  const Bytes ours = Ipv4({.src = us_, .dst = Ip("8.8.8.8")}, tcp);
  const auto error = [&](uint8_t type, uint8_t code, uint32_t rest, const Bytes& quote) {
    Bytes message(8 + quote.size());
    Icmpv4Message{.type = type, .code = code, .rest = rest}.Emit(message.data(), quote);
    Give(FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kIcmp}, message)));
  };
  error(3, 4, 1300, ours);
  ASSERT_EQ(in_.error_count, 1u);
  EXPECT_EQ(in_.errors[0].kind, IcmpError::Kind::kPacketTooBig);
  EXPECT_EQ(in_.errors[0].mtu, 1300u);
  EXPECT_EQ(in_.errors[0].seq, 0x11223344u);
  EXPECT_EQ(in_.errors[0].tuple, (FourTuple{us_, Ip("8.8.8.8"), 80, 40000}));
  const struct {
    uint8_t type, code;
    IcmpError::Kind kind;
  } kinds[] = {
      {3, 0, IcmpError::Kind::kHostUnreachable},  {3, 1, IcmpError::Kind::kHostUnreachable},
      {3, 2, IcmpError::Kind::kRefused},          {3, 3, IcmpError::Kind::kRefused},
      {3, 5, IcmpError::Kind::kHostUnreachable},  {3, 13, IcmpError::Kind::kRefused},
      {11, 0, IcmpError::Kind::kHostUnreachable}, {12, 0, IcmpError::Kind::kHostUnreachable}};
  for (const auto& k : kinds) {
    error(k.type, k.code, 0, ours);
    ASSERT_EQ(in_.error_count, 1u) << int{k.type} << "/" << int{k.code};
    EXPECT_EQ(in_.errors[0].kind, k.kind) << int{k.type} << "/" << int{k.code};
    EXPECT_EQ(in_.errors[0].mtu, 0u);
  }
  error(3, 3, 0, Ipv4({.src = Ip("198.18.0.9"), .dst = Ip("8.8.8.8")}, tcp));
  EXPECT_EQ(in_.error_count, 0u) << "not ours";
  error(3, 3, 0, Ipv4({.src = us_, .dst = peer_, .protocol = 17}, tcp));
  EXPECT_EQ(in_.error_count, 0u) << "not TCP";
  error(3, 3, 0, Bytes(ours.begin(), ours.begin() + 27));
  EXPECT_EQ(in_.error_count, 0u) << "too short";
  error(4, 0, 0, ours);
  error(5, 0, 0, ours);
  EXPECT_EQ(in_.error_count, 0u);
  EXPECT_EQ(Count(Counter::IcmpInRedirects), 1u);
  EXPECT_EQ(port_->sent_count(), 0u) << "an error is never answered";
}

// One changed byte anywhere in a packet, every value: nothing is ever answered to an address or
// link address that the frame did not come from, and no buffer is lost.
TEST_F(Ipv4InputTest, OneByteChanges) {
  Make();
  const Bytes echo = EchoRequest(Pattern(8));
  const Bytes frames[] = {
      FromPeer4(Packet4(peer_, us_)),
      FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kIcmp}, echo)),
      FromPeer4(WithOptions({7, 4, 4, 0}, echo, IpProtocol::kIcmp)),
      FromPeer4(
          Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp}, Udp(53, Pattern(8)))),
      FromPeer4(
          Ipv4({.src = peer_, .dst = us_, .more_fragments = true, .protocol = IpProtocol::kIcmp},
               echo))};
  const uint32_t before = pool_->available();
  for (const Bytes& good : frames) {
    for (size_t at = 0; at < good.size(); ++at) {
      for (int value = 0; value < 256; ++value) {
        Bytes bad = good;
        bad[at] = static_cast<uint8_t>(value);
        // The header checksum would hide most of it; a port may say it is good.
        Give(bad, value % 2 == 0 ? kRxIpChecksumGood : 0);
        while (port_->sent_count() > 0) {
          const Bytes sent = Sent();
          const auto ethernet = EthernetView::Parse(sent);
          ASSERT_TRUE(ethernet);
          EXPECT_EQ(ethernet->dst(), LoadMac(&bad[6])) << at << "=" << value;
          const auto ip = Ipv4View::Parse(ethernet->payload());
          ASSERT_TRUE(ip);
          EXPECT_TRUE(ip->VerifyChecksum());
          EXPECT_EQ(ip->src(), us_) << at << "=" << value;
          EXPECT_EQ(ip->dst(), LoadIpv4(&bad[26])) << at << "=" << value;
          EXPECT_TRUE(Icmpv4View::Parse(ip->payload())->VerifyChecksum());
        }
      }
      Pass(Duration::Seconds(1));
      DropSent();
    }
  }
  Pass(Duration::Seconds(60));
  DropSent();
  FreeIngress();
  EXPECT_EQ(pool_->available(), before);
}

TEST_F(Ipv4InputTest, EveryTruncation) {
  Make();
  const Bytes good = FromPeer4(
      Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kIcmp}, EchoRequest(Pattern(8))));
  for (size_t size = 1; size < good.size(); ++size) {
    Give(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_EQ(port_->sent_count(), 0u) << size;
  }
}

// RFC 1122 section 3.2.2: none about an error, nor about what may be one, nor about later
// fragments.
TEST_F(Ipv4InputTest, NoErrorAboutAnErrorThatWasPutTogetherInTime) {
  Make();
  const Bytes udp = Udp(53, Pattern(10));
  Give(FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp}, udp)));
  EXPECT_EQ(port_->sent_count(), 1u);
  DropSent();
  Bytes no_checksum = udp;
  Store16(&no_checksum[6], 0);  // none was computed (RFC 768)
  Give(FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = IpProtocol::kUdp}, no_checksum)));
  EXPECT_EQ(port_->sent_count(), 1u);
  DropSent();
}

}  // namespace
}  // namespace usher::ip_test
