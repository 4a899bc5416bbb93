// Congestion control: how much may be in flight. A closed set of algorithms behind one class,
// chosen when the connection starts; no heap, no virtual call. It hears what loss detection found
// (recovery/loss_recovery.h) and answers with cwnd, ssthresh and a pacing rate, nothing more.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/congestion/cubic.h"
#include "stack/tcp/congestion/hystart.h"
#include "stack/tcp/recovery/rate_sample.h"

namespace usher {

// Named as Linux names them in net.ipv4.tcp_congestion_control.
enum class CongestionAlgorithm : uint8_t { kReno, kCubic };

// nullopt for a name not known. `name` as in the sysctl: "reno", "cubic".
std::optional<CongestionAlgorithm> ParseCongestionAlgorithm(std::string_view name);
std::string_view CongestionAlgorithmName(CongestionAlgorithm algorithm);

// One acknowledgment that delivered something.
struct CongestionAck {
  Instant now;
  Seq snd_una;  // after it
  Seq snd_nxt;
  uint32_t delivered_bytes = 0;  // newly acknowledged or SACKed
  uint32_t in_flight_bytes = 0;  // before it
  std::optional<Duration> rtt;   // sample
  Duration srtt;
  Duration min_rtt;
  RateSample rate;
};

// The congestion window of one connection; bytes throughout. Not thread-safe.
class CongestionController {
 public:
  static constexpr uint32_t kInfiniteSsthresh = 0x7fffffff;

  CongestionController() = default;
  // `initial_window_bytes` by RFC 6928 or as the caller has reason to lower it.
  void Init(CongestionAlgorithm algorithm, uint32_t mss, uint32_t initial_window_bytes);
  void set_mss(uint32_t mss) { mss_ = mss; }

  // Data left, `snd_nxt` after it; prior_in_flight zero restarts idle clocks (CUBIC's epoch).
  void OnSent(Instant now, uint32_t prior_in_flight_bytes);
  // Grows the window if it was the limit (RFC 7661's concern, as Linux: is_cwnd_limited).
  void OnAck(const CongestionAck& ack);
  // Loss or ECN mark, once per window: sets ssthresh, saves what OnUndo needs. The cwnd itself is
  // then led down by PRR through set_cwnd_bytes.
  void OnCongestion(Instant now, uint32_t in_flight_bytes);
  // Retransmission timeout: cwnd to one segment over the pipe; ssthresh too if first in its window.
  void OnTimeout(Instant now, uint32_t in_flight_bytes, bool first_in_window);
  // The last reduction was needless.
  void OnUndo(Instant now);
  // Recovery is over.
  void OnRecoveryEnd(Instant now);
  // Nothing was sent for `idle` > rto: RFC 5681 4.1, halving per rto as tcp_slow_start_after_idle.
  void OnIdleRestart(Instant now, Duration idle, Duration rto, uint32_t restart_window_bytes);
  // After a pass of sending: whether cwnd held it back, and the most that was in flight.
  void OnSendPass(Seq snd_una, Seq snd_nxt, uint32_t in_flight_bytes, bool cwnd_limited);

  void set_cwnd_bytes(uint32_t bytes) { cwnd_ = bytes; }
  uint32_t cwnd_bytes() const { return cwnd_; }
  uint32_t ssthresh_bytes() const { return ssthresh_; }
  bool in_slow_start() const { return cwnd_ < ssthresh_; }
  bool is_cwnd_limited() const;
  CongestionAlgorithm algorithm() const { return algorithm_; }
  // Bytes per second: 200% of cwnd/srtt in slow start, 120% after (Linux); UINT64_MAX without srtt.
  uint64_t pacing_rate(Duration srtt) const;

 private:
  void SlowStart(const CongestionAck& ack, uint32_t* delivered);
  void AvoidCongestion(uint32_t delivered, uint32_t window_per_mss);

  CongestionAlgorithm algorithm_ = CongestionAlgorithm::kCubic;
  bool cwnd_limited_ = false;
  uint32_t mss_ = 536;
  uint32_t cwnd_ = 0;
  uint32_t ssthresh_ = kInfiniteSsthresh;
  uint32_t prior_cwnd_ = 0;
  uint32_t prior_ssthresh_ = 0;
  uint32_t acked_bytes_ = 0;  // towards the next segment of growth
  uint32_t max_in_flight_ = 0;
  Seq usage_end_;
  Cubic cubic_;  // empty work for the others; the largest of the closed set
  HyStart hystart_;
};

}  // namespace usher
