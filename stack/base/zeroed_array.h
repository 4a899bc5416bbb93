// The memory of tables and pools: all of it taken at start, zero, cache-line aligned, and costing
// address space only until it is touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "stack/base/check.h"

namespace usher {

namespace internal {

inline constexpr size_t kCacheLineBytes = 64;

// Zeroed memory whose pages the kernel provides on first touch; aborts if it is refused.
// `*base` is what FreeLazyZeroed wants back.
void* AllocateLazyZeroed(size_t size_bytes, void** base);
void FreeLazyZeroed(void* base);

}  // namespace internal

// A fixed-size array of elements for which all-zero bytes are a valid value.
template <class T>
class ZeroedArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
  static_assert(alignof(T) <= internal::kCacheLineBytes);

 public:
  explicit ZeroedArray(size_t size)
      : data_(static_cast<T*>(internal::AllocateLazyZeroed(size * sizeof(T), &base_))),
        size_(size) {}
  ~ZeroedArray() { internal::FreeLazyZeroed(base_); }
  ZeroedArray(const ZeroedArray&) = delete;
  ZeroedArray& operator=(const ZeroedArray&) = delete;

  T& operator[](size_t i) {
    USHER_DCHECK(i < size_);
    return data_[i];
  }
  const T& operator[](size_t i) const {
    USHER_DCHECK(i < size_);
    return data_[i];
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* base_ = nullptr;
  T* data_;
  size_t size_;
};

}  // namespace usher
