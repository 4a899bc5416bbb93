#include "stack/base/flow_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "stack/base/random.h"

namespace usher {
namespace {

uint32_t FindValue(const FlowTable& table, uint64_t hash, uint32_t value) {
  return table.Find(hash, [value](uint32_t v) { return v == value; });
}

TEST(FlowTable, FindsWhatWasInsertedAndNothingElse) {
  FlowTable table(100);
  EXPECT_TRUE(table.Insert(0x1122334455667788u, 7));
  EXPECT_EQ(FindValue(table, 0x1122334455667788u, 7), 7u);
  EXPECT_EQ(FindValue(table, 0x1122334455667788u, 8), FlowTable::kNone);
  EXPECT_EQ(table.Find(0x9922334455667788u, [](uint32_t) { return true; }), FlowTable::kNone);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_FALSE(table.Erase(0x1122334455667788u, 8));
  EXPECT_TRUE(table.Erase(0x1122334455667788u, 7));
  EXPECT_FALSE(table.Erase(0x1122334455667788u, 7));
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.Find(0x1122334455667788u, [](uint32_t) { return true; }), FlowTable::kNone);
}

TEST(FlowTable, AsksOnlyAboutAgreeingTags) {
  FlowTable table(6);  // one or two buckets: all share a line
  for (uint32_t i = 0; i < 6; ++i) ASSERT_TRUE(table.Insert(uint64_t{i + 1} << 40, i));
  int asked = 0;
  EXPECT_EQ(table.Find(uint64_t{3} << 40,
                       [&asked](uint32_t value) {
                         ++asked;
                         return value == 2;
                       }),
            2u);
  EXPECT_EQ(asked, 1);
}

TEST(FlowTable, ZeroAndItsNeighboursAreHashesToo) {
  FlowTable table(10);
  for (uint64_t hash : {0x0u, 0x1u, 0xffffffffu}) {
    for (uint64_t high : {0u, 1u}) {
      const auto value = static_cast<uint32_t>(hash + high) & 0xff;
      ASSERT_TRUE(table.Insert(high << 32 | hash, value));
      EXPECT_EQ(FindValue(table, high << 32 | hash, value), value);
    }
  }
  EXPECT_EQ(table.size(), 6u);
}

TEST(FlowTable, HoldsItsCapacityAndNoMore) {
  for (uint32_t capacity : {0u, 1u, 5u, 8u, 9u, 1'000u, 43'690u, 43'691u, 100'000u}) {
    SCOPED_TRACE(testing::Message() << "capacity " << capacity);
    SeededRandom random(capacity);
    std::vector<uint64_t> hashes(capacity);
    FlowTable table(capacity);
    for (uint32_t i = 0; i < capacity; ++i) {
      hashes[i] = random.Next64();
      ASSERT_TRUE(table.Insert(hashes[i], i));
    }
    EXPECT_FALSE(table.Insert(random.Next64(), 1));
    EXPECT_EQ(table.refused(), 1u);
    EXPECT_LE(table.longest_probe(), 16u);
    for (uint32_t i = 0; i < capacity; ++i) ASSERT_EQ(FindValue(table, hashes[i], i), i);
  }
}

TEST(FlowTable, EqualHashesFillTheReachableBucketsAndAreThenRefused) {
  FlowTable table(100'000);
  const uint64_t hash = 0xdeadbeef00000000u - 1;  // wraps round the table's end
  const uint32_t reachable = FlowTable::kMaxProbeBuckets * 8;
  for (uint32_t i = 0; i < reachable; ++i) ASSERT_TRUE(table.Insert(hash, i));
  EXPECT_FALSE(table.Insert(hash, reachable));
  EXPECT_EQ(table.refused(), 1u);
  EXPECT_EQ(table.longest_probe(), FlowTable::kMaxProbeBuckets);
  // Honest entries are still found: from the crowded home bucket, and elsewhere.
  EXPECT_TRUE(table.Insert(hash + 1000, 1u << 20));
  EXPECT_EQ(FindValue(table, hash + 1000, 1u << 20), 1u << 20);
  // Erased from the front, the later ones stay within reach.
  for (uint32_t i = 0; i < reachable; ++i) {
    ASSERT_EQ(FindValue(table, hash, reachable - 1), reachable - 1);
    ASSERT_TRUE(table.Erase(hash, i));
    ASSERT_EQ(FindValue(table, hash, i), FlowTable::kNone);
  }
  EXPECT_EQ(table.size(), 1u);
}

TEST(FlowTable, ErasesTheEntryOfThatHashEvenIfAnotherIsLikeIt) {
  // Both have the same high half and value; the second's home is where the first one's overflow
  // goes. Taking the one for the other would leave wrong overflow counts behind.
  FlowTable table(10'000);
  const uint64_t first = uint64_t{0xabcdef00} << 32, second = first + 1;
  for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(table.Insert(first, i));
  ASSERT_TRUE(table.Insert(second, 77));
  ASSERT_TRUE(table.Insert(first, 77));
  ASSERT_TRUE(table.Erase(first, 77));
  EXPECT_EQ(FindValue(table, first, 77), FlowTable::kNone);
  EXPECT_EQ(FindValue(table, second, 77), 77u);
}

TEST(FlowTable, LookUpsGoOnOnlyWhileSomethingLiesBeyond) {
  FlowTable table(10'000);
  const uint64_t hash = uint64_t{0xabcdef00} << 32 | 5;
  for (uint32_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(table.Insert(hash, i));
    EXPECT_EQ(table.ProbeLength(hash), 1 + i / 8);
  }
  // The first go, and the last ones keep the way to them open.
  for (uint32_t i = 0; i < 16; ++i) ASSERT_TRUE(table.Erase(hash, i));
  EXPECT_EQ(table.ProbeLength(hash), 3u);
  for (uint32_t i = 16; i < 20; ++i) ASSERT_TRUE(table.Erase(hash, i));
  EXPECT_EQ(table.ProbeLength(hash), 1u);
}

TEST(FlowTable, ForEachVisitsAllAndLetsEntriesGo) {
  FlowTable table(1'000);
  SeededRandom random(3);
  std::vector<uint64_t> hashes(1'000);
  for (uint32_t i = 0; i < 1'000; ++i) ASSERT_TRUE(table.Insert(hashes[i] = random.Next64(), i));
  std::vector<uint32_t> visited;
  table.ForEach([&](uint32_t value) {
    visited.push_back(value);
    ASSERT_TRUE(table.Erase(hashes[value], value));
  });
  std::sort(visited.begin(), visited.end());
  ASSERT_EQ(visited.size(), 1'000u);
  for (uint32_t i = 0; i < 1'000; ++i) ASSERT_EQ(visited[i], i);
  EXPECT_EQ(table.size(), 0u);
}

// Draws hashes that collide in bucket, in tag, or in both, as an attacker with the key would.
uint64_t CollidingHash(SeededRandom& random) {
  const uint64_t bits = random.Next64();
  switch (random.Uniform(4)) {
    case 0:
      return bits;
    case 1:
      return bits % 3 << 39 | (bits >> 32) % 4;
    case 2:
      return bits | 0xfffffff0u;
    default:
      return 0x1234567800000000u;
  }
}

TEST(FlowTable, BehavesAsAnUnorderedMultimap) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    const auto capacity = static_cast<uint32_t>(1 + random.Uniform(seed % 3 == 0 ? 30 : 3'000));
    FlowTable table(capacity);
    std::unordered_multimap<uint64_t, uint32_t> model;
    std::vector<std::pair<uint64_t, uint32_t>> live;
    const uint64_t insert_share = 30 + random.Uniform(50);
    for (int step = 0; step < 10'000; ++step) {
      if (random.Uniform(100) < insert_share) {
        const uint64_t hash = CollidingHash(random);
        const auto value = static_cast<uint32_t>(random.Uniform(1'000));
        const uint64_t refused = table.refused();
        if (table.Insert(hash, value)) {
          model.emplace(hash, value);
          live.emplace_back(hash, value);
        } else {
          ASSERT_EQ(table.refused(), refused + 1);
          ASSERT_TRUE(model.size() == capacity || capacity > 64);
        }
      } else if (!live.empty()) {
        const size_t i = random.Uniform(live.size());
        const auto [hash, value] = live[i];
        live[i] = live.back();
        live.pop_back();
        ASSERT_TRUE(table.Erase(hash, value));
        const auto [begin, end] = model.equal_range(hash);
        model.erase(std::find_if(begin, end, [v = value](auto& e) { return e.second == v; }));
      }
      ASSERT_EQ(table.size(), model.size());
      const uint64_t probe = CollidingHash(random);
      const auto value = static_cast<uint32_t>(random.Uniform(1'000));
      const auto [begin, end] = model.equal_range(probe);
      const bool present = std::any_of(begin, end, [&](auto& e) { return e.second == value; });
      ASSERT_EQ(FindValue(table, probe, value), present ? value : FlowTable::kNone);
    }
    for (const auto& [hash, value] : live) ASSERT_EQ(FindValue(table, hash, value), value);
    for (const auto& [hash, value] : live) ASSERT_TRUE(table.Erase(hash, value));
    ASSERT_EQ(table.size(), 0u);
    table.ForEach([](uint32_t) { FAIL() << "an entry is left"; });
    for (int i = 0; i < 100; ++i) ASSERT_EQ(table.ProbeLength(CollidingHash(random)), 1u);
  }
}

}  // namespace
}  // namespace usher
