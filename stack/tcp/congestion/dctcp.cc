#include "stack/tcp/congestion/dctcp.h"

#include <algorithm>

namespace usher {

void Dctcp::OnAck(Seq snd_una, Seq snd_nxt, uint32_t delivered_bytes, bool echo) {
  delivered_ += delivered_bytes;
  if (echo) marked_ += delivered_bytes;
  if (!started_) {
    started_ = true;
    window_end_ = snd_nxt;
  }
  if (snd_una < window_end_) return;
  if (delivered_ != 0) {
    // A decay too small to be counted still counts: alpha comes to zero when nothing is marked.
    const uint32_t decay = std::min(alpha_, std::max(alpha_ >> kGainShift, 1u));
    const auto marked =
        static_cast<uint32_t>((uint64_t{marked_} * (kOne >> kGainShift)) / delivered_);
    alpha_ = std::min(alpha_ - decay + marked, kOne);
  }
  delivered_ = marked_ = 0;
  window_end_ = snd_nxt;
}

uint32_t Dctcp::Reduced(uint32_t cwnd, uint32_t mss) const {
  const auto cut = static_cast<uint32_t>(uint64_t{cwnd} * alpha_ / (2 * kOne));
  return std::max(cwnd - cut, 2 * mss);
}

}  // namespace usher
