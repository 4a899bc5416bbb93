// CUBIC (RFC 9438), in integers.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

// The window as a cubic function of the time since the last reduction. Windows in bytes.
class Cubic {
 public:
  static constexpr uint32_t kBetaNumerator = 717;  // beta 0.7 of 1024, as Linux
  static constexpr uint32_t kBetaDenominator = 1024;

  // Integer cube root, rounded down.
  static uint32_t CubeRoot(uint64_t value);

  // Returns the bytes to be acknowledged for each further MSS of window, at least 2 * mss.
  uint32_t OnAck(Instant now, uint32_t cwnd, uint32_t mss, uint32_t delivered_bytes,
                 Duration min_rtt);
  // Remembers the maximum (fast convergence, RFC 9438 4.7); returns the new ssthresh.
  uint32_t OnCongestion(uint32_t cwnd, uint32_t mss);
  // Takes back the last OnCongestion (RFC 9438 4.9.2).
  void OnUndo();
  // The epoch starts anew at the next OnAck (after a timeout, RFC 9438 4.8).
  void Restart() { epoch_running_ = false; }
  // Sending resumed after the queue was empty since `idle_since`: the idle time does not count.
  void OnResume(Instant now);
  // The last time data left; what OnResume measures from.
  void OnSent(Instant now) { last_sent_us_ = now.us(); }

  // The cubic target after `t` in the epoch, for a window of w_max and K as set (tests, tcp_info).
  uint32_t w_max_bytes() const { return w_max_; }

 private:
  int64_t epoch_start_us_ = 0;
  int64_t last_sent_us_ = 0;
  uint32_t w_max_ = 0;
  uint32_t k_ms_ = 0;         // time from the epoch's start to its origin point
  uint32_t origin_ = 0;       // the window at K
  uint32_t w_est_ = 0;        // what Reno would have, RFC 9438 4.3
  uint32_t est_acked_ = 0;    // acknowledged towards its next growth
  uint32_t prior_w_max_ = 0;  // for OnUndo, as the four below
  uint32_t prior_k_ms_ = 0;
  uint32_t prior_origin_ = 0;
  uint32_t prior_w_est_ = 0;
  int32_t prior_epoch_age_ms_ = 0;
  bool epoch_running_ = false;
  bool prior_epoch_running_ = false;
};

}  // namespace usher
