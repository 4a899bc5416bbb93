// Instants and durations. The core never reads a clock: every entry point that needs the time is
// given one Instant, frozen for the whole pass (see stack/README.md, decision 3).
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace usher {

// A signed span of time, counted in nanoseconds.
class Duration {
 public:
  constexpr Duration() = default;
  static constexpr Duration Nanos(int64_t ns) { return Duration(ns); }
  static constexpr Duration Micros(int64_t us) { return Duration(us * 1'000); }
  static constexpr Duration Millis(int64_t ms) { return Duration(ms * 1'000'000); }
  static constexpr Duration Seconds(int64_t s) { return Duration(s * 1'000'000'000); }
  static constexpr Duration Max() { return Duration(std::numeric_limits<int64_t>::max()); }

  constexpr int64_t ns() const { return ns_; }
  constexpr int64_t us() const { return ns_ / 1'000; }
  constexpr int64_t ms() const { return ns_ / 1'000'000; }
  constexpr int64_t seconds() const { return ns_ / 1'000'000'000; }

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the 0 of <=> for a pointer
  friend constexpr auto operator<=>(Duration, Duration) = default;
  friend constexpr Duration operator+(Duration a, Duration b) { return Duration(a.ns_ + b.ns_); }
  friend constexpr Duration operator-(Duration a, Duration b) { return Duration(a.ns_ - b.ns_); }
  friend constexpr Duration operator*(Duration a, int64_t k) { return Duration(a.ns_ * k); }
  friend constexpr Duration operator/(Duration a, int64_t k) { return Duration(a.ns_ / k); }

 private:
  constexpr explicit Duration(int64_t ns) : ns_(ns) {}
  int64_t ns_ = 0;
};

// A point on the monotonic clock of whoever drives the shard; its zero has no meaning.
class Instant {
 public:
  constexpr Instant() = default;
  static constexpr Instant FromNanos(int64_t ns) { return Instant(ns); }
  // Later than every instant a shard can be given: "no deadline".
  static constexpr Instant Never() { return Instant(std::numeric_limits<int64_t>::max()); }

  constexpr int64_t ns() const { return ns_; }
  constexpr int64_t us() const { return ns_ / 1'000; }
  constexpr int64_t ms() const { return ns_ / 1'000'000; }

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the 0 of <=> for a pointer
  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant t, Duration d) { return Instant(t.ns_ + d.ns()); }
  friend constexpr Instant operator-(Instant t, Duration d) { return Instant(t.ns_ - d.ns()); }
  friend constexpr Duration operator-(Instant a, Instant b) {
    return Duration::Nanos(a.ns_ - b.ns_);
  }

 private:
  constexpr explicit Instant(int64_t ns) : ns_(ns) {}
  int64_t ns_ = 0;
};

// The instant of a pass, with its coarser counts worked out once for all that ask.
class FrozenInstant : public Instant {
 public:
  constexpr FrozenInstant() = default;
  constexpr FrozenInstant(Instant t)  // NOLINT(google-explicit-constructor)
      : Instant(t), us_(t.us()), ms_(us_ / 1'000) {}

  constexpr int64_t us() const { return us_; }
  constexpr int64_t ms() const { return ms_; }

 private:
  int64_t us_ = 0;
  int64_t ms_ = 0;
};

// An instant to the millisecond in 32 bits, for what there is one of per connection. Two of them
// may be compared while they are less than 24 days apart. Made of, and compared with, an Instant or
// a FrozenInstant.
class MilliStamp {
 public:
  constexpr MilliStamp() = default;
  static constexpr MilliStamp Of(const auto& t) {
    return MilliStamp(static_cast<uint32_t>(t.ms()));
  }

  friend constexpr bool operator==(MilliStamp, MilliStamp) = default;
  // Milliseconds from `earlier` to it.
  constexpr uint32_t MillisAfter(MilliStamp earlier) const { return ms_ - earlier.ms_; }
  // How long before `now` it was (negative: after).
  constexpr Duration Before(const auto& now) const {
    return Duration::Millis(static_cast<int32_t>(static_cast<uint32_t>(now.ms()) - ms_));
  }

 private:
  constexpr explicit MilliStamp(uint32_t ms) : ms_(ms) {}
  uint32_t ms_ = 0;
};

}  // namespace usher
