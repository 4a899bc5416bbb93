#include "stack/glue/clock.h"

#include <gtest/gtest.h>
#include <time.h>

namespace usher {
namespace {

Instant Kernel() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant::FromNanos(int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec);
}

// Between two readings of the kernel's clock stands ours, give or take what the measuring of its
// rate may be wrong by: 0.1 per cent of the time since.
TEST(Clock, AgreesWithTheKernelAndNeverGoesBack) {
  const Instant start = Kernel();
  const Clock clock;
  Instant last;
  for (int i = 0; i < 100'000; ++i) {
    const Instant before = Kernel();
    const Instant now = clock.Now();
    const Instant after = Kernel();
    const Duration slack = Duration::Micros(10) + (after - start) / 1000;
    ASSERT_GE(now, before - slack);
    ASSERT_LE(now, after + slack);
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace usher
