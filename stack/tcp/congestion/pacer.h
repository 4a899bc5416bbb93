// Pacing: spreads what may be sent over time. A bucket of credit fills at the pacing rate; it holds
// about a millisecond's worth, so that bursts stay worth a pass. The wheel that carries the
// connection's other timers wakes the sender when the bucket is full: no system call, and nothing
// at all for a connection that is not paced.
#pragma once

#include <algorithm>
#include <cstdint>

#include "stack/base/time.h"

namespace usher {

class Pacer {
 public:
  static constexpr uint64_t kMostRate = uint64_t{UINT32_MAX} * 64;  // 275 GB a second

  // SO_MAX_PACING_RATE: no limit.
  static constexpr uint32_t kNoLimit = UINT32_MAX;

  bool active() const { return rate_64_ != 0; }
  void set_limit(uint32_t bytes_per_second) { limit_ = bytes_per_second; }
  bool limited() const { return limit_ != kNoLimit; }
  // `rate` as the limit lets it be.
  uint64_t Limited(uint64_t rate) const {
    return limited() ? std::min<uint64_t>(rate, limit_) : rate;
  }
  void Stop() { rate_64_ = 0; }
  // Bytes per second, of payload.
  void set_rate(uint64_t rate) {
    rate_64_ = static_cast<uint32_t>(std::clamp<uint64_t>(rate / 64, 1, UINT32_MAX));
  }
  uint64_t rate() const { return uint64_t{rate_64_} * 64; }

  // Whether there is credit for a segment at `now`.
  bool MaySend(Instant now, uint32_t mss) const {
    if (full_at_ <= now) return true;
    const int64_t wait_us = std::min<int64_t>((full_at_ - now).us(), 1'000'000'000);
    // As a bound on time: what the bucket lacks leaves room for a segment.
    return static_cast<uint64_t>(wait_us) * rate() <= (Depth(mss) - mss) * 1'000'000;
  }
  // `bytes` leave, whether there was credit or not.
  void OnSent(Instant now, uint32_t bytes) {
    const uint64_t ns = uint64_t{bytes} * 1'000'000'000 / rate();
    full_at_ = std::max(full_at_, now) + Duration::Nanos(static_cast<int64_t>(ns));
  }
  // When the bucket is full.
  Instant full_at() const { return full_at_; }

 private:
  // A millisecond at the rate; two segments at least, 64 KiB at most.
  uint64_t Depth(uint32_t mss) const {
    return std::clamp<uint64_t>(rate() / 1'024, 2 * mss, std::max(65'536u, 2 * mss));
  }

  Instant full_at_;
  uint32_t rate_64_ = 0;  // 0: not paced
  uint32_t limit_ = kNoLimit;
};

}  // namespace usher
