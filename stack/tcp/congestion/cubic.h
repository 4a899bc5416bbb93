// CUBIC (RFC 9438), in integers.
#pragma once

#include <cstdint>

#include "stack/base/time.h"
#include "stack/tcp/congestion/hystart.h"

namespace usher {

// The window as a cubic function of the time since the last reduction:
//   W_cubic(t) = C * (t - K)^3 + W_max, with C = 0.4 and windows in segments, t in seconds;
// K is how long after the reduction to beta * W_max the function is back at W_max. Here windows are
// in bytes and times in milliseconds.
class Cubic {
 public:
  // beta 0.7, as 717/1024.
  static constexpr uint32_t kBetaNumerator = 717;
  static constexpr uint32_t kBetaDenominator = 1024;

  Cubic() : hystart_() {}

  // The integer cube root, rounded down; exact for every argument.
  static uint32_t CubeRoot(uint64_t value);
  // C * |t - K|^3 in bytes, for a distance in milliseconds (taken as 25 minutes at most).
  static uint64_t Distance(uint64_t distance_ms, uint32_t mss);

  // In congestion avoidance. Returns how many bytes are to be acknowledged for each further MSS of
  // window: 2 * mss at least (1.5 times the window in a round trip), practically none at the
  // plateau.
  uint32_t OnAck(Instant now, uint32_t cwnd, uint32_t mss, uint32_t delivered_bytes,
                 Duration min_rtt);
  // Remembers the maximum, less when it falls (fast convergence, section 4.7); returns the new
  // ssthresh.
  uint32_t OnCongestion(uint32_t cwnd, uint32_t mss);
  // After OnCongestion when a timeout caused it: the next epoch knows no maximum (section 4.8).
  void OnTimeout() { w_max_ = 0; }
  // Takes back the last OnCongestion (section 4.9.2). `first`: there was none before it, so slow
  // start goes on, with HyStart++ from its beginning.
  void OnUndo(bool first) {
    if (!has_prior_) return;  // the algorithm was changed since
    state_ = prior_;
    running_ = prior_running_;
    w_max_ = prior_w_max_;
    if (first) hystart_ = HyStart();
  }
  // Of slow start before the first OnCongestion; not to be asked later.
  HyStart& hystart() { return hystart_; }
  // Data leaves into an empty pipe: the time without any, since `last_sent`, does not count
  // (section 5.8).
  void OnResume(Instant now, MilliStamp last_sent);

  uint32_t w_max_bytes() const { return w_max_; }
  uint32_t k_ms() const { return state_.k_ms; }

 private:
  // One stage of congestion avoidance.
  struct Epoch {
    MilliStamp start;
    uint32_t k_ms = 0;
    uint32_t origin = 0;      // the window at K
    uint32_t w_est = 0;       // what Reno would have, section 4.3
    uint32_t cwnd_prior = 0;  // the window when the last reduction began
  };

  void Begin(Instant now, uint32_t cwnd, uint32_t mss);
  void GrowRenoEstimate(uint32_t cwnd, uint32_t mss, uint32_t delivered_bytes);

  Epoch state_;
  // Before the first reduction there is no prior epoch, and after it no HyStart++.
  union {
    Epoch prior_;
    HyStart hystart_;
  };
  uint32_t w_max_ = 0;
  uint32_t prior_w_max_ = 0;
  uint32_t est_acked_ = 0;  // acknowledged towards the next growth of w_est
  bool running_ = false;    // an epoch has begun
  bool prior_running_ = false;
  bool has_prior_ = false;
};

}  // namespace usher
