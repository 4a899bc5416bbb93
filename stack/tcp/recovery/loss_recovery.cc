#include "stack/tcp/recovery/loss_recovery.h"

#include <algorithm>

#include "stack/base/short_cuts.h"
#include "stack/tcp/recovery/recovery_pass.h"

namespace usher {

void LossRecovery::Configure(const RecoverySettings& settings, uint32_t mss, bool sack_permitted) {
  mss_ = std::max<uint32_t>(mss, 1);
  sack_permitted_ = sack_permitted;
  reordering_ = static_cast<uint16_t>(std::clamp<uint32_t>(settings.reordering, 1, UINT16_MAX));
}

uint32_t LossRecovery::in_flight_bytes(const SentSegmentPool& pool) const {
  const uint32_t pipe = queue_.in_flight_bytes(pool);
  if (sack_permitted_) return pipe;
  return pipe - std::min(pipe, uint32_t{reno_sacked_} * mss_);
}

uint32_t LossRecovery::sacked_segments() const {
  return sack_permitted_ ? queue_.sacked_segments() : reno_sacked_;
}

AckOutcome LossRecovery::OnAck(const RecoveryContext& context, const AckInput& in) {
  AckOutcome out;
  if (kShortCuts && TakeWhole(context, in, out)) [[likely]]
    return out;
  Pass pass(context, in, out);
  pass.snd_una = Max(in.snd_una, in.ack);
  pass.una_advanced = in.ack > in.snd_una;
  pass.prior_fack = queue_.sacked_segments() > 0 ? queue_.highest_sacked() : in.snd_una;
  pass.delivery.now = context.now;
  pass.delivery.high_seq = high_seq_;
  pass.delivery.min_rtt_us =
      rtt_.min_rtt().ns() == 0 ? UINT32_MAX : static_cast<uint32_t>(rtt_.min_rtt().us());
  pass.delivery.had_sacked = queue_.sacked_segments() > 0;
  pass.delivery.prior_highest_sacked = queue_.highest_sacked();
  pass.delivery.has_echo = in.ts_echo_ms.has_value();
  pass.delivery.echo_ms = in.ts_echo_ms.value_or(0);
  out.prior_in_flight_bytes = in_flight_bytes(context.pool);
  const bool had_queue = !queue_.empty();
  if (pass.una_advanced) timeouts_ = 0;
  frto_wants_new_ = false;

  TakeSacks(pass);
  if (had_queue) {
    TakeCumulativeAck(pass);
    TakeRtt(pass);
  }
  if (tlp_out_) TakeProbeAck(pass);
  const bool acked = pass.delivery.data_acked || pass.delivery.syn_acked;
  pass.not_duplicate = in.has_data || in.window_updated || acked;
  pass.duplicate = had_queue && in.ack == in.snd_una && !pass.not_duplicate && !pass.dsacking;
  const bool dubious = !pass.not_duplicate || pass.data_sacked || in.ece || pass.dsacking ||
                       state_ != RecoveryState::kOpen;
  if (had_queue ? dubious : pass.dsacking) Decide(pass);
  if (queue_.empty())
    SetTimer(SendTimer::kNone, Instant::Never());
  else if (pass.set_timer && !ArmProbe(context, /*advancing_rto=*/true))
    ArmRetransmit(context);

  out.snd_una_advanced = pass.una_advanced;
  out.acked_bytes = pass.delivery.acked_bytes;
  out.sacked_bytes = pass.delivery.sacked_bytes;
  out.delivered_bytes = pass.delivery.delivered_bytes;
  out.delivered_segments = pass.delivery.delivered_segments;
  TakeRate(Micros::Of(context.now), pass.delivery.has_rate ? &pass.delivery.rate : nullptr, out);
  out.in_reduction = in_reduction();
  out.may_raise_cwnd =
      pass.delivery.data_acked || (reordering_ > context.settings.reordering && pass.data_sacked);
  out.retransmit = pass.retransmit && queue_.NextLost(context.pool) != kNoSegment;
  return out;
}

// The answer to a single transmission, which is all that is out, was sent once and arrived: a
// dialogue's every acknowledgment. True: it was that, and is taken, with the outcome that the long
// way would find.
bool LossRecovery::TakeWhole(const RecoveryContext& context, const AckInput& in, AckOutcome& out) {
  constexpr uint8_t kHarmless =
      SentSegment::kFin | SentSegment::kAppLimited | SentSegment::kInTimeOrder;
  if (state_ != RecoveryState::kOpen || queue_.empty() || queue_.head() != queue_.tail() ||
      !in.sack.empty() || !sack_permitted_ || in.ece || tlp_out_)
    return false;
  const SentSegment& segment = context.pool[queue_.head()];
  const Micros now = Micros::Of(context.now);
  if (in.ack != segment.end() || segment.Has(static_cast<uint8_t>(~kHarmless)) ||
      now < segment.sent_at)
    return false;

  timeouts_ = 0;
  frto_wants_new_ = false;
  SetTimer(SendTimer::kNone, Instant::Never());
  rack_.Advance(segment.sent_at, segment.end(), now);
  out.rtt = Duration::Micros(now - segment.sent_at);
  rtt_.OnSample(context.settings, now, *out.rtt, in.ack, in.snd_nxt);
  out.snd_una_advanced = out.may_raise_cwnd = true;
  out.acked_bytes = out.delivered_bytes = out.prior_in_flight_bytes = segment.length;
  out.delivered_segments = segment.segments;
  const DeliveredSegment delivered(segment, segment.end());
  TakeRate(now, &delivered, out);
  queue_.RemoveOnly(context.pool);
  return true;
}

// ---- What the acknowledgment says ----

void LossRecovery::TakeCumulativeAck(Pass& pass) {
  Delivery& delivery = pass.delivery;
  queue_.Acknowledge(pass.context.pool, pass.snd_una, mss_, delivery);
  if (delivery.acked_bytes > 0) pass.set_timer = true;
  if (!sack_permitted_) {
    if (delivery.acked_segments > 0) RemoveRenoSacks(pass);
    // Without SACK nothing tells whether the original or its retransmission was acknowledged.
    if (delivery.retransmitted_acked) delivery.original_delivered = false;
    return;
  }
  if (delivery.reordered && delivery.reordered_from < pass.prior_fack &&
      (state_ != RecoveryState::kLoss || has_undo_marker_)) {
    const Seq highest = queue_.sacked_segments() > 0 ? queue_.highest_sacked() : pass.snd_una;
    NoteReordering(pass, delivery.reordered_from, highest, RecoveryEvent::kSackReordering);
  }
  if (delivery.has_newest) {
    rack_.Advance(delivery.newest_sent_at, delivery.newest_end, Micros::Of(pass.context.now));
  }
}

// RFC 6298 with Karn's rule: the time of a segment sent once, else a timestamp's.
void LossRecovery::TakeRtt(Pass& pass) {
  const Delivery& delivery = pass.delivery;
  const Micros now = Micros::Of(pass.context.now);
  std::optional<int32_t> longest_us;
  std::optional<int32_t> latest_us;
  if (delivery.has_acked_time && !delivery.retransmitted_acked) {
    longest_us = now - delivery.first_acked_sent_at;
    latest_us = now - delivery.last_acked_sent_at;
  }
  std::optional<int32_t> sack_us;
  if (delivery.has_sacked_time) {
    sack_us = now - delivery.first_sacked_sent_at;
    latest_us = now - delivery.last_sacked_sent_at;
  }
  if (!longest_us) longest_us = sack_us;
  const bool acked = delivery.acked_bytes > 0;
  if (!longest_us && acked && pass.in.ts_echo_ms) {
    const auto age_ms =
        static_cast<int32_t>(static_cast<uint32_t>(pass.context.now.ms()) - *pass.in.ts_echo_ms);
    constexpr int32_t kMostMs = 10 * 60 * 1'000;
    if (age_ms >= 0 && age_ms < kMostMs) {
      longest_us = std::max(age_ms, 1) * 1'000;
      latest_us = longest_us;
    }
  }
  if (!longest_us || *longest_us < 0) return;
  const Duration sample = Duration::Micros(*longest_us);
  rtt_.OnSample(pass.context.settings, now, sample, pass.snd_una, pass.in.snd_nxt);
  if (*latest_us != *longest_us)  // else it is known already
    rtt_.OnMinRttSample(pass.context.settings, now, Duration::Micros(*latest_us));
  pass.out.rtt = Duration::Micros(*latest_us);
  // A SACK restarts the timer only when what it tells of was sent before the head was last sent:
  // otherwise the timeout of a head that is lost again would be put off for ever.
  if (!acked && sack_us && !queue_.empty() &&
      *sack_us > now - pass.context.pool[queue_.head()].sent_at) {
    pass.set_timer = true;
  }
}

// RFC 8985 section 7.4: did the probe repair a loss?
void LossRecovery::TakeProbeAck(Pass& pass) {
  if (pass.in.ack < tlp_high_seq_) return;
  const bool acked = pass.delivery.acked_bytes > 0;
  if (!tlp_retrans_ || pass.dsack_of_probe) {
    tlp_out_ = false;
  } else if (pass.in.ack > tlp_high_seq_) {
    BeginReduction(pass.in.snd_nxt, CongestionSignal::kReduce, pass.out.signals);
    state_ = RecoveryState::kCwr;
    EndReduction(pass.out.signals);
    TryKeepOpen(pass.context, pass.in.snd_nxt);
    pass.out.events |= RecoveryEvent::kLossProbeRecovery;
  } else if (!pass.una_advanced && !acked && !pass.in.has_data && !pass.in.window_updated &&
             !pass.data_sacked) {
    tlp_out_ = false;  // a pure duplicate: original and probe both arrived
  }
}

// `newest`: what was delivered last, if anything was.
void LossRecovery::TakeRate(Micros now, const DeliveredSegment* newest, AckOutcome& out) {
  RateSample& rate = out.rate;
  delivered_ += out.delivered_bytes;
  if (out.delivered_bytes > 0) delivered_at_ = now;
  if (app_limited_until_ != 0 && static_cast<int32_t>(delivered_ - app_limited_until_) > 0) {
    app_limited_until_ = 0;
  }
  rate.lost_bytes = out.lost_bytes;
  rate.prior_in_flight_bytes = out.prior_in_flight_bytes;
  if (newest == nullptr) return;
  first_sent_at_ = newest->sent_at;
  const int32_t send_us = newest->sent_at - newest->first_sent_at;
  const int32_t ack_us = delivered_at_ - newest->delivered_at;
  rate.prior_delivered = newest->delivered;
  rate.delivered_bytes = delivered_ - newest->delivered;
  rate.app_limited = (newest->flags & SentSegment::kAppLimited) != 0;
  rate.retransmitted = (newest->flags & SentSegment::kEverRetransmitted) != 0;
  rate.interval = Duration::Micros(std::max(send_us, ack_us));
  // Shorter than a round trip: a retransmission was believed delivered by its original's ACK.
  rate.valid = rate.interval.us() > 0 && rate.interval >= rtt_.min_rtt();
}

// ---- What follows from it: Linux's fast retransmit state machine ----

void LossRecovery::Decide(Pass& pass) {
  if (queue_.empty()) reno_sacked_ = 0;
  if (pass.in.ece) undo_cwnd_allowed_ = false;
  if (CheckReneging(pass)) return;
  // RACK's window is updated by the sample this acknowledgment gives (RFC 8985 6.2 step 4).
  rack_.UpdateReorderWindow(pass.context.settings, pass.delivery.has_rate,
                            pass.delivery.rate.delivered,
                            delivered_ + pass.delivery.delivered_bytes);
  if (LeaveState(pass)) return;
  switch (state_) {
    case RecoveryState::kRecovery:
      DecideInRecovery(pass);
      break;
    case RecoveryState::kLoss:
      DecideInLoss(pass);
      break;
    default:
      DecideOtherwise(pass);
      break;
  }
}

// Ends the state when what was outstanding at its beginning is acknowledged. True: nothing more to
// decide.
bool LossRecovery::LeaveState(Pass& pass) {
  if (state_ == RecoveryState::kOpen) {
    has_retrans_stamp_ = false;
    return false;
  }
  if (pass.snd_una < high_seq_) return false;
  if (state_ == RecoveryState::kCwr) {
    // Something above high_seq must be acknowledged, so that our CWR bit has reached the peer.
    if (pass.snd_una != high_seq_) {
      EndReduction(pass.out.signals);
      state_ = RecoveryState::kOpen;
    }
  } else if (state_ == RecoveryState::kRecovery) {
    if (!sack_permitted_) reno_sacked_ = 0;
    if (TryUndoRecovery(pass)) return true;
    EndReduction(pass.out.signals);
  }
  return false;
}

void LossRecovery::DecideInRecovery(Pass& pass) {
  if (!pass.una_advanced) {
    if (!sack_permitted_ && pass.duplicate) AddRenoSack(pass);
  } else if (TryUndoPartial(pass)) {
    return;
  }
  if (TryUndoDsack(pass)) {
    pass.out.events |= RecoveryEvent::kLeftRecovery;
    TryToOpen(pass);
    return;
  }
  DetectLoss(pass);
  if (state_ != RecoveryState::kRecovery) {
    // The partial undo reopened the state, yet loss is evident beside the reordering.
    if (queue_.lost_segments() == 0) {
      TryToOpen(pass);
      return;
    }
    EnterRecovery(pass.context, pass.in.snd_nxt, pass.in.ece, pass.out.events, pass.out.signals);
  }
  pass.retransmit = true;
}

void LossRecovery::DecideInLoss(Pass& pass) {
  if (ProcessFrto(pass, pass.snd_una >= high_seq_)) pass.retransmit = true;
  DetectLoss(pass);
  // A retransmission lost in its turn begins a fast recovery out of Loss (RFC 8985 section 9.3).
  if (state_ == RecoveryState::kOpen || pass.out.lost_retransmissions != 0) DecideOtherwise(pass);
}

void LossRecovery::DecideOtherwise(Pass& pass) {
  if (!sack_permitted_) {
    if (pass.una_advanced) reno_sacked_ = 0;
    if (pass.duplicate) AddRenoSack(pass);
  }
  if (state_ <= RecoveryState::kDisorder) TryUndoDsack(pass);
  DetectLoss(pass);
  if (queue_.lost_segments() == 0) {
    TryToOpen(pass);
    return;
  }
  EnterRecovery(pass.context, pass.in.snd_nxt, pass.in.ece, pass.out.events, pass.out.signals);
  pass.retransmit = true;
}

// Loss: RFC 5682 section 3.1 (with SACK's enhancement) and the end of the state. True: what is
// lost is to be retransmitted.
bool LossRecovery::ProcessFrto(Pass& pass, bool recovered) {
  const bool sent_new = pass.in.snd_nxt > high_seq_;
  if (pass.una_advanced && TryUndoLoss(pass, /*by_frto=*/false)) return false;
  if (frto_) {
    // Step 3b: something sent before the timeout, and only once, was delivered.
    if (pass.delivery.original_delivered && TryUndoLoss(pass, /*by_frto=*/true)) return false;
    if (sent_new) {
      // Step 3a: the new data makes duplicates: the loss was real.
      if (pass.data_sacked || pass.duplicate) frto_ = false;
    } else if (pass.una_advanced && !recovered) {
      // Step 2b: new data is the test; what is lost waits.
      high_seq_ = pass.in.snd_nxt;
      if (pass.in.can_send_new) {
        frto_wants_new_ = true;
        pass.out.send_new_first = true;
        return true;
      }
      frto_ = false;
    }
  }
  if (recovered) {
    TryUndoRecovery(pass);
    return false;
  }
  if (!sack_permitted_) {
    // After step 2b a duplicate says that new data arrived.
    if (sent_new && pass.duplicate) {
      AddRenoSack(pass);
    } else if (pass.una_advanced) {
      reno_sacked_ = 0;
    }
  }
  return true;
}

void LossRecovery::DetectLoss(Pass& pass) {
  if (queue_.empty()) return;
  if (!sack_permitted_) {
    DetectLossWithoutSack(pass);
    return;
  }
  if (!rack_.ShouldDetect()) return;
  const Rack::Detection detection =
      rack_.DetectLoss(pass.context.pool, queue_, Micros::Of(pass.context.now),
                       pass.context.settings, RackConditions());
  pass.out.lost_bytes += detection.lost_bytes;
  pass.out.lost_retransmissions += detection.lost_retransmissions;
  if (detection.wait) {
    ArmReorder(pass.context, *detection.wait);
    pass.set_timer = false;
  }
}

// RFC 6582: the third duplicate, and in Recovery every partial acknowledgment, condemn the head.
void LossRecovery::DetectLossWithoutSack(Pass& pass) {
  const bool enough = state_ < RecoveryState::kRecovery && reno_sacked_ >= reordering_;
  const bool partial = state_ == RecoveryState::kRecovery && pass.una_advanced;
  if (!enough && !partial) return;
  SentSegmentPool& pool = pass.context.pool;
  const SegmentIndex head = queue_.head();
  if (pool[head].Has(SentSegment::kLost)) return;
  // Without a record for the rest the whole transmission counts as lost: more is resent, no harm.
  if (pool[head].length > mss_) queue_.Split(pool, head, mss_, mss_);
  pass.out.lost_bytes += pool[head].length;
  queue_.MarkLost(pool, head);
}

// The head SACKed, yet not acknowledged: the peer may have dropped what it had reported (RFC 2018
// section 8), or its acknowledgment is on the way. Gives it a moment, then times out.
bool LossRecovery::CheckReneging(Pass& pass) {
  if (queue_.empty() || !pass.una_advanced) return false;
  if (!pass.context.pool[queue_.head()].Has(SentSegment::kSacked)) return false;
  const Duration delay = std::max(rtt_.srtt() / 2, Duration::Millis(10));
  SetTimer(SendTimer::kRetransmit, pass.context.now + delay);
  pass.set_timer = false;
  return true;
}

Rack::Conditions LossRecovery::RackConditions() const {
  return {.reordering_seen = reordering_seen_,
          .in_recovery = state_ >= RecoveryState::kRecovery,
          .sacked_segments = queue_.sacked_segments(),
          .duplicate_threshold = reordering_,
          .min_rtt = rtt_.min_rtt(),
          .srtt = rtt_.srtt()};
}

// ---- States ----

void LossRecovery::EnterRecovery(const RecoveryContext& context, Seq snd_nxt, bool ece,
                                 uint32_t& events, CongestionSignals& signals) {
  events |= sack_permitted_ ? RecoveryEvent::kSackRecovery : RecoveryEvent::kRenoRecovery;
  events |= RecoveryEvent::kEnteredRecovery;
  BeginUndo(context.pool);
  undo_cwnd_allowed_ = false;
  if (!in_reduction()) {
    undo_cwnd_allowed_ = !ece;
    BeginReduction(snd_nxt, CongestionSignal::kReduce, signals);
  } else if (state_ == RecoveryState::kCwr) {
    signals.Add(CongestionSignal::kLossAfterMark);
  }
  state_ = RecoveryState::kRecovery;
}

void LossRecovery::BeginReduction(Seq snd_nxt, CongestionSignal reduce,
                                  CongestionSignals& signals) {
  high_seq_ = snd_nxt;
  tlp_out_ = false;
  signals.Add(reduce);
}

// The window becomes ssthresh, unless the reduction was undone.
void LossRecovery::EndReduction(CongestionSignals& signals) {
  if (state_ == RecoveryState::kCwr || has_undo_marker_) {
    signals.Add(CongestionSignal::kEndReduction);
  }
}

// A mark of the network's: reduces once per window.
void LossRecovery::EnterCwr(Seq snd_nxt, CongestionSignals& signals) {
  undo_cwnd_allowed_ = false;
  if (state_ >= RecoveryState::kCwr) return;
  has_undo_marker_ = false;
  BeginReduction(snd_nxt, CongestionSignal::kReduceForMark, signals);
  state_ = RecoveryState::kCwr;
}

void LossRecovery::TryToOpen(Pass& pass) {
  if (!AnyRetransmissionDone(pass.context.pool)) has_retrans_stamp_ = false;
  if (pass.in.ece) EnterCwr(pass.in.snd_nxt, pass.out.signals);
  if (state_ != RecoveryState::kCwr) TryKeepOpen(pass.context, pass.in.snd_nxt);
}

void LossRecovery::TryKeepOpen(const RecoveryContext& context, Seq snd_nxt) {
  const bool left_out = sacked_segments() + queue_.lost_segments() > 0;
  const RecoveryState state = left_out || AnyRetransmissionDone(context.pool)
                                  ? RecoveryState::kDisorder
                                  : RecoveryState::kOpen;
  if (state_ == state) return;
  state_ = state;
  high_seq_ = snd_nxt;
}

bool LossRecovery::AnyRetransmissionDone(const SentSegmentPool& pool) const {
  if (queue_.retransmitted_segments() > 0) return true;
  return !queue_.empty() && pool[queue_.head()].Has(SentSegment::kEverRetransmitted);
}

// ---- Undo ----

void LossRecovery::BeginUndo(const SentSegmentPool& pool) {
  undo_marker_ = pool[queue_.head()].seq;
  has_undo_marker_ = true;
  // Each of these may come back as a D-SACK; none yet is told from all returned by -1.
  undo_retrans_ = static_cast<int32_t>(queue_.retransmitted_segments());
  if (tlp_out_ && tlp_retrans_) ++undo_retrans_;
  if (undo_retrans_ == 0) undo_retrans_ = -1;
}

// Eifel detection (RFC 3522): the acknowledgment answers something sent before the first
// retransmission.
bool LossRecovery::EchoPredatesRetransmission(const Pass& pass) const {
  return has_retrans_stamp_ && pass.in.ts_echo_ms &&
         static_cast<int32_t>(*pass.in.ts_echo_ms - retrans_stamp_ms_) < 0;
}

bool LossRecovery::MayUndo(const Pass& pass) const {
  return pass.in.timeout_is_void ||
         (has_undo_marker_ && (undo_retrans_ == 0 || EchoPredatesRetransmission(pass)));
}

void LossRecovery::Undo(const RecoveryContext& context, bool unmark_lost,
                        CongestionSignals& signals) {
  if (unmark_lost) queue_.UnmarkAllLost(context.pool);
  if (undo_cwnd_allowed_) signals.Add(CongestionSignal::kUndo);
  has_undo_marker_ = false;
  rack_.ForceDetection();
}

// Without SACK the state is held until something above high_seq is acknowledged: duplicates still
// on the way must not begin a false recovery (RFC 6582 section 6).
bool LossRecovery::MustHoldState(const Pass& pass) {
  if (sack_permitted_ || pass.snd_una != high_seq_) return false;
  if (!AnyRetransmissionDone(pass.context.pool)) has_retrans_stamp_ = false;
  return true;
}

// The end of Recovery or Loss; true when the state is held.
bool LossRecovery::TryUndoRecovery(Pass& pass) {
  if (MayUndo(pass)) {
    if (!pass.in.timeout_is_void)
      pass.out.events |=
          state_ == RecoveryState::kLoss ? RecoveryEvent::kLossUndo : RecoveryEvent::kFullUndo;
    Undo(pass.context, /*unmark_lost=*/false, pass.out.signals);
  } else {
    rack_.OnRecoveryEnd();
  }
  if (MustHoldState(pass)) return true;
  if (state_ == RecoveryState::kRecovery) pass.out.events |= RecoveryEvent::kLeftRecovery;
  state_ = RecoveryState::kOpen;
  return false;
}

bool LossRecovery::TryUndoLoss(Pass& pass, bool by_frto) {
  if (!by_frto && !MayUndo(pass)) return false;
  if (!pass.in.timeout_is_void) pass.out.events |= RecoveryEvent::kLossUndo;
  if (by_frto) pass.out.events |= RecoveryEvent::kSpuriousRto;
  Undo(pass.context, /*unmark_lost=*/true, pass.out.signals);
  timeouts_ = 0;
  if (MustHoldState(pass)) return true;
  if (by_frto || sack_permitted_) state_ = RecoveryState::kOpen;
  return true;
}

// A partial acknowledgment in Recovery that the original, not the retransmission, caused.
bool LossRecovery::TryUndoPartial(Pass& pass) {
  if (!has_undo_marker_ || !EchoPredatesRetransmission(pass)) return false;
  // It filled a hole late: that measures the reordering.
  const Seq highest = queue_.sacked_segments() > 0 ? queue_.highest_sacked() : pass.snd_una;
  NoteReordering(pass, pass.in.snd_una, highest, RecoveryEvent::kTimestampReordering);
  // What was resent may yet come back; until then nothing more is resent or marked.
  if (queue_.retransmitted_segments() > 0) return true;
  if (!AnyRetransmissionDone(pass.context.pool)) has_retrans_stamp_ = false;
  Undo(pass.context, /*unmark_lost=*/true, pass.out.signals);
  pass.out.events |= RecoveryEvent::kPartialUndo | RecoveryEvent::kLeftRecovery;
  TryKeepOpen(pass.context, pass.in.snd_nxt);
  return false;
}

// Every retransmission was answered by a D-SACK: none was needed.
bool LossRecovery::TryUndoDsack(Pass& pass) {
  if (!has_undo_marker_ || undo_retrans_ != 0) return false;
  rack_.OnDsackUndo();
  Undo(pass.context, /*unmark_lost=*/false, pass.out.signals);
  pass.out.events |= RecoveryEvent::kDsackUndo;
  return true;
}

// ---- Reordering ----

// Data from `low` was delivered after data at `high`: the distance, in segments, is the new degree.
void LossRecovery::NoteReordering(Pass& pass, Seq low, Seq high, uint32_t event) {
  if (low >= high) return;
  const auto distance = static_cast<uint32_t>(high - low);
  if (distance > uint32_t{reordering_} * mss_) {
    reordering_ = static_cast<uint16_t>(std::min<uint32_t>(
        {(distance + mss_ - 1) / mss_, pass.context.settings.max_reordering, UINT16_MAX}));
  }
  reordering_seen_ = true;
  pass.out.events |= event;
}

// A duplicate acknowledgment says that some segment above the hole arrived.
void LossRecovery::AddRenoSack(Pass& pass) {
  const uint16_t before = reno_sacked_;
  if (reno_sacked_ < UINT16_MAX) ++reno_sacked_;
  CheckRenoReordering(pass, 0);
  if (reno_sacked_ > before) {
    pass.delivery.delivered_bytes += (reno_sacked_ - before) * mss_;
    pass.delivery.delivered_segments += reno_sacked_ - before;
  }
}

// One segment acknowledged filled the hole; the rest were those the duplicates told of.
void LossRecovery::RemoveRenoSacks(Pass& pass) {
  Delivery& delivery = pass.delivery;
  const uint32_t told_bytes = uint32_t{reno_sacked_} * mss_;
  const uint32_t least = std::min(delivery.acked_bytes, mss_);
  delivery.delivered_bytes =
      std::max(delivery.acked_bytes - std::min(delivery.acked_bytes, told_bytes), least);
  delivery.delivered_segments = std::max(
      delivery.acked_segments - std::min<uint32_t>(delivery.acked_segments, reno_sacked_), 1u);
  const uint32_t rest = delivery.acked_segments - 1;
  reno_sacked_ = static_cast<uint16_t>(reno_sacked_ - std::min<uint32_t>(rest, reno_sacked_));
  CheckRenoReordering(pass, delivery.acked_segments);
}

// More duplicates than segments that could cause them: reordering, not loss.
void LossRecovery::CheckRenoReordering(Pass& pass, uint32_t more) {
  const uint32_t out = queue_.segments_out();
  const uint32_t holes = std::min(std::max<uint32_t>(queue_.lost_segments(), 1), out);
  if (reno_sacked_ + holes <= out) return;
  reno_sacked_ = static_cast<uint16_t>(out - holes);
  reordering_ = static_cast<uint16_t>(
      std::clamp<uint32_t>(std::max<uint32_t>(reordering_, out + more), 1,
                           std::min<uint32_t>(pass.context.settings.max_reordering, UINT16_MAX)));
  reordering_seen_ = true;
  pass.out.events |= RecoveryEvent::kRenoReordering;
}

}  // namespace usher
