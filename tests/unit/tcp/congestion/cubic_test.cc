#include "stack/tcp/congestion/cubic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "stack/tcp/congestion/controller.h"

namespace usher {
namespace {

constexpr uint32_t kMss = 1460;

TEST(CubeRootTest, IsExactRoundedDown) {
  auto check = [](uint64_t value) {
    const uint64_t root = Cubic::CubeRoot(value);
    ASSERT_LE(root * root * root, value) << value;
    // 2642245 is the largest root of 64 bits; its successor's cube does not fit.
    if (root < 2'642'245) {
      ASSERT_GT((root + 1) * (root + 1) * (root + 1), value) << value;
    }
  };
  for (uint64_t value = 0; value < 100'000; ++value) check(value);
  for (uint64_t root = 1; root <= 2'642'245; root += 997) {
    check(root * root * root);
    check(root * root * root - 1);
    check(root * root * root + 1);
  }
  for (int bit = 0; bit < 64; ++bit) check(uint64_t{1} << bit);
  check(UINT64_MAX);
  EXPECT_EQ(Cubic::CubeRoot(UINT64_MAX), 2'642'245u);
}

TEST(CubicTest, DistanceIsPointFourTimesTheCube) {
  for (const double t : {10.0, 123.0, 1'000.0, 9'999.0, 60'000.0, 900'000.0}) {
    const double expected = 0.4 * std::pow(t / 1'000, 3) * kMss;
    EXPECT_NEAR(static_cast<double>(Cubic::Distance(static_cast<uint64_t>(t), kMss)), expected,
                kMss / 500.0 + expected * 1e-6)
        << t;
  }
  EXPECT_EQ(Cubic::Distance(UINT64_MAX, kMss), Cubic::Distance(1'500'000, kMss));
}

TEST(CubicTest, BetaAndFastConvergence) {
  Cubic cubic;
  EXPECT_NEAR(cubic.OnCongestion(1'000'000, kMss), 700'000, 1'000);
  EXPECT_EQ(cubic.w_max_bytes(), 1'000'000u);
  // A loss below the last maximum gives room to others: section 4.7.
  cubic.OnCongestion(800'000, kMss);
  EXPECT_NEAR(cubic.w_max_bytes(), 800'000 * 1.7 / 2, 500);
  cubic.OnUndo(false);
  EXPECT_EQ(cubic.w_max_bytes(), 1'000'000u);
  EXPECT_EQ(cubic.OnCongestion(kMss, kMss), 2 * kMss);  // never below two segments
}

// Slow start that ended without loss left no maximum: then 5% a round trip at least, as Linux.
TEST(CubicTest, WithoutAMaximumItGrowsSteadily) {
  Cubic cubic;
  const Instant now = Instant::FromNanos(1'000'000'000);
  EXPECT_LE(cubic.OnAck(now, 100 * kMss, kMss, kMss, Duration::Millis(100)), 20 * kMss);
  cubic.OnCongestion(200 * kMss, kMss);
  EXPECT_GT(cubic.OnAck(now, 140 * kMss, kMss, kMss, Duration::Millis(1)), 20 * kMss)
      << "and slower towards one";
}

// A sender in congestion avoidance, one acknowledgment per segment, against RFC 9438's formulas in
// double: at every moment the window must be the larger of W_cubic(t) and W_est.
struct Path {
  double rtt_s;
  uint32_t window_segments;
};

class CubicGrowthTest : public testing::TestWithParam<Path> {};

TEST_P(CubicGrowthTest, FollowsTheFormula) {
  const auto [rtt_s, start] = GetParam();
  const auto rtt = Duration::Micros(std::llround(rtt_s * 1e6));
  CongestionController control;
  control.Init(CongestionAlgorithm::kCubic, kMss, start * kMss);
  control.OnCongestion();
  control.set_cwnd_bytes(control.ssthresh_bytes());
  const double w_max = start;
  const double epoch_window = static_cast<double>(control.cwnd_bytes()) / kMss;
  const double k = std::cbrt((w_max - epoch_window) / 0.4);
  double w_est = epoch_window;
  const double alpha = 3 * (1 - 0.7) / (1 + 0.7);
  const Instant begin = Instant::FromNanos(7'000'000'000);
  Instant now = begin;
  Seq seq(1);
  double worst = 0;
  while (now - begin < Duration::Seconds(static_cast<int64_t>(std::max(2 * k, 20 * rtt_s)) + 1)) {
    const uint32_t segments = control.cwnd_bytes() / kMss;
    for (uint32_t n = 0; n < segments; ++n) {
      control.OnSendPass(seq, seq + control.cwnd_bytes(), control.cwnd_bytes(), true);
      seq += kMss;
      w_est += (w_est < w_max ? alpha : 1.0) / (control.cwnd_bytes() / double{kMss});
      control.OnAck({.now = now + rtt * n / segments,
                     .snd_una = seq,
                     .snd_nxt = seq + control.cwnd_bytes(),
                     .delivered_bytes = kMss,
                     .rtt = rtt,
                     .min_rtt = rtt});
    }
    now = now + rtt;
    const double t = static_cast<double>((now - begin).us()) / 1e6;
    const double cubic = 0.4 * std::pow(t - k, 3) + w_max;
    const double expected = std::max(cubic, w_est);
    const double got = static_cast<double>(control.cwnd_bytes()) / kMss;
    // The window trails its target by up to a round trip of growth.
    const double previous = std::max(0.4 * std::pow(t - rtt_s - k, 3) + w_max, epoch_window);
    EXPECT_LE(got, expected * 1.02 + 2) << "t " << t << " K " << k;
    EXPECT_GE(got, std::min(previous, expected) * 0.97 - 2) << "t " << t << " K " << k;
    worst = std::max(worst, std::abs(got - expected) / expected);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(control.cwnd_bytes(), start * kMss);  // past the maximum again
  RecordProperty("worst", std::to_string(worst));
}

INSTANTIATE_TEST_SUITE_P(Paths, CubicGrowthTest,
                         testing::Values(Path{0.1, 1'000}, Path{0.05, 300}, Path{0.2, 5'000},
                                         Path{0.02, 100}, Path{0.001, 60}, Path{0.1, 10}));

// Section 5.8: an application that pauses must not come back to a window grown by the clock.
TEST(CubicTest, IdleTimeDoesNotCount) {
  CongestionController control;
  control.Init(CongestionAlgorithm::kCubic, kMss, 100 * kMss);
  control.OnCongestion();
  control.set_cwnd_bytes(control.ssthresh_bytes());
  Instant now = Instant::FromNanos(1'000'000'000);
  Seq seq(1);
  auto ack = [&] {
    control.OnSendPass(seq, seq + 70 * kMss, 70 * kMss, true);
    seq += kMss;
    control.OnAck({.now = now,
                   .snd_una = seq,
                   .snd_nxt = seq + 70 * kMss,
                   .delivered_bytes = 10 * kMss,
                   .rtt = Duration::Millis(10),
                   .min_rtt = Duration::Millis(10)});
  };
  const MilliStamp sent = MilliStamp::Of(now);
  ack();
  const uint32_t before = control.cwnd_bytes();
  now = now + Duration::Seconds(60);
  control.OnSent(now, 0, sent);
  ack();
  ack();
  EXPECT_LE(control.cwnd_bytes(), before + 2 * kMss);
}

}  // namespace
}  // namespace usher
