#include "stack/wire/checksum_blocks.h"

#include <algorithm>
#include <cstring>

#include "stack/base/cpu.h"
#include "stack/wire/checksum.h"

namespace usher::checksum::internal {
namespace {

namespace baseline {
#define USHER_TARGET
#define USHER_LANES 2
#include "stack/wire/checksum_lanes.inc"
}  // namespace baseline

#if defined(__x86_64__)

namespace avx2 {
#define USHER_TARGET [[gnu::target("avx2")]]
#define USHER_LANES 4
#include "stack/wire/checksum_lanes.inc"
}  // namespace avx2

namespace avx512 {
#define USHER_TARGET [[gnu::target("avx512f")]]
#define USHER_LANES 8
#include "stack/wire/checksum_lanes.inc"
}  // namespace avx512

#endif

const SumWay& Fastest() {
  static const SumWay& fastest = *std::find_if(SumWays().begin(), SumWays().end(),
                                               [](const SumWay& way) { return way.supported; });
  return fastest;
}

}  // namespace

std::span<const SumWay> SumWays() {
  static const SumWay ways[] = {
#if defined(__x86_64__)
    {"avx512", CpuHasAvx512(), avx512::Accumulate<false>, avx512::Accumulate<true>},
    {"avx2", CpuHasAvx2(), avx2::Accumulate<false>, avx2::Accumulate<true>},
#endif
    {"baseline", true, baseline::Accumulate<false>, baseline::Accumulate<true>},
  };
  return ways;
}

uint64_t AccumulateBlocks(uint8_t* dst, const uint8_t* src, size_t n, uint64_t sum) {
  const SumWay& way = Fastest();
  return dst != nullptr ? way.copy_and_sum(dst, src, n, sum) : way.sum(nullptr, src, n, sum);
}

}  // namespace usher::checksum::internal
