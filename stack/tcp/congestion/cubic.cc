#include "stack/tcp/congestion/cubic.h"

#include <algorithm>
#include <bit>

namespace usher {

// Newton's iteration from above: the first guess is a power of two no smaller than the root, each
// step falls until it no longer can. At most seven steps for 64 bits.
uint32_t Cubic::CubeRoot(uint64_t value) {
  if (value == 0) return 0;
  const int bits = std::bit_width(value);
  uint64_t x = uint64_t{1} << ((bits + 2) / 3);
  for (;;) {
    const uint64_t next = (2 * x + value / (x * x)) / 3;
    if (next >= x) return static_cast<uint32_t>(x);
    x = next;
  }
}

uint64_t Cubic::Distance(uint64_t distance_ms, uint32_t mss) {
  constexpr uint64_t kMostMs = 1'500'000;  // 2 * t^3 fits in 64 bits
  const uint64_t t = std::min(distance_ms, kMostMs);
  // 0.4 * (t / 1000)^3 segments, in thousandths of one.
  const uint64_t milli_segments = 2 * t * t * t / 5'000'000;
  return milli_segments * mss / 1'000;
}

void Cubic::Begin(Instant now, uint32_t cwnd, uint32_t mss) {
  running_ = true;
  state_.start = MilliStamp::Of(now);
  state_.w_est = cwnd;
  est_acked_ = 0;
  if (w_max_ <= cwnd) {
    state_.k_ms = 0;
    state_.origin = cwnd;
  } else {
    // K = cbrt((W_max - cwnd) / C), section 4.2: in ms, (W_max - cwnd) / mss * 2.5 * 10^9.
    state_.k_ms = CubeRoot(uint64_t{w_max_ - cwnd} * 2'500'000'000u / mss);
    state_.origin = w_max_;
  }
}

// Section 4.3: alpha is 3 * (1 - beta) / (1 + beta) = 9/17 segments a round trip, which with beta
// 0.7 makes Reno's average window; one segment, once the window of the last reduction is reached.
void Cubic::GrowRenoEstimate(uint32_t cwnd, uint32_t mss, uint32_t delivered_bytes) {
  const uint64_t full = cwnd;
  const uint64_t step = state_.w_est < state_.cwnd_prior ? full * 17 / 9 : full;
  uint64_t acked = uint64_t{est_acked_} + delivered_bytes;
  if (acked >= step) {
    const uint64_t grown = state_.w_est + acked / step * mss;
    state_.w_est = static_cast<uint32_t>(std::min<uint64_t>(grown, INT32_MAX));
    acked %= step;
  }
  est_acked_ = static_cast<uint32_t>(acked);
}

uint32_t Cubic::OnAck(Instant now, uint32_t cwnd, uint32_t mss, uint32_t delivered_bytes,
                      Duration min_rtt) {
  if (!running_) Begin(now, cwnd, mss);
  GrowRenoEstimate(cwnd, mss, delivered_bytes);
  // The target is the window one round trip from now.
  const int64_t t_ms = (state_.start.Before(now) + min_rtt).ms();
  const int64_t past_k = t_ms - state_.k_ms;
  const uint64_t distance = Distance(static_cast<uint64_t>(past_k < 0 ? -past_k : past_k), mss);
  uint64_t target = state_.origin;
  target = past_k < 0 ? target - std::min(target, distance) : target + distance;

  const uint64_t window = cwnd;
  const uint64_t per_full = window * mss;
  uint64_t per_mss = target > window ? per_full / (target - window) : 100 * window;
  // DEVIATION(RFC 9438 4.4): without a maximum to go for (slow start ended without loss) at least
  // 5% a round trip, as Linux; the cubic function alone would stand still at its plateau.
  if (w_max_ == 0) per_mss = std::min<uint64_t>(per_mss, uint64_t{20} * mss);
  if (state_.w_est > cwnd) per_mss = std::min(per_mss, per_full / (state_.w_est - cwnd));
  return static_cast<uint32_t>(std::clamp<uint64_t>(per_mss, uint64_t{2} * mss, UINT32_MAX));
}

uint32_t Cubic::OnCongestion(uint32_t cwnd, uint32_t mss) {
  prior_ = state_;
  has_prior_ = true;
  prior_running_ = running_;
  prior_w_max_ = w_max_;
  const uint64_t window = cwnd;
  w_max_ = cwnd < w_max_ ? static_cast<uint32_t>(window * (kBetaDenominator + kBetaNumerator) /
                                                 (2 * kBetaDenominator))
                         : cwnd;
  running_ = false;
  state_.cwnd_prior = cwnd;
  return std::max(static_cast<uint32_t>(window * kBetaNumerator / kBetaDenominator), 2 * mss);
}

void Cubic::OnResume(Instant now, MilliStamp last_sent) {
  if (!running_) return;
  const Duration age = state_.start.Before(now) - last_sent.Before(now);
  state_.start = MilliStamp::Of(now - std::clamp(age, Duration(), state_.start.Before(now)));
}

}  // namespace usher
