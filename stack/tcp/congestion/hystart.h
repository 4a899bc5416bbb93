// HyStart++ (RFC 9406): leaving slow start when the round-trip time rises, before loss.
#pragma once

#include <cstdint>
#include <optional>

#include "stack/base/seq.h"
#include "stack/base/time.h"

namespace usher {

// Rounds, their smallest round-trip times, and Conservative Slow Start. 28 bytes.
class HyStart {
 public:
  enum class Phase : uint8_t { kSlowStart, kConservative, kDone };

  // One acknowledgment in slow start. Returns the phase it leaves us in; at kDone the caller sets
  // ssthresh to cwnd.
  Phase OnAck(Seq snd_una, Seq snd_nxt, std::optional<Duration> rtt);
  Phase phase() const { return phase_; }
  // Growth in Conservative Slow Start is this fraction of slow start's.
  static constexpr uint32_t kCssGrowthDivisor = 4;

 private:
  static constexpr uint32_t kMinRttThreshUs = 4'000;
  static constexpr uint32_t kMaxRttThreshUs = 16'000;
  static constexpr uint32_t kMinRttDivisor = 8;
  static constexpr uint8_t kRttSamples = 8;
  static constexpr uint8_t kCssRounds = 5;
  static constexpr uint32_t kNone = UINT32_MAX;

  Seq window_end_;
  uint32_t last_round_min_rtt_us_ = kNone;
  uint32_t current_round_min_rtt_us_ = kNone;
  uint32_t css_baseline_min_rtt_us_ = kNone;
  uint8_t samples_ = 0;
  uint8_t css_rounds_ = 0;
  bool round_started_ = false;
  Phase phase_ = Phase::kSlowStart;
};

}  // namespace usher
