#include "stack/tcp/congestion/hystart.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

using Phase = HyStart::Phase;

// Rounds of ten acknowledgments, each round of one round-trip time.
class Rounds {
 public:
  Phase Round(int64_t rtt_ms, int samples = 10) {
    const Seq end = una_ + 10'000;
    Phase phase = hystart_.phase();
    for (int n = 0; n < samples; ++n) {
      una_ += 10'000 / static_cast<uint32_t>(samples);
      phase = hystart_.OnAck(una_, end, Duration::Millis(rtt_ms));
    }
    una_ = end + 1;
    return phase;
  }

 private:
  HyStart hystart_;
  Seq una_{0xfffff000};
};

class HyStartTest : public testing::Test, protected Rounds {};

TEST_F(HyStartTest, ASteadyRoundTripStaysInSlowStart) {
  for (int n = 0; n < 50; ++n) EXPECT_EQ(Round(100), Phase::kSlowStart);
}

TEST_F(HyStartTest, ARiseOfAnEighthBeginsConservativeSlowStartAndFiveRoundsEndIt) {
  Round(80);
  EXPECT_EQ(Round(89), Phase::kSlowStart);      // threshold is 80 / 8 = 10
  EXPECT_EQ(Round(101), Phase::kConservative);  // 89 + 89 / 8
  for (int n = 0; n < 4; ++n) EXPECT_EQ(Round(102), Phase::kConservative) << n;
  EXPECT_EQ(Round(102), Phase::kDone);
  EXPECT_EQ(Round(10), Phase::kDone);
}

TEST_F(HyStartTest, ThresholdIsClampedTo4And16Milliseconds) {
  Round(8);
  EXPECT_EQ(Round(11), Phase::kSlowStart);
  EXPECT_EQ(Round(15), Phase::kConservative);
  Rounds far;
  far.Round(400);
  EXPECT_EQ(far.Round(415), Phase::kSlowStart);
  EXPECT_EQ(far.Round(431), Phase::kConservative);
}

TEST_F(HyStartTest, JitterGoesBackToSlowStart) {
  Round(80);
  EXPECT_EQ(Round(95), Phase::kConservative);
  EXPECT_EQ(Round(85), Phase::kSlowStart);
}

TEST_F(HyStartTest, EightSamplesAreNeeded) {
  Round(80);
  EXPECT_EQ(Round(200, 7), Phase::kSlowStart);
}

}  // namespace
}  // namespace usher
