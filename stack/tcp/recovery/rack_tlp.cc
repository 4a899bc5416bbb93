#include "stack/tcp/recovery/rack_tlp.h"

#include <algorithm>

namespace usher {
namespace {

bool SentAfter(Micros a, Seq a_end, Micros b, Seq b_end) {
  return a > b || (a == b && a_end > b_end);
}

}  // namespace

void Rack::Advance(Micros sent_at, Seq end, Micros now) {
  advanced_ = true;
  rtt_us_ = static_cast<uint32_t>(std::max<int32_t>(now - sent_at, 1));
  if (started_ && !SentAfter(sent_at, end, sent_at_, end_seq_)) return;
  sent_at_ = sent_at;
  end_seq_ = end;
  started_ = true;
}

Duration Rack::ReorderWindow(const RecoverySettings& settings, const Conditions& conditions) const {
  if (!conditions.reordering_seen) {
    if (conditions.in_recovery) return Duration();
    if (conditions.sacked_segments >= conditions.duplicate_threshold &&
        !settings.no_duplicate_threshold) {
      return Duration();
    }
  }
  return std::min(conditions.min_rtt / 4 * reo_wnd_steps_, conditions.srtt);
}

Rack::Detection Rack::DetectLoss(SentSegmentPool& pool, SentQueue& queue, Micros now,
                                 const RecoverySettings& settings, const Conditions& conditions) {
  // How many records not yet due are looked at for the longest wait; beyond, its bound is used.
  constexpr int kMostWaiting = 32;
  Detection result;
  advanced_ = false;
  if (!started_) return result;
  const int64_t due_us = rtt_us_ + ReorderWindow(settings, conditions).us();
  int waiting = 0;
  SegmentIndex i = queue.oldest_sent();
  while (i != kNoSegment) {
    const SentSegment& segment = pool[i];
    if (!SentAfter(sent_at_, end_seq_, segment.sent_at, segment.end())) break;
    const SegmentIndex later = SentQueue::NextSent(pool, i);
    const int64_t remaining_us = due_us - (now - segment.sent_at);
    if (remaining_us <= 0) {
      if (segment.LostAgain()) ++result.lost_retransmissions;
      result.lost_bytes += segment.length;
      queue.MarkLost(pool, i);
    } else {
      result.wait = std::max(result.wait.value_or(Duration()), Duration::Micros(remaining_us));
      if (++waiting == kMostWaiting) {
        result.wait = Duration::Micros(std::max<int64_t>(due_us - (now - sent_at_), 1));
        break;
      }
    }
    i = later;
  }
  return result;
}

bool Rack::IsOverdue(const SentSegment& segment, Micros now) const {
  return now - segment.sent_at >= static_cast<int64_t>(rtt_us_);
}

void Rack::UpdateReorderWindow(const RecoverySettings& settings, bool has_sample,
                               uint32_t sample_prior_delivered, uint32_t delivered) {
  if (settings.static_reorder_window || !has_sample) return;
  // A D-SACK of before a round trip passed tells about the old factor.
  if (static_cast<int32_t>(sample_prior_delivered - last_delivered_) < 0) dsack_seen_ = false;
  if (dsack_seen_) {
    if (reo_wnd_steps_ < UINT8_MAX) ++reo_wnd_steps_;
    dsack_seen_ = false;
    last_delivered_ = delivered;
    reo_wnd_persist_ = kPersistRecoveries;
  } else if (reo_wnd_persist_ == 0) {
    reo_wnd_steps_ = 1;
  }
}

void Rack::OnRecoveryEnd() {
  if (reo_wnd_persist_ > 0) --reo_wnd_persist_;
}

void Rack::OnDsackUndo() {
  if (reo_wnd_persist_ < kPersistRecoveries) ++reo_wnd_persist_;
}

Duration ProbeTimeout(const RttEstimator& rtt, const RecoverySettings& settings,
                      uint32_t segments_out) {
  // Two ticks of Linux's clock of 1 ms: a probe sooner after 2 * srtt meets its ACK on the way.
  constexpr Duration kGrace = Duration::Millis(2);
  // Nearby a round trip is shorter than the time a peer waits for its processor: never before two
  // ticks of a clock of 250 Hz (the drafts of RFC 8985 had this least value of 10 ms).
  constexpr Duration kLeast = Duration::Millis(10);
  if (!rtt.has_sample()) return Duration::Seconds(1);
  return std::max(rtt.srtt() * 2 + (segments_out == 1 ? settings.rto_min : kGrace), kLeast);
}

}  // namespace usher
