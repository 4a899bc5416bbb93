// Birth, the user's calls (RFC 9293 section 3.10.1 to 3.10.6) and the end of a connection.
#include <algorithm>
#include <bit>

#include "stack/tcp/connection.h"
#include "stack/tcp/window.h"

namespace usher {

// What both ways of opening have in common.
void TcpConnection::Init(TcpContext& ctx, uint32_t slot, const FourTuple& tuple, const Path& path,
                         const TcpOptionsSet& options) {
  slot_ = slot;
  tuple_ = tuple;
  path_ = path;
  options_ = options;
  has_owner_ = true;
  options_in_use_.dsack = ctx.sysctls.tcp_dsack != 0;
  advertised_mss_ = static_cast<uint16_t>(path.mtu - (tuple.remote.is_v4() ? 40 : 60));
  if (options.user_mss != 0) advertised_mss_ = std::min(advertised_mss_, options.user_mss);
  last_progress_ = last_data_received_ = last_data_sent_ = last_ack_received_ =
      MilliStamp::Of(ctx.now);
}

void TcpConnection::OpenActive(TcpContext& ctx, uint32_t slot, const FourTuple& tuple,
                               const Path& path, const TcpOptionsSet& options,
                               const FastOpenSyn* fast_open, const Md5Key* md5) {
  Init(ctx, slot, tuple, path, options);
  if (md5 != nullptr) md5_key_ = ctx.md5_keys.Acquire(*md5);
  if (md5 != nullptr) fast_open = nullptr;  // its cookie would not fit beside a signature
  const Sysctls& sysctls = ctx.sysctls;
  // As on Linux, SACK is worth more than timestamps where there is no room for both.
  options_in_use_.timestamps = sysctls.tcp_timestamps != 0 && md5 == nullptr;
  options_in_use_.sack = sysctls.tcp_sack != 0;
  options_in_use_.wscale = sysctls.tcp_window_scaling != 0;
  BeginEcn(ctx, sysctls.tcp_ecn == 1 || NeedsEcn(CongestionOf(ctx, options)));
  const InitialWindow w =
      SelectInitialWindow(sysctls, ReceiveBufferLimit(ctx), advertised_mss_, options_in_use_.wscale,
                          options.receive_buffer_bytes != 0);
  rcv_wnd_ = w.rcv_wnd;
  window_clamp_ = w.window_clamp;
  rcv_wscale_ = w.wscale;
  rcv_ssthresh_ = rcv_wnd_;
  peer_mss_ = advertised_mss_;
  if (fast_open != nullptr && fast_open->mss != 0) peer_mss_ = std::min(peer_mss_, fast_open->mss);
  iss_ = ctx.isn.Next(tuple, ctx.now);
  ts_offset_ = ctx.isn.TimestampOffset(tuple);
  snd_una_ = iss_;
  snd_nxt_ = iss_ + 1;
  syn_unacked_ = true;
  const RecoveryContext rc = Recovery(ctx);
  control_.Configure(rc.settings, CongestionOf(ctx, options), 536, 536, false);
  UpdateMss(ctx);
  Enter(ctx, TcpState::kSynSent);
  ctx.counters.Add(Counter::TcpActiveOpens);
  if (!control_.OnSent(rc, iss_, 1, SentSegment::kSyn)) {
    Die(ctx, Error::kNoBuffers);
    return;
  }
  if (fast_open != nullptr) PutIntoSyn(ctx, *fast_open);
  const bool with_cookie = fast_open != nullptr && fast_open->has_option;
  // A SYN that finds no buffer is sent by the timer.
  EmitSyn(ctx, false, with_cookie ? &fast_open->cookie : nullptr, false, send_buffer_.size());
  control_.AfterSending(rc, SendLimit::kApplication, true);
  ArmTimers(ctx);
}

// What both sides agreed on in a handshake of which we are the passive end.
void TcpConnection::TakeHandshake(TcpContext& ctx, uint32_t slot, const HandshakeResult& h,
                                  const TcpOptionsSet& options, const Md5Key* md5) {
  Init(ctx, slot, h.tuple, h.path, options);
  if (md5 != nullptr) md5_key_ = ctx.md5_keys.Acquire(*md5);
  passive_ = true;
  options_in_use_ = {h.timestamps_ok, h.sack_ok, h.wscale_ok, options_in_use_.dsack};
  BeginEcn(ctx, h.ecn_ok);
  iss_ = h.iss;
  snd_una_ = snd_nxt_ = iss_ + 1;
  snd_sml_ = snd_una_;
  irs_ = h.irs;
  rcv_nxt_ = rcv_wup_ = copied_seq_ = h.irs + 1;
  peer_mss_ = h.peer_mss;
  snd_wscale_ = h.snd_wscale;
  rcv_wscale_ = h.rcv_wscale;
  snd_wnd_ = static_cast<uint32_t>(h.window) << snd_wscale_;
  max_window_ = snd_wnd_;
  snd_wl1_ = h.irs;
  rcv_wnd_ = h.rcv_wnd;
  rcv_ssthresh_ = h.rcv_wnd;
  window_clamp_ = h.window_clamp;
  ts_recent_ = h.ts_recent;
  ts_recent_s_ = SecondsOf(ctx.now);
  ts_offset_ = h.ts_offset;
  UpdateMss(ctx);
}

void TcpConnection::OpenPassive(TcpContext& ctx, uint32_t slot, const HandshakeResult& h,
                                const TcpOptionsSet& options, const Md5Key* md5) {
  TakeHandshake(ctx, slot, h, options, md5);
  one_segment_window_ = h.one_segment_window;
  Enter(ctx, TcpState::kEstablished);
  StartTransfer(ctx);
  if (h.handshake_rtt > Duration())
    control_.OnHandshakeRtt(Recovery(ctx), h.handshake_rtt, snd_una_, snd_nxt_);
  control_.OnHandshakeEnd();
  ArmTimers(ctx);
}

void TcpConnection::OpenFastOpen(TcpContext& ctx, uint32_t slot, const HandshakeResult& h,
                                 const TcpOptionsSet& options, Segment& syn,
                                 const FastOpenOption* cookie) {
  TakeHandshake(ctx, slot, h, options);
  snd_una_ = iss_;
  snd_wnd_ = max_window_ = h.window;  // never scaled on a SYN
  syn_unacked_ = fast_open_ = true;
  Enter(ctx, TcpState::kSynReceived);
  StartTransfer(ctx);
  const RecoveryContext rc = Recovery(ctx);
  if (!control_.OnSent(rc, iss_, 1, SentSegment::kSyn)) {
    Die(ctx, Error::kNoBuffers);
    return;
  }
  syn.seq += 1;
  syn.flags &= static_cast<uint16_t>(~TcpFlags::kSyn);
  const uint16_t rcv_mss = rcv_mss_;
  ReceiveText(ctx, syn);
  // What comes with the SYN says nothing of the rhythm of sending; the next data is the first.
  rcv_mss_ = rcv_mss;
  ack_timeout_ms_ = 0;
  quick_acks_ = 0;
  if (EmitSyn(ctx, true, cookie)) AckSent();  // without a buffer the timer sends it
  control_.AfterSending(rc, SendLimit::kApplication, true);
  ArmTimers(ctx);
}

// The handshake is done: windows and estimators begin.
void TcpConnection::StartTransfer(TcpContext& ctx) {
  const uint32_t segments = one_segment_window_ ? 1 : kInitialWindowSegments;
  if (ctx.sysctls.tcp_mtu_probing > 1) {
    StartMtuSearch(ctx);
    UpdateMss(ctx);
  }
  if (passive_)
    control_.Configure(ctx.recovery_settings, CongestionOf(ctx, options_), mss_, segments * mss_,
                       options_in_use_.sack);
  else
    control_.Reconfigure(ctx.recovery_settings, mss_, segments * mss_, options_in_use_.sack);
  if (options_.max_pacing_rate != Pacer::kNoLimit)
    control_.SetMaxPacingRate(Recovery(ctx), options_.max_pacing_rate);
  rcv_mss_ = static_cast<uint16_t>(
      std::clamp<uint32_t>(std::min<uint32_t>({advertised_mss_, mss_, rcv_wnd_ / 2}), 88, 536));
  BoundReceiveWindow(ctx);
  snd_sml_ = snd_una_;
  last_progress_ = last_ack_received_ = tune_started_ = MilliStamp::Of(ctx.now);
  tune_seq_ = copied_seq_;
  tune_space_ = std::min<uint32_t>(rcv_wnd_, kInitialWindowSegments * advertised_mss_);
  ArmKeepalive(ctx);
}

// What the buffer can back, less a segment that is always left (as Linux's tcp_init_buffer_space).
// What the SYN-ACK offered stands; it is only not renewed.
void TcpConnection::BoundReceiveWindow(const TcpContext& ctx) {
  const uint32_t space = FullReceiveSpace(ctx);
  const uint32_t mss = advertised_mss_;
  window_clamp_ = std::min(window_clamp_, space);
  if (window_clamp_ > 2 * mss && window_clamp_ + mss > space)
    window_clamp_ = std::max(2 * mss, space - mss);
  rcv_ssthresh_ = std::min(rcv_ssthresh_, window_clamp_);
}

void TcpConnection::Destroy(TcpContext& ctx) {
  receive_buffer_.Clear();
  ClearOutOfOrder(ctx);
  send_buffer_.Clear(ctx.send_blocks);
  control_.Clear(Recovery(ctx));
  ChargeMemory(ctx);
  ctx.md5_keys.Release(std::exchange(md5_key_, Md5Keys::kNone));
  if (ctx.timers.IsSet(slot_)) ctx.timers.Cancel(slot_);
}

IoResult TcpConnection::Read(TcpContext& ctx, std::span<uint8_t> out) {
  if (urgent_.marked) [[unlikely]]
    out = out.first(UpToMark(ctx, out.size()));
  if (const auto nothing = NothingToRead()) return *nothing;
  const size_t n = receive_buffer_.Read(out);
  copied_seq_ += static_cast<uint32_t>(n);
  AfterRead(ctx);
  return {n, Error::kNone};
}

IoResult TcpConnection::ReadSlice(TcpContext& ctx, uint32_t max, Slice* out) {
  if (urgent_.marked) [[unlikely]]
    max = static_cast<uint32_t>(UpToMark(ctx, max));
  if (const auto nothing = NothingToRead()) return *nothing;
  *out = receive_buffer_.TakeSlice(max);
  const size_t n = out->bytes().size();
  copied_seq_ += static_cast<uint32_t>(n);
  AfterRead(ctx);
  return {n, Error::kNone};
}

IoResult TcpConnection::Peek(TcpContext& ctx, std::span<const uint8_t>* out) {
  *out = receive_buffer_.Front();
  if (urgent_.marked) [[unlikely]] {
    const size_t most = UpToMark(ctx, SIZE_MAX);
    *out = receive_buffer_.Front();
    *out = out->first(std::min(out->size(), most));
  }
  if (const auto nothing = NothingToRead()) return *nothing;
  return {out->size(), Error::kNone};
}

IoResult TcpConnection::PeekCopy(std::span<uint8_t> out) const {
  if (receive_buffer_.empty()) return EmptyRead();
  if (const int32_t ahead = rcv_up_ - copied_seq_; urgent_.marked && ahead > 0)
    out = out.first(std::min(out.size(), static_cast<size_t>(ahead)));
  return {receive_buffer_.Peek(out), Error::kNone};
}

void TcpConnection::Discard(TcpContext& ctx, size_t n) {
  if (urgent_.marked) [[unlikely]]
    n = UpToMark(ctx, n);
  copied_seq_ += static_cast<uint32_t>(receive_buffer_.Discard(n));
  AfterRead(ctx);
}

// What a read says when no byte is there. Bytes that arrived before an end are delivered before it.
std::optional<IoResult> TcpConnection::NothingToRead() {
  if (!receive_buffer_.empty()) return std::nullopt;
  const IoResult result = EmptyRead();
  if (result.error != Error::kNone && result.error == error_) error_reported_ = true;
  if (fin_received_) fin_read_ = true;
  return result;
}

IoResult TcpConnection::EmptyRead() const {
  // The end of the stream was reached, whatever happened afterwards (as Linux's SOCK_DONE).
  if (fin_received_) return {0, Error::kNone};
  if (error_ != Error::kNone && !error_reported_) return {0, error_};
  if (shut_read_ || state_ == TcpState::kClosed) return {0, Error::kNone};
  return {0, Error::kAgain};
}

// The reader made room: grow the buffer to the rhythm of the reading, and tell the peer if that
// opens the window by enough (RFC 9293 section 3.8.6.2.2).
void TcpConnection::AfterRead(TcpContext& ctx) {
  if (fin_received_ && receive_buffer_.empty()) fin_read_ = true;
  ChargeMemory(ctx);
  if (state_ == TcpState::kClosed || fin_received_) return;
  TuneReceiveBuffer(ctx);
  bool due = ack_pending_ && static_cast<uint32_t>(rcv_nxt_ - rcv_wup_) > rcv_mss_;
  const uint32_t window = ReceiveWindow();
  if (!due && 2 * static_cast<uint64_t>(window) <= window_clamp_) {
    const uint32_t possible = ComputeWindow(ctx);
    due = possible != 0 && possible >= 2 * window;
  }
  if (due) {
    ack_pending_ = ack_now_ = true;
    WantOutput(ctx);
  }
}

// Dynamic right-sizing: the buffer follows twice what the application reads in a round trip.
void TcpConnection::TuneReceiveBuffer(TcpContext& ctx) {
  if (ctx.sysctls.tcp_moderate_rcvbuf == 0 || options_.receive_buffer_bytes != 0) return;
  const Duration rtt = control_.recovery().rtt().srtt();
  const Duration round = std::max(rtt, Duration::Millis(1));
  if (tune_started_.Before(ctx.now) < round) return;
  const uint32_t copied = static_cast<uint32_t>(copied_seq_ - tune_seq_);
  if (copied > tune_space_ && !ctx.memory.under_pressure()) {
    const uint64_t window = 2 * static_cast<uint64_t>(copied) + 16 * advertised_mss_;
    const uint64_t wanted = std::min<uint64_t>(2 * window, ctx.sysctls.tcp_rmem[2]);
    if (wanted > ReceiveBufferLimit(ctx)) {
      receive_buffer_limit_ = static_cast<uint32_t>(wanted);
      window_clamp_ = std::min(std::max(window_clamp_, WindowFromSpace(receive_buffer_limit_)),
                               65535u << rcv_wscale_);
    }
    tune_space_ = copied;
  }
  tune_started_ = MilliStamp::Of(ctx.now);
  tune_seq_ = copied_seq_;
}

Error TcpConnection::WriteError() const {
  if (error_ != Error::kNone) return error_ == Error::kAborted ? Error::kBrokenPipe : error_;
  if (fin_queued_ || fin_deferred_ || state_ == TcpState::kClosed) return Error::kBrokenPipe;
  return Error::kNone;
}

IoResult TcpConnection::Write(TcpContext& ctx, std::span<const uint8_t> data) {
  if (const Error e = WriteError(); e != Error::kNone) return {0, e};
  if (data.empty()) return {0, Error::kNone};
  size_t n = 0;
  const size_t wanted = data.size();
  if (NotsentLowat(ctx) != kNoLowat) [[unlikely]]
    data = data.first(std::min(wanted, UnsentRoom(ctx)));
  // Little enough needs no closer look.
  const size_t after = send_buffer_.size() + data.size();
  const auto least = static_cast<size_t>(ctx.sysctls.tcp_wmem[1]);
  const bool small = options_.send_buffer_bytes == 0 && after <= least;
  if (AdmitSendMemory(ctx))
    n = send_buffer_.Append(ctx.send_blocks, data, small ? least : SendBufferLimit(ctx));
  ChargeMemory(ctx);
  if (n < wanted) NoteWriteBlocked(ctx);
  if (n == 0) return {0, Error::kAgain};
  more_coming_ = options_.more_coming;
  WantOutput(ctx);
  return {n, Error::kNone};
}

IoResult TcpConnection::WriteExternal(TcpContext& ctx, std::span<const uint8_t> data,
                                      ReleaseFn release, void* context) {
  if (const Error e = WriteError(); e != Error::kNone) return {0, e};
  if (data.empty()) return {0, Error::kInvalid};
  if (send_buffer_.size() >= SendBufferLimit(ctx) || UnsentRoom(ctx) == 0 ||
      !AdmitSendMemory(ctx) ||
      !send_buffer_.AppendExternal(ctx.send_blocks, data, release, context)) {
    NoteWriteBlocked(ctx);
    return {0, Error::kAgain};
  }
  WantOutput(ctx);
  return {data.size(), Error::kNone};
}

// Room comes back with acknowledgments; where nothing is outstanding it was memory that was short,
// and the persist timer asks again.
void TcpConnection::NoteWriteBlocked(TcpContext& ctx) {
  write_blocked_ = true;
  if (!send_buffer_.empty() || control_.timer() != SendTimer::kNone ||
      persist_deadline_ != Instant::Never())
    return;
  ArmPersist(ctx);
  ArmTimers(ctx);
}

void TcpConnection::EndWriteBlock(TcpContext& ctx) {
  if (!write_blocked_ || !IsWritable(ctx)) return;
  write_blocked_ = false;
  Raise(ctx, kEventWritable);
}

bool TcpConnection::IsWritable(const TcpContext& ctx) const {
  const bool a_third_free = 3 * uint64_t{SendMemory()} <= 2 * uint64_t{SendMemoryLimit(ctx)};
  return (send_buffer_.empty() || a_third_free) && FewUnsent(ctx);
}

bool TcpConnection::FewUnsent(const TcpContext& ctx) const {
  const uint32_t lowat = NotsentLowat(ctx);
  return lowat == kNoLowat || 2 * uint64_t{UnsentBytes()} < std::max(lowat, 1u);
}

// How many bytes TCP_NOTSENT_LOWAT lets a write take: what may leave at the end of the pass, and
// then whole pieces of Linux's send queue, which are begun while less than the mark is unsent.
size_t TcpConnection::UnsentRoom(const TcpContext& ctx) const {
  const uint32_t lowat = std::max(NotsentLowat(ctx), 1u);
  if (lowat == kNoLowat) return SIZE_MAX;
  const uint32_t open = std::min(control_.congestion().cwnd_bytes(), snd_wnd_);
  const auto in_flight = static_cast<uint32_t>(snd_nxt_ - snd_una_);
  const uint32_t leaves = MaySend() && open > in_flight ? open - in_flight : 0;
  const uint32_t unsent = UnsentBytes();
  const uint32_t stays = unsent - std::min(unsent, output_queued ? leaves : 0);
  if (stays >= lowat) return 0;
  const uint64_t goal = SizeGoal();
  const uint64_t most = leaves + (lowat + goal - 1) / goal * goal;
  return most > unsent ? most - unsent : 0;
}

size_t TcpConnection::WritableBytes(TcpContext& ctx) {
  if (WriteError() != Error::kNone) return 0;
  const uint32_t limit = SendBufferLimit(ctx);
  const size_t free = send_buffer_.size() < limit ? limit - send_buffer_.size() : 0;
  const size_t room = std::min(free, UnsentRoom(ctx));
  if (room == 0 || !AdmitSendMemory(ctx)) {
    NoteWriteBlocked(ctx);
    return 0;
  }
  return room;
}

Error TcpConnection::Shutdown(TcpContext& ctx, ShutdownHow how) {
  if (state_ == TcpState::kClosed || state_ == TcpState::kSynSent) return Error::kNotConnected;
  if (how != ShutdownHow::kWrite) shut_read_ = true;
  if (how != ShutdownHow::kRead) {
    // As Linux since 6.10; close() does not wait.
    if (state_ == TcpState::kSynReceived)
      fin_deferred_ = true;
    else
      QueueFin(ctx);
  }
  return Error::kNone;
}

// The FIN goes out behind the last byte written (section 3.10.4).
void TcpConnection::QueueFin(TcpContext& ctx) {
  if (fin_queued_) return;
  fin_queued_ = true;
  if (state_ == TcpState::kEstablished)
    Enter(ctx, TcpState::kFinWait1);
  else if (state_ == TcpState::kCloseWait)
    Enter(ctx, TcpState::kLastAck);
  WantOutput(ctx);
}

void TcpConnection::Close(TcpContext& ctx) {
  if (!has_owner_) return;
  has_owner_ = false;
  user_data = nullptr;
  events = 0;
  const bool unread = !receive_buffer_.empty();
  receive_buffer_.Clear();
  ChargeMemory(ctx);
  if (state_ == TcpState::kClosed) return;
  if (state_ == TcpState::kSynSent) {
    Die(ctx, Error::kAborted);
    return;
  }
  if (unread) {  // the peer must know that what it sent was not read (RFC 2525 section 2.17)
    ctx.counters.Add(Counter::TcpExtTCPAbortOnClose);
    SendRst(ctx);
    Die(ctx, Error::kAborted);
    return;
  }
  if (options_.linger && options_.linger_s == 0) {
    ctx.counters.Add(Counter::TcpExtTCPAbortOnData);
    Abort(ctx);
    return;
  }
  options_.cork = options_.more_coming = false;
  QueueFin(ctx);
  Orphan(ctx);
}

// From here on nobody waits for the connection, so how many there are, and for how long, is
// bounded.
void TcpConnection::Orphan(TcpContext& ctx) {
  orphaned_at_ = MilliStamp::Of(ctx.now);
  life_deadline_ = Instant::Never();
  ++ctx.orphans;
  counted_orphan_ = true;
  if (int64_t{ctx.orphans} > ctx.sysctls.tcp_max_orphans) {
    ctx.counters.Add(Counter::TcpExtTCPAbortOnMemory);
    SendRst(ctx);
    Die(ctx, Error::kAborted);
    return;
  }
  if (state_ == TcpState::kFinWait2) EnterFinWait2Orphaned(ctx);
  if (state_ != TcpState::kClosed) ArmTimers(ctx);
}

// FIN-WAIT-2 without an owner lasts tcp_fin_timeout: the last minute of it, or all, as a small
// record. `s`: the segment that brought it there, if one did; a reset then answers it.
void TcpConnection::EnterFinWait2Orphaned(TcpContext& ctx, Segment* s) {
  if (options_.linger2_s < 0) {
    ctx.counters.Add(Counter::TcpExtTCPAbortOnLinger);
    if (s != nullptr)
      SendResetFor(ctx, *s);
    else
      SendRst(ctx);
    Die(ctx, Error::kNone);
    return;
  }
  const Duration timeout = FinTimeout(ctx);
  if (timeout > kTimeWaitLength) {
    if (life_deadline_ == Instant::Never()) life_deadline_ = ctx.now + (timeout - kTimeWaitLength);
  } else {
    EnterTimeWait(ctx, TcpState::kFinWait2);
  }
}

Duration TcpConnection::FinTimeout(const TcpContext& ctx) const {
  const Duration timeout =
      Duration::Seconds(options_.linger2_s != 0 ? options_.linger2_s : ctx.sysctls.tcp_fin_timeout);
  const Duration rto = Rto(ctx);  // never shorter than the peer needs to answer
  return std::max(timeout, rto * 4 - rto / 2);
}

void TcpConnection::Abort(TcpContext& ctx) {
  switch (state_) {
    case TcpState::kClosed:
    case TcpState::kSynSent:
      break;
    case TcpState::kClosing:
    case TcpState::kLastAck:  // the peer has had all of it, unless something is still unsent
      if (HasUnsent()) SendRst(ctx);
      break;
    default:
      SendRst(ctx);
  }
  Die(ctx, Error::kAborted);
}

void TcpConnection::ApplyOptions(TcpContext& ctx, const TcpOptionsSet& options) {
  const bool keepalive_changed = options.keepalive != options_.keepalive ||
                                 options.keepalive_time_s != options_.keepalive_time_s;
  const bool may_send =
      (options_.cork || options_.more_coming) && !options.cork && !options.more_coming;
  options_ = options;
  if (state_ == TcpState::kClosed) return;
  UpdateMss(ctx);
  control_.SetMaxPacingRate(Recovery(ctx), options.max_pacing_rate);
  if (options.congestion) {
    control_.ChangeAlgorithm(Recovery(ctx), *options.congestion);
    BeginEcn(ctx, ecn_.in_use);
  }
  if (pacing_wait_) WantOutput(ctx);
  if (keepalive_changed) ArmKeepalive(ctx);
  if (may_send || options.no_delay) WantOutput(ctx);
  EndWriteBlock(ctx);  // a higher TCP_NOTSENT_LOWAT, or a larger buffer
  ArmTimers(ctx);
}

void TcpConnection::SetQuickAck(TcpContext& ctx, bool quick) {
  interactive_ = !quick;
  if (!quick || !ack_pending_ || state_ == TcpState::kClosed) return;
  ack_now_ = true;
  WantOutput(ctx);
}

// ICMP is unauthenticated: it must quote a segment in flight (RFC 5927 section 4), and ends only an
// opening that has not succeeded; elsewhere it is a hint.
// DEVIATION(RFC 1122 4.2.3.9): an opening ends by soft errors too, as Linux and RFC 5461
// section 4.1 have it: who waits for it can try another address now.
void TcpConnection::OnIcmpError(TcpContext& ctx, const IcmpError& e) {
  const Seq seq(e.seq);
  if (state_ == TcpState::kClosed) return;
  if (seq < snd_una_ || seq > snd_nxt_) {
    ctx.counters.Add(Counter::TcpExtOutOfWindowIcmps);
    return;
  }
  if (e.kind == IcmpError::Kind::kPacketTooBig) {
    LowerPathMtu(ctx, e.mtu);
    return;
  }
  soft_error_ =
      e.kind == IcmpError::Kind::kRefused ? Error::kConnectionRefused : Error::kHostUnreachable;
  if (state_ == TcpState::kSynSent) {
    ctx.counters.Add(Counter::TcpAttemptFails);
    Die(ctx, soft_error_);
  }
}

// Path MTU discovery (RFC 1191, RFC 8201), with a floor so that nobody can starve a connection.
void TcpConnection::LowerPathMtu(TcpContext& ctx, uint32_t mtu) {
  const uint32_t least = tuple_.remote.is_v4() ? kMinPathMtuV4 : kMinPathMtuV6;
  mtu = std::max(mtu, least);
  if (mtu >= path_.mtu) return;
  path_.mtu = static_cast<uint16_t>(mtu);
  mtu_.high = std::min(mtu_.high, path_.mtu);
  UpdateMss(ctx);
  if (!control_.ResendTooLong(Recovery(ctx))) return;
  retransmit_due_ = true;
  WantOutput(ctx);
}

void TcpConnection::Raise(TcpContext& ctx, uint8_t event) {
  events |= event;
  if (event_queued || !has_owner_ || !accepted) return;
  QueueEvents(ctx);
}

void TcpConnection::OnAccepted(TcpContext& ctx) {
  accepted = true;
  if (events != 0 && !event_queued) QueueEvents(ctx);
}

void TcpConnection::QueueEvents(TcpContext& ctx) {
  event_queued = true;
  ctx.events.Push(slot_);
}

void TcpConnection::Enter(TcpContext& ctx, TcpState state) {
  const auto counts = [](TcpState s) {
    return s == TcpState::kEstablished || s == TcpState::kCloseWait;
  };
  if (counts(state) && !counts(state_)) ctx.counters.Add(Counter::TcpCurrEstab);
  if (!counts(state) && counts(state_)) {
    ctx.counters.Sub(Counter::TcpCurrEstab);
    if (state == TcpState::kClosed) ctx.counters.Add(Counter::TcpEstabResets);
  }
  state_ = state;
}

void TcpConnection::Die(TcpContext& ctx, Error error) {
  if (state_ == TcpState::kClosed) return;
  Enter(ctx, TcpState::kClosed);
  error_ = error;
  if (fate_ == Fate::kAlive) fate_ = Fate::kClosed;
  send_buffer_.Clear(ctx.send_blocks);
  ClearOutOfOrder(ctx);
  control_.Clear(Recovery(ctx));
  ChargeMemory(ctx);
  ack_pending_ = retransmit_due_ = false;
  persist_deadline_ = delayed_ack_deadline_ = life_deadline_ = Instant::Never();
  if (ctx.timers.IsSet(slot_)) ctx.timers.Cancel(slot_);
  if (counted_orphan_) {
    counted_orphan_ = false;
    --ctx.orphans;
  }
  Raise(ctx, kEventReadable | kEventClosed);
}

// The connection goes on as a small record; an owner that has not let go keeps this slot to read
// what is left.
void TcpConnection::EnterTimeWait(TcpContext& ctx, TcpState substate) {
  time_wait_substate_ = substate;
  const Duration length = substate == TcpState::kTimeWait
                              ? kTimeWaitLength
                              : std::min(FinTimeout(ctx), kTimeWaitLength);
  time_wait_ms_ = static_cast<uint16_t>(length.ms());
  fate_ = Fate::kTimeWait;
  Die(ctx, Error::kNone);
}

// ---- Memory (tcp_mem, tcp_rmem, tcp_wmem) ----

uint32_t TcpConnection::ReceiveBufferLimit(const TcpContext& ctx) const {
  if (receive_buffer_limit_ != 0) return receive_buffer_limit_;
  return options_.receive_buffer_bytes != 0 ? options_.receive_buffer_bytes
                                            : static_cast<uint32_t>(ctx.sysctls.tcp_rmem[1]);
}

uint32_t TcpConnection::FullReceiveSpace(const TcpContext& ctx) const {
  return WindowFromSpace(ReceiveBufferLimit(ctx));
}

// Two congestion windows' worth, so that one can be written while the other is in flight; between
// tcp_wmem's default and maximum, and not above the default under memory pressure.
// SO_SNDBUF, or what the window needs, as Linux tunes it (tcp_sndbuf_expand): two windows of
// segments, each with all its bookkeeping.
uint32_t TcpConnection::SendMemoryLimit(const TcpContext& ctx) const {
  if (options_.send_buffer_bytes != 0) return options_.send_buffer_bytes;
  const auto least = static_cast<uint32_t>(ctx.sysctls.tcp_wmem[1]);
  if (ctx.memory.under_pressure()) return least;
  constexpr uint32_t kHeaders = 640;
  constexpr uint32_t kRecord = 256;
  const uint64_t segment = std::bit_ceil(std::max<uint32_t>(peer_mss_, mss_) + kHeaders) + kRecord;
  const uint32_t segments = std::max(
      {control_.congestion().cwnd_bytes() / mss_, control_.recovery().reordering() + 1u, 10u});
  const auto most = std::max<uint64_t>(least, ctx.sysctls.tcp_wmem[2]);
  return static_cast<uint32_t>(std::clamp<uint64_t>(2 * segments * segment, least, most));
}

// What the unacknowledged bytes take of that, counted as Linux would.
uint32_t TcpConnection::SendMemory() const {
  const uint32_t pieces =
      control_.recovery().queue().segments_out() + (UnsentBytes() + SizeGoal() - 1) / SizeGoal();
  return send_buffer_.size() + pieces * kSendOverhead;
}

// How many bytes the send buffer takes in all. Linux asks for room only when it begins a new piece
// of the queue, and fills that up; a part leaves while a call still writes.
uint32_t TcpConnection::SendBufferLimit(const TcpContext& ctx) const {
  const uint32_t goal = SizeGoal();
  const uint32_t memory = SendMemoryLimit(ctx);
  const uint32_t sent = std::min(control_.congestion().cwnd_bytes(), snd_wnd_);
  const uint32_t taken = sent + sent / (2 * mss_) * kSendOverhead;
  const uint32_t left = memory > taken ? memory - taken : 0;
  return sent + std::max(1u, (left + goal + kSendOverhead - 1) / (goal + kSendOverhead)) * goal;
}

// How much may wait beyond a hole: what the receive buffer leaves free.
uint32_t TcpConnection::ReassemblyLimit(const TcpContext& ctx) const {
  const uint32_t limit = ReceiveBufferLimit(ctx);
  const uint32_t used = receive_buffer_.memory_charged();
  return used >= limit ? 0 : limit - used;
}

// Whether one more buffer may be kept. Even when tcp_mem is used up a connection may have the least
// of tcp_rmem; what waits out of order is given up before data in order is refused.
bool TcpConnection::AdmitReceiveMemory(TcpContext& ctx) {
  const uint32_t limit = ReceiveBufferLimit(ctx);
  const auto least = static_cast<uint32_t>(ctx.sysctls.tcp_rmem[0]);
  const auto short_of_memory = [&] {
    const uint32_t used = ReceiveMemory(ctx);
    return used > limit || (ctx.memory.exhausted() && used >= least);
  };
  while (HasOutOfOrder() && short_of_memory()) {
    ctx.counters.Add(Counter::TcpExtOfoPruned);
    OutOfOrder(ctx).Prune(kBufferRoom);
    if (OutOfOrder(ctx).empty()) ClearOutOfOrder(ctx);
    ChargeMemory(ctx);
  }
  if (receive_buffer_.memory_charged() > limit) {
    ctx.counters.Add(Counter::TcpExtPruneCalled);
    // Small segments leave most of their buffers empty: more may fit into less.
    if (2 * receive_buffer_.size() < receive_buffer_.memory_charged())
      ctx.counters.Add(Counter::TcpExtTCPRcvCollapsed, receive_buffer_.Collapse());
    ChargeMemory(ctx);
    if (receive_buffer_.memory_charged() > limit) return false;
  }
  return !short_of_memory();
}

bool TcpConnection::AdmitSendMemory(const TcpContext& ctx) const {
  return !ctx.memory.exhausted() ||
         send_buffer_.memory_charged() < static_cast<uint32_t>(ctx.sysctls.tcp_wmem[0]);
}

uint32_t TcpConnection::ReceiveMemory(const TcpContext& ctx) const {
  const uint32_t in_order = receive_buffer_.memory_charged();
  return HasOutOfOrder() ? in_order + OutOfOrder(ctx).memory_charged() : in_order;
}

void TcpConnection::ClearOutOfOrder(TcpContext& ctx) {
  if (!HasOutOfOrder()) return;
  ctx.reassembly.Free(out_of_order_);  // frees what it holds
  out_of_order_ = kNoReassembly;
}

// Brings the shard's account up to what this connection holds.
void TcpConnection::ChargeMemory(TcpContext& ctx) {
  const uint32_t held = send_buffer_.memory_charged() + ReceiveMemory(ctx);
  if (held == charged_) return;
  if (held > charged_) ctx.memory.ChargeAlways(held - charged_);
  if (held < charged_) ctx.memory.Uncharge(charged_ - held);
  charged_ = held;
}

}  // namespace usher
