#include "stack/tcp/congestion/hystart.h"

#include <algorithm>

namespace usher {

HyStart::Phase HyStart::OnAck(Seq snd_una, Seq snd_nxt, std::optional<Duration> rtt) {
  if (phase_ == Phase::kDone) return phase_;
  if (!round_started_ || snd_una > window_end_) {
    if (round_started_ && phase_ == Phase::kConservative && ++css_rounds_ >= kCssRounds) {
      phase_ = Phase::kDone;
      return phase_;
    }
    round_started_ = true;
    window_end_ = snd_nxt;
    last_round_min_rtt_us_ = current_round_min_rtt_us_;
    current_round_min_rtt_us_ = kNone;
    samples_ = 0;
  }
  if (!rtt) return phase_;
  const auto rtt_us = static_cast<uint32_t>(std::clamp<int64_t>(rtt->us(), 0, kNone - 1));
  current_round_min_rtt_us_ = std::min(current_round_min_rtt_us_, rtt_us);
  if (samples_ < UINT8_MAX) ++samples_;
  if (samples_ < kRttSamples) return phase_;
  if (phase_ == Phase::kSlowStart) {
    if (last_round_min_rtt_us_ == kNone) return phase_;
    const uint32_t threshold =
        std::clamp(last_round_min_rtt_us_ / kMinRttDivisor, kMinRttThreshUs, kMaxRttThreshUs);
    if (current_round_min_rtt_us_ >= last_round_min_rtt_us_ + threshold) {
      css_baseline_min_rtt_us_ = current_round_min_rtt_us_;
      css_rounds_ = 0;
      phase_ = Phase::kConservative;
    }
  } else if (current_round_min_rtt_us_ < css_baseline_min_rtt_us_) {
    // The rise was jitter.
    css_baseline_min_rtt_us_ = kNone;
    phase_ = Phase::kSlowStart;
  }
  return phase_;
}

}  // namespace usher
