#include "tools/load/pacer.h"

#include <gtest/gtest.h>

namespace usher::load {
namespace {

Instant At(int64_t ms) { return Instant::FromNanos(ms * 1'000'000); }

TEST(PacerTest, ClosedLoopIsAlwaysDueNow) {
  Pacer p(0);
  p.Start(At(5));
  EXPECT_FALSE(p.open_loop());
  EXPECT_TRUE(p.Due(At(7)));
  EXPECT_EQ(p.Take(At(7)), At(7));
  EXPECT_EQ(p.Take(At(7)), At(7));
  EXPECT_EQ(p.Overdue(At(1000)), 0u);
}

TEST(PacerTest, OpenLoopIsDueAtEvenIntervals) {
  Pacer p(1000);
  p.Start(At(10));
  EXPECT_TRUE(p.Due(At(10)));
  EXPECT_EQ(p.Take(At(10)), At(10));
  EXPECT_FALSE(p.Due(At(10)));
  EXPECT_EQ(p.next(), At(11));
  EXPECT_TRUE(p.Due(At(11)));
}

TEST(PacerTest, WhoIsLateTakesTheTimeAtWhichItWasDue) {
  Pacer p(1000);
  p.Start(At(0));
  EXPECT_EQ(p.Take(At(100)), At(0));
  EXPECT_EQ(p.Take(At(100)), At(1));
  EXPECT_EQ(p.Overdue(At(9)), 7u);  // due at 2, 3, ... 8
  for (int i = 0; i < 8; ++i) p.Take(At(100));
  EXPECT_EQ(p.Overdue(At(9)), 0u);
}

TEST(PacerTest, IntervalsThatAreNoWholeNanosecondsDoNotDrift) {
  Pacer p(3e6);
  p.Start(At(0));
  for (int i = 0; i < 3'000'000; ++i) p.Take(At(0));
  EXPECT_EQ(p.next(), At(1000));
}

}  // namespace
}  // namespace usher::load
