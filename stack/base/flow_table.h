// From a 64-bit keyed hash of a flow's addresses to the index of whatever holds that flow.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "stack/base/check.h"
#include "stack/base/zeroed_array.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace usher {

// A multimap from hash to uint32_t with room for `capacity` entries, all memory taken at
// construction. The hash must be keyed (SipHash): against chosen collisions the table promises
// only a bounded probe, not a place. One thread.
//
// A bucket is one cache line: eight 32-bit tags and eight values, so that a look-up compares
// eight tags at once and touches one line nearly always. The hash's low half picks the bucket. An
// entry that finds its bucket full goes to the next that is not, less than kMaxProbeBuckets on.
// Every bucket counts the entries that went past it, and a spare bit in the bucket itself says
// whether there are any: a look-up goes on only then, and erasing needs neither tombstones nor
// moves.
class FlowTable {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  // The table is at most 2/3 full; with random hashes a run of 64 full buckets is then out of
  // reach (mean 341 of 512 places, standard deviation 18).
  static constexpr uint32_t kMaxProbeBuckets = 64;

  explicit FlowTable(uint32_t capacity)
      : capacity_(capacity),
        bucket_mask_(BucketsFor(capacity) - 1),
        probe_limit_(std::min(kMaxProbeBuckets, bucket_mask_ + 1)),
        buckets_(size_t{bucket_mask_} + 1),
        passed_(size_t{bucket_mask_} + 1) {}

  // Asks for the line that Find, Insert and Erase of `hash` will want.
  void Prefetch(uint64_t hash) const { __builtin_prefetch(&buckets_[Home(hash)]); }

  // The first value filed under `hash` for which match(value) is true, or kNone. `match` is asked
  // only about values whose tag agrees, so it is asked in vain at most once in 2^21 look-ups.
  template <class Match>
  uint32_t Find(uint64_t hash, Match&& match) const {
    const Place place = Locate(hash, match);
    return place.lane == kLanes ? kNone : buckets_[place.bucket].values[place.lane];
  }

  // Files `value` (not kNone) under `hash`; equal hashes and even equal pairs are kept apart.
  // False, and counted, when the table is full or no place is within reach.
  bool Insert(uint64_t hash, uint32_t value) {
    USHER_DCHECK(value != kNone);
    const uint32_t home = Home(hash);
    if (size_ < capacity_) {
      for (uint32_t distance = 0; distance < probe_limit_; ++distance) {
        Bucket& bucket = buckets_[(home + distance) & bucket_mask_];
        const uint32_t empty = MatchLanes(bucket, 0);
        if (empty == 0) continue;
        const int lane = std::countr_zero(empty);
        bucket.tags[lane] |= Tag(hash);  // keeps the bit that is not the tag's
        bucket.values[lane] = value;
        CountPassing(home, distance, +1);
        longest_probe_ = std::max(longest_probe_, distance + 1);
        ++size_;
        return true;
      }
    }
    ++refused_;
    return false;
  }

  // Removes one entry of this hash and value; false if there is none.
  bool Erase(uint64_t hash, uint32_t value) {
    const Place place = Locate(hash, [value](uint32_t v) { return v == value; });
    if (place.lane == kLanes) return false;
    Bucket& bucket = buckets_[place.bucket];
    bucket.tags[place.lane] &= kPassedBit;
    bucket.values[place.lane] = 0;
    const uint32_t home = Home(hash);
    CountPassing(home, (place.bucket - home) & bucket_mask_, -1);
    --size_;
    return true;
  }

  // Calls visit(value) for every entry; visit may erase that entry, and change nothing else.
  template <class Visit>
  void ForEach(Visit&& visit) const {
    for (size_t i = 0; i < buckets_.size(); ++i) {
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        if ((buckets_[i].tags[lane] & kOccupiedBit) != 0) visit(buckets_[i].values[lane]);
      }
    }
  }

  uint32_t size() const { return size_; }
  uint32_t capacity() const { return capacity_; }
  // How many entries Insert has refused.
  uint64_t refused() const { return refused_; }
  // The most buckets, its own included, that any entry was ever placed over.
  uint32_t longest_probe() const { return longest_probe_; }

  // How many buckets a look-up of `hash` that finds nothing has to read.
  uint32_t ProbeLength(uint64_t hash) const {
    uint32_t length = 1;
    while (length < probe_limit_ &&
           (buckets_[(Home(hash) + length - 1) & bucket_mask_].tags[0] & kPassedBit) != 0) {
      ++length;
    }
    return length;
  }

  // What a table of that capacity takes.
  static constexpr size_t BytesFor(uint32_t capacity) {
    return size_t{BucketsFor(capacity)} * (sizeof(Bucket) + sizeof(uint16_t));
  }

 private:
  static constexpr uint32_t kLanes = 8;
  // A tag: bit 31 set, for an empty lane is 0; 24 bits of the hash's high half; six of its low
  // half, so that of the homes within reach only one agrees, and an entry's distance is known.
  static constexpr uint32_t kOccupiedBit = 1u << 31;
  static constexpr uint32_t kHashBits = 0x7fffff80;
  static constexpr uint32_t kHomeMask = kMaxProbeBuckets - 1;
  // Bit 0 of lane 0 is not the tag's: some entry went past this bucket.
  static constexpr uint32_t kPassedBit = 1;

  struct alignas(64) Bucket {
    uint32_t tags[kLanes];
    uint32_t values[kLanes];
  };
  static_assert(sizeof(Bucket) == 64);

  struct Place {
    uint32_t bucket;
    uint32_t lane;  // kLanes: nowhere
  };

  static constexpr uint32_t BucketsFor(uint32_t capacity) {
    return static_cast<uint32_t>(
        std::bit_ceil(std::max<uint64_t>(1, (uint64_t{capacity} * 3 / 2 + kLanes - 1) / kLanes)));
  }

  uint32_t Home(uint64_t hash) const { return static_cast<uint32_t>(hash) & bucket_mask_; }

  static uint32_t Tag(uint64_t hash) {
    return kOccupiedBit | (static_cast<uint32_t>(hash >> 32) & kHashBits) |
           (static_cast<uint32_t>(hash) & kHomeMask) << 1;
  }

  // A bit for each lane whose tag is `tag`.
  static uint32_t MatchLanes(const Bucket& bucket, uint32_t tag) {
#if defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(tag));
    const __m128i first = _mm_load_si128(reinterpret_cast<const __m128i*>(bucket.tags));
    const __m128i second = _mm_load_si128(reinterpret_cast<const __m128i*>(bucket.tags + 4));
    const __m128i passed_bit = _mm_cvtsi32_si128(kPassedBit);
    const __m128i equal =
        _mm_packs_epi32(_mm_cmpeq_epi32(_mm_andnot_si128(passed_bit, first), wanted),
                        _mm_cmpeq_epi32(second, wanted));
    return static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())));
#else
    uint32_t lanes = (bucket.tags[0] & ~kPassedBit) == tag;
    for (uint32_t i = 1; i < kLanes; ++i) lanes |= uint32_t{bucket.tags[i] == tag} << i;
    return lanes;
#endif
  }

  template <class Match>
  Place Locate(uint64_t hash, Match&& match) const {
    const uint32_t tag = Tag(hash);
    uint32_t index = Home(hash);
    for (uint32_t probed = 0; probed < probe_limit_; ++probed) {
      const Bucket& bucket = buckets_[index];
      for (uint32_t lanes = MatchLanes(bucket, tag); lanes != 0; lanes &= lanes - 1) {
        const auto lane = static_cast<uint32_t>(std::countr_zero(lanes));
        if (match(bucket.values[lane])) return {index, lane};
      }
      if ((bucket.tags[0] & kPassedBit) == 0) break;
      index = (index + 1) & bucket_mask_;
    }
    return {0, kLanes};
  }

  // Notes in the `distance` buckets from `home` on that one entry more or less went past.
  void CountPassing(uint32_t home, uint32_t distance, int change) {
    for (uint32_t i = 0; i < distance; ++i) {
      const uint32_t index = (home + i) & bucket_mask_;
      passed_[index] = static_cast<uint16_t>(passed_[index] + change);
      uint32_t& flag = buckets_[index].tags[0];
      flag = (flag & ~kPassedBit) | (passed_[index] != 0 ? kPassedBit : 0);
    }
  }

  uint32_t capacity_;
  uint32_t bucket_mask_;
  uint32_t probe_limit_;
  uint32_t size_ = 0;
  uint32_t longest_probe_ = 0;
  uint64_t refused_ = 0;
  ZeroedArray<Bucket> buckets_;
  // Entries that went past each bucket. They lie in the 63 buckets after it: at most 504.
  ZeroedArray<uint16_t> passed_;
};

}  // namespace usher
