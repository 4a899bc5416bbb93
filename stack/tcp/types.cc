#include "stack/tcp/types.h"

#include <cerrno>

namespace usher {

const char* ToString(TcpState state) {
  switch (state) {
    case TcpState::kClosed:
      return "UNCONN";
    case TcpState::kListen:
      return "LISTEN";
    case TcpState::kSynSent:
      return "SYN-SENT";
    case TcpState::kSynReceived:
      return "SYN-RECV";
    case TcpState::kEstablished:
      return "ESTAB";
    case TcpState::kFinWait1:
      return "FIN-WAIT-1";
    case TcpState::kFinWait2:
      return "FIN-WAIT-2";
    case TcpState::kCloseWait:
      return "CLOSE-WAIT";
    case TcpState::kClosing:
      return "CLOSING";
    case TcpState::kLastAck:
      return "LAST-ACK";
    case TcpState::kTimeWait:
      return "TIME-WAIT";
  }
  return "?";
}

namespace {
struct ErrorText {
  int number;
  const char* text;
};
ErrorText TextOf(Error error) {
  switch (error) {
    case Error::kNone:
      return {0, "no error"};
    case Error::kAgain:
      return {EAGAIN, "would block"};
    case Error::kBadHandle:
      return {EBADF, "handle is closed"};
    case Error::kInvalid:
      return {EINVAL, "invalid argument"};
    case Error::kNotConnected:
      return {ENOTCONN, "not connected"};
    case Error::kBrokenPipe:
      return {EPIPE, "shut down for writing"};
    case Error::kConnectionReset:
      return {ECONNRESET, "connection reset by peer"};
    case Error::kConnectionRefused:
      return {ECONNREFUSED, "connection refused"};
    case Error::kTimedOut:
      return {ETIMEDOUT, "timed out"};
    case Error::kHostUnreachable:
      return {EHOSTUNREACH, "host unreachable"};
    case Error::kNetworkUnreachable:
      return {ENETUNREACH, "no route to network"};
    case Error::kAddressInUse:
      return {EADDRINUSE, "address in use"};
    case Error::kAddressNotAvailable:
      return {EADDRNOTAVAIL, "address not available"};
    case Error::kNoBuffers:
      return {ENOBUFS, "a table or pool sized at start is full"};
    case Error::kAborted:
      return {ECONNABORTED, "aborted by this side"};
    case Error::kNotSupported:
      return {EOPNOTSUPP, "not supported"};
    case Error::kAlready:
      return {EALREADY, "already in progress or connected"};
  }
  return {EINVAL, "?"};
}
}  // namespace

int ToErrno(Error error) { return TextOf(error).number; }
const char* ToString(Error error) { return TextOf(error).text; }

}  // namespace usher
