#include "stack/base/slot_queue.h"

#include "gtest/gtest.h"

namespace usher {
namespace {

TEST(SlotQueue, GivesBackInOrder) {
  SlotQueue q(3);
  EXPECT_TRUE(q.empty());
  q.Push(7);
  q.Push(0);
  q.Push(5);
  EXPECT_EQ(q.size(), 3u);
  EXPECT_EQ(q.Pop(), 7u);
  EXPECT_EQ(q.Pop(), 0u);
  EXPECT_EQ(q.Pop(), 5u);
  EXPECT_TRUE(q.empty());
}

TEST(SlotQueue, TakesAsManyAsItsCapacityOverAndOver) {
  constexpr uint32_t kCapacity = 5;
  SlotQueue q(kCapacity);
  for (uint32_t i = 0; i < kCapacity; ++i) q.Push(i);
  for (uint32_t i = kCapacity; i < 1000; ++i) {  // never empty: the places go round
    ASSERT_EQ(q.Pop(), i - kCapacity);
    q.Push(i);
    ASSERT_EQ(q.size(), kCapacity);
  }
}

TEST(SlotQueue, MayBePushedToWhileItIsEmptied) {
  SlotQueue q(2);
  q.Push(1);
  uint32_t seen = 0;
  while (!q.empty()) {
    const uint32_t slot = q.Pop();
    EXPECT_EQ(slot, ++seen);
    if (slot < 10) q.Push(slot + 1);
  }
  EXPECT_EQ(seen, 10u);
}

}  // namespace
}  // namespace usher
