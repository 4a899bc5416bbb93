// Explicit congestion notification (RFC 3168), as Linux does it.
//
// A router that would have to drop marks instead (CE), if the packet says that its ends understand
// (ECT). The receiver of a mark sets ECE on all it sends until the sender says CWR: "I have reduced
// my window". Only data sent for the first time carries ECT: the loss of anything else would not be
// noticed, or not be answered (RFC 3168 sections 6.1.4 to 6.1.6).
#include "stack/wire/ecn.h"

#include "stack/tcp/connection.h"

namespace usher {
namespace {

constexpr uint32_t kQuickAcks = 2;

}  // namespace

// A handshake begins, or the algorithm changes.
void TcpConnection::BeginEcn(const TcpContext& ctx, bool in_use) {
  ecn_.in_use = in_use;
  ecn_.dctcp = in_use && NeedsEcn(CongestionOf(ctx, options_));
}

// The flags that a SYN or SYN-ACK of ours asks or grants with (section 6.1.1). A SYN that got no
// answer is sent again without (section 6.1.1.1): something on the way may not bear the question.
uint16_t TcpConnection::EcnSetup(const TcpContext& ctx, bool with_ack, bool resent) const {
  if (!ecn_.in_use) return 0;
  if (with_ack) return TcpFlags::kEce;
  if (resent && ctx.sysctls.tcp_ecn_fallback != 0) return 0;
  return TcpFlags::kEce | TcpFlags::kCwr;
}

// The peer's SYN or SYN-ACK, after we asked: ECE alone on a SYN-ACK grants, ECE and CWR on the SYN
// of a simultaneous open ask as well.
void TcpConnection::TakeEcnOfSyn(const Segment& s) {
  const bool cwr = s.Has(TcpFlags::kCwr);
  if (!s.Has(TcpFlags::kEce) || cwr == s.Has(TcpFlags::kAck)) ecn_.in_use = ecn_.dctcp = false;
}

// The peer has reduced its window: it need not be told any more. That window may be one segment
// now, so the acknowledgment does not wait.
void TcpConnection::TakeCwr(const Segment& s) {
  if (!s.Has(TcpFlags::kCwr) || ecn_.dctcp) return;
  ecn_.echo = false;
  ack_now_ = true;
}

// Data that is taken, before RCV.NXT passes it.
void TcpConnection::TakeEcnOfData(TcpContext& ctx, const Segment& s) {
  if (ecn_.dctcp) EchoExactly(ctx, EcnOf(s.packet->tos) == Ecn::kCe);
  bool hurry = false;
  switch (EcnOf(s.packet->tos)) {
    case Ecn::kNotEct:
      hurry = ecn_.seen;  // most likely a retransmission, whose sender waits
      break;
    case Ecn::kCe:
      hurry = !ecn_.echo;
      ecn_.echo = ecn_.seen = true;
      break;
    case Ecn::kEct0:
    case Ecn::kEct1:
      ecn_.seen = true;
      break;
  }
  if (!hurry) return;
  EnterQuickAck(kQuickAcks);
  interactive_ = false;
}

// RFC 8257 section 3.2: ECE on an acknowledgment means that all it newly acknowledges was marked.
// So where marking begins or ends, what came before is acknowledged first, by itself.
void TcpConnection::EchoExactly(TcpContext& ctx, bool ce) {
  if (ce == ecn_.echo) return;
  if (ack_pending_) SendAck(ctx);
  ecn_.echo = ce;
  ack_now_ = true;
}

// What loss detection told congestion control, the peer is told by CWR.
void TcpConnection::NoteReductions(std::span<const CongestionSignal> signals) {
  for (const CongestionSignal signal : signals) {
    switch (signal) {
      case CongestionSignal::kReduce:
      case CongestionSignal::kReduceForMark:
      case CongestionSignal::kTimeout:
      case CongestionSignal::kRepeatTimeout:
        ecn_.send_cwr = true;
        break;
      case CongestionSignal::kUndo:
        ecn_.send_cwr = false;
        break;
      case CongestionSignal::kLossAfterMark:
      case CongestionSignal::kEndReduction:
        break;
    }
  }
}

// The ECN field of a segment that is leaving, and its flags.
uint8_t TcpConnection::MarkEcn(bool new_data, uint16_t* flags) {
  if (ecn_.echo) *flags |= TcpFlags::kEce;
  // With DCTCP every queue on the way is one that marks: nothing is better off unmarked.
  if (!new_data) return static_cast<uint8_t>(ecn_.dctcp ? Ecn::kEct0 : Ecn::kNotEct);
  if (ecn_.send_cwr) {
    ecn_.send_cwr = false;
    *flags |= TcpFlags::kCwr;
  }
  return static_cast<uint8_t>(Ecn::kEct0);
}

}  // namespace usher
