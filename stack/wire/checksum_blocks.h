// The ways to sum long data, for those who want a certain one (tests): see checksum.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace usher::checksum::internal {

struct SumWay {
  using Accumulate = uint64_t (*)(uint8_t* dst, const uint8_t* src, size_t n, uint64_t sum);

  const char* name;
  bool supported;  // by this machine
  Accumulate sum;
  Accumulate copy_and_sum;
};

// All that this program was built with, the fastest first; the last one is supported everywhere.
std::span<const SumWay> SumWays();

}  // namespace usher::checksum::internal
