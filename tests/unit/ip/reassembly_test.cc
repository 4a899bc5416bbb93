#include "stack/ip/reassembly.h"

#include <algorithm>

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

constexpr size_t kFragmentHeader = 8;

// Fragments of an ICMP echo or of a TCP segment, in both families.
class ReassemblyTest : public IpTest, public ::testing::WithParamInterface<Family> {
 protected:
  ReassemblyTest() {
    config_.addresses = {{Ip("198.18.0.2"), 15}, {Ip("2001:2::2"), 48}};
    config_.dad_transmits = 0;
    config_.accept_ra = false;
  }

  bool v4() const { return GetParam() == Family::kIpv4; }
  IpAddress us() const { return v4() ? Ip("198.18.0.2") : Ip("2001:2::2"); }
  IpAddress peer() const { return v4() ? Ip("198.18.0.1") : Ip("2001:2::1"); }
  uint64_t Count2(Counter four, Counter six) const { return Count(v4() ? four : six); }
  uint64_t Oks() const { return Count2(Counter::IpReasmOKs, Counter::Ip6ReasmOKs); }
  uint64_t Fails() const { return Count2(Counter::IpReasmFails, Counter::Ip6ReasmFails); }
  uint64_t Timeouts() const { return Count2(Counter::IpReasmTimeout, Counter::Ip6ReasmTimeout); }

  struct Piece {
    size_t offset, length;
    bool more;
  };
  Bytes Fragment(const Bytes& whole, const Piece& p, uint32_t id, uint8_t protocol = 6,
                 std::optional<IpAddress> from = {}, uint8_t tos = 0) {
    const Bytes part(whole.begin() + static_cast<std::ptrdiff_t>(p.offset),
                     whole.begin() + static_cast<std::ptrdiff_t>(p.offset + p.length));
    const IpAddress source = from ? *from : peer();
    if (v4())
      return FromPeer4(Ipv4({.src = source,
                             .dst = us(),
                             .id = static_cast<uint16_t>(id),
                             .fragment_offset = static_cast<uint16_t>(p.offset),
                             .dont_fragment = false,
                             .more_fragments = p.more,
                             .protocol = protocol,
                             .dscp_ecn = tos},
                            part));
    Bytes header(kFragmentHeader);
    header[0] = protocol;
    Store16(&header[2], static_cast<uint16_t>(p.offset | (p.more ? 1 : 0)));
    Store32(&header[4], id);
    return FromPeer6(Ipv6(
        {.src = source, .dst = us(), .next_header = IpProtocol::kFragment, .traffic_class = tos},
        header + part));
  }
  Bytes Segment(size_t size) {
    Bytes segment = Pattern(size);
    segment[12] = 5 << 4;
    return segment;
  }
  void ExpectWhole(const Bytes& segment, const char* what) {
    ASSERT_EQ(in_.tcp_count, 1u) << what;
    const L4Packet& got = in_.tcp[0];
    EXPECT_EQ(got.packet.handle, nullptr);
    ASSERT_EQ(got.l4_length, segment.size()) << what;
    EXPECT_TRUE(std::equal(segment.begin(), segment.end(), got.l4)) << what;
    EXPECT_EQ(got.source, peer());
    EXPECT_EQ(got.destination, us());
    EXPECT_FALSE(got.to_multicast);
  }
};

TEST_P(ReassemblyTest, ThreeFragmentsInEveryOrder) {
  Make();
  const Bytes segment = Segment(1000);
  const std::array<Piece, 3> pieces{{{0, 400, true}, {400, 400, true}, {800, 200, false}}};
  std::array<int, 3> order{0, 1, 2};
  uint32_t id = 1;
  do {
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(in_.tcp_count, 0u);
      Give(Fragment(segment, pieces[static_cast<size_t>(order[static_cast<size_t>(i)])], id));
    }
    ExpectWhole(segment, "order");
    FreeIngress();
    ++id;
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(Oks(), 6u);
  EXPECT_EQ(Fails(), 0u);
  Poll();
  EXPECT_EQ(interface_->reassembly().in_work(), 0u);
}

TEST_P(ReassemblyTest, DuplicatesAreHarmless) {
  Make();
  const Bytes segment = Segment(800);
  Give(Fragment(segment, {0, 400, true}, 1));
  Give(Fragment(segment, {0, 400, true}, 1));
  Give(Fragment(segment, {400, 400, false}, 1));
  ExpectWhole(segment, "with a duplicate");
}

TEST_P(ReassemblyTest, OverlapCondemnsTheDatagramForItsTime) {
  Make();
  const Bytes segment = Segment(1200);
  const Piece overlaps[] = {{400, 400, true}, {0, 800, true}, {24, 376, true},  {392, 16, true},
                            {0, 408, true},   {0, 392, true}, {400, 200, false}};
  uint32_t id = 1;
  for (const Piece& overlap : overlaps) {
    const uint64_t fails = Fails();
    Give(Fragment(segment, {0, 400, true}, id));
    Give(Fragment(segment, {400, 600, true}, id));
    Give(Fragment(segment, overlap, id));
    EXPECT_EQ(Fails(), fails + 1) << overlap.offset << "+" << overlap.length;
    // What would complete it finds it dead.
    Give(Fragment(segment, {1000, 200, false}, id));
    Give(Fragment(segment, {0, 400, true}, id));
    Give(Fragment(segment, {400, 600, true}, id));
    EXPECT_EQ(in_.tcp_count, 0u);
    ++id;
  }
  EXPECT_EQ(Count(Counter::IpExtReasmOverlaps), v4() ? std::size(overlaps) : 0);
  Pass(Duration::Seconds(61));
  EXPECT_EQ(interface_->reassembly().in_work(), 0u);
}

TEST_P(ReassemblyTest, Teardrop) {
  Make();
  const Bytes segment = Segment(200);
  Give(Fragment(segment, {0, 40, true}, 1));
  Give(Fragment(segment, {24, 8, false}, 1));  // ends before the first one does
  EXPECT_EQ(in_.tcp_count, 0u);
  EXPECT_EQ(Fails(), 1u);
}

TEST_P(ReassemblyTest, TwoEndsContradict) {
  Make();
  const Bytes segment = Segment(1000);
  Give(Fragment(segment, {800, 200, false}, 1));
  Give(Fragment(segment, {400, 200, false}, 1));
  EXPECT_EQ(Fails(), 1u);
  Give(Fragment(segment, {400, 200, false}, 2));
  Give(Fragment(segment, {800, 200, true}, 2));
  EXPECT_EQ(Fails(), 2u);
}

TEST_P(ReassemblyTest, TinyAndEmptyFragmentsAreRefused) {
  Make();
  const Bytes segment = Segment(100);
  Give(Fragment(segment, {0, 16, true}, 1));  // the ports' neighbours are missing
  Give(Fragment(segment, {8, 40, true}, 2));  // begins inside the header
  Give(Fragment(segment, {16, 40, true}, 3));
  Give(Fragment(segment, {40, 0, true}, 4));
  Give(Fragment(segment, {40, 0, false}, 5));
  EXPECT_EQ(Fails(), 5u);
  EXPECT_EQ(interface_->reassembly().in_work(), 0u);
}

TEST_P(ReassemblyTest, BeyondTheLongestPacketIsRefused) {
  Make();
  const Bytes big(65536, 1);
  Give(Fragment(big, {65528, 8, false}, 1));  // ping of death
  EXPECT_EQ(in_.tcp_count, 0u);
  EXPECT_EQ(interface_->reassembly().in_work(), 0u);
}

TEST_P(ReassemblyTest, TimeoutIsToldToTheSender) {
  Make();
  const Bytes segment = Segment(800);
  Give(Fragment(segment, {0, 400, true}, 1));
  Give(Fragment(segment, {400, 200, true}, 2));  // no first fragment: nothing to quote
  const Duration life = Duration::Seconds(v4() ? 30 : 60);
  Pass(life - Duration::Millis(1));
  EXPECT_EQ(Timeouts(), 0u);
  DropSent();
  Pass(Duration::Millis(1));
  EXPECT_EQ(Timeouts(), 2u);
  ASSERT_EQ(port_->sent_count(), 1u);
  const Bytes sent = Sent();
  EXPECT_EQ(EthernetView::Parse(sent)->dst(), kPeerMac);
  const size_t at = 14 + (v4() ? 20 : 40);
  EXPECT_EQ(sent[at], v4() ? Icmpv4Type::kTimeExceeded : Icmpv6Type::kTimeExceeded);
  EXPECT_EQ(sent[at + 1], 1);
  EXPECT_EQ(in_.tcp_count, 0u);
  EXPECT_EQ(interface_->NextDeadline(), Instant::Never());
}

TEST_P(ReassemblyTest, FloodStaysInBoundsAndAnHonestDatagramPasses) {
  Make();
  const uint32_t before = pool_->available();
  const Bytes segment = Segment(800);
  for (uint32_t i = 0; i < 5000; ++i) {
    IpAddress from = IpAddress::V4(0xc6130000 + i);
    if (!v4()) {
      auto bytes = Ip("2001:2::").bytes();
      Store32(&bytes[12], 0x10000 + i);
      from = IpAddress::V6(bytes);
    }
    Give(Fragment(segment, {0, 400, true}, i, 6, from));
    if (i % 1000 == 500) {
      Give(Fragment(segment, {0, 400, true}, i));
      Give(Fragment(segment, {400, 400, false}, i));
      ExpectWhole(segment, "in the flood");
    }
  }
  EXPECT_LE(interface_->reassembly().in_work(), limits_.reassembly_datagrams);
  FreeIngress();
  EXPECT_EQ(pool_->available(), before) << "fragments hold no buffers";
}

TEST_P(ReassemblyTest, OneSourceHasOnlyItsShare) {
  Make();
  const Bytes segment = Segment(800);
  const IpAddress other = v4() ? Ip("198.18.0.9") : Ip("2001:2::9");
  Give(Fragment(segment, {0, 400, true}, 7));
  for (uint32_t i = 0; i < 1000; ++i) Give(Fragment(segment, {0, 400, true}, i, 6, other));
  EXPECT_LE(interface_->reassembly().in_work(), limits_.reassembly_per_source + 1);
  Give(Fragment(segment, {400, 400, false}, 7));
  ExpectWhole(segment, "of another source");
}

TEST_P(ReassemblyTest, FragmentsPerDatagramAreBounded) {
  limits_.fragments_per_datagram = 16;
  Make();
  const Bytes segment = Segment(8 * 100);
  for (size_t i = 3; i < 40; ++i) Give(Fragment(segment, {i * 8, 8, true}, 1));
  EXPECT_EQ(Fails(), 1u);
}

TEST_P(ReassemblyTest, CongestionMarksAreCombined) {
  Make();
  const Bytes segment = Segment(800);
  Give(Fragment(segment, {0, 400, true}, 1, 6, {}, 2));
  Give(Fragment(segment, {400, 400, false}, 1, 6, {}, 3));
  ExpectWhole(segment, "CE");
  EXPECT_EQ(in_.tcp[0].tos & 3, 3);
  Give(Fragment(segment, {0, 400, true}, 2, 6, {}, 0));
  Give(Fragment(segment, {400, 400, false}, 2, 6, {}, 3));
  EXPECT_EQ(in_.tcp_count, 0u) << "CE on a flow that is not capable of ECN";
  EXPECT_EQ(Fails(), 1u);
}

TEST_P(ReassemblyTest, AnswerToAReassembledSegmentHasABufferOfItsOwn) {
  Make();
  const Bytes segment = Segment(800);
  Give(Fragment(segment, {0, 400, true}, 1));
  Give(Fragment(segment, {400, 400, false}, 1));
  ASSERT_EQ(in_.tcp_count, 1u);
  TxFrame frame;
  ASSERT_TRUE(egress_->BeginReply(in_.tcp[0], &frame));
  WriteTcp(frame.l4, {});
  egress_->CommitTcp(frame, {us(), peer(), 20, 0, 0});
  egress_->Flush();
  const Bytes sent = Sent();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(EthernetView::Parse(sent)->dst(), kPeerMac);
  EXPECT_EQ(EthernetView::Parse(sent)->type(), v4() ? EtherType::kIpv4 : EtherType::kIpv6);
}

TEST_P(ReassemblyTest, LargestEchoComesBackInFragments) {
  Make();
  const size_t size = v4() ? 65515 : 65535;  // the whole ICMP message
  Bytes echo(size);
  const Bytes data = Pattern(size - 8);
  if (v4()) {
    Icmpv4Message{.type = Icmpv4Type::kEchoRequest, .rest = 77}.Emit(echo.data(), data);
  } else {
    Icmpv6Message{.type = Icmpv6Type::kEchoRequest, .rest = 77}.Emit(echo.data(), data, peer(),
                                                                     us());
  }
  const size_t step = v4() ? 1480 : 1448;
  const uint8_t protocol = v4() ? IpProtocol::kIcmp : IpProtocol::kIcmpv6;
  for (size_t at = 0; at < size; at += step)
    Give(Fragment(echo, {at, std::min(step, size - at), at + step < size}, 9, protocol));
  Bytes reply(size);
  size_t got = 0;
  bool last = false;
  while (port_->sent_count() > 0) {
    const Bytes sent = Sent();
    ASSERT_LE(sent.size(), 1514u);
    size_t offset = 0, header = 0;
    if (v4()) {
      const auto ip = Ipv4View::Parse({sent.data() + 14, sent.size() - 14});
      ASSERT_TRUE(ip && ip->VerifyChecksum());
      offset = ip->fragment_offset();
      last = last || !ip->more_fragments();
      header = 34;
    } else {
      const auto walk =
          Ipv6Extensions::Walk(*Ipv6View::Parse({sent.data() + 14, sent.size() - 14}));
      ASSERT_TRUE(walk.fragment);
      offset = walk.fragment->offset;
      last = last || !walk.fragment->more;
      header = 14 + walk.payload_at;
    }
    ASSERT_LE(offset + sent.size() - header, size);
    std::copy(sent.begin() + static_cast<std::ptrdiff_t>(header), sent.end(),
              reply.begin() + static_cast<std::ptrdiff_t>(offset));
    got += sent.size() - header;
  }
  EXPECT_TRUE(last);
  ASSERT_EQ(got, size);
  EXPECT_EQ(reply[0], v4() ? Icmpv4Type::kEchoReply : Icmpv6Type::kEchoReply);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), reply.begin() + 8));
  if (v4()) {
    EXPECT_TRUE(Icmpv4View::Parse(reply)->VerifyChecksum());
  } else {
    EXPECT_TRUE(Icmpv6View::Parse(reply)->VerifyChecksum(us(), peer()));
  }
}

// Pieces of random datagrams, cut, doubled, overlapped and shuffled at random: a datagram that
// comes out is byte for byte one that went in.
TEST_P(ReassemblyTest, RandomPieces) {
  Make();
  const Bytes segment = Segment(4000);
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SeededRandom random(seed);
    for (int i = 0; i < 30; ++i) {
      const size_t begin = random.Uniform(100) * 8;
      size_t length = 8 + random.Uniform(50) * 8;
      const bool more = random.Uniform(4) != 0;
      if (!more) length = 800 - std::min<size_t>(begin, 792);
      Give(Fragment(segment, {begin, length, more}, static_cast<uint32_t>(random.Uniform(4))));
      for (uint32_t t = 0; t < in_.tcp_count; ++t)
        ASSERT_TRUE(
            std::equal(in_.tcp[t].l4, in_.tcp[t].l4 + in_.tcp[t].l4_length, segment.begin()))
            << "seed " << seed;
    }
    now_ = now_ + Duration::Seconds(61);
    interface_->Advance(now_);
    DropSent();
    ASSERT_EQ(interface_->reassembly().in_work(), 0u) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ReassemblyTest, ::testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& family) {
                           return family.param == Family::kIpv4 ? "Ipv4" : "Ipv6";
                         });

TEST_P(ReassemblyTest, AnswerToAReassembledSegmentNeedsABuffer) {
  pool_size_ = 64;
  limits_.control_reserve = 0;
  Make();
  const Bytes segment = Segment(800);
  Give(Fragment(segment, {0, 400, true}, 1));
  Give(Fragment(segment, {400, 400, false}, 1));
  ASSERT_EQ(in_.tcp_count, 1u);
  std::vector<void*> held;
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  TxFrame frame;
  EXPECT_FALSE(egress_->BeginReply(in_.tcp[0], &frame));
  for (void* handle : held) pool_->Free(handle);
}

// A last fragment that ends before what another has brought.
TEST_P(ReassemblyTest, EndBeforeWhatIsThereContradicts) {
  Make();
  const Bytes segment = Segment(800);
  Give(Fragment(segment, {400, 200, true}, 1));
  Give(Fragment(segment, {200, 104, false}, 1));
  EXPECT_EQ(Fails(), 1u);
  Give(Fragment(segment, {0, 200, true}, 1));
  Give(Fragment(segment, {600, 200, false}, 1));
  EXPECT_EQ(in_.tcp_count, 0u) << "condemned";
}

// In one burst: what is put together waits for its reader, and its place is not there for others.
TEST_P(ReassemblyTest, PlacesHandedOutInThisBurstAreNotTaken) {
  limits_.reassembly_datagrams = 1;
  Make();
  const Bytes segment = Segment(800);
  ASSERT_TRUE(port_->Inject(Fragment(segment, {0, 400, true}, 1)));
  ASSERT_TRUE(port_->Inject(Fragment(segment, {400, 400, false}, 1)));
  ASSERT_TRUE(port_->Inject(Fragment(segment, {0, 400, true}, 2)));
  Poll();
  ExpectWhole(segment, "the first");
  EXPECT_EQ(Fails(), 1u);
  Give(Fragment(segment, {0, 400, true}, 3));
  Give(Fragment(segment, {400, 400, false}, 3));
  ExpectWhole(segment, "in the next burst");
}

// One fragment sent to all of the link: the whole was, as far as anybody can tell, and so is no
// TCP.
TEST_P(ReassemblyTest, SentToAllOfTheLinkInPartIsToAll) {
  Make();
  const Bytes segment = Segment(800);
  Bytes first = Fragment(segment, {0, 400, true}, 1);
  StoreMac(first.data(), MacAddress::Broadcast());
  Give(first);
  Give(Fragment(segment, {400, 400, false}, 1));
  EXPECT_EQ(in_.tcp_count, 0u);
  EXPECT_EQ(Count(Counter::UsherTcpToManyDropped), 1u);
  // And no error is sent about one that expires.
  first = Fragment(segment, {0, 400, true}, 2);
  StoreMac(first.data(), MacAddress::Broadcast());
  Give(first);
  Pass(Duration::Seconds(100));
  EXPECT_EQ(Timeouts(), 1u);
  EXPECT_EQ(Count2(Counter::IcmpOutTimeExcds, Counter::Icmp6OutTimeExcds), 0u);
}

// Least and most of what can be configured.
TEST_P(ReassemblyTest, BoundsOfNothingAreOne) {
  limits_.reassembly_datagrams = 0;
  limits_.reassembly_per_source = 0;
  limits_.fragments_per_datagram = 0;
  Make();
  const Bytes segment = Segment(800);
  Give(Fragment(segment, {0, 400, true}, 1));
  Give(Fragment(segment, {400, 400, false}, 1));
  ExpectWhole(segment, "two fragments of one datagram");
}

}  // namespace
}  // namespace usher::ip_test
