// Large segments, which the port cuts into segments of the MSS (TSO): how much leaves as one,
// chosen as Linux does. To loss recovery a large segment is one transmission of several segments,
// which it takes apart where the peer says that only a part has come.
#include <algorithm>

#include "stack/base/check.h"
#include "stack/tcp/connection.h"
#include "stack/wire/tcp.h"

namespace usher {

// How many segments of `segment` bytes may leave as one (Linux's tcp_tso_autosize): a millisecond's
// worth at the rate of the connection; more where the path is so short that bursts are soon over.
// 1: the port does not cut.
uint32_t TcpConnection::SegmentsAtOnce(const TcpContext& ctx, uint32_t segment) const {
  const uint32_t most = ctx.egress.tso_bytes(path_);
  if (most < 2 * segment || urgent_.sending || md5_key_ != Md5Keys::kNone) return 1;
  uint64_t bytes = control_.pacing_rate(Recovery(ctx)) / 1024;
  const RttEstimator& rtt = control_.recovery().rtt();
  const int64_t halvings = rtt.min_rtt().us() >> std::min(ctx.sysctls.tcp_tso_rtt_log, 63);
  if (rtt.has_sample() && halvings < 32) bytes += most >> halvings;
  const uint64_t segments =
      std::max<uint64_t>(bytes / segment, static_cast<uint64_t>(ctx.sysctls.tcp_min_tso_segs));
  return static_cast<uint32_t>(std::min<uint64_t>(segments, most / segment));
}

// Whether a large segment is better sent later, when the next acknowledgment, which is soon to
// come, will have made room for a larger one (Linux's tcp_tso_should_defer). `limit`: what it waits
// for.
bool TcpConnection::DefersLarge(const TcpContext& ctx, uint32_t segment, uint32_t at_once,
                                uint32_t window, SendLimit* limit) const {
  constexpr Duration kRecent = Duration::Millis(1);
  constexpr uint32_t kWorthIt = 3;  // a third of the window (tcp_tso_win_divisor)
  const LossRecovery& recovery = control_.recovery();
  const uint32_t room = control_.SendBudget(Recovery(ctx)) / mss_ * mss_;
  const uint32_t open = std::min(room, window);
  const uint32_t whole = std::min(snd_wnd_, control_.congestion().cwnd_bytes());
  if (room == 0 || open >= at_once * segment || open >= whole / kWorthIt || fin_queued_ ||
      recovery.queue().empty() || recovery.state() >= RecoveryState::kRecovery ||
      control_.last_sent().Before(ctx.now) > kRecent)
    return false;
  const Duration rtt = recovery.rtt().srtt();
  const int64_t age_us = Micros::Of(ctx.now) - ctx.sent_segments[recovery.queue().head()].sent_at;
  if (rtt.us() - age_us > std::min(rtt.us() / 2, kRecent.us())) return false;
  *limit = room < window ? SendLimit::kCongestion : SendLimit::kWindow;
  return true;
}

// What Linux puts into one buffer of its send queue at most.
uint32_t TcpConnection::SizeGoal() const {
  constexpr uint32_t kMost = 65'215;
  const uint32_t half = max_window_ > 536 ? max_window_ / 2 : kMost;
  return std::max<uint32_t>(std::min(kMost, half) / mss_ * mss_, mss_);
}

// How much of `unsent` bytes leaves as one segment, given `at_once` segments at most and `window`
// bytes of the peer's (Linux's tcp_cwnd_test and tcp_mss_split_point). Not more than one segment:
// there is no large one to send.
uint32_t TcpConnection::LargeLength(const TcpContext& ctx, uint32_t segment, uint32_t at_once,
                                    uint32_t unsent, uint32_t window) const {
  // Two of them should be in flight, so that acknowledgments keep coming.
  const uint32_t half = std::max(control_.congestion().cwnd_bytes() / 2 / mss_, 1u);
  const uint32_t room = control_.SendBudget(Recovery(ctx)) / mss_;
  const uint32_t full = std::min({at_once, half, room}) * segment;
  const uint32_t needed = std::min(unsent, window);
  if (full <= needed) return full;
  const uint32_t partial = needed % segment;
  return partial != 0 && !fin_queued_ && HoldsBackSmall() ? needed - partial : needed;
}

// Writes the payload of a segment that the port cuts into the frame's buffers, the first part
// behind the header.
void TcpConnection::FillLarge(TcpContext& ctx, const TxFrame& frame, uint32_t header_length,
                              Seq seq, uint32_t length) {
  auto offset = static_cast<uint32_t>(seq - DataBase());
  const uint32_t end = offset + length;
  uint8_t* at = frame.l4 + header_length;
  for (BufferHeader* h = HeaderOf(frame.packet.handle); h != nullptr; h = h->next) {
    uint8_t* const room = RoomOf(HandleOf(h));
    if (h->payload == room) at = room;
    const auto n = static_cast<uint32_t>(h->payload + h->payload_length - at);
    send_buffer_.Copy(ctx.send_blocks, offset, {at, n});
    offset += n;
  }
  USHER_DCHECK(offset == end);
  (void)end;
}

}  // namespace usher
