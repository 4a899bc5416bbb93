// The only sender of a connection's segments.
#include <algorithm>
#include <utility>

#include "stack/base/short_cuts.h"
#include "stack/tcp/connection.h"
#include "stack/tcp/reset.h"
#include "stack/tcp/window.h"
#include "stack/wire/ecn.h"

namespace usher {
namespace {

constexpr uint32_t kSackBlockSize = 8;
constexpr uint32_t kSackHeaderSize = 4;  // two NOPs, kind, length
constexpr uint32_t kDefaultMss = 536;    // RFC 9293 section 3.7.1
constexpr uint32_t kLeastMss = 48;

uint32_t HeadersOf(const FourTuple& tuple) { return tuple.remote.is_v4() ? 40 : 60; }

}  // namespace

RecoveryContext TcpConnection::Recovery(const TcpContext& ctx) {
  return {ctx.now, ctx.sent_segments, ctx.recovery_settings};
}

// The largest payload: what the peer takes, what the path takes, less the options on each segment.
void TcpConnection::UpdateMss(TcpContext& ctx) {
  uint32_t whole = std::min<uint32_t>(peer_mss_, path_.mtu - HeadersOf(tuple_));
  if (mtu_.low != 0) whole = std::min<uint32_t>(whole, mtu_.low - HeadersOf(tuple_));
  if (options_.user_mss != 0) whole = std::min<uint32_t>(whole, options_.user_mss);
  whole = std::max<uint32_t>(whole, ctx.sysctls.tcp_min_snd_mss);
  const uint32_t options = FixedOptionSize();
  mss_ = static_cast<uint16_t>(whole - options);
  // A peer with a small window gets it in two halves, as Linux does it: while one is on its way
  // the other can be read.
  const uint32_t most = max_window_ > kDefaultMss ? max_window_ / 2 : max_window_;
  if (most != 0 && mss_ > most) mss_ = static_cast<uint16_t>(std::max(most, kLeastMss - options));
  control_.set_mss(mss_);
}

void TcpConnection::WantOutput(TcpContext& ctx) {
  if (output_queued) return;
  output_queued = true;
  ctx.output.Push(slot_);
}

void TcpConnection::ScheduleAck(TcpContext& ctx) {
  ack_pending_ = true;
  WantOutput(ctx);
}

void TcpConnection::Flush(TcpContext& ctx) {
  if (state_ == TcpState::kClosed) return;
  pacing_wait_ = false;
  if (retransmit_due_ && !send_new_first_) Retransmit(ctx);
  SendData(ctx);
  if (retransmit_due_) Retransmit(ctx);  // F-RTO sent new data first
  if (ack_pending_) {
    if (AckDueNow(ctx)) {
      SendAck(ctx);
    } else if (delayed_ack_deadline_ == Instant::Never()) {
      ArmDelayedAck(ctx);
    } else if (delayed_ack_deadline_ <= ctx.now + Duration::Millis(ack_timeout_ms_ / 4)) {
      SendAck(ctx);  // soon due, and this is the time to send
    }
  }
  ArmTimers(ctx);
}

// More than one full segment waits for its acknowledgment, or the sender needs it now.
bool TcpConnection::AckDueNow(const TcpContext& ctx) const {
  if (ack_now_ || (quick_acks_ != 0 && !interactive_)) return true;
  if (HasOutOfOrder()) return true;
  if (static_cast<uint32_t>(rcv_nxt_ - rcv_wup_) <= rcv_mss_) return false;
  // Unread data keeps the window from advancing: then the acknowledgment waits for the reader.
  return receive_buffer_.empty() || ComputeWindow(ctx) >= rcv_wnd_;
}

bool TcpConnection::HasUnsent() const {
  return WriteEnd() > snd_nxt_ || (fin_queued_ && !fin_sent_);
}

// After the handshake, and until our FIN is on its way and acknowledged.
bool TcpConnection::MaySend() const {
  if (state_ == TcpState::kSynReceived) return fast_open_;
  return state_ >= TcpState::kEstablished && state_ != TcpState::kFinWait2 &&
         state_ != TcpState::kTimeWait;
}

// Nagle's rule (RFC 9293 section 3.7.4) in Minshall's form, as Linux has it: only a small segment
// in flight holds back another.
bool TcpConnection::HoldsBackSmall() const {
  if (options_.cork || options_.more_coming) return true;
  if (urgent_.sending) return false;
  const bool small_in_flight = snd_sml_ > snd_una_ && snd_sml_ <= snd_nxt_;
  return !options_.no_delay && snd_nxt_ != snd_una_ && small_in_flight;
}

// RFC 9293 section 3.8.6.2.1 (silly window avoidance of the sender), and Nagle's rule. `at_once`
// segments may leave as one.
TcpConnection::NextSegment TcpConnection::ChooseNext(TcpContext& ctx, uint32_t max_payload,
                                                     uint32_t at_once) const {
  NextSegment next;
  if (fin_sent_) return next;
  const uint32_t unsent = static_cast<uint32_t>(WriteEnd() - snd_nxt_);
  if (unsent == 0 && !fin_queued_) return next;
  next.limit = SendLimit::kWindow;
  const int32_t window = (snd_una_ + snd_wnd_) - snd_nxt_;
  if (window <= 0) return next;  // a FIN takes a number of the window, too
  next.length = std::min(unsent, max_payload);
  if (at_once > 1 && unsent > max_payload && window >= static_cast<int32_t>(max_payload)) {
    if (DefersLarge(ctx, max_payload, at_once, static_cast<uint32_t>(window), &next.limit))
      return next;
    const uint32_t large =
        LargeLength(ctx, max_payload, at_once, unsent, static_cast<uint32_t>(window));
    if (large > max_payload) {
      next.length = large;
      next.tso_mss = static_cast<uint16_t>(max_payload);
    }
  }
  if (unsent != 0) {
    if (next.length > static_cast<uint32_t>(window)) {
      next.length = static_cast<uint32_t>(window);
      if (snd_nxt_ != snd_una_ || next.length < max_window_ / 2) return next;
    } else if (next.length < max_payload && !fin_queued_ && HoldsBackSmall()) {
      return next;
    }
    if (next.tso_mss == 0 && control_.SendBudget(Recovery(ctx)) < next.length) {
      next.limit = SendLimit::kCongestion;
      return next;
    }
    if (!control_.MaySendNow(Recovery(ctx))) [[unlikely]] {
      next.limit = SendLimit::kPacing;
      return next;
    }
  }
  next.fin = fin_queued_ && next.length == unsent && next.length < static_cast<uint32_t>(window);
  next.send = true;
  return next;
}

// New data and FIN, as far as the peer's window, the congestion window and Nagle allow.
void TcpConnection::SendData(TcpContext& ctx) {
  if (!HasUnsent() || !MaySend()) return;
  const RecoveryContext rc = Recovery(ctx);
  control_.BeforeSending(rc, ctx.sysctls.tcp_slow_start_after_idle != 0);
  const uint32_t max_payload = mss_ - SackOptionSize(ctx);
  bool sent_new = false;
  bool sent_data = false;
  NextSegment next;
  if (mtu_.low != 0) [[unlikely]] {
    const Seq before = snd_nxt_;
    if (SendMtuProbe(ctx)) return;
    sent_new = sent_data = snd_nxt_ != before;
  }
  const bool much = WriteEnd() - snd_nxt_ > static_cast<int32_t>(max_payload);
  uint32_t at_once = much ? SegmentsAtOnce(ctx, max_payload) : 1;
  for (;;) {
    next = ChooseNext(ctx, max_payload, at_once);
    if (!next.send) break;
    if (!SendNew(ctx, next)) {
      if (next.tso_mss == 0) break;
      at_once = 1;  // buffers are short: one segment takes fewer
      continue;
    }
    sent_new = true;
    sent_data |= next.length != 0;
    if (kShortCuts && !HasUnsent()) {
      next.limit = SendLimit::kApplication;
      break;
    }
  }
  control_.AfterSending(rc, next.limit, sent_new);
  if (sent_data) NoteDataSent(ctx);
  if (write_blocked_ && NotsentLowat(ctx) != kNoLowat) [[unlikely]]
    EndWriteBlock(ctx);
  if (next.limit == SendLimit::kPacing) [[unlikely]] {
    pacing_wait_ = true;
    return;
  }
  // Nothing in flight will bring the acknowledgment that goes on: ask for it by the persist timer.
  if (snd_nxt_ == snd_una_ && HasUnsent() && persist_deadline_ == Instant::Never()) {
    if (persist_backoff_ == 0) last_progress_ = MilliStamp::Of(ctx.now);
    ArmPersist(ctx);
  }
}

// A frame with room for `length` bytes of payload. False: no buffers.
bool TcpConnection::BeginData(TcpContext& ctx, TxFrame* frame, uint32_t length, uint16_t tso_mss) {
  if (!ctx.egress.Begin(path_, tuple_.remote.family(), frame)) return false;
  if (tso_mss == 0) [[likely]]
    return true;
  if (ctx.egress.Extend(*frame,
                        TcpHeader::kSize + FixedOptionSize() + SackOptionSize(ctx) + length))
    return true;
  ctx.egress.Cancel(*frame);
  return false;
}

// One new segment. False: no buffer or no record for it; tried again later.
bool TcpConnection::SendNew(TcpContext& ctx, const NextSegment& next, bool window_probe) {
  TxFrame frame;
  if (!BeginData(ctx, &frame, next.length, next.tso_mss)) return false;
  const uint32_t space = next.length + (next.fin ? 1 : 0);
  if (!control_.OnSent(Recovery(ctx), snd_nxt_, space, next.fin ? SentSegment::kFin : 0)) {
    ctx.egress.Cancel(frame);
    return false;
  }
  const uint32_t segments = next.tso_mss == 0 ? 1 : (next.length + next.tso_mss - 1) / next.tso_mss;
  uint16_t flags = TcpFlags::kAck;
  // As Linux: at the end of what was written, and on all that the port cuts.
  const bool at_end = snd_nxt_ + next.length == WriteEnd() && !more_coming_;
  if (next.length != 0 && (at_end || segments > 1 || window_probe)) {
    flags |= TcpFlags::kPsh;
    if (at_end || window_probe) control_.MarkPushed(Recovery(ctx));
  }
  if (next.fin) {
    flags |= TcpFlags::kFin;
    fin_sent_ = true;
  }
  const Seq seq = snd_nxt_;
  if (snd_una_ == snd_nxt_) last_progress_ = MilliStamp::Of(ctx.now);
  snd_nxt_ += space;
  if (next.length != 0 && next.length < segments * mss_) snd_sml_ = snd_nxt_;
  persist_deadline_ = Instant::Never();
  persist_backoff_ = 0;
  EmitSegment(ctx, frame, seq, next.length, flags, next.length != 0 && !window_probe, next.tso_mss);
  ctx.counters.Add(Counter::TcpOutSegs, segments);
  ctx.counters.Add(Counter::TcpExtTCPOrigDataSent, segments);
  return true;
}

// Data went out soon after data came in: a dialogue, in which answers carry the acknowledgments.
void TcpConnection::NoteDataSent(TcpContext& ctx) {
  if (ack_timeout_ms_ != 0 &&
      last_data_received_.Before(ctx.now) < Duration::Millis(ack_timeout_ms_))
    interactive_ = true;
  last_data_sent_ = MilliStamp::Of(ctx.now);
}

// Writes header, options and `length` payload bytes from `seq` on, and hands the packet on. `flags`
// has ACK.
// `new_data`: the payload was never sent before, and is no window probe's. `tso_mss`: see
// BeginData.
void TcpConnection::EmitSegment(TcpContext& ctx, TxFrame& frame, Seq seq, uint32_t length,
                                uint16_t flags, bool new_data, uint16_t tso_mss) {
  uint8_t tos = options_.tos;
  if (ecn_.in_use) [[unlikely]]
    tos |= MarkEcn(new_data, &flags);
  TcpHeader h;
  h.src_port = tuple_.local_port;
  h.dst_port = tuple_.remote_port;
  h.seq = seq;
  h.flags = flags;
  h.ack = rcv_nxt_;
  h.window = AdvertiseWindow(ctx);
  if (urgent_.sending) [[unlikely]]
    MarkUrgent(seq, &h);
  checksum::SummedWriter options(frame.l4 + TcpHeader::kSize);
  WriteOptions(ctx, tso_mss == 0 ? length : tso_mss, options);
  uint32_t header_sum = checksum::Add(h.Emit(frame.l4, options.size()), options.sum());
  const auto header_length = static_cast<uint16_t>(TcpHeader::kSize + options.size());
  uint32_t sum = 0;
  if (tso_mss != 0) [[unlikely]]
    FillLarge(ctx, frame, header_length, seq, length);
  else if (length != 0)
    sum = send_buffer_.CopyOut(ctx.send_blocks, static_cast<uint32_t>(seq - DataBase()),
                               {frame.l4 + header_length, length});
  if (md5_key_ != Md5Keys::kNone) [[unlikely]] {
    SignSegment(*ctx.md5_keys.Find(md5_key_), tuple_, frame.l4, header_length, length);
    header_sum = 0;
  }
  ctx.egress.CommitTcp(frame, {.local = tuple_.local,
                               .remote = tuple_.remote,
                               .header_length = header_length,
                               .payload_length = static_cast<uint16_t>(length),
                               .payload_sum = sum,
                               .tos = tos,
                               .tso_mss = tso_mss,
                               .hop_limit = options_.hop_limit,
                               .header_sum = header_sum});
  AckSent();
}

// Every segment with an ACK serves as the acknowledgment that was owed.
void TcpConnection::AckSent() {
  ack_pending_ = false;
  ack_now_ = false;
  delayed_ack_deadline_ = Instant::Never();
  if (quick_acks_ != 0) --quick_acks_;
}

// What waits beyond the hole.
uint32_t TcpConnection::SackBlocks(const TcpContext& ctx, std::span<SackBlock> out) const {
  return HasOutOfOrder() ? OutOfOrder(ctx).SackBlocks(out) : 0;
}

// What every segment's options take, SACK blocks apart.
uint32_t TcpConnection::FixedOptionSize() const {
  uint32_t size = options_in_use_.timestamps ? kTimestampsOnlySize : 0;
  if (md5_key_ != Md5Keys::kNone) [[unlikely]]
    size += TcpOptions::kMd5Size;
  return size;
}

// How many blocks fit beside them.
uint32_t TcpConnection::MostSackBlocks() const {
  if (md5_key_ != Md5Keys::kNone) [[unlikely]]
    return options_in_use_.timestamps ? 0 : 2;
  return options_in_use_.timestamps ? 3 : 4;
}

uint32_t TcpConnection::SackOptionSize(const TcpContext& ctx) const {
  if (!options_in_use_.sack || (!HasOutOfOrder() && !has_dsack_)) return 0;
  std::array<SackBlock, OutOfOrderQueue::kMaxSackBlocks> blocks;
  const uint32_t count = std::min(SackBlocks(ctx, blocks) + (has_dsack_ ? 1 : 0), MostSackBlocks());
  if (count == 0) return 0;
  return kSackHeaderSize + count * kSackBlockSize;
}

// Options of a segment after the handshake: timestamps, and SACK blocks (RFC 2018), the first of
// which is a D-SACK if there is a duplicate to tell of (RFC 2883).
// `length` bytes of payload must still fit behind them.
void TcpConnection::WriteOptions(const TcpContext& ctx, uint32_t length,
                                 checksum::SummedWriter& out) {
  if (md5_key_ != Md5Keys::kNone) [[unlikely]]
    EmitMd5Room(out);
  if (options_in_use_.timestamps)
    EmitTimestampsOnly(out, {TimestampClock(ctx.now) + ts_offset_, ts_recent_});
  if (!options_in_use_.sack || (!HasOutOfOrder() && !has_dsack_)) [[likely]]
    return;
  TcpOptions o;
  const uint32_t room = length < mss_ ? mss_ - length : 0;
  if (room < kSackHeaderSize + kSackBlockSize) return;  // what was sent before may be longer
  const uint32_t most =
      std::min<uint32_t>(MostSackBlocks(), (room - kSackHeaderSize) / kSackBlockSize);
  if (most == 0) return;
  if (has_dsack_) {
    o.sack[o.sack_count++] = dsack_;
    has_dsack_ = false;
  }
  const auto rest = std::span(o.sack).subspan(o.sack_count, most - o.sack_count);
  o.sack_count = static_cast<uint8_t>(o.sack_count + SackBlocks(ctx, rest));
  o.Emit(out);
}

void TcpConnection::SendBare(TcpContext& ctx, Seq seq, uint16_t flags) {
  TxFrame frame;
  if (!ctx.egress.Begin(path_, tuple_.remote.family(), &frame, /*control=*/true)) {
    if ((flags & TcpFlags::kRst) == 0) {  // owed still: try again when buffers may be back
      ack_pending_ = true;
      delayed_ack_deadline_ = ctx.now + Duration::Millis(200);
    }
    return;
  }
  EmitSegment(ctx, frame, seq, 0, flags);
  ctx.counters.Add(Counter::TcpOutSegs);
}

// The number of a segment without data: SND.NXT, unless the peer took window back, when a segment
// there would be outside of it and be dropped.
Seq TcpConnection::AcceptableSeq() const {
  // The window of a Fast Open child's SYN begins behind our own, acknowledged or not (as on Linux).
  const Seq edge = snd_una_ + (fast_open_ && syn_unacked_ ? 1u : 0u) + snd_wnd_;
  // What the shift of the window field cut off is no window taken back.
  return snd_nxt_ - edge < (int32_t{1} << snd_wscale_) ? snd_nxt_ : edge;
}

// With the window of the SYN-ACK, and moving no edge: the peer has not proved to be there.
void TcpConnection::SendHandshakeAck(TcpContext& ctx) {
  TxFrame frame;
  if (!ctx.egress.Begin(path_, tuple_.remote.family(), &frame, /*control=*/true)) return;
  TcpHeader h;
  h.src_port = tuple_.local_port;
  h.dst_port = tuple_.remote_port;
  h.seq = snd_nxt_;
  h.ack = rcv_nxt_;
  h.flags = TcpFlags::kAck;
  h.window = static_cast<uint16_t>(std::min(rcv_wnd_, 65535u) >> rcv_wscale_);
  TcpOptions o;
  if (ts_recent_ != 0)
    o.timestamps = TcpTimestamps{TimestampClock(ctx.now) + ts_offset_, ts_recent_};
  const size_t size = h.Emit(frame.l4, o);
  ctx.egress.CommitTcp(frame, {.local = tuple_.local,
                               .remote = tuple_.remote,
                               .header_length = static_cast<uint16_t>(size),
                               .payload_length = 0,
                               .payload_sum = 0});
  ctx.counters.Add(Counter::TcpOutSegs);
}

void TcpConnection::SendAck(TcpContext& ctx) { SendBare(ctx, AcceptableSeq(), TcpFlags::kAck); }

// One answer to what does not belong here per tcp_invalid_ratelimit and connection (RFC 5961
// section 7; per connection, because a global limit is a side channel: CVE-2016-5696).
bool TcpConnection::OutOfWindowLimited(TcpContext& ctx, Counter skipped) {
  const Duration limit = Duration::Millis(ctx.sysctls.tcp_invalid_ratelimit);
  if (out_of_window_acked_ && last_out_of_window_ack_.Before(ctx.now) < limit) {
    ctx.counters.Add(skipped);
    return true;
  }
  out_of_window_acked_ = true;
  last_out_of_window_ack_ = MilliStamp::Of(ctx.now);
  return false;
}

void TcpConnection::SendSynChallenge(TcpContext& ctx) {
  if (state_ == TcpState::kEstablished) ctx.counters.Add(Counter::TcpInErrs);
  ctx.counters.Add(Counter::TcpExtTCPSYNChallenge);
  SendChallengeAck(ctx);
}

void TcpConnection::SendChallengeAck(TcpContext& ctx) {
  if (OutOfWindowLimited(ctx, Counter::TcpExtTCPACKSkippedChallenge)) return;
  ctx.counters.Add(Counter::TcpExtTCPChallengeACK);
  SendAck(ctx);
}

// For a segment outside the window: tells the peer where we are, with a D-SACK if it was data.
void TcpConnection::SendDuplicateAck(TcpContext& ctx, const Segment& s, Counter skipped) {
  if (s.Length() != 0 && s.seq < rcv_nxt_) {
    ctx.counters.Add(Counter::TcpExtDelayedACKLost);
    EnterQuickAckMode();
    NoteDuplicate(ctx, {s.seq, Min(s.EndSeq(), rcv_nxt_)});
  }
  if (s.Length() == 0 && OutOfWindowLimited(ctx, skipped)) return;
  SendAck(ctx);
}

void TcpConnection::SendRst(TcpContext& ctx) {
  ctx.counters.Add(Counter::TcpOutRsts);
  SendBare(ctx, AcceptableSeq(), TcpFlags::kRst | TcpFlags::kAck);
}

void TcpConnection::SendResetFor(TcpContext& ctx, Segment& s) {
  SendReset(ctx.egress, ctx.counters, s, ctx.md5_keys.Find(md5_key_));
}

// RFC 9293 section 3.8.6.2.2 and Linux's __tcp_select_window: offers nothing rather than a sliver,
// and is never larger than what memory holds.
uint32_t TcpConnection::ComputeWindow(const TcpContext& ctx) const {
  const uint32_t space = FullReceiveSpace(ctx);
  const uint32_t full = std::min(window_clamp_, space);
  const uint32_t mss = std::min<uint32_t>(rcv_mss_, full);
  if (mss == 0) return 0;
  const uint32_t used = ReceiveMemory(ctx);
  const uint32_t limit = ReceiveBufferLimit(ctx);
  uint32_t free = used >= limit ? 0 : WindowFromSpace(limit - used);
  if (free < full / 2) {
    free &= ~((1u << rcv_wscale_) - 1);
    if (free < space / 16 || free < mss) return 0;
  }
  free = std::min(free, rcv_ssthresh_);
  if (rcv_wscale_ != 0) {
    const uint32_t unit = 1u << rcv_wscale_;
    return (free + unit - 1) & ~(unit - 1);
  }
  // Without scaling: whole segments, so that rounding never eats the last one.
  uint32_t window = rcv_wnd_;
  if (window + mss <= free || window > free)
    window = free - free % mss;
  else if (mss == full && free > window + full / 2)
    window = free;
  return window;
}

// The window field of the next segment. The right edge never moves left (section 3.8.6).
uint16_t TcpConnection::AdvertiseWindow(TcpContext& ctx) {
  const uint32_t old_window = ReceiveWindow();
  uint32_t window = ComputeWindow(ctx);
  if (window < old_window) {
    if (window == 0) ctx.counters.Add(Counter::TcpExtTCPWantZeroWindowAdv);
    const uint32_t unit = 1u << rcv_wscale_;
    window = (old_window + unit - 1) & ~(unit - 1);
  }
  window = std::min(window, 65535u << rcv_wscale_);
  if (window == 0 && rcv_wnd_ != 0) ctx.counters.Add(Counter::TcpExtTCPToZeroWindowAdv);
  if (window != 0 && rcv_wnd_ == 0) ctx.counters.Add(Counter::TcpExtTCPFromZeroWindowAdv);
  rcv_wnd_ = window;
  rcv_wup_ = rcv_nxt_;
  return static_cast<uint16_t>(window >> rcv_wscale_);
}

// What is lost, as far as the budget goes. What the peer's window no longer covers is sent all the
// same only if it is the first (as Linux: a window taken back must not stall).
void TcpConnection::Retransmit(TcpContext& ctx, bool by_timeout) {
  const RecoveryContext rc = Recovery(ctx);
  retransmit_due_ = false;
  const uint32_t segment = mss_ - SackOptionSize(ctx);
  const uint32_t most = SegmentsAtOnce(ctx, segment) * segment;
  while (control_.SendBudget(rc) > 0) {
    if (!control_.MaySendNow(rc)) [[unlikely]] {
      retransmit_due_ = pacing_wait_ = true;
      return;
    }
    const auto r = control_.NextRetransmission(rc, most, segment);
    if (!r || (state_ == TcpState::kSynSent && !r->syn)) return;
    if (r->seq != snd_una_ && r->seq + r->length > snd_una_ + snd_wnd_) return;
    if (!RetransmitOne(ctx, *r)) {
      ctx.counters.Add(Counter::TcpExtTCPRetransFail);
      control_.RetryTimerSoon(rc);
      return;
    }
    const uint32_t seen = control_.OnRetransmitted(rc, r->index);
    // A SYN has TCPSynRetrans, and what the timer itself sends is told by TCPTimeouts alone.
    if (!r->syn && !std::exchange(by_timeout, false)) CountRecovery(ctx, seen);
  }
}

// Sends a recorded segment again; false if there is no buffer.
bool TcpConnection::RetransmitOne(TcpContext& ctx, const Retransmission& r) {
  mtu_.probe = 0;  // what it would tell is not certain any more
  if (r.syn) return ResendSyn(ctx);
  uint16_t flags = TcpFlags::kAck;
  uint32_t length = r.length;
  if (r.fin) {
    flags |= TcpFlags::kFin;
    --length;
  }
  uint16_t tso_mss = 0;
  uint32_t segments = 1;
  if (length > mss_ && ctx.egress.tso_bytes(path_) != 0) [[unlikely]] {
    tso_mss = static_cast<uint16_t>(mss_ - SackOptionSize(ctx));
    segments = (length + tso_mss - 1) / tso_mss;
  }
  TxFrame frame;
  if (!BeginData(ctx, &frame, length, tso_mss)) return false;
  if (r.push || segments > 1) flags |= TcpFlags::kPsh;
  EmitSegment(ctx, frame, r.seq, length, flags, false, tso_mss);
  control_.CountResent(length);
  ctx.counters.Add(Counter::TcpRetransSegs, segments);  // and not OutSegs (RFC 4022)
  return true;
}

void TcpConnection::SendLossProbe(TcpContext& ctx) {
  const RecoveryContext rc = Recovery(ctx);
  if (pacing_wait_ ||
      state_ == TcpState::kSynSent) {  // not a tail: more will follow when its time comes
    control_.OnProbeFailed(rc);
    return;
  }
  if (HasUnsent()) {
    NextSegment next;
    const uint32_t unsent = static_cast<uint32_t>(WriteEnd() - snd_nxt_);
    next.length = std::min<uint32_t>(unsent, mss_ - SackOptionSize(ctx));
    next.fin = fin_queued_ && next.length == unsent;
    const uint32_t length = next.length + (next.fin ? 1 : 0);
    const bool fits = (snd_una_ + snd_wnd_) - (snd_nxt_ + length) >= 0;
    if (fits && SendNew(ctx, next)) {
      CountRecovery(ctx, control_.OnProbeSent(rc, kNoSegment));
      return;
    }
  }
  auto r = control_.ProbeSegment(rc);
  if (r &&
      r->length > mss_ + (r->fin ? 1u : 0u)) {  // from before the path's MTU fell: its end does
    const uint32_t cut = r->length - (r->fin ? 1 : 0) - mss_;
    r->seq += cut;
    r->length -= cut;
  }
  if (!r || !RetransmitOne(ctx, *r)) {
    control_.OnProbeFailed(rc);
    return;
  }
  CountRecovery(ctx, control_.OnProbeSent(rc, r->index));
}

// A probe of the peer's window (RFC 9293 section 3.8.6.1) or of its life (3.8.4): what still fits,
// or a segment of no data at a number already acknowledged, which asks for an ACK.
void TcpConnection::SendWindowProbe(TcpContext& ctx) {
  const int32_t window = (snd_una_ + snd_wnd_) - snd_nxt_;
  const int32_t unsent = WriteEnd() - snd_nxt_;
  if (window > 0 && HasUnsent()) {
    NextSegment next;
    next.length = std::min<uint32_t>(
        {static_cast<uint32_t>(window), static_cast<uint32_t>(unsent), mss_ - SackOptionSize(ctx)});
    next.fin = fin_queued_ && !fin_sent_ && next.length == static_cast<uint32_t>(unsent) &&
               next.length < static_cast<uint32_t>(window);
    const RecoveryContext rc = Recovery(ctx);
    control_.BeforeSending(rc, false);
    if (SendNew(ctx, next, /*window_probe=*/true))
      control_.AfterSending(rc, SendLimit::kWindow, false);  // no tail loss probe behind it
    return;
  }
  ctx.counters.Add(Counter::TcpExtTCPWinProbe);
  SendBare(ctx, snd_una_ - 1, TcpFlags::kAck);
}

// ---- SYN and SYN-ACK of active and simultaneous opens ----

bool TcpConnection::EmitSyn(TcpContext& ctx, bool with_ack, const FastOpenOption* cookie,
                            bool resent, uint32_t length) {
  TxFrame frame;
  if (!ctx.egress.Begin(path_, tuple_.remote.family(), &frame, /*control=*/length == 0))
    return false;
  TcpHeader h;
  h.src_port = tuple_.local_port;
  h.dst_port = tuple_.remote_port;
  h.seq = iss_;
  h.flags = TcpFlags::kSyn | EcnSetup(ctx, with_ack, resent);
  if (with_ack) {
    h.flags |= TcpFlags::kAck;
    h.ack = rcv_nxt_;
    rcv_wup_ = rcv_nxt_;
  }
  h.window = static_cast<uint16_t>(std::min(rcv_wnd_, 65535u));  // never scaled on a SYN
  TcpOptions o;
  o.md5 = md5_key_ != Md5Keys::kNone;
  o.mss = advertised_mss_;
  o.sack_permitted = options_in_use_.sack;
  if (options_in_use_.timestamps)
    o.timestamps = TcpTimestamps{TimestampClock(ctx.now) + ts_offset_, with_ack ? ts_recent_ : 0};
  if (options_in_use_.wscale) o.window_scale = rcv_wscale_;
  if (cookie != nullptr) o.fast_open = *cookie;
  const size_t size = h.Emit(frame.l4, o);
  const uint32_t sum =
      length == 0 ? 0 : send_buffer_.CopyOut(ctx.send_blocks, 0, {frame.l4 + size, length});
  if (o.md5) [[unlikely]]
    SignSegment(*ctx.md5_keys.Find(md5_key_), tuple_, frame.l4, static_cast<uint16_t>(size),
                length);
  ctx.egress.CommitTcp(
      frame, {.local = tuple_.local,
              .remote = tuple_.remote,
              .header_length = static_cast<uint16_t>(size),
              .payload_length = static_cast<uint16_t>(length),
              .payload_sum = sum,
              .tos = static_cast<uint8_t>(
                  options_.tos | (ecn_.dctcp ? static_cast<uint8_t>(Ecn::kEct0) : uint8_t{0})),
              .hop_limit = options_.hop_limit});
  ctx.counters.Add(Counter::TcpOutSegs);
  return true;
}

bool TcpConnection::ResendSyn(TcpContext& ctx) {
  if (!EmitSyn(ctx, state_ != TcpState::kSynSent, nullptr, /*resent=*/true)) return false;
  ctx.counters.Add(Counter::TcpRetransSegs);
  ctx.counters.Add(Counter::TcpExtTCPSynRetrans);
  return true;
}

}  // namespace usher
