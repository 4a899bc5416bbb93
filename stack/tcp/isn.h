// Initial sequence numbers and timestamp offsets, keyed per connection.
#pragma once

#include <cstdint>

#include "stack/base/random.h"
#include "stack/base/seq.h"
#include "stack/base/siphash.h"
#include "stack/base/time.h"
#include "stack/wire/tuple_hash.h"

namespace usher {

// The keys are drawn once, at construction.
class IsnGenerator {
 public:
  explicit IsnGenerator(RandomSource& random)
      : isn_key_(SipKey::From(random)), timestamp_key_(SipKey::From(random)) {}

  // RFC 6528: ISN = M + F(addresses, ports, secret), M a clock that ticks every 64 ns (it wraps
  // after 275 s, longer than a segment lives).
  Seq Next(const FourTuple& tuple, Instant now) const {
    return FromHash(WireHash(isn_key_, tuple), now);
  }

  // What is added to the millisecond clock of a connection's timestamps, so that they tell neither
  // uptime nor which connections share a host (RFC 7323 section 5.4; ports included,
  // CVE-2026-23247).
  uint32_t TimestampOffset(const FourTuple& tuple) const {
    return static_cast<uint32_t>(WireHash(timestamp_key_, tuple));
  }

  // For a burst: what FromHash makes an ISN of, and what has the timestamp offset as its low half.
  void IsnHashes(const TupleBatch& tuples, TupleBatch::Hashes& out) const {
    tuples.WireHashes(isn_key_, out);
  }
  void TimestampHashes(const TupleBatch& tuples, TupleBatch::Hashes& out) const {
    tuples.WireHashes(timestamp_key_, out);
  }
  static Seq FromHash(uint64_t hash, Instant now) {
    return Seq(static_cast<uint32_t>(hash) + static_cast<uint32_t>(now.ns() >> 6));
  }

  // A number nobody outside can know, the connection's own.
  uint32_t Secret(const FourTuple& tuple) const {
    return static_cast<uint32_t>(WireHash(timestamp_key_, tuple) >> 32);
  }

 private:
  SipKey isn_key_;
  SipKey timestamp_key_;
};

// The timestamp clock: milliseconds (RFC 7323 section 5.4 allows 1 ms to 1 s).
inline uint32_t TimestampClock(const auto& now) { return static_cast<uint32_t>(now.ms()); }

// The clock of RFC 7323's 24 days: seconds.
inline uint32_t SecondsOf(const auto& t) { return static_cast<uint32_t>(t.ms() / 1000); }

}  // namespace usher
