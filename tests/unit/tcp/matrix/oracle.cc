#include "tests/unit/tcp/matrix/oracle.h"

#include <algorithm>
#include <array>

#include "stack/wire/tcp.h"

namespace usher::test {
namespace {

constexpr std::array<const char*, kPlaces> kNames = {"CLOSED",
                                                     "LISTEN",
                                                     "SYN_SENT",
                                                     "SYN_RECEIVED",
                                                     "SYN_RECEIVED_active",
                                                     "ESTABLISHED",
                                                     "ESTABLISHED_unread",
                                                     "FIN_WAIT_1",
                                                     "FIN_WAIT_1_closed",
                                                     "FIN_WAIT_2",
                                                     "FIN_WAIT_2_closed",
                                                     "CLOSE_WAIT",
                                                     "CLOSING",
                                                     "CLOSING_closed",
                                                     "LAST_ACK",
                                                     "LAST_ACK_closed",
                                                     "TIME_WAIT"};

TcpState StateOf(Place place) {
  switch (place) {
    case Place::kClosed:
      return TcpState::kClosed;
    case Place::kListen:
      return TcpState::kListen;
    case Place::kSynSent:
      return TcpState::kSynSent;
    case Place::kSynReceived:
    case Place::kSynReceivedActive:
      return TcpState::kSynReceived;
    case Place::kEstablished:
    case Place::kEstablishedUnread:
      return TcpState::kEstablished;
    case Place::kFinWait1:
    case Place::kFinWait1Closed:
      return TcpState::kFinWait1;
    case Place::kFinWait2:
    case Place::kFinWait2Closed:
      return TcpState::kFinWait2;
    case Place::kCloseWait:
      return TcpState::kCloseWait;
    case Place::kClosing:
    case Place::kClosingClosed:
      return TcpState::kClosing;
    case Place::kLastAck:
    case Place::kLastAckClosed:
      return TcpState::kLastAck;
    case Place::kTimeWait:
      return TcpState::kTimeWait;
  }
  return TcpState::kClosed;
}

bool HasUser(Place p) {
  switch (p) {
    case Place::kSynSent:
    case Place::kSynReceivedActive:
    case Place::kEstablished:
    case Place::kEstablishedUnread:
    case Place::kFinWait1:
    case Place::kFinWait2:
    case Place::kCloseWait:
    case Place::kClosing:
    case Place::kLastAck:
      return true;
    default:
      return false;
  }
}

// Whether the peer's FIN has been received.
bool PeerHasFinished(TcpState s) {
  return s == TcpState::kCloseWait || s == TcpState::kClosing || s == TcpState::kLastAck ||
         s == TcpState::kTimeWait;
}

Outcome Unchanged(const Station& st) {
  Outcome o;
  o.next = StateOf(st.place);
  o.snd_una = st.snd_una;
  o.rcv_nxt = st.rcv_nxt;
  o.end_of_stream = HasUser(st.place) && PeerHasFinished(o.next);
  return o;
}

// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
void Acknowledge(const Station& st, Outcome& o, Reply reply = Reply::kAck) {
  o.reply = reply;
  o.seq = st.snd_nxt;
  o.ack = o.rcv_nxt;
}

// Section 3.5.2, the first group: with an ACK <SEQ=SEG.ACK><CTL=RST>, without one
// <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>. A reset is never answered by one.
void ResetFor(const Arrival& a, Outcome& o) {
  if (a.Has(TcpFlags::kRst)) return;
  o.reply = Reply::kReset;
  if (a.Has(TcpFlags::kAck)) {
    o.seq = a.ack;
  } else {
    o.seq = Seq(0);
    o.ack = a.End();
  }
}

void End(const Station& st, Outcome& o, Error why) {
  o.next = TcpState::kClosed;
  if (HasUser(st.place)) o.closed = why;
}

// ---- Section 3.10.7.1 ----
Outcome AtClosed(const Station& st, const Arrival& a) {
  Outcome o = Unchanged(st);
  ResetFor(a, o);
  return o;
}

// ---- Section 3.10.7.2 ----
Outcome AtListen(const Station& st, const Arrival& a) {
  Outcome o = Unchanged(st);
  if (a.Has(TcpFlags::kRst)) return o;
  if (a.Has(TcpFlags::kAck)) {
    ResetFor(a, o);
    return o;
  }
  if (!a.Has(TcpFlags::kSyn)) return o;
  // DEPARTURE (tcp_rcv_state_process): SYN with FIN is no opening but a probe, and dropped.
  if (a.Has(TcpFlags::kFin)) return o;
  // "Any other control or text should be queued for processing later".
  // DEPARTURE (tcp_conn_request): text is not kept before the peer has proved its address, so the
  // SYN-ACK does not acknowledge it and it is sent again.
  o.reply = Reply::kSynAck;
  o.seq = st.iss;
  o.ack = o.rcv_nxt = a.seq + 1;
  o.next = TcpState::kSynReceived;
  return o;
}

// ---- Section 3.10.7.4, seventh and eighth step, where text is taken ----

// `o.next` is ESTABLISHED, FIN-WAIT-1 or FIN-WAIT-2.
void TakeText(const Station& st, const Arrival& a, Seq text_at, bool user_reads, Outcome& o) {
  const bool fin = a.Has(TcpFlags::kFin);
  if (a.text == 0 && !fin) return;
  const Seq text_end = text_at + a.text;
  // RFC 1122 section 4.2.2.13, RFC 2525 section 2.17: what nobody will read is reset.
  // DEPARTURE (tcp_rcv_state_process): a FIN beyond a hole shows that such text exists.
  if (!user_reads && text_end > o.rcv_nxt) {
    ResetFor(a, o);
    End(st, o, Error::kConnectionReset);
    return;
  }
  if (text_end + (fin ? 1 : 0) <= o.rcv_nxt || text_at > o.rcv_nxt) {
    Acknowledge(st, o);  // received before, or beyond a hole: RFC 5681 section 4.2, at once
    return;
  }
  const Seq usable_end = std::min(text_end, st.right_edge);
  o.delivered = static_cast<uint32_t>(usable_end - o.rcv_nxt);
  o.rcv_nxt = usable_end;
  Acknowledge(st, o, Reply::kAckSoon);
  if (!fin || usable_end != text_end) return;
  o.rcv_nxt += 1;
  o.end_of_stream = user_reads;
  switch (o.next) {
    case TcpState::kFinWait1:
      o.next = TcpState::kClosing;
      break;
    case TcpState::kFinWait2:
      o.next = TcpState::kTimeWait;
      if (HasUser(st.place)) o.closed = Error::kNone;
      break;
    default:
      o.next = TcpState::kCloseWait;
  }
  Acknowledge(st, o, Reply::kAckSoon);
}

// ---- Section 3.10.7.3 ----
Outcome AtSynSent(const Station& st, const Arrival& a) {
  Outcome o = Unchanged(st);
  if (a.Has(TcpFlags::kAck) && (a.ack <= st.iss || a.ack > st.snd_nxt)) {
    ResetFor(a, o);
    return o;
  }
  if (a.Has(TcpFlags::kRst)) {
    if (a.Has(TcpFlags::kAck)) End(st, o, Error::kConnectionRefused);
    return o;
  }
  if (!a.Has(TcpFlags::kSyn)) return o;
  o.rcv_nxt = a.seq + 1;
  if (!a.Has(TcpFlags::kAck)) {
    // DEPARTURE (tcp_rcv_synsent_state_process): text of a crossing SYN is not queued; it is not
    // acknowledged either, so it is sent again.
    o.next = TcpState::kSynReceived;
    o.reply = Reply::kSynAck;
    o.seq = st.iss;
    o.ack = o.rcv_nxt;
    return o;
  }
  o.next = TcpState::kEstablished;
  o.snd_una = a.ack;
  o.opened = true;
  Station opened = st;
  opened.right_edge = o.rcv_nxt + static_cast<uint32_t>(st.right_edge - st.rcv_nxt);
  TakeText(opened, a, a.seq + 1, true, o);
  Acknowledge(st, o);
  return o;
}

// ---- Section 3.10.7.4 ----

// First step, the table of four cases.
bool Acceptable(const Station& st, const Arrival& a) {
  const auto in_window = [&](Seq x) { return x >= st.rcv_nxt && x < st.right_edge; };
  const bool closed_window = st.rcv_nxt == st.right_edge;
  if (a.Length() == 0) return closed_window ? a.seq == st.rcv_nxt : in_window(a.seq);
  return !closed_window && (in_window(a.seq) || in_window(a.End() - 1));
}

// DEPARTURE (tcp_sequence): what ends at RCV.NXT or begins at the right edge has nothing to
// deliver, but passes on to the checks of RST, SYN and ACK: acknowledgments of a peer that fills
// the window, or repeats its last segment, count.
bool TouchesWindow(const Station& st, const Arrival& a) {
  return a.End() == st.rcv_nxt || a.seq == st.right_edge;
}

// DEPARTURE (tcp_sequence): while something waits to be read, a segment whose text runs past the
// right edge is not cut but refused: its sender does not heed the window.
bool Overruns(const Station& st, const Arrival& a) {
  return st.unread && a.End() - (a.Has(TcpFlags::kFin) ? 1 : 0) > st.right_edge;
}

// DEPARTURE (tcp_reset_check): a peer that has closed may reset at its FIN's own number.
bool IsResetAtFin(const Station& st, const Arrival& a) {
  const TcpState s = StateOf(st.place);
  return a.seq + 1 == st.rcv_nxt &&
         (s == TcpState::kCloseWait || s == TcpState::kClosing || s == TcpState::kLastAck);
}

// Second step, with RFC 5961 section 3.2.
// DEPARTURE (tcp_validate_incoming): the challenge also answers a reset that only touches or
// overlaps the window; RFC 5961 asks for it where SEG.SEQ is inside.
void TakeReset(const Station& st, const Arrival& a, Outcome& o) {
  if (a.seq != st.rcv_nxt && !IsResetAtFin(st, a)) {
    Acknowledge(st, o);
    return;
  }
  switch (o.next) {
    case TcpState::kSynReceived:
      End(st, o, Error::kConnectionRefused);
      break;
    case TcpState::kCloseWait:
      // DEPARTURE (tcp_reset): the user learns that what it still writes goes nowhere.
      End(st, o, Error::kBrokenPipe);
      break;
    default:
      // DEPARTURE (tcp_reset): told in CLOSING and LAST-ACK too.
      End(st, o, Error::kConnectionReset);
  }
}

// The fifth step's part by state: has our FIN been acknowledged? False: nothing else is to be done.
bool AdvanceOnAck(const Station& st, Outcome& o) {
  if (o.snd_una != st.snd_nxt) return true;
  switch (o.next) {
    case TcpState::kFinWait1:
      o.next = TcpState::kFinWait2;
      return true;
    case TcpState::kClosing:
      o.next = TcpState::kTimeWait;
      if (HasUser(st.place)) o.closed = Error::kNone;
      return false;
    case TcpState::kLastAck:
      End(st, o, Error::kNone);
      return false;
    default:
      return true;
  }
}

Outcome Synchronized(const Station& st, const Arrival& a) {
  Outcome o = Unchanged(st);
  const bool opening = o.next == TcpState::kSynReceived;
  // DEPARTURE (tcp_check_req, tcp_rcv_state_process): the peer's SYN again says that it has not
  // seen ours, which no ACK would tell it.
  if (opening && a.seq == st.irs && a.Has(TcpFlags::kSyn) && !a.Has(TcpFlags::kAck) &&
      !a.Has(TcpFlags::kRst)) {
    o.reply = Reply::kSynAck;
    o.seq = st.iss;
    o.ack = st.rcv_nxt;
    return o;
  }
  // A segment without any of these cannot pass the fifth step.
  // DEPARTURE (tcp_rcv_established, tcp_rcv_state_process): it is not answered either, wherever it
  // stands.
  if (!a.Has(TcpFlags::kAck | TcpFlags::kRst | TcpFlags::kSyn)) return o;
  if ((!Acceptable(st, a) && !TouchesWindow(st, a)) || Overruns(st, a)) {
    if (!a.Has(TcpFlags::kRst))
      Acknowledge(st, o);
    else if (IsResetAtFin(st, a))
      TakeReset(st, a, o);
    return o;
  }
  if (a.Has(TcpFlags::kRst)) {
    TakeReset(st, a, o);
    return o;
  }
  // Fourth step: RFC 5961 section 4.2. Section 3.5, figure 8: the SYN-ACK of a simultaneous open
  // repeats the SYN that was received.
  const bool crossing = opening && a.Has(TcpFlags::kAck) && a.seq == st.irs && a.ack == st.snd_nxt;
  if (a.Has(TcpFlags::kSyn) && !crossing) {
    Acknowledge(st, o);
    return o;
  }
  // Fifth step.
  if (!a.Has(TcpFlags::kAck)) return o;
  if (opening) {
    if (a.ack <= st.snd_una || a.ack > st.snd_nxt) {
      ResetFor(a, o);
      return o;
    }
    o.next = TcpState::kEstablished;
    o.opened = true;
  } else {
    // RFC 5961 section 5.2. DEPARTURE (tcp_ack): nothing older than the first byte ever
    // acknowledged is acceptable either ("ghost" acknowledgments).
    const auto acked = static_cast<uint32_t>(st.snd_una - st.iss) - 1;
    if (a.ack > st.snd_nxt || a.ack < st.snd_una - std::min(st.max_window, acked)) {
      Acknowledge(st, o);
      return o;
    }
  }
  o.snd_una = std::max(st.snd_una, a.ack);
  if (!AdvanceOnAck(st, o)) return o;
  // Sixth step: urgent data is delivered in line. Seventh and eighth step.
  const Seq text_at = a.seq + (a.Has(TcpFlags::kSyn) ? 1 : 0);
  if (!PeerHasFinished(o.next)) {
    TakeText(st, a, text_at, st.place != Place::kFinWait1Closed, o);
    return o;
  }
  // CLOSE-WAIT, CLOSING, LAST-ACK: "should not occur ... ignore the segment text".
  // DEPARTURE (tcp_rcv_state_process): what begins before the FIN and runs past it contradicts
  // the FIN, and is reset; what lies before it is acknowledged again.
  if ((a.text == 0 && !a.Has(TcpFlags::kFin)) || a.seq >= st.rcv_nxt) return o;
  if (a.seq + a.text > st.rcv_nxt) {
    ResetFor(a, o);
    End(st, o, Error::kConnectionReset);
    return o;
  }
  Acknowledge(st, o);
  return o;
}

// SYN-RECEIVED from LISTEN. Text in the order of tcp_check_req, which differs from the RFC's.
Outcome AtRequest(const Station& st, const Arrival& a) {
  Outcome o = Unchanged(st);
  constexpr uint16_t kMain = TcpFlags::kSyn | TcpFlags::kAck | TcpFlags::kRst;
  // As in Synchronized: the peer's SYN again.
  if (a.seq == st.irs && (a.flags & kMain) == TcpFlags::kSyn) {
    o.reply = Reply::kSynAck;
    o.seq = st.iss;
    o.ack = st.rcv_nxt;
    return o;
  }
  // DEPARTURE (tcp_check_req): the ACK field is looked at before the sequence number, because an
  // ACK of something else may complete a cookie's handshake. So a reset with a wrong
  // acknowledgment is ignored, too.
  if (a.Has(TcpFlags::kAck) && a.ack != st.snd_nxt) {
    ResetFor(a, o);
    return o;
  }
  // DEPARTURE (tcp_in_window): an empty segment at the right edge passes.
  if (!Acceptable(st, a) && !(a.seq == st.right_edge && a.Length() == 0)) {
    if (!a.Has(TcpFlags::kRst)) Acknowledge(st, o);
    return o;
  }
  if (a.Has(TcpFlags::kRst)) {
    if (a.seq == st.rcv_nxt)
      o.next = TcpState::kListen;
    else
      Acknowledge(st, o);
    return o;
  }
  // Fourth step: back to LISTEN. DEPARTURE (tcp_check_req): and the peer is reset, as RFC 793 had
  // it. A SYN that is the one received, with text behind it, is cut off.
  Arrival rest = a;
  if (a.Has(TcpFlags::kSyn) && a.seq == st.irs) {
    rest.flags &= static_cast<uint16_t>(~TcpFlags::kSyn);
    rest.seq += 1;
  }
  if (rest.Has(TcpFlags::kSyn)) {
    ResetFor(a, o);
    o.next = TcpState::kListen;
    return o;
  }
  if (!a.Has(TcpFlags::kAck)) return o;
  // ESTABLISHED; text and FIN of the segment are the connection's.
  Station established = st;
  established.place = Place::kEstablished;
  established.snd_una = st.snd_nxt;
  o = Synchronized(established, rest);
  o.opened = true;
  return o;
}

// FIN-WAIT-2 after the user has closed, as a record.
// DEPARTURE (tcp_timewait_state_process) throughout: any reset in the window ends it and one
// outside is answered as anything is; a SYN or text is reset, since nobody would read it.
Outcome AtFinWait2Closed(const Station& st, const Arrival& a) {
  Outcome o = Unchanged(st);
  const bool at_edge = a.Length() == 0 && a.seq == st.right_edge;
  if (!Acceptable(st, a) && !at_edge) {
    Acknowledge(st, o);
    return o;
  }
  if (a.Has(TcpFlags::kRst)) {
    o.next = TcpState::kClosed;
    return o;
  }
  if (a.Has(TcpFlags::kSyn) && a.seq >= st.rcv_nxt) {
    ResetFor(a, o);
    o.next = TcpState::kClosed;
    return o;
  }
  if (!a.Has(TcpFlags::kAck) || a.Length() == 0) return o;
  if (a.Has(TcpFlags::kFin) && a.End() == st.rcv_nxt + 1) {
    o.rcv_nxt += 1;
    o.next = TcpState::kTimeWait;
    Acknowledge(st, o);
    return o;
  }
  ResetFor(a, o);
  o.next = TcpState::kClosed;
  return o;
}

// TIME-WAIT. DEPARTURE (tcp_timewait_state_process): whatever is not at RCV.NXT and empty is
// answered by an ACK, in or out of the window, with or without an ACK of its own; a reset ends the
// record at RCV.NXT (unless tcp_rfc1337) and is ignored elsewhere, without challenge.
Outcome AtTimeWait(const Station& st, const Arrival& a) {
  Outcome o = Unchanged(st);
  if (a.Has(TcpFlags::kRst)) {
    if (a.seq == st.rcv_nxt) o.next = TcpState::kClosed;
    return o;
  }
  if (a.seq == st.rcv_nxt && a.Length() == 0) return o;
  // MAY-2 and RFC 6191: a SYN beyond what was received opens a new incarnation.
  if (a.Has(TcpFlags::kSyn) && !a.Has(TcpFlags::kAck) && a.seq > st.rcv_nxt) {
    Station listening = st;
    listening.place = Place::kListen;
    listening.iss = st.snd_nxt + 65537;
    return AtListen(listening, a);
  }
  Acknowledge(st, o);
  return o;
}

}  // namespace

std::string ToString(Place place) { return kNames[static_cast<size_t>(place)]; }

uint32_t Arrival::Length() const {
  return text + (Has(TcpFlags::kSyn) ? 1 : 0) + (Has(TcpFlags::kFin) ? 1 : 0);
}

Outcome Expected(const Station& station, const Arrival& arrival) {
  switch (station.place) {
    case Place::kClosed:
      return AtClosed(station, arrival);
    case Place::kListen:
      return AtListen(station, arrival);
    case Place::kSynSent:
      return AtSynSent(station, arrival);
    case Place::kSynReceived:
      return AtRequest(station, arrival);
    case Place::kFinWait2Closed:
      return AtFinWait2Closed(station, arrival);
    case Place::kTimeWait:
      return AtTimeWait(station, arrival);
    default:
      return Synchronized(station, arrival);
  }
}

bool Agrees(const Outcome& expected, const Outcome& seen) {
  const auto visible = [](TcpState s) { return s == TcpState::kListen ? TcpState::kClosed : s; };
  const bool replies = expected.reply == seen.reply ||
                       (expected.reply == Reply::kAckSoon && seen.reply == Reply::kAck);
  const bool reply_numbers = seen.reply == Reply::kNone || seen.reply == Reply::kAckSoon ||
                             (expected.seq == seen.seq && expected.ack == seen.ack);
  const bool numbers =
      !seen.has_numbers || (expected.snd_una == seen.snd_una && expected.rcv_nxt == seen.rcv_nxt);
  return replies && reply_numbers && numbers && visible(expected.next) == visible(seen.next) &&
         expected.opened == seen.opened && expected.delivered == seen.delivered &&
         expected.end_of_stream == seen.end_of_stream && expected.closed == seen.closed;
}

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  constexpr const char* kReplies[] = {"nothing", "ACK",     "ACK (may wait)",
                                      "RST",     "SYN-ACK", "unexpected: "};
  out << kReplies[static_cast<size_t>(o.reply)] << o.other;
  if (o.reply != Reply::kNone && o.reply != Reply::kOther) {
    out << " seq " << o.seq.value();
    if (o.ack) out << " ack " << o.ack->value();
  }
  out << "; " << ToString(o.next) << " snd_una " << o.snd_una.value() << " rcv_nxt "
      << o.rcv_nxt.value();
  if (o.opened) out << "; opened";
  out << "; " << o.delivered << " bytes";
  if (o.end_of_stream) out << ", end of stream";
  if (o.closed) out << "; closed: " << ToString(*o.closed);
  return out;
}

}  // namespace usher::test
