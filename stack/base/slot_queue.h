// A first-in, first-out queue of slot numbers. Nothing is allocated after construction.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "stack/base/check.h"
#include "stack/base/zeroed_array.h"

namespace usher {

// Holds up to `capacity` numbers: enough for one entry of each slot of a pool, whose objects keep
// a mark that they are queued, and no link. Begins anew at its start whenever it runs empty, so
// that a queue which is emptied at each pass stays in a few cache lines. One thread.
class SlotQueue {
 public:
  explicit SlotQueue(uint32_t capacity) : slots_(std::bit_ceil(std::max(capacity, 1u))) {}

  // Puts `slot` at the end; there must be room.
  void Push(uint32_t slot) {
    USHER_DCHECK(size() < slots_.size());
    slots_[Place(end_++)] = slot;
  }
  // Takes the first one off; the queue must not be empty.
  uint32_t Pop() {
    USHER_DCHECK(!empty());
    const uint32_t slot = slots_[Place(begin_++)];
    if (begin_ == end_) begin_ = end_ = 0;
    return slot;
  }
  bool empty() const { return begin_ == end_; }
  uint32_t size() const { return end_ - begin_; }

  // What a queue of that capacity takes at most.
  static constexpr size_t BytesFor(uint32_t capacity) {
    return size_t{std::bit_ceil(std::max(capacity, 1u))} * sizeof(uint32_t);
  }

 private:
  size_t Place(uint32_t i) const { return i & (slots_.size() - 1); }

  uint32_t begin_ = 0;
  uint32_t end_ = 0;
  ZeroedArray<uint32_t> slots_;
};

}  // namespace usher
