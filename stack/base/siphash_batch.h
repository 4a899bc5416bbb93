// SipHash of many messages of one length at once: a message to each lane of the widest vector
// registers that the machine has.
#pragma once

#include <cstdint>
#include <span>

#include "stack/base/siphash.h"

namespace usher {

// Messages of `kWords` 64-bit words, written column by column. Nothing is cleared: beyond `count`
// stands what was there, and is hashed for nothing.
template <uint32_t kWords>
struct SipBatch {
  static constexpr uint32_t kMax = 32;

  alignas(64) uint64_t words[kWords][kMax];  // [w][i]: word w of message i
  uint32_t count = 0;
};

// out[i] is the hash of message i, whose last word is first joined with `extra` by OR. `out` has
// room for kMax, all of which may be written.
void SipHash24(const SipKey& key, const SipBatch<2>& batch, uint64_t extra, uint64_t* out);
void SipHash24(const SipKey& key, const SipBatch<5>& batch, uint64_t extra, uint64_t* out);
void SipHash13(const SipKey& key, const SipBatch<2>& batch, uint64_t* out);
void SipHash13(const SipKey& key, const SipBatch<5>& batch, uint64_t* out);

namespace internal {

// The ways to compute a batch; all give the same.
struct SipWay {
  template <uint32_t kWords>
  using Hash = void (*)(const SipKey&, const SipBatch<kWords>&, uint64_t extra, uint64_t* out);

  const char* name;
  uint32_t lanes;
  bool supported;  // by this machine
  Hash<2> hash24_of2;
  Hash<5> hash24_of5;
  Hash<2> hash13_of2;
  Hash<5> hash13_of5;
};

// All that this program was built with, the fastest first; the last one is supported everywhere.
std::span<const SipWay> SipWays();

}  // namespace internal
}  // namespace usher
