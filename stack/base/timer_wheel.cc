#include "stack/base/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace usher {

TimerWheel::TimerWheel(uint32_t capacity, Instant now)
    : present_(Ordered(now)),
      slots_(kSlots + 1),
      deadlines_(capacity),
      places_(capacity),
      chunks_(ChunksFor(capacity)) {
  static_assert(kLevel[kLevels - 1].first_slot + kLevel[kLevels - 1].slots == kSlots);
  USHER_CHECK(ChunksFor(capacity) < 1u << (32 - kPlaceBits));
}

void TimerWheel::SetEarlier(uint32_t id, uint64_t deadline) {
  if (deadline == kNever) return Cancel(id);
  deadline = std::max(deadline, kUnset + 1);
  deadlines_[id] = deadline;
  if (deadline < next_) {
    next_ = deadline;
    next_id_ = id;
  }
  if (places_[id] != 0) {
    // Unset or moved earlier, but still filed. In the drain it will be looked at anyway.
    const uint32_t slot = chunks_[places_[id] >> kPlaceBits].slot;
    if (slot == kDrain || SlotStart(slot) <= deadline) {
      // The slot of the present may have been looked at since, and found to hold nothing due.
      wake_ = std::min(wake_, deadline);
      return;
    }
    Unfile(id);
  }
  File(id, deadline);
}

void TimerWheel::File(uint32_t id, uint64_t deadline) {
  // What has passed goes where time is now.
  const uint64_t when = std::max(deadline, present_);
  int level = 0;
  uint64_t number = when >> kLevel[0].shift;
  uint64_t ahead = number - (present_ >> kLevel[0].shift);
  while (ahead >= kLevel[level].slots && level + 1 < kLevels) {
    ++level;
    number = when >> kLevel[level].shift;
    ahead = number - (present_ >> kLevel[level].shift);
  }
  if (ahead >= kLevel[level].slots) number -= ahead - (kLevel[level].slots - 1);
  Append(kLevel[level].first_slot + (number & (kLevel[level].slots - 1)), id);
  wake_ = std::min({wake_, deadline, number << kLevel[level].shift});
}

void TimerWheel::Append(uint32_t slot, uint32_t id) {
  uint32_t last = slots_[slot].last;
  if (last == 0 || chunks_[last].count == kChunkIds) {
    const uint32_t chunk = NewChunk();
    chunks_[chunk].slot = static_cast<uint16_t>(slot);
    chunks_[chunk].previous = last;
    if (last == 0) {
      slots_[slot].first = chunk;
      occupied_[slot / 64] |= uint64_t{1} << (slot % 64);
    } else {
      chunks_[last].next = chunk;
    }
    slots_[slot].last = last = chunk;
  }
  Chunk& chunk = chunks_[last];
  places_[id] = last << kPlaceBits | chunk.count;
  chunk.ids[chunk.count++] = id;
}

void TimerWheel::Unfile(uint32_t id) {
  const uint32_t place = places_[id];
  Chunk& chunk = chunks_[place >> kPlaceBits];
  Slot& slot = slots_[chunk.slot];
  const uint32_t last = slot.last;
  Chunk& last_chunk = chunks_[last];
  const uint32_t moved = last_chunk.ids[--last_chunk.count];
  chunk.ids[place & ((1u << kPlaceBits) - 1)] = moved;
  places_[moved] = place;
  places_[id] = 0;
  if (last_chunk.count != 0) return;
  slot.last = last_chunk.previous;
  if (slot.last != 0) {
    chunks_[slot.last].next = 0;
  } else {
    slot.first = 0;
    occupied_[last_chunk.slot / 64] &= ~(uint64_t{1} << (last_chunk.slot % 64));
  }
  FreeChunk(last);
}

uint32_t TimerWheel::NewChunk() {
  uint32_t chunk = free_chunk_;
  if (chunk != 0) {
    free_chunk_ = chunks_[chunk].next;
  } else {
    USHER_CHECK(untouched_chunk_ < chunks_.size());
    chunk = untouched_chunk_++;
  }
  chunks_[chunk].next = 0;
  chunks_[chunk].count = 0;
  return chunk;
}

void TimerWheel::FreeChunk(uint32_t chunk) {
  chunks_[chunk].next = free_chunk_;
  free_chunk_ = chunk;
}

uint64_t TimerWheel::SlotStart(uint32_t slot) const {
  int level = kLevels - 1;
  while (slot < kLevel[level].first_slot) --level;
  const uint64_t present = present_ >> kLevel[level].shift;
  const uint64_t ahead = (slot - kLevel[level].first_slot - present) & (kLevel[level].slots - 1);
  return (present + ahead) << kLevel[level].shift;
}

uint32_t TimerWheel::NextOccupied(int level, uint64_t from, uint64_t* number) const {
  const auto [shift, slots, first_slot] = kLevel[level];
  const uint64_t end = (present_ >> shift) + slots;
  while (from < end) {
    const auto place = static_cast<uint32_t>(from & (slots - 1));
    const uint64_t word = occupied_[(first_slot + place) / 64] >> (place % 64);
    if (word != 0) {
      from += static_cast<uint32_t>(std::countr_zero(word));
      // Beyond `end` lies the part of the first word that was looked at already.
      if (from >= end) break;
      *number = from;
      return first_slot + static_cast<uint32_t>(from & (slots - 1));
    }
    from += 64 - place % 64;
  }
  return kNone;
}

TimerWheel::Found TimerWheel::FindFirst() const {
  Found first{kNone, 0, kNever};
  for (int level = kLevels - 1; level >= 0; --level) {
    uint64_t number = 0;
    const uint32_t slot = NextOccupied(level, present_ >> kLevel[level].shift, &number);
    if (slot == kNone) continue;
    const uint64_t start = number << kLevel[level].shift;
    if (start < first.start) first = {slot, level, start};
  }
  return first;
}

void TimerWheel::StartDrain(const Found& found) {
  present_ = std::max(present_, found.start);
  drain_level_ = found.level;
  drain_place_ = 0;
  slots_[kDrain] = slots_[found.slot];
  slots_[found.slot] = {0, 0};
  occupied_[found.slot / 64] &= ~(uint64_t{1} << (found.slot % 64));
  for (uint32_t chunk = slots_[kDrain].first; chunk != 0; chunk = chunks_[chunk].next) {
    chunks_[chunk].slot = kDrain;
  }
}

struct TimerWheel::Scan {
  uint64_t earliest = kNever;
  uint32_t id = kNone;
  uint32_t left = kScanLimit;
};

bool TimerWheel::ScanSlot(const Slot& slot, uint32_t first_place, Scan* scan) const {
  for (uint32_t chunk = slot.first; chunk != 0; chunk = chunks_[chunk].next) {
    for (uint32_t i = first_place; i < chunks_[chunk].count; ++i) {
      if (scan->left-- == 0) return false;
      const uint32_t id = chunks_[chunk].ids[i];
      if (deadlines_[id] != kUnset && deadlines_[id] < scan->earliest) {
        scan->earliest = deadlines_[id];
        scan->id = id;
      }
    }
    first_place = 0;
  }
  return true;
}

Instant TimerWheel::NextDeadline() const {
  if (next_id_ != kNone && deadlines_[next_id_] == next_) return FromOrdered(next_);
  Scan scan;
  // What is left of an Advance that ended early is the first thing the next one does.
  if (!ScanSlot(slots_[kDrain], drain_place_, &scan)) return FromOrdered(next_);
  uint64_t from[kLevels];
  for (int level = 0; level < kLevels; ++level) from[level] = present_ >> kLevel[level].shift;
  for (;;) {
    Found first{kNone, 0, kNever};
    uint64_t first_number = 0;
    for (int level = kLevels - 1; level >= 0; --level) {
      uint64_t number = 0;
      const uint32_t slot = NextOccupied(level, from[level], &number);
      if (slot == kNone || number << kLevel[level].shift >= first.start) continue;
      first = {slot, level, number << kLevel[level].shift};
      first_number = number;
    }
    // Nothing in a slot is due before the slot's time, but in the slot of the present what was set
    // in the past.
    if (first.slot == kNone || first.start > std::max(scan.earliest, present_)) break;
    if (!ScanSlot(slots_[first.slot], 0, &scan)) {
      // Only the slot of the present may hold what is overdue; wake_ knows how far that reaches.
      const uint64_t rest = first.start > present_ ? first.start : wake_;
      next_ = std::max(next_, std::min(scan.earliest, rest));
      next_id_ = kNone;
      return FromOrdered(next_);
    }
    from[first.level] = first_number + 1;
  }
  next_ = scan.earliest;
  next_id_ = scan.id;
  return FromOrdered(next_);
}

}  // namespace usher
