// Congestion control: how much may be in flight. A closed set of algorithms behind one class,
// chosen when the connection starts; no heap, no virtual call. It hears what loss detection found
// (recovery/loss_recovery.h) and answers with cwnd, ssthresh and a pacing rate, nothing more.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/congestion/bbr.h"
#include "stack/tcp/congestion/cubic.h"
#include "stack/tcp/congestion/dctcp.h"
#include "stack/tcp/recovery/rate_sample.h"

namespace usher {

// Named as Linux names them in net.ipv4.tcp_congestion_control.
enum class CongestionAlgorithm : uint8_t { kReno, kCubic, kDctcp, kBbr };

// Whether it works only with ECN (RFC 8257), and so asks for it and grants it whatever tcp_ecn
// says.
constexpr bool NeedsEcn(CongestionAlgorithm algorithm) {
  return algorithm == CongestionAlgorithm::kDctcp;
}

// nullopt for a name not known. `name` as in the sysctl: "reno", "cubic", "dctcp", "bbr".
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
  void set_mss(uint32_t mss) { mss_ = static_cast<uint16_t>(mss); }
  // Another algorithm goes on with the window as it is (TCP_CONGESTION on a connection).
  void Change(CongestionAlgorithm algorithm);

  // Data is leaving with `prior_in_flight_bytes` before it; into an empty pipe, CUBIC's clock goes
  // on where it stopped, at `last_sent`.
  void OnSent(Instant now, uint32_t prior_in_flight_bytes, MilliStamp last_sent) {
    if (prior_in_flight_bytes == 0) OnResume(now, last_sent);
  }
  // Grows the window, if it was what limited the sender.
  void OnAck(const CongestionAck& ack);
  // DCTCP alone, each acknowledgment with ECN in use, before anything that follows from it.
  void OnEcho(Seq snd_una, Seq snd_nxt, uint32_t delivered_bytes, bool echo);
  // BBR alone, in place of OnAck and PRR, each acknowledgment.
  void OnModelAck(const Bbr::Ack& ack) { cwnd_ = state_.bbr.OnAck(ack, cwnd_); }
  // Loss or an ECN mark, once per window: sets ssthresh and keeps what OnUndo needs. The cwnd
  // itself is then led down by PRR, through set_cwnd_bytes.
  enum class Cause : uint8_t { kLoss, kMark };
  void OnCongestion(Cause cause = Cause::kLoss);
  // Loss in a window that was reduced for a mark already: for DCTCP, whose answer to a mark may be
  // next to nothing, it counts all the same (RFC 8257 section 3.4).
  void OnLossAfterMark();
  // Retransmission timeout: cwnd to one segment over what is in flight; ssthresh too if it is the
  // first in its window (RFC 5681 section 3.1, equation 4).
  void OnTimeout(uint32_t in_flight_bytes, bool first_in_window);
  // The last reduction was needless: back to what was before, if that is more.
  void OnUndo();
  // Nothing was sent for `idle` > rto: halves the window for each rto, down to the restart window
  // (RFC 5681 section 4.1, RFC 2861 as Linux's tcp_slow_start_after_idle).
  void OnIdleRestart(Duration idle, Duration rto, uint32_t restart_window_bytes);
  // After a pass of sending: whether cwnd ended it, and what is in flight. A window that is not
  // used does not grow (RFC 7661 section 1; as Linux's tcp_cwnd_validate).
  void OnSendPass(Seq snd_una, Seq snd_nxt, uint32_t in_flight_bytes, bool cwnd_limited);

  void set_cwnd_bytes(uint32_t bytes) { cwnd_ = bytes; }
  uint32_t cwnd_bytes() const { return cwnd_; }
  uint32_t ssthresh_bytes() const { return ssthresh_; }
  bool in_slow_start() const { return cwnd_ < ssthresh_; }
  bool is_cwnd_limited() const;
  CongestionAlgorithm algorithm() const { return algorithm_; }
  // A model of the path governs, not loss: the window is what OnModelAck says, and sending must be
  // paced.
  bool model_based() const { return algorithm_ == CongestionAlgorithm::kBbr; }
  const Bbr* bbr() const { return model_based() ? &state_.bbr : nullptr; }
  const Dctcp* dctcp() const {
    return algorithm_ == CongestionAlgorithm::kDctcp ? &state_.dctcp : nullptr;
  }
  // Bytes per second: a window in srtt, times `slow_start_percent` in slow start and
  // `avoidance_percent` later (tcp_pacing_ss_ratio, tcp_pacing_ca_ratio), so that pacing does not
  // hold the window down; BBR's own. UINT64_MAX while srtt is zero.
  uint64_t pacing_rate(Duration srtt, uint32_t in_flight_bytes, uint32_t initial_window_bytes,
                       uint32_t slow_start_percent, uint32_t avoidance_percent) const;

 private:
  void OnResume(Instant now, MilliStamp last_sent);
  void SlowStart(const CongestionAck& ack, uint32_t* delivered);
  void AvoidCongestion(uint32_t delivered, uint32_t bytes_per_mss);
  void SaveForUndo();
  uint32_t ReducedWindow(Cause cause);
  uint32_t Half() const;
  void InitState();

  CongestionAlgorithm algorithm_ = CongestionAlgorithm::kCubic;
  bool cwnd_limited_ : 1 = false;
  bool usage_known_ : 1 = false;
  uint16_t mss_ = 536;
  uint32_t cwnd_ = 0;
  uint32_t ssthresh_ = kInfiniteSsthresh;
  uint32_t prior_cwnd_ = 0;
  uint32_t prior_ssthresh_ = 0;
  uint32_t acked_bytes_ = 0;  // towards the next segment of growth
  uint32_t max_in_flight_ = 0;
  Seq usage_end_;
  // What the algorithm keeps for itself; NewReno nothing.
  union State {
    State() : cubic() {}
    Cubic cubic;  // with HyStart++
    Dctcp dctcp;
    Bbr bbr;
  };
  State state_;
};

}  // namespace usher
