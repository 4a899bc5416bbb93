// BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): a model of the path instead of
// loss. The path is taken to be a pipe with two facts: how wide it is (the highest delivery rate
// of the last ten round trips) and how long (the lowest round-trip time of the last ten seconds).
// Sending is paced at about the first, and what is in flight is kept at about twice the product.
//
// Both cannot be measured at once: to see the width the pipe must be full, to see the length empty.
// So the state machine takes turns:
//
//   STARTUP     gain 2.89: doubles every round trip until three rounds bring no quarter more
//   DRAIN       gain 1/2.89: until the queue that STARTUP made is gone
//   PROBE_BW    eight phases of a round trip each: 5/4, 3/4, and six times 1
//   PROBE_RTT   four segments in flight for 200 ms and a round trip, if ten seconds showed no
//               lower round-trip time
//
// Loss is a hint only: a round of packet conservation when a recovery begins, and what was saved
// back at its end. Left out of the draft: nothing; out of Linux's: the detection of policers and
// the allowance for aggregated acknowledgments, which are newer than the published algorithm.
#pragma once

#include <cstdint>
#include <optional>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/recovery/rate_sample.h"

namespace usher {

// State of one connection, at most 64 bytes. Bytes and microseconds; needs pacing.
class Bbr {
 public:
  enum class Mode : uint8_t { kStartup, kDrain, kProbeBandwidth, kProbeRtt };

  // Gains in 256ths.
  static constexpr uint32_t kUnit = 256;
  static constexpr uint32_t kHighGain = 739;  // 2 / ln 2: the least that doubles a round trip
  static constexpr uint32_t kDrainGain = 88;
  static constexpr uint32_t kCwndGain = 512;
  static constexpr uint32_t kMinCwndSegments = 4;
  static constexpr Duration kMinRttWindow = Duration::Seconds(10);
  static constexpr Duration kProbeRttTime = Duration::Millis(200);
  static constexpr uint16_t kBandwidthRounds = 10;

  struct Ack {
    Instant now;
    uint32_t delivered_total = 0;  // with this acknowledgment, modulo 2^32
    uint32_t delivered_bytes = 0;
    uint32_t lost_bytes = 0;
    uint32_t in_flight_bytes = 0;  // after it
    uint32_t prior_in_flight_bytes = 0;
    std::optional<Duration> rtt;
    RateSample rate;
    bool in_recovery = false;  // fast recovery
    bool in_loss = false;      // after a timeout
    uint32_t mss = 0;
    uint32_t initial_window = 0;
  };
  // Takes an acknowledgment into the model; returns the new cwnd.
  uint32_t OnAck(const Ack& ack, uint32_t cwnd);
  // Data leaves into an empty pipe.
  void OnRestart();
  // Loss is about to lower the window.
  void OnCongestion(uint32_t cwnd) { SaveCwnd(cwnd); }
  void OnTimeout(uint32_t cwnd);
  // The loss was none: the pipe may be wider than thought.
  void OnUndo();

  // Bytes a second. Before a rate is known: `initial_window` in a round trip, or in 1 ms before
  // that is known, times the high gain.
  uint64_t PacingRate(uint32_t initial_window, Duration srtt) const;
  // PROBE_RTT makes the sender quiet: what it measures then is no sign of a narrow path.
  bool quiet() const { return mode_ == Mode::kProbeRtt; }

  Mode mode() const { return mode_; }
  uint64_t bandwidth() const { return uint64_t{Best()} * kRateUnit; }  // bytes a second
  uint32_t min_rtt_us() const { return min_rtt_us_; }                  // kNone: not known
  uint32_t pacing_gain() const;
  uint32_t cwnd_gain() const;
  static constexpr uint32_t kNone = UINT32_MAX;

 private:
  // Rates are kept in units of 8 bytes a second.
  static constexpr uint64_t kRateUnit = 8;
  static constexpr uint32_t kPhases = 8;
  static constexpr uint32_t kFullRounds = 3;
  // A little below the estimate, so that a queue built by error drains.
  static constexpr uint32_t kPacingMarginPercent = 1;

  uint32_t Best() const { return bandwidth_[0]; }
  void UpdateRound(const Ack& ack);
  void UpdateBandwidth(const Ack& ack);
  void InsertBandwidth(uint32_t rate);
  void CheckPhase(const Ack& ack);
  void CheckFullPipe(const Ack& ack);
  void CheckDrain(const Ack& ack);
  void UpdateMinRtt(const Ack& ack, uint32_t* cwnd);
  void HoldProbeRtt(const Ack& ack, uint32_t* cwnd);
  void EnterProbeBandwidth(const Ack& ack);
  void UpdatePacingRate();
  uint32_t CwndFor(const Ack& ack, uint32_t cwnd);
  bool HeedLoss(const Ack& ack, uint32_t* cwnd);
  uint32_t Inflight(const Ack& ack, uint32_t gain) const;
  uint64_t Bdp(const Ack& ack, uint32_t gain) const;
  void SaveCwnd(uint32_t cwnd);

  // The highest rate of the window and the best two since, with their rounds.
  uint32_t bandwidth_[3] = {};
  uint16_t bandwidth_round_[3] = {};
  uint16_t round_ = 0;
  uint32_t min_rtt_us_ = kNone;
  MilliStamp min_rtt_at_;
  MilliStamp probe_rtt_done_;
  uint32_t phase_started_us_ = 0;
  uint32_t round_end_ = 0;  // the round is over when this much is delivered
  uint32_t full_bandwidth_ = 0;
  uint32_t prior_cwnd_ = 0;
  uint32_t pacing_rate_ = 0;  // 0: not known yet
  Mode mode_ : 2 = Mode::kStartup;
  uint8_t phase_ : 3 = 0;
  uint8_t full_rounds_ : 2 = 0;
  bool round_start_ : 1 = false;
  bool restarted_ : 1 = false;
  bool packet_conservation_ : 1 = false;
  bool recovering_ : 1 = false;
  bool in_loss_ : 1 = false;
  bool probe_rtt_timed_ : 1 = false;  // probe_rtt_done_ is set
  bool probe_rtt_round_done_ : 1 = false;
};
static_assert(sizeof(Bbr) <= 64);

}  // namespace usher
