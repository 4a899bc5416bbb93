#include "stack/base/time.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

TEST(Duration, ConvertsBetweenUnits) {
  EXPECT_EQ(Duration::Seconds(2).ns(), 2'000'000'000);
  EXPECT_EQ(Duration::Millis(3), Duration::Micros(3'000));
  EXPECT_EQ(Duration::Micros(5), Duration::Nanos(5'000));
  EXPECT_EQ(Duration::Nanos(1'999'999'999).seconds(), 1);
  EXPECT_EQ(Duration::Nanos(1'999'999).ms(), 1);
  EXPECT_EQ(Duration::Nanos(1'999).us(), 1);
}

TEST(Duration, CalculatesWithSign) {
  EXPECT_EQ(Duration::Millis(1) - Duration::Millis(3), Duration::Millis(-2));
  EXPECT_EQ(Duration::Millis(7) + Duration::Millis(1), Duration::Millis(8));
  EXPECT_EQ(Duration::Millis(2) * 4, Duration::Millis(8));
  EXPECT_EQ(Duration::Millis(9) / 3, Duration::Millis(3));
  EXPECT_LT(Duration::Millis(-1), Duration());
  EXPECT_GT(Duration::Max(), Duration::Seconds(292LL * 365 * 86'400));
}

TEST(Instant, MovesByDurations) {
  const Instant start = Instant::FromNanos(1'000);
  const Instant later = start + Duration::Micros(2);
  EXPECT_EQ(later.ns(), 3'000);
  EXPECT_EQ(later - start, Duration::Micros(2));
  EXPECT_EQ(start - later, Duration::Micros(-2));
  EXPECT_EQ(later - Duration::Micros(2), start);
  EXPECT_LT(start, later);
  EXPECT_EQ(Instant::FromNanos(5'999'999).ms(), 5);
  EXPECT_EQ(Instant::FromNanos(5'999).us(), 5);
}

TEST(Instant, NeverIsLaterThanEveryInstant) {
  EXPECT_GT(Instant::Never(), Instant::FromNanos(0) + Duration::Seconds(9'000'000'000));
}

TEST(FrozenInstant, SaysWhatItsInstantSays) {
  for (const int64_t ns :
       {-5'999'999LL, -1LL, 0LL, 999'999LL, 1'000'000LL, 987'654'321'012'345LL}) {
    const Instant t = Instant::FromNanos(ns);
    FrozenInstant frozen;
    frozen = t;
    EXPECT_EQ(frozen, t);
    EXPECT_EQ(frozen.us(), t.us());
    EXPECT_EQ(frozen.ms(), t.ms());
    EXPECT_EQ(MilliStamp::Of(frozen), MilliStamp::Of(t));
    EXPECT_EQ(frozen + Duration::Millis(1), t + Duration::Millis(1));
  }
}

TEST(MilliStamp, CountsFromAnEarlierOneOverTheWrap) {
  const auto wrap = Instant::FromNanos((int64_t{1} << 32) * 1'000'000);
  const auto before = MilliStamp::Of(wrap - Duration::Millis(3));
  const auto after = MilliStamp::Of(wrap + Duration::Millis(4));
  EXPECT_EQ(after.MillisAfter(before), 7u);
  EXPECT_EQ(before.Before(wrap), Duration::Millis(3));
}

}  // namespace
}  // namespace usher
