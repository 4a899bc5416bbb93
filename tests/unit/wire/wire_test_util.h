// Helpers of the wire/ tests: bytes from hex, buffers that end where the packet ends, a generator.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "stack/wire/bytes.h"

namespace usher {

// "45 00 | 0028": hex digits in pairs; everything else is ignored.
inline std::vector<uint8_t> Hex(std::string_view text) {
  std::vector<uint8_t> bytes;
  int high = -1;
  for (char c : text) {
    int digit;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else {
      continue;
    }
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  return bytes;
}

// The first `n` bytes in a heap block of exactly that size, so that AddressSanitizer sees every
// read beyond them.
class ExactCopy {
 public:
  explicit ExactCopy(ByteSpan bytes) : ExactCopy(bytes, bytes.size()) {}
  ExactCopy(ByteSpan bytes, size_t n) : data_(new uint8_t[n]), size_(n) {
    if (n != 0) std::memcpy(data_.get(), bytes.data(), n);
  }
  ByteSpan span() const { return {data_.get(), size_}; }
  uint8_t* data() { return data_.get(); }

 private:
  std::unique_ptr<uint8_t[]> data_;
  size_t size_;
};

// Calls `use` with every truncation of `packet` and with every change of one byte to each of its
// 255 other values.
template <typename Use>
void ForEachTruncationAndMutation(ByteSpan packet, Use&& use) {
  for (size_t n = 0; n <= packet.size(); ++n) use(ExactCopy(packet, n).span());
  for (size_t i = 0; i < packet.size(); ++i) {
    ExactCopy copy(packet);
    for (int delta = 1; delta < 256; ++delta) {
      copy.data()[i] = static_cast<uint8_t>(packet[i] + delta);
      use(copy.span());
    }
  }
}

// Reads every byte, so that a span that lies outside its buffer is caught.
inline uint32_t Touch(ByteSpan bytes) {
  uint32_t sum = 0;
  for (uint8_t b : bytes) sum += b;
  return sum;
}

// A linear congruential generator: the same numbers from the same seed on every machine.
class Lcg {
 public:
  explicit Lcg(uint64_t seed) : state_(seed) {}
  uint32_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  uint32_t Below(uint32_t bound) { return Next() % bound; }
  bool Chance() { return (Next() & 1) != 0; }
  std::vector<uint8_t> Bytes(size_t n) {
    std::vector<uint8_t> bytes(n);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(Next());
    return bytes;
  }

 private:
  uint64_t state_;
};

}  // namespace usher
