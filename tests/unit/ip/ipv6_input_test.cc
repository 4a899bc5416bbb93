#include <algorithm>

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

class Ipv6InputTest : public IpTest {
 protected:
  Ipv6InputTest() {
    config_.addresses = {{us_, 48}};
    config_.dad_transmits = 0;
    config_.accept_ra = false;
  }
  Bytes Packet6(uint8_t next_header, const Bytes& payload, const IpAddress& src,
                const IpAddress& dst) {
    return Ipv6({.src = src, .dst = dst, .next_header = next_header}, payload);
  }
  Bytes Packet6(uint8_t next_header, const Bytes& payload) {
    return Packet6(next_header, payload, peer_, us_);
  }
  Bytes Echo(const Bytes& data, const IpAddress& dst) {
    Bytes message(8 + data.size());
    Icmpv6Message{.type = Icmpv6Type::kEchoRequest, .rest = 5}.Emit(message.data(), data, peer_,
                                                                    dst);
    return message;
  }
  void Settle() {
    Make();
    Pass(Duration::Seconds(10));
    DropSent();
  }
  // Type, code and pointer of the one ICMPv6 error sent, or nothing.
  std::optional<Icmpv6View> SentError() {
    sent_ = Sent();
    if (sent_.size() < 62) return std::nullopt;
    const auto ip = Ipv6View::Parse({sent_.data() + 14, sent_.size() - 14});
    if (!ip || ip->next_header() != IpProtocol::kIcmpv6) return std::nullopt;
    const auto icmp = Icmpv6View::Parse(ip->payload());
    EXPECT_TRUE(icmp->VerifyChecksum(ip->src(), ip->dst()));
    EXPECT_LE(sent_.size(), 14u + 1280);
    return icmp;
  }

  const IpAddress us_ = Ip("2001:2::2");
  const IpAddress peer_ = Ip("2001:2::1");
  Bytes sent_;
};

TEST_F(Ipv6InputTest, SegmentArrivesWithItsFacts) {
  Settle();
  Bytes padded = FromPeer6(
      Ipv6({.src = peer_, .dst = us_, .hop_limit = 3, .traffic_class = 0xb9}, Pattern(20)));
  padded.resize(padded.size() + 6);
  Give(padded);
  ASSERT_EQ(in_.tcp_count, 1u);
  EXPECT_EQ(in_.tcp[0].source, peer_);
  EXPECT_EQ(in_.tcp[0].destination, us_);
  EXPECT_EQ(in_.tcp[0].l4_length, 20u);
  EXPECT_EQ(in_.tcp[0].tos, 0xb9);
  EXPECT_EQ(in_.tcp[0].hop_limit, 3);
  EXPECT_FALSE(in_.tcp[0].to_multicast);
}

TEST_F(Ipv6InputTest, SegmentBehindExtensionHeaders) {
  Settle();
  const Bytes options{6, 0, 1, 4, 0, 0, 0, 0};  // destination options: padding
  const Bytes hop{60, 0, 1, 4, 0, 0, 0, 0};     // hop-by-hop, then destination options
  const Bytes atomic{6, 0, 0, 0, 1, 2, 3, 4};   // an atomic fragment (RFC 6946)
  const Bytes routing{6, 0, 0, 0, 0, 0, 0, 0};  // no segments left
  for (const auto& [first, bytes] : std::initializer_list<std::pair<uint8_t, Bytes>>{
           {60, options}, {0, hop + options}, {44, atomic}, {43, routing}}) {
    Give(FromPeer6(Packet6(first, bytes + Pattern(20))));
    ASSERT_EQ(in_.tcp_count, 1u) << int{first};
    EXPECT_EQ(in_.tcp[0].l4_length, 20u);
    EXPECT_TRUE(std::equal(in_.tcp[0].l4, in_.tcp[0].l4 + 20, Pattern(20).begin()));
  }
  EXPECT_EQ(Count(Counter::Ip6ReasmReqds), 0u);
}

TEST_F(Ipv6InputTest, BadSourcesAndDestinations) {
  Settle();
  for (const char* source : {"2001:2::2", "ff02::1", "::1", "::"}) {
    Give(FromPeer6(Packet6(6, Pattern(20), Ip(source), us_)));
    EXPECT_EQ(in_.tcp_count, 0u) << source;
  }
  EXPECT_EQ(Count(Counter::Ip6InAddrErrors), 4u);
  for (const char* destination : {"2001:2::3", "::1", "::", "ff02::5"}) {
    Give(FromPeer6(Packet6(6, Pattern(20), peer_, Ip(destination))));
    EXPECT_EQ(in_.tcp_count, 0u) << destination;
  }
  auto mapped = Packet6(6, Pattern(20));
  StoreIpv6(&mapped[8], Ip("198.18.0.1"));
  Give(FromPeer6(mapped));
  EXPECT_EQ(in_.tcp_count, 0u);
  EXPECT_EQ(Count(Counter::Ip6InHdrErrors), 1u);
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Ipv6InputTest, MulticastSegmentIsMarked) {
  Settle();
  Give(FromPeer6(Packet6(6, Pattern(20), peer_, Ip("ff02::1"))));
  ASSERT_EQ(in_.tcp_count, 1u);
  EXPECT_TRUE(in_.tcp[0].to_multicast);
}

// As Linux's tcp_v6_rcv.
TEST_F(Ipv6InputTest, TcpInAFrameToManyIsDropped) {
  Settle();
  uint64_t frames = 0;
  for (const IpAddress& destination : {us_, Ip("ff02::1")}) {
    Give(Ethernet(MacAddress{{0x33, 0x33, 0, 0, 0, 1}}, kPeerMac, EtherType::kIpv6,
                  Packet6(6, Pattern(20), peer_, destination)));
    EXPECT_EQ(in_.tcp_count, 0u) << destination.ToString();
    EXPECT_EQ(Count(Counter::UsherTcpToManyDropped), ++frames);
  }
}

TEST_F(Ipv6InputTest, EchoIsAnswered) {
  Settle();
  const Bytes data = Pattern(100);
  Give(FromPeer6(Packet6(IpProtocol::kIcmpv6, Echo(data, us_))));
  const auto reply = SentError();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->type(), Icmpv6Type::kEchoReply);
  EXPECT_EQ(reply->rest(), 5u);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), reply->body().begin(), reply->body().end()));
  EXPECT_EQ(EthernetView::Parse(sent_)->dst(), kPeerMac);
  // To all nodes: from one of our addresses of the asker's scope.
  const IpAddress all = Ip("ff02::1");
  Give(Ethernet(MulticastMac(all), kPeerMac, EtherType::kIpv6,
                Packet6(IpProtocol::kIcmpv6, Echo(data, all), peer_, all)));
  ASSERT_TRUE(SentError());
  EXPECT_EQ(LoadIpv6(&sent_[22]), us_);
  EXPECT_EQ(LoadIpv6(&sent_[38]), peer_);
}

TEST_F(Ipv6InputTest, EchoBehindOptionsIsAnsweredWithout) {
  Settle();
  const Bytes options{58, 0, 1, 4, 0, 0, 0, 0};
  Give(FromPeer6(Packet6(60, options + Echo(Pattern(9), us_))));
  ASSERT_TRUE(SentError());
  EXPECT_EQ(sent_.size(), 14u + 40 + 8 + 9);
}

TEST_F(Ipv6InputTest, ErrorsForWhatCannotBeProcessed) {
  Settle();
  const auto expect = [&](const Bytes& packet, uint8_t type, uint8_t code, uint32_t pointer,
                          const char* what) {
    Give(FromPeer6(packet));
    const auto error = SentError();
    ASSERT_TRUE(error) << what;
    EXPECT_EQ(error->type(), type) << what;
    EXPECT_EQ(error->code(), code) << what;
    EXPECT_EQ(error->rest(), pointer) << what;
    EXPECT_TRUE(std::equal(packet.begin(), packet.end(), error->body().begin())) << what;
  };
  Bytes udp(12);
  Store16(&udp[2], 53);
  Store16(&udp[4], 12);
  Store16(&udp[6], checksum::Finish(checksum::Sum(
                       udp, checksum::PseudoHeader(peer_, us_, IpProtocol::kUdp, 12))));
  expect(Packet6(17, udp), 1, 4, 0, "UDP");
  expect(Packet6(132, Pattern(20)), 4, 1, 6, "unknown protocol");
  expect(Packet6(60, Bytes{132, 0, 1, 4, 0, 0, 0, 0}), 4, 1, 40, "unknown behind options");
  expect(Packet6(60, Bytes{6, 0, 0x80, 4, 0, 0, 0, 0}), 4, 2, 42, "unknown option");
  expect(Packet6(43, Bytes{6, 2, 0, 1, 0, 0, 0, 0} + Bytes(16)), 4, 0, 42, "source route");
  expect(Packet6(60, Bytes{0, 0, 1, 4, 0, 0, 0, 0} + Bytes(8)), 4, 1, 40, "hop-by-hop too late");
  expect(Packet6(44, Bytes{6, 0, 0, 1, 0, 0, 0, 1} + Pattern(25)), 4, 0, 4, "odd fragment");
  // And none where none may be.
  udp[6] ^= 1;
  Give(FromPeer6(Packet6(17, udp)));
  Give(FromPeer6(Packet6(132, Pattern(20), IpAddress(), us_)));
  Give(FromPeer6(Packet6(132, Pattern(20), peer_, Ip("ff02::1"))));
  Give(FromPeer6(Packet6(60, Bytes{6, 0, 0x40, 4, 0, 0, 0, 0})));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Ipv6InputTest, ErrorAboutOurSegmentGoesUp) {
  Settle();
  Bytes tcp(20);
  WriteTcp(tcp.data(), {});
  Store32(&tcp[4], 0x11223344);
  const Bytes ours = Packet6(6, tcp, us_, Ip("2600::1"));
  const auto error = [&](uint8_t type, uint8_t code, uint32_t rest) {
    Bytes message(8 + ours.size());
    Icmpv6Message{.type = type, .code = code, .rest = rest}.Emit(message.data(), ours, peer_, us_);
    Give(FromPeer6(Packet6(IpProtocol::kIcmpv6, message)));
  };
  error(Icmpv6Type::kPacketTooBig, 0, 1280);
  ASSERT_EQ(in_.error_count, 1u);
  EXPECT_EQ(in_.errors[0].kind, IcmpError::Kind::kPacketTooBig);
  EXPECT_EQ(in_.errors[0].mtu, 1280u);
  EXPECT_EQ(in_.errors[0].seq, 0x11223344u);
  EXPECT_EQ(in_.errors[0].tuple, (FourTuple{us_, Ip("2600::1"), 80, 40000}));
  error(1, 4, 0);
  EXPECT_EQ(in_.errors[0].kind, IcmpError::Kind::kRefused);
  error(1, 0, 0);
  EXPECT_EQ(in_.errors[0].kind, IcmpError::Kind::kHostUnreachable);
  error(3, 0, 0);
  EXPECT_EQ(in_.errors[0].kind, IcmpError::Kind::kHostUnreachable);
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Ipv6InputTest, NotSpokenUnlessConfigured) {
  config_.addresses = {{Ip("198.18.0.2"), 15}};
  Make();
  Give(FromPeer6(Packet6(6, Pattern(20))));
  EXPECT_EQ(in_.tcp_count, 0u);
  EXPECT_EQ(Count(Counter::UsherLinkUnknownEtherType), 1u);
}

TEST_F(Ipv6InputTest, OneByteChanges) {
  Settle();
  const Bytes frames[] = {
      FromPeer6(Packet6(0, Bytes{60, 0, 5, 2, 0, 0, 1, 0} + Bytes{44, 0, 1, 4, 0, 0, 0, 0} +
                               Bytes{43, 0, 0, 0, 0, 0, 0, 1} + Bytes{6, 0, 0, 0, 0, 0, 0, 0} +
                               Pattern(20))),
      FromPeer6(Packet6(44, Bytes{58, 0, 0, 1, 0, 0, 0, 1} + Echo(Pattern(8), us_))),
      FromPeer6(Packet6(58, Echo(Pattern(8), us_)))};
  const uint32_t before = pool_->available();
  for (const Bytes& good : frames) {
    for (size_t at = 0; at < good.size(); ++at) {
      for (int value = 0; value < 256; ++value) {
        Bytes bad = good;
        bad[at] = static_cast<uint8_t>(value);
        Give(bad);
        while (port_->sent_count() > 0) {
          const Bytes sent = Sent();
          const auto ip = Ipv6View::Parse({sent.data() + 14, sent.size() - 14});
          ASSERT_TRUE(ip) << at << "=" << value;
          EXPECT_EQ(ip->dst(), LoadIpv6(&bad[22])) << at << "=" << value;
          EXPECT_EQ(EthernetView::Parse(sent)->dst(), LoadMac(&bad[6])) << at << "=" << value;
        }
      }
    }
    Pass(Duration::Seconds(61));
    DropSent();
  }
  FreeIngress();
  EXPECT_EQ(pool_->available(), before);
}

// Headers that only the fragments put together show are judged then.
TEST_F(Ipv6InputTest, BadHeadersInsideFragmentsAreDropped) {
  Settle();
  const auto give = [&](uint32_t id, uint8_t protocol, const Bytes& whole) {
    for (size_t at = 0; at < whole.size(); at += 16) {
      const bool more = at + 16 < whole.size();
      Bytes header{protocol, 0, 0, static_cast<uint8_t>(at | (more ? 1 : 0)), 0, 0, 0, 0};
      header[7] = static_cast<uint8_t>(id);
      const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(at);
      Give(FromPeer6(Packet6(
          44, header + Bytes(begin, begin + (more ? 16 : std::ptrdiff_t(whole.size() - at))))));
    }
  };
  // A fragment header inside, whole in itself: once is enough.
  give(1, 44, Bytes{6, 0, 0, 0, 0, 0, 0, 9} + Pattern(24));
  EXPECT_EQ(Count(Counter::Ip6ReasmOKs), 1u);
  EXPECT_EQ(Count(Counter::Ip6InHdrErrors), 1u);
  // An option that must not be there.
  give(2, 60, Bytes{6, 0, 0x40, 4, 0, 0, 0, 0} + Pattern(24));
  EXPECT_EQ(Count(Counter::Ip6ReasmOKs), 2u);
  EXPECT_EQ(Count(Counter::Ip6InHdrErrors), 2u);
  EXPECT_EQ(in_.tcp_count, 0u);
  // And one that may.
  give(3, 60, Bytes{6, 0, 1, 4, 0, 0, 0, 0} + Pattern(24));
  ASSERT_EQ(in_.tcp_count, 1u);
  EXPECT_EQ(in_.tcp[0].l4_length, 24u);
}

TEST_F(Ipv6InputTest, DatagramsThatAreNoneAreNotAnswered) {
  Settle();
  Bytes udp(12);
  Store16(&udp[2], 53);
  Store16(&udp[4], 100);  // longer than it is
  Give(FromPeer6(Packet6(17, udp)));
  Store16(&udp[4], 12);  // without a checksum
  Give(FromPeer6(Packet6(17, udp)));
  EXPECT_EQ(port_->sent_count(), 0u);
}

}  // namespace
}  // namespace usher::ip_test
