// The one clock of a process that runs shards.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

// Monotonic time, the same for all threads up to some nanoseconds. Where the processor's cycle
// counter runs at one rate it is read (about 7 ns), else the kernel's CLOCK_MONOTONIC (about 25
// ns). Its zero is that of CLOCK_MONOTONIC.
class Clock {
 public:
  // Measures the counter against CLOCK_MONOTONIC: takes 20 ms.
  Clock();

  Instant Now() const;
  bool uses_cycle_counter() const { return nanos_per_cycle_ != 0; }

 private:
  static constexpr int kShift = 40;

  uint64_t first_cycle_ = 0;
  int64_t first_ns_ = 0;
  uint64_t nanos_per_cycle_ = 0;  // times 2^kShift; 0: not used
};

}  // namespace usher
