// stack/tcp/recovery/loss_timers.cc: which timer runs when, in virtual time. What the timers then
// do for RACK-TLP is in rack_tlp_test.cc, for a timeout in loss_recovery_test.cc.
#include <gmock/gmock.h>

#include "tests/unit/tcp/recovery/sender_lab.h"

namespace usher {
namespace {

using ::testing::ElementsAre;
using Action = TimerOutcome::Action;

Duration Left(const SenderLab& lab) { return lab.control.timer_deadline() - lab.now; }
Duration Rto(const SenderLab& lab) { return lab.control.recovery().rto(lab.settings); }

// With probes off only the retransmission timer runs. The handshake measured 100 ms.
class RetransmitTimerTest : public ::testing::Test {
 protected:
  RetransmitTimerTest() { lab_.settings.loss_probe = false; }
  SenderLab lab_;
};

TEST_F(RetransmitTimerTest, NothingOutNoTimer) {
  EXPECT_EQ(lab_.control.timer(), SendTimer::kNone);
  EXPECT_EQ(lab_.control.timer_deadline(), Instant::Never());
  EXPECT_EQ(lab_.control.OnTimer(lab_.context()).action, Action::kNone);
}

// RFC 6298 section 5.1: started with the first segment, not pushed back by the next.
TEST_F(RetransmitTimerTest, RunsFromTheFirstSegment) {
  lab_.Send(1);
  EXPECT_EQ(lab_.control.timer(), SendTimer::kRetransmit);
  EXPECT_EQ(Left(lab_), Rto(lab_));
  const Instant deadline = lab_.control.timer_deadline();
  lab_.Advance(50);
  lab_.Send(3);
  EXPECT_EQ(lab_.control.timer_deadline(), deadline);
}

// 5.3 and 5.2: an acknowledgment of new data restarts it, of all data stops it; a duplicate does
// neither.
TEST_F(RetransmitTimerTest, RestartedByProgressStoppedAtTheEnd) {
  lab_.Send(4);
  const Instant first = lab_.control.timer_deadline();
  lab_.Advance(100);
  lab_.Ack(0);
  EXPECT_EQ(lab_.control.timer_deadline(), first);
  lab_.Ack(2);
  EXPECT_EQ(Left(lab_), Rto(lab_));
  lab_.Ack(4);
  EXPECT_EQ(lab_.control.timer(), SendTimer::kNone);
  EXPECT_EQ(lab_.control.timer_deadline(), Instant::Never());
}

TEST_F(RetransmitTimerTest, FiresNotANanosecondEarly) {
  lab_.Send(1);
  const Instant deadline = lab_.control.timer_deadline();
  lab_.now = deadline - Duration::Nanos(1);
  EXPECT_EQ(lab_.control.OnTimer(lab_.context()).action, Action::kNone);
  lab_.now = deadline;
  EXPECT_EQ(lab_.control.OnTimer(lab_.context()).action, Action::kRetransmit);
}

// 5.5: doubled each time up to the largest; the head alone is sent again.
TEST_F(RetransmitTimerTest, BacksOffToTheLargest) {
  lab_.Send(1);
  Duration expected = Rto(lab_);
  for (int n = 0; n < 14; ++n) {
    ASSERT_EQ(Left(lab_), expected) << n;
    lab_.TakeSent();
    ASSERT_EQ(lab_.FireTimer().action, Action::kRetransmit);
    lab_.SendAllowed(0);
    ASSERT_THAT(lab_.TakeSent(), ElementsAre(0));
    ASSERT_EQ(lab_.control.recovery().timeouts(), n + 1);
    expected = std::min(expected * 2, lab_.settings.rto_max);
  }
  EXPECT_EQ(expected, lab_.settings.rto_max);
}

TEST_F(RetransmitTimerTest, CountOfTimeoutsDoesNotWrap) {
  lab_.Send(1);
  for (int n = 0; n < 300; ++n) {
    lab_.FireTimer();
    lab_.SendAllowed(0);
  }
  EXPECT_EQ(lab_.control.recovery().timeouts(), 255);
}

// A shard that was stopped wakes up late: one timeout, not one for each that would have passed.
TEST_F(RetransmitTimerTest, LateWakeUpIsOneTimeout) {
  lab_.Send(2);
  lab_.now = lab_.now + Duration::Seconds(119);
  EXPECT_EQ(lab_.control.OnTimer(lab_.context()).action, Action::kRetransmit);
  EXPECT_EQ(lab_.control.recovery().timeouts(), 1);
  EXPECT_GT(lab_.control.timer_deadline(), lab_.now);
  EXPECT_EQ(lab_.control.OnTimer(lab_.context()).action, Action::kNone);
}

// What could not be sent (no buffer, full queue) is tried again soon, in no case later than a
// timeout.
// What it says has failed is what was under way (the names of Linux's counters).
TEST_F(RetransmitTimerTest, TellsWhatFailed) {
  const auto fired = [](SenderLab& lab) {
    EXPECT_EQ(lab.control.timer(), SendTimer::kRetransmit);
    lab.now = lab.control.timer_deadline();
    return lab.control.OnTimer(lab.context()).events;
  };
  lab_.Send(6);
  EXPECT_EQ(fired(lab_), RecoveryEvent::kTimeout);
  SenderLab reno({.sack = false});
  reno.settings.loss_probe = false;
  reno.Send(6);
  reno.Ack(0);  // a duplicate
  EXPECT_EQ(fired(reno), RecoveryEvent::kTimeout | RecoveryEvent::kRenoFailure);
}

TEST_F(RetransmitTimerTest, RetrySoonIsHalfASecondAtMost) {
  lab_.Send(1);
  for (int n = 0; n < 6; ++n) {
    lab_.FireTimer();
    lab_.control.RetryTimerSoon(lab_.context());
    EXPECT_EQ(Left(lab_), std::min(Duration::Millis(500), Rto(lab_)));
  }
  lab_.Ack(1);
  lab_.control.RetryTimerSoon(lab_.context());
  EXPECT_EQ(lab_.control.timer(), SendTimer::kNone) << "nothing is out";
}

TEST_F(RetransmitTimerTest, ClearStopsIt) {
  lab_.Send(3);
  lab_.control.Clear(lab_.context());
  EXPECT_EQ(lab_.control.timer(), SendTimer::kNone);
  EXPECT_EQ(lab_.pool.in_use(), 0u);
}

// ---- The probe timer (RFC 8985 section 7.2) ----

TEST(ProbeTimerTest, TwoRoundTripsAndNeverBeyondTheTimeout) {
  SenderLab lab;
  lab.Send(2);
  EXPECT_EQ(lab.control.timer(), SendTimer::kLossProbe);
  EXPECT_EQ(Left(lab), Duration::Millis(2 * 100 + 2));
  lab.Advance(100);
  lab.Ack(1);
  EXPECT_EQ(lab.control.timer(), SendTimer::kLossProbe);
  EXPECT_LE(Left(lab), Rto(lab)) << "one out: a delayed acknowledgment's time would be longer";
}

TEST(ProbeTimerTest, NewDataPutsItOff) {
  SenderLab lab;
  lab.Send(2);
  const Instant first = lab.control.timer_deadline();
  lab.Advance(50);
  lab.Send(1);
  EXPECT_EQ(lab.control.timer(), SendTimer::kLossProbe);
  EXPECT_GT(lab.control.timer_deadline(), first);
}

TEST(ProbeTimerTest, OneProbeThenTheTimeoutOfItsOwn) {
  SenderLab lab;
  lab.Send(2);
  lab.TakeSent();
  ASSERT_EQ(lab.FireTimer().action, Action::kProbe);
  lab.SendProbe();
  EXPECT_THAT(lab.TakeSent(), ElementsAre(1)) << "the last";
  EXPECT_EQ(lab.control.timer(), SendTimer::kRetransmit);
  EXPECT_EQ(Left(lab), Rto(lab)) << "from the probe on";
  EXPECT_EQ(lab.FireTimer().action, Action::kRetransmit);
}

TEST(ProbeTimerTest, ProbeThatCouldNotLeaveBecomesATimeout) {
  SenderLab lab;
  lab.Send(2);
  ASSERT_EQ(lab.FireTimer().action, Action::kProbe);
  lab.control.OnProbeFailed(lab.context());
  EXPECT_EQ(lab.control.timer(), SendTimer::kRetransmit);
  EXPECT_GT(lab.control.timer_deadline(), lab.now);
  EXPECT_LE(Left(lab), Rto(lab)) << "the time already waited counts";
}

TEST(ProbeTimerTest, NoneForASynNorBeforeThereIsAnythingToResend) {
  SenderLab lab;
  ASSERT_TRUE(lab.control.OnSent(lab.context(), lab.snd_nxt, 1, SentSegment::kSyn));
  lab.snd_nxt += 1;
  lab.control.AfterSending(lab.context(), SendLimit::kApplication, true);
  EXPECT_EQ(lab.control.timer(), SendTimer::kRetransmit);
  EXPECT_FALSE(SenderLab().control.ProbeSegment(lab.context()).has_value());
}

TEST(ProbeTimerTest, LastSegmentThatIsSackedIsNotSentAgain) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(8, {{9, 10}});
  EXPECT_FALSE(lab.control.ProbeSegment(lab.context()).has_value());
}

// ---- The reordering timer (RFC 8985 section 6.3) ----

TEST(ReorderTimerTest, RunsForWhatIsSuspectAndGivesWayToTheTimeout) {
  SenderLab lab;
  lab.Send(3);
  lab.Advance(100);
  lab.Ack(0, {{2, 3}});
  ASSERT_EQ(lab.control.timer(), SendTimer::kReorder);
  EXPECT_LE(Left(lab), Rto(lab));
  lab.Ack(3);
  EXPECT_EQ(lab.control.timer(), SendTimer::kNone);
}

TEST(ReorderTimerTest, FiredItMarksSendsAgainAndTheTimeoutRuns) {
  SenderLab lab;
  lab.Send(3);
  lab.Advance(100);
  lab.Ack(0, {{2, 3}});
  lab.TakeSent();
  const TimerOutcome out = lab.FireTimer();
  EXPECT_EQ(out.action, Action::kRetransmit);
  EXPECT_EQ(out.lost_bytes, 2 * SenderLab::kMss);
  lab.SendAllowed(0);
  EXPECT_EQ(lab.TakeSent().front(), 0);
  EXPECT_EQ(lab.control.timer(), SendTimer::kRetransmit);
  EXPECT_GT(lab.control.timer_deadline(), lab.now);
}

// ---- Segments too long for a narrower path ----

TEST(ResendTooLongTest, NothingTooLongNothingDone) {
  SenderLab lab;
  lab.Send(3);
  EXPECT_FALSE(lab.control.ResendTooLong(lab.context()));
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  lab.control.set_mss(500);
  EXPECT_TRUE(lab.control.ResendTooLong(lab.context()));
  EXPECT_EQ(lab.state(), RecoveryState::kLoss);
}

TEST(ResendTooLongTest, ResentInPiecesOfWhatFits) {
  SenderLab lab;
  lab.Send(1);
  lab.control.set_mss(300);
  ASSERT_TRUE(lab.control.ResendTooLong(lab.context()));
  std::vector<uint32_t> lengths;
  while (const auto again = lab.control.NextRetransmission(lab.context(), 300)) {
    lengths.push_back(again->length);
    lab.Resend(*again);
  }
  EXPECT_THAT(lengths, ElementsAre(300, 300, 300, 100));
}

}  // namespace
}  // namespace usher
