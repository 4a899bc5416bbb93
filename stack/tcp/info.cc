#include "stack/tcp/info.h"

#include <algorithm>

#include "stack/tcp/connection.h"

namespace usher {

const char* ToString(TimerKind kind) {
  switch (kind) {
    case TimerKind::kOff:
      return "off";
    case TimerKind::kOn:
      return "on";
    case TimerKind::kKeepalive:
      return "keepalive";
    case TimerKind::kTimeWait:
      return "timewait";
    case TimerKind::kPersist:
      return "persist";
  }
  return "?";
}

TimerInfo TcpConnection::NextTimer(const TcpContext& ctx) const {
  const auto left = [&ctx](Instant deadline) { return std::max(deadline - ctx.now, Duration()); };
  if (control_.timer() != SendTimer::kNone)
    return {TimerKind::kOn, left(control_.timer_deadline()), control_.recovery().timeouts()};
  if (persist_deadline_ != Instant::Never())
    return {TimerKind::kPersist, left(persist_deadline_), probes_out_};
  if (life_deadline_ == Instant::Never()) return {};
  if (!has_owner_) return {TimerKind::kTimeWait, left(life_deadline_), 0};
  return {TimerKind::kKeepalive, left(life_deadline_), probes_out_};
}

TcpInfo TcpConnection::Info(const TcpContext& ctx) const {
  const LossRecovery& recovery = control_.recovery();
  const RttEstimator& rtt = recovery.rtt();
  const bool fin_acked = fin_sent_ && snd_una_ == snd_nxt_;
  TcpInfo info;
  info.state = state_;
  // Whether the application has seen the end of the stream is not noted down; it has not while
  // bytes stand before it, or before accept().
  const bool fin_unread = fin_received_ && (!receive_buffer_.empty() || !accepted);
  info.recv_q = receive_buffer_.size() + (fin_unread ? 1 : 0);
  info.send_q = send_buffer_.size() + (syn_unacked_ ? 1 : 0) + (fin_queued_ && !fin_acked ? 1 : 0);
  info.timer = NextTimer(ctx);
  info.timestamps = options_in_use_.timestamps;
  info.sack = options_in_use_.sack;
  info.wscale = options_in_use_.wscale;
  info.ecn = ecn_.in_use;
  info.ecn_seen = ecn_.seen;
  info.congestion = control_.congestion().algorithm();
  info.snd_wscale = snd_wscale_;
  info.rcv_wscale = rcv_wscale_;
  info.rto = Rto(ctx);
  info.backoff = rtt.backoff();
  if (rtt.has_sample()) {
    info.rtt = rtt.srtt();
    info.rttvar = rtt.mean_deviation();
  }
  info.min_rtt = rtt.min_rtt();
  info.ato = Duration::Millis(ack_timeout_ms_);
  info.mss = mss_;
  info.pmtu = path_.mtu;
  info.rcvmss = rcv_mss_;
  // As Linux: of payload, once it is known that every segment has timestamps.
  const bool stamped = options_in_use_.timestamps && state_ > TcpState::kSynReceived;
  info.advmss = advertised_mss_ - (stamped ? kTimestampsOnlySize : 0);
  const uint32_t mss = std::max<uint32_t>(mss_, 1);
  info.cwnd = control_.congestion().cwnd_bytes() / mss;
  if (control_.congestion().ssthresh_bytes() < CongestionController::kInfiniteSsthresh)
    info.ssthresh = control_.congestion().ssthresh_bytes() / mss;
  info.last_sent = last_data_sent_.Before(ctx.now);
  info.last_received = last_data_received_.Before(ctx.now);
  info.last_ack = last_ack_received_.Before(ctx.now);
  const uint64_t rate = control_.pacing_rate(Recovery(ctx));
  if (rate != UINT64_MAX) info.pacing_rate = rate;
  info.send_limit = SendMemoryLimit(ctx);
  info.send_memory = SendMemory();
  info.unacked = recovery.queue().segments_out();
  info.retrans = recovery.queue().retransmitted_segments();
  info.total_retrans = recovery.segments_resent();
  info.lost = recovery.queue().lost_segments();
  info.sacked = recovery.sacked_segments();
  info.reordering = recovery.reordering();
  info.reordering_seen = recovery.reordering_seen();
  info.rcv_ssthresh = rcv_ssthresh_;
  info.not_sent = WriteEnd() > snd_nxt_ ? static_cast<uint32_t>(WriteEnd() - snd_nxt_) : 0;
  info.snd_wnd = snd_wnd_;
  const uint64_t acked = uint64_t{snd_wraps_} << 32 | static_cast<uint32_t>(snd_una_ - iss_);
  const uint64_t sent = acked + static_cast<uint32_t>(snd_nxt_ - snd_una_);
  info.bytes_retrans = control_.bytes_resent();
  info.bytes_sent = sent - 1 - (fin_sent_ ? 1 : 0) + info.bytes_retrans;
  // Of a passive open neither SYN counts, of an active one our own does (as Linux).
  info.bytes_acked = passive_ && acked != 0 ? acked - 1 : acked;
  info.bytes_received = uint64_t{rcv_wraps_} << 32 | static_cast<uint32_t>(rcv_nxt_ - irs_);
  if (info.bytes_received != 0) --info.bytes_received;
  info.recovery = recovery.state();
  info.timeouts = recovery.timeouts();
  info.probes = probes_out_;
  return info;
}

}  // namespace usher
