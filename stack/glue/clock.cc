#include "stack/glue/clock.h"

#include <cpuid.h>
#include <rte_cycles.h>
#include <time.h>

#include <algorithm>

namespace usher {
namespace {

int64_t KernelNanos() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

// "Invariant TSC": one rate in all states of the processor, and the same on all cores.
bool CycleCounterIsSteady() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1u << 8)) != 0;
}

struct Reading {
  uint64_t cycle;
  int64_t ns;
};

// Both clocks at one instant: the least disturbed of some tries.
Reading ReadBoth() {
  Reading best = {};
  uint64_t best_width = UINT64_MAX;
  for (int i = 0; i < 16; ++i) {
    const uint64_t before = rte_rdtsc_precise();
    const int64_t ns = KernelNanos();
    const uint64_t width = rte_rdtsc_precise() - before;
    if (width < best_width) {
      best_width = width;
      best = {before + width / 2, ns};
    }
  }
  return best;
}

}  // namespace

Clock::Clock() {
  if (!CycleCounterIsSteady()) return;
  constexpr timespec kMeasuring = {0, 20'000'000};
  const Reading first = ReadBoth();
  nanosleep(&kMeasuring, nullptr);
  const Reading last = ReadBoth();
  if (last.cycle <= first.cycle || last.ns <= first.ns) return;
  const auto nanos = static_cast<unsigned __int128>(last.ns - first.ns);
  nanos_per_cycle_ = static_cast<uint64_t>((nanos << kShift) / (last.cycle - first.cycle));
  first_cycle_ = first.cycle;
  first_ns_ = first.ns;
}

Instant Clock::Now() const {
  if (nanos_per_cycle_ == 0) return Instant::FromNanos(KernelNanos());
  // A core whose counter is some cycles behind may read less than the first reading.
  const auto cycles = std::max<int64_t>(static_cast<int64_t>(rte_rdtsc() - first_cycle_), 0);
  const auto nanos = static_cast<unsigned __int128>(cycles) * nanos_per_cycle_ >> kShift;
  return Instant::FromNanos(first_ns_ + static_cast<int64_t>(nanos));
}

}  // namespace usher
