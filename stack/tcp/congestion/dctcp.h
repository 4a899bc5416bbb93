// DCTCP (RFC 8257): the window falls in proportion to how much of it was marked.
#pragma once

#include <cstdint>

#include "stack/base/seq.h"

namespace usher {

// The moving average of the fraction of bytes that met congestion. 16 bytes.
class Dctcp {
 public:
  // Fractions are counted in 65536ths.
  static constexpr uint32_t kOne = 1u << 16;
  static constexpr uint32_t kGainShift = 4;  // g = 1/16, section 4.2

  // An acknowledgment: `delivered_bytes` of data, with ECE if `echo`. Once a window alpha follows
  // the fraction that was marked in it (section 3.3).
  void OnAck(Seq snd_una, Seq snd_nxt, uint32_t delivered_bytes, bool echo);
  // cwnd * (1 - alpha / 2), two segments at least.
  uint32_t Reduced(uint32_t cwnd, uint32_t mss) const;
  uint32_t alpha() const { return alpha_; }

 private:
  uint32_t alpha_ = kOne;  // section 4.2: at first as careful as without DCTCP
  uint32_t delivered_ = 0;
  uint32_t marked_ = 0;
  Seq window_end_;
  bool started_ = false;
};

}  // namespace usher
