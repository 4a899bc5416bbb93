#include "stack/glue/idle.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

Instant At(int64_t us) { return Instant::FromNanos(us * 1000); }

TEST(IdlePolicy, SleepsEverLongerUpToItsBoundAndNotWhileThereIsWork) {
  IdlePolicy idle(PollMode::kAdaptive);
  EXPECT_EQ(idle.AfterPass(3, At(1000), At(9000)), Duration());
  EXPECT_EQ(idle.AfterPass(0, At(1010), At(9000)), Duration()) << "still busy";
  EXPECT_EQ(idle.AfterPass(0, At(1100), At(9000)), Duration::Micros(10));
  EXPECT_EQ(idle.AfterPass(0, At(1110), At(9000)), Duration::Micros(20));
  for (int i = 0; i < 10; ++i) idle.AfterPass(0, At(1200), At(9000));
  EXPECT_EQ(idle.AfterPass(0, At(1300), At(9000)), IdlePolicy::kLongest);
  EXPECT_EQ(idle.AfterPass(1, At(1400), At(9000)), Duration());
  EXPECT_EQ(idle.AfterPass(0, At(1500), At(9000)), IdlePolicy::kShortest) << "begins anew";
}

TEST(IdlePolicy, NeverSleepsPastADeadline) {
  IdlePolicy idle(PollMode::kAdaptive);
  for (int i = 0; i < 10; ++i) idle.AfterPass(0, At(1000 + i), At(9000));
  EXPECT_EQ(idle.AfterPass(0, At(2000), At(2040)), Duration::Micros(40));
  EXPECT_EQ(idle.AfterPass(0, At(2000), At(2005)), Duration()) << "too short to be worth it";
  EXPECT_EQ(idle.AfterPass(0, At(2000), At(1000)), Duration()) << "overdue";
  EXPECT_EQ(idle.AfterPass(0, At(2000), Instant::Never()), IdlePolicy::kLongest);
}

TEST(IdlePolicy, PollModeNeverSleeps) {
  IdlePolicy idle(PollMode::kPoll);
  EXPECT_FALSE(idle.wants_deadline(0));
  EXPECT_EQ(idle.AfterPass(0, At(5000), Instant::Never()), Duration());
}

}  // namespace
}  // namespace usher
