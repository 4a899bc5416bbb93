// Proportional Rate Reduction (RFC 6937, with the slow-start bound of Linux and of its bis).
#pragma once

#include <cstdint>

namespace usher {

// Spreads the reduction from one cwnd to ssthresh over a round trip. Bytes throughout.
class Prr {
 public:
  // The reduction begins at this cwnd; ends the one before.
  void Start(uint32_t prior_cwnd_bytes);
  void End() { prior_cwnd_ = 0; }
  bool active() const { return prior_cwnd_ != 0; }
  // New data or a retransmission left.
  void OnSent(uint32_t bytes) { out_ += bytes; }

  struct Ack {
    uint32_t delivered_bytes = 0;  // newly acknowledged or SACKed
    uint32_t lost_bytes = 0;       // newly marked lost
    uint32_t in_flight_bytes = 0;  // after both
    uint32_t ssthresh_bytes = 0;
    uint32_t mss = 0;
    bool snd_una_advanced = false;
  };
  // Gives the new cwnd: what is in flight and what may be added to it now. While more than
  // ssthresh is in flight, sends in proportion to what is delivered; below it, packet conservation
  // (CRB), and with progress and no new loss one segment more (SSRB). Without a delivery the
  // cwnd stays: the function returns false and the caller keeps the cwnd it has.
  bool OnAck(const Ack& ack, uint32_t* cwnd_bytes);

  uint32_t delivered_bytes() const { return delivered_; }
  uint32_t out_bytes() const { return out_; }

 private:
  uint32_t prior_cwnd_ = 0;
  uint32_t delivered_ = 0;
  uint32_t out_ = 0;
};

}  // namespace usher
