// BBR against a pipe of one bottleneck, in virtual time: the model finds its width and length.
#include "stack/tcp/congestion/bbr.h"

#include <gtest/gtest.h>

#include <deque>

namespace usher {
namespace {

constexpr uint32_t kMss = 1000;
constexpr uint32_t kInitialWindow = 10 * kMss;

// A sender that is paced and bound as Bbr says, over a link of `rate` with an endless queue.
class Pipe {
 public:
  Pipe(uint64_t bytes_per_second, Duration round_trip)
      : rate_(bytes_per_second), round_trip_(round_trip) {}

  void RunFor(Duration d) {
    const Instant end = now_ + d;
    while (now_ < end) Step(end);
  }
  void set_rate(uint64_t bytes_per_second) { rate_ = bytes_per_second; }
  void set_round_trip(Duration d) { round_trip_ = d; }
  // The application offers so much a second; 0: as much as can be sent.
  void set_offer(uint64_t bytes_per_second) { offer_ = bytes_per_second; }
  void LoseNext() { lose_ = true; }

  // Delivered in all, and what waits before the bottleneck now.
  uint64_t delivered() const { return delivered_; }
  uint64_t queue_bytes() const {
    const int64_t wait_us = std::max<int64_t>((link_free_ - now_).us(), 0);
    return rate_ * static_cast<uint64_t>(wait_us) / 1'000'000;
  }
  uint32_t in_flight() const { return static_cast<uint32_t>(flying_.size()) * kMss; }

  Bbr bbr;
  uint32_t cwnd = kInitialWindow;
  std::vector<Bbr::Mode> modes;

 private:
  struct Packet {
    Instant arrives;
    Instant sent;
    uint64_t delivered;  // when it was sent
    Instant delivered_at;
    Instant first_sent;
    bool app_limited;
    bool lost;
  };

  void Step(Instant end) {
    const bool offered =
        offer_ == 0 || sent_ * 1'000'000 < offer_ * static_cast<uint64_t>(now_.us() - start_us_);
    const bool room = in_flight() + kMss <= cwnd || flying_.empty();
    if (room && offered && next_send_ <= now_) {
      Send();
      return;
    }
    Instant next = end;
    if (!flying_.empty()) next = std::min(next, flying_.front().arrives);
    if (room && offered) next = std::min(next, next_send_);
    if (room && !offered) next = std::min(next, now_ + Duration::Micros(500));
    now_ = std::max(next, now_);
    while (!flying_.empty() && flying_.front().arrives <= now_) Acknowledge();
  }

  void Send() {
    if (flying_.empty()) {
      bbr.OnRestart();
      first_sent_ = delivered_at_ = now_;
    }
    const Instant leaves =
        std::max(link_free_, now_) +
        Duration::Nanos(static_cast<int64_t>(uint64_t{kMss} * 1'000'000'000 / rate_));
    link_free_ = leaves;
    flying_.push_back(
        {leaves + round_trip_, now_, delivered_, delivered_at_, first_sent_, offer_ != 0, lose_});
    lose_ = false;
    sent_ += kMss;
    const uint64_t pace = bbr.PacingRate(kInitialWindow, srtt_);
    next_send_ = std::max(next_send_, now_) +
                 Duration::Nanos(static_cast<int64_t>(uint64_t{kMss} * 1'000'000'000 / pace));
  }

  void Acknowledge() {
    const Packet p = flying_.front();
    const uint32_t prior = in_flight();
    flying_.pop_front();
    Bbr::Ack ack;
    ack.now = now_;
    ack.prior_in_flight_bytes = prior;
    ack.in_flight_bytes = in_flight();
    ack.mss = kMss;
    ack.initial_window = kInitialWindow;
    if (p.lost) {
      ack.lost_bytes = kMss;
      ack.in_recovery = true;
    } else {
      delivered_ += kMss;
      delivered_at_ = now_;
      first_sent_ = p.sent;
      srtt_ = now_ - p.sent;
      ack.delivered_bytes = kMss;
      ack.rtt = srtt_;
      ack.rate.valid = true;
      ack.rate.app_limited = p.app_limited;
      ack.rate.delivered_bytes = static_cast<uint32_t>(delivered_ - p.delivered);
      ack.rate.prior_delivered = static_cast<uint32_t>(p.delivered);
      ack.rate.interval = std::max(p.sent - p.first_sent, now_ - p.delivered_at);
      if (ack.rate.interval <= Duration()) ack.rate.valid = false;
    }
    ack.delivered_total = static_cast<uint32_t>(delivered_);
    cwnd = bbr.OnAck(ack, cwnd);
    if (modes.empty() || modes.back() != bbr.mode()) modes.push_back(bbr.mode());
  }

  uint64_t rate_;
  Duration round_trip_;
  uint64_t offer_ = 0;
  bool lose_ = false;
  Instant now_ = Instant::FromNanos(1'000'000'000);
  int64_t start_us_ = 1'000'000;
  Instant link_free_;
  Instant next_send_;
  Duration srtt_;
  std::deque<Packet> flying_;
  uint64_t sent_ = 0;
  uint64_t delivered_ = 0;
  Instant delivered_at_;
  Instant first_sent_;
};

using Mode = Bbr::Mode;

TEST(BbrTest, GoesFromStartupOverDrainToProbing) {
  Pipe pipe(12'500'000, Duration::Millis(40));
  pipe.RunFor(Duration::Seconds(3));
  ASSERT_GE(pipe.modes.size(), 3u);
  EXPECT_EQ(pipe.modes[0], Mode::kStartup);
  EXPECT_EQ(pipe.modes[1], Mode::kDrain);
  EXPECT_EQ(pipe.modes[2], Mode::kProbeBandwidth);
}

TEST(BbrTest, FindsWidthAndLengthOfThePipe) {
  for (const uint64_t rate : {125'000ull, 1'250'000ull, 125'000'000ull}) {
    for (const int64_t rtt_ms : {2, 40, 200}) {
      if (rate * static_cast<uint64_t>(rtt_ms) < 4 * kMss * 1000) continue;  // less than four fly
      Pipe pipe(rate, Duration::Millis(rtt_ms));
      pipe.RunFor(Duration::Millis(std::max<int64_t>(4'000, 40 * rtt_ms)));
      SCOPED_TRACE(testing::Message() << rate << " bytes/s, " << rtt_ms << " ms");
      EXPECT_NEAR(static_cast<double>(pipe.bbr.bandwidth()), static_cast<double>(rate),
                  static_cast<double>(rate) * 0.05);
      const double rtt_us =
          static_cast<double>(rtt_ms) * 1000 + 1e6 * kMss / static_cast<double>(rate);
      EXPECT_NEAR(static_cast<double>(pipe.bbr.min_rtt_us()), rtt_us, rtt_us * 0.15);
    }
  }
}

TEST(BbrTest, FillsThePipeAndKeepsTheQueueShort) {
  constexpr uint64_t kRate = 12'500'000;
  Pipe pipe(kRate, Duration::Millis(40));
  pipe.RunFor(Duration::Seconds(3));
  const uint64_t before = pipe.delivered();
  uint64_t most = 0;
  uint64_t sum = 0;
  for (int i = 0; i < 600; ++i) {
    pipe.RunFor(Duration::Millis(10));
    most = std::max(most, pipe.queue_bytes());
    sum += pipe.queue_bytes();
  }
  EXPECT_GT(pipe.delivered() - before, kRate * 6 * 95 / 100);
  constexpr uint64_t kBdp = kRate * 40 / 1000;
  EXPECT_LT(most, kBdp / 2);
  EXPECT_LT(sum / 600, kBdp / 8);
}

TEST(BbrTest, FollowsAPipeThatWidens) {
  Pipe pipe(1'250'000, Duration::Millis(20));
  pipe.RunFor(Duration::Seconds(3));
  pipe.set_rate(5'000'000);
  pipe.RunFor(Duration::Seconds(3));
  EXPECT_NEAR(static_cast<double>(pipe.bbr.bandwidth()), 5e6, 5e6 * 0.1);
}

TEST(BbrTest, FollowsAPipeThatNarrows) {
  Pipe pipe(5'000'000, Duration::Millis(20));
  pipe.RunFor(Duration::Seconds(3));
  pipe.set_rate(1'250'000);
  pipe.RunFor(Duration::Seconds(6));
  EXPECT_NEAR(static_cast<double>(pipe.bbr.bandwidth()), 1.25e6, 1.25e6 * 0.1);
  EXPECT_LT(pipe.queue_bytes(), 50'000u);
}

TEST(BbrTest, MeasuresTheLengthAnewEveryTenSeconds) {
  Pipe pipe(1'250'000, Duration::Millis(20));
  pipe.RunFor(Duration::Seconds(3));
  pipe.set_round_trip(Duration::Millis(60));  // the old minimum is out of reach now
  pipe.modes.clear();
  uint32_t least = UINT32_MAX;
  for (int i = 0; i < 150; ++i) {
    pipe.RunFor(Duration::Millis(100));
    least = std::min(least, pipe.cwnd);
  }
  EXPECT_NE(std::find(pipe.modes.begin(), pipe.modes.end(), Mode::kProbeRtt), pipe.modes.end());
  EXPECT_EQ(least, 4 * kMss) << "while it measures";
  EXPECT_GE(pipe.bbr.min_rtt_us(), 60'000u);
  EXPECT_EQ(pipe.bbr.mode(), Mode::kProbeBandwidth);
  EXPECT_GT(pipe.cwnd, 1'250'000 * 60 / 1000) << "what it had is given back";
}

TEST(BbrTest, AnApplicationThatSendsLittleMakesThePipeNoNarrower) {
  Pipe pipe(12'500'000, Duration::Millis(20));
  pipe.RunFor(Duration::Seconds(2));
  const uint64_t before = pipe.bbr.bandwidth();
  pipe.set_offer(1);  // behind what it was allowed already: nothing for long
  pipe.RunFor(Duration::Seconds(1));
  EXPECT_GE(pipe.bbr.bandwidth(), before * 9 / 10);
}

TEST(BbrTest, RandomLossHardlySlowsIt) {
  constexpr uint64_t kRate = 1'250'000;
  Pipe pipe(kRate, Duration::Millis(20));
  pipe.RunFor(Duration::Seconds(2));
  const uint64_t before = pipe.delivered();
  for (int i = 0; i < 100; ++i) {
    pipe.LoseNext();
    pipe.RunFor(Duration::Millis(40));
  }
  EXPECT_GT(pipe.delivered() - before, kRate * 4 * 85 / 100);
}

// Within a recovery what is newly lost leaves the window, and what is delivered may be sent.
TEST(BbrTest, LossInARecoveryTakesFromTheWindow) {
  Bbr bbr;
  Bbr::Ack ack{.delivered_total = kMss,
               .delivered_bytes = kMss,
               .in_flight_bytes = 19 * kMss,
               .in_recovery = true,
               .mss = kMss,
               .initial_window = kInitialWindow};
  EXPECT_EQ(bbr.OnAck(ack, 40 * kMss), 20 * kMss) << "packet conservation";
  ack.delivered_total += kMss;
  ack.in_flight_bytes = 10 * kMss;
  EXPECT_EQ(bbr.OnAck(ack, 20 * kMss), 20 * kMss);
  ack.delivered_total += kMss;
  ack.lost_bytes = 3 * kMss;
  ack.in_flight_bytes = 7 * kMss;
  EXPECT_EQ(bbr.OnAck(ack, 20 * kMss), 17 * kMss);
}

TEST(BbrTest, ATimeoutAndItsUndo) {
  Pipe pipe(1'250'000, Duration::Millis(20));
  pipe.RunFor(Duration::Seconds(2));
  const uint32_t before = pipe.cwnd;
  pipe.bbr.OnTimeout(pipe.cwnd);
  pipe.cwnd = pipe.in_flight() + kMss;
  pipe.bbr.OnUndo();
  pipe.RunFor(Duration::Seconds(1));
  EXPECT_NEAR(pipe.cwnd, before, before * 0.3);
}

TEST(BbrTest, BeforeARoundTripIsKnownTheFirstWindowGoesInAMillisecond) {
  const Bbr bbr;
  EXPECT_EQ(bbr.PacingRate(10'000, Duration()), 10'000'000ull * Bbr::kHighGain / Bbr::kUnit);
  EXPECT_EQ(bbr.PacingRate(10'000, Duration::Millis(100)),
            100'000ull * Bbr::kHighGain / Bbr::kUnit);
}

// After a pause the rate is the pipe's, whichever phase the pause came in.
TEST(BbrTest, ARestartIsPacedByThePipesWidth) {
  Pipe pipe(1'250'000, Duration::Millis(20));
  pipe.RunFor(Duration::Seconds(3));
  ASSERT_EQ(pipe.bbr.mode(), Mode::kProbeBandwidth);
  const auto width = static_cast<double>(pipe.bbr.bandwidth());
  double most = 0;
  for (int i = 0; i < 40; ++i) {
    pipe.RunFor(Duration::Millis(10));
    most = std::max(most,
                    static_cast<double>(pipe.bbr.PacingRate(kInitialWindow, Duration::Millis(20))));
    Bbr restarted = pipe.bbr;
    restarted.OnRestart();
    EXPECT_NEAR(static_cast<double>(restarted.PacingRate(kInitialWindow, Duration::Millis(20))),
                width * 0.99, width * 0.05);
  }
  EXPECT_GT(most, width * 1.15) << "while it probes for more";
}

}  // namespace
}  // namespace usher
