#include "stack/tcp/recovery/rtt.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

Micros At(int64_t ms) { return Micros(static_cast<uint32_t>(ms * 1'000)); }

TEST(RttEstimatorTest, BeforeTheFirstSampleTheTimeoutIsOneSecond) {
  const RecoverySettings settings;
  const RttEstimator rtt;
  EXPECT_FALSE(rtt.has_sample());
  EXPECT_EQ(rtt.rto(settings), Duration::Seconds(1));
  EXPECT_EQ(rtt.min_rtt(), Duration());
}

// RFC 6298 5.7.
TEST(RttEstimatorTest, ThreeSecondsIfTheHandshakeGaveNoSample) {
  const RecoverySettings settings;
  RttEstimator rtt;
  rtt.OnHandshakeEnd();
  EXPECT_FALSE(rtt.has_sample());
  EXPECT_EQ(rtt.rto(settings), Duration::Seconds(3));
  rtt.BackOff();
  EXPECT_EQ(rtt.rto(settings), Duration::Seconds(6));
  rtt.OnSample(settings, At(0), Duration::Millis(300), Seq(0), Seq(1'000));
  EXPECT_EQ(rtt.rto(settings), Duration::Millis(900));
  rtt.OnHandshakeEnd();
  EXPECT_EQ(rtt.rto(settings), Duration::Millis(900));
}

// RFC 6298 2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 * RTTVAR.
TEST(RttEstimatorTest, FirstSample) {
  const RecoverySettings settings;
  RttEstimator rtt;
  rtt.OnSample(settings, At(0), Duration::Millis(300), Seq(0), Seq(1'000));
  EXPECT_EQ(rtt.srtt(), Duration::Millis(300));
  EXPECT_EQ(rtt.rto(settings), Duration::Millis(900));
  EXPECT_EQ(rtt.min_rtt(), Duration::Millis(300));
}

TEST(RttEstimatorTest, TheVariationNeverFallsBelowTheMinimum) {
  RecoverySettings settings;
  RttEstimator rtt;
  uint32_t seq = 0;
  for (int n = 0; n < 200; ++n, seq += 1'000) {
    rtt.OnSample(settings, At(n), Duration::Micros(500), Seq(seq), Seq(seq + 1'000));
  }
  EXPECT_EQ(rtt.rto(settings), Duration::Micros(200'500));
  settings.rto_min = Duration::Millis(5);
  for (int n = 0; n < 200; ++n, seq += 1'000) {
    rtt.OnSample(settings, At(n), Duration::Micros(500), Seq(seq + 1), Seq(seq + 1'000));
  }
  EXPECT_LE(rtt.rto(settings), Duration::Millis(6));
}

// RFC 6298 2.3 with alpha 1/8 and beta 1/4, a longer round trip than usual.
TEST(RttEstimatorTest, LaterSamplesAreSmoothed) {
  RecoverySettings settings;
  settings.rto_min = Duration::Millis(1);
  RttEstimator rtt;
  rtt.OnSample(settings, At(0), Duration::Millis(100), Seq(0), Seq(1'000));
  rtt.OnSample(settings, At(1), Duration::Millis(180), Seq(1'000), Seq(2'000));
  EXPECT_EQ(rtt.srtt(), Duration::Millis(110));
  // RTTVAR = 3/4 * 50 + 1/4 * 80 = 57.5
  EXPECT_EQ(rtt.rto(settings), Duration::Micros(110'000 + 4 * 57'500));
}

// Linux's difference: a shorter round trip must not raise the timeout much.
TEST(RttEstimatorTest, AShorterRoundTripHardlyRaisesTheTimeout) {
  const RecoverySettings settings;
  RttEstimator rtt;
  uint32_t seq = 0;
  for (int n = 0; n < 100; ++n, seq += 1'000) {
    rtt.OnSample(settings, At(n), Duration::Millis(1'000), Seq(seq), Seq(seq + 1'000));
  }
  const Duration before = rtt.rto(settings);
  rtt.OnSample(settings, At(101), Duration::Millis(10), Seq(seq), Seq(seq + 1'000));
  EXPECT_LT(rtt.rto(settings), before + Duration::Millis(50));
}

TEST(RttEstimatorTest, BackOffDoublesUpToTheMaximumAndASampleEndsIt) {
  const RecoverySettings settings;
  RttEstimator rtt;
  rtt.OnSample(settings, At(0), Duration::Millis(100), Seq(0), Seq(1'000));
  const Duration base = rtt.rto(settings);
  for (int n = 1; n <= 5; ++n) {
    rtt.BackOff();
    EXPECT_EQ(rtt.rto(settings), base * (1 << n));
  }
  for (int n = 0; n < 300; ++n) rtt.BackOff();
  EXPECT_EQ(rtt.rto(settings), Duration::Seconds(120));
  rtt.OnSample(settings, At(1), Duration::Millis(100), Seq(500), Seq(2'000));
  EXPECT_EQ(rtt.backoff(), 0);
  EXPECT_LE(rtt.rto(settings), base);
}

TEST(RttEstimatorTest, ExtremeSamplesStayInRange) {
  const RecoverySettings settings;
  RttEstimator rtt;
  for (const Duration d : {Duration::Seconds(4'000), Duration(), Duration::Millis(-5),
                           Duration::Nanos(1), Duration::Seconds(499)}) {
    rtt.OnSample(settings, At(0), d, Seq(0), Seq(1'000));
    EXPECT_GT(rtt.rto(settings), Duration());
    EXPECT_LE(rtt.rto(settings), settings.rto_max);
    EXPECT_GT(rtt.srtt() + Duration::Micros(1), Duration());
  }
}

TEST(MinRttTest, HoldsTheMinimumOfTheWindowAndForgetsIt) {
  const Duration window = Duration::Seconds(300);
  MinRtt min;
  EXPECT_EQ(min.us(), UINT32_MAX);
  min.Update(At(0), 100, window);
  min.Update(At(1'000), 300, window);
  EXPECT_EQ(min.us(), 100u);
  min.Update(At(2'000), 50, window);
  EXPECT_EQ(min.us(), 50u);
  for (int64_t s = 3; s < 300; ++s) {
    min.Update(At(s * 1'000), 200, window);
    EXPECT_EQ(min.us(), 50u) << s;
  }
  for (int64_t s = 300; s < 320; ++s) min.Update(At(s * 1'000), 200, window);
  EXPECT_EQ(min.us(), 200u);
}

// When the minimum is too old the second best takes its place, then the third.
TEST(MinRttTest, TheBestOfWhatIsLeftFollows) {
  const Duration window = Duration::Seconds(300);
  MinRtt min;
  const auto update = [&](int64_t s, uint32_t us) { min.Update(At(s * 1000), us, window); };
  update(0, 100);
  update(80, 150);   // a quarter of the window on
  update(160, 200);  // and half of it
  update(170, 180);
  update(299, 500);
  EXPECT_EQ(min.us(), 100u);
  update(301, 500);
  EXPECT_EQ(min.us(), 150u);
  update(381, 500);
  EXPECT_EQ(min.us(), 180u);
}

}  // namespace
}  // namespace usher
