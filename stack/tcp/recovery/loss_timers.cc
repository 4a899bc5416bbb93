// LossRecovery's sending side: records of what leaves, and the one timer with its three kinds.
#include <algorithm>

#include "stack/tcp/recovery/loss_recovery.h"

namespace usher {
namespace {

// No timer is set finer than this beyond what is computed: acknowledgments come late by the
// interrupt moderation and batching of both ends, and a timer that races them only resends for
// nothing. Linux's two ticks of 1 ms.
constexpr Duration kTimerGrace = Duration::Millis(2);

}  // namespace

// ---- Sending ----

void LossRecovery::StampDeliveryState(SentSegment& segment) const {
  segment.delivered = delivered_;
  segment.delivered_at = delivered_at_;
  segment.first_sent_at = first_sent_at_;
}

bool LossRecovery::OnSent(const RecoveryContext& context, Seq seq, uint32_t length, uint8_t flags) {
  const Micros now = Micros::Of(context.now);
  const bool was_empty = queue_.empty();
  if (app_limited_until_ != 0) flags |= SentSegment::kAppLimited;
  if (!queue_.Append(context.pool, seq, length, mss_, flags, now)) return false;
  if (was_empty) {
    has_sent_ = true;
    first_sent_at_ = now;
    delivered_at_ = now;
  }
  StampDeliveryState(context.pool[queue_.tail()]);
  if (was_empty || timer_ == SendTimer::kLossProbe) ArmRetransmit(context);
  return true;
}

void LossRecovery::OnAppLimited(const RecoveryContext& context) {
  const uint32_t until = delivered_ + in_flight_bytes(context.pool);
  app_limited_until_ = until == 0 ? 1 : until;
}

void LossRecovery::OnSendPassEnd(const RecoveryContext& context) {
  ArmProbe(context, /*advancing_rto=*/false);
}

uint32_t LossRecovery::OnRetransmitted(const RecoveryContext& context, SegmentIndex index) {
  SentSegment& segment = context.pool[index];
  queue_.OnRetransmitted(context.pool, index, Micros::Of(context.now));
  StampDeliveryState(segment);
  segments_resent_ += segment.segments;
  if (!has_retrans_stamp_) {
    has_retrans_stamp_ = true;
    retrans_stamp_ms_ = static_cast<uint32_t>(context.now.ms());
  }
  undo_retrans_ = std::max<int32_t>(undo_retrans_, 0) + segment.segments;
  if (index == queue_.head() && timer_ != SendTimer::kReorder) {
    SetTimer(SendTimer::kRetransmit, context.now + rtt_.rto(context.settings));
  }
  return state_ == RecoveryState::kLoss ? RecoveryEvent::kSlowStartRetransmit
                                        : RecoveryEvent::kFastRetransmit;
}

Retransmission LossRecovery::Describe(const SentSegmentPool& pool, SegmentIndex i) {
  const SentSegment& segment = pool[i];
  return Retransmission{.index = i,
                        .seq = segment.seq,
                        .length = segment.length,
                        .syn = segment.Has(SentSegment::kSyn),
                        .fin = segment.Has(SentSegment::kFin),
                        .push = segment.pushed};
}

std::optional<Retransmission> LossRecovery::NextRetransmission(const RecoveryContext& context,
                                                               uint32_t max_length,
                                                               uint32_t segment) {
  SentSegmentPool& pool = context.pool;
  if (frto_wants_new_) {
    // F-RTO waits for what its new data brings. If none left, there is nothing to wait for.
    if (!queue_.empty() && SndNxt(pool) != high_seq_) return std::nullopt;
    frto_wants_new_ = false;
    frto_ = false;
  }
  const SegmentIndex i = queue_.NextLost(pool);
  if (i == kNoSegment) return std::nullopt;
  // A FIN at the end of a full segment does not make it two.
  const uint32_t fin = pool[i].Has(SentSegment::kFin) ? 1 : 0;
  if (pool[i].length - fin <= max_length) return Describe(pool, i);
  const uint32_t cut = max_length >= segment ? max_length / segment * segment : max_length;
  if (cut == 0) return std::nullopt;
  Retransmission part = Describe(pool, i);
  if (queue_.Split(pool, i, cut, mss_)) return Describe(pool, i);
  // No record for the rest: it passes for resent too, and is found lost again.
  part.length = cut;
  part.fin = part.push = false;
  return part;
}

void LossRecovery::OnHandshakeRtt(const RecoveryContext& context, Duration rtt, Seq snd_una,
                                  Seq snd_nxt) {
  rtt_.OnSample(context.settings, Micros::Of(context.now), rtt, snd_una, snd_nxt);
  rtt_.OnMinRttSample(context.settings, Micros::Of(context.now), rtt);
}

bool LossRecovery::ResendTooLong(const RecoveryContext& context) {
  SentSegmentPool& pool = context.pool;
  for (SegmentIndex i = queue_.head(); i != kNoSegment; i = SentQueue::Next(pool, i)) {
    const SentSegment& segment = pool[i];
    if (segment.Has(SentSegment::kSacked)) continue;
    const uint32_t control = segment.Has(SentSegment::kFin | SentSegment::kSyn) ? 1 : 0;
    if (segment.length - control > segment.segments * mss_) queue_.MarkLost(pool, i);
  }
  if (queue_.NextLost(pool) == kNoSegment) return false;
  EnterPlainLoss(pool);
  return true;
}

bool LossRecovery::ResendAll(const RecoveryContext& context) {
  SentSegmentPool& pool = context.pool;
  for (SegmentIndex i = queue_.head(); i != kNoSegment; i = SentQueue::Next(pool, i))
    if (!pool[i].Has(SentSegment::kSacked)) queue_.MarkLost(pool, i);
  if (queue_.NextLost(pool) == kNoSegment) return false;
  EnterPlainLoss(pool);
  return true;
}

bool LossRecovery::ForgiveMtuProbe(const RecoveryContext& context, Seq probe) {
  if (state_ != RecoveryState::kRecovery || queue_.empty()) return false;
  const SentSegment& head = context.pool[queue_.head()];
  if (head.seq != probe || !head.Has(SentSegment::kLost) || queue_.lost_segments() != head.segments)
    return false;
  EnterPlainLoss(context.pool);
  return true;
}

// As Linux's tcp_simple_retransmit: the state of a timeout, with nothing to undo.
void LossRecovery::EnterPlainLoss(const SentSegmentPool& pool) {
  if (state_ == RecoveryState::kLoss) return;
  state_ = RecoveryState::kLoss;
  high_seq_ = SndNxt(pool);
  has_undo_marker_ = false;
  undo_cwnd_allowed_ = false;
  frto_ = false;
  tlp_out_ = false;
}

void LossRecovery::Clear(const RecoveryContext& context) {
  queue_.Clear(context.pool);
  SetTimer(SendTimer::kNone, Instant::Never());
}

// ---- The timer ----

Instant LossRecovery::RetransmitDeadline(const RecoveryContext& context) const {
  const int64_t age_us = std::max(Micros::Of(context.now) - context.pool[queue_.head()].sent_at, 0);
  return context.now + rtt_.rto(context.settings) - Duration::Micros(age_us);
}

// RFC 6298 5.2 and 5.3; when it takes over from a probe or reordering timer, the time already
// waited counts.
void LossRecovery::ArmRetransmit(const RecoveryContext& context) {
  if (queue_.empty()) {
    SetTimer(SendTimer::kNone, Instant::Never());
    return;
  }
  Instant deadline = context.now + rtt_.rto(context.settings);
  if (timer_ == SendTimer::kReorder || timer_ == SendTimer::kLossProbe) {
    deadline = std::max(RetransmitDeadline(context), context.now + Duration::Micros(1));
  }
  SetTimer(SendTimer::kRetransmit, deadline);
}

void LossRecovery::ArmReorder(const RecoveryContext& context, Duration wait) {
  const Duration longest = rtt_.rto(context.settings);
  SetTimer(SendTimer::kReorder, context.now + std::min(wait + kTimerGrace, longest));
}

// RFC 8985 section 7.2. False when no probe is due in this state.
bool LossRecovery::ArmProbe(const RecoveryContext& context, bool advancing_rto) {
  if (!context.settings.loss_probe || !sack_permitted_ || queue_.empty()) return false;
  if (state_ != RecoveryState::kOpen && state_ != RecoveryState::kCwr) return false;
  if (context.pool[queue_.head()].Has(SentSegment::kSyn)) return false;
  Instant deadline = context.now + ProbeTimeout(rtt_, context.settings, queue_.segments_out());
  const Instant rto_deadline =
      advancing_rto ? context.now + rtt_.rto(context.settings) : RetransmitDeadline(context);
  if (rto_deadline > context.now) deadline = std::min(deadline, rto_deadline);
  SetTimer(SendTimer::kLossProbe, deadline);
  return true;
}

void LossRecovery::RetryTimerSoon(const RecoveryContext& context, Duration at_most) {
  if (queue_.empty()) return;
  SetTimer(SendTimer::kRetransmit, context.now + std::min(at_most, rtt_.rto(context.settings)));
}

TimerOutcome LossRecovery::OnTimer(const RecoveryContext& context) {
  TimerOutcome outcome;
  if (timer_ == SendTimer::kNone || context.now < timer_deadline_) return outcome;
  if (queue_.empty()) {
    SetTimer(SendTimer::kNone, Instant::Never());
    return outcome;
  }
  switch (timer_) {
    case SendTimer::kRetransmit:
      OnRetransmitTimeout(context, outcome);
      break;
    case SendTimer::kReorder:
      OnReorderTimeout(context, outcome);
      break;
    case SendTimer::kLossProbe:
      // At most one probe at a time.
      if (tlp_out_) {
        ArmRetransmit(context);
      } else {
        outcome.action = TimerOutcome::Action::kProbe;
      }
      break;
    case SendTimer::kNone:
      break;
  }
  return outcome;
}

std::optional<Retransmission> LossRecovery::ProbeSegment(const RecoveryContext& context) {
  if (queue_.empty()) return std::nullopt;
  SentSegmentPool& pool = context.pool;
  SegmentIndex i = queue_.tail();
  if (pool[i].Has(SentSegment::kSacked)) return std::nullopt;
  const uint32_t segments = pool[i].segments;
  const uint32_t before_last = (segments - 1) * mss_;
  if (segments == 1 || pool[i].length <= before_last) return Describe(pool, i);
  if (queue_.Split(pool, i, before_last, mss_)) return Describe(pool, queue_.tail());
  Retransmission last = Describe(pool, i);
  last.seq += before_last;
  last.length -= before_last;
  last.syn = false;
  return last;
}

uint32_t LossRecovery::OnProbeSent(const RecoveryContext& context, SegmentIndex resent) {
  SentSegmentPool& pool = context.pool;
  tlp_out_ = true;
  tlp_retrans_ = resent != kNoSegment;
  if (tlp_retrans_) {
    segments_resent_ += pool[resent].segments;
    queue_.OnProbed(pool, resent, Micros::Of(context.now));
    StampDeliveryState(pool[resent]);
  }
  tlp_high_seq_ = SndNxt(pool);
  // From now, not from the head's time: the probe deserves a full timeout.
  SetTimer(SendTimer::kRetransmit, context.now + rtt_.rto(context.settings));
  return RecoveryEvent::kLossProbe;
}

void LossRecovery::OnProbeFailed(const RecoveryContext& context) { ArmRetransmit(context); }

// RFC 8985 section 6.3.
void LossRecovery::OnReorderTimeout(const RecoveryContext& context, TimerOutcome& outcome) {
  const Rack::Detection detection = rack_.DetectLoss(context.pool, queue_, Micros::Of(context.now),
                                                     context.settings, RackConditions());
  outcome.lost_bytes = detection.lost_bytes;
  outcome.lost_retransmissions = detection.lost_retransmissions;
  if (detection.lost_bytes > 0) {
    if (state_ != RecoveryState::kRecovery) {
      EnterRecovery(context, SndNxt(context.pool), /*ece=*/false, outcome.events, outcome.signals);
    }
    outcome.action = TimerOutcome::Action::kRetransmit;
  }
  if (detection.wait) {
    ArmReorder(context, *detection.wait);
  } else {
    ArmRetransmit(context);
  }
}

// ---- Retransmission timeout ----

// All that is outstanding is taken for lost, except, with SACK, what left so lately that its
// acknowledgment is not due (RFC 8985 section 6.3): the timer was the head's.
void LossRecovery::MarkOutstandingLost(const RecoveryContext& context, TimerOutcome& outcome) {
  SentSegmentPool& pool = context.pool;
  const SegmentIndex head = queue_.head();
  const bool reneged = pool[head].Has(SentSegment::kSacked);
  if (reneged) {
    outcome.events |= RecoveryEvent::kSackReneging;
    queue_.ForgetSacks(pool);
  }
  reno_sacked_ = 0;
  const Micros now = Micros::Of(context.now);
  for (SegmentIndex i = head; i != kNoSegment; i = SentQueue::Next(pool, i)) {
    const SentSegment& segment = pool[i];
    if (segment.Has(SentSegment::kSacked)) continue;
    if (!reneged && sack_permitted_ && i != head && !rack_.IsOverdue(segment, now)) continue;
    if (segment.LostAgain()) ++outcome.lost_retransmissions;
    if (!segment.Has(SentSegment::kLost) || segment.Has(SentSegment::kRetransmitted)) {
      outcome.lost_bytes += segment.length;
    }
    queue_.MarkLost(pool, i);
  }
}

void LossRecovery::OnRetransmitTimeout(const RecoveryContext& context, TimerOutcome& outcome) {
  outcome.events |= RecoveryEvent::kTimeout;
  if (timeouts_ == 0) {
    if (state_ == RecoveryState::kRecovery) {
      outcome.events |= sack_permitted_ ? RecoveryEvent::kSackRecoveryFailure
                                        : RecoveryEvent::kRenoRecoveryFailure;
    } else if (state_ == RecoveryState::kLoss) {
      outcome.events |= RecoveryEvent::kLossFailure;
    } else if (state_ == RecoveryState::kDisorder || sacked_segments() > 0) {
      outcome.events |= sack_permitted_ ? RecoveryEvent::kSackFailure : RecoveryEvent::kRenoFailure;
    }
  }
  const Seq snd_una = context.pool[queue_.head()].seq;
  const uint32_t sacked_before = sacked_segments();
  const bool new_recovery = state_ < RecoveryState::kRecovery;
  const bool first_in_window = state_ <= RecoveryState::kDisorder || high_seq_ <= snd_una ||
                               (state_ == RecoveryState::kLoss && timeouts_ == 0);
  MarkOutstandingLost(context, outcome);
  if (first_in_window) {
    undo_cwnd_allowed_ = true;
    BeginUndo(context.pool);
    outcome.signals.Add(CongestionSignal::kTimeout);
  } else {
    outcome.signals.Add(CongestionSignal::kRepeatTimeout);
  }
  // A timeout although many were SACKed: the degree of reordering was thought too high.
  if (state_ <= RecoveryState::kDisorder && sacked_before >= context.settings.reordering) {
    reordering_ =
        static_cast<uint16_t>(std::min<uint32_t>(reordering_, context.settings.reordering));
  }
  state_ = RecoveryState::kLoss;
  high_seq_ = SndNxt(context.pool);
  tlp_out_ = false;
  // RFC 5682 step 1: only a first recovery, or a timeout of the same data again.
  frto_ = context.settings.frto && (new_recovery || timeouts_ > 0);
  frto_wants_new_ = false;
  if (timeouts_ < UINT8_MAX) ++timeouts_;
  if (!context.linear_timeout) rtt_.BackOff();
  SetTimer(SendTimer::kRetransmit, context.now + rtt_.rto(context.settings));
  outcome.action = TimerOutcome::Action::kRetransmit;
}

}  // namespace usher
