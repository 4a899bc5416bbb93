#include "stack/tcp/small_records.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>
#include <vector>

namespace usher {
namespace {

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

struct Facts {
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  uint32_t number = 0;
  uint8_t rest[40] = {};
};
using Records = SmallRecords<Facts>;

const FourTuple kV4{Ip("198.18.0.2"), Ip("198.18.0.1"), 80, 40000};
const FourTuple kV6{Ip("2001:2::2"), Ip("2001:2::1"), 80, 40000};
const Instant kNow = Instant::FromNanos(1'000'000'000'000);

TEST(SmallRecords, ARecordKeepsItsName) {
  Records records(4);
  for (const FourTuple& t : {kV4, kV6}) {
    const uint32_t index = records.Allocate(t);
    ASSERT_NE(index, Records::kNone);
    EXPECT_LT(index, records.index_limit());
    EXPECT_EQ(records.TupleOf(index), t);
    EXPECT_EQ(records[index].remote_port, 40000);
    EXPECT_EQ(records[index].number, 0u);
    records.Prefetch(index);
  }
  EXPECT_EQ(records.size(), 2u);
}

TEST(SmallRecords, AReusedRecordIsAsNew) {
  Records records(1);
  for (const FourTuple& t : {kV4, kV6}) {
    const uint32_t index = records.Allocate(t);
    records[index].number = 7;
    records.SetTimer(index, kNow);
    records.Free(index);
    EXPECT_EQ(records.NextDeadline(), Instant::Never()) << "its timer outlives it";
    FourTuple other = t;
    other.remote_port = 1;
    EXPECT_EQ(records.Allocate(other), index);
    EXPECT_EQ(records[index].number, 0u);
    EXPECT_EQ(records.TupleOf(index), other);
  }
}

TEST(SmallRecords, EachFamilyHasRoomOfItsOwn) {
  Records records(3);
  std::set<uint32_t> indices;
  for (const FourTuple& t : {kV4, kV6}) {
    for (int i = 0; i < 3; ++i) indices.insert(records.Allocate(t));
    EXPECT_EQ(records.Allocate(t), Records::kNone);
  }
  EXPECT_EQ(indices.size(), 6u);
  EXPECT_EQ(indices.count(Records::kNone), 0u);
  EXPECT_EQ(records.size(), 6u);
  EXPECT_EQ(records.capacity(), 3u);
}

TEST(SmallRecords, TimersOfBothFamiliesRunOut) {
  Records records(4);
  const uint32_t late = records.Allocate(kV4), early = records.Allocate(kV6),
                 cancelled = records.Allocate(kV6);
  records.SetTimer(late, kNow + Duration::Seconds(2));
  records.SetTimer(early, kNow + Duration::Seconds(1));
  records.SetTimer(cancelled, kNow + Duration::Seconds(1));
  records.CancelTimer(cancelled);
  EXPECT_EQ(records.deadline(late), kNow + Duration::Seconds(2));
  EXPECT_LE(records.NextDeadline(), kNow + Duration::Seconds(1));
  std::vector<uint32_t> expired;
  const auto note = [&](uint32_t index) { expired.push_back(index); };
  records.AdvanceTimers(kNow + Duration::Millis(999), note);
  EXPECT_TRUE(expired.empty());
  records.AdvanceTimers(kNow + Duration::Seconds(1), note);
  EXPECT_EQ(expired, std::vector<uint32_t>{early});
  records.AdvanceTimers(kNow + Duration::Seconds(2), note);
  EXPECT_EQ(expired, (std::vector<uint32_t>{early, late}));
}

TEST(SmallRecords, AWalkInStepsMeetsEveryRecordOnce) {
  Records records(10);
  std::multiset<uint32_t> there;
  for (int i = 0; i < 7; ++i) there.insert(records.Allocate(kV4));
  for (int i = 0; i < 5; ++i) there.insert(records.Allocate(kV6));
  for (const uint32_t gone : {*there.begin(), *there.rbegin()}) {
    records.Free(gone);
    there.erase(gone);
  }
  std::multiset<uint32_t> whole;
  records.ForEach([&](uint32_t i) { whole.insert(i); });
  EXPECT_EQ(whole, there);
  for (const uint32_t step : {1u, 3u, 100u}) {
    std::multiset<uint32_t> met;
    uint32_t steps = 0;
    for (uint32_t at = 0; at != Records::kNone; ++steps) {
      ASSERT_LT(steps, 100u) << "a walk without end";
      at = records.ForEachFrom(at, step, [&](uint32_t i) { met.insert(i); });
    }
    EXPECT_EQ(met, there) << "in steps of " << step;
  }
}

TEST(SmallRecords, AWalkOverNothingEnds) {
  const Records records(10);
  uint32_t at = 0;
  for (int i = 0; i < 2; ++i) at = records.ForEachFrom(at, 3, [](uint32_t) { FAIL(); });
  EXPECT_EQ(at, Records::kNone);
}

TEST(SmallRecords, ItsSizeGrowsWithItsCapacity) {
  EXPECT_GE(Records::BytesFor(1000), size_t{1000} * (64 + 128));
  EXPECT_GT(Records::BytesFor(2000), Records::BytesFor(1000));
}

}  // namespace
}  // namespace usher
