#include "stack/base/object_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "stack/base/random.h"

namespace usher {
namespace {

struct Tracked {
  explicit Tracked(int* live_count, int v = 0) : live(live_count), value(v) { ++*live; }
  ~Tracked() { --*live; }
  Tracked(const Tracked&) = delete;
  int* live;
  int value;
};

TEST(ObjectPool, ConstructsWithArgumentsAndDestroys) {
  int live = 0;
  ObjectPool<Tracked> pool(2);
  const uint32_t a = pool.Allocate(&live, 5);
  const uint32_t b = pool.Allocate(&live, 6);
  EXPECT_EQ(live, 2);
  EXPECT_EQ(pool[a].value, 5);
  EXPECT_EQ(pool[b].value, 6);
  EXPECT_EQ(pool.size(), 2u);
  EXPECT_EQ(pool.Allocate(&live), ObjectPool<Tracked>::kNone);
  EXPECT_EQ(live, 2);
  pool.Free(a);
  EXPECT_EQ(live, 1);
  EXPECT_EQ(pool.Allocate(&live, 7), a);
  EXPECT_EQ(pool[a].value, 7);
}

TEST(ObjectPool, DestroysWhatStillLivesAtItsEnd) {
  int live = 0;
  {
    ObjectPool<Tracked> pool(8);
    for (int i = 0; i < 5; ++i) pool.Allocate(&live);
    pool.Free(2);
    EXPECT_EQ(live, 4);
  }
  EXPECT_EQ(live, 0);
}

TEST(ObjectPool, ReusesTheLastFreedFirstAndValueInitialises) {
  ObjectPool<uint64_t> pool(4);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(pool.Allocate(), i);
  pool[1] = 77;
  pool.Free(3);
  pool.Free(1);
  EXPECT_EQ(pool.Allocate(), 1u);
  EXPECT_EQ(pool[1], 0u);
  EXPECT_EQ(pool.Allocate(), 3u);
  EXPECT_EQ(pool.Allocate(), ObjectPool<uint64_t>::kNone);
}

TEST(ObjectPool, StaleHandlesAreFound) {
  ObjectPool<int> pool(2);
  EXPECT_EQ(pool.Get(Handle{}), nullptr);
  EXPECT_EQ(pool.Get(Handle{0, 0}), nullptr);
  EXPECT_EQ(pool.Get(Handle{0, 1}), nullptr);
  const uint32_t index = pool.Allocate(1);
  const Handle first = pool.HandleOf(index);
  EXPECT_EQ(pool.Get(first), &pool[index]);
  pool.Free(index);
  EXPECT_EQ(pool.Get(first), nullptr);
  EXPECT_FALSE(pool.IsLive(index));
  EXPECT_EQ(pool.Allocate(2), index);
  EXPECT_EQ(pool.Get(first), nullptr);
  EXPECT_NE(pool.HandleOf(index), first);
  EXPECT_EQ(*pool.Get(pool.HandleOf(index)), 2);
  EXPECT_EQ(pool.Get(Handle{7, 1}), nullptr);
}

TEST(ObjectPoolDeathTest, DoubleFreeAndForeignIndexAreFatal) {
  ObjectPool<int> pool(2);
  const uint32_t index = pool.Allocate();
  pool.Free(index);
  EXPECT_DEATH(pool.Free(index), "IsLive");
  EXPECT_DEATH(pool.Free(1), "IsLive");
  EXPECT_DEATH(pool.Free(9), "IsLive");
}

TEST(ObjectPool, KeepsTheAlignmentOfItsType) {
  struct alignas(64) Line {
    char c = 0;
  };
  ObjectPool<Line> pool(3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(&pool[pool.Allocate()]) % 64, 0u);
  }
}

TEST(ObjectPool, OfNothingIsAlwaysEmpty) {
  ObjectPool<int> pool(0);
  EXPECT_EQ(pool.Allocate(), ObjectPool<int>::kNone);
}

TEST(ObjectPool, BehavesAsAMapUnderRandomUse) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    const auto capacity = static_cast<uint32_t>(1 + random.Uniform(50));
    ObjectPool<uint64_t> pool(capacity);
    std::map<uint32_t, std::pair<uint64_t, Handle>> model;
    std::vector<Handle> stale;
    for (int step = 0; step < 2'000; ++step) {
      if (random.Uniform(2) == 0) {
        const uint64_t value = random.Next64();
        const uint32_t index = pool.Allocate(value);
        ASSERT_EQ(index == ObjectPool<uint64_t>::kNone, model.size() == capacity);
        if (index == ObjectPool<uint64_t>::kNone) continue;
        ASSERT_TRUE(model.emplace(index, std::pair(value, pool.HandleOf(index))).second);
      } else if (!model.empty()) {
        const auto victim = std::next(model.begin(), random.Uniform(model.size()));
        stale.push_back(victim->second.second);
        pool.Free(victim->first);
        model.erase(victim);
      }
      ASSERT_EQ(pool.size(), model.size());
    }
    for (const auto& [index, entry] : model) {
      ASSERT_EQ(pool[index], entry.first);
      ASSERT_EQ(pool.Get(entry.second), &pool[index]);
    }
    for (Handle handle : stale) ASSERT_EQ(pool.Get(handle), nullptr);
    size_t visited = 0;
    pool.ForEach([&](uint32_t index) { visited += model.count(index); });
    ASSERT_EQ(visited, model.size());
  }
}

#ifdef USHER_ASAN
TEST(ObjectPool, PoisonsFreeSlots) {
  ObjectPool<uint64_t> pool(2);
  uint64_t* first = &pool[pool.Allocate()];
  EXPECT_FALSE(__asan_address_is_poisoned(first));
  EXPECT_TRUE(__asan_address_is_poisoned(first + 1));
  pool.Free(0);
  EXPECT_TRUE(__asan_address_is_poisoned(first));
}
#endif

}  // namespace
}  // namespace usher
