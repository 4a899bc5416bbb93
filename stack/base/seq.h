// TCP sequence numbers: arithmetic modulo 2^32 (RFC 9293 section 3.4).
#pragma once

#include <cstdint>

namespace usher {

// A point in the sequence space. Comparisons hold for points less than 2^31 apart; differences
// are signed, so that `a - b` tells how far a is after b.
class Seq {
 public:
  constexpr Seq() = default;
  constexpr explicit Seq(uint32_t value) : value_(value) {}
  constexpr uint32_t value() const { return value_; }

  friend constexpr bool operator==(Seq, Seq) = default;
  friend constexpr bool operator<(Seq a, Seq b) { return a - b < 0; }
  friend constexpr bool operator>(Seq a, Seq b) { return b < a; }
  friend constexpr bool operator<=(Seq a, Seq b) { return !(b < a); }
  friend constexpr bool operator>=(Seq a, Seq b) { return !(a < b); }

  friend constexpr int32_t operator-(Seq a, Seq b) {
    return static_cast<int32_t>(a.value_ - b.value_);
  }
  friend constexpr Seq operator+(Seq a, uint32_t n) { return Seq(a.value_ + n); }
  friend constexpr Seq operator-(Seq a, uint32_t n) { return Seq(a.value_ - n); }
  constexpr Seq& operator+=(uint32_t n) {
    value_ += n;
    return *this;
  }

 private:
  uint32_t value_ = 0;
};

// The sequence numbers from `begin` up to, not including, `end`. What a peer sent may be empty or
// inverted (`end` not after `begin`); whoever takes one in checks it.
struct SeqRange {
  Seq begin;
  Seq end;
  friend constexpr bool operator==(const SeqRange&, const SeqRange&) = default;
};

constexpr Seq Max(Seq a, Seq b) { return a < b ? b : a; }
constexpr Seq Min(Seq a, Seq b) { return a < b ? a : b; }

}  // namespace usher
