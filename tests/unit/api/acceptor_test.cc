#include "stack/api/acceptor.h"

#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::ElementsAre;

// Hands its listener to the test.
struct Doorman : Application {
  void OnAcceptable(Acceptor a) override {
    ++told;
    acceptor = a;
    if (on_acceptable) on_acceptable(a);
  }
  void OnReadable(Connection) override { ++readable; }
  int told = 0, readable = 0;
  Acceptor acceptor;
  std::function<void(Acceptor)> on_acceptable;
};

class AcceptorTest : public ConnectionTest {
 protected:
  void SetUp() override {
    Make();
    tuple_.local_port = 81;
    ASSERT_TRUE(stack_->Listen({.port = 81, .backlog = 2}, door_).ok());
  }
  // A client's whole handshake, from the next port; syn_ack_ is what it was answered.
  void Knock() {
    ++tuple_.remote_port;
    TakeSent();
    Give(SynOf(Seq(peer_isn_)));
    for (const SentTcp& s : TakeSent())
      if (s.flags == FlagsFromString("SA")) Give(From(tuple_).Ack(P(0), (syn_ack_ = s).seq + 1));
  }
  uint16_t AcceptedPort() {
    Connection c;
    if (door_.acceptor.Accept(&c) != Error::kNone) return 0;
    return c.tuple().remote_port;
  }

  Doorman door_;
};
USHER_FOR_BOTH_FAMILIES(AcceptorTest);

TEST(AcceptorHandle, EveryCallOnADefaultOneSaysSo) {
  Acceptor a;
  Connection c;
  EXPECT_EQ(a.Accept(&c), Error::kBadHandle);
  EXPECT_FALSE(c.valid());
  EXPECT_EQ(a.SetBacklog(5), Error::kBadHandle);
  EXPECT_EQ(a.Close(), Error::kBadHandle);
  EXPECT_EQ(a, Acceptor());
}

TEST_P(AcceptorTest, GivesTheOldestFirstAndThenSaysAgain) {
  for (int i = 0; i < 3; ++i) Knock();
  EXPECT_EQ(door_.told, 3);
  EXPECT_EQ(AcceptedPort(), kPeerPort + 1);
  EXPECT_EQ(AcceptedPort(), kPeerPort + 2);
  EXPECT_EQ(AcceptedPort(), kPeerPort + 3);
  Connection c = c_;
  EXPECT_EQ(door_.acceptor.Accept(&c), Error::kAgain);
  EXPECT_EQ(c, c_) << "touched though there was none";
}

TEST_P(AcceptorTest, WhatIsNotAcceptedStaysQueued) {
  Knock();
  AdvanceBy(Duration::Seconds(60));
  EXPECT_EQ(AcceptedPort(), kPeerPort + 1);
}

TEST_P(AcceptorTest, BytesThatCameBeforeAcceptAreToldAfterIt) {
  Knock();
  Give(From(tuple_).Ack(P(0), syn_ack_.seq + 1).Data("early"));
  EXPECT_EQ(door_.readable, 0);
  Connection c;
  ASSERT_EQ(door_.acceptor.Accept(&c), Error::kNone);
  Poll();
  EXPECT_EQ(door_.readable, 1);
  EXPECT_EQ(Read(c), "early");
}

TEST_P(AcceptorTest, AResetOneIsStillHandedOver) {
  Knock();
  Give(From(tuple_).Rst(P(0)));
  Connection c;
  ASSERT_EQ(door_.acceptor.Accept(&c), Error::kNone);
  EXPECT_EQ(Read(c), "");
  EXPECT_EQ(last_error_, Error::kConnectionReset);
  EXPECT_EQ(c.Close(), Error::kNone);
  Poll();
  ExpectNothingLeft();
}

TEST_P(AcceptorTest, SetBacklogMovesTheLimitAndEvictsNothing) {
  const auto limit = [this] {
    return shard().passive_open().Get(door_.acceptor.handle())->limits.accept_limit;
  };
  for (int i = 0; i < 3; ++i) Knock();
  EXPECT_EQ(limit(), 2u);
  EXPECT_EQ(door_.acceptor.SetBacklog(1), Error::kNone);
  EXPECT_EQ(limit(), 1u);
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(AcceptedPort(), kPeerPort + i);
  EXPECT_EQ(door_.acceptor.SetBacklog(100), Error::kNone);
  EXPECT_EQ(limit(), 100u);
}

TEST_P(AcceptorTest, CloseResetsWhatIsQueued) {
  Knock();
  TakeSent();
  EXPECT_EQ(door_.acceptor.Close(), Error::kNone);
  EXPECT_THAT(TakeAfterPoll(), ElementsAre(HasFlags("RA")));
  ExpectNothingLeft();
  Give(SynOf(Seq(peer_isn_)));
  EXPECT_THAT(TakeOne(), HasFlags("RA")) << "nobody listens any more";
}

TEST_P(AcceptorTest, EveryCallOnAClosedOneSaysSo) {
  Knock();
  const Acceptor copy = door_.acceptor;
  door_.acceptor.Close();
  Acceptor a = copy;
  Connection c;
  EXPECT_EQ(a.Accept(&c), Error::kBadHandle);
  EXPECT_EQ(a.SetBacklog(5), Error::kBadHandle);
  EXPECT_EQ(a.Close(), Error::kBadHandle);
  // Its place is taken by another, which the old name does not reach.
  Handle other;
  ASSERT_EQ(shard().Listen({.port = 82}, &other, &door_), Error::kNone);
  EXPECT_EQ(other.index, a.handle().index);
  EXPECT_EQ(a.Close(), Error::kBadHandle);
  EXPECT_NE(a, Acceptor(&shard(), other));
  EXPECT_EQ(Acceptor(&shard(), other).Close(), Error::kNone);
}

TEST_P(AcceptorTest, ItMayBeClosedByItsOwnCallback) {
  door_.on_acceptable = [](Acceptor a) {
    Connection c;
    EXPECT_EQ(a.Accept(&c), Error::kNone);
    EXPECT_EQ(a.Close(), Error::kNone);
    EXPECT_TRUE(c.valid()) << "what was accepted is not the listener's any more";
    EXPECT_EQ(c.Close(), Error::kNone);
  };
  Knock();
  EXPECT_EQ(door_.told, 1);
  EXPECT_EQ(door_.acceptor.Close(), Error::kBadHandle);
  EXPECT_THAT(TakeSent(), ElementsAre(HasFlags("FA")));
}

}  // namespace
}  // namespace usher::test
