// Timers: retransmission and when it gives up, probes, keepalive, FIN-WAIT-2.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::IsEmpty;

class TimersTest : public ConnectionTest {};
USHER_FOR_BOTH_FAMILIES(TimersTest);

TEST_P(TimersTest, ATimeoutResendsAndBacksOff) {
  rtt_ = Duration::Millis(10);
  Connection c = Open();
  c.Write("lost");
  Poll();
  TakeSent();
  Duration last;
  for (int i = 0; i < 6; ++i) {
    const Duration wait = UntilSent(Duration::Seconds(100));
    EXPECT_THAT(TakeOne(), AllOf(HasSeq(O(0)), HasPayload("lost")));
    if (i > 0) {
      EXPECT_NEAR(static_cast<double>(wait.us()), 2.0 * static_cast<double>(last.us()), 2e3);
    }
    if (i == 0) {
      EXPECT_NEAR(static_cast<double>(wait.ms()), 210, 5);
    }
    last = wait;
  }
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 6u);
  Give(Ack(4));
  EXPECT_EQ(UntilSent(Duration::Seconds(200)), Duration::Seconds(200));
}

TEST_P(TimersTest, GivesUpAfterTheTimeOfRetries2) {
  rtt_ = Duration::Millis(10);
  Connection c = Open();
  c.Write("x");
  const Instant start = now_;
  while (app_.closed == 0 && now_ - start < Duration::Seconds(3000))
    AdvanceBy(Duration::Seconds(1));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_GE(now_ - start, Duration::Millis(924'600));
  EXPECT_LE(now_ - start, Duration::Millis(924'600 + 122'000));
  EXPECT_EQ(Count(Counter::TcpExtTCPAbortOnTimeout), 1u);
}

TEST_P(TimersTest, GivesUpAtTheUserTimeout) {
  listen_options_.user_timeout_ms = 5000;
  Connection c = Open();
  c.Write("x");
  const Instant start = now_;
  while (app_.closed == 0 && now_ - start < Duration::Seconds(100))
    AdvanceBy(Duration::Millis(100));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_NEAR(static_cast<double>((now_ - start).ms()), 5000, 200);
}

// It begins with what waits, not with what was acknowledged last.
TEST_P(TimersTest, TheUserTimeoutBeginsWithSending) {
  rtt_ = Duration::Millis(10);
  listen_options_.user_timeout_ms = 5'000;
  Connection c = Open();
  AdvanceBy(Duration::Seconds(100));
  c.Write("x");
  AdvanceBy(Duration::Millis(4'800));
  EXPECT_EQ(app_.closed, 0);
  AdvanceBy(Duration::Millis(400));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
}

// What waits for the congestion window, and was not sent again, has no such end.
TEST_P(TimersTest, TheUserTimeoutWaitsForTheFirstTimeout) {
  rtt_ = Duration::Millis(400);
  listen_options_.user_timeout_ms = 100;
  Connection c = Open();
  c.Write(std::string(50'000, 'x'));
  Poll();
  AdvanceBy(Duration::Millis(300));
  EXPECT_EQ(app_.closed, 0);
  Give(Ack(1000));
  AdvanceBy(Duration::Millis(300));
  EXPECT_EQ(app_.closed, 0);
}

// Though the next timeout of the retransmission timer would come later.
TEST_P(TimersTest, TheUserTimeoutHoldsFromTheFirstTimeoutOn) {
  rtt_ = Duration::Millis(10);
  listen_options_.user_timeout_ms = 500;
  Connection c = Open();
  c.Write("x");
  Poll();
  AdvanceBy(Duration::Millis(490));
  EXPECT_EQ(app_.closed, 0);
  EXPECT_EQ(Peek(c).recovery().timeouts(), 1u);
  AdvanceBy(Duration::Millis(20));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
}

TEST_P(TimersTest, AnOrphanGivesUpSooner) {
  rtt_ = Duration::Millis(10);
  Connection c = Open();
  c.Write("x");
  c.Close();
  const Instant start = now_;
  while (shard().connection_count() > 0 && now_ - start < Duration::Seconds(3000))
    AdvanceBy(Duration::Seconds(1));
  EXPECT_LE(now_ - start, Duration::Seconds(250));
  EXPECT_GE(now_ - start, Duration::Seconds(90));
  ExpectNothingLeft();
}

TEST_P(TimersTest, AClosedWindowIsGivenUpWhenNobodyAnswers) {
  options_.sysctls.tcp_retries2 = 4;
  Connection c = Open();
  c.Write("a");
  Poll();
  c.Write("b");
  Give(Ack(1).Window(0));
  AdvanceBy(Duration::Seconds(120));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_EQ(Count(Counter::TcpExtTCPWinProbe), 4u);
}

TEST_P(TimersTest, AnOrphanBeforeAClosedWindowIsBounded) {  // RFC 6429
  Connection c = Open();
  c.Write("a");
  Poll();
  c.Write("b");
  Give(Ack(1).Window(0));
  c.Close();
  const Instant start = now_;
  while (shard().connection_count() > 0 && now_ - start < Duration::Seconds(1000)) {
    UntilSent(Duration::Seconds(10));
    if (TakeSent().empty()) continue;
    Give(Ack(1).Window(0));
  }
  EXPECT_LT(now_ - start, Duration::Seconds(1000));
}

TEST_P(TimersTest, AUserTimeoutEndsAClosedWindowToo) {
  listen_options_.user_timeout_ms = 20'000;
  Connection c = Open();
  AdvanceBy(Duration::Seconds(100));  // idleness is no reason
  c.Write("a");
  Poll();
  c.Write("b");
  Give(Ack(1).Window(0));
  const Instant start = now_;
  while (app_.closed == 0 && now_ - start < Duration::Seconds(300)) {
    UntilSent(Duration::Seconds(1));
    if (TakeSent().empty()) continue;
    Give(Ack(1).Window(0));  // alive, but shut
  }
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_GE(now_ - start, Duration::Seconds(19));
  EXPECT_LE(now_ - start, Duration::Seconds(60));
}

// ---- Keepalive ----

TEST_P(TimersTest, KeepaliveProbesAndGivesUp) {
  listen_options_.keepalive = true;
  listen_options_.keepalive_time_s = 10;
  listen_options_.keepalive_intvl_s = 2;
  listen_options_.keepalive_probes = 3;
  Open();
  EXPECT_EQ(UntilSent(Duration::Seconds(60)).seconds(), 10);
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(-1)), HasLength(0)));
  Give(Ack());  // alive
  EXPECT_EQ(UntilSent(Duration::Seconds(60)).seconds(), 10);
  TakeOne();
  EXPECT_EQ(UntilSent(Duration::Seconds(60)).seconds(), 2);
  TakeOne();
  EXPECT_EQ(UntilSent(Duration::Seconds(60)).seconds(), 2);
  TakeOne();
  EXPECT_EQ(UntilSent(Duration::Seconds(60)).seconds(), 2);
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_EQ(Count(Counter::TcpExtTCPKeepAlive), 4u);
}

// As on Linux, where the time becomes one of weeks.
TEST_P(TimersTest, AKeepaliveTimeBelowZeroDoesNotCome) {
  options_.sysctls.tcp_keepalive_time = -1;
  listen_options_.keepalive = true;
  Open();
  TakeSent();
  AdvanceBy(Duration::Seconds(30 * 24 * 3600));
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_EQ(Count(Counter::TcpExtTCPKeepAlive), 0u);
}

TEST_P(TimersTest, DataPutsKeepaliveOff) {
  listen_options_.keepalive = true;
  listen_options_.keepalive_time_s = 10;
  Open();
  AdvanceBy(Duration::Seconds(7));
  Give(Ack().Data("x"));
  AdvanceBy(Duration::Millis(200));
  TakeSent();
  EXPECT_EQ(UntilSent(Duration::Seconds(60)).ms(), 9800);
}

TEST_P(TimersTest, KeepaliveWaitsWhileDataIsInFlightWithoutSpinning) {
  listen_options_.keepalive = true;
  listen_options_.keepalive_time_s = 1;
  Connection c = Open();
  c.Write("x");
  AdvanceBy(Duration::Seconds(120));  // AdvanceTo counts its steps
  EXPECT_EQ(Count(Counter::TcpExtTCPKeepAlive), 0u);
}

TEST_P(TimersTest, AKeepaliveProbeIsAnswered) {
  Open();
  Give(Ack().SeqNo(P(-1)));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(0))));
}

// ---- SYN ----

TEST_P(TimersTest, ASynIsResentAndGivenUp) {
  Connection c = Connect();
  const Instant start = now_;
  int resent = 0;
  while (app_.closed == 0 && now_ - start < Duration::Seconds(400)) {
    UntilSent(Duration::Seconds(1));
    for (const SentTcp& s : TakeSent()) {
      EXPECT_THAT(s, AllOf(HasFlags("S"), HasSeq(O(-1))));
      ++resent;
    }
  }
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_GE(resent, 6);
  EXPECT_EQ(Count(Counter::TcpAttemptFails), 1u);
  EXPECT_EQ(c.state(), TcpState::kClosed);
}

// ---- FIN-WAIT-2 without an owner ----

TEST_P(TimersTest, AnOrphanInFinWait2LivesAsARecordForFinTimeout) {
  options_.sysctls.tcp_fin_timeout = 20;
  Connection c = Open();
  c.Close();
  Poll();
  Give(Ack(1));
  EXPECT_EQ(shard().connection_count(), 0u);
  ASSERT_EQ(shard().time_wait().size(), 1u);
  AdvanceBy(Duration::Seconds(19));
  EXPECT_EQ(shard().time_wait().size(), 1u);
  AdvanceBy(Duration::Seconds(2));
  EXPECT_EQ(shard().time_wait().size(), 0u);
}

// Linux tests no range, and waits for 3.5 RTO at least.
TEST_P(TimersTest, AFinTimeoutBelowZeroIsTheShortest) {
  options_.sysctls.tcp_fin_timeout = -1;
  Connection c = Open();
  c.Close();
  Poll();
  Give(Ack(1));
  ASSERT_EQ(shard().time_wait().size(), 1u);
  AdvanceBy(Duration::Millis(600));
  EXPECT_EQ(shard().time_wait().size(), 1u);
  AdvanceBy(Duration::Millis(400));
  EXPECT_EQ(shard().time_wait().size(), 0u);
}

TEST_P(TimersTest, ALongFinTimeoutBeginsInTheConnection) {
  options_.sysctls.tcp_fin_timeout = 100;
  Connection c = Open();
  c.Close();
  Poll();
  Give(Ack(1));
  EXPECT_EQ(shard().connection_count(), 1u);
  AdvanceBy(Duration::Seconds(41));
  EXPECT_EQ(shard().connection_count(), 0u);
  EXPECT_EQ(shard().time_wait().size(), 1u);
  AdvanceBy(Duration::Seconds(61));
  EXPECT_EQ(shard().time_wait().size(), 0u);
}

// Linux: with TCP_USER_TIMEOUT it is the time that counts, not the number of probes.
TEST_P(TimersTest, TheUserTimeoutBoundsKeepaliveToo) {
  listen_options_.keepalive = true;
  listen_options_.keepalive_time_s = 10;
  listen_options_.keepalive_intvl_s = 5;
  listen_options_.keepalive_probes = 100;
  listen_options_.user_timeout_ms = 12'000;
  Open();
  AdvanceBy(Duration::Seconds(14));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(-1)))) << "one probe";
  EXPECT_EQ(app_.closed, 0);
  AdvanceBy(Duration::Seconds(2));
  EXPECT_EQ(app_.closed, 1);
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
}

// Keepalive waits for the first probe however short the user timeout.
TEST_P(TimersTest, KeepaliveAsksBeforeTheUserTimeoutEnds) {
  listen_options_.keepalive = true;
  listen_options_.keepalive_time_s = 10;
  listen_options_.keepalive_intvl_s = 5;
  listen_options_.user_timeout_ms = 1'000;
  Open();
  AdvanceBy(Duration::Seconds(11));
  EXPECT_THAT(TakeOne(), HasSeq(O(-1)));
  EXPECT_EQ(app_.closed, 0);
  Give(Ack());
  AdvanceBy(Duration::Seconds(5));
  EXPECT_EQ(app_.closed, 0);
}

TEST_P(TimersTest, TheNumberOfSynsIsTheSockets) {
  TcpOptionsSet options;
  options.syn_retries = 1;
  Connect(options);
  const Instant start = now_;
  while (app_.closed == 0 && now_ - start < Duration::Seconds(200))
    AdvanceBy(Duration::Millis(100));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
  EXPECT_LE(now_ - start, Duration::Seconds(7)) << "by default it is two minutes";
  EXPECT_GE(TakeSent().size(), 1u);
}

}  // namespace
}  // namespace usher::test
