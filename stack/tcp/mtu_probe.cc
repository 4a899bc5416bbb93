// Path MTU discovery by trying (RFC 4821), as Linux does it with net.ipv4.tcp_mtu_probing.
//
// ICMP says when a packet was too big, if nobody on the way swallows the message. So a connection
// that seems to send into a black hole (1), or any connection (2), may find the size by itself: it
// starts with a size that always works (tcp_base_mss) and now and then makes one segment of the
// data that waits anyway as large as the middle of what is possible. If that one arrives, the path
// bears its size; if it alone is lost, it was too big, which is no sign of congestion
// (section 7.7).
#include <algorithm>

#include "stack/tcp/connection.h"

namespace usher {
namespace {

constexpr uint32_t kLeastCwndSegments = 11;  // the loss of one is to be found by those behind it

}  // namespace

// Headers and options of every segment: what an IP packet is larger than its payload.
uint32_t TcpConnection::PacketOverhead() const {
  return (tuple_.remote.is_v4() ? 40 : 60) + FixedOptionSize();
}

// Section 7.2: between what surely works and what either end could do at most.
void TcpConnection::StartMtuSearch(const TcpContext& ctx) {
  uint32_t mss = peer_mss_;  // counts options as payload (RFC 6691)
  if (options_.user_mss != 0) mss = std::min<uint32_t>(mss, options_.user_mss);
  const uint32_t headers = tuple_.remote.is_v4() ? 40 : 60;
  const uint32_t most = std::min<uint32_t>(path_.mtu, mss + headers);
  const auto base = static_cast<uint32_t>(std::max(ctx.sysctls.tcp_base_mss, 1));
  mtu_.high = static_cast<uint16_t>(most);
  mtu_.low = static_cast<uint16_t>(std::min(most, std::min(base, most) + PacketOverhead()));
  mtu_.probe = 0;
  mtu_.since_s = static_cast<uint16_t>(SecondsOf(ctx.now));
}

// The search is over when what is left to know is too little; and begins anew upwards from time to
// time, because paths change (section 7.4).
bool TcpConnection::MtuSearchOver(const TcpContext& ctx) {
  const int32_t threshold = std::max(ctx.sysctls.tcp_probe_threshold, 1);
  if (mtu_.high - mtu_.low >= threshold) return false;
  const auto age_s = static_cast<uint16_t>(SecondsOf(ctx.now) - mtu_.since_s);
  if (age_s < ctx.sysctls.tcp_probe_interval) return true;
  const uint16_t low = mtu_.low;
  StartMtuSearch(ctx);
  mtu_.low = std::min(low, mtu_.high);
  return mtu_.high - mtu_.low < threshold;
}

// New data as a probe, when there is enough of it and of both windows for its loss to be noticed
// (section 7.5). True: not yet, but soon; nothing else is to leave before it, or a sender that is
// always at its limit would never find the room.
bool TcpConnection::SendMtuProbe(TcpContext& ctx) {
  const LossRecovery& recovery = control_.recovery();
  if (mtu_.probe != 0 || recovery.state() != RecoveryState::kOpen || SackOptionSize(ctx) != 0 ||
      control_.congestion().cwnd_bytes() < kLeastCwndSegments * mss_ || MtuSearchOver(ctx))
    return false;
  const uint32_t size = (mtu_.low + mtu_.high) / 2u;
  NextSegment probe;
  probe.length = size - PacketOverhead();
  const uint32_t needed = probe.length + (recovery.reordering() + 1) * mss_;
  if (WriteEnd() - snd_nxt_ < static_cast<int32_t>(needed) || snd_wnd_ < needed ||
      control_.congestion().cwnd_bytes() < needed)
    return false;
  const RecoveryContext rc = Recovery(ctx);
  const bool window_open = (snd_una_ + snd_wnd_) - snd_nxt_ >= static_cast<int32_t>(needed);
  if (!window_open || control_.SendBudget(rc) < needed) return snd_nxt_ != snd_una_;
  if (!control_.MaySendNow(rc)) return false;
  const Seq seq = snd_nxt_;
  if (!SendNew(ctx, probe)) return false;
  mtu_.probe = static_cast<uint16_t>(size);
  mtu_.probe_seq = seq;
  return false;
}

// SND.UNA moved while a probe was out.
void TcpConnection::OnAckOfMtuProbe(TcpContext& ctx) {
  if (snd_una_ < mtu_.probe_seq + (mtu_.probe - PacketOverhead())) return;
  ctx.counters.Add(Counter::TcpExtTCPMTUPSuccess);
  mtu_.low = mtu_.probe;
  mtu_.probe = 0;
  UpdateMss(ctx);
}

// Loss was found, by an acknowledgment or the reordering timer: was it the probe alone? Takes out
// of `found` what then did not happen.
uint32_t TcpConnection::ForgiveMtuProbe(TcpContext& ctx, uint32_t found) {
  if ((found & RecoveryEvent::kEnteredRecovery) == 0 ||
      !control_.ForgiveMtuProbe(Recovery(ctx), mtu_.probe_seq))
    return found;
  ctx.counters.Add(Counter::TcpExtTCPMTUPFail);
  mtu_.high = static_cast<uint16_t>(mtu_.probe - 1);
  mtu_.probe = 0;
  constexpr uint32_t kRecovery = RecoveryEvent::kSackRecovery | RecoveryEvent::kRenoRecovery;
  return found & ~kRecovery;
}

// Timeouts without progress: perhaps only large packets vanish (section 7.6). Smaller and smaller
// ones are tried.
void TcpConnection::OnPerhapsBlackHole(TcpContext& ctx) {
  mtu_.probe = 0;
  if (mtu_.low == 0) {
    StartMtuSearch(ctx);
  } else {
    const Sysctls& sysctls = ctx.sysctls;
    const int32_t half = (mtu_.low - static_cast<int32_t>(PacketOverhead())) / 2;
    const int32_t mss = std::max({std::min(sysctls.tcp_base_mss, half), sysctls.tcp_mtu_probe_floor,
                                  sysctls.tcp_min_snd_mss});
    mtu_.low = static_cast<uint16_t>(
        std::min<uint32_t>(mtu_.low, static_cast<uint32_t>(mss) + PacketOverhead()));
  }
  UpdateMss(ctx);
}

}  // namespace usher
