#include "stack/tcp/recovery/send_control.h"

#include <algorithm>

namespace usher {

void SendControl::Configure(const RecoverySettings& settings, CongestionAlgorithm algorithm,
                            uint32_t mss, uint32_t initial_window_bytes, bool sack_permitted) {
  recovery_.Configure(settings, mss, sack_permitted);
  congestion_.Init(algorithm, mss, initial_window_bytes);
  initial_window_ = initial_window_bytes;
  if (congestion_.model_based() && !pacer_.active()) pacer_.set_rate(Pacer::kMostRate);
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

void SendControl::ChangeAlgorithm(const RecoveryContext& context, CongestionAlgorithm algorithm) {
  congestion_.Change(algorithm);
  if (congestion_.model_based()) prr_.End();
  Pace(context);
}

void SendControl::SetMaxPacingRate(const RecoveryContext& context, uint32_t bytes_per_second) {
  pacer_.set_limit(bytes_per_second);
  Pace(context);
}

uint64_t SendControl::pacing_rate(const RecoveryContext& context) const {
  const uint64_t rate = congestion_.pacing_rate(
      recovery_.rtt().srtt(), recovery_.in_flight_bytes(context.pool), initial_window_,
      context.settings.pacing_ss_percent, context.settings.pacing_ca_percent);
  return pacer_.Limited(rate);
}

// Brings the pacer's rate up to date, or ends pacing.
void SendControl::Pace(const RecoveryContext& context) {
  if (!pacer_.limited() && !congestion_.model_based()) {
    pacer_.Stop();
  } else {
    pacer_.set_rate(pacing_rate(context));
  }
}

bool SendControl::ResendTooLong(const RecoveryContext& context) {
  const bool resend = recovery_.ResendTooLong(context);
  if (!recovery_.in_reduction()) prr_.End();
  return resend;
}

bool SendControl::ForgiveMtuProbe(const RecoveryContext& context, Seq probe) {
  if (!recovery_.ForgiveMtuProbe(context, probe)) return false;
  prr_.End();
  congestion_.OnUndo();
  return true;
}

void SendControl::BeforeSending(const RecoveryContext& context, bool slow_start_after_idle) {
  if (!slow_start_after_idle || !recovery_.has_sent() || !recovery_.queue().empty() ||
      congestion_.model_based())
    return;
  const Duration idle = last_sent_.Before(context.now);
  const Duration rto = recovery_.rto(context.settings);
  if (idle > rto) congestion_.OnIdleRestart(idle, rto, initial_window_);
}

bool SendControl::OnSent(const RecoveryContext& context, Seq seq, uint32_t length, uint8_t flags) {
  const uint32_t prior = recovery_.in_flight_bytes(context.pool);
  if (!recovery_.OnSent(context, seq, length, flags)) return false;
  congestion_.OnSent(context.now, prior, last_sent_);
  if (prr_.active()) prr_.OnSent(length);
  if (pacer_.active()) [[unlikely]]
    pacer_.OnSent(context.now, length);
  last_sent_ = MilliStamp::Of(context.now);
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
                                                              uint32_t max_length,
                                                              uint32_t segment) {
  const uint32_t mss = recovery_.mss();
  const uint32_t budget = SendBudget(context);
  if (budget < mss) {
    // Room for a short segment only: let it go if that is what comes next.
    const SegmentIndex next = recovery_.queue().FirstLost(context.pool);
    if (next == kNoSegment || context.pool[next].length > budget) return std::nullopt;
  }
  return recovery_.NextRetransmission(context, std::min(max_length, std::max(budget, mss)),
                                      segment);
}

uint32_t SendControl::OnRetransmitted(const RecoveryContext& context, SegmentIndex index) {
  if (prr_.active()) prr_.OnSent(context.pool[index].length);
  if (pacer_.active()) [[unlikely]]
    pacer_.OnSent(context.now, context.pool[index].length);
  return recovery_.OnRetransmitted(context, index);
}

void SendControl::Apply(const RecoveryContext& context, std::span<const CongestionSignal> signals) {
  for (const CongestionSignal signal : signals) {
    switch (signal) {
      case CongestionSignal::kReduce:
      case CongestionSignal::kReduceForMark:
        if (!congestion_.model_based()) prr_.Start(congestion_.cwnd_bytes());
        congestion_.OnCongestion(signal == CongestionSignal::kReduce
                                     ? CongestionController::Cause::kLoss
                                     : CongestionController::Cause::kMark);
        break;
      case CongestionSignal::kLossAfterMark:
        congestion_.OnLossAfterMark();
        break;
      case CongestionSignal::kEndReduction:
        prr_.End();
        if (!congestion_.model_based() &&
            congestion_.ssthresh_bytes() < CongestionController::kInfiniteSsthresh) {
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
  if (congestion_.dctcp() != nullptr) [[unlikely]]
    congestion_.OnEcho(Max(input.snd_una, input.ack), input.snd_nxt, outcome.delivered_bytes,
                       input.ece);
  Apply(context, outcome.signals.view());
  if (congestion_.model_based()) [[unlikely]] {
    OnModelAck(context, outcome);
  } else if (prr_.active()) {
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
  if (pacer_.active()) [[unlikely]]
    Pace(context);
  return outcome;
}

void SendControl::OnModelAck(const RecoveryContext& context, const AckOutcome& outcome) {
  congestion_.OnModelAck({.now = context.now,
                          .delivered_total = recovery_.delivered_bytes(),
                          .delivered_bytes = outcome.delivered_bytes,
                          .lost_bytes = outcome.lost_bytes,
                          .in_flight_bytes = recovery_.in_flight_bytes(context.pool),
                          .prior_in_flight_bytes = outcome.prior_in_flight_bytes,
                          .rtt = outcome.rtt,
                          .rate = outcome.rate,
                          .in_recovery = recovery_.state() == RecoveryState::kRecovery,
                          .in_loss = recovery_.state() == RecoveryState::kLoss,
                          .mss = recovery_.mss(),
                          .initial_window = initial_window_});
  if (congestion_.bbr()->quiet()) recovery_.OnAppLimited(context);
}

TimerOutcome SendControl::OnTimer(const RecoveryContext& context) {
  const TimerOutcome outcome = recovery_.OnTimer(context);
  Apply(context, outcome.signals.view());
  // A recovery begun by the reordering timer has no acknowledgment to begin PRR with; its first
  // retransmission leaves at once all the same.
  if (prr_.active() && outcome.lost_bytes > 0) Reduce(context, 1, outcome.lost_bytes, false);
  if (pacer_.active()) Pace(context);
  return outcome;
}

}  // namespace usher
