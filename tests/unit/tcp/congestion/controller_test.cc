#include "stack/tcp/congestion/controller.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

constexpr uint32_t kMss = 1000;

class ControllerTest : public testing::Test {
 protected:
  void Init(CongestionAlgorithm algorithm, uint32_t segments = 10) {
    control_.Init(algorithm, kMss, segments * kMss);
  }
  // One round trip in which the whole window is used and acknowledged, segment by segment.
  void RoundTrip(Duration rtt = Duration::Millis(100), bool limited = true) {
    const uint32_t window = control_.cwnd_bytes();
    control_.OnSendPass(una_, una_ + window, limited ? window : window / 4, limited);
    const Seq end = una_ + window;
    now_ = now_ + rtt;
    for (uint32_t acked = 0; acked + kMss <= window; acked += kMss) {
      una_ += kMss;
      control_.OnAck({.now = now_,
                      .snd_una = una_,
                      .snd_nxt = end + acked,
                      .delivered_bytes = kMss,
                      .rtt = rtt,
                      .min_rtt = rtt});
    }
  }
  uint32_t cwnd() const { return control_.cwnd_bytes() / kMss; }
  uint32_t ssthresh() const { return control_.ssthresh_bytes() / kMss; }

  CongestionController control_;
  Instant now_ = Instant::FromNanos(1'000'000'000);
  Seq una_{0xffffe000};
};

TEST_F(ControllerTest, NamesAreLinuxs) {
  for (const char* name : {"bbr", "cubic", "dctcp", "reno"}) {
    const auto algorithm = ParseCongestionAlgorithm(name);
    ASSERT_TRUE(algorithm.has_value());
    EXPECT_EQ(CongestionAlgorithmName(*algorithm), name);
  }
  EXPECT_FALSE(ParseCongestionAlgorithm("Cubic").has_value());
  EXPECT_FALSE(ParseCongestionAlgorithm("").has_value());
  EXPECT_EQ(CongestionAlgorithmName(static_cast<CongestionAlgorithm>(200)), "");
}

TEST_F(ControllerTest, SlowStartDoublesARoundTrip) {
  for (const auto algorithm : {CongestionAlgorithm::kReno, CongestionAlgorithm::kCubic}) {
    Init(algorithm);
    RoundTrip();
    EXPECT_EQ(cwnd(), 20u);
    RoundTrip();
    EXPECT_EQ(cwnd(), 40u);
    EXPECT_TRUE(control_.in_slow_start());
  }
}

TEST_F(ControllerTest, RenoHalvesAndThenGrowsByOneARoundTrip) {
  Init(CongestionAlgorithm::kReno, 40);
  control_.OnCongestion();
  EXPECT_EQ(ssthresh(), 20u);
  control_.set_cwnd_bytes(control_.ssthresh_bytes());
  for (uint32_t n = 1; n <= 10; ++n) {
    RoundTrip();
    EXPECT_EQ(cwnd(), 20 + n);
  }
  for (int n = 0; n < 20; ++n) {
    control_.OnCongestion();
    control_.set_cwnd_bytes(control_.ssthresh_bytes());
  }
  EXPECT_EQ(cwnd(), 2u);
}

// RFC 3465: bytes count, so dividing acknowledgments gains nothing.
TEST_F(ControllerTest, AckDivisionGainsNothing) {
  Init(CongestionAlgorithm::kReno);
  control_.OnSendPass(una_, una_ + 10 * kMss, 10 * kMss, true);
  for (int n = 0; n < 100; ++n) {
    una_ += kMss / 10;
    control_.OnAck(
        {.now = now_, .snd_una = una_, .snd_nxt = una_ + 1, .delivered_bytes = kMss / 10});
  }
  EXPECT_EQ(cwnd(), 20u);
}

TEST_F(ControllerTest, OneAckAcrossSsthreshGoesOnInAvoidance) {
  Init(CongestionAlgorithm::kReno, 40);
  control_.OnCongestion();
  control_.set_cwnd_bytes(10 * kMss);
  control_.OnSendPass(una_, una_ + 10 * kMss, 10 * kMss, true);
  control_.OnAck({.now = now_, .snd_una = una_, .snd_nxt = una_, .delivered_bytes = 30 * kMss});
  EXPECT_EQ(cwnd(), 21u);  // ten to ssthresh, twenty for one more
}

TEST_F(ControllerTest, AWindowNotUsedDoesNotGrow) {
  for (const auto algorithm : {CongestionAlgorithm::kReno, CongestionAlgorithm::kCubic}) {
    Init(algorithm);
    RoundTrip(Duration::Millis(100), /*limited=*/false);
    EXPECT_EQ(cwnd(), 10u);
    // Limited once in a window of data is limited for that window.
    control_.OnSendPass(una_, una_ + 10 * kMss, 10 * kMss, true);
    control_.OnSendPass(una_, una_ + 10 * kMss, kMss, false);
    EXPECT_TRUE(control_.is_cwnd_limited());
    control_.OnSendPass(una_ + 10 * kMss, una_ + 11 * kMss, kMss, false);
    EXPECT_FALSE(control_.is_cwnd_limited());
  }
}

// Within a window of data the most that was in flight counts; as much again begins no new one.
TEST_F(ControllerTest, TheMostInFlightOfAWindowCounts) {
  Init(CongestionAlgorithm::kReno);
  control_.OnSendPass(una_, una_ + 8 * kMss, 4 * kMss, false);
  EXPECT_FALSE(control_.is_cwnd_limited());
  control_.OnSendPass(una_, una_ + 8 * kMss, 6 * kMss, false);
  EXPECT_TRUE(control_.is_cwnd_limited());
  control_.OnSendPass(una_ + kMss, una_ + 9 * kMss, 5 * kMss, false);
  EXPECT_TRUE(control_.is_cwnd_limited());
  control_.OnSendPass(una_ + kMss, una_ + 12 * kMss, 6 * kMss, false);
  control_.OnSendPass(una_ + 9 * kMss, una_ + 12 * kMss, kMss, false);
  EXPECT_FALSE(control_.is_cwnd_limited());
}

TEST_F(ControllerTest, SlowStartMayGrowToTwiceWhatWasInFlight) {
  Init(CongestionAlgorithm::kReno);
  control_.OnSendPass(una_, una_ + 6 * kMss, 6 * kMss, false);
  EXPECT_TRUE(control_.is_cwnd_limited());
  control_.OnSendPass(una_ + 6 * kMss, una_ + 11 * kMss, 5 * kMss, false);
  EXPECT_FALSE(control_.is_cwnd_limited());
}

TEST_F(ControllerTest, TimeoutLeavesOneSegmentOverThePipe) {
  Init(CongestionAlgorithm::kCubic, 100);
  control_.OnTimeout(3 * kMss, /*first_in_window=*/true);
  EXPECT_EQ(cwnd(), 4u);
  EXPECT_EQ(ssthresh(), 70u);
  control_.OnTimeout(0, /*first_in_window=*/false);
  EXPECT_EQ(cwnd(), 1u);
  EXPECT_EQ(ssthresh(), 70u);
  control_.OnUndo();
  EXPECT_EQ(cwnd(), 100u);
  EXPECT_EQ(control_.ssthresh_bytes(), CongestionController::kInfiniteSsthresh);
}

TEST_F(ControllerTest, UndoGoesBackButNeverDown) {
  Init(CongestionAlgorithm::kReno, 40);
  control_.OnCongestion();
  control_.set_cwnd_bytes(60 * kMss);
  control_.OnUndo();
  EXPECT_EQ(cwnd(), 60u);
}

// RFC 2861 as in Linux: half for every timeout idle, down to the restart window.
TEST_F(ControllerTest, IdleRestartHalvesPerTimeout) {
  Init(CongestionAlgorithm::kCubic, 160);
  control_.OnIdleRestart(Duration::Millis(650), Duration::Millis(200), 10 * kMss);
  EXPECT_EQ(cwnd(), 160u / 8);
  EXPECT_EQ(control_.ssthresh_bytes(), CongestionController::kInfiniteSsthresh);
  control_.OnIdleRestart(Duration::Seconds(100), Duration::Millis(200), 10 * kMss);
  EXPECT_EQ(cwnd(), 10u);
  control_.set_cwnd_bytes(4 * kMss);
  control_.OnIdleRestart(Duration::Seconds(100), Duration::Millis(200), 10 * kMss);
  EXPECT_EQ(cwnd(), 4u);
}

TEST_F(ControllerTest, HyStartLeavesSlowStartWhenTheRoundTripRises) {
  Init(CongestionAlgorithm::kCubic);
  int64_t rtt_ms = 40;
  uint32_t before = 0;
  int rounds = 0;
  while (control_.in_slow_start() && rounds++ < 30) {
    before = cwnd();
    if (cwnd() > 300) rtt_ms += 20;  // a queue builds
    RoundTrip(Duration::Millis(rtt_ms));
  }
  EXPECT_FALSE(control_.in_slow_start());
  EXPECT_GE(ssthresh(), before);
  EXPECT_LT(cwnd(), 40u * 32 * 4);  // a quarter of the growth in the rounds of doubt
}

TEST_F(ControllerTest, PacingRateIsAMultipleOfTheWindowPerRoundTrip) {
  Init(CongestionAlgorithm::kCubic, 10);
  EXPECT_EQ(control_.pacing_rate(Duration(), 0, 10 * kMss, 200, 120), UINT64_MAX);
  EXPECT_EQ(control_.pacing_rate(Duration::Millis(100), 0, 10 * kMss, 200, 120),
            200'000u);  // 10 kB in 0.1 s, doubled
  control_.OnCongestion();
  control_.set_cwnd_bytes(control_.ssthresh_bytes());
  EXPECT_EQ(control_.pacing_rate(Duration::Millis(100), 0, 10 * kMss, 200, 120),
            control_.ssthresh_bytes() * uint64_t{12});
}

TEST_F(ControllerTest, TheWindowHasACeiling) {
  Init(CongestionAlgorithm::kReno);
  for (int n = 0; n < 64; ++n) {
    control_.OnSendPass(una_, una_, control_.cwnd_bytes(), true);
    control_.OnAck({.now = now_, .delivered_bytes = 0x7fffffff});
  }
  EXPECT_LE(control_.cwnd_bytes(), 0x7fffffffu);
}

}  // namespace
}  // namespace usher
