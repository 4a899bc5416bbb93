#include "stack/tcp/recovery/loss_recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/tcp/recovery/sender_lab.h"

namespace usher {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Action = TimerOutcome::Action;

// ---- Fast recovery with SACK ----

TEST(SackRecoveryTest, OneLossIsRepairedAndTheWindowHalved) {
  SenderLab lab;
  lab.Send(10);
  lab.TakeSent();
  lab.Advance(100);
  lab.Ack(0, {{1, 2}});
  lab.Ack(0, {{1, 3}});
  const AckOutcome third = lab.Ack(0, {{1, 4}});
  EXPECT_TRUE(third.events & RecoveryEvent::kEnteredRecovery);
  EXPECT_TRUE(third.retransmit);
  EXPECT_EQ(lab.control.congestion().ssthresh_bytes(), 5 * SenderLab::kMss);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(0));
  EXPECT_TRUE(lab.TakeEvents() & RecoveryEvent::kFastRetransmit);
  for (int n = 5; n <= 10; ++n) {
    lab.Ack(0, {{1, n}});
    lab.SendAllowed();
  }
  lab.Advance(100);
  const AckOutcome last = lab.Ack(10);
  EXPECT_TRUE(last.events & RecoveryEvent::kLeftRecovery);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_EQ(lab.cwnd(), 5u);
  EXPECT_FALSE(last.events & RecoveryEvent::kFullUndo);
}

// RFC 3042: the first two duplicates let a new segment each out, because SACKed data has left.
TEST(SackRecoveryTest, LimitedTransmit) {
  for (const bool sack : {true, false}) {
    SenderLab lab({.sack = sack});
    lab.Send(10);
    lab.TakeSent();
    lab.Advance(100);
    sack ? lab.Ack(0, {{1, 2}}) : lab.Ack(0);
    lab.SendAllowed();
    EXPECT_THAT(lab.TakeSent(), ElementsAre(10)) << sack;
    sack ? lab.Ack(0, {{1, 3}}) : lab.Ack(0);
    lab.SendAllowed();
    EXPECT_THAT(lab.TakeSent(), ElementsAre(11)) << sack;
  }
}

// RFC 6675's burst: several holes are all known at once and resent in order of sequence.
TEST(SackRecoveryTest, SeveralHolesAreResentInOrder) {
  SenderLab lab({.initial_window = 20});
  lab.Send(20);
  lab.TakeSent();
  lab.Advance(100);
  lab.Ack(1, {{2, 3}, {4, 5}, {6, 20}});
  EXPECT_EQ(lab.state(), RecoveryState::kRecovery);
  EXPECT_EQ(lab.control.recovery().queue().lost_segments(), 3u);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(1, 3, 5));
}

TEST(SackRecoveryTest, LostRetransmissionIsResentWithoutATimeout) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(0, {{1, 4}});
  lab.SendAllowed(0);
  lab.Ack(0, {{1, 10}});
  lab.SendAllowed();  // new data after the retransmission
  const std::vector<int> sent = lab.TakeSent();
  ASSERT_GE(sent.back(), 10);
  lab.Advance(100);
  const AckOutcome out = lab.Ack(0, {{1, 11}});
  EXPECT_EQ(out.lost_retransmissions, 1u);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), testing::Contains(0));
  EXPECT_EQ(lab.state(), RecoveryState::kRecovery);
}

TEST(SackRecoveryTest, BlocksNoReceiverCouldSendAreRefused) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  const SenderLab::AckOptions none;
  struct {
    Seq begin, end;
    bool refused;
  } cases[] = {
      {lab.At(5), lab.At(11), true},               // beyond SND.NXT
      {lab.At(11), lab.At(12), true},              // wholly beyond
      {lab.At(6), lab.At(4), true},                // inverted
      {lab.At(5), lab.At(5), true},                // empty
      {lab.At(0), lab.At(3), true},                // begins at SND.UNA
      {lab.At(5), lab.At(5) + 0x80000001u, true},  // wraps
      {lab.At(5) + 0x80000000u, lab.At(7), true},  // wraps
      {lab.At(8), lab.At(9), false},
  };
  for (const auto& c : cases) {
    const uint32_t before = lab.control.recovery().queue().sacked_bytes();
    const AckOutcome out = lab.AckRanges(lab.At(0), {{c.begin, c.end}}, none);
    const uint32_t refusals = RecoveryEvent::kSackDiscarded | RecoveryEvent::kDsackIgnoredNoUndo;
    EXPECT_EQ((out.events & refusals) != 0, c.refused) << c.begin.value();
    EXPECT_EQ(lab.control.recovery().queue().sacked_bytes() > before, !c.refused);
  }
}

TEST(SackRecoveryTest, RenegingIsGivenAMomentThenEverySackIsForgotten) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(0, {{2, 6}});
  lab.Ack(2);  // acknowledges up to the SACKed run, and not it
  EXPECT_EQ(lab.control.timer(), SendTimer::kRetransmit);
  EXPECT_LE(lab.control.timer_deadline(), lab.now + Duration::Millis(50));
  lab.TakeEvents();
  const TimerOutcome out = lab.FireTimer();
  EXPECT_TRUE(out.events & RecoveryEvent::kSackReneging);
  EXPECT_EQ(lab.control.recovery().queue().sacked_segments(), 0u);
  EXPECT_EQ(lab.control.recovery().queue().lost_segments(), 8u);
  lab.TakeSent();
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(2));
}

// ---- Without SACK ----

TEST(RenoRecoveryTest, ThreeDuplicatesThenPartialAcksOneByOne) {
  SenderLab lab({.sack = false, .timestamps = false});
  lab.Send(10);
  lab.TakeSent();
  lab.Advance(100);
  lab.Ack(0);
  lab.Ack(0);
  EXPECT_EQ(lab.state(), RecoveryState::kDisorder);
  const AckOutcome third = lab.Ack(0);
  EXPECT_TRUE(third.events & RecoveryEvent::kRenoRecovery);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(0));
  for (int n = 0; n < 5; ++n) lab.Ack(0);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), IsEmpty());
  lab.Advance(100);
  lab.Ack(4);  // partial: 4 is the next hole (RFC 6582 section 3.2 step 3)
  EXPECT_EQ(lab.state(), RecoveryState::kRecovery);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(4));
  lab.Advance(100);
  lab.Ack(10);
  // Held until something above is acknowledged: stray duplicates begin no new recovery.
  EXPECT_EQ(lab.state(), RecoveryState::kRecovery);
  lab.Send(5);
  lab.Advance(100);
  lab.Ack(12);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_EQ(lab.control.congestion().ssthresh_bytes(), 5 * SenderLab::kMss);
}

TEST(RenoRecoveryTest, DataOrAWindowChangeIsNoDuplicate) {
  SenderLab lab({.sack = false});
  lab.Send(10);
  lab.Advance(100);
  for (int n = 0; n < 5; ++n) lab.Ack(0, {}, {.has_data = true});
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_EQ(lab.control.recovery().sacked_segments(), 0u);
}

TEST(RenoRecoveryTest, MoreDuplicatesThanSegmentsMeanReordering) {
  SenderLab lab({.sack = false});
  lab.Send(3);
  lab.Advance(100);
  for (int n = 0; n < 5; ++n) lab.Ack(0);
  EXPECT_TRUE(lab.events & RecoveryEvent::kRenoReordering);
  EXPECT_LE(lab.control.recovery().sacked_segments(), 2u);
}

// ---- Timeout and F-RTO ----

TEST(TimeoutTest, WindowOfOneThenSlowStartAndBackOff) {
  SenderLab lab;
  lab.settings.loss_probe = false;
  lab.settings.frto = false;
  lab.Send(10);
  lab.TakeSent();
  const Instant sent_at = lab.now;
  ASSERT_EQ(lab.FireTimer().action, Action::kRetransmit);
  EXPECT_EQ(lab.now - sent_at, Duration::Millis(300));  // srtt 100 ms, variation at least 200 ms
  EXPECT_TRUE(lab.TakeEvents() & RecoveryEvent::kTimeout);
  EXPECT_EQ(lab.cwnd(), 1u);
  EXPECT_EQ(lab.control.congestion().ssthresh_bytes(), 5 * SenderLab::kMss);
  lab.SendAllowed();
  EXPECT_THAT(lab.TakeSent(), ElementsAre(0));
  const TimerOutcome second = lab.FireTimer();
  ASSERT_EQ(second.action, Action::kRetransmit);
  EXPECT_TRUE(second.events & RecoveryEvent::kTimeout);
  EXPECT_EQ(second.lost_retransmissions, 1u);
  EXPECT_EQ(lab.now - sent_at, Duration::Millis(300 + 600));
  EXPECT_EQ(lab.control.recovery().timeouts(), 2);
  // Recurring in one window: ssthresh is not halved again.
  EXPECT_EQ(lab.control.congestion().ssthresh_bytes(), 5 * SenderLab::kMss);
  lab.SendAllowed();
  EXPECT_THAT(lab.TakeSent(), ElementsAre(0));
  lab.Advance(100);
  lab.Ack(1);
  EXPECT_EQ(lab.control.recovery().timeouts(), 0);
  lab.SendAllowed();
  EXPECT_THAT(lab.TakeSent(), ElementsAre(1, 2));
  lab.Advance(100);
  lab.Ack(3);
  lab.SendAllowed();
  EXPECT_THAT(lab.TakeSent(), ElementsAre(3, 4, 5, 6));
}

// RFC 8985 section 6.3: what left just before the timeout is not taken for lost with the head.
TEST(TimeoutTest, LateSegmentsAreSparedWithRack) {
  SenderLab lab;
  lab.Send(2);
  lab.Advance(100);
  lab.Ack(1);  // RACK's round trip is 100 ms
  lab.settings.loss_probe = false;
  lab.Advance(50);
  lab.Send(1);
  const auto deadline = lab.control.timer_deadline();
  lab.now = deadline - Duration::Millis(20);
  lab.SendOne();
  ASSERT_EQ(lab.FireTimer().action, Action::kRetransmit);
  const SentQueue& queue = lab.control.recovery().queue();
  EXPECT_EQ(queue.lost_segments(), queue.segments_out() - 1);
}

// RFC 5682 step 3b, the SACK variant at once: the first acknowledgment after the timeout SACKs
// something sent before it that was never resent.
TEST(FrtoTest, SackOfAnOriginalProvesTheTimeoutSpurious) {
  SenderLab lab({.timestamps = false});
  lab.settings.loss_probe = false;
  lab.Send(10);
  const uint32_t before = lab.cwnd();
  lab.FireTimer();
  lab.SendAllowed(0);
  ASSERT_EQ(lab.state(), RecoveryState::kLoss);
  lab.Advance(10);
  lab.Ack(1, {{2, 4}});
  EXPECT_TRUE(lab.events & RecoveryEvent::kSpuriousRto);
  EXPECT_TRUE(lab.events & RecoveryEvent::kLossUndo);
  EXPECT_GE(lab.cwnd(), before);
  EXPECT_NE(lab.state(), RecoveryState::kLoss);
}

TEST(FrtoTest, TwoAcknowledgmentsThatAdvanceProveItSpurious) {
  for (const bool sack : {true, false}) {
    SenderLab lab({.sack = sack, .timestamps = false});
    lab.settings.loss_probe = false;
    lab.Send(10);
    const uint32_t before = lab.cwnd();
    lab.FireTimer();
    lab.SendAllowed(0);
    lab.TakeSent();
    lab.Advance(10);
    // Step 2b: the head's ACK; two new segments go out instead of retransmissions. (The originals'
    // ACKs were only late.)
    const AckOutcome first = lab.Ack(1, {}, {.can_send_new = true});
    EXPECT_TRUE(first.send_new_first) << sack;
    lab.SendOne();
    lab.SendOne();
    EXPECT_FALSE(lab.control.NextRetransmission(lab.context(), SenderLab::kMss).has_value());
    EXPECT_THAT(lab.TakeSent(), ElementsAre(10, 11));
    // Step 3b: the next one advances too.
    lab.Advance(1);
    lab.Ack(2);
    EXPECT_TRUE(lab.events & RecoveryEvent::kSpuriousRto) << sack;
    EXPECT_EQ(lab.control.recovery().queue().lost_segments(), 0u);
    EXPECT_GE(lab.cwnd(), before);
  }
}

TEST(FrtoTest, ADuplicateAfterStep2bMeansTheLossWasReal) {
  for (const bool sack : {true, false}) {
    SenderLab lab({.sack = sack, .timestamps = false});
    lab.settings.loss_probe = false;
    lab.Send(10);
    lab.FireTimer();
    lab.SendAllowed(0);
    lab.Advance(100);
    lab.Ack(1, {}, {.can_send_new = true});
    lab.SendOne();
    lab.SendOne();
    lab.TakeSent();
    lab.Advance(100);
    const AckOutcome out = sack ? lab.Ack(1, {{10, 11}}) : lab.Ack(1);
    EXPECT_TRUE(out.retransmit);
    EXPECT_FALSE(lab.events & RecoveryEvent::kSpuriousRto);
    EXPECT_EQ(lab.state(), RecoveryState::kLoss);
    lab.SendAllowed(0);
    EXPECT_THAT(lab.TakeSent(), testing::Contains(1)) << sack;
  }
}

TEST(FrtoTest, WithoutNewDataItFallsBackToRetransmission) {
  SenderLab lab({.timestamps = false});
  lab.settings.loss_probe = false;
  lab.Send(10);
  lab.FireTimer();
  lab.SendAllowed(0);
  lab.TakeSent();
  lab.Advance(100);
  const AckOutcome out = lab.Ack(1, {}, {.can_send_new = false});
  EXPECT_FALSE(out.send_new_first);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(1, 2));
}

TEST(FrtoTest, NewDataThatDoesNotLeaveFallsBackToo) {
  SenderLab lab({.timestamps = false});
  lab.settings.loss_probe = false;
  lab.Send(10);
  lab.FireTimer();
  lab.SendAllowed(0);
  lab.TakeSent();
  lab.Advance(100);
  EXPECT_TRUE(lab.Ack(1, {}, {.can_send_new = true}).send_new_first);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(1, 2));
}

// ---- Undo ----

// Eifel: the retransmission left at T; the acknowledgment echoes an earlier time.
TEST(UndoTest, TimestampsUndoAFastRecovery) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  const uint32_t before = lab.cwnd();
  const auto sent_ms = static_cast<uint32_t>(lab.now.ms()) - 100;
  lab.Ack(0, {{1, 4}});
  lab.SendAllowed(0);
  ASSERT_EQ(lab.state(), RecoveryState::kRecovery);
  lab.Advance(5);
  lab.Ack(10, {}, {.echo_ms = sent_ms});
  EXPECT_TRUE(lab.events & RecoveryEvent::kFullUndo);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_GE(lab.cwnd(), before);
  EXPECT_EQ(lab.control.congestion().ssthresh_bytes(), CongestionController::kInfiniteSsthresh);
}

TEST(UndoTest, AnEchoOfTheRetransmissionUndoesNothing) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(0, {{1, 4}});
  lab.SendAllowed(0);
  lab.Advance(100);
  lab.Ack(10, {}, {.echo_ms = static_cast<uint32_t>(lab.now.ms()) - 100});
  EXPECT_FALSE(lab.events & RecoveryEvent::kFullUndo);
  EXPECT_EQ(lab.cwnd(), 5u + 1);  // ssthresh, and a window's worth acknowledged at once
}

TEST(UndoTest, DsackOfEveryRetransmissionUndoesLater) {
  SenderLab lab({.timestamps = false});
  lab.Send(10);
  lab.Advance(100);
  const uint32_t before = lab.cwnd();
  lab.Ack(0, {{2, 6}});
  lab.SendAllowed(0);
  lab.Ack(0, {{2, 10}});
  lab.SendAllowed(0);
  EXPECT_EQ(lab.control.recovery().queue().retransmitted_segments(), 2u);
  lab.Advance(5);
  lab.Ack(10);
  EXPECT_EQ(lab.cwnd(), 5u);
  lab.Send(2);
  lab.Advance(95);
  lab.Ack(10, {{0, 1}});
  EXPECT_FALSE(lab.events & RecoveryEvent::kDsackUndo);  // one of two
  lab.Ack(10, {{1, 2}});
  EXPECT_TRUE(lab.events & RecoveryEvent::kDsackUndo);
  EXPECT_TRUE(lab.events & RecoveryEvent::kDsackReceived);
  EXPECT_EQ(lab.cwnd(), before);
}

TEST(UndoTest, MoreDsacksThanRetransmissionsUndoNothing) {
  SenderLab lab({.timestamps = false});
  lab.Send(10);
  lab.Advance(100);
  // The network duplicated segments never resent (RFC 3708 section 3).
  for (int n = 0; n < 5; ++n) lab.Ack(n + 1, {{n, n + 1}});
  EXPECT_TRUE(lab.events & RecoveryEvent::kDsackIgnoredDubious);
  EXPECT_FALSE(lab.events & RecoveryEvent::kDsackUndo);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
}

TEST(UndoTest, DsackAboveTheAcknowledgmentIsCountedApart) {
  SenderLab lab({.timestamps = false});
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(0, {{2, 6}});
  lab.SendAllowed(0);
  lab.Advance(100);
  lab.Ack(0, {{1, 6}});          // 1's retransmission (or original)
  lab.Ack(0, {{1, 2}, {1, 6}});  // and the other copy
  EXPECT_TRUE(lab.events & RecoveryEvent::kDsackOfoReceived);
}

TEST(UndoTest, TimestampsUndoATimeout) {
  SenderLab lab;
  lab.settings.loss_probe = false;
  lab.Send(10);
  const auto sent_ms = static_cast<uint32_t>(lab.now.ms());
  const uint32_t before = lab.cwnd();
  lab.FireTimer();
  lab.SendAllowed(0);
  lab.Advance(10);
  lab.Ack(1, {}, {.echo_ms = sent_ms});
  EXPECT_TRUE(lab.events & RecoveryEvent::kLossUndo);
  EXPECT_FALSE(lab.events & RecoveryEvent::kSpuriousRto);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_GE(lab.cwnd(), before);
  EXPECT_EQ(lab.control.recovery().queue().lost_segments(), 0u);
  lab.TakeSent();
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), IsEmpty());  // go-back-N is called off
}

// What the timeout interrupts is told: TCPSackRecoveryFail, TCPRenoRecoveryFail, TCPLossFailures.
TEST(TimeoutTest, TellsWhatItInterrupts) {
  for (const bool sack : {true, false}) {
    SenderLab lab({.sack = sack});
    lab.settings.loss_probe = false;
    lab.Send(10);
    lab.Advance(100);
    if (sack) {
      lab.Ack(0, {{3, 10}});
    } else {
      for (int i = 0; i < 3; ++i) lab.Ack(0);
    }
    ASSERT_EQ(lab.state(), RecoveryState::kRecovery);
    lab.SendAllowed(0);
    lab.events = 0;
    lab.FireTimer();
    EXPECT_TRUE(lab.events & RecoveryEvent::kTimeout);
    EXPECT_EQ((lab.events & RecoveryEvent::kSackRecoveryFailure) != 0, sack);
    EXPECT_EQ((lab.events & RecoveryEvent::kRenoRecoveryFailure) != 0, !sack);
    // Not a first recovery: F-RTO does not ask whether it was needless (RFC 5682 step 1).
    lab.SendAllowed(0);
    lab.Advance(100);
    EXPECT_FALSE(lab.Ack(1, {}, {.can_send_new = true}).send_new_first);
  }
  SenderLab open;
  open.settings.loss_probe = false;
  open.Send(2);
  open.FireTimer();
  EXPECT_EQ(open.events, RecoveryEvent::kTimeout);
}

// What was SACKed and never sent again does not make the time of the rest doubtful (Karn).
TEST(RoundTripTest, ALateOriginalBehindSackedOnesIsMeasured) {
  SenderLab lab({.timestamps = false});
  lab.Send(3);
  lab.Advance(100);
  lab.Ack(0, {{1, 3}});
  lab.Advance(10);
  const AckOutcome out = lab.Ack(3);
  ASSERT_TRUE(out.rtt);
  EXPECT_EQ(out.rtt->ms(), 110);
}

// A timeout although as many were SACKed as should have told of the loss: the degree of reordering
// that was measured held fast retransmission up. With fewer it was not to blame.
TEST(TimeoutTest, ManySackedTakeBackTheDegreeOfReordering) {
  for (const int sacked : {2, 3}) {
    SenderLab lab({.initial_window = 40});
    lab.Send(30);
    lab.Advance(100);
    lab.Ack(0, {{2, 20}});
    lab.Advance(5);
    lab.Ack(20, {}, {.echo_ms = static_cast<uint32_t>(lab.now.ms()) - 105});
    lab.Ack(30);
    const uint32_t high = lab.control.recovery().reordering();
    ASSERT_GE(high, 18u);
    lab.Send(10);
    lab.Advance(100);
    lab.Ack(30, {{40 - sacked, 40}});
    ASSERT_EQ(lab.state(), RecoveryState::kDisorder) << sacked;
    while (lab.control.recovery().timeouts() == 0 && lab.state() == RecoveryState::kDisorder) {
      if (lab.control.timer() == SendTimer::kRetransmit) {
        lab.FireTimer();
      } else {
        lab.now = lab.control.timer_deadline();
        lab.control.OnProbeFailed(lab.context());
      }
    }
    ASSERT_EQ(lab.state(), RecoveryState::kLoss) << sacked;
    EXPECT_EQ(lab.control.recovery().reordering(), sacked < 3 ? high : 3u);
  }
}

TEST(UndoTest, APartialAckOfAnOriginalReopensAndMeasuresReordering) {
  SenderLab lab({.initial_window = 30});
  lab.Send(30);
  const auto sent_ms = static_cast<uint32_t>(lab.now.ms());
  lab.Advance(100);
  lab.Ack(0, {{2, 20}});
  ASSERT_EQ(lab.state(), RecoveryState::kRecovery);
  lab.SendAllowed(0);
  // Both holes are resent; the originals arrive late. First answered by SACK, so nothing is out.
  lab.Advance(5);
  lab.Ack(0, {{1, 20}}, {.echo_ms = sent_ms});
  lab.Ack(20, {}, {.echo_ms = sent_ms});
  EXPECT_TRUE(lab.events & RecoveryEvent::kPartialUndo);
  EXPECT_TRUE(lab.events & RecoveryEvent::kTimestampReordering);
  EXPECT_GE(lab.control.recovery().reordering(), 18u);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_GE(lab.cwnd(), 30u);
}

// ---- Path MTU ----

TEST(PathMtuTest, WhatIsTooLongGoesAgainInPiecesAndCwndStays) {
  SenderLab lab;
  lab.Send(4);
  lab.Ack(1, {{2, 3}});
  const uint32_t cwnd = lab.control.congestion().cwnd_bytes();
  lab.control.set_mss(600);
  EXPECT_TRUE(lab.control.ResendTooLong(lab.context()));
  lab.Check();
  EXPECT_EQ(lab.control.recovery().queue().lost_bytes(), 2 * SenderLab::kMss);
  std::vector<uint32_t> lengths;
  while (const auto again = lab.control.NextRetransmission(lab.context(), 600)) {
    lengths.push_back(again->length);
    lab.Resend(*again);
    lab.Check();
  }
  EXPECT_THAT(lengths, ElementsAre(600, 400, 600, 400));
  EXPECT_EQ(lab.control.congestion().cwnd_bytes(), cwnd);
  EXPECT_FALSE(lab.control.ResendTooLong(lab.context()));
  lab.Advance(100);
  lab.Ack(4);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_GE(lab.control.congestion().cwnd_bytes(), cwnd);
}

// ---- ECN, delivery rate, samples ----

TEST(CwrTest, AnEchoReducesOncePerWindowAndIsNotUndone) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(1, {}, {.ece = true});
  EXPECT_EQ(lab.state(), RecoveryState::kCwr);
  EXPECT_EQ(lab.control.congestion().ssthresh_bytes() / SenderLab::kMss, 5u);
  for (int n = 2; n <= 10; ++n) lab.Ack(n, {}, {.ece = true});
  EXPECT_EQ(lab.control.congestion().ssthresh_bytes() / SenderLab::kMss, 5u);
  lab.Send(1);
  lab.Advance(100);
  lab.Ack(11);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_EQ(lab.cwnd(), 5u);
}

TEST(RateTest, SampleIsDeliveredOverTheLongerOfSendAndAckIntervals) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  const AckOutcome first = lab.Ack(1);
  ASSERT_TRUE(first.rate.valid);
  EXPECT_EQ(first.rate.delivered_bytes, SenderLab::kMss);
  EXPECT_EQ(first.rate.interval, Duration::Millis(100));
  EXPECT_EQ(first.rate.bytes_per_second(), 10'000u);
  EXPECT_FALSE(first.rate.app_limited);
  lab.Advance(10);
  const AckOutcome rest = lab.Ack(10);
  EXPECT_EQ(rest.rate.delivered_bytes, 10 * SenderLab::kMss);
  EXPECT_EQ(rest.rate.interval, Duration::Millis(110));
  // Now application limited, until what is in flight then is delivered.
  lab.SendOne();
  lab.control.AfterSending(lab.context(), SendLimit::kApplication, true);
  lab.SendOne();
  lab.control.AfterSending(lab.context(), SendLimit::kApplication, true);
  lab.Advance(100);
  EXPECT_TRUE(lab.Ack(12).rate.app_limited);
}

TEST(RttSampleTest, KarnsRuleAndTheTimestampThatOvercomesIt) {
  for (const bool timestamps : {false, true}) {
    SenderLab lab({.timestamps = timestamps});
    lab.settings.loss_probe = false;
    lab.settings.frto = false;
    lab.Send(1);
    lab.FireTimer();
    lab.SendAllowed(0);
    lab.Advance(70);
    const AckOutcome out = lab.Ack(1, {}, {.echo_ms = static_cast<uint32_t>(lab.now.ms()) - 70});
    EXPECT_EQ(out.rtt.has_value(), timestamps);
    if (timestamps) {
      EXPECT_EQ(*out.rtt, Duration::Millis(70));
    }
    EXPECT_EQ(lab.control.recovery().rtt().backoff(), timestamps ? 0 : 1);
  }
}

TEST(PoolTest, ARefusedRecordLeavesNothingBehind) {
  SentSegmentPool pool(16);
  const RecoverySettings settings;
  const RecoveryContext context{
      .now = Instant::FromNanos(1'000), .pool = pool, .settings = settings};
  LossRecovery recovery;
  recovery.Configure(settings, 1'000, true);
  Seq next(0);
  while (recovery.OnSent(context, next, 1'000, 0)) next += 1'000;
  EXPECT_EQ(recovery.queue().segments_out(), 8u);
  EXPECT_EQ(recovery.queue().bytes_out(pool), 8'000u);
  recovery.Clear(context);
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(recovery.timer(), SendTimer::kNone);
}

}  // namespace
}  // namespace usher
