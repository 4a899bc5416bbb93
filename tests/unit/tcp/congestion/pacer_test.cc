#include "stack/tcp/congestion/pacer.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

constexpr uint32_t kMss = 1000;

class PacerTest : public testing::Test {
 protected:
  // Sends segments for as long as there is credit; how many.
  uint32_t SendAll() {
    uint32_t sent = 0;
    for (; pacer_.MaySend(now_, kMss) && sent < 10'000; ++sent) pacer_.OnSent(now_, kMss);
    return sent;
  }
  Pacer pacer_;
  Instant now_ = Instant::FromNanos(5'000'000'000);
};

TEST_F(PacerTest, IsOffAtFirst) {
  EXPECT_FALSE(pacer_.active());
  pacer_.set_rate(1);
  EXPECT_TRUE(pacer_.active());
  pacer_.Stop();
  EXPECT_FALSE(pacer_.active());
}

TEST_F(PacerTest, ABurstIsAMillisecondsWorth) {
  pacer_.set_rate(20'480'000);  // 20,000 bytes a 1024th of a second
  EXPECT_EQ(SendAll(), 20u);
  EXPECT_NEAR(static_cast<double>((pacer_.full_at() - now_).ns()), 20e9 * kMss / 20'480'000, 100);
}

TEST_F(PacerTest, ASlowOneSendsTwoSegmentsAtOnce) {
  pacer_.set_rate(6'400);
  EXPECT_EQ(SendAll(), 2u);
  now_ = pacer_.full_at();
  EXPECT_EQ(SendAll(), 2u);
}

TEST_F(PacerTest, AFastOneStopsAt64Kilobytes) {
  pacer_.set_rate(12'800'000'000);
  EXPECT_NEAR(SendAll(), 65.5, 13) << "a step of time is 13 segments here";
}

TEST_F(PacerTest, KeepsTheRateOverTime) {
  for (const uint64_t rate : {64'000ull, 1'000'000ull, 125'000'000ull, 1'250'000'000ull}) {
    pacer_ = Pacer();
    pacer_.set_rate(rate);
    const Instant begin = now_;
    uint64_t bytes = 0;
    while (now_ - begin < Duration::Seconds(2)) {
      bytes += uint64_t{SendAll()} * kMss;
      now_ = pacer_.full_at();
    }
    const double seconds = static_cast<double>((now_ - begin).ns()) / 1e9;
    EXPECT_NEAR(static_cast<double>(bytes) / seconds, static_cast<double>(rate),
                static_cast<double>(rate) * 0.01);
  }
}

TEST_F(PacerTest, AnIdleTimeIsNoCredit) {
  pacer_.set_rate(20'480'000);
  SendAll();
  now_ = now_ + Duration::Seconds(3600);
  EXPECT_EQ(SendAll(), 20u);
}

TEST_F(PacerTest, TheLimitHolds) {
  EXPECT_EQ(pacer_.Limited(1'000'000), 1'000'000u);
  EXPECT_FALSE(pacer_.limited());
  pacer_.set_limit(500'000);
  EXPECT_TRUE(pacer_.limited());
  EXPECT_EQ(pacer_.Limited(1'000'000), 500'000u);
  EXPECT_EQ(pacer_.Limited(UINT64_MAX), 500'000u);
  EXPECT_EQ(pacer_.Limited(400'000), 400'000u);
}

}  // namespace
}  // namespace usher
