// Half-open requests: connections of which only the SYN has been seen and a SYN-ACK been sent
// (SYN-RECEIVED, RFC 9293 section 3.3.2).
//
// A request is all that an unfinished handshake costs: one cache line for IPv4, two for IPv6, and
// a timer. It has no buffers and no connection; both come with the final ACK. How many there are
// is bounded by the listener (backlog.h) and by the table.
#pragma once

#include <cstdint>

#include "stack/base/object_pool.h"
#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/base/timer_wheel.h"
#include "stack/ip/egress.h"
#include "stack/wire/address.h"

namespace usher {

// What is remembered of a SYN and of the SYN-ACK that answered it.
struct Request {
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  Seq irs;
  Seq iss;
  uint32_t ts_recent = 0;    // the peer's TSval, to be echoed
  uint32_t first_tsval = 0;  // of our SYN-ACKs: an echo must lie between these two
  uint32_t last_tsval = 0;
  uint32_t listener = 0;         // its id
  uint32_t last_answer_ms = 0;   // for tcp_invalid_ratelimit; 0: none yet
  uint32_t syn_ack_sent_us = 0;  // the first one, low 32 bits: for the round-trip time
  Path path;                     // not valid until something other than a reply was sent
  uint16_t peer_mss = 536;
  uint16_t rcv_wnd = 0;     // as advertised, bytes
  uint8_t num_retrans = 0;  // SYN-ACKs sent again, for whatever reason
  uint8_t num_timeout = 0;  // of these, by the timer; also its backoff
  uint8_t snd_wscale : 4 = 0;
  uint8_t rcv_wscale : 4 = 0;
  bool wscale_ok : 1 = false;
  bool timestamps_ok : 1 = false;
  bool timestamps_shifted : 1 = false;  // by the per-tuple offset (tcp_timestamps = 1)
  bool sack_ok : 1 = false;
  bool acked : 1 = false;      // the right ACK came, and could not be taken or was to be deferred
  bool reuseport : 1 = false;  // its listener is one of a group: it may migrate
  bool has_saved_syn : 1 = false;

  bool young() const { return num_timeout == 0; }
};

// The requests of one shard, named by index. One thread.
class SynTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Room for `capacity` requests of either family; memory is touched only when used.
  explicit SynTable(uint32_t capacity);

  // A fresh request; kNone when there is no room.
  uint32_t Allocate(const FourTuple& tuple);
  // Forgets it, timer included.
  void Free(uint32_t index);

  Request& operator[](uint32_t index) {
    return IsV4(index) ? v4_[index].request : v6_[index - capacity_].request;
  }
  const Request& operator[](uint32_t index) const {
    return IsV4(index) ? v4_[index].request : v6_[index - capacity_].request;
  }
  FourTuple TupleOf(uint32_t index) const;
  void Prefetch(uint32_t index) const;

  void SetTimer(uint32_t index, Instant deadline) { timers_.Set(index, deadline); }
  void CancelTimer(uint32_t index) { timers_.Cancel(index); }
  Instant deadline(uint32_t index) const { return timers_.deadline(index); }
  Instant NextDeadline() const { return timers_.NextDeadline(); }
  // Calls expire(index) for each request whose timer has run out.
  template <class Expire>
  void AdvanceTimers(Instant now, Expire&& expire) {
    timers_.Advance(now, UINT32_MAX, expire);
  }

  uint32_t size() const { return v4_.size() + v6_.size(); }
  uint32_t capacity() const { return capacity_; }
  // Index range, for side tables.
  uint32_t index_limit() const { return 2 * capacity_; }
  template <class Visit>
  void ForEach(Visit&& visit) const {
    v4_.ForEach([&](uint32_t i) { visit(i); });
    v6_.ForEach([&](uint32_t i) { visit(i + capacity_); });
  }
  // The records among `count` slots from `first` on; returns where to go on, kNone at the end.
  template <class Visit>
  uint32_t ForEachFrom(uint32_t first, uint32_t count, Visit&& visit) const {
    if (first < capacity_) {
      const uint32_t next = v4_.ForEachFrom(first, count, visit);
      return next != kNone ? next : capacity_;
    }
    const uint32_t next = v6_.ForEachFrom(first - capacity_, count,
                                          [&](uint32_t i) { visit(i + capacity_); });
    return next != kNone ? next + capacity_ : kNone;
  }

  // What a table of that capacity takes at most.
  static constexpr size_t BytesFor(uint32_t capacity) {
    return ObjectPool<RecordV4>::BytesFor(capacity) + ObjectPool<RecordV6>::BytesFor(capacity) +
           TimerWheel::BytesFor(2 * capacity);
  }

 private:
  struct alignas(64) RecordV4 {
    Request request;
    uint32_t local = 0;
    uint32_t remote = 0;
  };
  struct alignas(64) RecordV6 {
    Request request;
    IpAddress local;
    IpAddress remote;
  };
  static_assert(sizeof(RecordV4) == 64 && sizeof(RecordV6) == 128);

  bool IsV4(uint32_t index) const { return index < capacity_; }

  uint32_t capacity_;
  ObjectPool<RecordV4> v4_;  // index as it is
  ObjectPool<RecordV6> v6_;  // index + capacity_
  TimerWheel timers_;
};

}  // namespace usher
