// A sender in virtual time for the tests of loss recovery: segments are called by number, what
// leaves is written down, and every entry point is followed by a recount of the scoreboard.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "stack/tcp/recovery/send_control.h"

namespace usher {

// Counts the marks of `queue` by reading every record, and compares with what the queue keeps.
inline void ExpectExactCounts(const SentSegmentPool& pool, const SentQueue& queue) {
  uint32_t segments = 0, sacked = 0, lost = 0, resent = 0;
  uint32_t sacked_bytes = 0, lost_bytes = 0, resent_bytes = 0, bytes = 0, in_time_order = 0;
  std::optional<Seq> expected;
  for (SegmentIndex i = queue.head(); i != kNoSegment; i = SentQueue::Next(pool, i)) {
    const SentSegment& s = pool[i];
    if (expected) {
      ASSERT_EQ(s.seq, *expected) << "records must be contiguous";
    }
    expected = s.end();
    ASSERT_GT(s.length, 0u);
    ASSERT_GT(s.segments, 0u);
    ASSERT_FALSE(s.Has(SentSegment::kSacked) && s.Has(SentSegment::kLost));
    ASSERT_FALSE(s.Has(SentSegment::kSacked) && s.Has(SentSegment::kRetransmitted));
    const bool waiting = s.Has(SentSegment::kLost) && !s.Has(SentSegment::kRetransmitted);
    // (What an undo took the mark off is in flight and not in that order.)
    if (s.Has(SentSegment::kInTimeOrder)) {
      ASSERT_TRUE(!s.Has(SentSegment::kSacked) && !waiting);
    }
    bytes += s.length;
    segments += s.segments;
    if (s.Has(SentSegment::kSacked)) sacked += s.segments, sacked_bytes += s.length;
    if (s.Has(SentSegment::kLost)) lost += s.segments, lost_bytes += s.length;
    if (s.Has(SentSegment::kRetransmitted)) resent += s.segments, resent_bytes += s.length;
    if (s.Has(SentSegment::kInTimeOrder)) ++in_time_order;
    if (SentQueue::Next(pool, i) == kNoSegment) {
      ASSERT_EQ(queue.tail(), i);
    }
  }
  EXPECT_EQ(queue.segments_out(), segments);
  EXPECT_EQ(queue.sacked_segments(), sacked);
  EXPECT_EQ(queue.lost_segments(), lost);
  EXPECT_EQ(queue.retransmitted_segments(), resent);
  EXPECT_EQ(queue.sacked_bytes(), sacked_bytes);
  EXPECT_EQ(queue.lost_bytes(), lost_bytes);
  EXPECT_EQ(queue.retransmitted_bytes(), resent_bytes);
  EXPECT_EQ(queue.bytes_out(pool), bytes);
  EXPECT_EQ(queue.in_flight_bytes(pool), bytes - sacked_bytes - lost_bytes + resent_bytes);
  uint32_t walked = 0;
  std::optional<Micros> before;
  for (SegmentIndex i = queue.oldest_sent(); i != kNoSegment; i = SentQueue::NextSent(pool, i)) {
    ++walked;
    ASSERT_TRUE(pool[i].Has(SentSegment::kInTimeOrder));
    if (before) {
      ASSERT_FALSE(pool[i].sent_at < *before) << "time order";
    }
    before = pool[i].sent_at;
  }
  EXPECT_EQ(walked, in_time_order);
}

class SenderLab {
 public:
  static constexpr uint32_t kMss = 1000;

  struct Options {
    bool sack = true;
    bool timestamps = true;
    CongestionAlgorithm algorithm = CongestionAlgorithm::kReno;
    uint32_t initial_window = 10;
    Duration handshake_rtt = Duration::Millis(100);
  };
  struct Sent {
    int segment;
    uint32_t length;
    bool again;
  };
  struct AckOptions {
    bool ece = false;
    bool has_data = false;
    std::optional<uint32_t> echo_ms;  // default: now less 100 ms, when timestamps are on
    bool can_send_new = false;
  };

  SenderLab() : SenderLab(Options{}) {}
  explicit SenderLab(const Options& options) : options_(options) {
    control.Configure(settings, options.algorithm, kMss, options.initial_window * kMss,
                      options.sack);
    control.OnHandshakeRtt(context(), options.handshake_rtt, snd_una, snd_nxt);
  }
  ~SenderLab() {
    control.Clear(context());
    EXPECT_EQ(pool.in_use(), 0u);
  }

  RecoveryContext context() { return {.now = now, .pool = pool, .settings = settings}; }
  static Seq At(int segment) { return Seq(kFirst) + static_cast<uint32_t>(segment) * kMss; }
  int SegmentOf(Seq seq) const { return (seq - Seq(kFirst)) / static_cast<int>(kMss); }
  void Advance(int64_t ms) { now = now + Duration::Millis(ms); }

  // Sends new segments whatever the window says.
  void Send(int segments) {
    control.BeforeSending(context(), true);
    for (int n = 0; n < segments; ++n) SendOne();
    control.AfterSending(context(), SendLimit::kCongestion, true);
    Check();
  }
  void SendOne() {
    ASSERT_TRUE(control.OnSent(context(), snd_nxt, kMss, 0));
    sent.push_back({SegmentOf(snd_nxt), kMss, false});
    snd_nxt += kMss;
  }
  // Sends what the budget lets out: lost data first, then at most `most` new segments.
  void SendAllowed(int most_new = 1'000'000) {
    for (;;) {
      const auto again = control.NextRetransmission(context(), kMss);
      if (!again) break;
      Resend(*again);
    }
    bool sent_new = false;
    while (most_new-- > 0 && control.SendBudget(context()) >= kMss) {
      SendOne();
      sent_new = true;
    }
    control.AfterSending(context(), SendLimit::kCongestion, sent_new);
    Check();
  }
  void Resend(const Retransmission& again) {
    sent.push_back({SegmentOf(again.seq), again.length, true});
    events |= control.OnRetransmitted(context(), again.index);
  }

  // An acknowledgment of everything before segment `ack`, with SACK blocks [first, last).
  AckOutcome Ack(int ack, std::initializer_list<std::pair<int, int>> blocks = {}) {
    return Ack(ack, blocks, AckOptions{});
  }
  AckOutcome Ack(int ack, std::initializer_list<std::pair<int, int>> blocks,
                 const AckOptions& ack_options) {
    std::vector<SeqRange> ranges;
    for (const auto& [begin, end] : blocks) ranges.push_back({At(begin), At(end)});
    return AckRanges(At(ack), ranges, ack_options);
  }
  AckOutcome AckRanges(Seq ack, const std::vector<SeqRange>& ranges,
                       const AckOptions& ack_options) {
    AckInput in;
    in.ack = ack;
    in.snd_una = snd_una;
    in.snd_nxt = snd_nxt;
    in.sack = ranges;
    in.has_data = ack_options.has_data;
    in.ece = ack_options.ece;
    in.max_window = 1'000'000;
    in.can_send_new = ack_options.can_send_new;
    if (options_.timestamps) {
      in.ts_echo_ms =
          ack_options.echo_ms.value_or(static_cast<uint32_t>(now.ms()) - default_echo_age_ms);
    }
    const AckOutcome out = control.OnAck(context(), in);
    snd_una = Max(snd_una, ack);
    events |= out.events;
    Check();
    return out;
  }

  // Runs the clock to the timer, fires it and does what it says.
  TimerOutcome FireTimer() {
    now = control.timer_deadline();
    const TimerOutcome out = control.OnTimer(context());
    events |= out.events;
    Check();
    return out;
  }
  void SendProbe() {
    const auto probe = control.ProbeSegment(context());
    ASSERT_TRUE(probe.has_value());
    sent.push_back({SegmentOf(probe->seq), probe->length, true});
    events |= control.OnProbeSent(context(), probe->index);
    Check();
  }

  std::vector<int> TakeSent() {
    std::vector<int> numbers;
    for (const Sent& s : sent) numbers.push_back(s.segment);
    sent.clear();
    return numbers;
  }
  uint32_t TakeEvents() { return std::exchange(events, 0); }
  uint32_t cwnd() const { return control.congestion().cwnd_bytes() / kMss; }
  uint32_t in_flight() const { return control.recovery().in_flight_bytes(pool) / kMss; }
  RecoveryState state() const { return control.recovery().state(); }
  void Check() { ExpectExactCounts(pool, control.recovery().queue()); }

  static constexpr uint32_t kFirst = 0xffffff00;  // so that every test wraps
  SentSegmentPool pool{4096};
  RecoverySettings settings;
  SendControl control;
  Instant now = Instant::FromNanos(1'000'000'000'000);
  Seq snd_una{kFirst};
  Seq snd_nxt{kFirst};
  uint32_t events = 0;
  uint32_t default_echo_age_ms = 100;
  std::vector<Sent> sent;

 private:
  Options options_;
};

}  // namespace usher
