#include "stack/ip/icmpv4.h"

#include <algorithm>

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

class Icmpv4Test : public IpTest {
 protected:
  Bytes Message(uint8_t type, uint8_t code, uint32_t rest, const Bytes& body) {
    Bytes message(8 + body.size());
    Icmpv4Message{.type = type, .code = code, .rest = rest}.Emit(message.data(), body);
    return message;
  }
  Bytes Packet4(const Bytes& message, bool dont_fragment = true) {
    return Ipv4({.src = peer_,
                 .dst = us_,
                 .dont_fragment = dont_fragment,
                 .protocol = IpProtocol::kIcmp,
                 .dscp_ecn = 0x28},
                message);
  }
  void GiveMessage(const Bytes& message) { Give(FromPeer4(Packet4(message))); }
  // A segment of ours, as a router would quote it.
  Bytes Ours(uint32_t seq = 0x11223344) {
    Bytes tcp(20);
    WriteTcp(tcp.data(), {});
    Store32(&tcp[4], seq);
    return Ipv4({.src = us_, .dst = far_}, tcp);
  }
  Bytes Fragment(const Bytes& message, size_t offset, size_t size, bool more) {
    const auto begin = message.begin() + static_cast<std::ptrdiff_t>(offset);
    return FromPeer4(Ipv4({.src = peer_,
                           .dst = us_,

                           .id = 77,
                           .fragment_offset = static_cast<uint16_t>(offset),
                           .dont_fragment = false,
                           .more_fragments = more,
                           .protocol = IpProtocol::kIcmp},
                          Bytes(begin, begin + static_cast<std::ptrdiff_t>(size))));
  }

  const IpAddress us_ = Ip("198.18.0.2");
  const IpAddress peer_ = Ip("198.18.0.1");
  const IpAddress far_ = Ip("8.8.8.8");
};

// Odd sizes too: the last byte is summed as if a zero followed.
TEST_F(Icmpv4Test, EchoOfEverySizeComesBackByteForByte) {
  Make();
  for (size_t size = 0; size <= 1472; size += size < 70 ? 1 : 17) {
    const Bytes data = Pattern(size);
    GiveMessage(
        Message(Icmpv4Type::kEchoRequest, 0, 0xffff0000 + static_cast<uint32_t>(size), data));
    const Bytes sent = Sent();
    ASSERT_EQ(sent.size(), 14 + 20 + 8 + size);
    const auto ip = Ipv4View::Parse({sent.data() + 14, sent.size() - 14});
    ASSERT_TRUE(ip && ip->VerifyChecksum()) << size;
    EXPECT_EQ(ip->dscp_ecn(), 0x28) << "as it was asked";
    EXPECT_TRUE(ip->dont_fragment());
    const auto icmp = Icmpv4View::Parse(ip->payload());
    ASSERT_TRUE(icmp && icmp->VerifyChecksum()) << size;
    EXPECT_EQ(icmp->type(), Icmpv4Type::kEchoReply);
    EXPECT_EQ(icmp->rest(), 0xffff0000 + size);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), icmp->body().begin(), icmp->body().end()));
  }
}

TEST_F(Icmpv4Test, EchoLongerThanOurMtuIsAnsweredInFragments) {
  config_.mtu = 576;
  Make();
  const Bytes data = Pattern(1201);
  GiveMessage(Message(Icmpv4Type::kEchoRequest, 0, 5, data));
  Bytes reply;
  while (port_->sent_count() > 0) {
    const Bytes sent = Sent();
    EXPECT_LE(sent.size(), 14u + 576);
    const auto ip = Ipv4View::Parse({sent.data() + 14, sent.size() - 14});
    ASSERT_TRUE(ip && ip->VerifyChecksum());
    EXPECT_FALSE(ip->dont_fragment());
    EXPECT_EQ(ip->fragment_offset(), reply.size());
    EXPECT_EQ(ip->more_fragments(), port_->sent_count() > 0);
    reply.insert(reply.end(), ip->payload().begin(), ip->payload().end());
  }
  ASSERT_EQ(reply.size(), 8 + data.size());
  EXPECT_TRUE(Icmpv4View::Parse(reply)->VerifyChecksum());
  EXPECT_TRUE(std::equal(data.begin(), data.end(), reply.begin() + 8));
  EXPECT_EQ(Count(Counter::IpFragOKs), 1u);
  EXPECT_EQ(Count(Counter::IpFragCreates), 3u);
  EXPECT_EQ(Count(Counter::IcmpOutEchoReps), 1u);
}

TEST_F(Icmpv4Test, FragmentedReplyThatFindsNoBufferIsGivenUp) {
  config_.mtu = 576;
  pool_size_ = 40;
  limits_.control_reserve = 0;
  Make();
  ASSERT_TRUE(
      port_->Inject(FromPeer4(Packet4(Message(Icmpv4Type::kEchoRequest, 0, 5, Pattern(1200))))));
  std::vector<void*> held;
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  pool_->Free(held.back());  // one of the three it would take
  held.pop_back();
  Poll();
  EXPECT_EQ(Count(Counter::IpFragFails), 1u);
  EXPECT_EQ(Count(Counter::IpFragOKs), 0u);
  DropSent();
  for (void* handle : held) pool_->Free(handle);
}

TEST_F(Icmpv4Test, EchoWithACodeIsNotAnswered) {
  Make();
  GiveMessage(Message(Icmpv4Type::kEchoRequest, 1, 5, Pattern(8)));
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(Count(Counter::IcmpInEchos), 1u);
}

TEST_F(Icmpv4Test, ShortAndCorruptMessagesAreErrors) {
  Make();
  const Bytes echo = Message(Icmpv4Type::kEchoRequest, 0, 5, {});
  for (std::ptrdiff_t size = 0; size < 8; ++size)
    GiveMessage(Bytes(echo.begin(), echo.begin() + size));
  EXPECT_EQ(Count(Counter::IcmpInErrors), 8u);
  EXPECT_EQ(Count(Counter::IcmpInCsumErrors), 0u);
  Bytes wrong = echo;
  wrong[3] ^= 1;
  GiveMessage(wrong);
  EXPECT_EQ(Count(Counter::IcmpInErrors), 9u);
  EXPECT_EQ(Count(Counter::IcmpInCsumErrors), 1u);
  EXPECT_EQ(Count(Counter::IcmpInMsgs), 9u);
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Icmpv4Test, EveryTypeHasItsCounterAndOnlyEchoAnAnswer) {
  Make();
  const struct {
    uint8_t type;
    Counter counter;
  } kTypes[] = {{0, Counter::IcmpInEchoReps},    {3, Counter::IcmpInDestUnreachs},
                {4, Counter::IcmpInSrcQuenchs},  {5, Counter::IcmpInRedirects},
                {11, Counter::IcmpInTimeExcds},  {12, Counter::IcmpInParmProbs},
                {13, Counter::IcmpInTimestamps}, {14, Counter::IcmpInTimestampReps},
                {17, Counter::IcmpInAddrMasks},  {18, Counter::IcmpInAddrMaskReps},
                {9, Counter::IcmpInErrors},      {15, Counter::IcmpInErrors},
                {200, Counter::IcmpInErrors}};
  for (const auto& t : kTypes) {
    const uint64_t before = Count(t.counter);
    GiveMessage(Message(t.type, 0, 0, Ours()));
    EXPECT_EQ(Count(t.counter), before + 1) << int{t.type};
    EXPECT_EQ(port_->sent_count(), 0u) << int{t.type};
  }
}

// RFC 792 quotes 8 bytes of the segment: less than that is nobody's, more is welcome.
TEST_F(Icmpv4Test, QuoteCutAtEveryLength) {
  Make();
  const Bytes ours = Ours();
  for (size_t size = 0; size <= ours.size(); ++size) {
    const uint64_t errors = Count(Counter::IcmpInErrors);
    GiveMessage(
        Message(3, 4, 1300, Bytes(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(size))));
    EXPECT_EQ(in_.error_count, size >= 28 ? 1u : 0u) << size;
    EXPECT_EQ(Count(Counter::IcmpInErrors), errors + (size >= 28 ? 0 : 1)) << size;
  }
}

// RFC 1191 section 3: the next hop's MTU is in the low 16 bits; the high ones are not read.
TEST_F(Icmpv4Test, NextHopMtuIsPassedOnAsItIs) {
  Make();
  for (const uint32_t mtu : {0u, 1u, 68u, 576u, 1500u, 65535u}) {
    GiveMessage(Message(3, 4, 0xabcd0000 | mtu, Ours()));
    ASSERT_EQ(in_.error_count, 1u) << mtu;
    EXPECT_EQ(in_.errors[0].kind, IcmpError::Kind::kPacketTooBig);
    EXPECT_EQ(in_.errors[0].mtu, mtu);
    EXPECT_EQ(in_.errors[0].seq, 0x11223344u) << "for the check of RFC 5927";
  }
}

TEST_F(Icmpv4Test, EveryCodeOfUnreachableHasItsKind) {
  Make();
  for (int code = 0; code < 256; ++code) {
    GiveMessage(Message(3, static_cast<uint8_t>(code), 0, Ours()));
    ASSERT_EQ(in_.error_count, 1u) << code;
    const bool refused = code == 2 || code == 3 || code == 9 || code == 10 || code == 13;
    const auto expected = code == 4 ? IcmpError::Kind::kPacketTooBig
                          : refused ? IcmpError::Kind::kRefused
                                    : IcmpError::Kind::kHostUnreachable;
    EXPECT_EQ(in_.errors[0].kind, expected) << code;
  }
}

TEST_F(Icmpv4Test, AWholeBurstOfErrorsFits) {
  Make();
  for (uint32_t i = 0; i < kBurstSize; ++i)
    ASSERT_TRUE(port_->Inject(FromPeer4(Packet4(Message(3, 1, 0, Ours(i))))));
  Poll();
  ASSERT_EQ(in_.error_count, kBurstSize);
  for (uint32_t i = 0; i < kBurstSize; ++i) EXPECT_EQ(in_.errors[i].seq, i);
}

TEST_F(Icmpv4Test, ErrorSentToAllIsNotBelieved) {
  Make();
  Give(Ethernet(MacAddress::Broadcast(), kPeerMac, EtherType::kIpv4,
                Packet4(Message(3, 1, 0, Ours()))));
  EXPECT_EQ(in_.error_count, 0u);
  EXPECT_EQ(Count(Counter::IcmpInDestUnreachs), 1u);
}

// RFC 1122 section 3.2.2: no error about an ICMP error, about a later fragment, or to a group.
TEST_F(Icmpv4Test, ExpiredFragmentsAreToldUnlessTheyWereAnError) {
  Make();
  Pass(Duration::Seconds(10));  // announcements
  DropSent();
  Give(Fragment(Message(Icmpv4Type::kEchoRequest, 0, 5, Pattern(64)), 0, 64, true));
  Pass(limits_.ipfrag_time + Duration::Seconds(1));
  const Bytes sent = Sent();
  ASSERT_GE(sent.size(), 42u);
  const auto ip = Ipv4View::Parse({sent.data() + 14, sent.size() - 14});
  const auto icmp = Icmpv4View::Parse(ip->payload());
  EXPECT_TRUE(icmp->VerifyChecksum());
  EXPECT_EQ(icmp->type(), Icmpv4Type::kTimeExceeded);
  EXPECT_EQ(icmp->code(), 1);
  EXPECT_EQ(ip->dscp_ecn(), 0xc0);
  EXPECT_EQ(Count(Counter::IcmpOutTimeExcds), 1u);

  Give(Fragment(Message(3, 1, 0, Ours() + Pattern(64)), 0, 64, true));
  Give(Fragment(Message(Icmpv4Type::kEchoRequest, 0, 5, Pattern(64)), 8, 64, true));
  Pass(limits_.ipfrag_time + Duration::Seconds(1));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(Icmpv4Test, ErrorWithoutABufferIsCounted) {
  pool_size_ = 40;
  limits_.control_reserve = 0;
  Make();
  ASSERT_TRUE(
      port_->Inject(FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = 132}, Pattern(40)))));
  std::vector<void*> held;
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  Poll();
  EXPECT_EQ(Count(Counter::IcmpOutErrors), 1u);
  EXPECT_EQ(Count(Counter::IcmpOutMsgs), 0u);
  EXPECT_EQ(port_->sent_count(), 0u);
  for (void* handle : held) pool_->Free(handle);
}

// The exact limit must not be readable from outside (CVE-2020-25705): what a full bucket gives
// differs from interface to interface.
TEST_F(Icmpv4Test, BurstOfErrorsIsBlurred) {
  limits_.icmp_msgs_burst = 50;
  std::vector<size_t> counts;
  const Bytes frame = FromPeer4(Ipv4({.src = peer_, .dst = us_, .protocol = 132}, Pattern(40)));
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    random_ = SeededRandom(seed);
    Make();
    for (int i = 0; i < 60; ++i) Give(frame);
    counts.push_back(port_->sent_count());
    EXPECT_LE(counts.back(), 50u);
    EXPECT_GE(counts.back(), 17u);
    DropSent();
    egress_.reset();
    interface_.reset();
    port_.reset();
  }
  std::sort(counts.begin(), counts.end());
  EXPECT_NE(counts.front(), counts.back());
}

}  // namespace
}  // namespace usher::ip_test
