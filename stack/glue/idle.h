// What a polling thread does when there is nothing to do.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

enum class PollMode : uint8_t {
  kPoll,      // polls without pause: least latency, a whole core
  kAdaptive,  // polls while there is work and a little longer, then sleeps for ever longer moments
};

// Decides after each pass how long to sleep. A short busy time behind the last work keeps the
// request-response rhythm of a loaded server free of sleeps; after it, sleeps double from
// kShortest to kLongest, so that a server at rest wakes about 10,000 times a second and takes a
// few per cent of a core. A packet meets at most one sleep.
class IdlePolicy {
 public:
  static constexpr Duration kBusy = Duration::Micros(30);
  static constexpr Duration kShortest = Duration::Micros(10);
  static constexpr Duration kLongest = Duration::Micros(100);

  explicit IdlePolicy(PollMode mode) : mode_(mode) {}

  // `work`: what the pass at `now` did; `deadline`: when the next timer is due. Zero: poll again at
  // once.
  Duration AfterPass(uint32_t work, Instant now, Instant deadline) {
    if (work != 0 || mode_ == PollMode::kPoll) {
      last_work_ = now;
      next_ = kShortest;
      return Duration();
    }
    if (now - last_work_ < kBusy || deadline - now < kShortest) return Duration();
    const Duration sleep = next_ < deadline - now ? next_ : deadline - now;
    next_ = next_ * 2 < kLongest ? next_ * 2 : kLongest;
    return sleep;
  }

  // True if the next idle pass may sleep, so that it needs a deadline.
  bool wants_deadline(uint32_t work) const { return work == 0 && mode_ == PollMode::kAdaptive; }

 private:
  const PollMode mode_;
  Instant last_work_;
  Duration next_ = kShortest;
};

}  // namespace usher
