// Assertions. A broken invariant in a network stack is a door for whoever sent the packet, so
// USHER_CHECK stays in release builds; it is for what no input may ever cause.
#pragma once

namespace usher::internal {

// Prints the failed expression with its place to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression);

}  // namespace usher::internal

// Aborts, in every build, unless `condition` holds.
#define USHER_CHECK(condition)        \
  (__builtin_expect(!!(condition), 1) \
       ? static_cast<void>(0)         \
       : ::usher::internal::CheckFailed(__FILE__, __LINE__, #condition))

// The same for hot paths: checked where USHER_DEBUG is defined (meson's buildtypes debug and
// debugoptimized), elsewhere compiled but never evaluated.
#ifdef USHER_DEBUG
#define USHER_DCHECK(condition) USHER_CHECK(condition)
#else
#define USHER_DCHECK(condition) (false ? static_cast<void>(condition) : static_cast<void>(0))
#endif
