// The drop ledger: why a SYN or an ACK did not lead to a served connection.
//
// Every segment with SYN or ACK (and without RST) that reaches the passive-open code ends in
// exactly one place. Per listener, and once more for "no listener":
//
//   SYNs in = half-open now + completed from a request + answered by a cookie + answered again
//             + the SYN rows
//   ACKs in = completed (from a request or a cookie) + parked now + the ACK rows
//
// A SYN whose request ends without a connection enters its row when the request ends. A segment
// that a later rule hands on (a wrong ACK goes from the request to the listener) is counted where
// it ends. tests/unit/listen/ledger_test.cc holds the sums to this.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace usher {

enum class DropReason : uint8_t {
  // -- SYNs refused --
  kSynNoListener,       // nobody listens there: RST
  kSynBadFlags,         // SYN with FIN: dropped
  kSynNotUnicast,       // sent to a broadcast or multicast address
  kSynHalfOpenFull,     // half-open full, tcp_syncookies = 0 (TCPReqQFullDrop)
  kSynAcceptQueueFull,  // accept queue full (ListenOverflows)
  kSynQueueFull,        // bsd: half-open and completed together
  kSynLastQuarter,      // tcp_syncookies = 0: the last quarter is for proven peers
  kSynNoRecord,         // the shard's pool of request records is empty
  kSynNoRoute,          // no way back to the sender
  kSynNoConnection,     // Fast Open: no connection slot free
  kSynRateLimited,      // duplicate within tcp_invalid_ratelimit of the last answer
  // -- SYNs whose request ended --
  kSynTimedOut,         // never acknowledged
  kSynPruned,           // gone early, because old requests clogged the table
  kSynReset,            // exact RST
  kSynInWindow,         // a second, different SYN: RST
  kSynListenerClosed,   // its listener was closed
  kSynOverflowAborted,  // tcp_abort_on_overflow
  kSynReplaced,         // a valid ACK made a connection of the same name by another way
  // -- ACKs --
  kAckNoListener,        // RST
  kAckNotUnicast,        // no answer to those
  kAckUnexpected,        // at LISTEN, and no cookie was sent lately: RST
  kAckWithSyn,           // SYN and ACK at LISTEN: RST
  kAckCookieFailed,      // not one of our cookies: RST (SyncookiesFailed)
  kAckCookieOptions,     // a cookie, but its timestamp claims options that are off: RST
  kAckCookieQueueFull,   // a cookie, but the accept queue is full (ListenOverflows)
  kAckAcceptQueueFull,   // of a request; request kept or (tcp_abort_on_overflow) reset
  kAckOutOfWindow,       // of a request: acknowledged, rate limited
  kAckPaws,              // timestamp too old
  kAckTimestampEcho,     // echoes a timestamp we did not send
  kAckDeferred,          // TCP_DEFER_ACCEPT: no data yet
  kAckNoConnection,      // no connection slot free
  kAckNoRoute,           // a cookie, but no way back
  kAckParkedExpired,     // parked, and no place came free in time (or RST, or listener closed)
  kAckSynInWindow,       // ACK with a SYN in the window: RST
  kCount,
};
inline constexpr size_t kDropReasons = static_cast<size_t>(DropReason::kCount);
const char* ToString(DropReason reason);  // "syn-half-open-full"

// One row per reason. One writer.
class DropLedger {
 public:
  void Add(DropReason reason) { ++rows_[static_cast<size_t>(reason)]; }
  uint64_t operator[](DropReason reason) const { return rows_[static_cast<size_t>(reason)]; }
  // The sums over the rows that begin with kSyn and kAck.
  uint64_t syns() const;
  uint64_t acks() const;

 private:
  std::array<uint64_t, kDropReasons> rows_ = {};
};

}  // namespace usher
