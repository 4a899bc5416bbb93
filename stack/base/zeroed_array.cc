#include "stack/base/zeroed_array.h"

#include <cstdlib>

namespace usher::internal {

void* AllocateLazyZeroed(size_t size_bytes, void** base) {
  // calloc takes large blocks from fresh, untouched pages; aligned_alloc would need clearing.
  USHER_CHECK(size_bytes <= SIZE_MAX - kCacheLineBytes);
  *base = std::calloc(1, size_bytes + kCacheLineBytes);
  USHER_CHECK(*base != nullptr);
  const auto address = reinterpret_cast<uintptr_t>(*base);
  return reinterpret_cast<void*>((address + kCacheLineBytes - 1) & ~(kCacheLineBytes - 1));
}

void FreeLazyZeroed(void* base) { std::free(base); }

}  // namespace usher::internal
