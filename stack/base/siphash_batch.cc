#include "stack/base/siphash_batch.h"

#include <algorithm>
#include <cstring>

#include "stack/base/cpu.h"

namespace usher {
namespace internal {
namespace {

namespace one_by_one {

template <int C, int D, uint32_t kWords>
void Hash(const SipKey& key, const SipBatch<kWords>& batch, uint64_t extra, uint64_t* out) {
  for (uint32_t i = 0; i < batch.count; ++i) {
    SipState<C, D> state(key);
    for (uint32_t w = 0; w + 1 < kWords; ++w) state.Absorb(batch.words[w][i]);
    state.Absorb(batch.words[kWords - 1][i] | extra);
    state.Absorb(uint64_t{8 * kWords} << 56);
    out[i] = state.Finish();
  }
}

}  // namespace one_by_one

#if defined(__x86_64__)

namespace avx2 {
#define USHER_ISA "avx2"
#define USHER_LANES 4
#include "stack/base/siphash_lanes.inc"
}  // namespace avx2

namespace avx512 {
#define USHER_ISA "avx512f"
#define USHER_LANES 8
#include "stack/base/siphash_lanes.inc"
}  // namespace avx512

#endif

#define USHER_SIP_WAY(way, lanes, supported)                                                  \
  {                                                                                           \
#way, lanes, supported, way::Hash < 2, 4, 2>, way::Hash < 2, 4, 5>, way::Hash < 1, 3, 2>, \
        way::Hash < 1, 3, 5>                                                                  \
  }

const SipWay& Fastest() {
  static const SipWay& fastest = *std::find_if(SipWays().begin(), SipWays().end(),
                                               [](const SipWay& way) { return way.supported; });
  return fastest;
}

// A register costs the same however many lanes are wanted; a message or two are cheaper without.
constexpr uint32_t kFewMessages = 2;

const SipWay& WayFor(uint32_t count) {
  return count <= kFewMessages ? SipWays().back() : Fastest();
}

}  // namespace

std::span<const SipWay> SipWays() {
  static const SipWay ways[] = {
#if defined(__x86_64__)
    USHER_SIP_WAY(avx512, 8, CpuHasAvx512()),
    USHER_SIP_WAY(avx2, 4, CpuHasAvx2()),
#endif
    USHER_SIP_WAY(one_by_one, 1, true),
  };
  return ways;
}

}  // namespace internal

void SipHash24(const SipKey& key, const SipBatch<2>& batch, uint64_t extra, uint64_t* out) {
  internal::WayFor(batch.count).hash24_of2(key, batch, extra, out);
}
void SipHash24(const SipKey& key, const SipBatch<5>& batch, uint64_t extra, uint64_t* out) {
  internal::WayFor(batch.count).hash24_of5(key, batch, extra, out);
}
void SipHash13(const SipKey& key, const SipBatch<2>& batch, uint64_t* out) {
  internal::WayFor(batch.count).hash13_of2(key, batch, 0, out);
}
void SipHash13(const SipKey& key, const SipBatch<5>& batch, uint64_t* out) {
  internal::WayFor(batch.count).hash13_of5(key, batch, 0, out);
}

}  // namespace usher
