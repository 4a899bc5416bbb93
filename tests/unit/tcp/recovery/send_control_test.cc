// The whole sender against a model of a network and of a receiver, in virtual time:
//
//   SendControl ==> [loss, delay, reordering, duplication] ==> receiver with SACK and D-SACK
//               <== [loss, delay]                          <==
//
// Whatever the network does, everything must arrive, the scoreboard must equal a recount, no timer
// may be missing while something is in flight, and the window must be kept.
#include "stack/tcp/recovery/send_control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "tests/unit/tcp/recovery/sender_lab.h"

namespace usher {
namespace {

constexpr uint32_t kMss = 1000;

struct Network {
  int loss_percent = 0;
  int ack_loss_percent = 0;
  int duplicate_percent = 0;
  int reorder_percent = 0;  // of the segments are held back by up to reorder_us
  int64_t reorder_us = 0;
  int64_t one_way_us = 10'000;
  int64_t segment_us = 100;  // bottleneck: a segment each; 0 for none
  uint32_t queue_segments = 100;
  bool sack = true;
  bool timestamps = true;
  CongestionAlgorithm algorithm = CongestionAlgorithm::kCubic;
  uint32_t total = 2'000;
};

class Simulation {
 public:
  Simulation(const Network& network, uint32_t seed) : network_(network), random_(seed) {
    control_.Configure(settings_, network.algorithm, kMss, 10 * kMss, network.sack);
    control_.OnHandshakeRtt(context(), Duration::Micros(2 * network.one_way_us), snd_una_,
                            snd_nxt_);
  }

  void Run() {
    SendWhatMayGo();
    while (snd_una_ != kStart + network_.total * kMss) {
      ASSERT_FALSE(testing::Test::HasFailure());
      ASSERT_LT(++events_, 400'000) << "no progress at " << (snd_una_ - kStart);
      const Instant timer = control_.timer_deadline();
      const bool in_flight = !control_.recovery().queue().empty();
      ASSERT_EQ(control_.timer() == SendTimer::kNone, !in_flight);
      ASSERT_EQ(timer == Instant::Never(), !in_flight);
      const Instant arrival = data_.empty() ? Instant::Never() : data_.begin()->first;
      const Instant ack = acks_.empty() ? Instant::Never() : acks_.begin()->first;
      ASSERT_TRUE(in_flight);
      if (timer <= arrival && timer <= ack) {
        now_ = std::max(now_, timer);
        OnTimer();
      } else if (arrival <= ack) {
        now_ = arrival;
        Arrive();
      } else {
        now_ = ack;
        TakeAck();
      }
      if (events_ % 16 == 0 || events_ < 2'000) {
        ExpectExactCounts(pool_, control_.recovery().queue());
      }
    }
    EXPECT_TRUE(control_.recovery().queue().empty());
    EXPECT_EQ(pool_.in_use(), 0u);
  }

  uint32_t resent() const { return resent_; }
  uint32_t dropped() const { return dropped_; }
  uint32_t recovery_events() const { return seen_; }
  const SendControl& control() const { return control_; }
  Duration elapsed() const { return now_ - Instant::FromNanos(kEpoch); }

 private:
  static constexpr int64_t kEpoch = 3'000'000'000;
  const Seq kStart{0xfffffe00};

  RecoveryContext context() { return {.now = now_, .pool = pool_, .settings = settings_}; }
  bool Chance(int percent) { return static_cast<int>(random_() % 100) < percent; }

  void Transmit(Seq seq, uint32_t length) {
    const auto stamp_ms = static_cast<uint32_t>(now_.ms());
    if (Chance(network_.loss_percent)) {
      ++dropped_;
      return;
    }
    // The bottleneck serves in order and drops at its tail.
    Instant out = now_;
    if (network_.segment_us > 0) {
      const Instant start = std::max(now_, busy_until_);
      if (start - now_ > Duration::Micros(network_.segment_us) * network_.queue_segments) {
        ++dropped_;
        return;
      }
      busy_until_ = start + Duration::Micros(network_.segment_us);
      out = busy_until_;
    }
    const int copies = Chance(network_.duplicate_percent) ? 2 : 1;
    for (int n = 0; n < copies; ++n) {
      Instant at = out + Duration::Micros(network_.one_way_us);
      if (Chance(network_.reorder_percent)) {
        at = at + Duration::Micros(1 + static_cast<int64_t>(random_()) % network_.reorder_us);
      }
      data_.emplace(at, Packet{seq, length, stamp_ms});
    }
  }

  void Resend() {
    while (const auto again = control_.NextRetransmission(context(), kMss)) {
      ASSERT_GT(again->length, 0u);
      ASSERT_LE(again->length, kMss);
      ASSERT_TRUE(again->seq >= snd_una_ && again->seq < snd_nxt_);
      Transmit(again->seq, again->length);
      seen_ |= control_.OnRetransmitted(context(), again->index);
      ++resent_;
    }
  }
  bool HasNew() const { return snd_nxt_ != kStart + network_.total * kMss; }
  void SendOne() {
    ASSERT_TRUE(control_.OnSent(context(), snd_nxt_, kMss, 0));
    Transmit(snd_nxt_, kMss);
    snd_nxt_ += kMss;
  }
  void SendNew() {
    bool sent = false;
    control_.BeforeSending(context(), true);
    while (HasNew() && control_.SendBudget(context()) >= kMss) {
      SendOne();
      sent = true;
      EXPECT_LE(control_.recovery().in_flight_bytes(pool_),
                std::max(control_.congestion().cwnd_bytes(), kMss));
    }
    control_.AfterSending(context(), HasNew() ? SendLimit::kCongestion : SendLimit::kApplication,
                          sent);
  }
  void SendWhatMayGo() {
    Resend();
    SendNew();
  }

  void OnTimer() {
    const TimerOutcome out = control_.OnTimer(context());
    seen_ |= out.events;
    switch (out.action) {
      case TimerOutcome::Action::kNone:
        break;
      case TimerOutcome::Action::kRetransmit:
        SendWhatMayGo();
        break;
      case TimerOutcome::Action::kProbe:
        if (HasNew()) {
          SendOne();
          seen_ |= control_.OnProbeSent(context(), kNoSegment);
        } else if (const auto probe = control_.ProbeSegment(context())) {
          Transmit(probe->seq, probe->length);
          seen_ |= control_.OnProbeSent(context(), probe->index);
          ++resent_;
        } else {
          control_.OnProbeFailed(context());
        }
        break;
    }
  }

  struct Packet {
    Seq seq;
    uint32_t length;
    uint32_t stamp_ms;
  };
  struct Acknowledgment {
    Seq ack;
    std::vector<SeqRange> sack;
    uint32_t echo_ms;
  };

  // The receiver: acknowledges every segment, newest SACK block first, a D-SACK before all.
  void Arrive() {
    const Packet packet = data_.begin()->second;
    data_.erase(data_.begin());
    std::vector<SeqRange> sack;
    const bool old = packet.seq < rcv_nxt_;
    const auto offset = static_cast<uint32_t>(packet.seq - kStart);
    const bool have = old || !held_.insert(offset).second;
    if (have) sack.push_back({packet.seq, packet.seq + packet.length});
    const bool in_order = packet.seq <= rcv_nxt_;
    while (held_.contains(static_cast<uint32_t>(rcv_nxt_ - kStart))) {
      held_.erase(static_cast<uint32_t>(rcv_nxt_ - kStart));
      rcv_nxt_ += kMss;
    }
    if (in_order && !have) recent_ms_ = packet.stamp_ms;
    std::vector<SeqRange> runs;
    for (const uint32_t o : held_) {
      const Seq begin = kStart + o;
      if (!runs.empty() && runs.back().end == begin) {
        runs.back().end += kMss;
      } else {
        runs.push_back({begin, begin + kMss});
      }
    }
    std::stable_partition(runs.begin(), runs.end(), [&](const SeqRange& r) {
      return r.begin <= packet.seq && packet.seq < r.end;
    });
    for (const SeqRange& r : runs) {
      if (sack.size() == 3) break;
      sack.push_back(r);
    }
    if (!network_.sack) sack.clear();
    if (Chance(network_.ack_loss_percent)) return;
    acks_.emplace(now_ + Duration::Micros(network_.one_way_us),
                  Acknowledgment{rcv_nxt_, sack, recent_ms_});
  }

  void TakeAck() {
    const Acknowledgment a = acks_.begin()->second;
    acks_.erase(acks_.begin());
    if (a.ack < snd_una_ && a.sack.empty()) return;
    AckInput in;
    in.ack = a.ack;
    in.snd_una = snd_una_;
    in.snd_nxt = snd_nxt_;
    in.sack = a.sack;
    in.max_window = 10'000'000;
    in.can_send_new = HasNew();
    if (network_.timestamps) in.ts_echo_ms = a.echo_ms;
    const AckOutcome out = control_.OnAck(context(), in);
    seen_ |= out.events;
    snd_una_ = Max(snd_una_, a.ack);
    if (out.send_new_first) SendNew();
    SendWhatMayGo();
  }

  const Network network_;
  std::mt19937 random_;
  SentSegmentPool pool_{8192};
  RecoverySettings settings_;
  SendControl control_;
  Instant now_ = Instant::FromNanos(kEpoch);
  Instant busy_until_ = now_;
  Seq snd_una_ = kStart;
  Seq snd_nxt_ = kStart;
  std::multimap<Instant, Packet> data_;
  std::multimap<Instant, Acknowledgment> acks_;
  Seq rcv_nxt_ = kStart;
  std::set<uint32_t> held_;
  uint32_t recent_ms_ = 0;
  uint32_t resent_ = 0;
  uint32_t dropped_ = 0;
  uint32_t seen_ = 0;
  int events_ = 0;
};

class SendControlSimulationTest : public testing::TestWithParam<uint32_t> {};

TEST_P(SendControlSimulationTest, EverythingArrivesWhateverTheNetworkDoes) {
  const uint32_t seed = GetParam();
  std::mt19937 random(seed);
  for (int round = 0; round < 6; ++round) {
    Network network;
    network.loss_percent = static_cast<int>(random() % 3 == 0 ? random() % 30 : random() % 4);
    network.ack_loss_percent = static_cast<int>(random() % 3 == 0 ? random() % 40 : 0);
    network.duplicate_percent = static_cast<int>(random() % 2 == 0 ? random() % 10 : 0);
    network.reorder_percent = static_cast<int>(random() % 2 == 0 ? random() % 50 : 0);
    network.reorder_us = 1 + static_cast<int64_t>(random() % 40'000);
    network.one_way_us = 20 + static_cast<int64_t>(random() % 60'000);
    network.segment_us = static_cast<int64_t>(random() % 2'000);
    network.queue_segments = 2 + random() % 200;
    network.sack = random() % 4 != 0;
    network.timestamps = random() % 2 == 0;
    network.algorithm =
        random() % 2 == 0 ? CongestionAlgorithm::kCubic : CongestionAlgorithm::kReno;
    network.total = 100 + random() % 600;
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round);
    Simulation simulation(network, random());
    simulation.Run();
    if (HasFatalFailure() || HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SendControlSimulationTest, testing::Range(1u, 13u));

TEST(SendControlTest, ACleanPathIsUsedWithoutASingleRetransmission) {
  Network network;
  network.queue_segments = 100'000;
  Simulation simulation(network, 1);
  simulation.Run();
  EXPECT_EQ(simulation.resent(), 0u);
  EXPECT_FALSE(simulation.recovery_events() & RecoveryEvent::kLossProbe);
}

TEST(SendControlTest, RandomLossIsRepairedWithAboutAsManyRetransmissions) {
  Network network{.loss_percent = 2, .queue_segments = 100'000, .total = 10'000};
  Simulation simulation(network, 7);
  simulation.Run();
  ASSERT_GT(simulation.dropped(), 100u);
  EXPECT_GE(simulation.resent(), simulation.dropped());
  EXPECT_LE(simulation.resent(), simulation.dropped() + simulation.dropped() / 20 + 5);
  EXPECT_FALSE(simulation.recovery_events() & RecoveryEvent::kTimeout);
}

// Three percent of the segments late by up to a fifth of the round trip: a stack that counts
// duplicates would resend for ever; RACK learns after the first time.
TEST(SendControlTest, ReorderingAloneCausesHardlyAnyRetransmission) {
  Network network{.reorder_percent = 3,
                  .reorder_us = 4'000,
                  .queue_segments = 100'000,
                  .timestamps = true,
                  .total = 10'000};
  Simulation simulation(network, 3);
  simulation.Run();
  EXPECT_TRUE(simulation.control().recovery().reordering_seen());
  EXPECT_LE(simulation.resent(), 5u);
}

TEST(SendControlTest, BottleneckOverflowEndsInHighUse) {
  for (const auto algorithm : {CongestionAlgorithm::kCubic, CongestionAlgorithm::kReno}) {
    Network network{.queue_segments = 200, .algorithm = algorithm, .total = 40'000};
    Simulation simulation(network, 5);
    simulation.Run();
    const double ideal_s = 40'000 * 100e-6;
    EXPECT_LT(static_cast<double>(simulation.elapsed().us()) / 1e6, ideal_s * 1.1);
    EXPECT_LE(simulation.resent(), simulation.dropped() + simulation.dropped() / 20 + 5);
    EXPECT_FALSE(simulation.recovery_events() & RecoveryEvent::kTimeout);
  }
}

TEST(SendControlTest, ABudgetIsNeverRefusedToAnEmptyPipe) {
  SenderLab lab;
  lab.settings.loss_probe = false;
  lab.Send(1);
  lab.FireTimer();
  lab.control.set_mss(9'000);
  EXPECT_EQ(lab.in_flight(), 0u);
  EXPECT_GE(lab.control.SendBudget(lab.context()), 9'000u);
}

TEST(SendControlTest, IdleRestartComesOnceAfterATimeoutOfSilence) {
  SenderLab lab({.initial_window = 10});
  for (int n = 0; n < 4; ++n) {
    lab.SendAllowed();
    lab.Advance(100);
    lab.Ack(lab.SegmentOf(lab.snd_nxt));
  }
  ASSERT_EQ(lab.cwnd(), 160u);
  lab.Advance(150);  // 250 ms since the last sending: less than the timeout of 300 ms
  lab.control.BeforeSending(lab.context(), true);
  EXPECT_EQ(lab.cwnd(), 160u);
  lab.Advance(60'000);
  lab.control.BeforeSending(lab.context(), false);
  EXPECT_EQ(lab.cwnd(), 160u);
  lab.control.BeforeSending(lab.context(), true);
  EXPECT_EQ(lab.cwnd(), 10u);
}

}  // namespace
}  // namespace usher
