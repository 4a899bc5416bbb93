// One backlog for all shards.
#include "stack/listen/place_lease.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tests/support/sharded_stack.h"

namespace usher::test {
namespace {

class PlaceLeaseTest : public ShardedStackTest {
 protected:
  // The port spreads the flows: a test chooses the shard by the queue.
  void Make(uint32_t shards) { ShardedStackTest::Make(shards, {.rss = true}); }

  void Listen(int backlog, ListenModel model = ListenModel::kLinux) {
    doormen_.resize(count());
    ASSERT_TRUE(stack_
                    ->Listen({.port = kPort, .backlog = backlog, .model = model},
                             [this](uint32_t i) -> Application& { return doormen_[i]; })
                    .ok());
    for (uint32_t i = 0; i < count(); ++i)
      shard(i).passive_open().ForEachListener(
          [&](Handle h, const Listener&) { doormen_[i].acceptor = Acceptor(&shard(i), h); });
  }
  const Listener& At(uint32_t i) {
    return *shard(i).passive_open().Get(doormen_[i].acceptor.handle());
  }
  int64_t Places() {
    int64_t sum = 0;
    for (uint32_t i = 0; i < count(); ++i) sum += At(i).places;
    return sum;
  }
  uint32_t Queued() {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count(); ++i) sum += At(i).accept_queue.length();
    return sum;
  }
  // A client that tries `tries` times. True if it has a place in the accept queue.
  bool Admit(uint32_t queue, uint32_t client, int tries = 2) {
    const uint32_t before = At(queue).accept_queue.length();
    for (; tries > 0; --tries, now_ = now_ + Duration::Seconds(1)) {
      Give(queue, From(Client(client)).Syn(Seq(1000)).Mss(1460));
      Poll();
      const auto answer = Sent(queue);
      if (answer.empty()) continue;
      Give(queue, From(Client(client)).Ack(Seq(1001), answer[0].seq + 1));
      Poll();
      Forget();
      return At(queue).accept_queue.length() > before;
    }
    return false;
  }

  std::vector<Doorman> doormen_;
};

TEST_P(PlaceLeaseTest, OneShardMayUseAllPlaces) {
  for (const ListenModel model : {ListenModel::kLinux, ListenModel::kLinuxClassic}) {
    SCOPED_TRACE(ToString(model));
    stack_.reset();
    ports_.clear();
    pools_.clear();
    Make(4);
    Listen(21, model);
    EXPECT_EQ(Places(), 22);
    for (uint32_t i = 0; i < 22; ++i) EXPECT_TRUE(Admit(2, i)) << i;
    EXPECT_FALSE(Admit(2, 100));
    EXPECT_FALSE(Admit(1, 101)) << "the places are taken, whoever holds them";
    EXPECT_EQ(Queued(), 22u);
    EXPECT_EQ(Places(), 22);
    EXPECT_NE(Get(2, Counter::TcpExtListenOverflows), 0u);
  }
}

TEST_P(PlaceLeaseTest, BsdSharesItsLogicalQueue) {
  Make(3);
  Listen(8, ListenModel::kBsd);  // 3 * 8 / 2 + 1
  EXPECT_EQ(Places(), 13);
  for (uint32_t i = 0; i < 13; ++i) EXPECT_TRUE(Admit(0, i)) << i;
  EXPECT_FALSE(Admit(0, 100));
  EXPECT_EQ(Queued(), 13u);
}

TEST_P(PlaceLeaseTest, APlaceGoesToTheShardThatNeedsIt) {
  Make(4);
  Listen(0);  // one place for four shards
  for (uint32_t i = 0; i < 12; ++i) {
    const uint32_t q = (i * 3 + 1) % 4;
    ASSERT_TRUE(Admit(q, i)) << i;
    EXPECT_FALSE(Admit((q + 1) % 4, 100 + i));
    Connection c;
    ASSERT_EQ(doormen_[q].acceptor.Accept(&c), Error::kNone);
    c.Abort();
    Poll();
  }
  EXPECT_EQ(Places(), 1);
}

// Each shard's limits are of its part, the SYN table's included, and the parts make up the whole.
TEST_P(PlaceLeaseTest, TheHalfOpenAreDealtOutToo) {
  Make(4);
  Listen(21, ListenModel::kLinuxClassic);
  uint32_t half_open = 0;
  for (uint32_t i = 0; i < count(); ++i) {
    const Listener& l = At(i);
    EXPECT_EQ(l.limits.accept_limit + 1, l.places) << i;
    EXPECT_LT(l.limits.half_open_capacity, l.whole.half_open_capacity) << i;
    half_open += l.limits.half_open_capacity;
  }
  EXPECT_EQ(half_open, At(0).whole.half_open_capacity);
}

TEST_P(PlaceLeaseTest, ListenAgainIsForAllShards) {
  Make(3);
  Listen(2);
  EXPECT_EQ(doormen_[1].acceptor.SetBacklog(8), Error::kNone);
  Poll();
  EXPECT_EQ(Places(), 9);
  for (uint32_t i = 0; i < 9; ++i) EXPECT_TRUE(Admit(0, i)) << i;
  EXPECT_EQ(doormen_[2].acceptor.SetBacklog(3), Error::kNone);
  Poll();
  EXPECT_EQ(Places(), 4);
  EXPECT_EQ(Queued(), 9u) << "nothing queued is evicted";
  EXPECT_FALSE(Admit(1, 50));
}

// Two shards say something else at the same time: their messages cross, and arrive in any order.
TEST_P(PlaceLeaseTest, ListenAgainOnTwoShardsAtOnceEndsTheSameOnAll) {
  const std::vector<std::vector<uint32_t>> orders = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {0, 2, 1}};
  for (const auto& order : orders) {
    for (const bool low_first : {true, false}) {
      stack_.reset();
      ports_.clear();
      pools_.clear();
      Make(3);
      Listen(2);
      const uint32_t first = low_first ? 0 : 1;
      EXPECT_EQ(doormen_[first].acceptor.SetBacklog(8), Error::kNone);
      EXPECT_EQ(doormen_[1 - first].acceptor.SetBacklog(30), Error::kNone);
      for (int round = 0; round < 4; ++round)
        for (const uint32_t i : order) stack_->Poll(i, now_);
      const uint32_t limit = At(0).whole.accept_limit;
      EXPECT_EQ(limit, low_first ? 30u : 8u) << "the higher shard's";
      for (uint32_t i = 1; i < count(); ++i) EXPECT_EQ(At(i).whole.accept_limit, limit) << i;
      EXPECT_EQ(Places(), limit + 1);
      // What is said later counts, whoever says it.
      EXPECT_EQ(doormen_[0].acceptor.SetBacklog(5), Error::kNone);
      Poll();
      for (uint32_t i = 0; i < count(); ++i) EXPECT_EQ(At(i).whole.accept_limit, 5u) << i;
    }
  }
}

TEST_P(PlaceLeaseTest, AClosedPartLeavesItsPlacesToTheOthers) {
  Make(3);
  Listen(8);
  EXPECT_EQ(doormen_[0].acceptor.Close(), Error::kNone);
  Poll();
  EXPECT_EQ(At(1).places + At(2).places, 9);
  for (uint32_t i = 0; i < 9; ++i) EXPECT_TRUE(Admit(1, i)) << i;
  EXPECT_FALSE(Admit(1, 50));
}

TEST_P(PlaceLeaseTest, WhatComesForAClosedListenerGoesBackOnce) {
  Make(2);
  Listen(9);
  const uint32_t number = At(0).lease.listener;
  EXPECT_EQ(doormen_[0].acceptor.Close(), Error::kNone);
  Poll();
  PassiveOpen& closed = shard(0).passive_open();
  closed.OnPlaceMessage(
      {.kind = PlaceMessage::Kind::kGive, .from = 1, .to = 0, .listener = number, .value = 3});
  ASSERT_EQ(closed.outbox().size(), 1u);
  EXPECT_EQ(closed.outbox()[0].kind, PlaceMessage::Kind::kReturned);
  EXPECT_EQ(closed.outbox()[0].to, 1);
  EXPECT_EQ(closed.outbox()[0].value, 3);
  Poll();
  EXPECT_EQ(At(1).places, 13);
  closed.OnPlaceMessage(
      {.kind = PlaceMessage::Kind::kReturned, .from = 1, .to = 0, .listener = number, .value = 3});
  EXPECT_TRUE(closed.outbox().empty());
}

// Any order of events: the shards together never hold more than one listener would, and once all
// messages are heard, no place is lost.
TEST_P(PlaceLeaseTest, TheTotalNeverExceedsTheLimit) {
  constexpr uint32_t kShards = 3;
  Make(kShards);
  uint64_t queued = 0;
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const auto backlog = static_cast<int>(random.Uniform(20));
    Listen(backlog);
    const int64_t most = backlog + 1;
    std::vector<std::optional<SentTcp>> open;  // SYN-ACKs to be acknowledged
    for (uint32_t step = 0; step < 600; ++step) {
      const auto q = static_cast<uint32_t>(random.Uniform(kShards));
      const uint64_t what = random.Uniform(10);
      if (what < 4) {
        Give(q, From(Client(seed * 1000 + step)).Syn(Seq(1000)).Mss(1460));
      } else if (what < 8) {
        for (const SentTcp& s : Sent(q))
          if (s.flags == (TcpFlags::kSyn | TcpFlags::kAck))
            Give(q, From(s.tuple).Ack(Seq(1001), s.seq + 1));
      } else if (what < 9) {
        Connection c;
        if (doormen_[q].acceptor.Accept(&c) == Error::kNone) c.Abort();
      } else {
        now_ = now_ + Duration::Millis(static_cast<int64_t>(random.Uniform(50)));
      }
      // Not all of them: messages stay under way for a while.
      stack_->Poll(static_cast<uint32_t>(random.Uniform(kShards)), now_);
      ASSERT_LE(Queued(), most) << "step " << step;
      ASSERT_LE(Places(), most) << "step " << step;
    }
    Poll(12);
    EXPECT_EQ(Places(), most);
    queued += Queued();
    for (Doorman& d : doormen_) d.acceptor.Close();
    Poll();
    Forget();
  }
  EXPECT_GT(queued, 50u) << "the runs came to nothing";
}

USHER_FOR_BOTH_FAMILIES(PlaceLeaseTest);

}  // namespace
}  // namespace usher::test
