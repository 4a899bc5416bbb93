#include "stack/tcp/recovery/send_control.h"

#include <algorithm>

namespace usher {

void SendControl::Configure(const RecoverySettings& settings, CongestionAlgorithm algorithm,
                            uint32_t mss, uint32_t initial_window_bytes, bool sack_permitted) {
  recovery_.Configure(settings, mss, sack_permitted);
  congestion_.Init(algorithm, mss, initial_window_bytes);
  initial_window_ = initial_window_bytes;
}

void SendControl::Reconfigure(const RecoverySettings& settings, uint32_t mss,
                              uint32_t initial_window_bytes, bool sack_permitted) {
  Configure(settings, congestion_.algorithm(), mss, initial_window_bytes, sack_permitted);
  prr_.End();
}

void SendControl::set_mss(uint32_t mss) {
  recovery_.set_mss(mss);
  congestion_.set_mss(mss);
}

bool SendControl::ResendTooLong(const RecoveryContext& context) {
  const bool resend = recovery_.ResendTooLong(context);
  if (!recovery_.in_reduction()) prr_.End();
  return resend;
}

void SendControl::BeforeSending(const RecoveryContext& context, bool slow_start_after_idle) {
  const auto now_ms = static_cast<uint32_t>(context.now.ms());
  if (!slow_start_after_idle || !has_sent_ || !recovery_.queue().empty()) return;
  const Duration idle = Duration::Millis(static_cast<int64_t>(now_ms - last_sent_ms_));
  const Duration rto = recovery_.rto(context.settings);
  if (idle <= rto) return;
  congestion_.OnIdleRestart(idle, rto, initial_window_);
  last_sent_ms_ = now_ms;
}

bool SendControl::OnSent(const RecoveryContext& context, Seq seq, uint32_t length, uint8_t flags) {
  const uint32_t prior = recovery_.in_flight_bytes(context.pool);
  if (!recovery_.OnSent(context, seq, length, flags)) return false;
  congestion_.OnSent(context.now, prior);
  if (prr_.active()) prr_.OnSent(length);
  has_sent_ = true;
  last_sent_ms_ = static_cast<uint32_t>(context.now.ms());
  return true;
}

void SendControl::AfterSending(const RecoveryContext& context, SendLimit limit, bool sent_new) {
  if (sent_new) recovery_.OnSendPassEnd(context);
  const uint32_t in_flight = recovery_.in_flight_bytes(context.pool);
  const bool full = limit == SendLimit::kCongestion || in_flight >= congestion_.cwnd_bytes();
  if (limit == SendLimit::kApplication && !full) recovery_.OnAppLimited(context);
  const SentQueue& queue = recovery_.queue();
  if (queue.empty()) return;
  congestion_.OnSendPass(context.pool[queue.head()].seq, context.pool[queue.tail()].end(),
                         in_flight, full);
}

uint32_t SendControl::SendBudget(const RecoveryContext& context) const {
  const uint32_t in_flight = recovery_.in_flight_bytes(context.pool);
  const uint32_t cwnd = congestion_.cwnd_bytes();
  // With nothing in flight nothing would ever make room: one segment always may leave.
  if (in_flight == 0) return std::max(cwnd, recovery_.mss());
  return cwnd > in_flight ? cwnd - in_flight : 0;
}

std::optional<Retransmission> SendControl::NextRetransmission(const RecoveryContext& context,
                                                              uint32_t max_length) {
  const uint32_t mss = recovery_.mss();
  const uint32_t budget = SendBudget(context);
  if (budget < mss) {
    // Room for a short segment only: let it go if that is what comes next.
    const SegmentIndex next = recovery_.queue().FirstLost(context.pool);
    if (next == kNoSegment || context.pool[next].length > budget) return std::nullopt;
  }
  return recovery_.NextRetransmission(context, std::min(max_length, std::max(budget, mss)));
}

uint32_t SendControl::OnRetransmitted(const RecoveryContext& context, SegmentIndex index) {
  if (prr_.active()) prr_.OnSent(context.pool[index].length);
  return recovery_.OnRetransmitted(context, index);
}

void SendControl::Apply(const RecoveryContext& context, std::span<const CongestionSignal> signals) {
  for (const CongestionSignal signal : signals) {
    switch (signal) {
      case CongestionSignal::kReduce:
        prr_.Start(congestion_.cwnd_bytes());
        congestion_.OnCongestion();
        break;
      case CongestionSignal::kEndReduction:
        prr_.End();
        if (congestion_.ssthresh_bytes() < CongestionController::kInfiniteSsthresh) {
          congestion_.set_cwnd_bytes(congestion_.ssthresh_bytes());
        }
        break;
      case CongestionSignal::kUndo:
        congestion_.OnUndo();
        break;
      case CongestionSignal::kTimeout:
      case CongestionSignal::kRepeatTimeout:
        prr_.End();
        congestion_.OnTimeout(recovery_.in_flight_bytes(context.pool),
                              signal == CongestionSignal::kTimeout);
        break;
    }
  }
  if (!recovery_.in_reduction()) prr_.End();
}

void SendControl::Reduce(const RecoveryContext& context, uint32_t delivered_bytes,
                         uint32_t lost_bytes, bool snd_una_advanced) {
  uint32_t cwnd = 0;
  const Prr::Ack ack{.delivered_bytes = delivered_bytes,
                     .lost_bytes = lost_bytes,
                     .in_flight_bytes = recovery_.in_flight_bytes(context.pool),
                     .ssthresh_bytes = congestion_.ssthresh_bytes(),
                     .mss = recovery_.mss(),
                     .snd_una_advanced = snd_una_advanced};
  if (prr_.OnAck(ack, &cwnd)) congestion_.set_cwnd_bytes(cwnd);
}

AckOutcome SendControl::OnAck(const RecoveryContext& context, const AckInput& input) {
  const AckOutcome outcome = recovery_.OnAck(context, input);
  Apply(context, outcome.signals.view());
  if (prr_.active()) {
    Reduce(context, outcome.delivered_bytes, outcome.lost_bytes, outcome.snd_una_advanced);
  } else if (outcome.may_raise_cwnd && outcome.delivered_bytes > 0) {
    congestion_.OnAck({.now = context.now,
                       .snd_una = Max(input.snd_una, input.ack),
                       .snd_nxt = input.snd_nxt,
                       .delivered_bytes = outcome.delivered_bytes,
                       .rtt = outcome.rtt,
                       .min_rtt = recovery_.rtt().min_rtt(),
                       .rate = outcome.rate});
  }
  return outcome;
}

TimerOutcome SendControl::OnTimer(const RecoveryContext& context) {
  const TimerOutcome outcome = recovery_.OnTimer(context);
  Apply(context, outcome.signals.view());
  // A recovery begun by the reordering timer has no acknowledgment to begin PRR with; its first
  // retransmission leaves at once all the same.
  if (prr_.active() && outcome.lost_bytes > 0) Reduce(context, 1, outcome.lost_bytes, false);
  return outcome;
}

bool SendControl::OnCongestionMark(const RecoveryContext& context) {
  CongestionSignals signals;
  const bool entered = recovery_.EnterCwr(context, signals);
  Apply(context, signals.view());
  return entered;
}

}  // namespace usher
