// A rate limit: `rate` tokens a second, `burst` of them saved up at most.
#pragma once

#include <algorithm>
#include <cstdint>

#include "stack/base/time.h"

namespace usher {

class TokenBucket {
 public:
  TokenBucket(uint32_t rate_per_second, uint32_t burst)
      : rate_(rate_per_second), burst_(burst), tokens_(burst) {}

  // Takes one token; false if there is none.
  bool Take(Instant now) {
    Refill(now);
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }

  // Throws away up to n tokens: makes the exact rate unknowable from outside (CVE-2020-25705).
  void Spill(uint32_t n) { tokens_ -= std::min(n, tokens_); }

 private:
  void Refill(Instant now) {
    if (now <= last_) return;
    if (rate_ == 0) return;
    // Elapsed time beyond what fills the bucket must not overflow the product below.
    const Duration full = Duration::Seconds(int64_t{burst_ / rate_} + 1);
    const Duration elapsed = std::min(now - last_, full);
    const uint64_t earned = static_cast<uint64_t>(elapsed.ns()) * rate_ / uint64_t{1'000'000'000};
    if (earned == 0) return;
    tokens_ = static_cast<uint32_t>(std::min<uint64_t>(burst_, tokens_ + earned));
    // What did not make a whole token stays on the account, unless the bucket is full anyway.
    last_ = tokens_ == burst_ ? now
                              : last_ + Duration::Nanos(static_cast<int64_t>(
                                            earned * uint64_t{1'000'000'000} / rate_));
  }

  uint32_t rate_;
  uint32_t burst_;
  uint32_t tokens_;
  Instant last_;
};

}  // namespace usher
