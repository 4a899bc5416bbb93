// A fixed number of objects of one type, named by index. Nothing is allocated after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "stack/base/asan.h"
#include "stack/base/check.h"
#include "stack/base/zeroed_array.h"

namespace usher {

// Names one life of a slot in an ObjectPool: when the object is freed, its handles go stale and
// stay so (until the slot has been reused 2^31 times). Handle{} is never valid.
struct Handle {
  uint32_t index = std::numeric_limits<uint32_t>::max();
  uint32_t generation = 0;
  friend constexpr bool operator==(Handle, Handle) = default;
};

// `capacity` slots for a T, used last-in first-out so that a reused slot is likely still in cache.
// Allocate(args...) constructs T(args...) in the slot (T() value-initialises, so nothing of the
// last owner is left), Free destroys it, and so does the pool's end for what still lives. Slots
// never used are never touched: a pool for a million costs address space only. Slots follow each
// other at sizeof(T), from a cache-line boundary: a T that must not share lines says alignas(64).
// One thread. In ASan builds free slots are poisoned.
template <class T>
class ObjectPool {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  explicit ObjectPool(uint32_t capacity) : capacity_(capacity), slots_(capacity), lives_(capacity) {
    USHER_CHECK(capacity < kNone);
    AsanPoison(slots_.data(), size_t{capacity} * sizeof(Slot));
  }
  ~ObjectPool() {
    if constexpr (!std::is_trivially_destructible_v<T>) {
      ForEach([this](uint32_t index) { std::destroy_at(Address(index)); });
    }
    AsanUnpoison(slots_.data(), size_t{capacity_} * sizeof(Slot));
  }
  ObjectPool(const ObjectPool&) = delete;
  ObjectPool& operator=(const ObjectPool&) = delete;

  // Constructs an object and returns its index, or kNone when every slot is taken.
  template <class... Args>
  uint32_t Allocate(Args&&... args) {
    uint32_t index = free_;
    if (index != kNone) {
      free_ = lives_[index].next_free;
    } else if (untouched_ < capacity_) {
      index = untouched_++;
    } else {
      return kNone;
    }
    ++lives_[index].generation;
    ++size_;
    AsanUnpoison(&slots_[index], sizeof(Slot));
    ::new (static_cast<void*>(&slots_[index])) T(std::forward<Args>(args)...);
    return index;
  }

  // Destroys the object at `index`, which must be live.
  void Free(uint32_t index) {
    USHER_CHECK(IsLive(index));
    std::destroy_at(Address(index));
    AsanPoison(&slots_[index], sizeof(Slot));
    ++lives_[index].generation;
    lives_[index].next_free = free_;
    free_ = index;
    --size_;
  }

  T& operator[](uint32_t index) {
    USHER_DCHECK(IsLive(index));
    return *Address(index);
  }
  const T& operator[](uint32_t index) const {
    USHER_DCHECK(IsLive(index));
    return *Address(index);
  }

  // Whether `index` holds an object now.
  bool IsLive(uint32_t index) const {
    return index < untouched_ && lives_[index].generation % 2 == 1;
  }

  // The handle of the object at `index`, which must be live.
  Handle HandleOf(uint32_t index) const {
    USHER_DCHECK(IsLive(index));
    return {index, lives_[index].generation};
  }

  // The object that `handle` was made for, or null if that one is gone.
  T* Get(Handle handle) { return IsCurrent(handle) ? Address(handle.index) : nullptr; }
  const T* Get(Handle handle) const { return IsCurrent(handle) ? Address(handle.index) : nullptr; }

  // Asks for the cache lines of the first `size_bytes` of a slot ahead of their use.
  void Prefetch(uint32_t index, size_t size_bytes = internal::kCacheLineBytes) const {
    const char* start = reinterpret_cast<const char*>(slots_.data() + index);
    for (size_t i = 0; i < size_bytes; i += internal::kCacheLineBytes)
      __builtin_prefetch(start + i);
  }

  // Calls visit(index) for every live object in index order; visit may free that object.
  template <class Visit>
  void ForEach(Visit&& visit) const {
    for (uint32_t index = 0; index < untouched_; ++index) {
      if (IsLive(index)) visit(index);
    }
  }

  // The same for the live objects among `count` slots from `first` on: a walk in steps, between
  // which objects may come and go. Returns where to go on, kNone at the end.
  template <class Visit>
  uint32_t ForEachFrom(uint32_t first, uint32_t count, Visit&& visit) const {
    const uint32_t end = untouched_ - first > count ? first + count : untouched_;
    for (uint32_t index = first; index < end; ++index) {
      if (IsLive(index)) visit(index);
    }
    return end < untouched_ ? end : kNone;
  }

  uint32_t size() const { return size_; }
  uint32_t capacity() const { return capacity_; }

  // What a pool of that capacity takes at most.
  static constexpr size_t BytesFor(uint32_t capacity) {
    return size_t{capacity} * (sizeof(Slot) + sizeof(Life));
  }

 private:
  struct alignas(T) Slot {
    std::byte bytes[sizeof(T)];
  };
  struct Life {
    uint32_t generation;  // odd while an object lives here
    uint32_t next_free;
  };

  bool IsCurrent(Handle handle) const {
    return handle.index < untouched_ && handle.generation % 2 == 1 &&
           lives_[handle.index].generation == handle.generation;
  }
  T* Address(uint32_t index) { return std::launder(reinterpret_cast<T*>(slots_.data() + index)); }
  const T* Address(uint32_t index) const {
    return std::launder(reinterpret_cast<const T*>(slots_.data() + index));
  }

  uint32_t capacity_;
  uint32_t size_ = 0;
  uint32_t free_ = kNone;    // head of the list of slots used before
  uint32_t untouched_ = 0;   // first slot never used
  ZeroedArray<Slot> slots_;  // the objects
  ZeroedArray<Life> lives_;
};

}  // namespace usher
