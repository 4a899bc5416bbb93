#include "stack/tcp/segment.h"

#include <gtest/gtest.h>

#include "tests/support/segment_builder.h"

namespace usher::test {
namespace {

class SegmentTest : public ::testing::TestWithParam<bool> {
 protected:
  // What the network layer hands up for the frame; `frame_` keeps the bytes.
  bool Parse(const SegmentBuilder& b) {
    frame_ = b;
    const size_t ip = tuple_.remote.is_v4() ? 20 : 40;
    packet_.l4 = frame_.data() + 14 + ip;
    packet_.l4_length = static_cast<uint16_t>(frame_.size() - 14 - ip);
    return Parse();
  }
  bool Parse() {
    packet_.source = tuple_.remote;
    packet_.destination = tuple_.local;
    return Segment::Parse(packet_, counters_, &s_);
  }
  uint64_t Count(Counter c) const { return counters_.Get(c); }

  FourTuple tuple_ = GetParam() ? FourTuple{Ip("2001:2::2"), Ip("2001:2::1"), 80, 40000}
                                : FourTuple{Ip("198.18.0.2"), Ip("198.18.0.1"), 80, 40000};
  Bytes frame_;
  L4Packet packet_;
  Counters counters_;
  Segment s_;
};
INSTANTIATE_TEST_SUITE_P(Family, SegmentTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "V6" : "V4"; });

TEST_P(SegmentTest, ReadsEveryField) {
  ASSERT_TRUE(Parse(From(tuple_)
                        .Flags("PA")
                        .SeqNo(Seq(0xfffffffe))
                        .AckNo(Seq(77))
                        .Window(1234)
                        .Timestamps(5, 6)
                        .Data("hello")));
  EXPECT_EQ(s_.packet, &packet_);
  EXPECT_EQ(s_.tuple, tuple_);
  EXPECT_EQ(s_.seq, Seq(0xfffffffe));
  EXPECT_EQ(s_.ack, Seq(77));
  EXPECT_TRUE(s_.Has(TcpFlags::kPsh));
  EXPECT_FALSE(s_.Has(TcpFlags::kFin));
  EXPECT_EQ(s_.window, 1234);
  EXPECT_EQ(std::string(s_.payload, s_.payload + s_.payload_length), "hello");
  ASSERT_TRUE(s_.options.timestamps);
  EXPECT_EQ(s_.options.timestamps->echo, 6u);
  EXPECT_EQ(s_.EndSeq(), Seq(3));  // past the wrap
  EXPECT_EQ(Count(Counter::TcpInSegs), 1u);
  EXPECT_EQ(Count(Counter::TcpInErrs), 0u);
}

TEST_P(SegmentTest, NothingIsLeftOfTheSegmentBefore) {
  ASSERT_TRUE(Parse(From(tuple_).Syn(Seq(1)).Mss(1460).Timestamps(5, 0).Data("x")));
  ASSERT_TRUE(Parse(From(tuple_).Ack(Seq(2), Seq(3))));
  EXPECT_FALSE(s_.options.mss);
  EXPECT_FALSE(s_.options.timestamps);
  EXPECT_EQ(s_.payload_length, 0u);
}

TEST_P(SegmentTest, SynAndFinHaveANumberEach) {
  for (const auto& [flags, length] :
       {std::pair{"A", 3u}, {"SA", 4u}, {"FA", 4u}, {"SF", 5u}, {"RA", 3u}}) {
    ASSERT_TRUE(Parse(From(tuple_).Flags(flags).SeqNo(Seq(10)).Data("abc")));
    EXPECT_EQ(s_.Length(), length) << flags;
    EXPECT_EQ(s_.EndSeq(), Seq(10 + length)) << flags;
  }
}

TEST_P(SegmentTest, AWrongChecksumIsCounted) {
  EXPECT_FALSE(Parse(From(tuple_).Ack(Seq(1), Seq(2)).BadChecksum()));
  EXPECT_EQ(Count(Counter::TcpInSegs), 1u);
  EXPECT_EQ(Count(Counter::TcpInCsumErrors), 1u);
  EXPECT_EQ(Count(Counter::TcpInErrs), 1u);
}

TEST_P(SegmentTest, AChecksumThePortVerifiedIsNotAskedFor) {
  packet_.checksum_good = true;
  EXPECT_TRUE(Parse(From(tuple_).Ack(Seq(1), Seq(2)).BadChecksum()));
  EXPECT_EQ(Count(Counter::TcpInErrs), 0u);
}

// The pseudo-header: the same bytes at another address are not the same segment.
TEST_P(SegmentTest, TheAddressesAreUnderTheChecksum) {
  ASSERT_TRUE(Parse(From(tuple_).Ack(Seq(1), Seq(2))));
  tuple_.remote = GetParam() ? Ip("2001:2::9") : Ip("198.18.0.9");
  EXPECT_FALSE(Parse());
}

TEST_P(SegmentTest, AMalformedHeaderIsCounted) {
  ASSERT_TRUE(Parse(From(tuple_).Ack(Seq(1), Seq(2)).Data("abc")));
  packet_.l4_length = 19;
  EXPECT_FALSE(Parse());
  packet_.l4_length = 23;
  packet_.l4[12] = 4 << 4;  // a data offset below the header's own size
  EXPECT_FALSE(Parse());
  packet_.l4[12] = 15 << 4;  // and one beyond the segment
  EXPECT_FALSE(Parse());
  EXPECT_EQ(Count(Counter::TcpInErrs), 3u);
  EXPECT_EQ(Count(Counter::TcpInCsumErrors), 0u);
}

}  // namespace
}  // namespace usher::test
