// A segment or a timer of a half-open request: SYN-RECEIVED (RFC 9293 section 3.10.7.4, in the
// order of Linux's tcp_check_req).
#include <algorithm>

#include "stack/listen/passive_open.h"
#include "stack/tcp/paws.h"
#include "stack/tcp/reset.h"
#include "stack/tcp/window.h"

namespace usher {
namespace {

constexpr Duration kInitialTimeout = Duration::Seconds(1);  // RFC 6298 section 2.1
constexpr uint16_t kMainFlags = TcpFlags::kSyn | TcpFlags::kAck | TcpFlags::kRst;

// RFC 9293 section 3.10.7.4, first step; a segment that begins at the window's right edge and has
// no length passes as well.
bool InWindow(Seq seq, Seq end, Seq left, Seq right) {
  if (seq == left) return true;
  if (end > left && seq < right) return true;
  return seq == right && seq == end;
}

bool Between(uint32_t x, uint32_t first, uint32_t last) { return x - first <= last - first; }

}  // namespace

// ---- Ends ----

void PassiveOpen::Leave(Listener& l, uint32_t request) {
  --l.half_open;
  if (table_[request].young()) --l.young;
  table_.CancelTimer(request);
}

PassiveOpen::Outcome PassiveOpen::End(Listener& l, uint32_t request, DropReason reason) {
  Leave(l, request);
  l.counters.drops.Add(reason);
  return {.removed_request = request};
}

// The request's listener. If that one is closed: the member of its group that takes over, if any;
// else null.
Listener* PassiveOpen::OwnerOf(uint32_t request, const FourTuple& tuple, bool* migrated) {
  *migrated = false;
  Request& r = table_[request];
  Listener* l = FromId(r.listener);
  if (l != nullptr || !r.reuseport || context_.sysctls.tcp_migrate_req == 0) return l;
  Listener* heir = Find(tuple);
  if (heir == nullptr || !heir->spec.reuseport) {
    context_.counters.Add(Counter::TcpExtTCPMigrateReqFailure);
    return nullptr;
  }
  r.listener = heir->id;
  ++heir->half_open;
  if (r.young()) ++heir->young;
  ++heir->counters.migrated_in;
  *migrated = true;
  return heir;
}

// ---- Segments ----

// A request of a closed listener is lent to its heir for this segment, and stays there only if it
// ends there; the timer moves it for good (as Linux).
PassiveOpen::Outcome PassiveOpen::OnRequest(uint32_t request, Segment& s) {
  const uint32_t owner_before = table_[request].listener;
  bool migrated;
  Listener* owner = OwnerOf(request, s.tuple, &migrated);
  if (owner == nullptr) {  // its listener is closed: as if it had never been
    table_.CancelTimer(request);
    nobody_.drops.Add(DropReason::kSynEndedByClose);
    Outcome outcome = OnListen(s);
    outcome.removed_request = request;
    return outcome;
  }
  CountSegment(owner->counters, s);
  const Outcome outcome = AtOwner(*owner, request, s, owner_before);
  if (migrated && outcome.removed_request != request) {
    Request& r = table_[request];
    r.listener = owner_before;
    --owner->half_open;
    if (r.young()) --owner->young;
    --owner->counters.migrated_in;
  }
  return outcome;
}

PassiveOpen::Outcome PassiveOpen::AtOwner(Listener& l, uint32_t request, Segment& s,
                                          uint32_t owner_before) {
  if (!PassSigned(l, s)) return {};
  Request& r = table_[request];
  const Seq rcv_nxt = r.irs + 1;

  bool paws_reject = false;
  bool echo_reject = false;
  const bool stamped = s.options.timestamps && context_.sysctls.tcp_timestamps != 0;
  if (stamped) {
    const TcpTimestamps& t = *s.options.timestamps;
    // As Linux, which takes the time of the timer for the age: a reset is believed from the
    // timeouts of a minute on.
    paws_reject = TicksBehind(t.value, r.ts_recent) > 0 &&
                  !(s.Has(TcpFlags::kRst) && TimeoutOf(r) >= Duration::Seconds(kPawsResetHorizonS));
    echo_reject = r.timestamps_ok && t.echo != 0 && !Between(t.echo, r.first_tsval, r.last_tsval);
  }

  if (s.seq == r.irs && (s.flags & kMainFlags) == TcpFlags::kSyn && !paws_reject)
    return OnDuplicateSyn(l, request, s);
  // An acknowledgment of something we did not send: not of this request. It may be a cookie's.
  if (s.Has(TcpFlags::kAck) && s.ack != r.iss + 1) {
    Outcome outcome = AtListener(l, s, std::nullopt, /*of_request=*/true);
    if (ParkedAt(s.tuple) != kNone)  // then the name is taken
      outcome.removed_request = End(l, request, DropReason::kSynEndedByCookie).removed_request;
    return outcome;
  }

  // First, check the sequence number.
  if (paws_reject) {
    context_.counters.Add(Counter::TcpExtPAWSEstab);
    return OnUnacceptable(l, request, s, DropReason::kAckPaws);
  }
  if (echo_reject) {
    context_.counters.Add(Counter::TcpExtTSEcrRejected);
    return OnUnacceptable(l, request, s, DropReason::kAckTimestampEcho);
  }
  if (!InWindow(s.seq, s.EndSeq(), rcv_nxt, rcv_nxt + r.rcv_wnd))
    return OnUnacceptable(l, request, s, DropReason::kAckOutOfWindow);
  // Second, check the RST bit.
  if (s.Has(TcpFlags::kRst)) return OnRequestReset(l, request, s);
  // Fourth, check the SYN bit. The SYN we know, in front of what is new, is cut off.
  if (s.Has(TcpFlags::kSyn) && s.seq == r.irs) {
    s.flags &= static_cast<uint16_t>(~TcpFlags::kSyn);
    s.seq += 1;
  }
  if (s.Has(TcpFlags::kSyn)) {
    context_.counters.Add(Counter::TcpAttemptFails);
    context_.counters.Add(Counter::TcpExtEmbryonicRsts);
    l.counters.drops.Add(s.Has(TcpFlags::kAck) ? DropReason::kAckWithSyn
                                               : DropReason::kSynInWindow);
    SendReset(context_.egress, context_.counters, s, Md5Of(l, s.tuple.remote));
    return End(l, request, DropReason::kSynEndedBySyn);
  }
  // Fifth, check the ACK field; its number was checked above.
  if (!s.Has(TcpFlags::kAck)) return {};
  if (r.num_timeout < l.defer_accept_retries && s.EndSeq() == rcv_nxt) {
    r.acked = true;
    context_.counters.Add(Counter::TcpExtTCPDeferAcceptDrop);
    l.counters.drops.Add(DropReason::kAckDeferred);
    return {};
  }
  const Outcome outcome = Complete(l, request, s);
  if (l.id != owner_before) {
    context_.counters.Add(outcome.child != nullptr ? Counter::TcpExtTCPMigrateReqSuccess
                                                   : Counter::TcpExtTCPMigrateReqFailure);
  }
  return outcome;
}

// Only the exact number ends the request (RFC 5961 section 3.2).
PassiveOpen::Outcome PassiveOpen::OnRequestReset(Listener& l, uint32_t request, Segment& s) {
  Request& r = table_[request];
  if (s.seq == r.irs + 1) {
    context_.counters.Add(Counter::TcpAttemptFails);
    context_.counters.Add(Counter::TcpExtEmbryonicRsts);
    return End(l, request, DropReason::kSynEndedByReset);
  }
  if (!AnswerLimited(r, Counter::TcpExtTCPACKSkippedChallenge)) {
    context_.counters.Add(Counter::TcpExtTCPChallengeACK);
    SendRequestAck(l, request, s);
  }
  return {};
}

// The SYN-ACK may have been lost: again at once, but not at the pace of whoever sends SYNs.
PassiveOpen::Outcome PassiveOpen::OnDuplicateSyn(Listener& l, uint32_t request, Segment& s) {
  Request& r = table_[request];
  if (AnswerLimited(r)) {
    l.counters.drops.Add(DropReason::kSynRateLimited);
    return {};
  }
  ++l.counters.syn_answered_again;
  if (ResendSynAck(l, request, &s)) table_.SetTimer(request, context_.now + TimeoutOf(r));
  return {};
}

// Says where the handshake stands, and drops.
PassiveOpen::Outcome PassiveOpen::OnUnacceptable(Listener& l, uint32_t request, Segment& s,
                                                 DropReason ack_reason) {
  if (s.Has(TcpFlags::kRst)) return {};
  if (s.Has(TcpFlags::kAck))
    l.counters.drops.Add(ack_reason);
  else if (s.Has(TcpFlags::kSyn))
    l.counters.drops.Add(DropReason::kSynOutOfWindow);
  // Data is always answered; bare segments may be forged or mirror our own.
  const bool has_data = s.Length() > 0 && !s.Has(TcpFlags::kSyn);
  if (has_data || !AnswerLimited(table_[request])) SendRequestAck(l, request, s);
  return {};
}

// At most one answer per tcp_invalid_ratelimit to segments that prove nothing.
bool PassiveOpen::AnswerLimited(Request& r, Counter skipped) {
  const auto now_ms = static_cast<uint32_t>(context_.now.ms());
  if (r.last_answer_ms != 0) {
    const uint32_t elapsed_ms = now_ms - r.last_answer_ms;
    if (elapsed_ms < static_cast<uint32_t>(context_.sysctls.tcp_invalid_ratelimit)) {
      context_.counters.Add(skipped);
      return true;
    }
  }
  r.last_answer_ms = now_ms != 0 ? now_ms : 1;
  return false;
}

// The handshake is complete; is there room for the connection?
PassiveOpen::Outcome PassiveOpen::Complete(Listener& l, uint32_t request, Segment& s) {
  Request& r = table_[request];
  // bsd: the place was given at the SYN.
  const bool full = l.model != ListenModel::kBsd && l.AcceptQueueFull();
  if (!r.path.valid) context_.egress.FindPath(s.tuple.local, s.tuple.remote, &r.path);
  TcpConnection* child = nullptr;
  if (full)
    Overflow(l, DropReason::kAckAcceptQueueFull);
  else if (!r.path.valid)
    Refuse(l, DropReason::kAckNoRoute);
  else if (child = MakeChild(l, ResultOf(l, request, s), Origin::kRequest); child == nullptr)
    Refuse(l, DropReason::kAckNoConnection);
  if (child != nullptr) {
    ++l.counters.completed;
    if (r.has_saved_syn) saved_syns_.MoveToConnection(request, child->slot());
    Leave(l, request);
    return {.removed_request = request, .child = child, .feed_child = true};
  }
  if (context_.sysctls.tcp_abort_on_overflow == 0) {
    // The client believes in the connection. It will send again, or the timer asks it to.
    r.acked = true;
    return {};
  }
  context_.counters.Add(Counter::TcpExtEmbryonicRsts);
  SendReset(context_.egress, context_.counters, s, Md5Of(l, s.tuple.remote));
  return End(l, request, DropReason::kSynEndedByOverflow);
}

HandshakeResult PassiveOpen::ResultOf(const Listener& l, uint32_t request, const Segment& s) {
  const Request& r = table_[request];
  HandshakeResult h;
  h.tuple = s.tuple;
  h.path = r.path;
  h.iss = r.iss;
  h.irs = r.irs;
  h.peer_mss = r.peer_mss;
  h.window = s.window;
  h.rcv_wnd = r.rcv_wnd;
  h.window_clamp = std::min(65535u << r.rcv_wscale, WindowFor(l, 0, r.wscale_ok).window_clamp);
  if (r.rcv_wnd == 65535) [[unlikely]] {  // what is more than the SYN-ACK could say counts now
    const uint16_t mss = AdvertisedMss(l, s.tuple.remote.family(), r.path.mtu);
    const uint32_t segment = mss - (r.timestamps_ok ? uint32_t{kTimestampsOnlySize} : 0);
    h.rcv_wnd = std::max(WindowFor(l, segment, r.wscale_ok).rcv_wnd, 65535u);
  }
  h.snd_wscale = r.snd_wscale;
  h.rcv_wscale = r.rcv_wscale;
  h.wscale_ok = r.wscale_ok;
  h.timestamps_ok = r.timestamps_ok;
  h.sack_ok = r.sack_ok;
  h.ecn_ok = r.ecn_ok;
  // Only what completes the handshake proves that its timestamp is the peer's.
  const bool stamped = s.options.timestamps && context_.sysctls.tcp_timestamps != 0;
  h.ts_recent = stamped && s.seq <= r.irs + 1 ? s.options.timestamps->value : r.ts_recent;
  h.ts_offset = TimestampOffset(s, r.timestamps_shifted);
  // RFC 5681 section 3.1, unless the client shows that it answers the very first SYN-ACK.
  const bool answers_first =
      r.timestamps_ok && s.options.timestamps && s.options.timestamps->echo == r.first_tsval;
  h.one_segment_window = r.num_retrans > 1 && r.num_timeout > 0 && !answers_first;
  const auto elapsed_us = static_cast<uint32_t>(context_.now.us()) - r.syn_ack_sent_us;
  h.syn_ack_sent = context_.now - Duration::Micros(elapsed_us);
  if (r.num_retrans == 0)
    h.handshake_rtt = Duration::Micros(std::max(elapsed_us, 1u));
  else if (r.timestamps_ok)
    h.handshake_rtt = EchoRoundTrip(s.options.timestamps, h.ts_offset);
  return h;
}

Duration PassiveOpen::EchoRoundTrip(const std::optional<TcpTimestamps>& timestamps,
                                    uint32_t offset) const {
  constexpr uint32_t kMostMs = INT32_MAX / 1000;
  if (!timestamps || timestamps->echo == 0) return {};
  const uint32_t elapsed_ms = TimestampClock(context_.now) + offset - timestamps->echo;
  if (elapsed_ms >= kMostMs) return {};
  return Duration::Millis(std::max(elapsed_ms, 1u));
}

// ---- SYN-ACK timer ----

Duration PassiveOpen::TimeoutOf(const Request& r) const {
  const Duration most = Duration::Millis(context_.sysctls.tcp_rto_max_ms);
  if (r.num_timeout >= 16) return most;
  return std::min(kInitialTimeout * (int64_t{1} << r.num_timeout), most);
}

uint32_t PassiveOpen::RetriesOf(const Listener& l) const {
  return l.spec.syncnt != 0 ? l.spec.syncnt
                            : static_cast<uint32_t>(context_.sysctls.tcp_synack_retries);
}

// How many SYN-ACK timeouts a request of `l` may see now. When the table fills with old requests,
// half of it is kept for young ones: the more of the requests are old, the fewer timeouts each has.
uint32_t PassiveOpen::RetriesNow(const Listener& l) const {
  uint32_t retries = RetriesOf(l);
  bool crowded = false;
  if (l.model == ListenModel::kLinux)
    crowded = 2 * uint64_t{l.half_open} > std::max(8u, l.limits.accept_limit);
  else if (l.model == ListenModel::kLinuxClassic)
    crowded = l.half_open >= l.limits.half_open_capacity / 2;
  if (!crowded) return retries;
  for (uint64_t young = 2 * uint64_t{l.young}; retries > 2 && l.half_open >= young; young *= 2)
    --retries;
  return retries;
}

bool PassiveOpen::OnTimer(uint32_t request) {
  bool migrated;
  Listener* owner = OwnerOf(request, table_.TupleOf(request), &migrated);
  if (owner == nullptr) {
    nobody_.drops.Add(DropReason::kSynEndedByClose);
    return false;
  }
  Listener& l = *owner;
  Request& r = table_[request];
  const uint32_t retries = RetriesNow(l);
  const uint32_t deferred = l.defer_accept_retries;
  bool expired = r.num_timeout >= retries;
  bool resend = true;
  if (deferred != 0) {
    // A client that was heard is given until the deferring ends; then one SYN-ACK more, so that
    // its next ACK, even bare, makes the connection.
    expired = expired && (!r.acked || r.num_timeout >= deferred);
    resend = !r.acked || r.num_timeout >= deferred - 1;
  }
  context_.counters.Add(Counter::TcpExtTCPTimeouts);
  if (!expired && resend) expired = !ResendSynAck(l, request, nullptr) && !r.acked;
  if (migrated) {
    context_.counters.Add(expired ? Counter::TcpExtTCPMigrateReqFailure
                                  : Counter::TcpExtTCPMigrateReqSuccess);
  }
  if (expired) {
    const bool pruned = r.num_timeout < RetriesOf(l);
    End(l, request, pruned ? DropReason::kSynEndedByPruning : DropReason::kSynEndedByTimeout);
    return false;
  }
  if (r.young()) --l.young;
  if (r.num_timeout < UINT8_MAX) ++r.num_timeout;
  table_.SetTimer(request, context_.now + TimeoutOf(r));
  return true;
}

}  // namespace usher
