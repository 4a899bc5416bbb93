#include "tools/load/histogram.h"

#include <cmath>

namespace usher::load {

uint64_t Histogram::EndOf(size_t bucket) {
  // Values below two powers' worth of buckets have one each.
  if (bucket < (size_t{2} << kSubBits)) return bucket;
  const size_t shift = (bucket >> kSubBits) - 1;
  const uint64_t lead = bucket - (shift << kSubBits);
  return ((lead + 1) << shift) - 1;
}

void Histogram::Add(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ns_ += other.sum_ns_;
  min_ns_ = std::min(min_ns_, other.min_ns_);
  max_ns_ = std::max(max_ns_, other.max_ns_);
}

Duration Histogram::min() const {
  return Duration::Nanos(count_ == 0 ? 0 : static_cast<int64_t>(min_ns_));
}

Duration Histogram::mean() const {
  return Duration::Nanos(count_ == 0 ? 0 : static_cast<int64_t>(sum_ns_ / count_));
}

Duration Histogram::Percentile(double percent) const {
  if (count_ == 0) return Duration();
  const double wanted = std::ceil(static_cast<double>(count_) * percent / 100);
  const uint64_t rank =
      std::clamp<uint64_t>(static_cast<uint64_t>(std::max(wanted, 1.0)), 1, count_);
  uint64_t seen = 0;
  size_t bucket = 0;
  while ((seen += buckets_[bucket]) < rank) ++bucket;
  return Duration::Nanos(static_cast<int64_t>(std::min(EndOf(bucket), max_ns_)));
}

}  // namespace usher::load
