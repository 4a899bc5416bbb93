#include "stack/glue/idle.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace usher {
namespace {

Instant At(int64_t us) { return Instant::FromNanos(us * 1000); }

TEST(IdlePolicy, SleepsEverLongerUpToItsBoundAndNotWhileThereIsWork) {
  IdlePolicy idle(PollMode::kAdaptive);
  EXPECT_EQ(idle.AfterPass(3, At(1000), At(9000)), Duration());
  EXPECT_EQ(idle.AfterPass(0, At(1010), At(9000)), Duration()) << "still busy";
  EXPECT_EQ(idle.AfterPass(0, At(1150), At(9000)), Duration::Micros(10));
  EXPECT_EQ(idle.AfterPass(0, At(1160), At(9000)), Duration::Micros(20));
  for (int i = 0; i < 10; ++i) idle.AfterPass(0, At(1200), At(9000));
  EXPECT_EQ(idle.AfterPass(0, At(1300), At(9000)), IdlePolicy::kLight);
  EXPECT_EQ(idle.AfterPass(1, At(1400), At(9000)), Duration());
  EXPECT_EQ(idle.AfterPass(0, At(1500), At(9000)), IdlePolicy::kShortest) << "begins anew";
}

TEST(IdlePolicy, NeverSleepsPastADeadline) {
  IdlePolicy idle(PollMode::kAdaptive);
  for (int i = 0; i < 10; ++i) idle.AfterPass(0, At(1000 + i), At(9000));
  EXPECT_EQ(idle.AfterPass(0, At(2000), At(2040)), Duration::Micros(40));
  EXPECT_EQ(idle.AfterPass(0, At(2000), At(2005)), Duration()) << "too short to be worth it";
  EXPECT_EQ(idle.AfterPass(0, At(2000), At(1000)), Duration()) << "overdue";
  EXPECT_EQ(idle.AfterPass(0, At(2000), Instant::Never()), IdlePolicy::kLight);
}

TEST(IdlePolicy, SleepsLongOnlyAfterALongSilence) {
  IdlePolicy idle(PollMode::kAdaptive);
  idle.AfterPass(1, At(1000), Instant::Never());
  Duration longest;
  for (int64_t us = 2000; us < 1000 + IdlePolicy::kRecent.us(); us += 100)
    longest = std::max(longest, idle.AfterPass(0, At(us), Instant::Never()));
  EXPECT_EQ(longest, IdlePolicy::kLight);
  for (int64_t i = 1; i < 10; ++i)
    longest = idle.AfterPass(0, At(1000 + i * 1000 + IdlePolicy::kRecent.us()), Instant::Never());
  EXPECT_EQ(longest, IdlePolicy::kLongest);
  idle.AfterPass(1, At(1'000'000), Instant::Never());
  EXPECT_EQ(idle.AfterPass(0, At(1'000'200), Instant::Never()), IdlePolicy::kShortest);
}

TEST(IdlePolicy, SleepsLongAtOnceWhereAPacketWakes) {
  IdlePolicy idle(PollMode::kAdaptive, true);
  idle.AfterPass(1, At(1000), Instant::Never());
  EXPECT_EQ(idle.AfterPass(0, At(1010), Instant::Never()), Duration()) << "still busy";
  EXPECT_EQ(idle.AfterPass(0, At(1150), Instant::Never()), IdlePolicy::kUntilPacket);
  EXPECT_EQ(idle.AfterPass(0, At(1200), At(1700)), Duration::Micros(500)) << "a timer is due";
}

TEST(IdlePolicy, PollModeNeverSleeps) {
  IdlePolicy idle(PollMode::kPoll);
  EXPECT_FALSE(idle.wants_deadline(0));
  EXPECT_EQ(idle.AfterPass(0, At(5000), Instant::Never()), Duration());
}

}  // namespace
}  // namespace usher
