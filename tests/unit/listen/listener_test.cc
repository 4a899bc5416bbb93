// stack/listen/listener.h: when each model's queues are full, by the places this shard has now
// (place_lease_test.cc has how they come to it).
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

TEST_F(ListenerTest, AcceptQueueIsFullWhenItsPlacesAreTaken) {
  EXPECT_TRUE(listener_.AcceptQueueFull()) << "no place, no connection";
  listener_.places = 2;
  EXPECT_FALSE(listener_.AcceptQueueFull());
  Queue(1);
  EXPECT_FALSE(listener_.AcceptQueueFull());
  Queue(1);
  EXPECT_TRUE(listener_.AcceptQueueFull());
}

// listen() again: what is queued beyond the new limit stays, and keeps the queue full until enough
// were accepted.
TEST_F(ListenerTest, PlacesTakenAwayEvictNobody) {
  listener_.places = 11;
  Queue(10);
  listener_.places = 4;
  EXPECT_EQ(listener_.accept_queue.length(), 10u);
  EXPECT_EQ(listener_.FreePlaces(), -6);
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
  listener_.places = 5;
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

TEST_F(ListenerTest, OneLogicalQueueHoldsBoth) {
  listener_.model = ListenModel::kBsd;
  listener_.places = 8;
  Queue(3);
  listener_.half_open = 4;
  EXPECT_FALSE(listener_.LogicalQueueFull());
  EXPECT_EQ(listener_.FreePlaces(), 1);
  listener_.half_open = 5;
  EXPECT_TRUE(listener_.LogicalQueueFull());
  EXPECT_EQ(listener_.FreePlaces(), 0);
}

// What each model holds a place for: with `linux` the longer of the two queues, with
// `linux-classic` the accept queue alone.
TEST_F(ListenerTest, FreePlacesByTheModel) {
  listener_.places = 10;
  Queue(3);
  listener_.half_open = 7;
  listener_.model = ListenModel::kLinux;
  EXPECT_EQ(listener_.FreePlaces(), 3);
  listener_.model = ListenModel::kLinuxClassic;
  EXPECT_EQ(listener_.FreePlaces(), 7);
  listener_.model = ListenModel::kBsd;
  EXPECT_EQ(listener_.FreePlaces(), 0);
}

TEST_F(ListenerTest, LargestNumbersDoNotOverflow) {
  listener_.places = int64_t{UINT32_MAX} + 1;
  listener_.half_open = UINT32_MAX;
  Queue(1);
  EXPECT_FALSE(listener_.AcceptQueueFull());
  EXPECT_TRUE(listener_.LogicalQueueFull());
  listener_.model = ListenModel::kLinux;
  EXPECT_FALSE(listener_.HalfOpenFull());
  EXPECT_EQ(listener_.FreePlaces(), 1);
}

}  // namespace
}  // namespace usher
