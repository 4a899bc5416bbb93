// What is kept of a connection that has no buffers: not yet (half-open requests) or no more
// (TIME-WAIT). One cache line for IPv4, two for IPv6, and a timer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stack/base/object_pool.h"
#include "stack/base/time.h"
#include "stack/base/timer_wheel.h"
#include "stack/wire/address.h"

namespace usher {

// The records of one shard, named by index. `Facts` is the part that does not depend on the family;
// it has the two ports, `local_port` and `remote_port`, in host order. One thread.
template <class Facts>
class SmallRecords {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Room for `capacity` records of either family; memory is touched only when used.
  explicit SmallRecords(uint32_t capacity)
      : capacity_(capacity), v4_(capacity), v6_(capacity), timers_(2 * capacity) {}

  // A fresh record with that name; kNone when there is no room.
  uint32_t Allocate(const FourTuple& tuple) {
    const bool v4 = tuple.remote.is_v4();
    uint32_t index = v4 ? v4_.Allocate() : v6_.Allocate();
    if (index == kNone) return kNone;
    if (v4) {
      v4_[index].local = tuple.local.v4();
      v4_[index].remote = tuple.remote.v4();
    } else {
      v6_[index].local = tuple.local;
      v6_[index].remote = tuple.remote;
      index += capacity_;
    }
    Facts& facts = (*this)[index];
    facts.local_port = tuple.local_port;
    facts.remote_port = tuple.remote_port;
    return index;
  }
  // Forgets it, timer included.
  void Free(uint32_t index) {
    timers_.Cancel(index);
    if (IsV4(index))
      v4_.Free(index);
    else
      v6_.Free(index - capacity_);
  }

  Facts& operator[](uint32_t index) {
    return IsV4(index) ? v4_[index].facts : v6_[index - capacity_].facts;
  }
  const Facts& operator[](uint32_t index) const {
    return IsV4(index) ? v4_[index].facts : v6_[index - capacity_].facts;
  }
  FourTuple TupleOf(uint32_t index) const {
    const Facts& facts = (*this)[index];
    if (IsV4(index))
      return {IpAddress::V4(v4_[index].local), IpAddress::V4(v4_[index].remote), facts.local_port,
              facts.remote_port};
    const RecordV6& r = v6_[index - capacity_];
    return {r.local, r.remote, facts.local_port, facts.remote_port};
  }
  void Prefetch(uint32_t index) const {
    if (IsV4(index))
      v4_.Prefetch(index);
    else
      v6_.Prefetch(index - capacity_, sizeof(RecordV6));
  }

  void SetTimer(uint32_t index, Instant deadline) { timers_.Set(index, deadline); }
  void CancelTimer(uint32_t index) { timers_.Cancel(index); }
  Instant deadline(uint32_t index) const { return timers_.deadline(index); }
  Instant NextDeadline() const { return timers_.NextDeadline(); }
  // Calls expire(index) for each record whose timer has run out, a bounded number at a time.
  template <class Expire>
  void AdvanceTimers(Instant now, Expire&& expire) {
    timers_.Advance(now, kTimerBudget, expire);
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
    const uint32_t next =
        v6_.ForEachFrom(first - capacity_, count, [&](uint32_t i) { visit(i + capacity_); });
    return next != kNone ? next + capacity_ : kNone;
  }

  // What a table of that capacity takes at most.
  static constexpr size_t BytesFor(uint32_t capacity) {
    return ObjectPool<RecordV4>::BytesFor(capacity) + ObjectPool<RecordV6>::BytesFor(capacity) +
           TimerWheel::BytesFor(2 * capacity);
  }

 private:
  static constexpr uint32_t kTimerBudget = 256;

  struct alignas(64) RecordV4 {
    Facts facts;
    uint32_t local = 0;
    uint32_t remote = 0;
  };
  struct alignas(64) RecordV6 {
    Facts facts;
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
