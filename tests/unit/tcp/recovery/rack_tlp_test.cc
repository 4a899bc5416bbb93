#include "stack/tcp/recovery/rack_tlp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/tcp/recovery/sender_lab.h"

namespace usher {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Action = TimerOutcome::Action;

// RFC 8985 section 3.4, first example: P1, P2, P3 are lost, then the retransmission of P1 too. A
// probe and RACK repair it all without a retransmission timeout. Detection alone, without PRR,
// which would let P2 out only when P1's retransmission is answered.
TEST(RackTlpTest, Section34TailLossAndLostRetransmission) {
  SentSegmentPool pool(64);
  const RecoverySettings settings;
  Instant now = Instant::FromNanos(5'000'000'000);
  LossRecovery recovery;
  recovery.Configure(settings, SenderLab::kMss, true);
  auto context = [&] { return RecoveryContext{.now = now, .pool = pool, .settings = settings}; };
  auto ack = [&](int una, int acked, const std::vector<SeqRange>& sack) {
    now = now + Duration::Millis(100);
    return recovery.OnAck(context(), {.ack = SenderLab::At(acked),
                                      .snd_una = SenderLab::At(una),
                                      .snd_nxt = SenderLab::At(4),
                                      .sack = sack,
                                      .max_window = 100'000});
  };
  auto resend = [&] {
    const auto again = recovery.NextRetransmission(context(), SenderLab::kMss);
    ASSERT_TRUE(again.has_value());
    recovery.OnRetransmitted(context(), again->index);
  };
  recovery.OnHandshakeRtt(context(), Duration::Millis(100), SenderLab::At(0), SenderLab::At(0));
  for (int n = 0; n < 4; ++n) {
    ASSERT_TRUE(recovery.OnSent(context(), SenderLab::At(n), SenderLab::kMss, 0));
  }
  recovery.OnSendPassEnd(context());
  ack(0, 1, {});
  ASSERT_EQ(recovery.timer(), SendTimer::kLossProbe);
  now = recovery.timer_deadline();
  ASSERT_EQ(recovery.OnTimer(context()).action, Action::kProbe);
  const auto probe = recovery.ProbeSegment(context());
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ(probe->seq, SenderLab::At(3));
  recovery.OnProbeSent(context(), probe->index);

  // P1 and P2 left long before P3's probe, which was delivered: lost, without any wait.
  const AckOutcome after_probe = ack(1, 1, {{SenderLab::At(3), SenderLab::At(4)}});
  EXPECT_EQ(after_probe.lost_bytes, 2 * SenderLab::kMss);
  EXPECT_EQ(recovery.state(), RecoveryState::kRecovery);
  resend();
  resend();
  EXPECT_FALSE(recovery.NextRetransmission(context(), SenderLab::kMss).has_value());

  // P2 was sent again after P1, in the same instant; its delivery condemns P1's retransmission.
  const AckOutcome after_p2 = ack(1, 1, {{SenderLab::At(2), SenderLab::At(4)}});
  EXPECT_EQ(after_p2.lost_bytes, SenderLab::kMss);
  EXPECT_EQ(after_p2.lost_retransmissions, 1u);
  const auto again = recovery.NextRetransmission(context(), SenderLab::kMss);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->seq, SenderLab::At(1));
  recovery.OnRetransmitted(context(), again->index);
  ack(1, 4, {});
  EXPECT_EQ(recovery.state(), RecoveryState::kOpen);
  EXPECT_TRUE(recovery.queue().empty());
  EXPECT_EQ(recovery.timer(), SendTimer::kNone);
  EXPECT_EQ(pool.in_use(), 0u);
}

// RFC 8985 section 3.4, second example: P0 delivered, P1..P3 and the probe lost; the timeout
// repairs one at a time from P1.
TEST(RackTlpTest, Section34TimeoutWhenTheProbeIsLostToo) {
  SenderLab lab;
  lab.Send(4);
  lab.Advance(100);
  lab.Ack(1);
  ASSERT_EQ(lab.FireTimer().action, Action::kProbe);
  lab.SendProbe();
  lab.TakeSent();
  const TimerOutcome timeout = lab.FireTimer();
  ASSERT_EQ(timeout.action, Action::kRetransmit);
  EXPECT_EQ(lab.state(), RecoveryState::kLoss);
  EXPECT_EQ(lab.cwnd(), lab.in_flight() + 1);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(1));
  lab.Advance(100);
  lab.Ack(2);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(2, 3));
  lab.Advance(100);
  lab.Ack(4);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
}

TEST(RackTlpTest, ThreeSackedSegmentsEndTheWait) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  EXPECT_EQ(lab.Ack(0, {{1, 2}}).lost_bytes, 0u);
  EXPECT_EQ(lab.state(), RecoveryState::kDisorder);
  // The grace of min_rtt / 4 is waited for by a timer, 2 ms late like Linux's.
  EXPECT_EQ(lab.control.timer(), SendTimer::kReorder);
  EXPECT_EQ(lab.control.timer_deadline(), lab.now + Duration::Millis(25 + 2));
  lab.Ack(0, {{1, 3}});
  EXPECT_EQ(lab.state(), RecoveryState::kDisorder);
  EXPECT_EQ(lab.Ack(0, {{1, 4}}).lost_bytes, SenderLab::kMss);
  EXPECT_EQ(lab.state(), RecoveryState::kRecovery);
}

TEST(RackTlpTest, TheReorderingTimerFindsWhatFewSegmentsLeaveOpen) {
  SenderLab lab;
  lab.Send(2);
  lab.Advance(100);
  lab.Ack(0, {{1, 2}});
  lab.TakeSent();
  const TimerOutcome out = lab.FireTimer();
  EXPECT_EQ(out.action, Action::kRetransmit);
  EXPECT_EQ(out.lost_bytes, SenderLab::kMss);
  EXPECT_EQ(lab.state(), RecoveryState::kRecovery);
  lab.SendAllowed(0);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(0));
}

// A late segment, within a quarter of the round trip, is not taken for lost, however far
// it is overtaken; once reordering was seen, not even by the count of three.
TEST(RackTlpTest, ReorderingCausesNoRetransmissionOnceSeen) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(0, {{1, 3}});
  lab.Advance(5);
  const AckOutcome late = lab.Ack(3);  // segment 0 arrived after 1 and 2
  EXPECT_TRUE(late.events & RecoveryEvent::kSackReordering);
  EXPECT_TRUE(lab.control.recovery().reordering_seen());
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  lab.Advance(1);
  lab.Ack(3, {{4, 10}});  // six SACKed above the hole
  EXPECT_EQ(lab.state(), RecoveryState::kDisorder);
  EXPECT_EQ(lab.control.recovery().queue().lost_segments(), 0u);
  EXPECT_EQ(lab.control.timer(), SendTimer::kReorder);
  lab.Advance(10);
  lab.Ack(10);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_FALSE(lab.TakeEvents() & RecoveryEvent::kSackRecovery);
}

// Section 6.2 step 4: a D-SACK widens the window by a quarter of min_rtt, once per round trip.
TEST(RackTlpTest, DsackWidensTheReorderingWindow) {
  RecoverySettings settings;
  Rack rack;
  Rack::Conditions conditions{
      .reordering_seen = true, .min_rtt = Duration::Millis(40), .srtt = Duration::Millis(100)};
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(10));
  rack.OnDsack();
  rack.UpdateReorderWindow(settings, true, 1'000, 5'000);
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(20));
  rack.OnDsack();
  rack.UpdateReorderWindow(settings, true, 4'000, 6'000);  // sent before the last widening
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(20));
  rack.OnDsack();
  rack.UpdateReorderWindow(settings, true, 5'000, 9'000);
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(30));
  // It holds for 16 recoveries without a D-SACK.
  for (int n = 0; n < 15; ++n) rack.OnRecoveryEnd();
  rack.UpdateReorderWindow(settings, true, 10'000, 11'000);
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(30));
  rack.OnRecoveryEnd();
  rack.UpdateReorderWindow(settings, true, 12'000, 13'000);
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(10));
  // Never above srtt.
  for (int n = 0; n < 20; ++n) {
    rack.OnDsack();
    rack.UpdateReorderWindow(settings, true, 20'000 + n, 20'000 + n);
  }
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(100));
}

// An undo by D-SACK makes a widened window last one recovery longer, up to the 16 that it may.
TEST(RackTlpTest, DsackUndoProlongsTheWideWindow) {
  RecoverySettings settings;
  Rack rack;
  Rack::Conditions conditions{
      .reordering_seen = true, .min_rtt = Duration::Millis(40), .srtt = Duration::Millis(100)};
  rack.OnDsack();
  rack.UpdateReorderWindow(settings, true, 1'000, 5'000);
  rack.OnDsackUndo();  // 16 already
  for (int n = 0; n < 15; ++n) rack.OnRecoveryEnd();
  rack.OnDsackUndo();
  rack.OnRecoveryEnd();
  rack.UpdateReorderWindow(settings, true, 10'000, 11'000);
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(20));
  rack.OnRecoveryEnd();
  rack.UpdateReorderWindow(settings, true, 12'000, 13'000);
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(10));
}

TEST(RackTlpTest, WithoutReorderingTheWindowIsNothingInRecoveryAndAtTheThreshold) {
  RecoverySettings settings;
  const Rack rack;
  Rack::Conditions conditions{.min_rtt = Duration::Millis(40), .srtt = Duration::Millis(100)};
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(10));
  conditions.sacked_segments = 3;
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration());
  settings.no_duplicate_threshold = true;
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration::Millis(10));
  conditions.in_recovery = true;
  EXPECT_EQ(rack.ReorderWindow(settings, conditions), Duration());
}

TEST(RackTlpTest, ProbeTimeoutIsTwoRoundTripsAndADelayedAckForOneSegment) {
  RecoverySettings settings;
  RttEstimator rtt;
  EXPECT_EQ(ProbeTimeout(rtt, settings, 1), Duration::Seconds(1));
  rtt.OnSample(settings, Micros(1), Duration::Millis(50), Seq(0), Seq(1));
  EXPECT_EQ(ProbeTimeout(rtt, settings, 1), Duration::Millis(100 + 200));
  EXPECT_EQ(ProbeTimeout(rtt, settings, 2), Duration::Millis(100 + 2));
  RttEstimator near;
  near.OnSample(settings, Micros(1), Duration::Micros(40), Seq(0), Seq(1));
  EXPECT_EQ(ProbeTimeout(near, settings, 2), Duration::Millis(10))
      << "a peer that waits for its processor is no loss";
  EXPECT_EQ(ProbeTimeout(near, settings, 1), Duration::Micros(80) + Duration::Millis(200));
  settings.rto_min = Duration::Millis(5);
  EXPECT_EQ(ProbeTimeout(near, settings, 1), Duration::Millis(10));
}

TEST(RackTlpTest, AProbeOfNewDataIsPreferredAndNeedsNoReduction) {
  SenderLab lab;
  lab.Send(2);
  lab.TakeSent();
  ASSERT_EQ(lab.FireTimer().action, Action::kProbe);
  lab.SendOne();
  EXPECT_TRUE(lab.control.OnProbeSent(lab.context(), kNoSegment) & RecoveryEvent::kLossProbe);
  EXPECT_THAT(lab.TakeSent(), ElementsAre(2));
  // One probe at a time: the next timer is the retransmission timeout.
  EXPECT_EQ(lab.control.timer(), SendTimer::kRetransmit);
  const uint32_t cwnd = lab.cwnd();
  lab.Advance(50);
  lab.Ack(3);
  EXPECT_GE(lab.cwnd(), cwnd);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
}

// Section 7.4: the probe repaired a loss, so the window is reduced once.
TEST(RackTlpTest, AProbeThatRepairedALossReducesTheWindow) {
  SenderLab lab;
  lab.Send(10);
  lab.Advance(100);
  lab.Ack(9);
  ASSERT_EQ(lab.FireTimer().action, Action::kProbe);
  lab.SendProbe();
  lab.Advance(100);
  lab.Ack(10);  // of the probe's end exactly: original or probe? wait
  EXPECT_FALSE(lab.events & RecoveryEvent::kLossProbeRecovery);
  lab.Send(1);
  lab.Advance(100);
  const uint32_t before = lab.cwnd();
  lab.Ack(11);  // beyond it, and no D-SACK ever came
  EXPECT_TRUE(lab.events & RecoveryEvent::kLossProbeRecovery);
  EXPECT_EQ(lab.state(), RecoveryState::kOpen);
  EXPECT_LE(lab.cwnd(), before / 2 + 1);
}

TEST(RackTlpTest, ANeedlessProbeIsToldByDsackOrAPureDuplicate) {
  for (const bool dsack : {true, false}) {
    SenderLab lab;
    lab.Send(10);
    lab.Advance(100);
    lab.Ack(9);
    ASSERT_EQ(lab.FireTimer().action, Action::kProbe);
    lab.SendProbe();
    lab.Advance(10);
    lab.Ack(10);
    lab.Advance(90);
    if (dsack) {
      lab.Ack(10, {{9, 10}});
      EXPECT_TRUE(lab.events & RecoveryEvent::kDsackReceived);
    } else {
      lab.Send(1);
      lab.Ack(10);
    }
    lab.Send(1);
    const uint32_t before = lab.cwnd();
    lab.Advance(100);
    lab.Ack(lab.SegmentOf(lab.snd_nxt));
    EXPECT_FALSE(lab.events & RecoveryEvent::kLossProbeRecovery) << dsack;
    EXPECT_GE(lab.cwnd(), before);
  }
}

TEST(RackTlpTest, NoProbeWithoutSackNorInRecoveryNorWhenSwitchedOff) {
  SenderLab plain({.sack = false});
  plain.Send(2);
  EXPECT_EQ(plain.control.timer(), SendTimer::kRetransmit);

  SenderLab off;
  off.settings.loss_probe = false;
  off.Send(2);
  EXPECT_EQ(off.control.timer(), SendTimer::kRetransmit);

  SenderLab recovering;
  recovering.Send(10);
  recovering.Advance(100);
  recovering.Ack(0, {{1, 4}});
  ASSERT_EQ(recovering.state(), RecoveryState::kRecovery);
  recovering.SendAllowed(0);
  EXPECT_EQ(recovering.control.timer(), SendTimer::kRetransmit);
}

// A probe is the last segment alone, when the last record holds several.
TEST(RackTlpTest, AProbeResendsOneSegmentOfALongTransmission) {
  SenderLab lab;
  ASSERT_TRUE(
      lab.control.OnSent(lab.context(), lab.snd_nxt, 4 * SenderLab::kMss + 1, SentSegment::kFin));
  lab.snd_nxt += 4 * SenderLab::kMss + 1;
  lab.control.AfterSending(lab.context(), SendLimit::kApplication, true);
  ASSERT_EQ(lab.FireTimer().action, Action::kProbe);
  const auto probe = lab.control.ProbeSegment(lab.context());
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ(probe->seq, SenderLab::At(3));
  EXPECT_EQ(probe->length, SenderLab::kMss + 1);
  EXPECT_TRUE(probe->fin);
  lab.control.OnProbeSent(lab.context(), probe->index);
  lab.Check();
}

}  // namespace
}  // namespace usher
