// Tells AddressSanitizer which memory of our own pools may be touched; nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define USHER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define USHER_ASAN 1
#endif
#endif

#ifdef USHER_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace usher {

#ifdef USHER_ASAN
inline constexpr bool kAsan = true;
inline void AsanPoison(const void* start, size_t size) { __asan_poison_memory_region(start, size); }
inline void AsanUnpoison(const void* start, size_t size) {
  __asan_unpoison_memory_region(start, size);
}
#else
inline constexpr bool kAsan = false;
inline void AsanPoison(const void*, size_t) {}
inline void AsanUnpoison(const void*, size_t) {}
#endif

}  // namespace usher
