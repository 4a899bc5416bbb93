// SipHash, a keyed hash for short inputs (Aumasson and Bernstein, 2012). SipHash-2-4 where the
// output is seen by the peer (initial sequence numbers, cookies); SipHash-1-3 where it only picks
// a place in a table. Both resist a peer that chooses the input and never sees the key.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "stack/base/random.h"

namespace usher {

struct SipKey {
  uint64_t k0 = 0;
  uint64_t k1 = 0;

  // Draws a fresh key.
  static SipKey From(RandomSource& random);
};

namespace internal {

// The state of one computation with C rounds per word and D to finish.
template <int C, int D>
class SipState {
 public:
  constexpr explicit SipState(SipKey key)
      : v0_(key.k0 ^ 0x736f6d6570736575u),
        v1_(key.k1 ^ 0x646f72616e646f6du),
        v2_(key.k0 ^ 0x6c7967656e657261u),
        v3_(key.k1 ^ 0x7465646279746573u) {}

  constexpr void Absorb(uint64_t word) {
    v3_ ^= word;
    for (int i = 0; i < C; ++i) Round();
    v0_ ^= word;
  }

  constexpr uint64_t Finish() {
    v2_ ^= 0xff;
    for (int i = 0; i < D; ++i) Round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  constexpr void Round() {
    v0_ += v1_;
    v2_ += v3_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ = std::rotl(v0_, 32) + v3_;
    v2_ += v1_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }

  uint64_t v0_, v1_, v2_, v3_;
};

// Up to eight bytes as a little-endian word; compilers make one load of eight.
constexpr uint64_t SipLoad(std::span<const uint8_t> bytes) {
  uint64_t word = 0;
  for (size_t i = 0; i < bytes.size(); ++i) word |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return word;
}

template <int C, int D>
constexpr uint64_t SipHashBytes(SipKey key, std::span<const uint8_t> bytes) {
  SipState<C, D> state(key);
  const uint64_t length = bytes.size();
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) state.Absorb(SipLoad(bytes.first<8>()));
  state.Absorb(SipLoad(bytes) | length << 56);
  return state.Finish();
}

template <int C, int D, class... Words>
constexpr uint64_t SipHashWords(SipKey key, Words... words) {
  SipState<C, D> state(key);
  (state.Absorb(words), ...);
  state.Absorb(static_cast<uint64_t>(8 * sizeof...(words)) << 56);
  return state.Finish();
}

}  // namespace internal

// The hash of `bytes`.
constexpr uint64_t SipHash24(SipKey key, std::span<const uint8_t> bytes) {
  return internal::SipHashBytes<2, 4>(key, bytes);
}
constexpr uint64_t SipHash13(SipKey key, std::span<const uint8_t> bytes) {
  return internal::SipHashBytes<1, 3>(key, bytes);
}

// The hash of one to five 64-bit words: what the forms above give for their little-endian bytes,
// without a loop.
template <std::same_as<uint64_t>... Words>
requires(sizeof...(Words) >= 1 && sizeof...(Words) <= 5) constexpr uint64_t
    SipHash24(SipKey key, Words... words) {
  return internal::SipHashWords<2, 4>(key, words...);
}
template <std::same_as<uint64_t>... Words>
requires(sizeof...(Words) >= 1 && sizeof...(Words) <= 5) constexpr uint64_t
    SipHash13(SipKey key, Words... words) {
  return internal::SipHashWords<1, 3>(key, words...);
}

inline SipKey SipKey::From(RandomSource& random) {
  std::array<uint8_t, 16> bytes;
  random.Fill(bytes);
  const std::span<const uint8_t> view(bytes);
  return {internal::SipLoad(view.first<8>()), internal::SipLoad(view.last<8>())};
}

}  // namespace usher
