#include "stack/tcp/recovery/prr.h"

#include <algorithm>

namespace usher {

void Prr::Start(uint32_t prior_cwnd_bytes) {
  prior_cwnd_ = std::max<uint32_t>(prior_cwnd_bytes, 1);
  delivered_ = 0;
  out_ = 0;
}

bool Prr::OnAck(const Ack& ack, uint32_t* cwnd_bytes) {
  if (!active() || ack.delivered_bytes == 0) return false;
  delivered_ += ack.delivered_bytes;
  int64_t send = 0;
  const int64_t room = static_cast<int64_t>(ack.ssthresh_bytes) - ack.in_flight_bytes;
  if (room < 0) {
    const uint64_t share = static_cast<uint64_t>(ack.ssthresh_bytes) * delivered_ / prior_cwnd_;
    // Whole segments, rounded up as RFC 6937's CEIL does: half a segment could not be sent anyway.
    const uint64_t segments = (share + ack.mss - 1) / ack.mss;
    send = static_cast<int64_t>(segments * ack.mss) - out_;
  } else {
    send = std::max(static_cast<int64_t>(delivered_) - out_,
                    static_cast<int64_t>(ack.delivered_bytes));
    if (ack.snd_una_advanced && ack.lost_bytes == 0) send += ack.mss;
    send = std::min(room, send);
  }
  // The first lost segment is sent again at once, whatever is in flight.
  send = std::max<int64_t>(send, out_ == 0 ? ack.mss : 0);
  *cwnd_bytes = ack.in_flight_bytes + static_cast<uint32_t>(send);
  return true;
}

}  // namespace usher
