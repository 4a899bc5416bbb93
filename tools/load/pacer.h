// When what is next is to be sent.
#pragma once

#include <cmath>
#include <cstdint>

#include "stack/base/time.h"

namespace usher::load {

// Open loop: due at even intervals from the start on, whether or not what went before is answered;
// who is late takes what is due with the time at which it was due, so that the wait is in the
// latency (no coordinated omission). Closed loop (rate 0): always due, now.
class Pacer {
 public:
  explicit Pacer(double per_second) : interval_ns_(per_second > 0 ? 1e9 / per_second : 0) {}

  void Start(Instant now) {
    start_ = now;
    taken_ = 0;
  }
  // When the next one is (was) due; meaningless in closed loop.
  Instant next() const {
    return start_ +
           Duration::Nanos(static_cast<int64_t>(static_cast<double>(taken_) * interval_ns_));
  }
  bool Due(Instant now) const { return !open_loop() || next() <= now; }
  // Takes one that is due: the time from which its latency counts.
  Instant Take(Instant now) {
    const Instant due = open_loop() ? next() : now;
    ++taken_;
    return due;
  }
  // How many were due before `now` and not taken.
  uint64_t Overdue(Instant now) const {
    if (!open_loop() || now < start_) return 0;
    const auto due =
        static_cast<uint64_t>(std::ceil(static_cast<double>((now - start_).ns()) / interval_ns_));
    return due > taken_ ? due - taken_ : 0;
  }
  bool open_loop() const { return interval_ns_ > 0; }

 private:
  double interval_ns_;
  Instant start_;
  uint64_t taken_ = 0;
};

}  // namespace usher::load
