#include "stack/base/timer_wheel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "stack/base/random.h"

namespace usher {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint32_t kNoLimit = std::numeric_limits<uint32_t>::max();

constexpr Instant At(int64_t ns) { return Instant::FromNanos(ns); }
constexpr Instant AtMs(int64_t ms) { return Instant() + Duration::Millis(ms); }

std::vector<uint32_t> Fired(TimerWheel& wheel, Instant now, uint32_t budget = kNoLimit) {
  std::vector<uint32_t> ids;
  const uint32_t count = wheel.Advance(now, budget, [&](uint32_t id) {
    EXPECT_FALSE(wheel.IsSet(id));
    ids.push_back(id);
  });
  EXPECT_EQ(count, ids.size());
  return ids;
}

TEST(TimerWheel, FiresAtTheNanosecondAndNotBefore) {
  // Deadlines on both sides of every level's edges.
  for (int64_t delay : {1LL, 1'023LL, 1'024LL, 1'025LL, 262'143LL, 262'144LL, 262'145LL,
                        536'870'911LL, 536'870'912LL, 536'870'913LL, (1LL << 37) - 1, 1LL << 37,
                        (1LL << 37) + 1, (1LL << 45) - 1, 1LL << 45, (1LL << 45) + 1, 1LL << 52}) {
    for (int64_t start : {0LL, 1LL, 12'345'678'901'234LL, -5'000'000'000LL}) {
      SCOPED_TRACE(testing::Message() << "delay " << delay << " from " << start);
      TimerWheel wheel(4, At(start));
      wheel.Set(2, At(start + delay));
      EXPECT_TRUE(wheel.IsSet(2));
      EXPECT_EQ(wheel.deadline(2), At(start + delay));
      EXPECT_EQ(wheel.NextDeadline(), At(start + delay));
      EXPECT_THAT(Fired(wheel, At(start)), IsEmpty());
      EXPECT_THAT(Fired(wheel, At(start + delay - 1)), IsEmpty());
      EXPECT_EQ(wheel.NextDeadline(), At(start + delay));
      EXPECT_THAT(Fired(wheel, At(start + delay)), ElementsAre(2));
      EXPECT_THAT(Fired(wheel, At(start + delay + 1)), IsEmpty());
      EXPECT_FALSE(wheel.IsSet(2));
      EXPECT_EQ(wheel.NextDeadline(), Instant::Never());
    }
  }
}

TEST(TimerWheel, NothingIsSetAtFirst) {
  TimerWheel wheel(3);
  EXPECT_EQ(wheel.capacity(), 3u);
  for (uint32_t id = 0; id < 3; ++id) {
    EXPECT_FALSE(wheel.IsSet(id));
    EXPECT_EQ(wheel.deadline(id), Instant::Never());
  }
  EXPECT_EQ(wheel.NextDeadline(), Instant::Never());
  EXPECT_THAT(Fired(wheel, AtMs(1'000'000'000)), IsEmpty());
}

TEST(TimerWheel, OrdersByDeadlineThenByFiling) {
  TimerWheel wheel(8);
  wheel.Set(5, AtMs(300));
  wheel.Set(1, AtMs(100));
  wheel.Set(4, AtMs(300));
  wheel.Set(0, AtMs(20'000));
  wheel.Set(3, AtMs(300));
  wheel.Set(7, AtMs(0));
  EXPECT_THAT(Fired(wheel, AtMs(20'000)), ElementsAre(7, 1, 5, 4, 3, 0));
}

TEST(TimerWheel, LaterAndEarlierAgain) {
  TimerWheel wheel(2);
  wheel.Set(0, AtMs(200));
  wheel.Set(0, AtMs(500));
  EXPECT_EQ(wheel.NextDeadline(), AtMs(500));
  EXPECT_THAT(Fired(wheel, AtMs(499)), IsEmpty());
  wheel.Set(0, AtMs(900));
  wheel.Set(0, AtMs(501));
  EXPECT_EQ(wheel.NextDeadline(), AtMs(501));
  EXPECT_THAT(Fired(wheel, AtMs(501)), ElementsAre(0));
  wheel.Set(0, AtMs(10'000));
  wheel.Set(0, AtMs(502));
  EXPECT_THAT(Fired(wheel, AtMs(502)), ElementsAre(0));
  EXPECT_THAT(Fired(wheel, AtMs(20'000)), IsEmpty());
}

TEST(TimerWheel, CancelledTimersStaySilentAndMayBeSetAgain) {
  TimerWheel wheel(2);
  wheel.Set(0, AtMs(10));
  wheel.Set(1, AtMs(10));
  wheel.Cancel(0);
  wheel.Cancel(0);
  EXPECT_FALSE(wheel.IsSet(0));
  EXPECT_EQ(wheel.NextDeadline(), AtMs(10));
  EXPECT_THAT(Fired(wheel, AtMs(10)), ElementsAre(1));
  wheel.Set(0, AtMs(30));
  wheel.Set(1, AtMs(30));
  wheel.Set(1, Instant::Never());
  EXPECT_FALSE(wheel.IsSet(1));
  wheel.Cancel(0);
  EXPECT_EQ(wheel.NextDeadline(), Instant::Never());
  wheel.Set(0, AtMs(20));
  EXPECT_THAT(Fired(wheel, AtMs(40)), ElementsAre(0));
}

TEST(TimerWheel, PastDeadlinesFireAtTheNextAdvance) {
  TimerWheel wheel(3);
  EXPECT_THAT(Fired(wheel, AtMs(5'000)), IsEmpty());
  wheel.Set(0, AtMs(1));
  wheel.Set(1, AtMs(5'000));
  wheel.Set(2, Instant::FromNanos(std::numeric_limits<int64_t>::min()));
  EXPECT_LE(wheel.NextDeadline(), AtMs(1));
  EXPECT_THAT(Fired(wheel, AtMs(5'000)), ElementsAre(0, 1, 2));
}

TEST(TimerWheel, FireMaySetAndCancelAnyTimer) {
  TimerWheel wheel(5);
  for (uint32_t id = 0; id < 4; ++id) wheel.Set(id, AtMs(10));
  std::vector<uint32_t> ids;
  wheel.Advance(AtMs(12), kNoLimit, [&](uint32_t id) {
    ids.push_back(id);
    if (id == 0 && ids.size() == 1) {
      wheel.Set(0, AtMs(11));  // itself, due in this call
      wheel.Cancel(1);         // waiting in the same slot
      wheel.Set(2, AtMs(13));  // likewise, made later
      wheel.Set(4, AtMs(1));   // in the past
    }
  });
  EXPECT_THAT(ids, ElementsAre(0, 3, 4, 0));
  EXPECT_THAT(Fired(wheel, AtMs(13)), ElementsAre(2));
}

TEST(TimerWheel, BudgetLeavesTheRestForTheNextCall) {
  TimerWheel wheel(100);
  for (uint32_t id = 0; id < 100; ++id) wheel.Set(id, AtMs(10));
  EXPECT_THAT(Fired(wheel, AtMs(10), 30).size(), 30u);
  EXPECT_LE(wheel.NextDeadline(), AtMs(10));
  wheel.Cancel(40);
  wheel.Set(50, AtMs(20));
  wheel.Set(0, AtMs(5));
  std::vector<uint32_t> rest;
  for (int call = 0; call < 10 && wheel.NextDeadline() <= AtMs(10); ++call) {
    for (uint32_t id : Fired(wheel, AtMs(10), 30)) rest.push_back(id);
  }
  EXPECT_EQ(rest.size(), 100u - 30 - 2 + 1);
  EXPECT_EQ(wheel.NextDeadline(), AtMs(20));
}

TEST(TimerWheel, MovesPerCallAreBounded) {
  // All in one slot of an outer level, none of them due when it opens.
  constexpr uint32_t kTimers = 10'000;
  TimerWheel wheel(kTimers);
  for (uint32_t id = 0; id < kTimers; ++id) wheel.Set(id, AtMs(1'200));
  int calls = 0;
  for (uint64_t before = 0, steps = 1; steps > 1 || calls == 0; ++calls) {
    before = wheel.steps();
    EXPECT_EQ(wheel.Advance(AtMs(1'100), 10, [](uint32_t) {}), 0u);
    steps = wheel.steps() - before;
    EXPECT_LE(steps, 10 * TimerWheel::kMovesPerFire + 2);
  }
  EXPECT_GE(calls, 10'000 / 80);
  EXPECT_EQ(wheel.NextDeadline(), AtMs(1'200));
  EXPECT_EQ(Fired(wheel, AtMs(1'200)).size(), kTimers);
}

TEST(TimerWheel, EmptyHoursCostNothing) {
  TimerWheel wheel(1'000);
  wheel.Set(0, AtMs(4 * 3'600'000));
  wheel.Set(1, AtMs(10));
  uint64_t before = wheel.steps();
  EXPECT_THAT(Fired(wheel, AtMs(3'600'000)), ElementsAre(1));
  EXPECT_LE(wheel.steps() - before, 12u);
  before = wheel.steps();
  EXPECT_THAT(Fired(wheel, AtMs(2 * 3'600'000)), IsEmpty());
  EXPECT_EQ(wheel.steps(), before);
  EXPECT_THAT(Fired(wheel, AtMs(100 * 3'600'000)), ElementsAre(0));
  EXPECT_LE(wheel.steps() - before, 12u);
}

TEST(TimerWheel, LazyDeadlinesAreFiledAnewOnceNotAtEveryRearming) {
  constexpr uint32_t kTimers = 100;
  TimerWheel wheel(kTimers);
  // Re-armed to 200 ms every millisecond for ten seconds, as a busy connection does.
  for (int64_t ms = 0; ms < 10'000; ++ms) {
    for (uint32_t id = 0; id < kTimers; ++id) wheel.Set(id, AtMs(ms + 200));
    ASSERT_EQ(wheel.Advance(AtMs(ms), kNoLimit, [](uint32_t) {}), 0u);
  }
  EXPECT_LT(wheel.steps(), kTimers * 10'000 / 200 * 4);
}

TEST(TimerWheel, CallersSleepingUntilNextDeadlineNeitherSpinNorOversleep) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    constexpr uint32_t kTimers = 2'000;
    TimerWheel wheel(kTimers);
    const int64_t spread = seed % 2 == 0 ? 1'000'000 : 100'000'000'000;
    for (uint32_t id = 0; id < kTimers; ++id) {
      wheel.Set(id, At(static_cast<int64_t>(random.Uniform(spread))));
      wheel.Set(id, wheel.deadline(id) + Duration::Nanos(random.Uniform(spread)));
    }
    uint32_t fired = 0, calls = 0;
    for (Instant now; now != Instant::Never(); now = wheel.NextDeadline()) {
      fired += wheel.Advance(now, kNoLimit, [](uint32_t) {});
      ++calls;
    }
    EXPECT_EQ(fired, kTimers);
    EXPECT_LE(calls, kTimers * 3 / 2);
  }
}

TEST(TimerWheel, BeyondTheScanLimitNextDeadlineIsStillNoLaterThanTheEarliest) {
  constexpr uint32_t kTimers = 2 * TimerWheel::kScanLimit;
  TimerWheel wheel(kTimers);
  const Instant now = AtMs(1) + Duration::Nanos(100);
  EXPECT_THAT(Fired(wheel, now), IsEmpty());
  for (uint32_t id = 0; id < kTimers; ++id) wheel.Set(id, now + Duration::Nanos(200));
  // Past deadlines go to the slot of the present, behind all the others.
  wheel.Set(0, now - Duration::Millis(1));
  wheel.Set(kTimers - 1, now - Duration::Micros(5));
  wheel.Cancel(0);
  EXPECT_LE(wheel.NextDeadline(), now - Duration::Micros(5));
  EXPECT_THAT(Fired(wheel, now), ElementsAre(kTimers - 1));
  wheel.Set(1, now + Duration::Nanos(100));
  wheel.Cancel(1);
  EXPECT_GT(wheel.NextDeadline(), now);
  EXPECT_LE(wheel.NextDeadline(), now + Duration::Nanos(200));
}

TEST(TimerWheel, FireMaySetEarlierWhatWaitsInTheSlotBeingEmptied) {
  const Instant now = AtMs(1'000'000);
  TimerWheel wheel(100, now);
  for (uint32_t id = 0; id < 100; ++id) wheel.Set(id, now + Duration::Millis(10));
  std::vector<uint32_t> ids;
  wheel.Advance(now + Duration::Millis(10), kNoLimit, [&](uint32_t id) {
    ids.push_back(id);
    if (id != 0) return;
    for (uint32_t other = 99; other > 0; --other) wheel.Set(other, now + Duration::Millis(9));
  });
  ASSERT_EQ(ids.size(), 100u);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST(TimerWheel, NextDeadlineKnowsWhatIsOverdueBesideWhatABudgetLeft) {
  const Instant now = AtMs(1'000'000);
  TimerWheel wheel(30, now);
  for (uint32_t id = 0; id < 20; ++id) wheel.Set(id, now - Duration::Micros(2));
  EXPECT_EQ(Fired(wheel, now, 1).size(), 1u);
  wheel.Set(21, now - Duration::Micros(5));
  wheel.Set(22, now - Duration::Micros(4));
  wheel.Cancel(21);
  EXPECT_EQ(wheel.NextDeadline(), now - Duration::Micros(4));
}

// The wheel beside a multimap from deadline to timer.
class Model {
 public:
  explicit Model(uint64_t seed)
      : random_(seed),
        capacity_(static_cast<uint32_t>(1 + random_.Uniform(400))),
        now_(static_cast<int64_t>(random_.Uniform(1'000'000'000'000'000))),
        passed_(random_.Uniform(2) == 0 ? now_ : 0),
        wheel_(capacity_, At(passed_)),
        deadline_(capacity_, kUnset) {}

  void Step() {
    const auto id = static_cast<uint32_t>(random_.Uniform(capacity_));
    switch (random_.Uniform(8)) {
      case 0:
        Cancel(id);
        break;
      case 1: {
        // One draw after the other: the order of arguments is each compiler's own.
        const int64_t now = now_ + Jump();
        Advance(now, random_.Uniform(2) == 0 ? kNoLimit : 1 + random_.Uniform(5));
        break;
      }
      case 2:
        Advance(now_, kNoLimit);
        break;
      case 3:
        CheckNextDeadline();
        break;
      default:
        Set(id, Deadline(now_ - (random_.Uniform(10) == 0 ? 1'000'000 : 0)));
    }
    ASSERT_EQ(wheel_.IsSet(id), deadline_[id] != kUnset);
    if (deadline_[id] != kUnset) {
      ASSERT_EQ(wheel_.deadline(id), At(deadline_[id]));
    }
  }

  // Everything that is set fires, and nothing is left.
  void Finish() {
    finishing_ = true;
    Advance(now_ + (int64_t{1} << 50), kNoLimit);
    ASSERT_TRUE(by_deadline_.empty());
    ASSERT_EQ(wheel_.NextDeadline(), Instant::Never());
  }

 private:
  static constexpr int64_t kUnset = std::numeric_limits<int64_t>::min();

  // From nanoseconds to a day, every magnitude equally likely.
  int64_t Jump() {
    return static_cast<int64_t>(random_.Next64() >> (64 - 1 - random_.Uniform(47)));
  }

  // After `start`; half of the time on a coarse grid, so that many timers share a slot.
  int64_t Deadline(int64_t start) {
    const int64_t deadline = start + Jump();
    if (random_.Uniform(2) == 0) return deadline;
    return (deadline | ((int64_t{1} << grid_bits_) - 1)) - static_cast<int64_t>(random_.Uniform(3));
  }

  void Forget(uint32_t id) {
    if (deadline_[id] == kUnset) return;
    const auto [begin, end] = by_deadline_.equal_range(deadline_[id]);
    by_deadline_.erase(std::find_if(begin, end, [id](auto& entry) { return entry.second == id; }));
    deadline_[id] = kUnset;
  }

  void Set(uint32_t id, int64_t deadline) {
    Forget(id);
    deadline_[id] = deadline;
    by_deadline_.emplace(deadline, id);
    wheel_.Set(id, At(deadline));
  }

  void Cancel(uint32_t id) {
    Forget(id);
    wheel_.Cancel(id);
  }

  void Advance(int64_t now, uint32_t budget) {
    now_ = now;
    // Nothing set during the call comes before what was set before it.
    int64_t last = std::numeric_limits<int64_t>::min();
    int chances = 20;
    const uint32_t fired = wheel_.Advance(At(now), budget, [&](uint32_t id) {
      ASSERT_NE(deadline_[id], kUnset);
      ASSERT_LE(deadline_[id], now);
      ASSERT_FALSE(wheel_.IsSet(id));
      const int64_t slot = std::max(deadline_[id], passed_) >> 10;
      if (order_known_ && chances == 20) {
        ASSERT_GE(slot, last);
      }
      last = slot;
      Forget(id);
      if (!finishing_ && chances > 0 && random_.Uniform(4) == 0) {
        --chances;
        const auto other = static_cast<uint32_t>(random_.Uniform(capacity_));
        random_.Uniform(3) == 0 ? Cancel(other) : Set(other, Deadline(now - 5'000));
      }
    });
    ASSERT_LE(fired, budget);
    if (budget == kNoLimit) {
      ASSERT_TRUE(by_deadline_.empty() || by_deadline_.begin()->first > now);
      passed_ = now;
    }
    // An Advance cut short does not tell how far it came, on which the order of timers set in the
    // past depends.
    order_known_ = budget == kNoLimit;
    CheckNextDeadline();
  }

  void CheckNextDeadline() {
    if (by_deadline_.empty()) {
      ASSERT_EQ(wheel_.NextDeadline(), Instant::Never());
    } else if (capacity_ <= TimerWheel::kScanLimit) {
      ASSERT_EQ(wheel_.NextDeadline(), At(by_deadline_.begin()->first));
    } else {
      ASSERT_LE(wheel_.NextDeadline(), At(by_deadline_.begin()->first));
    }
  }

  SeededRandom random_;
  uint32_t capacity_;
  int64_t now_;
  uint64_t grid_bits_ = random_.Uniform(47);
  bool order_known_ = true;
  bool finishing_ = false;
  int64_t passed_;
  TimerWheel wheel_;
  std::vector<int64_t> deadline_;
  std::multimap<int64_t, uint32_t> by_deadline_;
};

TEST(TimerWheel, BehavesAsAMultimap) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Model model(seed);
    for (int step = 0; step < 3'000 && !testing::Test::HasFailure(); ++step) model.Step();
    model.Finish();
    if (testing::Test::HasFailure()) return;
  }
}

TEST(TimerWheel, EveryTimerInASlotOfItsOwn) {
  // As many partly filled chunks as there can be, twice over to see that chunks come back.
  constexpr uint32_t kTimers = 3'000;
  TimerWheel wheel(kTimers);
  int64_t now = 0;
  for (int round = 0; round < 3; ++round) {
    for (uint32_t id = 0; id < kTimers; ++id) {
      const int64_t step = id < 256    ? int64_t{id} << 10
                           : id < 2304 ? int64_t{id - 256} << 18
                           : id < 2560 ? int64_t{id - 2304} << 29
                                       : int64_t{id - 2560} << 37;
      wheel.Set(id, At(now + step));
    }
    now += int64_t{1} << 47;
    EXPECT_EQ(Fired(wheel, At(now)).size(), kTimers);
  }
}

}  // namespace
}  // namespace usher
