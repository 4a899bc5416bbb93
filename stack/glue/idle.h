// What a polling thread does when there is nothing to do.
#pragma once

#include <algorithm>
#include <cstdint>

#include "stack/base/time.h"

namespace usher {

enum class PollMode : uint8_t {
  kPoll,      // polls without pause: least latency, a whole core
  kAdaptive,  // polls while there is work and a little longer, then sleeps for ever longer moments
};

// Decides after each pass how long to sleep. A short busy time behind the last work keeps the
// request-response rhythm of a loaded server free of sleeps. After it, where a packet ends a sleep
// (receive interrupts), sleeps are long at once. Where none does, they double from kShortest to
// kLight, and only a server at rest since kRecent goes on to kLongest: so a packet meets at most
// one sleep, of 100 us in a conversation and of 2 ms after a silence, and a server at rest wakes
// 500 times a second, which takes about one per cent of a core.
class IdlePolicy {
 public:
  static constexpr Duration kBusy = Duration::Micros(100);
  static constexpr Duration kShortest = Duration::Micros(10);
  static constexpr Duration kLight = Duration::Micros(100);
  static constexpr Duration kRecent = Duration::Millis(100);
  static constexpr Duration kLongest = Duration::Millis(2);
  static constexpr Duration kUntilPacket = Duration::Millis(5);  // errands wait as long

  // `packets_wake`: a packet ends the sleep.
  explicit IdlePolicy(PollMode mode, bool packets_wake = false)
      : mode_(mode), packets_wake_(packets_wake) {}

  // `work`: what the pass at `now` did; `deadline`: when the next timer is due. Zero: poll again at
  // once.
  Duration AfterPass(uint32_t work, Instant now, Instant deadline) {
    if (work != 0 || mode_ == PollMode::kPoll) {
      last_work_ = now;
      next_ = kShortest;
      return Duration();
    }
    if (now - last_work_ < kBusy || deadline - now < kShortest) return Duration();
    const Duration sleep = packets_wake_ ? kUntilPacket : next_;
    const Duration bound = now - last_work_ < kRecent ? kLight : kLongest;
    next_ = std::min(next_ * 2, bound);
    return std::min(sleep, deadline - now);
  }

  // True if the next idle pass may sleep, so that it needs a deadline.
  bool wants_deadline(uint32_t work) const { return work == 0 && mode_ == PollMode::kAdaptive; }

 private:
  const PollMode mode_;
  const bool packets_wake_;
  Instant last_work_;
  Duration next_ = kShortest;
};

}  // namespace usher
