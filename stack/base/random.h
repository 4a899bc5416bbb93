// Where chance comes from: the embedder's CSPRNG in production, a seed in tests and simulations.
#pragma once

#include <cstdint>
#include <span>

#include "stack/base/check.h"

namespace usher {

// Gives unpredictable bytes for keys. An implementation that cannot deliver them must end the
// process: a stack with guessable keys is worse than none (RFC 6528 section 3).
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual void Fill(std::span<uint8_t> out) = 0;
};

// A reproducible stream: the same seed gives the same values on every platform. It is
// SplitMix64, good enough to jitter and to simulate, and of no use as a source of real keys.
class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}

  uint64_t Next64() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // A value below `n`, every one equally likely; `n` must not be 0.
  uint64_t Uniform(uint64_t n) {
    USHER_CHECK(n != 0);
    // 2^64 mod n values at the low end would come up once too often; they are drawn again.
    const uint64_t reject_below = (0 - n) % n;
    uint64_t value = Next64();
    while (value < reject_below) value = Next64();
    return value % n;
  }

  // Writes Next64() values in little-endian order; the unused bytes of the last one are dropped.
  void Fill(std::span<uint8_t> out) override {
    uint64_t word = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      if (i % 8 == 0) word = Next64();
      out[i] = static_cast<uint8_t>(word >> (8 * (i % 8)));
    }
  }

 private:
  uint64_t state_;
};

}  // namespace usher
