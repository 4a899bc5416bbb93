// TIME-WAIT and FIN-WAIT-2 without an owner: RFC 9293 section 3.10.7.4, RFC 1337, RFC 6191.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::IsEmpty;

class TimeWaitTest : public ConnectionTest {
 protected:
  // Our FIN is 0, the peer's is 0; both acknowledged.
  void Enter() {
    Connection c = Open();
    c.Close();
    Poll();
    Give(Ack(1));
    Give(Ack(1).Flags("FA"));
    TakeSent();
    ASSERT_EQ(Records(), 1u);
  }
  uint32_t Records() { return shard().time_wait().size(); }
};
USHER_FOR_BOTH_FAMILIES(TimeWaitTest);

TEST_P(TimeWaitTest, LastsAMinute) {
  Enter();
  AdvanceBy(Duration::Millis(59'900));
  EXPECT_EQ(Records(), 1u);
  AdvanceBy(Duration::Millis(300));
  EXPECT_EQ(Records(), 0u);
}

TEST_P(TimeWaitTest, ARepeatedFinIsAcknowledgedEachTimeAndRestartsTheMinute) {
  Enter();
  AdvanceBy(Duration::Seconds(50));
  for (int i = 0; i < 3; ++i) {
    Give(Ack(1).SeqNo(P(0)).Flags("FA"));
    EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(1)), Acks(P(1))));
  }
  AdvanceBy(Duration::Seconds(50));
  EXPECT_EQ(Records(), 1u);
}

// The connection's clock, with its own offset, goes on.
TEST_P(TimeWaitTest, TimestampsGoOn) {
  timestamps_ = true;
  Enter();
  const uint32_t before = last_tsval_;
  const Instant then = now_;
  AdvanceBy(Duration::Seconds(5));
  Give(Ack(1).SeqNo(P(0)).Flags("FA"));
  const SentTcp ack = TakeOne();
  EXPECT_GE(ack.tsval() - before, 5'000u);
  EXPECT_LE(ack.tsval() - before, 5'000u + 100u) << (now_ - then).ms();
}

TEST_P(TimeWaitTest, AResetEndsItUnlessRfc1337IsAskedFor) {
  for (const int rfc1337 : {0, 1}) {
    if (stack_ == nullptr) Make();
    Sysctls s = shard().sysctls();
    s.tcp_rfc1337 = rfc1337;
    shard().ApplySysctls(s);
    tuple_.remote_port = static_cast<uint16_t>(kPeerPort + rfc1337);
    Enter();
    GiveSilently(Flags("R").SeqNo(P(1)));
    EXPECT_EQ(Records(), static_cast<uint32_t>(rfc1337));
  }
}

TEST_P(TimeWaitTest, AResetElsewhereIsNothing) {
  Enter();
  GiveSilently(Flags("R").SeqNo(P(2)));
  EXPECT_EQ(Records(), 1u);
}

TEST_P(TimeWaitTest, ANewerSynReusesThePair) {
  Enter();
  const Seq snd_nxt = O(1);
  Give(SynOf(P(1000)));
  const SentTcp answer = TakeOne();
  EXPECT_THAT(answer, AllOf(HasFlags("SA"), Acks(P(1001)), HasSeq(snd_nxt + 65537)));
  EXPECT_EQ(Records(), 0u);
}

TEST_P(TimeWaitTest, AnOldSynIsAnsweredByAnAcknowledgment) {
  Enter();
  Give(SynOf(P(-1000)));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(1)), Acks(P(1))));
  EXPECT_EQ(Records(), 1u);
  GiveSilently(SynOf(P(-1000)));  // at most one in tcp_invalid_ratelimit
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedTimeWait), 1u);
}

TEST_P(TimeWaitTest, AnOldNumberWithANewerTimestampReusesThePair) {
  timestamps_ = true;
  Enter();
  AdvanceBy(Duration::Seconds(2));
  Give(SynOf(P(-1000)));
  EXPECT_THAT(TakeOne(), HasFlags("SA"));
}

TEST_P(TimeWaitTest, PawsStopsAnOldSyn) {
  timestamps_ = true;
  Enter();
  Give(SynOf(P(1000)).Timestamps(1, 0));
  EXPECT_THAT(TakeOne(), HasFlags("A"));
  EXPECT_EQ(Records(), 1u);
  EXPECT_EQ(Count(Counter::TcpExtPAWSTimewait), 1u);
}

// listen() is as with SO_REUSEADDR: what is left of connections holds no port.
TEST_P(TimeWaitTest, ItDoesNotHoldThePort) {
  Enter();
  Handle first;
  shard().passive_open().ForEachListener([&](Handle h, const Listener&) { first = h; });
  ASSERT_EQ(shard().CloseListener(first), Error::kNone);
  Handle second;
  EXPECT_EQ(shard().Listen({.address = tuple_.local, .port = kPort}, &second), Error::kNone);
  EXPECT_EQ(Records(), 1u);
}

// 2^31 away is newer, as on Linux, and one more is too old.
TEST_P(TimeWaitTest, PawsEndsHalfTheCircleAway) {
  timestamps_ = true;
  Enter();
  const uint32_t recent = Tsval();
  Give(SynOf(P(-1000)).Timestamps(recent + (1u << 31) + 1, 0));
  EXPECT_THAT(TakeOne(), HasFlags("A"));
  EXPECT_EQ(Count(Counter::TcpExtPAWSTimewait), 1u);
  Give(SynOf(P(-1000)).Timestamps(recent + (1u << 31), 0));
  EXPECT_THAT(TakeOne(), HasFlags("SA"));
}

TEST_P(TimeWaitTest, BeyondTheBucketsNoRecordIsKept) {
  options_.sysctls.tcp_max_tw_buckets = 1;
  Enter();
  tuple_.remote_port = kPeerPort + 1;
  Connection c = Open();
  c.Close();
  Poll();
  Give(Ack(1));
  EXPECT_EQ(Records(), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPTimeWaitOverflow), 1u);
  ExpectNothingLeft();
}

TEST_P(TimeWaitTest, BelowZeroBucketsAreNoLimit) {
  options_.sysctls.tcp_max_tw_buckets = -1;
  Enter();
  EXPECT_EQ(Records(), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPTimeWaitOverflow), 0u);
}

// ---- FIN-WAIT-2 as a record ----

class FinWait2Test : public TimeWaitTest {
 protected:
  void EnterHalf() {
    Connection c = Open();
    c.Close();
    Poll();
    Give(Ack(1));
    TakeSent();
    ASSERT_EQ(Records(), 1u);
    ASSERT_EQ(shard().connection_count(), 0u);
  }
};
USHER_FOR_BOTH_FAMILIES(FinWait2Test);

TEST_P(FinWait2Test, TheFinIsAcknowledgedAndTimeWaitBegins) {
  EnterHalf();
  AdvanceBy(Duration::Seconds(50));
  Give(Ack(1).Flags("FA"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(1)), Acks(P(1))));
  AdvanceBy(Duration::Seconds(50));
  EXPECT_EQ(Records(), 1u);
  AdvanceBy(Duration::Seconds(11));
  EXPECT_EQ(Records(), 0u);
}

TEST_P(FinWait2Test, DataIsReset) {
  EnterHalf();
  Give(Ack(1).Data("late"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("R"), HasSeq(O(1))));
  EXPECT_EQ(Records(), 0u);
}

TEST_P(FinWait2Test, ResetAndSynInTheWindowEndIt) {
  EnterHalf();
  GiveSilently(Flags("R").SeqNo(P(0)));
  EXPECT_EQ(Records(), 0u);
  tuple_.remote_port = kPeerPort + 1;
  EnterHalf();
  Give(Flags("S").SeqNo(P(5)));
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  EXPECT_EQ(Records(), 0u);
}

TEST_P(FinWait2Test, ADuplicateAckIsNothingAndWhatIsFarOffAnswered) {
  EnterHalf();
  GiveSilently(Ack(1));
  Give(Ack(1).SeqNo(P(200'000)).Data("far"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(0))));
  EXPECT_EQ(Records(), 1u);
}

}  // namespace
}  // namespace usher::test
