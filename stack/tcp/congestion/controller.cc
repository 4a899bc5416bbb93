#include "stack/tcp/congestion/controller.h"

#include <algorithm>

namespace usher {
namespace {

// No window may pass this: the products of two windows in 64 bits stay exact.
constexpr uint32_t kMostCwnd = 0x7fffffff;

uint32_t Grown(uint32_t cwnd, uint64_t bytes) {
  return static_cast<uint32_t>(std::min<uint64_t>(cwnd + bytes, kMostCwnd));
}

}  // namespace

std::optional<CongestionAlgorithm> ParseCongestionAlgorithm(std::string_view name) {
  if (name == "reno") return CongestionAlgorithm::kReno;
  if (name == "cubic") return CongestionAlgorithm::kCubic;
  if (name == "dctcp") return CongestionAlgorithm::kDctcp;
  if (name == "bbr") return CongestionAlgorithm::kBbr;
  return std::nullopt;
}

std::string_view CongestionAlgorithmName(CongestionAlgorithm algorithm) {
  switch (algorithm) {
    case CongestionAlgorithm::kReno:
      return "reno";
    case CongestionAlgorithm::kCubic:
      return "cubic";
    case CongestionAlgorithm::kDctcp:
      return "dctcp";
    case CongestionAlgorithm::kBbr:
      return "bbr";
  }
  return "";
}

void CongestionController::Init(CongestionAlgorithm algorithm, uint32_t mss,
                                uint32_t initial_window_bytes) {
  *this = CongestionController();
  algorithm_ = algorithm;
  mss_ = static_cast<uint16_t>(std::clamp<uint32_t>(mss, 1, UINT16_MAX));
  cwnd_ = std::max<uint32_t>(initial_window_bytes, mss_);
  InitState();
}

void CongestionController::InitState() {
  switch (algorithm_) {
    case CongestionAlgorithm::kReno:
      break;
    case CongestionAlgorithm::kCubic:
      state_.cubic = Cubic();
      break;
    case CongestionAlgorithm::kDctcp:
      state_.dctcp = Dctcp();
      break;
    case CongestionAlgorithm::kBbr:
      state_.bbr = Bbr();
      break;
  }
}

void CongestionController::Change(CongestionAlgorithm algorithm) {
  if (algorithm == algorithm_) return;
  algorithm_ = algorithm;
  acked_bytes_ = 0;
  InitState();
}

void CongestionController::OnResume(Instant now, MilliStamp last_sent) {
  if (algorithm_ == CongestionAlgorithm::kCubic) {
    state_.cubic.OnResume(now, last_sent);
  } else if (model_based()) {
    state_.bbr.OnRestart();
  }
}

bool CongestionController::is_cwnd_limited() const {
  if (cwnd_limited_) return true;
  // In slow start the window may grow to twice what was in flight.
  return in_slow_start() && cwnd_ / 2 < max_in_flight_;
}

void CongestionController::OnSendPass(Seq snd_una, Seq snd_nxt, uint32_t in_flight_bytes,
                                      bool cwnd_limited) {
  // The strongest sign within a window of data counts: limited once is limited.
  if (usage_known_ && snd_una < usage_end_ && !cwnd_limited &&
      (cwnd_limited_ || in_flight_bytes <= max_in_flight_)) {
    return;
  }
  usage_known_ = true;
  cwnd_limited_ = cwnd_limited;
  max_in_flight_ = in_flight_bytes;
  usage_end_ = snd_nxt;
}

// Takes what slow start has use for out of `delivered`, and leaves the rest to avoidance.
//
// DEVIATION(RFC 3465 2.3): every byte delivered counts, without the limit L of two segments per
// acknowledgment, as in Linux: receive offload makes acknowledgments of forty segments ordinary.
void CongestionController::SlowStart(const CongestionAck& ack, uint32_t* delivered) {
  uint64_t growth = *delivered;
  if (algorithm_ == CongestionAlgorithm::kCubic && ssthresh_ == kInfiniteSsthresh) {
    switch (state_.cubic.hystart().OnAck(ack.snd_una, ack.snd_nxt, ack.rtt)) {
      case HyStart::Phase::kSlowStart:
        break;
      case HyStart::Phase::kConservative:
        growth /= HyStart::kCssGrowthDivisor;
        break;
      case HyStart::Phase::kDone:
        ssthresh_ = cwnd_;
        return;
    }
  }
  const uint32_t before = cwnd_;
  cwnd_ = std::min(Grown(cwnd_, growth), ssthresh_);
  *delivered = cwnd_ == ssthresh_ ? *delivered - (cwnd_ - before) : 0;
}

void CongestionController::AvoidCongestion(uint32_t delivered, uint32_t bytes_per_mss) {
  // Credit saved up while growth was dearer buys one segment, not as many as it would pay for now.
  if (acked_bytes_ >= bytes_per_mss) {
    acked_bytes_ = 0;
    cwnd_ = Grown(cwnd_, mss_);
  }
  const uint64_t acked = uint64_t{acked_bytes_} + delivered;
  cwnd_ = Grown(cwnd_, acked / bytes_per_mss * mss_);
  acked_bytes_ = static_cast<uint32_t>(acked % bytes_per_mss);
}

void CongestionController::OnAck(const CongestionAck& ack) {
  if (!is_cwnd_limited()) return;
  uint32_t delivered = ack.delivered_bytes;
  if (in_slow_start()) SlowStart(ack, &delivered);
  if (delivered == 0 || in_slow_start()) return;
  uint32_t bytes_per_mss = cwnd_;
  if (algorithm_ == CongestionAlgorithm::kCubic) {
    bytes_per_mss = state_.cubic.OnAck(ack.now, cwnd_, mss_, delivered, ack.min_rtt);
  }
  AvoidCongestion(delivered, std::max<uint32_t>(bytes_per_mss, 1));
}

void CongestionController::OnEcho(Seq snd_una, Seq snd_nxt, uint32_t delivered_bytes, bool echo) {
  state_.dctcp.OnAck(snd_una, snd_nxt, delivered_bytes, echo);
}

// What an undo goes back to: a window that had grown beyond ssthresh had earned three quarters.
void CongestionController::SaveForUndo() {
  prior_cwnd_ = cwnd_;
  prior_ssthresh_ = std::max(ssthresh_, cwnd_ / 4 * 3);
}

uint32_t CongestionController::Half() const { return std::max<uint32_t>(cwnd_ / 2, 2u * mss_); }

uint32_t CongestionController::ReducedWindow(Cause cause) {
  switch (algorithm_) {
    case CongestionAlgorithm::kReno:
      break;
    case CongestionAlgorithm::kCubic:
      return state_.cubic.OnCongestion(cwnd_, mss_);
    case CongestionAlgorithm::kDctcp:
      if (cause == Cause::kMark) return state_.dctcp.Reduced(cwnd_, mss_);
      break;
    case CongestionAlgorithm::kBbr:
      state_.bbr.OnCongestion(cwnd_);
      return ssthresh_;  // not a thing of its
  }
  return Half();
}

void CongestionController::OnCongestion(Cause cause) {
  SaveForUndo();
  ssthresh_ = ReducedWindow(cause);
  acked_bytes_ = 0;
}

void CongestionController::OnLossAfterMark() {
  if (algorithm_ == CongestionAlgorithm::kDctcp) ssthresh_ = std::min(ssthresh_, Half());
  if (model_based()) state_.bbr.OnCongestion(cwnd_);
}

void CongestionController::OnTimeout(uint32_t in_flight_bytes, bool first_in_window) {
  if (first_in_window) {
    SaveForUndo();
    ssthresh_ = ReducedWindow(Cause::kLoss);
    if (algorithm_ == CongestionAlgorithm::kCubic) state_.cubic.OnTimeout();
  }
  if (model_based()) state_.bbr.OnTimeout(cwnd_);
  cwnd_ = Grown(in_flight_bytes, mss_);
  acked_bytes_ = 0;
}

void CongestionController::OnUndo() {
  if (model_based()) {
    state_.bbr.OnUndo();
    return;
  }
  cwnd_ = std::max(cwnd_, prior_cwnd_);
  ssthresh_ = std::max(ssthresh_, prior_ssthresh_);
  if (algorithm_ == CongestionAlgorithm::kCubic)
    state_.cubic.OnUndo(ssthresh_ == kInfiniteSsthresh);
}

void CongestionController::OnIdleRestart(Duration idle, Duration rto,
                                         uint32_t restart_window_bytes) {
  ssthresh_ = std::max(ssthresh_, cwnd_ / 4 * 3);
  const uint32_t floor = std::min(restart_window_bytes, cwnd_);
  for (Duration left = idle - rto; left > Duration() && cwnd_ > floor; left = left - rto) {
    cwnd_ /= 2;
  }
  cwnd_ = std::max(cwnd_, floor);
  cwnd_limited_ = false;
  max_in_flight_ = 0;
}

uint64_t CongestionController::pacing_rate(Duration srtt, uint32_t in_flight_bytes,
                                           uint32_t initial_window_bytes,
                                           uint32_t slow_start_percent,
                                           uint32_t avoidance_percent) const {
  if (model_based()) return state_.bbr.PacingRate(initial_window_bytes, srtt);
  if (srtt.us() <= 0) return UINT64_MAX;
  const uint64_t percent = cwnd_ < ssthresh_ / 2 ? slow_start_percent : avoidance_percent;
  const uint64_t window = std::max(cwnd_, in_flight_bytes);
  return window * 10'000 * percent / static_cast<uint64_t>(srtt.us());
}

}  // namespace usher
