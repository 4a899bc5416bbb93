// A connection's timers. It owns one entry in the shard's wheel, set to the earliest of them.
#include <algorithm>

#include "stack/base/check.h"
#include "stack/tcp/connection.h"

namespace usher {
namespace {

constexpr uint32_t kMaxAckTimeoutMs = 200;
constexpr uint32_t kMinAckTimeoutMs = 40;
constexpr uint32_t kTickMs = 4;
constexpr uint32_t kDefaultOrphanRetries = 8;

}  // namespace

void TcpConnection::ArmTimers(TcpContext& ctx) {
  const Instant send =
      control_.timer() != SendTimer::kNone ? control_.timer_deadline() : persist_deadline_;
  Instant first = std::min({send, UserDeadline(ctx), delayed_ack_deadline_, life_deadline_});
  if (pacing_wait_) [[unlikely]]
    first = std::min(first, control_.pacing_deadline());
  if (first != Instant::Never())
    ctx.timers.Set(slot_, first);
  else if (ctx.timers.IsSet(slot_))
    ctx.timers.Cancel(slot_);
}

// When TCP_USER_TIMEOUT ends the connection: data was sent again, or has waited for the peer's
// window, that long.
Instant TcpConnection::UserDeadline(const TcpContext& ctx) const {
  if (options_.user_timeout_ms == 0) return Instant::Never();
  const bool resending =
      control_.timer() == SendTimer::kRetransmit && control_.recovery().timeouts() != 0;
  const bool waiting =
      control_.timer() == SendTimer::kNone && persist_deadline_ != Instant::Never() && HasUnsent();
  if (!resending && !waiting) return Instant::Never();
  return ctx.now + Duration::Millis(options_.user_timeout_ms) - last_progress_.Before(ctx.now);
}

void TcpConnection::OnTimer(TcpContext& ctx) {
  if (UserDeadline(ctx) <= ctx.now) {
    GiveUp(ctx);
    return;
  }
  if (delayed_ack_deadline_ <= ctx.now) OnDelayedAckTimer(ctx);
  if (pacing_wait_ && control_.pacing_deadline() <= ctx.now) WantOutput(ctx);
  if (control_.timer() != SendTimer::kNone) {
    if (control_.timer_deadline() <= ctx.now) OnSendTimer(ctx);
  } else if (persist_deadline_ <= ctx.now) {
    OnPersistTimer(ctx);
  }
  if (state_ != TcpState::kClosed && life_deadline_ <= ctx.now) OnLifeTimer(ctx);
  if (state_ != TcpState::kClosed) ArmTimers(ctx);
}

void TcpConnection::OnDelayedAckTimer(TcpContext& ctx) {
  delayed_ack_deadline_ = Instant::Never();
  USHER_DCHECK(ack_pending_);  // the timer runs only while one is owed
  if (!interactive_) {         // missed: the dialogue is slower than was thought
    ack_timeout_ms_ =
        static_cast<uint16_t>(std::min<int64_t>({ack_timeout_ms_ * 2, Rto(ctx).ms(), UINT16_MAX}));
  } else {
    interactive_ = false;  // no answer came to carry it
    ack_timeout_ms_ = kMinAckTimeoutMs;
  }
  ctx.counters.Add(Counter::TcpExtDelayedACKs);
  SendAck(ctx);
}

// How long this acknowledgment may wait for company: about the rhythm of the sender, at most a
// round trip, at most 200 ms (RFC 1122 section 4.2.3.2 says less than 500).
void TcpConnection::ArmDelayedAck(TcpContext& ctx) {
  // Before any data there is no rhythm to wait for: a bare FIN is acknowledged in the next tick.
  uint32_t timeout_ms =
      ack_timeout_ms_ == 0 ? kTickMs : std::max<uint32_t>(ack_timeout_ms_, kMinAckTimeoutMs);
  if (timeout_ms > kMinAckTimeoutMs) {
    uint32_t most = kMaxAckTimeoutMs;
    const auto srtt_ms = static_cast<uint32_t>(control_.recovery().rtt().srtt().ms());
    if (srtt_ms != 0) most = std::min(most, std::max(srtt_ms, kMinAckTimeoutMs));
    timeout_ms = std::min(timeout_ms, most);
  }
  delayed_ack_deadline_ = ctx.now + Duration::Millis(timeout_ms);
}

void TcpConnection::OnSendTimer(TcpContext& ctx) {
  RecoveryContext rc = Recovery(ctx);
  rc.linear_timeout =
      state_ == TcpState::kSynSent &&
      control_.recovery().timeouts() < static_cast<uint32_t>(ctx.sysctls.tcp_syn_linear_timeouts);
  if (control_.timer() == SendTimer::kRetransmit && RetriedTooLong(ctx)) {
    GiveUp(ctx);
    return;
  }
  if (control_.timer() == SendTimer::kRetransmit && ctx.sysctls.tcp_mtu_probing != 0 &&
      control_.recovery().timeouts() != 0 && state_ >= TcpState::kEstablished &&
      last_progress_.Before(ctx.now) >= BackoffTime(ctx,
                                                    static_cast<uint32_t>(ctx.sysctls.tcp_retries1),
                                                    ctx.recovery_settings.rto_min))
    OnPerhapsBlackHole(ctx);
  const TimerOutcome out = control_.OnTimer(rc);
  CountRecovery(ctx, mtu_.probe == 0 ? out.events : ForgiveMtuProbe(ctx, out.events));
  ctx.counters.Add(Counter::TcpExtTCPLostRetransmit, out.lost_retransmissions);
  if (ecn_.in_use) NoteReductions(out.signals.view());
  switch (out.action) {
    case TimerOutcome::Action::kNone:
      break;
    case TimerOutcome::Action::kRetransmit:
      Retransmit(ctx, /*by_timeout=*/true);
      break;
    case TimerOutcome::Action::kProbe:
      SendLossProbe(ctx);
      break;
  }
}

// R2 of RFC 9293 section 3.8.3: the user timeout if there is one, else tcp_retries2
// (tcp_syn_retries for a SYN, tcp_orphan_retries without an owner), turned into the time that as
// many exponential back-offs from tcp_rto_min take, as in Linux; so it does not depend on this
// path's round trip.
bool TcpConnection::RetriedTooLong(const TcpContext& ctx) const {
  const uint32_t timeouts = control_.recovery().timeouts();
  if (state_ == TcpState::kSynSent) {
    const auto retries = options_.syn_retries != 0
                             ? options_.syn_retries
                             : static_cast<uint32_t>(ctx.sysctls.tcp_syn_retries);
    const auto linear = static_cast<uint32_t>(ctx.sysctls.tcp_syn_linear_timeouts);
    if (timeouts == 0) return retries == 0;
    return timeouts >= retries + linear ||
           last_progress_.Before(ctx.now) >=
               BackoffTime(ctx, retries, ctx.recovery_settings.rto_initial);
  }
  if (state_ == TcpState::kSynReceived) {
    if (fast_open_ && options_.syn_retries != 0) return timeouts >= options_.syn_retries;
    // Fast Open: one more, as Linux has it.
    return timeouts >= static_cast<uint32_t>(ctx.sysctls.tcp_synack_retries) + (fast_open_ ? 1 : 0);
  }
  if (timeouts == 0) return false;
  if (options_.user_timeout_ms != 0) return false;  // see UserDeadline
  const uint32_t retries =
      has_owner_ ? static_cast<uint32_t>(ctx.sysctls.tcp_retries2) : OrphanRetries(ctx);
  return last_progress_.Before(ctx.now) >= BackoffTime(ctx, retries, ctx.recovery_settings.rto_min);
}

// The sum of the first `retries` + 1 timeouts when each is twice the one before, from `least` on.
Duration TcpConnection::BackoffTime(const TcpContext& ctx, uint32_t retries, Duration least) {
  const Duration most = ctx.recovery_settings.rto_max;
  Duration sum, step = least;
  for (uint32_t i = 0; i <= retries; ++i) {
    sum = sum + std::min(step, most);
    if (step < most) step = step * 2;
  }
  return sum;
}

uint32_t TcpConnection::OrphanRetries(const TcpContext& ctx) const {
  const auto retries = static_cast<uint32_t>(ctx.sysctls.tcp_orphan_retries);
  return retries != 0 ? retries : kDefaultOrphanRetries;
}

void TcpConnection::GiveUp(TcpContext& ctx) {
  ctx.counters.Add(Counter::TcpExtTCPAbortOnTimeout);
  if (state_ == TcpState::kSynSent || state_ == TcpState::kSynReceived)
    ctx.counters.Add(Counter::TcpAttemptFails);
  Die(ctx, soft_error_ != Error::kNone ? soft_error_ : Error::kTimedOut);
}

void TcpConnection::ArmPersist(TcpContext& ctx) {
  const Duration base = std::max(Rto(ctx), ctx.recovery_settings.rto_min);
  const Duration most = ctx.recovery_settings.rto_max;
  Duration wait = base;
  for (uint32_t i = 0; i < persist_backoff_ && wait < most; ++i) wait = wait * 2;
  persist_deadline_ = ctx.now + std::min(wait, most);
}

// The peer answered while the persist timer ran: has the window opened?
void TcpConnection::OnWindowAfterProbe(TcpContext& ctx) {
  if (!HasUnsent()) {
    if (write_blocked_) return;  // it waits for memory, of which the peer knows nothing
    persist_deadline_ = Instant::Never();
    persist_backoff_ = 0;
  } else if ((snd_una_ + snd_wnd_) - snd_nxt_ >=
             std::min<int32_t>(mss_, (WriteEnd() - snd_nxt_) + (fin_queued_ ? 1 : 0))) {
    persist_deadline_ = Instant::Never();
    persist_backoff_ = 0;
    WantOutput(ctx);
  } else {
    ArmPersist(ctx);
  }
}

// A closed window is probed for as long as the peer answers (RFC 9293 section 3.8.6.1); one who
// does not is given up like one who does not acknowledge data, and an orphan that is kept waiting
// by a peer who answers is bounded as well (RFC 6429).
void TcpConnection::OnPersistTimer(TcpContext& ctx) {
  persist_deadline_ = Instant::Never();
  if (write_blocked_ && FewUnsent(ctx)) {  // nothing in flight: only memory was in the way
    write_blocked_ = false;
    Raise(ctx, kEventWritable);
  }
  if (!HasUnsent() || snd_nxt_ != snd_una_) return;
  auto most = static_cast<uint32_t>(ctx.sysctls.tcp_retries2);
  if (!has_owner_) most = OrphanRetries(ctx);
  if (probes_out_ >= most || OrphanStuck(ctx)) {
    GiveUp(ctx);
    return;
  }
  SendWindowProbe(ctx);
  if (probes_out_ < 255) ++probes_out_;
  if (persist_backoff_ < 31) ++persist_backoff_;
  if (snd_nxt_ == snd_una_) ArmPersist(ctx);
}

// An orphan whose peer keeps its window shut, alive or not: bounded, because nobody waits for it.
bool TcpConnection::OrphanStuck(const TcpContext& ctx) const {
  return !has_owner_ && orphaned_at_.Before(ctx.now) >
                            BackoffTime(ctx, OrphanRetries(ctx), ctx.recovery_settings.rto_min);
}

// Keepalive while there is an owner, the end of FIN-WAIT-2 when there is none.
void TcpConnection::OnLifeTimer(TcpContext& ctx) {
  life_deadline_ = Instant::Never();
  if (!has_owner_ && state_ == TcpState::kFinWait2) {
    // tcp_fin_timeout was longer than a TIME-WAIT record lives: the rest of it is spent there.
    EnterTimeWait(ctx, TcpState::kFinWait2);
    return;
  }
  if (!options_.keepalive || state_ == TcpState::kSynSent) return;
  const Duration idle =
      std::min(last_data_received_.Before(ctx.now), last_ack_received_.Before(ctx.now));
  if (snd_nxt_ != snd_una_ || HasUnsent()) {  // what is sent asks for itself
    life_deadline_ = ctx.now + KeepaliveTime(ctx);
    return;
  }
  if (idle < KeepaliveTime(ctx)) {
    ArmKeepalive(ctx);
    return;
  }
  const uint32_t most = options_.keepalive_probes != 0
                            ? options_.keepalive_probes
                            : static_cast<uint32_t>(ctx.sysctls.tcp_keepalive_probes);
  const bool too_long = options_.user_timeout_ms != 0
                            ? idle >= Duration::Millis(options_.user_timeout_ms) && probes_out_ > 0
                            : probes_out_ >= most;
  if (too_long) {
    SendRst(ctx);
    GiveUp(ctx);
    return;
  }
  ctx.counters.Add(Counter::TcpExtTCPKeepAlive);
  SendBare(ctx, snd_una_ - 1, TcpFlags::kAck);
  if (probes_out_ < 255) ++probes_out_;
  const uint32_t interval_s = options_.keepalive_intvl_s != 0
                                  ? options_.keepalive_intvl_s
                                  : static_cast<uint32_t>(ctx.sysctls.tcp_keepalive_intvl);
  life_deadline_ = ctx.now + Duration::Seconds(interval_s);
}

Duration TcpConnection::KeepaliveTime(const TcpContext& ctx) const {
  return Duration::Seconds(options_.keepalive_time_s != 0
                               ? options_.keepalive_time_s
                               : static_cast<uint32_t>(ctx.sysctls.tcp_keepalive_time));
}

// RFC 9293 section 3.8.4. Deferred lazily: activity does not touch the timer, its expiry looks.
void TcpConnection::ArmKeepalive(const TcpContext& ctx) {
  life_deadline_ = Instant::Never();
  if (!options_.keepalive || !has_owner_) return;
  const Duration idle =
      std::min(last_data_received_.Before(ctx.now), last_ack_received_.Before(ctx.now));
  life_deadline_ = ctx.now + std::max(KeepaliveTime(ctx) - idle, Duration::Millis(1));
}

}  // namespace usher
