// The arrival of a segment: RFC 9293 section 3.10.7, in its order, with RFC 5961 and RFC 7323.
#include <algorithm>

#include "stack/base/check.h"
#include "stack/base/short_cuts.h"
#include "stack/tcp/connection.h"
#include "stack/tcp/paws.h"

namespace usher {
namespace {

// RFC 7323 section 5.5: a timestamp older than this says nothing any more.
// Of an established connection a timestamp may be so many ticks behind (as Linux: the clocks of
// several processors).
constexpr int32_t kPawsSlack = 1;
constexpr uint32_t kMaxQuickAcks = 16;
constexpr uint32_t kMinAckTimeoutMs = 40;
constexpr Duration kSynAgainSoon = Duration::Millis(8);  // Linux: two ticks

}  // namespace

void TcpConnection::Receive(TcpContext& ctx, Segment& s) {
  if (kShortCuts && IsPlain(s)) [[likely]] {
    UpdateTsRecent(ctx, s);
    TakeAck(ctx, s);
    if (s.payload_length != 0) QueueInOrder(ctx, s);
    ArmTimersUnlessFlushed(ctx);
    return;
  }
  if (state_ == TcpState::kClosed) return;
  if ((md5_key_ != Md5Keys::kNone || s.options.md5) &&
      !PassSignature(ctx.counters, ctx.md5_keys.Find(md5_key_), s)) [[unlikely]]
    return;
  if (state_ == TcpState::kSynSent) {
    ReceiveInSynSent(ctx, s);
  } else if (PassFastOpen(ctx, s) &&
             (s.flags & (TcpFlags::kAck | TcpFlags::kRst | TcpFlags::kSyn)) != 0 &&
             AcceptSequence(ctx, s) && PassReset(ctx, s)) {
    if (PassAck(ctx, s) && state_ != TcpState::kClosed) {
      ReceiveText(ctx, s);
      if (fin_received_now_) ReceiveFin(ctx);
    }
  }
  fin_received_now_ = false;
  if (state_ == TcpState::kFinWait2 && !has_owner_) EnterFinWait2Orphaned(ctx, &s);
  if (state_ != TcpState::kClosed) ArmTimersUnlessFlushed(ctx);
}

// Header prediction (Jacobson 1990): the next data, or none, with an acknowledgment within what is
// in flight, and nothing else on either side. All steps of section 3.10.7.4 would let it pass; only
// what it says is left to be done.
bool TcpConnection::IsPlain(const Segment& s) const {
  if (state_ != TcpState::kEstablished || (s.flags & ~TcpFlags::kPsh) != TcpFlags::kAck ||
      s.seq != rcv_nxt_ || s.payload_length > ReceiveWindow() || s.ack < snd_una_ ||
      s.ack > snd_nxt_)
    return false;
  if (options_in_use_.timestamps && s.options.timestamps &&
      static_cast<int32_t>(s.options.timestamps->value - ts_recent_) < 0)
    return false;
  return has_owner_ && !HasOutOfOrder() && !urgent_.marked && md5_key_ == Md5Keys::kNone &&
         !s.options.md5;
}

// Section 3.10.7.3.
void TcpConnection::ReceiveInSynSent(TcpContext& ctx, Segment& s) {
  if (s.Has(TcpFlags::kAck)) {
    if (s.ack <= iss_ || s.ack > snd_nxt_) {
      if (s.Has(TcpFlags::kRst)) return;
      SendResetFor(ctx, s);
      // The peer still has an older connection of this name; the RST ends it, so our SYN may go
      // again soon.
      if (control_.recovery().timeouts() == 0)
        control_.RetryTimerSoon(Recovery(ctx), kSynAgainSoon);
      return;
    }
    // A duplicate of an older incarnation's SYN-ACK must not pass (RFC 7323 section 5.2).
    if (options_in_use_.timestamps && s.options.timestamps && s.options.timestamps->echo != 0) {
      const uint32_t now = TimestampClock(ctx.now) + ts_offset_;
      const uint32_t age = now - s.options.timestamps->echo;
      if (age > static_cast<uint32_t>(last_progress_.Before(ctx.now).ms())) {
        ctx.counters.Add(Counter::TcpExtPAWSActive);
        SendResetFor(ctx, s);
        return;
      }
    }
  }
  if (s.Has(TcpFlags::kRst)) {
    if (!s.Has(TcpFlags::kAck)) return;
    ctx.counters.Add(Counter::TcpAttemptFails);
    Die(ctx, Error::kConnectionRefused);
    return;
  }
  if (!s.Has(TcpFlags::kSyn)) return;
  TakePeerSyn(ctx, s);
  if (!s.Has(TcpFlags::kAck)) {  // simultaneous open
    Enter(ctx, TcpState::kSynReceived);
    ResendSyn(ctx);
    return;
  }
  const bool had_data = snd_nxt_ - iss_ > 1;
  TakeAck(ctx, s);
  Establish(ctx);
  const bool resends = had_data && ResendDataOfSyn(ctx);
  if (s.payload_length != 0 || s.Has(TcpFlags::kFin)) {
    // Data and FIN of a SYN-ACK stand one number behind the SYN.
    s.seq += 1;
    s.flags &= static_cast<uint16_t>(~TcpFlags::kSyn);
    ReceiveText(ctx, s);
    if (fin_received_now_) ReceiveFin(ctx);
  }
  if (!resends) SendAck(ctx);  // else the data sent again has the acknowledgment
}

// What the peer's SYN fixes for the life of an actively opened connection.
void TcpConnection::TakePeerSyn(TcpContext& ctx, const Segment& s) {
  const TcpOptions& o = s.options;
  irs_ = s.seq;
  rcv_nxt_ = s.seq + 1;
  rcv_wup_ = rcv_nxt_;
  copied_seq_ = rcv_nxt_;
  snd_wnd_ = max_window_ = s.window;  // never scaled on a SYN
  snd_wl1_ = s.seq;
  options_in_use_.timestamps &= o.timestamps.has_value();
  options_in_use_.sack &= o.sack_permitted;
  options_in_use_.wscale &= o.window_scale.has_value();
  TakeEcnOfSyn(s);
  if (options_in_use_.timestamps) {
    ts_recent_ = o.timestamps->value;
    ts_recent_s_ = SecondsOf(ctx.now);
  }
  if (options_in_use_.wscale) {
    snd_wscale_ = *o.window_scale;
  } else {
    snd_wscale_ = rcv_wscale_ = 0;
    window_clamp_ = std::min(window_clamp_, 65535u);
  }
  peer_mss_ = std::max<uint16_t>(o.mss.value_or(tuple_.remote.is_v4() ? 536 : 1220),
                                 static_cast<uint16_t>(ctx.sysctls.tcp_min_snd_mss));
  UpdateMss(ctx);
}

void TcpConnection::Establish(TcpContext& ctx) {
  Enter(ctx, TcpState::kEstablished);
  control_.OnHandshakeEnd();
  if (!fast_open_)
    StartTransfer(ctx);
  else
    out_of_window_acked_ = false;                    // those were the request's
  if (fin_queued_) Enter(ctx, TcpState::kFinWait1);  // closed before it opened
  if (fin_deferred_) QueueFin(ctx);
  Raise(ctx, kEventConnected | kEventWritable);
}

// A Fast Open child whose SYN-ACK is not acknowledged yet is first asked what a request is asked,
// in the order of Linux's tcp_check_req; what passes goes the way of all segments.
bool TcpConnection::PassAsRequest(TcpContext& ctx, Segment& s) {
  const bool paws_reject =
      s.options.timestamps && TicksBehind(s.options.timestamps->value, ts_recent_) > 0;
  constexpr uint16_t kMainFlags = TcpFlags::kSyn | TcpFlags::kAck | TcpFlags::kRst;
  if (s.seq == irs_ && (s.flags & kMainFlags) == TcpFlags::kSyn && !paws_reject) {
    // Our SYN-ACK was lost. It may come without the data it had before.
    if (!OutOfWindowLimited(ctx, Counter::TcpExtTCPACKSkippedSynRecv)) ResendSyn(ctx);
    return false;
  }
  const Seq right_edge = rcv_nxt_ + std::min(rcv_wnd_, 65535u);
  const bool in_window = s.seq == rcv_nxt_ || (s.EndSeq() > rcv_nxt_ && s.seq < right_edge) ||
                         (s.seq == right_edge && s.EndSeq() == right_edge);
  if (paws_reject || !in_window) {
    if (paws_reject) ctx.counters.Add(Counter::TcpExtPAWSEstab);
    const bool has_data = s.Length() != 0 && !s.Has(TcpFlags::kSyn);
    if (!s.Has(TcpFlags::kRst) &&
        (has_data || !OutOfWindowLimited(ctx, Counter::TcpExtTCPACKSkippedSynRecv)))
      SendHandshakeAck(ctx);
    return false;
  }
  if (s.Has(TcpFlags::kRst)) {
    if (s.seq == rcv_nxt_) return true;
    if (!OutOfWindowLimited(ctx, Counter::TcpExtTCPACKSkippedChallenge)) {
      ctx.counters.Add(Counter::TcpExtTCPChallengeACK);
      SendHandshakeAck(ctx);
    }
    return false;
  }
  if (s.Has(TcpFlags::kSyn) && s.seq != irs_) {  // answered as for a request, but it lives on
    ctx.counters.Add(Counter::TcpAttemptFails);
    SendResetFor(ctx, s);
    return false;
  }
  return s.Has(TcpFlags::kAck);
}

// First step: PAWS, then the sequence check (section 3.10.7.4).
bool TcpConnection::AcceptSequence(TcpContext& ctx, Segment& s) {
  if (options_in_use_.timestamps && s.options.timestamps && !s.Has(TcpFlags::kRst) &&
      PawsReject(ctx, s))
    return false;

  // In SYN-RECEIVED the peer's SYN again says that our SYN-ACK was lost.
  if (state_ == TcpState::kSynReceived && s.seq == irs_ && s.Has(TcpFlags::kSyn) &&
      !s.Has(TcpFlags::kAck) && !s.Has(TcpFlags::kRst)) {
    if (!OutOfWindowLimited(ctx, Counter::TcpExtTCPACKSkippedSynRecv)) ResendSyn(ctx);
    return false;
  }

  // A segment that ends before what we last acknowledged, or reaches beyond the window. One that
  // only ends beyond it is taken, unless data waits to be read (as Linux, which then calls it a
  // peer that does not heed the window). A FIN needs no room.
  const Seq right_edge = rcv_nxt_ + ReceiveWindow();
  const bool old = s.EndSeq() < rcv_wup_;
  const Seq end_of_text = s.Has(TcpFlags::kFin) ? s.EndSeq() - 1 : s.EndSeq();
  const bool unread = !receive_buffer_.empty() || (fin_received_ && !fin_read_);
  const bool beyond = end_of_text > right_edge && (s.seq > right_edge || unread);
  if (!old && !beyond) return true;
  if (s.Has(TcpFlags::kRst)) return IsResetBehindFin(s);
  if (s.Has(TcpFlags::kSyn)) {
    SendSynChallenge(ctx);
  } else {
    if (!old) ctx.counters.Add(Counter::TcpExtBeyondWindow);
    SendDuplicateAck(ctx, s, Counter::TcpExtTCPACKSkippedSeq);
  }
  return false;
}

// RFC 7323 section 5.3, R1. True: the segment is dropped (and answered).
// DEVIATION(RFC 7323 3.2): a segment without the option is taken, as Linux takes it; some middle
// boxes strip it, and dropping would hang the connection.
bool TcpConnection::PawsReject(TcpContext& ctx, const Segment& s) {
  const int32_t behind = TicksBehind(s.options.timestamps->value, ts_recent_);
  if (behind <= kPawsSlack || SecondsOf(ctx.now) - ts_recent_s_ >= kPawsHorizonS) return false;
  // Pure acknowledgments overtake each other in the network; one that says nothing new passes if it
  // is not older than a retransmission timeout, by a clock of 1200 ticks a second (as Linux: some
  // peers have one).
  const bool pure_ack = s.Has(TcpFlags::kAck) && s.Length() == 0;
  if (pure_ack && s.seq == rcv_nxt_ && s.ack == snd_una_ && !UpdatesSendWindow(s) &&
      behind <= Rto(ctx).ms() * 6 / 5)
    return false;
  if (s.Has(TcpFlags::kSyn)) {
    SendSynChallenge(ctx);
    return true;
  }
  if (pure_ack && s.seq < rcv_nxt_) {  // common, and an answer would help nobody
    ctx.counters.Add(Counter::TcpExtPAWSOldAck);
    return true;
  }
  ctx.counters.Add(Counter::TcpExtPAWSEstab);
  SendDuplicateAck(ctx, s, Counter::TcpExtTCPACKSkippedPAWS);
  return true;
}

// Second and fourth step, by RFC 5961 sections 3 and 4: only a RST exactly at RCV.NXT resets; one
// elsewhere in the window, and any SYN, is answered by a challenge ACK.
bool TcpConnection::PassReset(TcpContext& ctx, const Segment& s) {
  if (s.Has(TcpFlags::kRst)) {
    // A peer that reset after we reported data beyond a hole resets at the end of that data.
    const bool at_sacked_end = HasOutOfOrder() && OutOfOrder(ctx).EndsAt(s.seq);
    if (s.seq != rcv_nxt_ && !(options_in_use_.sack && at_sacked_end) && !IsResetBehindFin(s)) {
      SendChallengeAck(ctx);
      return false;
    }
    // Linux counts the RST of a Fast Open child's handshake, and the end of its socket.
    if (state_ == TcpState::kSynReceived)
      ctx.counters.Add(Counter::TcpAttemptFails, fast_open_ ? 2 : 1);
    Die(ctx, state_ == TcpState::kSynReceived && !passive_ ? Error::kConnectionRefused
             : state_ == TcpState::kCloseWait              ? Error::kBrokenPipe
                                                           : Error::kConnectionReset);
    return false;
  }
  if (s.Has(TcpFlags::kSyn)) {
    // The SYN-ACK of a simultaneous open repeats the peer's SYN: its acknowledgment is what counts.
    if (state_ == TcpState::kSynReceived && s.Has(TcpFlags::kAck) && s.seq == irs_ &&
        s.ack == snd_nxt_)
      return true;
    SendSynChallenge(ctx);
    return false;
  }
  return true;
}

// A peer that closed, and whose system then resets what is left, may put the RST at its FIN's own
// number (macOS does; Linux's tcp_reset_check).
bool TcpConnection::IsResetBehindFin(const Segment& s) const {
  return s.seq + 1 == rcv_nxt_ && (state_ == TcpState::kCloseWait || state_ == TcpState::kLastAck ||
                                   state_ == TcpState::kClosing);
}

// Fifth step. False: the segment is done with.
bool TcpConnection::PassAck(TcpContext& ctx, Segment& s) {
  USHER_DCHECK(s.Has(TcpFlags::kAck));  // nothing else came past the steps before
  if (state_ == TcpState::kSynReceived) {
    if (s.ack <= snd_una_ || s.ack > snd_nxt_) {
      SendResetFor(ctx, s);
      return false;
    }
    UpdateTsRecent(ctx, s);
    TakeAck(ctx, s);
    if (s.Has(TcpFlags::kSyn)) {  // what it carries stands one number behind the SYN
      s.seq += 1;
      s.flags &= static_cast<uint16_t>(~TcpFlags::kSyn);
    }
    Establish(ctx);
    return true;
  }
  // RFC 5961 section 5: what is not yet sent is answered, not believed. Neither is what is older
  // than the largest window ever offered, or than all that was ever acknowledged.
  if (s.ack > snd_nxt_) {
    SendChallengeAck(ctx);
    return false;
  }
  // As Linux, which takes the timestamp of an old acknowledgment only on its short path.
  if (s.ack >= snd_una_ || IsAsPredicted(s)) UpdateTsRecent(ctx, s);
  const auto bytes_acked = static_cast<uint32_t>(snd_una_ - iss_ - 1);
  if (s.ack < snd_una_ - (acked_much_ ? max_window_ : std::min(max_window_, bytes_acked))) {
    SendChallengeAck(ctx);
    return false;
  }
  TakeAck(ctx, s);
  AdvanceStateOnAck(ctx);
  return state_ != TcpState::kClosed;
}

// What header prediction hopes for (Jacobson 1990), in a segment without data.
bool TcpConnection::IsAsPredicted(const Segment& s) const {
  return state_ == TcpState::kEstablished && s.Length() == 0 && s.seq == rcv_nxt_ &&
         rcv_nxt_ == rcv_wup_ && OfferedWindow(s) == snd_wnd_ && !HasOutOfOrder();
}

// The part of the fifth step that depends on the state: has our FIN been acknowledged?
void TcpConnection::AdvanceStateOnAck(TcpContext& ctx) {
  if (!fin_sent_ || snd_una_ != snd_nxt_) return;
  switch (state_) {
    case TcpState::kFinWait1:
      Enter(ctx, TcpState::kFinWait2);
      break;
    case TcpState::kClosing:
      EnterTimeWait(ctx, TcpState::kTimeWait);
      break;
    case TcpState::kLastAck:
      Die(ctx, Error::kNone);
      break;
    default:
      break;
  }
}

// RFC 7323 section 4.3: of segments that span what we last acknowledged, the newest timestamp.
void TcpConnection::UpdateTsRecent(TcpContext& ctx, const Segment& s) {
  if (!options_in_use_.timestamps || !s.options.timestamps || s.seq > rcv_wup_) return;
  if (PawsRejects(s.options.timestamps->value, ts_recent_, SecondsOf(ctx.now) - ts_recent_s_,
                  /*rst=*/false))
    return;
  ts_recent_ = s.options.timestamps->value;
  ts_recent_s_ = SecondsOf(ctx.now);
}

// The field of a SYN is never scaled (RFC 7323 section 2.2).
uint32_t TcpConnection::OfferedWindow(const Segment& s) const {
  return static_cast<uint32_t>(s.window) << (s.Has(TcpFlags::kSyn) ? 0 : snd_wscale_);
}

bool TcpConnection::UpdatesSendWindow(const Segment& s) const {
  if (s.ack < snd_una_) return false;
  const uint32_t window = OfferedWindow(s);
  return s.ack > snd_una_ || s.seq > snd_wl1_ ||
         (s.seq == snd_wl1_ && (window > snd_wnd_ || window == 0));
}

// Fifth step, SND.WND: by SND.WL1 and SND.UNA, so that an old segment cannot change the window.
bool TcpConnection::UpdateSendWindow(TcpContext& ctx, const Segment& s) {
  if (!UpdatesSendWindow(s)) return false;
  const uint32_t window = OfferedWindow(s);
  snd_wl1_ = s.seq;
  snd_wnd_ = window;
  if (window > max_window_) {
    const bool was_small = max_window_ / 2 < advertised_mss_;
    max_window_ = window;
    if (was_small) UpdateMss(ctx);
  }
  return true;
}

uint32_t TcpConnection::ReceiveWindow() const {
  const int32_t left = (rcv_wup_ + rcv_wnd_) - rcv_nxt_;
  return left > 0 ? static_cast<uint32_t>(left) : 0;
}

// Sixth and seventh step.
void TcpConnection::ReceiveText(TcpContext& ctx, Segment& s) {
  const bool has_fin = s.Has(TcpFlags::kFin);
  if (s.payload_length == 0 && !has_fin) return;
  if (fin_received_) {  // CLOSE-WAIT and later: only a repetition can come
    if (s.seq >= rcv_nxt_) {
      if (ack_pending_) WantOutput(ctx);
      return;
    }
    if (ResetsBeyondEnd(ctx, s)) return;
    SendDuplicateAck(ctx, s, Counter::TcpExtTCPACKSkippedSeq);
    return;
  }
  if (ecn_.echo) [[unlikely]]
    TakeCwr(s);
  if (s.Has(TcpFlags::kUrg) || (urgent_.marked && !urgent_.arrived)) [[unlikely]]
    TakeUrgent(ctx, s);
  const bool no_reader = !has_owner_ || (shut_read_ && fin_queued_);
  if (no_reader && ResetsBeyondEnd(ctx, s)) return;

  // Wholly old, or partly: what was received before is reported back (RFC 2883), the rest used.
  if (s.EndSeq() <= rcv_nxt_) {
    NoteDuplicate(ctx, {s.seq, s.EndSeq()});
    ctx.counters.Add(Counter::TcpExtDelayedACKLost);
    EnterQuickAckMode();
    SendAck(ctx);
    return;
  }
  TrimToWindow(ctx, s);
  if (s.seq > rcv_nxt_) {
    QueueOutOfOrder(ctx, s);
    return;
  }
  QueueInOrder(ctx, s);
}

// Cuts the segment to RCV.NXT on its left. What begins within the window is taken whole, as Linux
// does: it has a buffer already. What does not loses its data, and the FIN behind that; a FIN that
// stands at the edge takes no memory and is taken (a peer whose window probe it is would otherwise
// never finish).
void TcpConnection::TrimToWindow(TcpContext& ctx, Segment& s) {
  if (s.seq < rcv_nxt_) {
    NoteDuplicate(ctx, {s.seq, rcv_nxt_});
    const uint32_t old = static_cast<uint32_t>(rcv_nxt_ - s.seq);
    s.payload += old;
    s.payload_length -= old;
    s.seq = rcv_nxt_;
  }
  const Seq right_edge = rcv_nxt_ + ReceiveWindow();
  if (s.payload_length == 0 || s.seq < right_edge) return;
  s.flags &= static_cast<uint16_t>(~TcpFlags::kFin);
  s.payload_length = 0;
}

void TcpConnection::QueueInOrder(TcpContext& ctx, Segment& s) {
  const uint32_t length = s.payload_length;
  if (length == 0 && !s.Has(TcpFlags::kFin)) {
    // Nothing fits into the window: a probe of a closed window (section 3.8.6.1).
    ctx.counters.Add(Counter::TcpExtTCPZeroWindowDrop);
    SendAck(ctx);
    return;
  }
  if (length != 0) {
    if (!KeepInOrder(ctx, s)) {
      ctx.counters.Add(Counter::TcpExtTCPRcvQDrop);
      SendDuplicateAck(ctx, s, Counter::TcpExtTCPACKSkippedSeq);
      return;
    }
    if (ecn_.in_use) [[unlikely]]
      TakeEcnOfData(ctx, s);
    AdvanceRcvNxt(length);
    MeasureReceive(ctx, length);
    Raise(ctx, kEventReadable);
  }
  fin_received_now_ = s.Has(TcpFlags::kFin);
  if (HasOutOfOrder() && !fin_received_now_) DrainReassembly(ctx);  // nothing stands behind a FIN
  ChargeMemory(ctx);
  if (length >= 128) GrowReceiveWindow(ctx, length);
  ScheduleAck(ctx);
}

// A segment is kept in its buffer, or, where the receive buffer's limit is near, in the room that
// the last one left: what was offered as window must find its place, however small its pieces.
bool TcpConnection::KeepInOrder(TcpContext& ctx, Segment& s) {
  const std::span<const uint8_t> payload(s.payload, s.payload_length);
  const bool near_limit = ReceiveMemory(ctx) + kBufferRoom > ReceiveBufferLimit(ctx);
  if (near_limit && receive_buffer_.AppendInPlace(payload)) return true;
  if ((near_limit || ctx.memory.exhausted()) && !AdmitReceiveMemory(ctx)) return false;
  if (!receive_buffer_.Append(s.packet->packet, payload, *s.packet->pool)) return false;
  s.packet->packet.handle = nullptr;  // held now
  return true;
}

void TcpConnection::AdvanceRcvNxt(uint32_t length) {
  const auto before = static_cast<uint32_t>(rcv_nxt_ - irs_);
  rcv_nxt_ += length;
  if (static_cast<uint32_t>(rcv_nxt_ - irs_) < before) [[unlikely]]
    ++rcv_wraps_;
}

// What was waiting behind the hole that just closed.
void TcpConnection::DrainReassembly(TcpContext& ctx) {
  const OutOfOrderQueue::Chain chain = OutOfOrder(ctx).TakeInOrder(rcv_nxt_);
  if (OutOfOrder(ctx).empty()) ClearOutOfOrder(ctx);
  if (chain.duplicate.begin != chain.duplicate.end) NoteDuplicate(ctx, chain.duplicate);
  if (chain.first != nullptr) {
    AdvanceRcvNxt(chain.bytes);
    receive_buffer_.Append(chain);
  }
  // The gap closed, or part of it: the sender in recovery waits for this acknowledgment.
  ack_now_ = true;
  fin_received_now_ = chain.fin;
}

void TcpConnection::QueueOutOfOrder(TcpContext& ctx, Segment& s) {
  if (s.payload_length != 0 && ecn_.in_use) [[unlikely]]
    TakeEcnOfData(ctx, s);
  if (s.payload_length != 0 || s.Has(TcpFlags::kFin)) InsertOutOfOrder(ctx, s);
  // RFC 5681 section 4.2: a duplicate ACK at once, one for each segment beyond the hole.
  SendAck(ctx);
}

// Keeps a segment's payload and FIN beyond the hole before it, if memory allows.
void TcpConnection::InsertOutOfOrder(TcpContext& ctx, Segment& s) {
  const bool admitted = !ctx.memory.exhausted() ||
                        ReceiveMemory(ctx) < static_cast<uint32_t>(ctx.sysctls.tcp_rmem[0]);
  if (admitted && !HasOutOfOrder()) out_of_order_ = ctx.reassembly.Allocate(ctx.isn.Secret(tuple_));
  if (!admitted || !HasOutOfOrder()) {
    ctx.counters.Add(Counter::TcpExtTCPOFODrop);
    return;
  }
  OutOfOrderQueue::InsertResult result;
  if (s.payload_length != 0) {
    Packet& packet = s.packet->packet;
    result = OutOfOrder(ctx).Insert(packet, {s.payload, s.payload_length}, *s.packet->pool, s.seq,
                                    ReassemblyLimit(ctx));
    packet.handle = nullptr;
  }
  if (s.Has(TcpFlags::kFin) && result.outcome != OutOfOrderQueue::Outcome::kRefused)
    OutOfOrder(ctx).InsertFin(s.seq + s.payload_length, &result);
  if (OutOfOrder(ctx).empty()) ClearOutOfOrder(ctx);
  ctx.counters.Add(result.outcome == OutOfOrderQueue::Outcome::kRefused
                       ? Counter::TcpExtTCPOFODrop
                       : Counter::TcpExtTCPOFOQueue);
  if (result.pruned) ctx.counters.Add(Counter::TcpExtOfoPruned);
  if (result.coalesced) ctx.counters.Add(Counter::TcpExtTCPRcvCoalesce);
  if (result.duplicate.begin != result.duplicate.end) {
    ctx.counters.Add(Counter::TcpExtTCPOFOMerge);
    NoteDuplicate(ctx, result.duplicate);
  }
  ChargeMemory(ctx);
}

// Data for an application that has let go of the connection: nobody will read it, and the peer must
// know (RFC 1122 section 4.2.2.13, RFC 2525 section 2.17). True: the connection was reset.
bool TcpConnection::ResetsBeyondEnd(TcpContext& ctx, Segment& s) {
  if (s.seq + s.payload_length <= rcv_nxt_) return false;
  ctx.counters.Add(Counter::TcpExtTCPAbortOnData);
  SendResetFor(ctx, s);
  Die(ctx, Error::kConnectionReset);
  return true;
}

// Eighth step.
void TcpConnection::ReceiveFin(TcpContext& ctx) {
  fin_received_ = true;
  AdvanceRcvNxt(1);
  // At once where both sides have closed; it may still report what it makes void (as Linux).
  if (state_ == TcpState::kFinWait1 || state_ == TcpState::kFinWait2) SendAck(ctx);
  ClearOutOfOrder(ctx);
  ChargeMemory(ctx);
  Raise(ctx, kEventReadable);
  switch (state_) {
    case TcpState::kSynReceived:
    case TcpState::kEstablished:
      Enter(ctx, TcpState::kCloseWait);
      ScheduleAck(ctx);
      interactive_ = true;  // the answer is likely our own FIN: let it carry the ACK
      break;
    case TcpState::kFinWait1:  // our FIN is not acknowledged: both closed at once
      Enter(ctx, TcpState::kClosing);
      break;
    case TcpState::kFinWait2:
      EnterTimeWait(ctx, TcpState::kTimeWait);
      break;
    default:
      break;
  }
}

// Estimates the size of the peer's segments and the rhythm of its sending, which decide how long an
// acknowledgment may wait (RFC 1122 section 4.2.3.2, RFC 5681 section 4.2).
void TcpConnection::MeasureReceive(TcpContext& ctx, uint32_t length) {
  rcv_mss_ = static_cast<uint16_t>(
      std::clamp<uint32_t>(length, rcv_mss_, std::max<uint32_t>(rcv_mss_, advertised_mss_)));
  const MilliStamp now = MilliStamp::Of(ctx.now);
  const uint32_t gap_ms = now.MillisAfter(last_data_received_);
  last_data_received_ = now;
  if (ack_timeout_ms_ == 0) {  // the first data: acknowledge at once while the sender slow-starts
    EnterQuickAck(kMaxQuickAcks);
    ack_timeout_ms_ = kMinAckTimeoutMs;
  } else if (gap_ms <= kMinAckTimeoutMs / 2) [[likely]] {
    ack_timeout_ms_ = static_cast<uint16_t>(ack_timeout_ms_ / 2 + kMinAckTimeoutMs / 2);
  } else {
    const auto rto_ms = static_cast<uint32_t>(Rto(ctx).ms());
    const uint32_t gap = std::min(gap_ms, rto_ms + 1);
    if (gap < ack_timeout_ms_)
      ack_timeout_ms_ = static_cast<uint16_t>(std::min(ack_timeout_ms_ / 2 + gap, rto_ms));
    else if (gap > rto_ms)
      EnterQuickAck(kMaxQuickAcks);  // the sender restarted after idling
  }
}

void TcpConnection::EnterQuickAck(uint32_t most) {
  uint32_t wanted = rcv_wnd_ / (2u * std::max<uint32_t>(rcv_mss_, 1));
  if (wanted == 0) wanted = 2;
  quick_acks_ = static_cast<uint8_t>(std::max<uint32_t>(quick_acks_, std::min(wanted, most)));
}

// The peer repeats itself: it may have lost our acknowledgments, or wait for them.
void TcpConnection::EnterQuickAckMode() {
  EnterQuickAck(kMaxQuickAcks);
  interactive_ = false;
  ack_timeout_ms_ = kMinAckTimeoutMs;
}

// Lets the window follow what the application reads: two segments more for each that came, up to
// the clamp, unless memory is short.
void TcpConnection::GrowReceiveWindow(TcpContext& ctx, uint32_t length) {
  if (rcv_ssthresh_ >= window_clamp_ || ctx.memory.under_pressure()) return;
  const uint32_t space = FullReceiveSpace(ctx);
  if (rcv_ssthresh_ >= space) return;
  const uint32_t step = std::max(2 * static_cast<uint32_t>(advertised_mss_), length);
  rcv_ssthresh_ = std::min({rcv_ssthresh_ + step, window_clamp_, space});
}

// RFC 2883: the next acknowledgment says which bytes came twice.
void TcpConnection::NoteDuplicate(TcpContext& ctx, SackBlock duplicate) {
  if (!options_in_use_.sack || !options_in_use_.dsack || has_dsack_) return;
  ctx.counters.Add(duplicate.begin < rcv_nxt_ ? Counter::TcpExtTCPDSACKOldSent
                                              : Counter::TcpExtTCPDSACKOfoSent);
  has_dsack_ = true;
  dsack_ = duplicate;
}

}  // namespace usher
