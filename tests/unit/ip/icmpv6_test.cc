#include "stack/ip/icmpv6.h"

#include <algorithm>

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

class Icmpv6Test : public IpTest {
 protected:
  Icmpv6Test() {
    config_.addresses = {{us_, 48}};
    config_.dad_transmits = 0;
    config_.accept_ra = false;
  }
  void Settle() {
    Make();
    Pass(Duration::Seconds(10));
    DropSent();
  }
  Bytes Message(uint8_t type, uint8_t code, uint32_t rest, const Bytes& body, const IpAddress& src,
                const IpAddress& dst) {
    // One byte more than is needed: GCC 12 takes an empty body for one that reaches beyond its end.
    Bytes message(9 + body.size());
    message.resize(Icmpv6Message{.type = type, .code = code, .rest = rest}.Emit(message.data(),
                                                                                body, src, dst));
    return message;
  }
  void GiveMessage(uint8_t type, uint8_t code, uint32_t rest, const Bytes& body) {
    GiveBytes(Message(type, code, rest, body, peer_, us_));
  }
  void GiveBytes(const Bytes& message) {
    Give(FromPeer6(Ipv6({.src = peer_, .dst = us_, .next_header = IpProtocol::kIcmpv6}, message)));
  }
  // A segment of ours, as a router would quote it.
  Bytes Ours() {
    Bytes tcp(20);
    WriteTcp(tcp.data(), {});
    Store32(&tcp[4], 0x11223344);
    return Ipv6({.src = us_, .dst = far_, .next_header = 6}, tcp);
  }
  // What the stack sent last, its checksum seen to be right.
  std::optional<Icmpv6View> SentIcmp() {
    sent_ = Sent();
    if (sent_.size() < 62) return std::nullopt;
    const auto ip = Ipv6View::Parse({sent_.data() + 14, sent_.size() - 14});
    if (!ip || ip->next_header() != IpProtocol::kIcmpv6) return std::nullopt;
    const auto icmp = Icmpv6View::Parse(ip->payload());
    EXPECT_TRUE(icmp->VerifyChecksum(ip->src(), ip->dst()));
    return icmp;
  }

  const IpAddress us_ = Ip("2001:2::2");
  const IpAddress peer_ = Ip("2001:2::1");
  const IpAddress far_ = Ip("2600::1");
  Bytes sent_;
};

TEST_F(Icmpv6Test, EchoOfEverySizeComesBackByteForByte) {
  Settle();
  for (size_t size = 0; size <= 1452; size += size < 70 ? 1 : 17) {
    const Bytes data = Pattern(size);
    GiveMessage(Icmpv6Type::kEchoRequest, 0, 0xffff0000 + static_cast<uint32_t>(size), data);
    const auto reply = SentIcmp();
    ASSERT_TRUE(reply) << size;
    EXPECT_EQ(reply->type(), Icmpv6Type::kEchoReply);
    EXPECT_EQ(reply->rest(), 0xffff0000 + size);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), reply->body().begin(), reply->body().end()));
  }
}

TEST_F(Icmpv6Test, EchoLongerThanOurMtuIsAnsweredInFragments) {
  config_.mtu = 1280;
  Settle();
  const Bytes data = Pattern(1403);
  GiveMessage(Icmpv6Type::kEchoRequest, 0, 5, data);
  Bytes reply;
  std::optional<uint32_t> id;
  while (port_->sent_count() > 0) {
    const Bytes sent = Sent();
    EXPECT_LE(sent.size(), 14u + 1280);
    const auto ip = Ipv6View::Parse({sent.data() + 14, sent.size() - 14});
    ASSERT_TRUE(ip);
    const auto walk = Ipv6Extensions::Walk(*ip);
    ASSERT_TRUE(walk.fragment);
    EXPECT_EQ(walk.fragment->offset, reply.size());
    EXPECT_EQ(walk.fragment->more, port_->sent_count() > 0);
    EXPECT_EQ(walk.fragment->id, id.value_or(walk.fragment->id));
    id = walk.fragment->id;
    const ByteSpan part = ip->packet().subspan(walk.payload_at);
    reply.insert(reply.end(), part.begin(), part.end());
  }
  ASSERT_EQ(reply.size(), 8 + data.size());
  EXPECT_TRUE(Icmpv6View::Parse(reply)->VerifyChecksum(us_, peer_));
  EXPECT_TRUE(std::equal(data.begin(), data.end(), reply.begin() + 8));
  EXPECT_EQ(Count(Counter::Ip6FragOKs), 1u);
  EXPECT_EQ(Count(Counter::Ip6FragCreates), 2u);
}

TEST_F(Icmpv6Test, EchoWithACodeOrFromNowhereIsNotAnswered) {
  Settle();
  GiveMessage(Icmpv6Type::kEchoRequest, 1, 5, Pattern(8));
  Give(FromPeer6(Ipv6({.src = IpAddress(), .dst = us_, .next_header = IpProtocol::kIcmpv6},
                      Message(Icmpv6Type::kEchoRequest, 0, 5, {}, IpAddress(), us_))));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Icmpv6Test, EchoToAGroupIsAnsweredFromTheAskersScope) {
  Settle();
  const IpAddress all = Ip("ff02::1");
  const IpAddress asker = Ip("fe80::77");
  Give(Ethernet(MulticastMac(all), kPeerMac, EtherType::kIpv6,
                Ipv6({.src = asker, .dst = all, .next_header = IpProtocol::kIcmpv6},
                     Message(Icmpv6Type::kEchoRequest, 0, 9, Pattern(3), asker, all))));
  ASSERT_TRUE(SentIcmp());
  EXPECT_EQ(LoadIpv6(&sent_[22]), Ip("fe80::ff:fe00:1"));
  EXPECT_EQ(LoadIpv6(&sent_[38]), asker);
}

TEST_F(Icmpv6Test, ShortAndCorruptMessagesAreErrors) {
  Settle();
  const Bytes echo = Message(Icmpv6Type::kEchoRequest, 0, 5, {}, peer_, us_);
  for (std::ptrdiff_t size = 0; size < 8; ++size)
    GiveBytes(Bytes(echo.begin(), echo.begin() + size));
  EXPECT_EQ(Count(Counter::Icmp6InErrors), 8u);
  EXPECT_EQ(Count(Counter::Icmp6InCsumErrors), 0u);
  // A checksum without the pseudo-header, as ICMPv4 has it, is wrong here.
  Bytes wrong(8);
  Icmpv4Message{.type = Icmpv6Type::kEchoRequest, .rest = 5}.Emit(wrong.data(), {});
  GiveBytes(wrong);
  EXPECT_EQ(Count(Counter::Icmp6InErrors), 9u);
  EXPECT_EQ(Count(Counter::Icmp6InCsumErrors), 1u);
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Icmpv6Test, EveryTypeHasItsCounterAndOnlyEchoAnAnswer) {
  Settle();
  const struct {
    uint8_t type;
    Counter counter;
  } kTypes[] = {{1, Counter::Icmp6InDestUnreachs},
                {2, Counter::Icmp6InPktTooBigs},
                {3, Counter::Icmp6InTimeExcds},
                {4, Counter::Icmp6InParmProblems},
                {129, Counter::Icmp6InEchoReplies},
                {130, Counter::Icmp6InGroupMembQueries},
                {133, Counter::Icmp6InRouterSolicits},
                {134, Counter::Icmp6InRouterAdvertisements},
                {137, Counter::Icmp6InRedirects},
                {143, Counter::Icmp6InMLDv2Reports},
                {5, Counter::Icmp6InMsgs},
                {127, Counter::Icmp6InMsgs},
                {200, Counter::Icmp6InMsgs},
                {255, Counter::Icmp6InMsgs}};
  for (const auto& t : kTypes) {
    const uint64_t before = Count(t.counter);
    GiveMessage(t.type, 0, 0, Ours());
    EXPECT_EQ(Count(t.counter), before + 1) << int{t.type};
    EXPECT_EQ(port_->sent_count(), 0u) << int{t.type};
  }
}

TEST_F(Icmpv6Test, QuoteCutAtEveryLength) {
  Settle();
  const Bytes ours = Ours();
  for (size_t size = 0; size <= ours.size(); ++size) {
    const uint64_t errors = Count(Counter::Icmp6InErrors);
    GiveMessage(Icmpv6Type::kPacketTooBig, 0, 1300,
                Bytes(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_EQ(in_.error_count, size >= 48 ? 1u : 0u) << size;
    EXPECT_EQ(Count(Counter::Icmp6InErrors), errors + (size >= 48 ? 0 : 1)) << size;
  }
}

TEST_F(Icmpv6Test, MtuIsPassedOnAsItIs) {
  Settle();
  for (const uint32_t mtu : {0u, 68u, 1279u, 1280u, 65536u, 0xffffffffu}) {
    GiveMessage(Icmpv6Type::kPacketTooBig, 0, mtu, Ours());
    ASSERT_EQ(in_.error_count, 1u) << mtu;
    EXPECT_EQ(in_.errors[0].mtu, mtu);
    EXPECT_EQ(in_.errors[0].seq, 0x11223344u);
  }
}

TEST_F(Icmpv6Test, KindsOfErrors) {
  Settle();
  using Kind = IcmpError::Kind;
  const struct {
    uint8_t type, code;
    Kind kind;
  } kKinds[] = {{1, 0, Kind::kHostUnreachable}, {1, 1, Kind::kRefused},
                {1, 2, Kind::kHostUnreachable}, {1, 3, Kind::kHostUnreachable},
                {1, 4, Kind::kRefused},         {1, 5, Kind::kRefused},
                {1, 6, Kind::kRefused},         {1, 7, Kind::kHostUnreachable},
                {2, 0, Kind::kPacketTooBig},    {2, 9, Kind::kPacketTooBig},
                {3, 0, Kind::kHostUnreachable}, {3, 1, Kind::kHostUnreachable},
                {4, 0, Kind::kHostUnreachable}, {4, 1, Kind::kRefused},
                {4, 2, Kind::kHostUnreachable}};
  for (const auto& k : kKinds) {
    GiveMessage(k.type, k.code, 0, Ours());
    ASSERT_EQ(in_.error_count, 1u) << int{k.type} << "/" << int{k.code};
    EXPECT_EQ(in_.errors[0].kind, k.kind) << int{k.type} << "/" << int{k.code};
  }
}

TEST_F(Icmpv6Test, ErrorsAboutOthersOrSentToManyStayHere) {
  Settle();
  Bytes other = Ours();
  other[8] ^= 1;  // its source
  GiveMessage(1, 4, 0, other);
  EXPECT_EQ(in_.error_count, 0u);
  Bytes udp = Ours();
  udp[6] = IpProtocol::kUdp;
  GiveMessage(1, 4, 0, udp);
  EXPECT_EQ(in_.error_count, 0u);
  Give(Ethernet(MacAddress::Broadcast(), kPeerMac, EtherType::kIpv6,
                Ipv6({.src = peer_, .dst = us_, .next_header = IpProtocol::kIcmpv6},
                     Message(1, 4, 0, Ours(), peer_, us_))));
  EXPECT_EQ(in_.error_count, 0u);
}

// RFC 6980: neighbour discovery that came in a fragment, even an atomic one, is not believed.
TEST_F(Icmpv6Test, NeighbourDiscoveryInAFragmentIsIgnored) {
  Settle();
  Bytes solicit(NeighborSolicitation::kMaxSize);
  solicit.resize(NeighborSolicitation{us_, kPeerMac}.Emit(solicit.data()));
  FillIcmpv6Checksum(solicit.data(), solicit.size(), peer_, us_);
  const Bytes atomic{IpProtocol::kIcmpv6, 0, 0, 0, 0, 0, 0, 1};
  Give(FromPeer6(
      Ipv6({.src = peer_, .dst = us_, .next_header = 44, .hop_limit = 255}, atomic + solicit)));
  EXPECT_EQ(port_->sent_count(), 0u);
  Give(FromPeer6(Ipv6(
      {.src = peer_, .dst = us_, .next_header = IpProtocol::kIcmpv6, .hop_limit = 255}, solicit)));
  EXPECT_EQ(port_->sent_count(), 1u);
}

// RFC 4443 section 2.4(e): never about an error or a redirect; an error fits the minimum MTU.
TEST_F(Icmpv6Test, NoErrorAboutErrorsAndRedirects) {
  Settle();
  // Behind an option that must be refused with an error, if the rest allows.
  const auto give = [&](const Bytes& message) {
    Give(FromPeer6(Ipv6({.src = peer_, .dst = us_, .next_header = 60},
                        Bytes{IpProtocol::kIcmpv6, 0, 0x80, 4, 0, 0, 0, 0} + message)));
  };
  give(Message(1, 4, 0, Ours(), peer_, us_));
  give(Message(Icmpv6Type::kRedirect, 0, 0, Pattern(32), peer_, us_));
  EXPECT_EQ(port_->sent_count(), 0u);
  // A fragment that is not the first may be of anything.
  Give(FromPeer6(Ipv6({.src = peer_, .dst = us_, .next_header = 60},
                      Bytes{44, 0, 0x80, 4, 0, 0, 0, 0, 6, 0, 0, 8, 0, 0, 0, 1} + Pattern(16))));
  EXPECT_EQ(port_->sent_count(), 0u);
  give(Message(Icmpv6Type::kEchoRequest, 0, 0, Pattern(1400), peer_, us_));
  ASSERT_TRUE(SentIcmp());
  EXPECT_EQ(sent_.size(), 14u + 1280);
}

TEST_F(Icmpv6Test, ErrorsHaveARate) {
  limits_.icmp_msgs_burst = 10;
  limits_.icmp_msgs_per_sec = 100;
  Settle();
  const Bytes frame = FromPeer6(Ipv6({.src = peer_, .dst = us_, .next_header = 132}, Pattern(20)));
  for (int i = 0; i < 50; ++i) Give(frame);
  EXPECT_LE(port_->sent_count(), 10u);
  EXPECT_GE(port_->sent_count(), 3u);
  EXPECT_EQ(port_->sent_count() + Count(Counter::Icmp6OutRateLimitHost), 50u);
  DropSent();
}

TEST_F(Icmpv6Test, ErrorWithoutABufferIsCounted) {
  pool_size_ = 40;
  limits_.control_reserve = 0;
  Settle();
  ASSERT_TRUE(
      port_->Inject(FromPeer6(Ipv6({.src = peer_, .dst = us_, .next_header = 132}, Pattern(20)))));
  std::vector<void*> held;
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  Poll();
  EXPECT_EQ(Count(Counter::Icmp6OutErrors), 1u);
  EXPECT_EQ(port_->sent_count(), 0u);
  for (void* handle : held) pool_->Free(handle);
}

// A chain of headers that ends nowhere is not one that leads to an error: it may be answered.
TEST_F(Icmpv6Test, ErrorAboutHeadersThatRunBeyondTheEnd) {
  Settle();
  const Bytes bad_option{60, 0, 0x80, 4, 0, 0, 0, 0};
  for (const Bytes& rest : {Bytes{58, 200, 1, 4, 0, 0, 0, 0}, Bytes{58, 0, 1, 4}}) {
    Give(FromPeer6(Ipv6({.src = peer_, .dst = us_, .next_header = 60}, bad_option + rest)));
    const auto error = SentIcmp();
    ASSERT_TRUE(error);
    EXPECT_EQ(error->type(), Icmpv6Type::kParameterProblem);
    EXPECT_EQ(error->rest(), 42u);
  }
}

// RFC 6980 section 5, also of a message that has been put together.
TEST_F(Icmpv6Test, NeighbourDiscoveryPutTogetherIsIgnored) {
  Settle();
  Bytes solicit(NeighborSolicitation::kMaxSize);
  NeighborSolicitation{us_, kPeerMac}.Emit(solicit.data());
  FillIcmpv6Checksum(solicit.data(), solicit.size(), peer_, us_);
  const Bytes first{IpProtocol::kIcmpv6, 0, 0, 1, 0, 0, 0, 1};
  const Bytes last{IpProtocol::kIcmpv6, 0, 0, 16, 0, 0, 0, 1};
  const Ipv6Header header{.src = peer_, .dst = us_, .next_header = 44, .hop_limit = 255};
  Give(FromPeer6(Ipv6(header, first + Bytes(solicit.begin(), solicit.begin() + 16))));
  Give(FromPeer6(Ipv6(header, last + Bytes(solicit.begin() + 16, solicit.end()))));
  EXPECT_EQ(Count(Counter::Ip6ReasmOKs), 1u);
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

TEST_F(Icmpv6Test, EchoPutTogetherThatFitsOurMtuIsAnsweredWhole) {
  Settle();
  const Bytes data = Pattern(200);
  const Bytes echo = Message(Icmpv6Type::kEchoRequest, 0, 5, data, peer_, us_);
  const Bytes first{IpProtocol::kIcmpv6, 0, 0, 1, 0, 0, 0, 1};
  const Bytes last{IpProtocol::kIcmpv6, 0, 0, 104, 0, 0, 0, 1};
  const Ipv6Header header{.src = peer_, .dst = us_, .next_header = 44};
  Give(FromPeer6(Ipv6(header, first + Bytes(echo.begin(), echo.begin() + 104))));
  Give(FromPeer6(Ipv6(header, last + Bytes(echo.begin() + 104, echo.end()))));
  const auto reply = SentIcmp();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->type(), Icmpv6Type::kEchoReply);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), reply->body().begin(), reply->body().end()));
  EXPECT_EQ(Count(Counter::Ip6FragCreates), 0u);
  EXPECT_EQ(Count(Counter::Ip6FragOKs), 0u);
}

TEST_F(Icmpv6Test, EchoWithoutBuffersForItsFragmentsIsCounted) {
  config_.mtu = 1280;
  pool_size_ = 64;
  limits_.control_reserve = 0;
  Settle();
  ASSERT_TRUE(port_->Inject(
      FromPeer6(Ipv6({.src = peer_, .dst = us_, .next_header = IpProtocol::kIcmpv6},
                     Message(Icmpv6Type::kEchoRequest, 0, 5, Pattern(1403), peer_, us_)))));
  std::vector<void*> held;
  Packet packet;
  while (pool_->available() > 1 && pool_->Allocate(&packet)) held.push_back(packet.handle);
  Poll();
  EXPECT_EQ(port_->sent_count(), 1u) << "the first";
  EXPECT_EQ(Count(Counter::Ip6FragFails), 1u);
  EXPECT_EQ(Count(Counter::Ip6FragOKs), 0u);
  DropSent();
  for (void* handle : held) pool_->Free(handle);
}

// Nothing may be said from an address that is still being tested (RFC 4862 section 5.4).
TEST_F(Icmpv6Test, SilentWhileAddressesAreTested) {
  config_.dad_transmits = 1;
  Make();
  const IpAddress all = Ip("ff02::1");
  const auto to_all = [&](uint8_t next_header, const Bytes& payload) {
    Give(Ethernet(MulticastMac(all), kPeerMac, EtherType::kIpv6,
                  Ipv6({.src = peer_, .dst = all, .next_header = next_header}, payload)));
  };
  const Bytes echo = Message(Icmpv6Type::kEchoRequest, 0, 9, Pattern(3), peer_, all);
  const Bytes bad_option = Bytes{6, 0, 0x80, 4, 0, 0, 0, 0};
  to_all(IpProtocol::kIcmpv6, echo);
  to_all(60, bad_option);
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(Count(Counter::Icmp6OutMsgs), Count(Counter::Icmp6OutMLDv2Reports));
  Pass(Duration::Seconds(10));
  DropSent();
  to_all(IpProtocol::kIcmpv6, echo);
  ASSERT_TRUE(SentIcmp());
  EXPECT_EQ(LoadIpv6(&sent_[22]), us_);
  to_all(60, bad_option);
  ASSERT_TRUE(SentIcmp());
  EXPECT_EQ(sent_[54], Icmpv6Type::kParameterProblem);
}

TEST_F(Icmpv6Test, EchoToAGroupIsAnsweredFromTheFirstAddressOfTheScope) {
  config_.addresses.push_back({Ip("2001:db8::2"), 64});
  Settle();
  const IpAddress all = Ip("ff02::1");
  Give(Ethernet(MulticastMac(all), kPeerMac, EtherType::kIpv6,
                Ipv6({.src = peer_, .dst = all, .next_header = IpProtocol::kIcmpv6},
                     Message(Icmpv6Type::kEchoRequest, 0, 9, Pattern(3), peer_, all))));
  ASSERT_TRUE(SentIcmp());
  EXPECT_EQ(LoadIpv6(&sent_[22]), us_);
}

// RFC 3810 section 5.1.14: without the option no router need have seen it.
TEST_F(Icmpv6Test, ListenerQueryWithoutRouterAlertIsIgnored) {
  Settle();
  Bytes query(28);
  query[0] = Icmpv6Type::kMldQuery;
  const IpAddress all = Ip("ff02::1"), router = Ip("fe80::9");
  FillIcmpv6Checksum(query.data(), query.size(), router, all);
  const auto give = [&](uint8_t next_header, const Bytes& payload) {
    Give(Ethernet(
        MulticastMac(all), Mac(9), EtherType::kIpv6,
        Ipv6({.src = router, .dst = all, .next_header = next_header, .hop_limit = 1}, payload)));
    Pass(Duration::Seconds(1));
  };
  give(IpProtocol::kIcmpv6, query);
  EXPECT_EQ(port_->sent_count(), 0u);
  give(0, Bytes{IpProtocol::kIcmpv6, 0, 5, 2, 0, 0, 1, 0} + query);
  EXPECT_EQ(port_->sent_count(), 1u);
  DropSent();
}

}  // namespace
}  // namespace usher::ip_test
