#include "stack/glue/shard_query.h"

#include <memory>
#include <string>

#include "tests/unit/glue/control_fixture.h"

namespace usher {
namespace {

class ShardQueryTest : public ControlTest {
 protected:
  std::atomic<bool> stop_ = false;
};

TEST_F(ShardQueryTest, TheShardItselfAnswers) {
  StartPolling();
  const std::thread::id poller = poller_.get_id();
  for (uint32_t i = 0; i < 2; ++i) {
    const auto answer = AskShard(*stack_, i, stop_, [](Shard& s) {
      return std::make_pair(s.index(), std::this_thread::get_id());
    });
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->first, i);
    EXPECT_EQ(answer->second, poller);
  }
}

TEST_F(ShardQueryTest, WhatIsAskedAndAnsweredIsMovedNotCopied) {
  StartPolling();
  auto question = std::make_unique<int>(41);
  const auto answer = AskShard(*stack_, 0, stop_, [q = std::move(question)](Shard&) mutable {
    ++*q;
    return std::move(q);
  });
  ASSERT_TRUE(answer);
  EXPECT_EQ(**answer, 42);
}

TEST_F(ShardQueryTest, QuestionsAreAnsweredInTheirOrder) {
  StartPolling();
  auto order = std::make_shared<std::string>();
  for (const char c : {'a', 'b', 'c'}) {
    AskShard(*stack_, 0, stop_, [order, c](Shard&) {
      *order += c;
      return 0;
    });
  }
  StopPolling();
  EXPECT_EQ(*order, "abc");
}

TEST_F(ShardQueryTest, SeveralThreadsAskAtOnce) {
  StartPolling();
  std::atomic<int> answered = 0;
  std::vector<std::thread> askers;
  for (int t = 0; t < 4; ++t) {
    askers.emplace_back([&, t] {
      for (int n = 0; n < 50; ++n) {
        const auto answer = AskShard(*stack_, static_cast<uint32_t>(n % 2), stop_,
                                     [t, n](Shard&) { return t * 100 + n; });
        if (answer && *answer == t * 100 + n) ++answered;
      }
    });
  }
  for (std::thread& t : askers) t.join();
  EXPECT_EQ(answered, 200);
}

TEST_F(ShardQueryTest, StopEndsTheWaitAndTheQuestionOutlivesIt) {
  stop_ = true;  // and nobody polls
  auto asked = std::make_shared<int>(0);
  EXPECT_FALSE(AskShard(*stack_, 0, stop_, [asked](Shard&) { return ++*asked; }));
  EXPECT_EQ(*asked, 0);
  stack_->Poll(0, now_);  // the question is still there, and runs into nothing that is gone
  EXPECT_EQ(*asked, 1);
}

TEST_F(ShardQueryTest, StackMayEndWithAQuestionUnanswered) {
  stop_ = true;
  auto owned = std::make_shared<int>(0);
  AskShard(*stack_, 1, stop_, [owned](Shard&) { return 0; });
  stack_.reset();
  EXPECT_EQ(owned.use_count(), 1);
}

}  // namespace
}  // namespace usher
