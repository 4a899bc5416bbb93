#include "stack/tcp/recovery/sent_queue.h"

#include <algorithm>

namespace usher {
namespace {

// Priorities of the treap: a bijection of the record's place, so no two are equal.
uint32_t Priority(SegmentIndex i) {
  uint32_t x = i * 0x9e3779b1u;
  x ^= x >> 15;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  return x;
}

uint32_t SegmentsIn(uint32_t length, uint8_t flags, uint32_t mss) {
  const uint32_t control =
      ((flags & SentSegment::kSyn) ? 1 : 0) + ((flags & SentSegment::kFin) ? 1 : 0);
  const uint32_t data = length > control ? length - control : 0;
  const uint32_t segments = data <= mss ? 1 : (data + mss - 1) / mss;
  return std::min<uint32_t>(segments, UINT16_MAX);
}

bool SentAfter(Micros a, Seq a_end, Micros b, Seq b_end) {
  return a > b || (a == b && a_end > b_end);
}

// Whether the echo is older than the last transmission of a segment sent more than once: then it
// answers an earlier one.
bool AnswersEarlierTransmission(const SentSegment& segment, const Delivery& delivery) {
  if (!delivery.has_echo) return false;
  const int64_t age_us = Micros::Of(delivery.now) - segment.sent_at;
  const auto sent_ms = static_cast<uint32_t>((delivery.now.us() - age_us) / 1'000);
  return static_cast<int32_t>(delivery.echo_ms - sent_ms) < 0;
}

// Takes into `delivery` that `segment`, not SACKed before, was delivered; `sacked` tells how.
void NoteDelivered(const SentSegment& segment, Seq end, bool sacked, Delivery& delivery) {
  const bool sent_again = segment.Has(SentSegment::kEverRetransmitted);
  if (sent_again) {
    if (!sacked) delivery.retransmitted_acked = true;
  } else {
    if (end <= delivery.high_seq) delivery.original_delivered = true;
    bool& has = sacked ? delivery.has_sacked_time : delivery.has_acked_time;
    Micros& first = sacked ? delivery.first_sacked_sent_at : delivery.first_acked_sent_at;
    Micros& last = sacked ? delivery.last_sacked_sent_at : delivery.last_acked_sent_at;
    if (!has) first = segment.sent_at;
    last = segment.sent_at;
    has = true;
  }
  const DeliveredSegment note(segment, end);
  if (!delivery.has_rate ||
      SentAfter(note.sent_at, end, delivery.rate.sent_at, delivery.rate.end)) {
    delivery.has_rate = true;
    delivery.rate = note;
  }
  if (sent_again) {
    const int32_t rtt_us = Micros::Of(delivery.now) - segment.sent_at;
    if (rtt_us < 0 || static_cast<uint32_t>(rtt_us) < delivery.min_rtt_us) return;
    if (AnswersEarlierTransmission(segment, delivery)) return;
  }
  if (!delivery.has_newest ||
      SentAfter(note.sent_at, end, delivery.newest_sent_at, delivery.newest_end)) {
    delivery.has_newest = true;
    delivery.newest_sent_at = note.sent_at;
    delivery.newest_end = end;
  }
}

}  // namespace

SentSegmentPool::SentSegmentPool(uint32_t capacity)
    : records_(std::make_unique<SentSegment[]>(capacity)),
      capacity_(capacity),
      reserve_(std::min(capacity / 2, std::max<uint32_t>(8, capacity / 32))) {}

SegmentIndex SentSegmentPool::Allocate(bool from_reserve) {
  if (!from_reserve && !CanAppend()) return kNoSegment;
  SegmentIndex i = free_;
  if (i != kNoSegment) {
    free_ = records_[i].left_;
  } else if (fresh_ < capacity_) {
    i = fresh_++;
  } else {
    return kNoSegment;
  }
  ++in_use_;
  records_[i] = SentSegment();
  return i;
}

void SentSegmentPool::Free(SegmentIndex i) {
  records_[i].left_ = free_;
  free_ = i;
  --in_use_;
}

// ---- The treap ----

void SentQueue::ReplaceChild(SentSegmentPool& pool, SegmentIndex parent, SegmentIndex old_child,
                             SegmentIndex new_child) {
  if (parent == kNoSegment) {
    root_ = new_child;
  } else if (pool[parent].left_ == old_child) {
    pool[parent].left_ = new_child;
  } else {
    pool[parent].right_ = new_child;
  }
  if (new_child != kNoSegment) pool[new_child].parent_ = parent;
}

void SentQueue::RotateUp(SentSegmentPool& pool, SegmentIndex n) {
  const SegmentIndex p = pool[n].parent_;
  ReplaceChild(pool, pool[p].parent_, p, n);
  if (pool[p].left_ == n) {
    const SegmentIndex middle = pool[n].right_;
    pool[p].left_ = middle;
    if (middle != kNoSegment) pool[middle].parent_ = p;
    pool[n].right_ = p;
  } else {
    const SegmentIndex middle = pool[n].left_;
    pool[p].right_ = middle;
    if (middle != kNoSegment) pool[middle].parent_ = p;
    pool[n].left_ = p;
  }
  pool[p].parent_ = n;
}

// Climbs the right edge, as one builds a Cartesian tree: O(1) on average over the appends.
void SentQueue::InsertLast(SentSegmentPool& pool, SegmentIndex n) {
  SegmentIndex below = kNoSegment;
  SegmentIndex above = tail_;
  while (above != kNoSegment && Priority(above) < Priority(n)) {
    below = above;
    above = pool[above].parent_;
  }
  pool[n].left_ = below;
  if (below != kNoSegment) pool[below].parent_ = n;
  pool[n].parent_ = above;
  if (above == kNoSegment) {
    root_ = n;
  } else {
    pool[above].right_ = n;
  }
  tail_ = n;
  if (head_ == kNoSegment) head_ = n;
}

void SentQueue::InsertAfter(SentSegmentPool& pool, SegmentIndex i, SegmentIndex n) {
  SegmentIndex at = pool[i].right_;
  if (at == kNoSegment) {
    pool[i].right_ = n;
    pool[n].parent_ = i;
  } else {
    while (pool[at].left_ != kNoSegment) at = pool[at].left_;
    pool[at].left_ = n;
    pool[n].parent_ = at;
  }
  if (tail_ == i) tail_ = n;
  while (pool[n].parent_ != kNoSegment && Priority(pool[n].parent_) < Priority(n)) {
    RotateUp(pool, n);
  }
}

void SentQueue::RemoveFirst(SentSegmentPool& pool) {
  const SegmentIndex n = head_;
  const SegmentIndex right = pool[n].right_;
  const SegmentIndex parent = pool[n].parent_;
  ReplaceChild(pool, parent, n, right);
  if (right == kNoSegment) {
    head_ = parent;
  } else {
    head_ = right;
    while (pool[head_].left_ != kNoSegment) head_ = pool[head_].left_;
  }
  if (head_ == kNoSegment) tail_ = kNoSegment;
  if (lost_hint_ == n) lost_hint_ = head_;
}

void SentQueue::Remove(SentSegmentPool& pool, SegmentIndex n) {
  if (n == tail_) tail_ = Previous(pool, n);
  if (n == head_) head_ = Next(pool, n);
  while (pool[n].left_ != kNoSegment && pool[n].right_ != kNoSegment) {
    const bool left_first = Priority(pool[n].left_) > Priority(pool[n].right_);
    RotateUp(pool, left_first ? pool[n].left_ : pool[n].right_);
  }
  const SegmentIndex child = pool[n].left_ != kNoSegment ? pool[n].left_ : pool[n].right_;
  ReplaceChild(pool, pool[n].parent_, n, child);
}

SegmentIndex SentQueue::Next(const SentSegmentPool& pool, SegmentIndex i) {
  SegmentIndex at = pool[i].right_;
  if (at != kNoSegment) {
    while (pool[at].left_ != kNoSegment) at = pool[at].left_;
    return at;
  }
  at = pool[i].parent_;
  while (at != kNoSegment && pool[at].right_ == i) {
    i = at;
    at = pool[at].parent_;
  }
  return at;
}

SegmentIndex SentQueue::Previous(const SentSegmentPool& pool, SegmentIndex i) {
  SegmentIndex at = pool[i].left_;
  if (at != kNoSegment) {
    while (pool[at].right_ != kNoSegment) at = pool[at].right_;
    return at;
  }
  at = pool[i].parent_;
  while (at != kNoSegment && pool[at].left_ == i) {
    i = at;
    at = pool[at].parent_;
  }
  return at;
}

SegmentIndex SentQueue::Find(const SentSegmentPool& pool, Seq seq) const {
  SegmentIndex at = root_;
  while (at != kNoSegment) {
    const SentSegment& segment = pool[at];
    if (seq < segment.seq) {
      at = segment.left_;
    } else if (seq < segment.end()) {
      return at;
    } else {
      at = segment.right_;
    }
  }
  return kNoSegment;
}

// ---- The time order ----

void SentQueue::LinkNewest(SentSegmentPool& pool, SegmentIndex i) { LinkAfter(pool, newest_, i); }

// `earlier` of kNoSegment puts i at the old end.
void SentQueue::LinkAfter(SentSegmentPool& pool, SegmentIndex earlier, SegmentIndex i) {
  const SegmentIndex later = earlier == kNoSegment ? oldest_ : pool[earlier].later_;
  SentSegment& segment = pool[i];
  segment.flags |= SentSegment::kInTimeOrder;
  segment.earlier_ = earlier;
  segment.later_ = later;
  (earlier == kNoSegment ? oldest_ : pool[earlier].later_) = i;
  (later == kNoSegment ? newest_ : pool[later].earlier_) = i;
}

void SentQueue::UnlinkTime(SentSegmentPool& pool, SegmentIndex i) {
  SentSegment& segment = pool[i];
  if (!segment.Has(SentSegment::kInTimeOrder)) return;
  segment.flags &= static_cast<uint8_t>(~SentSegment::kInTimeOrder);
  (segment.earlier_ == kNoSegment ? oldest_ : pool[segment.earlier_].later_) = segment.later_;
  (segment.later_ == kNoSegment ? newest_ : pool[segment.later_].earlier_) = segment.earlier_;
}

// Puts back what is in flight again after a mark was taken off. Walks with one finger: first
// transmissions come in one order in both sequence and time, so it moves little more than n places.
void SentQueue::RestoreTimeOrder(SentSegmentPool& pool) {
  SegmentIndex finger = kNoSegment;
  for (SegmentIndex i = head_; i != kNoSegment; i = Next(pool, i)) {
    const SentSegment& segment = pool[i];
    if (segment.Has(SentSegment::kInTimeOrder | SentSegment::kSacked)) continue;
    if (segment.Has(SentSegment::kLost) && !segment.Has(SentSegment::kRetransmitted)) continue;
    auto after = [&](SegmentIndex other) {
      return SentAfter(segment.sent_at, segment.end(), pool[other].sent_at, pool[other].end());
    };
    while (finger != kNoSegment && !after(finger)) finger = pool[finger].earlier_;
    for (;;) {
      const SegmentIndex later = finger == kNoSegment ? oldest_ : pool[finger].later_;
      if (later == kNoSegment || !after(later)) break;
      finger = later;
    }
    LinkAfter(pool, finger, i);
    finger = i;
  }
}

// ---- The scoreboard ----

void SentQueue::Uncount(const SentSegment& segment, uint32_t bytes, uint32_t segments) {
  segments_out_ -= segments;
  if (segment.Has(SentSegment::kSacked)) {
    sacked_segments_ -= segments;
    sacked_bytes_ -= bytes;
  }
  if (segment.Has(SentSegment::kLost)) {
    lost_segments_ -= segments;
    lost_bytes_ -= bytes;
  }
  if (segment.Has(SentSegment::kRetransmitted)) {
    retransmitted_segments_ -= segments;
    retransmitted_bytes_ -= bytes;
  }
}

void SentQueue::SetSegments(SentSegment& segment, uint32_t segments) {
  const uint32_t change = segments - segment.segments;  // modulo 2^32, so it may be "negative"
  segment.segments = static_cast<uint16_t>(segments);
  segments_out_ += change;
  if (segment.Has(SentSegment::kSacked)) sacked_segments_ += change;
  if (segment.Has(SentSegment::kLost)) lost_segments_ += change;
  if (segment.Has(SentSegment::kRetransmitted)) retransmitted_segments_ += change;
}

bool SentQueue::Append(SentSegmentPool& pool, Seq seq, uint32_t length, uint32_t mss, uint8_t flags,
                       Micros now) {
  const SegmentIndex i = pool.Allocate(/*from_reserve=*/false);
  if (i == kNoSegment) return false;
  SentSegment& segment = pool[i];
  segment.seq = seq;
  segment.length = length;
  segment.segments = static_cast<uint16_t>(SegmentsIn(length, flags, mss));
  segment.flags = flags;
  segment.sent_at = now;
  segments_out_ += segment.segments;
  InsertLast(pool, i);
  LinkNewest(pool, i);
  return true;
}

void SentQueue::Acknowledge(SentSegmentPool& pool, Seq ack, uint32_t mss, Delivery& delivery) {
  while (head_ != kNoSegment && ack > pool[head_].seq) {
    const SegmentIndex i = head_;
    SentSegment& segment = pool[i];
    const bool whole = ack >= segment.end();
    const uint32_t bytes = whole ? segment.length : static_cast<uint32_t>(ack - segment.seq);
    const uint32_t left = segment.length - bytes;
    const uint32_t segments =
        whole ? segment.segments
              : segment.segments -
                    std::min<uint32_t>(segment.segments, SegmentsIn(left, segment.flags, mss));
    delivery.acked_bytes += bytes;
    delivery.acked_segments += segments;
    if (segment.Has(SentSegment::kSyn)) {
      delivery.syn_acked = true;
    } else {
      delivery.data_acked = true;
    }
    if (!segment.Has(SentSegment::kSacked)) {
      delivery.delivered_bytes += bytes;
      delivery.delivered_segments += segments;
      const bool below_sacked = delivery.had_sacked && segment.seq < delivery.prior_highest_sacked;
      if (below_sacked && !segment.Has(SentSegment::kEverRetransmitted) &&
          (!delivery.reordered || segment.seq < delivery.reordered_from)) {
        delivery.reordered = true;
        delivery.reordered_from = segment.seq;
      }
      NoteDelivered(segment, segment.seq + bytes, /*sacked=*/false, delivery);
    } else if (segment.Has(SentSegment::kEverRetransmitted)) {
      delivery.retransmitted_acked = true;
    }
    Uncount(segment, bytes, segments);
    if (whole) {
      UnlinkTime(pool, i);
      RemoveFirst(pool);
      pool.Free(i);
    } else {
      segment.seq = ack;
      segment.length = left;
      segment.segments = static_cast<uint16_t>(segment.segments - segments);
      segment.flags &= static_cast<uint8_t>(~SentSegment::kSyn);
      if (segment.segments == 0) SetSegments(segment, 1);
    }
  }
}

void SentQueue::RemoveOnly(SentSegmentPool& pool) {
  pool.Free(head_);
  head_ = tail_ = root_ = oldest_ = newest_ = lost_hint_ = kNoSegment;
  segments_out_ = 0;
}

// Marks one record; false when it already was.
bool SentQueue::SackRecord(SentSegmentPool& pool, SegmentIndex i, Delivery& delivery) {
  SentSegment& segment = pool[i];
  if (segment.Has(SentSegment::kSacked)) return false;
  delivery.sacked_bytes += segment.length;
  delivery.delivered_bytes += segment.length;
  delivery.delivered_segments += segment.segments;
  const bool below_sacked = delivery.had_sacked && segment.seq < delivery.prior_highest_sacked;
  if (below_sacked && !segment.Has(SentSegment::kEverRetransmitted) &&
      (!delivery.reordered || segment.seq < delivery.reordered_from)) {
    delivery.reordered = true;
    delivery.reordered_from = segment.seq;
  }
  NoteDelivered(segment, segment.end(), /*sacked=*/true, delivery);
  if (sacked_segments_ == 0 || segment.seq > highest_sacked_) highest_sacked_ = segment.seq;
  segments_out_ += segment.segments;  // Uncount takes it off again
  Uncount(segment, segment.length, segment.segments);
  segment.flags &= static_cast<uint8_t>(~(SentSegment::kLost | SentSegment::kRetransmitted));
  segment.flags |= SentSegment::kSacked;
  sacked_segments_ += segment.segments;
  sacked_bytes_ += segment.length;
  UnlinkTime(pool, i);
  return true;
}

// Joins the SACKed record i with a SACKed record before it; returns the one that remains.
SegmentIndex SentQueue::MergeSacked(SentSegmentPool& pool, SegmentIndex i) {
  const SegmentIndex before = Previous(pool, i);
  if (before == kNoSegment) return i;
  SentSegment& into = pool[before];
  const SentSegment& from = pool[i];
  if (!into.Has(SentSegment::kSacked) || !from.Has(SentSegment::kSacked)) return i;
  if (into.segments + from.segments > UINT16_MAX) return i;
  into.length += from.length;
  into.segments = static_cast<uint16_t>(into.segments + from.segments);
  into.flags |= from.flags;
  into.pushed |= from.pushed;
  if (from.sent_at > into.sent_at) into.sent_at = from.sent_at;
  if (lost_hint_ == i) lost_hint_ = before;
  Remove(pool, i);
  pool.Free(i);
  return before;
}

void SentQueue::Sack(SentSegmentPool& pool, SeqRange block, uint32_t mss, Delivery& delivery) {
  if (empty()) return;
  const Seq begin = Max(block.begin, pool[head_].seq);
  SegmentIndex i = Find(pool, begin);
  while (i != kNoSegment && pool[i].seq < block.end) {
    if (!pool[i].Has(SentSegment::kSacked)) {
      if (pool[i].seq < begin) {
        // The first segment only partly covered stays out; what follows it in the record comes in.
        const auto offset = static_cast<uint32_t>(begin - pool[i].seq);
        const uint32_t cut = (offset + mss - 1) / mss * mss;
        if (cut < pool[i].length && !Split(pool, i, cut, mss)) return;
        i = Next(pool, i);
        continue;
      }
      if (pool[i].end() > block.end) {
        const auto covered = static_cast<uint32_t>(block.end - pool[i].seq);
        const uint32_t cut = covered / mss * mss;
        if (cut == 0 || !Split(pool, i, cut, mss)) return;
      }
      SackRecord(pool, i, delivery);
      i = MergeSacked(pool, i);
    } else {
      i = MergeSacked(pool, i);
    }
    const SegmentIndex next = Next(pool, i);
    if (next != kNoSegment && pool[next].Has(SentSegment::kSacked)) {
      const SegmentIndex merged = MergeSacked(pool, next);
      i = merged == i ? Next(pool, i) : merged;
    } else {
      i = next;
    }
  }
}

void SentQueue::MarkLost(SentSegmentPool& pool, SegmentIndex i) {
  SentSegment& segment = pool[i];
  if (segment.Has(SentSegment::kRetransmitted)) {
    segment.flags &= static_cast<uint8_t>(~SentSegment::kRetransmitted);
    retransmitted_segments_ -= segment.segments;
    retransmitted_bytes_ -= segment.length;
  }
  if (!segment.Has(SentSegment::kLost)) {
    segment.flags |= SentSegment::kLost;
    lost_segments_ += segment.segments;
    lost_bytes_ += segment.length;
  }
  UnlinkTime(pool, i);
  if (lost_hint_ == kNoSegment || segment.seq < pool[lost_hint_].seq) lost_hint_ = i;
}

void SentQueue::UnmarkAllLost(SentSegmentPool& pool) {
  if (lost_segments_ == 0) return;
  for (SegmentIndex i = head_; i != kNoSegment; i = Next(pool, i)) {
    pool[i].flags &= static_cast<uint8_t>(~SentSegment::kLost);
  }
  lost_segments_ = 0;
  lost_bytes_ = 0;
  lost_hint_ = kNoSegment;
}

void SentQueue::ForgetSacks(SentSegmentPool& pool) {
  if (sacked_segments_ == 0) return;
  for (SegmentIndex i = head_; i != kNoSegment; i = Next(pool, i)) {
    pool[i].flags &= static_cast<uint8_t>(~SentSegment::kSacked);
  }
  sacked_segments_ = 0;
  sacked_bytes_ = 0;
  RestoreTimeOrder(pool);
}

bool SentQueue::Split(SentSegmentPool& pool, SegmentIndex i, uint32_t length, uint32_t mss) {
  const SegmentIndex n = pool.Allocate(/*from_reserve=*/true);
  if (n == kNoSegment) return false;
  SentSegment& first = pool[i];
  SentSegment& rest = pool[n];
  rest.seq = first.seq + length;
  rest.length = first.length - length;
  rest.pushed = first.pushed;
  rest.flags = static_cast<uint8_t>(first.flags & ~(SentSegment::kSyn | SentSegment::kInTimeOrder));
  rest.sent_at = first.sent_at;
  rest.delivered = first.delivered;
  rest.delivered_at = first.delivered_at;
  rest.first_sent_at = first.first_sent_at;
  first.length = length;
  first.pushed = false;
  first.flags &= static_cast<uint8_t>(~SentSegment::kFin);
  // rest has no segments yet: SetSegments counts both parts as what they now are.
  SetSegments(first, SegmentsIn(first.length, first.flags, mss));
  SetSegments(rest, SegmentsIn(rest.length, rest.flags, mss));
  InsertAfter(pool, i, n);
  if (first.Has(SentSegment::kInTimeOrder)) LinkAfter(pool, i, n);
  return true;
}

void SentQueue::OnRetransmitted(SentSegmentPool& pool, SegmentIndex i, Micros now) {
  SentSegment& segment = pool[i];
  if (!segment.Has(SentSegment::kRetransmitted)) {
    retransmitted_segments_ += segment.segments;
    retransmitted_bytes_ += segment.length;
  }
  segment.flags |= SentSegment::kRetransmitted;
  OnProbed(pool, i, now);
}

void SentQueue::OnProbed(SentSegmentPool& pool, SegmentIndex i, Micros now) {
  SentSegment& segment = pool[i];
  segment.flags |= SentSegment::kEverRetransmitted;
  segment.sent_at = now;
  UnlinkTime(pool, i);
  LinkNewest(pool, i);
}

SegmentIndex SentQueue::FirstLost(const SentSegmentPool& pool) const {
  SegmentIndex i = lost_hint_;
  while (i != kNoSegment) {
    const SentSegment& segment = pool[i];
    if (segment.Has(SentSegment::kLost) && !segment.Has(SentSegment::kRetransmitted)) break;
    i = Next(pool, i);
  }
  return i;
}

SegmentIndex SentQueue::NextLost(const SentSegmentPool& pool) {
  lost_hint_ = FirstLost(pool);
  return lost_hint_;
}

void SentQueue::Clear(SentSegmentPool& pool) {
  while (head_ != kNoSegment) {
    const SegmentIndex i = head_;
    RemoveFirst(pool);
    pool.Free(i);
  }
  head_ = tail_ = root_ = oldest_ = newest_ = lost_hint_ = kNoSegment;
  segments_out_ = sacked_segments_ = lost_segments_ = retransmitted_segments_ = 0;
  sacked_bytes_ = lost_bytes_ = retransmitted_bytes_ = 0;
}

}  // namespace usher
