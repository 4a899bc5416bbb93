// The drop ledger: why a SYN or an ACK did not lead to a connection that accept() returned.
//
// Every segment with SYN or ACK (and without RST) that reaches the passive-open code ends in
// exactly one place. Over all listeners of a shard and what is kept for "no listener":
//
//   SYNs in = half-open now + completed from a request + begun by Fast Open
//             + answered by a cookie + answered again + the SYN rows
//   ACKs in = completed (from a request or a cookie) + parked now + the ACK rows
//   completed in any way = accepted + in an accept queue now
//
// A SYN whose request ends without a connection enters its row when the request ends. A segment
// that a later rule hands on (a wrong ACK goes from the request to the listener) is counted where
// it ends. A closed listener's rows and counts go to those of "no listener", and what was completed
// but never accepted is then no longer among the completed but in the rows of what its end undid.
// The sums hold for each listener alone as long as no other member of its group is closed: by
// tcp_migrate_req one counts the SYN and its heir the connection.
//
// A segment of a connection is the connection's business, and an ACK in TIME-WAIT is. What the
// network layer refuses never gets here and is in its counters, as on Linux: bad checksums, and
// senders that cannot be, ourselves (LAND) among them (IpInAddrErrors).
// tests/unit/listen/drop_ledger_test.cc holds the sums to this.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace usher {

enum class DropReason : uint8_t {
  // -- SYNs refused --
  kSynNoListener,       // nobody listens there: RST
  kSynBadFlags,         // SYN with FIN
  kSynNotUnicast,       // sent to a broadcast or multicast address
  kSynHalfOpenFull,     // half-open full, tcp_syncookies = 0 (TCPReqQFullDrop)
  kSynAcceptQueueFull,  // accept queue full (ListenOverflows)
  kSynQueueFull,        // bsd: half-open and completed together (ListenOverflows)
  kSynLastQuarter,      // tcp_syncookies = 0: the last quarter is for proven peers
  kSynNoRecord,         // the shard's pool of request records is empty
  kSynNoRoute,          // no way back to the sender
  kSynNoTimestamp,      // strict cookies need a timestamp to hold on to
  kSynSignature,        // unsigned, wrongly signed, or signed though there is no key
  kSynRateLimited,      // a duplicate, within tcp_invalid_ratelimit of the last answer
  kSynOutOfWindow,      // for a request, but a different SYN or too old: acknowledged
  kSynInWindow,         // a second, different SYN for a request: RST, and the request ends
  kSynTimeWait,         // its name is one in TIME-WAIT, and it is not newer: acknowledged or RST
  // -- SYNs whose request ended without a connection, or whose connection without accept() --
  kSynEndedByTimeout,   // never acknowledged
  kSynEndedByPruning,   // given up early, because old requests clogged the table
  kSynEndedByReset,     // RST at RCV.NXT
  kSynEndedBySyn,       // by kSynInWindow
  kSynEndedByClose,     // its listener was closed
  kSynEndedByCookie,    // an earlier cookie's ACK is parked under its name
  kSynEndedByOverflow,  // accept queue full and tcp_abort_on_overflow
  // -- ACKs --
  kAckNoListener,       // RST
  kAckUnexpected,       // no request, and no cookie was sent lately: RST
  kAckWithSyn,          // SYN and ACK at LISTEN, or with a second SYN in a request's window: RST
  kAckCookieFailed,     // not one of our cookies: RST (SyncookiesFailed)
  kAckCookieOptions,    // a cookie, but its timestamp claims options that are off: RST
  kAckCookieOfRequest,  // a cookie, but a later SYN of the same name has a request
  kAckCookieQueueFull,  // a cookie, but the accept queue is full (ListenOverflows)
  kAckAcceptQueueFull,  // a request's, but the accept queue is full (ListenOverflows)
  kAckSignature,        // as kSynSignature
  kAckOutOfWindow,      // a request's, but outside the window: acknowledged, rate limited
  kAckPaws,             // the same, with a timestamp too old
  kAckTimestampEcho,    // the same, with an echo of a timestamp not sent (TSEcrRejected)
  kAckDeferred,         // TCP_DEFER_ACCEPT: no data yet (TCPDeferAcceptDrop)
  kAckNoConnection,     // no connection slot free
  kAckNoRoute,          // no way back to the sender
  kAckParkedAgain,      // of a connection whose first ACK is parked
  kAckParkedGone,       // parked in vain: time ran out, RST, or listener closed
  kAckEndedByClose,     // of a connection that waited for accept() when its listener was closed
  kCount,
};
inline constexpr size_t kDropReasons = static_cast<size_t>(DropReason::kCount);
inline constexpr size_t kFirstAckReason = static_cast<size_t>(DropReason::kAckNoListener);
const char* ToString(DropReason reason);  // "syn-half-open-full"

// One row per reason. One writer.
class DropLedger {
 public:
  void Add(DropReason reason, uint64_t n = 1) { rows_[static_cast<size_t>(reason)] += n; }
  void Add(const DropLedger& other);
  uint64_t operator[](DropReason reason) const { return rows_[static_cast<size_t>(reason)]; }
  // The sums over the rows that begin with kSyn and kAck.
  uint64_t syns() const;
  uint64_t acks() const;

 private:
  std::array<uint64_t, kDropReasons> rows_ = {};
};

}  // namespace usher
