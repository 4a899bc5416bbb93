// Time stamps of 32 bits, counted in microseconds, for what is kept per segment and per connection.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

// A point in time modulo 2^32 us (71 minutes). Two stamps compare rightly while less than 35
// minutes apart: more than any retransmission timeout (`rto_max` is 120 s), so every record is
// stamped anew long before. A stamp left over from before a long idle time is never compared: its
// record is gone.
class Micros {
 public:
  constexpr Micros() = default;
  constexpr explicit Micros(uint32_t value) : value_(value) {}
  static constexpr Micros Of(const auto& t) { return Micros(static_cast<uint32_t>(t.us())); }
  constexpr uint32_t value() const { return value_; }

  friend constexpr bool operator==(Micros, Micros) = default;
  // Signed: how many microseconds a is after b.
  friend constexpr int32_t operator-(Micros a, Micros b) {
    return static_cast<int32_t>(a.value_ - b.value_);
  }
  friend constexpr bool operator<(Micros a, Micros b) { return a - b < 0; }
  friend constexpr bool operator>(Micros a, Micros b) { return b < a; }

 private:
  uint32_t value_ = 0;
};

}  // namespace usher
