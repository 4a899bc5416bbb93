#include "stack/tcp/congestion/bbr.h"

#include <algorithm>

namespace usher {
namespace {

constexpr uint32_t kMostCwnd = 0x7fffffff;
constexpr uint32_t kMicrosPerSecond = 1'000'000;

uint32_t Sum(uint32_t cwnd, uint64_t bytes) {
  return static_cast<uint32_t>(std::min<uint64_t>(cwnd + bytes, kMostCwnd));
}

}  // namespace

// Phase 0 probes for more, phase 1 drains what that queued, the others cruise.
uint32_t Bbr::pacing_gain() const {
  switch (mode_) {
    case Mode::kStartup:
      return kHighGain;
    case Mode::kDrain:
      return kDrainGain;
    case Mode::kProbeBandwidth:
      return phase_ == 0 ? kUnit * 5 / 4 : phase_ == 1 ? kUnit * 3 / 4 : kUnit;
    case Mode::kProbeRtt:
      return kUnit;
  }
  return kUnit;
}

uint32_t Bbr::cwnd_gain() const {
  switch (mode_) {
    case Mode::kStartup:
    case Mode::kDrain:
      return kHighGain;
    case Mode::kProbeBandwidth:
      return kCwndGain;
    case Mode::kProbeRtt:
      return kUnit;
  }
  return kUnit;
}

// ---- Events ----

uint32_t Bbr::OnAck(const Ack& ack, uint32_t cwnd) {
  UpdateRound(ack);
  UpdateBandwidth(ack);
  CheckPhase(ack);
  CheckFullPipe(ack);
  CheckDrain(ack);
  UpdateMinRtt(ack, &cwnd);
  UpdatePacingRate();
  return CwndFor(ack, cwnd);
}

void Bbr::OnRestart() {
  restarted_ = true;
  // What is paced by the gain of a phase long past would be a burst or a stall.
  if (mode_ == Mode::kProbeBandwidth && Best() != 0) {
    pacing_rate_ = static_cast<uint32_t>(uint64_t{Best()} * (100 - kPacingMarginPercent) / 100);
  }
}

void Bbr::OnTimeout(uint32_t cwnd) {
  SaveCwnd(cwnd);
  full_bandwidth_ = 0;
  in_loss_ = true;
  packet_conservation_ = false;
}

void Bbr::OnUndo() {
  full_bandwidth_ = 0;
  if (mode_ == Mode::kStartup) full_rounds_ = 0;
}

// The window to go back to: not what loss or PROBE_RTT has made of it.
void Bbr::SaveCwnd(uint32_t cwnd) {
  const bool lowered = recovering_ || in_loss_ || mode_ == Mode::kProbeRtt;
  prior_cwnd_ = lowered ? std::max(prior_cwnd_, cwnd) : cwnd;
}

// ---- The model (section 4.1) ----

// A round trip is over when data sent after its beginning is delivered.
void Bbr::UpdateRound(const Ack& ack) {
  round_start_ = false;
  if (!ack.rate.valid || static_cast<int32_t>(ack.rate.prior_delivered - round_end_) < 0) return;
  round_end_ = ack.delivered_total;
  ++round_;
  round_start_ = true;
  packet_conservation_ = false;
}

void Bbr::UpdateBandwidth(const Ack& ack) {
  if (!ack.rate.valid) return;
  const uint64_t units = ack.rate.bytes_per_second() / kRateUnit;
  const auto rate = static_cast<uint32_t>(std::clamp<uint64_t>(units, 1, UINT32_MAX));
  // What the application held back says only how wide the path is at least.
  if (!ack.rate.app_limited || rate >= Best()) InsertBandwidth(rate);
}

// Kathleen Nichols' windowed maximum over rounds.
void Bbr::InsertBandwidth(uint32_t rate) {
  const auto age = [this](int i) { return static_cast<uint16_t>(round_ - bandwidth_round_[i]); };
  const auto set = [this, rate](int i) {
    bandwidth_[i] = rate;
    bandwidth_round_[i] = round_;
  };
  if (rate >= bandwidth_[0] || age(2) > kBandwidthRounds) {
    for (int i = 0; i < 3; ++i) set(i);
    return;
  }
  if (rate >= bandwidth_[1]) {
    set(1);
    set(2);
  } else if (rate >= bandwidth_[2]) {
    set(2);
  }
  for (int i = 0; i < 2 && age(0) > kBandwidthRounds; ++i) {
    for (int j = 0; j < 2; ++j) {
      bandwidth_[j] = bandwidth_[j + 1];
      bandwidth_round_[j] = bandwidth_round_[j + 1];
    }
    set(2);
  }
  if (bandwidth_round_[1] == bandwidth_round_[0] && age(0) > kBandwidthRounds / 4) {
    set(1);
    set(2);
  } else if (bandwidth_round_[2] == bandwidth_round_[1] && age(0) > kBandwidthRounds / 2) {
    set(2);
  }
}

uint64_t Bbr::Bdp(const Ack& ack, uint32_t gain) const {
  if (min_rtt_us_ == kNone || Best() == 0) return ack.initial_window;
  const uint64_t bytes = bandwidth() * min_rtt_us_ / kMicrosPerSecond;
  return std::min<uint64_t>(bytes, kMostCwnd) * gain / kUnit;
}

// What should be in flight: the product, and enough for both ends to work in bursts.
uint32_t Bbr::Inflight(const Ack& ack, uint32_t gain) const {
  const uint64_t quantum =
      std::clamp<uint64_t>(uint64_t{pacing_rate_} * kRateUnit / 1'000, ack.mss, 65'536);
  uint64_t bytes = Bdp(ack, gain) + 3 * quantum;
  if (mode_ == Mode::kProbeBandwidth && phase_ == 0) bytes += 2 * ack.mss;
  return static_cast<uint32_t>(std::min<uint64_t>(bytes, kMostCwnd));
}

// ---- The state machine (section 4.3) ----

void Bbr::CheckPhase(const Ack& ack) {
  if (mode_ != Mode::kProbeBandwidth) return;
  const auto now_us = static_cast<uint32_t>(ack.now.us());
  const bool full_length = now_us - phase_started_us_ > min_rtt_us_;
  bool next = full_length;
  if (phase_ == 0) {  // until the pipe is as full as the probe wants it, or spills
    next = full_length &&
           (ack.lost_bytes > 0 || ack.prior_in_flight_bytes >= Inflight(ack, kUnit * 5 / 4));
  } else if (phase_ == 1) {  // until the queue is gone
    next = full_length || ack.prior_in_flight_bytes <= Inflight(ack, kUnit);
  }
  if (!next) return;
  phase_ = (phase_ + 1) % kPhases;
  phase_started_us_ = now_us;
}

void Bbr::CheckFullPipe(const Ack& ack) {
  if (full_rounds_ >= kFullRounds || !round_start_ || ack.rate.app_limited) return;
  if (Best() >= uint64_t{full_bandwidth_} * 5 / 4) {
    full_bandwidth_ = Best();
    full_rounds_ = 0;
    return;
  }
  ++full_rounds_;
}

void Bbr::CheckDrain(const Ack& ack) {
  if (mode_ == Mode::kStartup && full_rounds_ >= kFullRounds) mode_ = Mode::kDrain;
  if (mode_ == Mode::kDrain && ack.in_flight_bytes <= Inflight(ack, kUnit))
    EnterProbeBandwidth(ack);
}

// Any phase but the draining one, so that flows that begin together do not probe together. What
// was delivered is as good as chance, and needs none.
void Bbr::EnterProbeBandwidth(const Ack& ack) {
  mode_ = Mode::kProbeBandwidth;
  const uint32_t chance = (ack.delivered_total ^ static_cast<uint32_t>(ack.now.us())) * 0x9e3779b9u;
  phase_ = (2 + (chance >> 16) % (kPhases - 1)) % kPhases;
  phase_started_us_ = static_cast<uint32_t>(ack.now.us());
}

void Bbr::UpdateMinRtt(const Ack& ack, uint32_t* cwnd) {
  const bool expired = min_rtt_us_ != kNone && min_rtt_at_.Before(ack.now) > kMinRttWindow;
  if (ack.rtt) {
    const auto rtt_us = static_cast<uint32_t>(std::clamp<int64_t>(ack.rtt->us(), 1, kNone - 1));
    if (rtt_us <= min_rtt_us_ || expired) {
      min_rtt_us_ = rtt_us;
      min_rtt_at_ = MilliStamp::Of(ack.now);
    }
  }
  if (expired && !restarted_ && mode_ != Mode::kProbeRtt) {
    SaveCwnd(*cwnd);
    mode_ = Mode::kProbeRtt;
    probe_rtt_timed_ = false;
  }
  if (mode_ == Mode::kProbeRtt) HoldProbeRtt(ack, cwnd);
  if (ack.delivered_bytes > 0) restarted_ = false;
}

void Bbr::HoldProbeRtt(const Ack& ack, uint32_t* cwnd) {
  if (!probe_rtt_timed_) {
    if (ack.in_flight_bytes > kMinCwndSegments * ack.mss) return;
    probe_rtt_timed_ = true;
    probe_rtt_done_ = MilliStamp::Of(ack.now + kProbeRttTime);
    probe_rtt_round_done_ = false;
    round_end_ = ack.delivered_total;
    return;
  }
  if (round_start_) probe_rtt_round_done_ = true;
  if (!probe_rtt_round_done_ || probe_rtt_done_.Before(ack.now) < Duration()) return;
  min_rtt_at_ = MilliStamp::Of(ack.now);
  *cwnd = std::max(*cwnd, prior_cwnd_);
  if (full_rounds_ >= kFullRounds)
    EnterProbeBandwidth(ack);
  else
    mode_ = Mode::kStartup;
}

// ---- What the sender is told (section 4.2) ----

void Bbr::UpdatePacingRate() {
  if (Best() == 0) return;
  const uint64_t rate =
      uint64_t{Best()} * pacing_gain() / kUnit * (100 - kPacingMarginPercent) / 100;
  const auto units = static_cast<uint32_t>(std::clamp<uint64_t>(rate, 1, UINT32_MAX));
  // Before the pipe is known to be full the rate only rises.
  if (full_rounds_ >= kFullRounds || units > pacing_rate_) pacing_rate_ = units;
}

uint64_t Bbr::PacingRate(uint32_t initial_window, Duration srtt) const {
  const int64_t round_us = srtt.us() > 0 ? srtt.us() : 1'000;
  const uint64_t first = uint64_t{initial_window} * kMicrosPerSecond /
                         static_cast<uint64_t>(round_us) * kHighGain / kUnit;
  const uint64_t rate = uint64_t{pacing_rate_} * kRateUnit;
  return full_rounds_ >= kFullRounds ? rate : std::max(rate, first);
}

// True: loss alone says what the window is now.
bool Bbr::HeedLoss(const Ack& ack, uint32_t* cwnd) {
  if (ack.lost_bytes > 0) *cwnd = std::max(*cwnd - std::min(*cwnd, ack.lost_bytes), ack.mss);
  const bool recovers = ack.in_recovery;
  if (recovers && !recovering_) {
    // One round of sending just what is delivered.
    packet_conservation_ = true;
    round_end_ = ack.delivered_total;
    *cwnd = Sum(ack.in_flight_bytes, ack.delivered_bytes);
  } else if ((recovering_ || in_loss_) && !recovers && !ack.in_loss) {
    *cwnd = std::max(*cwnd, prior_cwnd_);
    packet_conservation_ = false;
  }
  recovering_ = recovers;
  in_loss_ = ack.in_loss;
  if (!packet_conservation_) return false;
  *cwnd = std::max(*cwnd, Sum(ack.in_flight_bytes, ack.delivered_bytes));
  return true;
}

uint32_t Bbr::CwndFor(const Ack& ack, uint32_t cwnd) {
  if (ack.delivered_bytes > 0 && !HeedLoss(ack, &cwnd)) {
    const uint32_t target = Inflight(ack, cwnd_gain());
    if (full_rounds_ >= kFullRounds) {
      cwnd = std::min(Sum(cwnd, ack.delivered_bytes), target);
    } else if (cwnd < target || ack.delivered_total < ack.initial_window) {
      cwnd = Sum(cwnd, ack.delivered_bytes);
    }
    cwnd = std::max(cwnd, kMinCwndSegments * ack.mss);
  }
  if (mode_ == Mode::kProbeRtt) cwnd = std::min(cwnd, kMinCwndSegments * ack.mss);
  return cwnd;
}

}  // namespace usher
