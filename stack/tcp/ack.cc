// What an acknowledgment does: loss detection, congestion control, the send buffer.
#include <array>

#include "stack/base/short_cuts.h"
#include "stack/tcp/connection.h"

namespace usher {
namespace {

constexpr uint32_t kMaxWindow = 1u << 30;  // RFC 7323 section 2.3

struct EventCounter {
  uint32_t event;
  Counter counter;
};

constexpr EventCounter kEventCounters[] = {
    {RecoveryEvent::kSackRecovery, Counter::TcpExtTCPSackRecovery},
    {RecoveryEvent::kRenoRecovery, Counter::TcpExtTCPRenoRecovery},
    {RecoveryEvent::kSackReneging, Counter::TcpExtTCPSACKReneging},
    {RecoveryEvent::kSackReordering, Counter::TcpExtTCPSACKReorder},
    {RecoveryEvent::kRenoReordering, Counter::TcpExtTCPRenoReorder},
    {RecoveryEvent::kTimestampReordering, Counter::TcpExtTCPTSReorder},
    {RecoveryEvent::kFullUndo, Counter::TcpExtTCPFullUndo},
    {RecoveryEvent::kPartialUndo, Counter::TcpExtTCPPartialUndo},
    {RecoveryEvent::kDsackUndo, Counter::TcpExtTCPDSACKUndo},
    {RecoveryEvent::kLossUndo, Counter::TcpExtTCPLossUndo},
    {RecoveryEvent::kSpuriousRto, Counter::TcpExtTCPSpuriousRTOs},
    {RecoveryEvent::kLossProbe, Counter::TcpExtTCPLossProbes},
    {RecoveryEvent::kLossProbeRecovery, Counter::TcpExtTCPLossProbeRecovery},
    {RecoveryEvent::kTimeout, Counter::TcpExtTCPTimeouts},
    {RecoveryEvent::kDsackReceived, Counter::TcpExtTCPDSACKRecv},
    {RecoveryEvent::kDsackOfoReceived, Counter::TcpExtTCPDSACKOfoRecv},
    {RecoveryEvent::kSackDiscarded, Counter::TcpExtTCPSACKDiscard},
    {RecoveryEvent::kDsackIgnoredOld, Counter::TcpExtTCPDSACKIgnoredOld},
    {RecoveryEvent::kDsackIgnoredNoUndo, Counter::TcpExtTCPDSACKIgnoredNoUndo},
    {RecoveryEvent::kDsackIgnoredDubious, Counter::TcpExtTCPDSACKIgnoredDubious},
    {RecoveryEvent::kRenoFailure, Counter::TcpExtTCPRenoFailures},
    {RecoveryEvent::kSackFailure, Counter::TcpExtTCPSackFailures},
    {RecoveryEvent::kRenoRecoveryFailure, Counter::TcpExtTCPRenoRecoveryFail},
    {RecoveryEvent::kSackRecoveryFailure, Counter::TcpExtTCPSackRecoveryFail},
    {RecoveryEvent::kLossFailure, Counter::TcpExtTCPLossFailures},
    {RecoveryEvent::kFastRetransmit, Counter::TcpExtTCPFastRetrans},
    {RecoveryEvent::kSlowStartRetransmit, Counter::TcpExtTCPSlowStartRetrans},
};

}  // namespace

void TcpConnection::CountRecovery(TcpContext& ctx, uint32_t events) {
  if (events == 0) [[likely]]
    return;
  for (const EventCounter& e : kEventCounters)
    if ((events & e.event) != 0) ctx.counters.Add(e.counter);
}

// `s.ack` is within SND.UNA - MAX.SND.WND .. SND.NXT.
void TcpConnection::TakeAck(TcpContext& ctx, const Segment& s) {
  if (s.ack < snd_una_ && s.options.sack_count == 0) return;  // old, and nothing else in it
  const bool window_updated = UpdateSendWindow(ctx, s);
  soft_error_ = Error::kNone;
  probes_out_ = 0;
  last_ack_received_ = MilliStamp::Of(ctx.now);
  if (kShortCuts && s.ack == snd_una_ && s.options.sack_count == 0 && control_.AtRest()) {
    // It acknowledges nothing: the peer only sends.
    send_new_first_ = false;
  } else {
    TakeAcknowledgment(ctx, s, window_updated);
  }
  if (snd_una_ == snd_nxt_ && persist_deadline_ != Instant::Never()) OnWindowAfterProbe(ctx);
  if (HasUnsent()) WantOutput(ctx);
}

// Hands it to loss detection and congestion control, and does what they say.
void TcpConnection::TakeAcknowledgment(TcpContext& ctx, const Segment& s, bool window_updated) {
  AckInput in;
  in.ack = s.ack;
  in.snd_una = snd_una_;
  in.snd_nxt = snd_nxt_;
  std::array<SeqRange, TcpOptions::kMaxSackBlocks> sack;
  if (options_in_use_.sack) {
    for (size_t i = 0; i < s.options.sack_count; ++i)
      sack[i] = {s.options.sack[i].begin, s.options.sack[i].end};
    in.sack = std::span(sack).first(s.options.sack_count);
  }
  in.has_data = s.Length() != 0;
  in.window_updated = window_updated;
  if (options_in_use_.timestamps && s.options.timestamps)
    in.ts_echo_ms = s.options.timestamps->echo - ts_offset_;
  if (ecn_.in_use) [[unlikely]]
    in.ece = s.Has(TcpFlags::kEce) && !s.Has(TcpFlags::kSyn);
  // As for a request, which a second timeout leaves a first window of one segment.
  if (syn_unacked_ && fast_open_) [[unlikely]]
    in.timeout_is_void = control_.recovery().timeouts() == 1;
  in.max_window = max_window_;
  in.can_send_new = WriteEnd() > snd_nxt_ && snd_una_ + snd_wnd_ > snd_nxt_;

  const AckOutcome out = control_.OnAck(Recovery(ctx), in);
  CountRecovery(ctx, mtu_.probe == 0 ? out.events : ForgiveMtuProbe(ctx, out.events));
  if (out.lost_retransmissions != 0) [[unlikely]]
    ctx.counters.Add(Counter::TcpExtTCPLostRetransmit, out.lost_retransmissions);
  if (out.dsack_segments != 0) [[unlikely]]
    ctx.counters.Add(Counter::TcpExtTCPDSACKRecvSegs, out.dsack_segments);
  // As on Linux, where a Fast Open child's SYN-ACK is not counted.
  ctx.counters.Add(Counter::TcpExtTCPDelivered,
                   out.delivered_segments - (fast_open_ && syn_unacked_ ? 1 : 0));
  if (ecn_.in_use) [[unlikely]] {
    if (in.ece) ctx.counters.Add(Counter::TcpExtTCPDeliveredCE, out.delivered_segments);
    NoteReductions(out.signals.view());
  }
  if (s.ack > snd_una_) AdvanceSndUna(ctx, s.ack);
  // What an earlier segment of the burst made due stays due.
  retransmit_due_ |= out.retransmit;
  send_new_first_ = out.send_new_first;
  if (out.retransmit) WantOutput(ctx);
}

// SND.UNA moves: what it passes is the application's room again.
void TcpConnection::AdvanceSndUna(TcpContext& ctx, Seq ack) {
  uint32_t acked = static_cast<uint32_t>(ack - snd_una_);
  if (static_cast<uint32_t>(ack - iss_) < static_cast<uint32_t>(snd_una_ - iss_)) [[unlikely]]
    ++snd_wraps_;
  snd_una_ = ack;
  if (mtu_.probe != 0) [[unlikely]]
    OnAckOfMtuProbe(ctx);
  last_progress_ = MilliStamp::Of(ctx.now);
  if (syn_unacked_) {
    syn_unacked_ = false;
    --acked;
  }
  acked_much_ |= static_cast<uint32_t>(snd_una_ - iss_) >= kMaxWindow;
  acked = std::min(acked, send_buffer_.size());  // the FIN's number is no byte
  if (acked == 0) return;
  send_buffer_.Acknowledge(ctx.send_blocks, acked);
  ChargeMemory(ctx);
  EndWriteBlock(ctx);
}

}  // namespace usher
