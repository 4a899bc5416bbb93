// One timer per object, for a million objects: a hierarchical timing wheel (Varghese and Lauck,
// 1987) with lazy deadlines.
//
// A connection re-arms its timer with nearly every segment, and nearly always to a later instant.
// So a timer has two facts: its deadline, and the slot it is filed in, which is never later.
// Setting a later deadline stores eight bytes and leaves the slot alone; when the slot's time
// comes, the entry is found not to be due and is filed anew. Cancelling only clears the deadline.
// Only a deadline before the slot's time moves the entry at once.
//
// Four levels of slots, each as wide as the whole level before it:
//
//   level      0            1              2             3
//   slot       2^10 ns      2^18 ns        2^29 ns       2^37 ns
//              1 us         262 us         537 ms        137 s
//   slots      256          2048           256           256          reach 2^45 ns, 9.7 hours
//
// A level is a ring that turns with time: its slot of number n (instant >> shift) is n modulo its
// size, and it holds deadlines less than one turn ahead. An entry is filed in the lowest level
// that reaches its deadline; when time comes to its slot it goes down one level, and fires from
// level 0, entries there being compared with the exact deadline. What lies beyond the last level
// waits in the last slot. Bitmaps say which slots hold anything, so that time may jump over any
// number of empty ones.
//
// A slot is an array of timer numbers, in chunks of two cache lines, not a list through the
// objects: expiry reads the numbers ahead and prefetches what they stand for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "stack/base/check.h"
#include "stack/base/time.h"
#include "stack/base/zeroed_array.h"

namespace usher {

// Timers numbered 0 .. capacity-1, each unset or set to one deadline. Deadlines are exact to the
// nanosecond. Time is what Advance is given; it must not run backwards. All memory is taken at
// construction, 12 bytes for a timer and 4.4 for its entry, touched as it is used. One thread.
class TimerWheel {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  // How many entries Advance may refile or drop for each timer it may fire.
  static constexpr uint64_t kMovesPerFire = 8;

  // `now` only saves work: the nearer to the first Advance, the less is filed too far out.
  explicit TimerWheel(uint32_t capacity, Instant now = Instant());

  // Sets timer `id` to `deadline`, in place of the one it may have. A deadline that has passed
  // fires at the next Advance; Instant::Never() cancels.
  void Set(uint32_t id, Instant deadline) {
    const uint64_t wanted = Ordered(deadline);
    // Set already, and not later than wanted (unset is 0, which becomes the greatest value): then
    // it is filed early enough. Never also takes the long way.
    uint64_t& stored = deadlines_[id];
    if (stored - 1 < wanted && wanted != kNever) {
      stored = wanted;
      return;
    }
    SetEarlier(id, wanted);
  }

  // Unsets timer `id`, if it is set.
  void Cancel(uint32_t id) { deadlines_[id] = kUnset; }

  bool IsSet(uint32_t id) const { return deadlines_[id] != kUnset; }

  // The deadline of timer `id`, or Instant::Never().
  Instant deadline(uint32_t id) const {
    return IsSet(id) ? FromOrdered(deadlines_[id]) : Instant::Never();
  }

  // Asks for what Set of `id` will want.
  void Prefetch(uint32_t id) const { __builtin_prefetch(&deadlines_[id]); }

  // Fires timers whose deadline is `now` or earlier, at most `budget` of them: each is unset, then
  // fire(id) is called, which may set and cancel any timer, `id` too. Order: by deadline in steps
  // of 2^10 ns, then by filing; deadlines already past when set count as of the time reached.
  // Moves at most kMovesPerFire entries for each timer it may fire, so that no call takes long;
  // what is left then is due at the next call, and NextDeadline() says so. Returns the number
  // fired.
  template <class Fire>
  uint32_t Advance(Instant now, uint32_t budget, Fire&& fire);

  // An instant no later than the earliest deadline, Instant::Never() if no timer is set: Advance
  // then, and it fires or at least gets nearer. It is the earliest deadline itself unless more
  // than kScanLimit entries would have to be looked at to know.
  Instant NextDeadline() const;
  static constexpr uint32_t kScanLimit = 256;

  uint32_t capacity() const { return static_cast<uint32_t>(deadlines_.size()); }

  // Slots and entries that Advance has looked at so far.
  uint64_t steps() const { return steps_; }

  // What a wheel of that capacity takes at most.
  static constexpr size_t BytesFor(uint32_t capacity) {
    return size_t{capacity} * (sizeof(uint64_t) + sizeof(uint32_t)) +
           size_t{ChunksFor(capacity)} * sizeof(Chunk) + sizeof(TimerWheel);
  }

 private:
  // Instants as unsigned numbers in the same order. 0 is free to mean "unset": no clock goes back
  // to the first instant there is.
  static constexpr uint64_t kUnset = 0;
  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();
  static constexpr uint64_t Ordered(Instant t) {
    return static_cast<uint64_t>(t.ns()) ^ (uint64_t{1} << 63);
  }
  static constexpr Instant FromOrdered(uint64_t t) {
    return Instant::FromNanos(static_cast<int64_t>(t ^ (uint64_t{1} << 63)));
  }

  struct Level {
    uint32_t shift;       // a slot is 2^shift ns wide
    uint32_t slots;       // a power of two and a multiple of 64
    uint32_t first_slot;  // its place among all slots
  };
  static constexpr int kLevels = 4;
  static constexpr Level kLevel[kLevels] = {
      {10, 256, 0}, {18, 2048, 256}, {29, 256, 2304}, {37, 256, 2560}};
  static constexpr uint32_t kSlots = 2816;
  // The slot that is being emptied is list kDrain, out of the rings.
  static constexpr uint32_t kDrain = kSlots;

  // Timer numbers of one slot, a piece of a doubly linked list. Only the last chunk of a slot is
  // partly filled. Chunk 0 is none.
  static constexpr uint32_t kChunkIds = 29;
  struct alignas(64) Chunk {
    uint32_t next;
    uint32_t previous;
    uint16_t slot;
    uint16_t count;
    uint32_t ids[kChunkIds];
  };
  static_assert(sizeof(Chunk) == 128);

  struct Slot {
    uint32_t first;
    uint32_t last;
  };

  // Where an entry is: its chunk's number and its place there. 0: nowhere.
  static constexpr uint32_t kPlaceBits = 5;
  static_assert(kChunkIds <= 1u << kPlaceBits);

  struct Found {
    uint32_t slot;  // kNone: nothing is filed
    int level;
    uint64_t start;  // the slot's first instant
  };

  // Every full chunk holds kChunkIds of the entries; besides, each slot and the drain may have a
  // chunk partly filled and the drain one partly emptied, and number 0 is not used.
  static constexpr uint32_t ChunksFor(uint32_t capacity) {
    return capacity / kChunkIds + kSlots + 3;
  }

  void SetEarlier(uint32_t id, uint64_t deadline);
  // Files `id`, which is nowhere, where `deadline` belongs.
  void File(uint32_t id, uint64_t deadline);
  // Takes `id` out of its slot; the slot's last entry takes its place.
  void Unfile(uint32_t id);
  void Append(uint32_t slot, uint32_t id);
  uint32_t NewChunk();
  void FreeChunk(uint32_t chunk);

  // The first instant of a slot of the rings that is not empty.
  uint64_t SlotStart(uint32_t slot) const;
  // The first slot of `level` that holds anything, from slot number `from` up to one turn after
  // the present; kNone if there is none.
  uint32_t NextOccupied(int level, uint64_t from, uint64_t* number) const;
  // The occupied slot that time comes to first; of several, the one of the highest level.
  Found FindFirst() const;
  // Moves the entries of `slot` to the drain, which must be empty.
  void StartDrain(const Found& found);
  // Empties the drain: fires what is due if it came from level 0, files the rest. False if the
  // budget ended first.
  template <class Fire>
  bool Drain(uint64_t now, uint32_t budget, uint64_t* moves, uint32_t* fired, Fire&& fire);
  // Ends Advance with time at `now` and nothing to do before `wake`.
  void Rest(uint64_t now, uint64_t wake) {
    if (present_ < now) present_ = now;
    wake_ = wake;
  }

  struct Scan;
  bool ScanSlot(const Slot& slot, uint32_t first_place, Scan* scan) const;

  // Time as far as the rings have turned. No slot that ends before it holds anything.
  uint64_t present_;
  // Nothing can be due, and no entry needs to move, before this.
  uint64_t wake_ = kNever;
  // The earliest deadline as far as it is known: no timer is set to an earlier one, and
  // next_id_, if it is still set to it, proves that it is the earliest.
  mutable uint64_t next_ = kNever;
  mutable uint32_t next_id_ = kNone;

  int drain_level_ = 0;
  uint32_t drain_place_ = 0;  // entries of the drain's first chunk that are done
  uint32_t free_chunk_ = 0;
  uint32_t untouched_chunk_ = 1;
  uint64_t steps_ = 0;

  uint64_t occupied_[kSlots / 64] = {};
  ZeroedArray<Slot> slots_;
  ZeroedArray<uint64_t> deadlines_;  // ordered; kUnset
  ZeroedArray<uint32_t> places_;
  ZeroedArray<Chunk> chunks_;
};

template <class Fire>
bool TimerWheel::Drain(uint64_t now, uint32_t budget, uint64_t* moves, uint32_t* fired,
                       Fire&& fire) {
  constexpr uint32_t kAhead = 8;
  Slot& drain = slots_[kDrain];
  // Entries made later since they were filed wait for the slot they belong to, for the order's
  // sake.
  const uint64_t due = std::min(now, present_ | ((uint64_t{1} << kLevel[0].shift) - 1));
  while (drain.first != 0) {
    // Entries are never taken out of the drain but here, nor is anything filed in it.
    const Chunk& chunk = chunks_[drain.first];
    __builtin_prefetch(&chunks_[chunk.next]);
    while (drain_place_ < chunk.count) {
      if (*fired == budget || *moves == 0) return false;
      // Without a next chunk this reads chunk 0, whose ids are all 0 and do no harm.
      const uint32_t ahead = drain_place_ + kAhead;
      const uint32_t ahead_id =
          ahead < kChunkIds ? chunk.ids[ahead] : chunks_[chunk.next].ids[ahead - kChunkIds];
      __builtin_prefetch(&deadlines_[ahead_id], 1);
      __builtin_prefetch(&places_[ahead_id], 1);
      const uint32_t id = chunk.ids[drain_place_++];
      const uint64_t deadline = deadlines_[id];
      places_[id] = 0;
      ++steps_;
      if (deadline != kUnset && drain_level_ == 0 && deadline <= due) {
        deadlines_[id] = kUnset;
        ++*fired;
        fire(id);
        continue;
      }
      --*moves;
      if (deadline != kUnset) File(id, deadline);
    }
    const uint32_t done = drain.first;
    drain.first = chunk.next;
    drain_place_ = 0;
    FreeChunk(done);
  }
  return true;
}

template <class Fire>
uint32_t TimerWheel::Advance(Instant now, uint32_t budget, Fire&& fire) {
  const uint64_t target = Ordered(now);
  if (target < wake_) {
    Rest(target, wake_);
    return 0;
  }
  USHER_DCHECK(budget != 0);
  uint32_t fired = 0;
  uint64_t moves = budget * kMovesPerFire;
  for (;;) {
    if (!Drain(target, budget, &moves, &fired, fire)) {
      wake_ = 0;
      return fired;
    }
    const Found found = FindFirst();
    ++steps_;
    if (found.slot == kNone || found.start > target) {
      Rest(target, found.slot == kNone ? kNever : found.start);
      return fired;
    }
    const uint32_t fired_before = fired;
    const bool ends_here = found.level == 0 && target - found.start < uint64_t{1}
                                                                          << kLevel[0].shift;
    StartDrain(found);
    if (!ends_here) continue;
    // The slot that `now` lies in may keep entries that are not due yet. Once a whole pass over it
    // fires nothing, nothing that `fire` has set is due either.
    if (!Drain(target, budget, &moves, &fired, fire)) {
      wake_ = 0;
      return fired;
    }
    if (fired == fired_before) {
      Rest(target, target + 1);
      return fired;
    }
  }
}

}  // namespace usher
