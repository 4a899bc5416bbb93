#include "stack/listen/accept_queue.h"

#include <gtest/gtest.h>

#include <deque>

#include "stack/base/random.h"
#include "stack/tcp/connection.h"

namespace usher {
namespace {

TEST(AcceptQueue, EmptyGivesNothing) {
  ObjectPool<TcpConnection> pool(1);
  AcceptQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.length(), 0u);
  EXPECT_EQ(queue.Pop(pool), nullptr);
  EXPECT_EQ(queue.length(), 0u);
}

TEST(AcceptQueue, FirstInFirstOut) {
  ObjectPool<TcpConnection> pool(4);
  AcceptQueue queue;
  for (int i = 0; i < 4; ++i) queue.Push(pool, pool.Allocate());
  EXPECT_EQ(queue.length(), 4u);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(queue.Pop(pool), &pool[i]);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.Pop(pool), nullptr);
}

// A queue that ran empty keeps nothing of its past: head and tail of the old one mean nothing.
TEST(AcceptQueue, EmptiedAndFilledAgain) {
  ObjectPool<TcpConnection> pool(3);
  AcceptQueue queue;
  const uint32_t a = pool.Allocate();
  const uint32_t b = pool.Allocate();
  queue.Push(pool, a);
  EXPECT_EQ(queue.Pop(pool), &pool[a]);
  queue.Push(pool, b);
  queue.Push(pool, a);
  EXPECT_EQ(queue.Pop(pool), &pool[b]);
  EXPECT_EQ(queue.Pop(pool), &pool[a]);
  EXPECT_TRUE(queue.empty());
}

TEST(AcceptQueue, TwoQueuesShareAPool) {
  ObjectPool<TcpConnection> pool(6);
  AcceptQueue odd, even;
  for (int i = 0; i < 6; ++i) {
    const uint32_t slot = pool.Allocate();
    (slot % 2 == 0 ? even : odd).Push(pool, slot);
  }
  for (const uint32_t slot : {1u, 3u, 5u}) EXPECT_EQ(odd.Pop(pool), &pool[slot]);
  for (const uint32_t slot : {0u, 2u, 4u}) EXPECT_EQ(even.Pop(pool), &pool[slot]);
}

// Slots come back in any order and are queued again, many times round; against a deque.
TEST(AcceptQueue, SlotsComeRoundAgain) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    ObjectPool<TcpConnection> pool(8);
    AcceptQueue queue;
    std::deque<uint32_t> expected;
    for (int step = 0; step < 5000; ++step) {
      if (random.Uniform(2) == 0) {
        const uint32_t slot = pool.Allocate();
        if (slot == ObjectPool<TcpConnection>::kNone) continue;
        queue.Push(pool, slot);
        expected.push_back(slot);
      } else {
        TcpConnection* c = queue.Pop(pool);
        ASSERT_EQ(c == nullptr, expected.empty()) << "seed " << seed;
        if (c == nullptr) continue;
        ASSERT_EQ(c, &pool[expected.front()]) << "seed " << seed;
        pool.Free(expected.front());
        expected.pop_front();
      }
      ASSERT_EQ(queue.length(), expected.size());
    }
  }
}

}  // namespace
}  // namespace usher
