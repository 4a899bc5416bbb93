// Latencies, kept so that the far percentiles are exact to within a per cent.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "stack/base/time.h"

namespace usher::load {

// A log-linear histogram of durations in nanoseconds: every power of two is cut into 128 equal
// buckets, so a percentile is at most 1/128 above what it stands for. Durations above about 18
// minutes count as that. No allocation; one thread, or joined by Add when the threads have ended.
class Histogram {
 public:
  void Record(Duration value) {
    const uint64_t ns =
        static_cast<uint64_t>(std::clamp<int64_t>(value.ns(), 0, int64_t{kLargest}));
    ++buckets_[BucketOf(ns)];
    ++count_;
    sum_ns_ += ns;
    min_ns_ = std::min(min_ns_, ns);
    max_ns_ = std::max(max_ns_, ns);
  }

  // Takes over what `other` has recorded.
  void Add(const Histogram& other);

  uint64_t count() const { return count_; }
  // Zero if nothing was recorded, likewise the next three.
  Duration min() const;
  Duration max() const { return Duration::Nanos(static_cast<int64_t>(max_ns_)); }
  Duration mean() const;
  // The least duration that `percent` (0 to 100) of all recorded ones do not exceed, rounded up to
  // the end of its bucket, but never above max().
  Duration Percentile(double percent) const;

 private:
  static constexpr int kSubBits = 7;
  static constexpr int kTopBit = 40;
  static constexpr uint64_t kLargest = (uint64_t{1} << kTopBit) - 1;
  static constexpr size_t kBuckets = (kTopBit - kSubBits + 1) << kSubBits;

  static size_t BucketOf(uint64_t ns) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(ns)) - kSubBits - 1);
    return (static_cast<size_t>(shift) << kSubBits) + (ns >> shift);
  }
  // The last value that falls into it.
  static uint64_t EndOf(size_t bucket);

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t sum_ns_ = 0;
  uint64_t min_ns_ = UINT64_MAX;
  uint64_t max_ns_ = 0;
};

}  // namespace usher::load
