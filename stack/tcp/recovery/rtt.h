// Round-trip time and the retransmission timeout (RFC 6298, computed as Linux does).
#pragma once

#include <array>
#include <cstdint>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/recovery/micros.h"

namespace usher {

// Settings of the sending side, shared by every connection of a stack.
struct RecoverySettings {
  Duration rto_initial = Duration::Seconds(1);  // before the first sample, RFC 6298 2.1
  Duration rto_min = Duration::Millis(200);     // RFC 6298 2.4 says 1 s; Linux has 200 ms
  Duration rto_max = Duration::Seconds(120);
  Duration min_rtt_window = Duration::Seconds(300);  // tcp_min_rtt_wlen
  uint32_t reordering = 3;                           // tcp_reordering, in segments
  uint32_t max_reordering = 300;                     // tcp_max_reordering
  bool loss_probe = true;                            // tcp_early_retrans 3: RFC 8985 section 7
  bool frto = true;                                  // tcp_frto
  bool static_reorder_window = false;                // tcp_recovery bit 1
  bool no_duplicate_threshold = false;               // tcp_recovery bit 2
  uint32_t pacing_ss_percent = 200;                  // tcp_pacing_ss_ratio
  uint32_t pacing_ca_percent = 120;                  // tcp_pacing_ca_ratio
};

// The smallest round-trip time of the last `window`: three samples, the best and the best since
// each (as Kathleen Nichols' windowed filter). 24 bytes.
class MinRtt {
 public:
  void Update(Micros now, uint32_t rtt_us, Duration window);
  // In microseconds; UINT32_MAX before the first sample.
  uint32_t us() const { return samples_[0].rtt_us; }

 private:
  struct Sample {
    Micros at;
    uint32_t rtt_us = UINT32_MAX;
  };
  std::array<Sample, 3> samples_;
};

// srtt, its variation and the timeout made from them, with the exponential back-off.
class RttEstimator {
 public:
  // A sample of a segment sent once (Karn) or measured by timestamps; ends the back-off.
  // snd_una and snd_nxt tell where a round trip ends, for the variation's maximum.
  void OnSample(const RecoverySettings& settings, Micros now, Duration rtt, Seq snd_una,
                Seq snd_nxt);
  // A sample good for the minimum only (of a SACKed segment, say).
  void OnMinRttSample(const RecoverySettings& settings, Micros now, Duration rtt);
  // The retransmission timer fired: the timeout doubles, RFC 6298 5.5.
  void BackOff();
  void ResetBackOff() { backoff_ = 0; }
  // Data begins. If the handshake gave no sample (its SYN was sent again, or a cookie answered it),
  // the timeout is 3 s until there is one (RFC 6298 5.7; Linux: TCP_TIMEOUT_FALLBACK).
  void OnHandshakeEnd();

  bool has_sample() const { return srtt_us8_ != 0; }
  Duration srtt() const { return Duration::Micros(srtt_us8_ >> 3); }
  Duration rttvar() const { return Duration::Micros(rttvar_us4_ >> 2); }
  // What rttvar is made from, without its floor (tcpi_rttvar).
  Duration mean_deviation() const { return Duration::Micros(mdev_us4_ >> 2); }
  // Zero before the first sample.
  Duration min_rtt() const;
  uint8_t backoff() const { return backoff_; }
  // The timeout as it stands, back-off included; never above rto_max.
  Duration rto(const RecoverySettings& settings) const;

 private:
  uint32_t srtt_us8_ = 0;      // srtt * 8
  uint32_t mdev_us4_ = 0;      // mean deviation * 4
  uint32_t mdev_max_us4_ = 0;  // its maximum in this round trip
  uint32_t rttvar_us4_ = 0;
  Seq rtt_seq_;  // the round trip ends when this is acknowledged
  MinRtt min_rtt_;
  uint8_t backoff_ = 0;
};

}  // namespace usher
