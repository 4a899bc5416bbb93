#include "stack/tcp/recovery/rtt.h"

#include <algorithm>

namespace usher {
namespace {

// A sample is at least 1 us, and never so long that srtt * 8 would not fit.
uint32_t SampleUs(Duration rtt) {
  constexpr int64_t kMaxUs = 500'000'000;
  return static_cast<uint32_t>(std::clamp<int64_t>(rtt.us(), 1, kMaxUs));
}

}  // namespace

void MinRtt::Update(Micros now, uint32_t rtt_us, Duration window) {
  const Sample sample{now, rtt_us};
  const auto window_us = static_cast<uint32_t>(std::min<int64_t>(window.us(), INT32_MAX));
  auto age = [now](const Sample& s) { return static_cast<uint32_t>(now - s.at); };
  if (rtt_us <= samples_[0].rtt_us || age(samples_[2]) > window_us) {
    samples_.fill(sample);
    return;
  }
  if (rtt_us <= samples_[1].rtt_us) {
    samples_[1] = samples_[2] = sample;
  } else if (rtt_us <= samples_[2].rtt_us) {
    samples_[2] = sample;
  }
  const uint32_t best_age = age(samples_[0]);
  if (best_age > window_us) {
    samples_ = {samples_[1], samples_[2], sample};
    if (age(samples_[0]) > window_us) samples_ = {samples_[1], samples_[2], sample};
  } else if (samples_[1].at == samples_[0].at && best_age > window_us / 4) {
    // A quarter of the window went by without a second best: take one now, from now on.
    samples_[1] = samples_[2] = sample;
  } else if (samples_[2].at == samples_[1].at && best_age > window_us / 2) {
    samples_[2] = sample;
  }
}

void RttEstimator::OnSample(const RecoverySettings& settings, Micros now, Duration rtt, Seq snd_una,
                            Seq snd_nxt) {
  const auto sample_us = static_cast<int64_t>(SampleUs(rtt));
  const auto rto_min_us = static_cast<uint32_t>(settings.rto_min.us());
  min_rtt_.Update(now, static_cast<uint32_t>(sample_us), settings.min_rtt_window);
  backoff_ = 0;
  if (srtt_us8_ == 0) {
    srtt_us8_ = static_cast<uint32_t>(sample_us << 3);
    mdev_us4_ = static_cast<uint32_t>(sample_us << 1);
    rttvar_us4_ = std::max(mdev_us4_, rto_min_us);
    mdev_max_us4_ = rttvar_us4_;
    rtt_seq_ = snd_nxt;
    return;
  }
  int64_t error = sample_us - (srtt_us8_ >> 3);
  srtt_us8_ = static_cast<uint32_t>(std::max<int64_t>(1, srtt_us8_ + error));  // 7/8 and 1/8
  if (error < 0) {
    error = -error - (mdev_us4_ >> 2);
    // A round trip shorter than usual is no reason for a longer timeout: it weighs an eighth.
    if (error > 0) error >>= 3;
  } else {
    error -= mdev_us4_ >> 2;
  }
  mdev_us4_ = static_cast<uint32_t>(mdev_us4_ + error);  // 3/4 and 1/4
  if (mdev_us4_ > mdev_max_us4_) {
    mdev_max_us4_ = mdev_us4_;
    rttvar_us4_ = std::max(rttvar_us4_, mdev_max_us4_);
  }
  if (snd_una > rtt_seq_) {
    // Once per round trip the variation may fall, towards the most it was in that round trip.
    if (mdev_max_us4_ < rttvar_us4_) rttvar_us4_ -= (rttvar_us4_ - mdev_max_us4_) >> 2;
    rtt_seq_ = snd_nxt;
    mdev_max_us4_ = rto_min_us;
  }
}

void RttEstimator::OnMinRttSample(const RecoverySettings& settings, Micros now, Duration rtt) {
  min_rtt_.Update(now, SampleUs(rtt), settings.min_rtt_window);
}

void RttEstimator::BackOff() {
  constexpr uint8_t kMost = 16;  // rto_min of 2 ms and more is at rto_max by then
  if (backoff_ < kMost) ++backoff_;
}

void RttEstimator::OnHandshakeEnd() {
  constexpr uint32_t kFallbackUs = 3'000'000;
  if (!has_sample()) mdev_us4_ = mdev_max_us4_ = rttvar_us4_ = kFallbackUs;
}

Duration RttEstimator::min_rtt() const {
  return min_rtt_.us() == UINT32_MAX ? Duration() : Duration::Micros(min_rtt_.us());
}

Duration RttEstimator::rto(const RecoverySettings& settings) const {
  const Duration base = rttvar_us4_ != 0
                            ? Duration::Micros(static_cast<int64_t>(srtt_us8_ >> 3) + rttvar_us4_)
                            : settings.rto_initial;
  return std::min(base * (int64_t{1} << backoff_), settings.rto_max);
}

}  // namespace usher
