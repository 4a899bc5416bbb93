// What one core of the generator has seen.
#pragma once

#include <array>
#include <cstdint>

#include "stack/tcp/types.h"
#include "tools/load/cpu_meter.h"
#include "tools/load/histogram.h"

namespace usher::load {

inline constexpr size_t kErrorKinds = static_cast<size_t>(Error::kAlready) + 1;

struct Result {
  // While it was measured.
  Histogram latency;        // of answers
  uint64_t answers = 0;     // whole responses; floods: frames that answer
  uint64_t body_bytes = 0;  // bulk up: bytes acknowledged
  CpuUse cpu;
  // From the first connection to the last, what came before and after the measuring included.
  uint64_t all_answers = 0;
  uint64_t all_body_bytes = 0;
  uint64_t connections = 0;                    // opened
  uint64_t not_success = 0;                    // answers whose status is not 2xx
  uint64_t not_http = 0;                       // connections given up because what came was no HTTP
  uint64_t cut_short = 0;                      // requests lost because the server closed
  uint64_t unanswered = 0;                     // requests under way at the end
  uint64_t overdue = 0;                        // open loop: never sent, though due before the end
  std::array<uint64_t, kErrorKinds> errors{};  // connections that failed or were reset
  // Floods: frames of the measured time, answers of all the time.
  uint64_t frames = 0;
  uint64_t all_frames = 0;  // warm-up included
  uint64_t refused = 0;     // not taken by the port at once, and sent later or never
  uint64_t syn_acks = 0;
  uint64_t resets = 0;
  uint64_t other_answers = 0;
  bool unreachable = false;  // nobody answers for the server's address

  uint64_t failures() const {
    uint64_t sum = not_success + not_http + cut_short;
    for (const uint64_t n : errors) sum += n;
    return sum;
  }
  // Takes over another core's, but for the CPU use.
  void Add(const Result& other);
};

}  // namespace usher::load
