#include "stack/ip/token_bucket.h"

#include <gtest/gtest.h>

#include "stack/base/random.h"

namespace usher {
namespace {

int TakeAll(TokenBucket& bucket, Instant now, int at_most) {
  int taken = 0;
  while (taken < at_most && bucket.Take(now)) ++taken;
  return taken;
}

TEST(TokenBucket, EarnsByTimeUpToTheBurst) {
  TokenBucket bucket(10, 3);
  Instant now = Instant::FromNanos(5);
  EXPECT_EQ(TakeAll(bucket, now, 100), 3);
  now = now + Duration::Millis(99);
  EXPECT_FALSE(bucket.Take(now));
  now = now + Duration::Millis(1);
  EXPECT_TRUE(bucket.Take(now));
  EXPECT_FALSE(bucket.Take(now));
  now = now + Duration::Seconds(1'000'000'000);
  EXPECT_EQ(TakeAll(bucket, now, 100), 3);
}

TEST(TokenBucket, RateOfNothingNeverEarns) {
  TokenBucket bucket(0, 1);
  EXPECT_TRUE(bucket.Take(Instant::FromNanos(1)));
  EXPECT_FALSE(bucket.Take(Instant::FromNanos(1) + Duration::Seconds(100)));
  EXPECT_FALSE(bucket.Take(Instant::Never()));
}

TEST(TokenBucket, BurstOfNothingNeverGives) {
  TokenBucket bucket(1000, 0);
  EXPECT_FALSE(bucket.Take(Instant::FromNanos(1)));
  EXPECT_FALSE(bucket.Take(Instant::FromNanos(1) + Duration::Seconds(5)));
}

// A thousand polls a second must not lose what each earns of less than a token.
TEST(TokenBucket, PartsOfATokenStayOnTheAccount) {
  TokenBucket bucket(7, 1);
  Instant now = Instant::FromNanos(1);
  EXPECT_EQ(TakeAll(bucket, now, 10), 1);
  int taken = 0;
  for (int ms = 1; ms <= 100'000; ++ms) {
    now = now + Duration::Millis(1);
    if (bucket.Take(now)) ++taken;
  }
  EXPECT_GE(taken, 699);
  EXPECT_LE(taken, 700);
}

TEST(TokenBucket, FullBucketKeepsNoParts) {
  TokenBucket bucket(1, 1);
  Instant now = Instant::FromNanos(1);
  EXPECT_TRUE(bucket.Take(now));
  now = now + Duration::Millis(1900);  // one token earned, the bucket is full
  EXPECT_TRUE(bucket.Take(now));
  EXPECT_FALSE(bucket.Take(now + Duration::Millis(999)));
  EXPECT_TRUE(bucket.Take(now + Duration::Millis(1000)));
}

TEST(TokenBucket, TimeThatStandsOrGoesBackEarnsNothing) {
  TokenBucket bucket(1000, 2);
  const Instant now = Instant::FromNanos(10'000'000'000);
  EXPECT_EQ(TakeAll(bucket, now, 10), 2);
  EXPECT_FALSE(bucket.Take(now));
  EXPECT_FALSE(bucket.Take(now - Duration::Seconds(5)));
  EXPECT_FALSE(bucket.Take(now + Duration::Micros(999)));
  EXPECT_TRUE(bucket.Take(now + Duration::Millis(1)));
}

// Every product inside must stay in its 64 bits; UBSan watches.
TEST(TokenBucket, ExtremesOfTimeRateAndBurst) {
  constexpr uint32_t kValues[] = {1, 2, 999, 1'000'000'000, 0x7fffffff, 0xffffffff};
  for (const uint32_t rate : kValues) {
    for (const uint32_t burst : kValues) {
      TokenBucket bucket(rate, burst);
      EXPECT_TRUE(bucket.Take(Instant::FromNanos(1))) << rate << " " << burst;
      bucket.Spill(0xffffffff);
      EXPECT_FALSE(bucket.Take(Instant::FromNanos(1))) << rate << " " << burst;
      // A second, exactly: min(rate, burst) tokens.
      const Instant later = Instant::FromNanos(1'000'000'001);
      EXPECT_TRUE(bucket.Take(later)) << rate << " " << burst;
      const uint32_t left = std::min(rate, burst) - 1;
      bucket.Spill(left == 0 ? 0 : left - 1);
      EXPECT_EQ(TakeAll(bucket, later, 3), left == 0 ? 0 : 1) << rate << " " << burst;
      // The end of time.
      EXPECT_TRUE(bucket.Take(Instant::Never())) << rate << " " << burst;
    }
  }
}

TEST(TokenBucket, SpillTakesWhatIsThereAndNoMore) {
  TokenBucket bucket(10, 5);
  const Instant now = Instant::FromNanos(1);
  bucket.Spill(2);
  EXPECT_EQ(TakeAll(bucket, now, 10), 3);
  bucket.Spill(100);
  EXPECT_TRUE(bucket.Take(now + Duration::Millis(100))) << "no debt";
}

// Over any span of time: at most the burst and what the span earns.
TEST(TokenBucket, NeverMoreThanBurstAndRate) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SeededRandom random(seed);
    const auto rate = static_cast<uint32_t>(1 + random.Uniform(5000));
    const auto burst = static_cast<uint32_t>(1 + random.Uniform(100));
    TokenBucket bucket(rate, burst);
    const Instant begin = Instant::FromNanos(1);
    Instant now = begin;
    uint64_t taken = 0;
    for (int i = 0; i < 2000; ++i) {
      now = now + Duration::Nanos(static_cast<int64_t>(random.Uniform(3'000'000)));
      if (bucket.Take(now)) ++taken;
    }
    const auto earned = static_cast<uint64_t>((now - begin).ns()) * rate / uint64_t{1'000'000'000};
    EXPECT_LE(taken, burst + earned) << "seed " << seed;
  }
}

}  // namespace
}  // namespace usher
