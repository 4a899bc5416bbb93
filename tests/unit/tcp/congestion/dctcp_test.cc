#include "stack/tcp/congestion/dctcp.h"

#include <gtest/gtest.h>

#include "stack/tcp/congestion/controller.h"

namespace usher {
namespace {

constexpr uint32_t kMss = 1000;

// A window of `segments` segments acknowledged one by one, the first `marked` of them marked.
void Window(Dctcp& dctcp, Seq& una, uint32_t segments, uint32_t marked) {
  const Seq end = una + segments * kMss;
  for (uint32_t i = 0; i < segments; ++i) {
    una += kMss;
    dctcp.OnAck(una, end + (i + 1) * kMss, kMss, i < marked);
  }
}

TEST(DctcpTest, IsCarefulAtFirst) {
  const Dctcp dctcp;
  EXPECT_EQ(dctcp.alpha(), Dctcp::kOne);
  EXPECT_EQ(dctcp.Reduced(100 * kMss, kMss), 50 * kMss);
}

TEST(DctcpTest, ForgetsWhenNothingIsMarked) {
  Dctcp dctcp;
  Seq una(0xfffff000);
  uint32_t last = Dctcp::kOne + 1;
  for (int i = 0; i < 400 && dctcp.alpha() > 0; ++i) {
    EXPECT_LE(dctcp.alpha(), last);
    last = dctcp.alpha();
    Window(dctcp, una, 10, 0);
  }
  EXPECT_EQ(dctcp.alpha(), 0u);
  EXPECT_EQ(dctcp.Reduced(100 * kMss, kMss), 100 * kMss);
}

// Section 3.3, step 6: alpha becomes the fraction that is marked.
TEST(DctcpTest, FollowsTheMarkedFraction) {
  for (const uint32_t marked : {1u, 5u, 10u}) {
    Dctcp dctcp;
    Seq una(1);
    for (int i = 0; i < 200; ++i) Window(dctcp, una, 10, marked);
    EXPECT_NEAR(dctcp.alpha(), Dctcp::kOne * marked / 10, Dctcp::kOne / 50) << marked;
  }
}

// One step is 1/16 of the way.
TEST(DctcpTest, OneWindowMovesItByTheGain) {
  Dctcp dctcp;
  dctcp.OnAck(Seq(1), Seq(10'001), 0, false);
  dctcp.OnAck(Seq(10'001), Seq(20'001), 10'000, false);
  EXPECT_EQ(dctcp.alpha(), Dctcp::kOne - Dctcp::kOne / 16);
  dctcp.OnAck(Seq(15'001), Seq(25'001), 5'000, true);
  EXPECT_EQ(dctcp.alpha(), Dctcp::kOne - Dctcp::kOne / 16) << "the window is not over";
  const uint32_t before = dctcp.alpha();
  dctcp.OnAck(Seq(20'001), Seq(30'001), 5'000, false);
  EXPECT_EQ(dctcp.alpha(), before - before / 16 + Dctcp::kOne / 32);
}

TEST(DctcpTest, NeverBelowTwoSegments) {
  const Dctcp dctcp;
  EXPECT_EQ(dctcp.Reduced(3 * kMss, kMss), 2 * kMss);
}

// ---- As part of the controller ----

TEST(DctcpControllerTest, MarksCutByAlphaAndLossByHalf) {
  CongestionController control;
  control.Init(CongestionAlgorithm::kDctcp, kMss, 100 * kMss);
  Seq una(1);
  for (int i = 0; i < 400; ++i) {
    una += 10 * kMss;
    control.OnEcho(una, una + kMss, 10 * kMss, i % 10 == 0);
  }
  ASSERT_NE(control.dctcp(), nullptr);
  const uint32_t alpha = control.dctcp()->alpha();
  EXPECT_GT(alpha, 0u);
  EXPECT_LT(alpha, Dctcp::kOne / 4);
  control.OnCongestion(CongestionController::Cause::kMark);
  EXPECT_EQ(control.ssthresh_bytes(), control.dctcp()->Reduced(100 * kMss, kMss));
  EXPECT_GT(control.ssthresh_bytes(), 85 * kMss);
  control.OnLossAfterMark();
  EXPECT_EQ(control.ssthresh_bytes(), 50 * kMss);
  control.OnCongestion(CongestionController::Cause::kLoss);
  EXPECT_EQ(control.ssthresh_bytes(), 50 * kMss);
}

TEST(DctcpControllerTest, OthersDoNotTellLossFromMark) {
  for (const auto algorithm : {CongestionAlgorithm::kReno, CongestionAlgorithm::kCubic}) {
    CongestionController by_mark;
    CongestionController by_loss;
    by_mark.Init(algorithm, kMss, 100 * kMss);
    by_loss.Init(algorithm, kMss, 100 * kMss);
    by_mark.OnCongestion(CongestionController::Cause::kMark);
    by_loss.OnCongestion(CongestionController::Cause::kLoss);
    EXPECT_EQ(by_mark.ssthresh_bytes(), by_loss.ssthresh_bytes());
    const uint32_t ssthresh = by_mark.ssthresh_bytes();
    by_mark.OnLossAfterMark();
    EXPECT_EQ(by_mark.ssthresh_bytes(), ssthresh);
  }
}

}  // namespace
}  // namespace usher
