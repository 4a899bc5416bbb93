// Flows reach their shard whatever queue their segments come by.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/sharded_stack.h"

namespace usher::test {
namespace {

using ::testing::ElementsAre;

class SteeringTest : public ShardedStackTest {
 protected:
  uint64_t Sum(Counter c) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count(); ++i) sum += Get(i, c);
    return sum;
  }
  // Gives a SYN to `queue`; which shard answered, and with what.
  uint32_t Answer(uint32_t queue, const FourTuple& client, SentTcp* syn_ack) {
    Give(queue, From(client).Syn(Seq(1000)).Mss(1460));
    Poll();
    uint32_t by = UINT32_MAX;
    for (uint32_t i = 0; i < count(); ++i)
      for (const SentTcp& s : Sent(i)) {
        EXPECT_EQ(by, UINT32_MAX) << "answered twice";
        by = i;
        *syn_ack = s;
      }
    return by;
  }
};

struct Echo : Application {
  void OnAcceptable(Acceptor a) override {
    Connection c;
    while (a.Accept(&c) == Error::kNone) {
    }
  }
  void OnReadable(Connection c) override {
    uint8_t buffer[2048];
    for (IoResult r = c.Read(buffer); r.bytes != 0; r = c.Read(buffer))
      c.Write(std::span(buffer, r.bytes));
  }
};

TEST_P(SteeringTest, EveryQueueLeadsToTheSameShard) {
  Make(3);
  Echo echo;
  ASSERT_TRUE(stack_->Listen({.port = kPort, .backlog = 1000}, echo).ok());
  std::vector<int> flows(3);
  uint32_t elsewhere = 0;
  for (uint32_t i = 0; i < 60; ++i) {
    const FourTuple client = Client(i);
    SentTcp syn_ack;
    const uint32_t home = Answer(i % 3, client, &syn_ack);
    ASSERT_LT(home, 3u);
    ++flows[home];
    // Of four segments two come by queue i % 3, and one by each of the others.
    elsewhere += home == i % 3 ? 2 : 3;
    EXPECT_THAT(syn_ack, HasFlags("SA"));
    Give((i + 1) % 3, From(client).Ack(Seq(1001), syn_ack.seq + 1));
    Poll();
    Give((i + 2) % 3, From(client).Ack(Seq(1001), syn_ack.seq + 1).Data("hello"));
    Poll();
    EXPECT_THAT(Sent(home), ElementsAre(HasPayload("hello"))) << "client " << i;
    Give(i % 3, From(client).Rst(Seq(1006)));
    Poll();
  }
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_GT(flows[i], 8) << "uneven";
    EXPECT_EQ(shard(i).connection_count(), 0u);
  }
  EXPECT_EQ(Sum(Counter::UsherSteered), elsewhere);
  EXPECT_EQ(Sum(Counter::UsherHandedOverIn), elsewhere);
  EXPECT_EQ(Sum(Counter::UsherSteerDropped), 0u);
  // However many shards a segment passed, it was received once.
  EXPECT_EQ(Sum(Counter::TcpInSegs), 60u * 4);
  EXPECT_EQ(Sum(GetParam() == Family::kIpv6 ? Counter::Ip6InReceives : Counter::IpInReceives),
            60u * 4);
}

TEST_P(SteeringTest, ThePortsChoiceStands) {
  Make(2, {.rss = true});
  Doorman doorman;
  ASSERT_TRUE(stack_->Listen({.port = kPort}, doorman).ok());
  for (uint32_t i = 0; i < 20; ++i) {
    SentTcp syn_ack;
    EXPECT_EQ(Answer(i % 2, Client(i), &syn_ack), i % 2);
  }
  EXPECT_EQ(Sum(Counter::UsherSteered), 0u);
}

TEST_P(SteeringTest, AnswersToAnActiveOpenNeedNoSteering) {
  Make(4);
  Doorman application;
  for (uint32_t i = 0; i < 4; ++i) {
    for (int n = 0; n < 10; ++n) {
      Connection c;
      ASSERT_EQ(stack_->Connect(i, Host(1), 7, application, &c), Error::kNone);
      stack_->Poll(i, now_);
      const auto sent = Sent(i);
      ASSERT_EQ(sent.size(), 1u);
      Give(i, From(sent[0].tuple).Flags("SA").SeqNo(Seq(5)).AckNo(sent[0].seq + 1).Mss(1460));
      Poll();
      EXPECT_EQ(c.state(), TcpState::kEstablished);
      Forget();
    }
  }
  EXPECT_EQ(Sum(Counter::UsherSteered), 0u);
}

// The largest MTU that an interface may have, not only Ethernet's usual one.
TEST_P(SteeringTest, ALargeFrameIsHandedOverWhole) {
  Make(2);
  Echo echo;
  ASSERT_TRUE(stack_->Listen({.port = kPort, .backlog = 100}, echo).ok());
  const std::string payload(1900, 'x');
  for (uint32_t i = 0; i < 8; ++i) {
    const FourTuple client = Client(i);
    SentTcp syn_ack;
    const uint32_t home = Answer(0, client, &syn_ack);
    Give(home, From(client).Ack(Seq(1001), syn_ack.seq + 1));
    Poll();
    Forget();
    Give(1 - home, From(client).Ack(Seq(1001), syn_ack.seq + 1).Data(payload));
    Poll();
    size_t echoed = 0;
    for (const SentTcp& s : Sent(home)) echoed += s.payload.size();
    EXPECT_EQ(echoed, payload.size()) << "client " << i;
  }
  EXPECT_EQ(Sum(Counter::UsherSteerDropped), 0u);
}

// A sibling that does not poll costs its own segments, and no buffer of ours.
TEST_P(SteeringTest, AFullRingDropsAndCounts) {
  Make(2);
  Doorman doorman;
  ASSERT_TRUE(stack_->Listen({.port = kPort, .backlog = 4096}, doorman).ok());
  const uint32_t before = pools_[0]->available();
  for (uint32_t i = 0; i < 1200; ++i) {
    Give(0, From(Client(i)).Rst(Seq(1)));
    stack_->Poll(0, now_);
  }
  EXPECT_EQ(pools_[0]->available(), before);
  EXPECT_GT(Get(0, Counter::UsherSteerDropped), 200u);
  const uint64_t steered = Get(0, Counter::UsherSteered);
  EXPECT_EQ(steered, 256u);
  for (int i = 0; i < 20; ++i) stack_->Poll(1, now_);
  EXPECT_EQ(Get(1, Counter::UsherHandedOverIn), steered);
}

USHER_FOR_BOTH_FAMILIES(SteeringTest);

}  // namespace
}  // namespace usher::test
