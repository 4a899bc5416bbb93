#include "stack/tcp/isn.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>

namespace usher {
namespace {

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

class IsnTest : public ::testing::TestWithParam<const char*> {
 protected:
  FourTuple tuple_{Ip(GetParam()), Ip(GetParam()), 80, 40000};
  Instant now_ = Instant::FromNanos(1'000'000'000'000);
  SeededRandom random_{1};
  IsnGenerator isn_{random_};
};
INSTANTIATE_TEST_SUITE_P(Family, IsnTest, ::testing::Values("198.18.0.2", "2001:2::2"),
                         [](const auto& test) { return test.index == 0 ? "V4" : "V6"; });

// RFC 6528 section 3: for one tuple the numbers follow the clock, 64 ns a step.
TEST_P(IsnTest, FollowsTheClock) {
  const Seq first = isn_.Next(tuple_, now_);
  EXPECT_EQ(isn_.Next(tuple_, now_), first);
  EXPECT_EQ(isn_.Next(tuple_, now_ + Duration::Nanos(63)), first);
  EXPECT_EQ(isn_.Next(tuple_, now_ + Duration::Nanos(64)), first + 1);
  EXPECT_EQ(isn_.Next(tuple_, now_ + Duration::Millis(64)), first + 1'000'000);
  // 2^32 steps later it has come round.
  EXPECT_EQ(isn_.Next(tuple_, now_ + Duration::Nanos(int64_t{64} << 32)), first);
}

TEST_P(IsnTest, EachTupleHasNumbersOfItsOwn) {
  std::set<uint32_t> isns, offsets, secrets;
  for (uint16_t port = 40000; port < 40100; ++port) {
    tuple_.remote_port = port;
    isns.insert(isn_.Next(tuple_, now_).value());
    offsets.insert(isn_.TimestampOffset(tuple_));
    secrets.insert(isn_.Secret(tuple_));
  }
  EXPECT_EQ(isns.size(), 100u);
  EXPECT_EQ(offsets.size(), 100u);
  EXPECT_EQ(secrets.size(), 100u);
}

// None of the three can be computed from another: a peer sees the first two.
TEST_P(IsnTest, TheNumbersOfATupleAreUnrelated) {
  std::set<uint32_t> differences, secrets;
  for (uint16_t port = 40000; port < 40100; ++port) {
    tuple_.remote_port = port;
    differences.insert(isn_.Next(tuple_, now_).value() - isn_.TimestampOffset(tuple_));
    secrets.insert(isn_.Secret(tuple_) - isn_.TimestampOffset(tuple_));
  }
  EXPECT_EQ(differences.size(), 100u);
  EXPECT_EQ(secrets.size(), 100u);
}

TEST_P(IsnTest, AnotherKeyGivesOtherNumbers) {
  SeededRandom same_random(1), other_random(2);
  const IsnGenerator same(same_random), other(other_random);
  EXPECT_EQ(same.Next(tuple_, now_), isn_.Next(tuple_, now_));
  EXPECT_NE(other.Next(tuple_, now_), isn_.Next(tuple_, now_));
  EXPECT_NE(other.TimestampOffset(tuple_), isn_.TimestampOffset(tuple_));
  EXPECT_NE(other.Secret(tuple_), isn_.Secret(tuple_));
}

TEST(TimestampClock, CountsMillisecondsAndWraps) {
  EXPECT_EQ(TimestampClock(Instant::FromNanos(1'999'999)), 1u);
  EXPECT_EQ(TimestampClock(Instant::FromNanos(2'000'000)), 2u);
  EXPECT_EQ(TimestampClock(Instant::FromNanos(1'000'000 * ((int64_t{1} << 32) + 5))), 5u);
  EXPECT_EQ(SecondsOf(Instant::FromNanos(1'999'999'999)), 1u);
  EXPECT_EQ(SecondsOf(Instant::FromNanos(2'000'000'000)), 2u);
}

}  // namespace
}  // namespace usher
