// What was sent and not yet acknowledged: one record per transmission, and the SACK scoreboard
// (RFC 2018, RFC 6675) kept in those records.
//
// The records of a connection stand in two orders at once: by sequence number, in a treap whose
// priorities come from the record's place in the pool (which no peer chooses), and by time of last
// transmission, in a list that holds what is in flight and not SACKed (Linux's tsorted queue). So
// to append, to take from the front and to move to the end of the time order cost O(1), and to
// find the record a SACK block points at costs O(log n), whatever the peer makes of its blocks.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/recovery/micros.h"
#include "stack/tcp/recovery/rate_sample.h"

namespace usher {

using SegmentIndex = uint32_t;
constexpr SegmentIndex kNoSegment = std::numeric_limits<SegmentIndex>::max();

// One transmission: a segment, or several sent as one (TSO). SYN and FIN take one number each.
struct SentSegment {
  static constexpr uint8_t kSacked = 0x01;         // the peer reported it (never also lost)
  static constexpr uint8_t kLost = 0x02;           // thought lost; with kRetransmitted: sent again
  static constexpr uint8_t kRetransmitted = 0x04;  // a retransmission of it is in flight
  static constexpr uint8_t kEverRetransmitted = 0x08;
  static constexpr uint8_t kSyn = 0x10;
  static constexpr uint8_t kFin = 0x20;
  static constexpr uint8_t kAppLimited = 0x40;  // sent while the application had nothing more
  static constexpr uint8_t kInTimeOrder = 0x80;

  Seq end() const { return seq + length; }
  bool Has(uint8_t flag) const { return (flags & flag) != 0; }
  // Whoever marks it lost now loses a retransmission (TCPLostRetransmit).
  bool LostAgain() const { return Has(kLost) && Has(kRetransmitted); }

  Seq seq;
  uint32_t length = 0;    // in sequence space
  uint16_t segments = 0;  // how many segments on the wire, at least 1
  bool pushed = false;    // its last segment has PSH
  uint8_t flags = 0;
  Micros sent_at;  // last transmission
  // The state of delivery when it was last sent, for the rate sample its delivery will give.
  uint32_t delivered = 0;
  Micros delivered_at;
  Micros first_sent_at;

 private:
  friend class SentQueue;
  friend class SentSegmentPool;
  SegmentIndex left_ = kNoSegment;  // also the link of the free list
  SegmentIndex right_ = kNoSegment;
  SegmentIndex parent_ = kNoSegment;
  SegmentIndex earlier_ = kNoSegment;
  SegmentIndex later_ = kNoSegment;
};
static_assert(sizeof(SentSegment) == 48);

// The records of one shard: allocated once, never grown. A thirty-second part (at least 8) is kept
// back for splitting records, so that senders filling the pool do not blind the scoreboards.
class SentSegmentPool {
 public:
  // Allocates `capacity` records; the only allocation. capacity < 2^32 - 1.
  explicit SentSegmentPool(uint32_t capacity);
  SentSegmentPool(const SentSegmentPool&) = delete;
  SentSegmentPool& operator=(const SentSegmentPool&) = delete;

  SentSegment& operator[](SegmentIndex i) { return records_[i]; }
  const SentSegment& operator[](SegmentIndex i) const { return records_[i]; }
  uint32_t capacity() const { return capacity_; }
  uint32_t in_use() const { return in_use_; }
  // Whether SentQueue::Append would get a record now.
  bool CanAppend() const { return capacity_ - in_use_ > reserve_; }

 private:
  friend class SentQueue;
  SegmentIndex Allocate(bool from_reserve);  // kNoSegment when there is none
  void Free(SegmentIndex i);

  std::unique_ptr<SentSegment[]> records_;
  uint32_t capacity_;
  uint32_t reserve_;
  uint32_t in_use_ = 0;
  uint32_t fresh_ = 0;  // records from here on were never used
  SegmentIndex free_ = kNoSegment;
};

// What one record had to say when it was acknowledged or SACKed.
struct DeliveredSegment {
  DeliveredSegment() = default;
  DeliveredSegment(const SentSegment& s, Seq up_to)
      : end(up_to),
        sent_at(s.sent_at),
        flags(s.flags),
        delivered(s.delivered),
        delivered_at(s.delivered_at),
        first_sent_at(s.first_sent_at) {}

  Seq end;
  Micros sent_at;     // its last transmission
  uint8_t flags = 0;  // as they were before this acknowledgment
  uint32_t delivered = 0;
  Micros delivered_at;
  Micros first_sent_at;
};

// What SentQueue::Sack and Acknowledge took in at one acknowledgment, summed up.
struct Delivery {
  Delivery() {}  // so that the compiler stores members instead of clearing the whole by rep stos

  // Given by the caller before the first call.
  Instant now;
  Seq high_seq;  // RFC 6675's RecoveryPoint; bounds original_delivered
  uint32_t min_rtt_us = UINT32_MAX;
  bool had_sacked = false;   // something was SACKed before ...
  Seq prior_highest_sacked;  // ... up to the record that begins here
  bool has_echo = false;     // a timestamp echo, in milliseconds of our clock
  uint32_t echo_ms = 0;

  uint32_t acked_bytes = 0;      // newly covered by the cumulative acknowledgment
  uint32_t sacked_bytes = 0;     // newly SACKed
  uint32_t delivered_bytes = 0;  // newly SACKed, or acknowledged without having been SACKed
  uint32_t acked_segments = 0;
  uint32_t delivered_segments = 0;   // as delivered_bytes
  bool original_delivered = false;   // data up to high_seq that was never sent again was (S)ACKed
  bool retransmitted_acked = false;  // of the acknowledged data some had been sent again
  bool syn_acked = false;
  bool data_acked = false;
  // First and last of the newly acknowledged, and of the newly SACKed, that were sent once only.
  bool has_acked_time = false;
  Micros first_acked_sent_at;
  Micros last_acked_sent_at;
  bool has_sacked_time = false;
  Micros first_sacked_sent_at;
  Micros last_sacked_sent_at;
  // The newest transmission delivered (latest time, then highest end) that is evidence for RACK:
  // not a retransmission whose original this acknowledgment may answer.
  bool has_newest = false;
  Seq newest_end;
  Micros newest_sent_at;
  // The newest without that condition, for the rate sample.
  bool has_rate = false;
  DeliveredSegment rate;
  // The lowest data sent once only that was newly (S)ACKed below what was SACKed before: the
  // network reorders.
  bool reordered = false;
  Seq reordered_from;
};

// A connection's sent and unacknowledged data. Not thread-safe; every call is given the shard's
// pool. Bytes count sequence space. An empty queue holds no record and owns no memory.
class SentQueue {
 public:
  SentQueue() = default;
  SentQueue(const SentQueue&) = delete;
  SentQueue& operator=(const SentQueue&) = delete;

  bool empty() const { return head_ == kNoSegment; }
  SegmentIndex head() const { return head_; }
  SegmentIndex tail() const { return tail_; }
  // Next in sequence order, or kNoSegment.
  static SegmentIndex Next(const SentSegmentPool& pool, SegmentIndex i);
  // The record that holds `seq`, or kNoSegment.
  SegmentIndex Find(const SentSegmentPool& pool, Seq seq) const;
  // In order of last transmission: what is in flight (not SACKed, and not lost and waiting).
  SegmentIndex oldest_sent() const { return oldest_; }
  static SegmentIndex NextSent(const SentSegmentPool& pool, SegmentIndex i) {
    return pool[i].later_;
  }

  // Records that [seq, seq + length) was sent for the first time; seq is the end of the queue.
  // `flags` of kSyn, kFin, kAppLimited. False when the pool refuses: then nothing may be sent.
  bool Append(SentSegmentPool& pool, Seq seq, uint32_t length, uint32_t mss, uint8_t flags,
              Micros now);
  // Takes off everything before `ack`, splitting the record it falls into; adds to `delivery`.
  void Acknowledge(SentSegmentPool& pool, Seq ack, uint32_t mss, Delivery& delivery);
  // Marks what `block` covers as SACKed; whole segments of `mss` only, as a receiver SACKs them.
  // What lies outside of the queue is passed over. Neighbours that are both SACKed become one
  // record, so the cost is that of what is newly SACKed. Adds to `delivery`.
  void Sack(SentSegmentPool& pool, SeqRange block, uint32_t mss, Delivery& delivery);
  // Marks a record's last transmission lost. Not for SACKed ones.
  void MarkLost(SentSegmentPool& pool, SegmentIndex i);
  // Takes the loss mark off everything (undo); retransmissions in flight stay counted. Where in the
  // order of time that belongs is not known any more, and it does not come back there: as on Linux,
  // the same timing that was wrong once does not condemn it again at once.
  void UnmarkAllLost(SentSegmentPool& pool);
  // The peer reneged (RFC 2018 section 8): forgets every SACK.
  void ForgetSacks(SentSegmentPool& pool);
  // Cuts record i after `length` bytes (0 < length < its length); the rest becomes the next record.
  // False when the pool has no record for the rest.
  bool Split(SentSegmentPool& pool, SegmentIndex i, uint32_t length, uint32_t mss);
  // Records that record i was sent again.
  void OnRetransmitted(SentSegmentPool& pool, SegmentIndex i, Micros now);
  // Records that i was sent again as a probe: not taken for lost, so in flight once still.
  void OnProbed(SentSegmentPool& pool, SegmentIndex i, Micros now);
  // The lowest record that is lost and not retransmitted since, or kNoSegment.
  SegmentIndex NextLost(const SentSegmentPool& pool);
  // The same without remembering how far it looked.
  SegmentIndex FirstLost(const SentSegmentPool& pool) const;
  // Takes off the only record, which is in flight and was never sent again.
  void RemoveOnly(SentSegmentPool& pool);
  // Gives every record back.
  void Clear(SentSegmentPool& pool);

  uint32_t bytes_out(const SentSegmentPool& pool) const {
    return empty() ? 0 : static_cast<uint32_t>(pool[tail_].end() - pool[head_].seq);
  }
  uint32_t segments_out() const { return segments_out_; }
  uint32_t sacked_segments() const { return sacked_segments_; }
  uint32_t lost_segments() const { return lost_segments_; }
  uint32_t retransmitted_segments() const { return retransmitted_segments_; }
  uint32_t sacked_bytes() const { return sacked_bytes_; }
  uint32_t lost_bytes() const { return lost_bytes_; }
  uint32_t retransmitted_bytes() const { return retransmitted_bytes_; }
  // RFC 6675's pipe: sent, less SACKed, less lost, plus retransmitted.
  uint32_t in_flight_bytes(const SentSegmentPool& pool) const {
    return bytes_out(pool) - sacked_bytes_ - lost_bytes_ + retransmitted_bytes_;
  }
  // Where the highest SACKed record began when it was SACKed; meaningful while sacked_segments() >
  // 0.
  Seq highest_sacked() const { return highest_sacked_; }

 private:
  // Treap.
  void InsertLast(SentSegmentPool& pool, SegmentIndex n);
  void InsertAfter(SentSegmentPool& pool, SegmentIndex i, SegmentIndex n);
  void RemoveFirst(SentSegmentPool& pool);
  void Remove(SentSegmentPool& pool, SegmentIndex n);
  void RotateUp(SentSegmentPool& pool, SegmentIndex n);
  void ReplaceChild(SentSegmentPool& pool, SegmentIndex parent, SegmentIndex old_child,
                    SegmentIndex new_child);
  static SegmentIndex Previous(const SentSegmentPool& pool, SegmentIndex i);
  // Time order.
  void LinkNewest(SentSegmentPool& pool, SegmentIndex i);
  void LinkAfter(SentSegmentPool& pool, SegmentIndex earlier, SegmentIndex i);
  void UnlinkTime(SentSegmentPool& pool, SegmentIndex i);
  void RestoreTimeOrder(SentSegmentPool& pool);
  // Scoreboard.
  bool SackRecord(SentSegmentPool& pool, SegmentIndex i, Delivery& delivery);
  SegmentIndex MergeSacked(SentSegmentPool& pool, SegmentIndex i);
  void Uncount(const SentSegment& segment, uint32_t bytes, uint32_t segments);
  void SetSegments(SentSegment& segment, uint32_t segments);

  SegmentIndex head_ = kNoSegment;
  SegmentIndex tail_ = kNoSegment;
  SegmentIndex root_ = kNoSegment;
  SegmentIndex oldest_ = kNoSegment;  // ends of the time order
  SegmentIndex newest_ = kNoSegment;
  SegmentIndex lost_hint_ = kNoSegment;  // nothing lost and waiting stands before it
  uint32_t segments_out_ = 0;
  uint32_t sacked_segments_ = 0;
  uint32_t lost_segments_ = 0;
  uint32_t retransmitted_segments_ = 0;
  uint32_t sacked_bytes_ = 0;
  uint32_t lost_bytes_ = 0;
  uint32_t retransmitted_bytes_ = 0;
  Seq highest_sacked_;
};

}  // namespace usher
