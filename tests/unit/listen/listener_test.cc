// stack/listen/listener.h: when each model's queues are full.
#include "stack/listen/listener.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

class ListenerTest : public ::testing::Test {
 protected:
  void Queue(uint32_t n) {
    for (uint32_t i = 0; i < n; ++i)
      listener_.accept_queue.Push(connections_, connections_.Allocate());
  }
  ObjectPool<TcpConnection> connections_{64};
  Listener listener_;
};

TEST_F(ListenerTest, AcceptQueueHoldsOneMoreThanItsLimit) {
  listener_.limits.accept_limit = 0;
  EXPECT_FALSE(listener_.AcceptQueueFull()) << "backlog 0 admits one";
  Queue(1);
  EXPECT_TRUE(listener_.AcceptQueueFull());
  listener_.limits.accept_limit = 5;
  EXPECT_FALSE(listener_.AcceptQueueFull());
  Queue(4);
  EXPECT_FALSE(listener_.AcceptQueueFull()) << "5 of 5";
  Queue(1);
  EXPECT_TRUE(listener_.AcceptQueueFull()) << "6 of 5";
}

// listen() again: what is queued beyond the new limit stays, and keeps the queue full until enough
// were accepted.
TEST_F(ListenerTest, LimitThatShrinksEvictsNobody) {
  listener_.limits.accept_limit = 10;
  Queue(10);
  listener_.limits.accept_limit = 3;
  EXPECT_EQ(listener_.accept_queue.length(), 10u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(listener_.AcceptQueueFull()) << i;
    EXPECT_NE(listener_.accept_queue.Pop(connections_), nullptr);
  }
  EXPECT_EQ(listener_.accept_queue.length(), 4u);
  EXPECT_TRUE(listener_.AcceptQueueFull());
  listener_.accept_queue.Pop(connections_);
  EXPECT_FALSE(listener_.AcceptQueueFull());
}

TEST_F(ListenerTest, HalfOpenIsFullByTheModel) {
  listener_.limits.accept_limit = 4;
  listener_.limits.half_open_capacity = 16;
  listener_.model = ListenModel::kLinux;
  listener_.half_open = 4;
  EXPECT_FALSE(listener_.HalfOpenFull());
  listener_.half_open = 5;
  EXPECT_TRUE(listener_.HalfOpenFull());
  listener_.model = ListenModel::kLinuxClassic;
  listener_.half_open = 15;
  EXPECT_FALSE(listener_.HalfOpenFull());
  listener_.half_open = 16;
  EXPECT_TRUE(listener_.HalfOpenFull());
}

TEST_F(ListenerTest, OneLogicalQueueOfOneAndAHalf) {
  listener_.limits.accept_limit = 5;  // 3 * 5 / 2 = 7
  Queue(3);
  listener_.half_open = 4;
  EXPECT_FALSE(listener_.LogicalQueueFull());
  listener_.half_open = 5;
  EXPECT_TRUE(listener_.LogicalQueueFull());
}

TEST_F(ListenerTest, LargestNumbersDoNotOverflow) {
  listener_.limits.accept_limit = UINT32_MAX;
  listener_.half_open = UINT32_MAX;
  EXPECT_FALSE(listener_.LogicalQueueFull());
  EXPECT_FALSE(listener_.AcceptQueueFull());
  listener_.model = ListenModel::kLinux;
  EXPECT_FALSE(listener_.HalfOpenFull());
}

}  // namespace
}  // namespace usher
