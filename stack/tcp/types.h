// States, errors and events of connections.
#pragma once

#include <cstdint>

namespace usher {

// RFC 9293 section 3.3.2. LISTEN belongs to listeners; SYN-RECEIVED to requests
// (listen/syn_table.h), and to connections only in a simultaneous open or a Fast Open; TIME-WAIT to
// tcp/time_wait.h.
enum class TcpState : uint8_t {
  kClosed,
  kListen,
  kSynSent,
  kSynReceived,
  kEstablished,
  kFinWait1,
  kFinWait2,
  kCloseWait,
  kClosing,
  kLastAck,
  kTimeWait,
};
const char* ToString(TcpState state);  // as ss prints it: "ESTAB", "FIN-WAIT-1", ...

// What a call or a connection came to. ToErrno gives Linux's number.
enum class Error : uint8_t {
  kNone,
  kAgain,                // EAGAIN: nothing to read, no room to write, nothing to accept
  kBadHandle,            // EBADF: closed by the caller before, or never open
  kInvalid,              // EINVAL
  kNotConnected,         // ENOTCONN
  kBrokenPipe,           // EPIPE: our side was shut for writing
  kConnectionReset,      // ECONNRESET
  kConnectionRefused,    // ECONNREFUSED: reset or ICMP refusal in SYN-SENT
  kTimedOut,             // ETIMEDOUT
  kHostUnreachable,      // EHOSTUNREACH
  kNetworkUnreachable,   // ENETUNREACH: no route
  kAddressInUse,         // EADDRINUSE
  kAddressNotAvailable,  // EADDRNOTAVAIL: not ours, or no ephemeral port left
  kNoBuffers,            // ENOBUFS: a table or pool sized at start is full
  kAborted,              // ECONNABORTED: by our own side
  kNotSupported,         // EOPNOTSUPP
  kAlready,              // EISCONN / EALREADY
};
int ToErrno(Error error);
const char* ToString(Error error);

// Readiness, delivered after the burst that caused it. Edge-triggered: an event is due again only
// after something changed again.
enum EventMask : uint8_t {
  kEventConnected = 1 << 0,  // an active open succeeded
  kEventReadable = 1 << 1,   // bytes arrived, or the peer's FIN
  kEventWritable = 1 << 2,   // room again after a Write that was cut short
  kEventUrgent = 1 << 4,     // the peer points at an urgent byte (SIGURG)
  kEventClosed = 1 << 3,  // the connection is over: reset, timed out, refused, or closed both ways
};

}  // namespace usher
