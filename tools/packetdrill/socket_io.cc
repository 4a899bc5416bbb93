// Reading and writing of a socket: tcp_recvmsg and tcp_sendmsg as their callers see them.
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/packetdrill/socket.h"

#ifndef TCP_CM_INQ
#define TCP_CM_INQ 36
#endif

namespace usher::packetdrill {
namespace {

size_t TotalOf(const iovec* iov, size_t count) {
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) total += iov[i].iov_len;
  return total;
}

}  // namespace

// What a read of an empty queue says, unless it may wait.
std::optional<ssize_t> Socket::EndOfReading() const {
  if (state_ == State::kListening) return -ENOTCONN;
  const TcpConnection* c = connection();
  if (c == nullptr) return shut_receive_ ? 0 : -ENOTCONN;
  if (c->peer_closed()) return 0;
  if (const int error = PendingError(); error != 0) return -error;
  if (ReceiveShut()) return 0;
  return std::nullopt;
}

// Moves what is there into the vectors, from their byte `skip` on; MSG_PEEK leaves it, MSG_TRUNC
// drops it unseen.
size_t Socket::CopyOut(const iovec* iov, size_t count, size_t skip, int flags) {
  TcpConnection* c = connection();
  const size_t there = c->readable_bytes();
  const size_t most = std::min(there, TotalOf(iov, count) - skip);
  std::vector<uint8_t> bytes(most);
  if (most == 0) return 0;
  if ((flags & MSG_PEEK) != 0)
    c->PeekCopy(bytes);
  else
    world_.shard().Read(handle_, bytes);
  if ((flags & MSG_TRUNC) != 0) return most;
  size_t done = 0;
  for (size_t i = 0; i < count && done < most; ++i) {
    const size_t before = std::min(skip, iov[i].iov_len);
    skip -= before;
    const size_t n = std::min(most - done, iov[i].iov_len - before);
    if (n != 0) std::memcpy(static_cast<uint8_t*>(iov[i].iov_base) + before, &bytes[done], n);
    done += n;
  }
  return most;
}

ssize_t Socket::ReceiveBytes(World::Lock& lock, const iovec* iov, size_t count, int flags) {
  const size_t wanted = TotalOf(iov, count);
  if (state_ == State::kListening) return -ENOTCONN;
  const bool wait = !nonblocking && (flags & MSG_DONTWAIT) == 0;
  const size_t target = (flags & MSG_WAITALL) != 0
                            ? wanted
                            : std::min<size_t>(wanted, static_cast<size_t>(receive_low_water_));
  const Instant deadline = DeadlineIn(receive_timeout_);
  size_t copied = 0;
  for (;;) {
    const TcpConnection* c = connection();
    const bool opening = c != nullptr && Connecting() && !IsPassiveFastOpen();
    if (c != nullptr && c->readable_bytes() != 0 && copied < wanted) {
      copied += CopyOut(iov, count, copied, flags);
      world_.Pump();
      if ((flags & MSG_PEEK) != 0) return static_cast<ssize_t>(copied);
    }
    if (copied >= target && copied != 0) return static_cast<ssize_t>(copied);
    const auto end = EndOfReading();
    if (copied != 0 && (end || !wait)) return static_cast<ssize_t>(copied);
    if (end && !opening) {
      if (*end < 0 && *end == -PendingError()) TakeError();
      if (*end == 0) end_read_ = true;
      return *end;
    }
    if (!wait) return -EAGAIN;
    const auto ready = [this] {
      const TcpConnection* now = connection();
      return now == nullptr || now->readable_bytes() != 0 || EndOfReading().has_value();
    };
    if (!world_.Block(lock, ready, deadline))
      return copied != 0 ? static_cast<ssize_t>(copied) : -EAGAIN;
  }
}

// The urgent byte; never waits for it.
ssize_t Socket::ReceiveUrgent(const iovec* iov, size_t count) {
  if (state_ == State::kFresh) return -ENOTCONN;
  uint8_t byte = 0;
  const Error e = world_.shard().ReadUrgent(handle_, &byte);
  if (e != Error::kNone) return e == Error::kAgain ? -EAGAIN : -EINVAL;
  if (TotalOf(iov, count) == 0) return 0;
  while (iov->iov_len == 0) ++iov;
  *static_cast<uint8_t*>(iov->iov_base) = byte;
  return 1;
}

ssize_t Socket::Receive(World::Lock& lock, const iovec* iov, size_t count, int flags,
                        msghdr* message) {
  if ((flags & MSG_ERRQUEUE) != 0) {
    if (zerocopy_log_.empty()) return -EAGAIN;
    zerocopy_log_.Take(domain_, message);
    return 0;
  }
  if ((flags & MSG_OOB) != 0) return ReceiveUrgent(iov, count);
  const ssize_t n = ReceiveBytes(lock, iov, count, flags);
  if (n < 0 || message == nullptr) return n;
  message->msg_flags = 0;
  message->msg_namelen = 0;
  const size_t room = message->msg_control != nullptr ? message->msg_controllen : 0;
  message->msg_controllen = 0;
  if (inq_ && room >= CMSG_SPACE(sizeof(int))) {
    message->msg_controllen = room;
    AddInq(message);
  }
  return n;
}

// How much a next read would find; never 0 once the peer has closed.
uint32_t Socket::InqHint() const {
  const TcpConnection* c = connection();
  if (c == nullptr) return 0;
  return c->readable_bytes() + (c->peer_closed() ? 1 : 0);
}

void Socket::AddInq(msghdr* message) const {
  cmsghdr* c = CMSG_FIRSTHDR(message);
  const int value = static_cast<int>(InqHint());
  c->cmsg_level = SOL_TCP;
  c->cmsg_type = TCP_CM_INQ;
  c->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(c), &value, sizeof value);
  message->msg_controllen = CMSG_SPACE(sizeof value);
}

// ---- Writing ----

// Waits until a write can go on: 0, or why not (and never).
int Socket::WaitWritable(World::Lock& lock, int flags) {
  const bool wait = !nonblocking && (flags & MSG_DONTWAIT) == 0;
  const Instant deadline = DeadlineIn(send_timeout_);
  if (!wait) return -EAGAIN;
  const auto ready = [this] {
    return PendingError() != 0 || SendShut() || connection() == nullptr ||
           (!Connecting() && Writable() && world_.shard().WritableBytes(handle_) != 0);
  };
  return world_.Block(lock, ready, deadline) ? 0 : -EAGAIN;
}

ssize_t Socket::SendBytes(World::Lock& lock, const iovec* iov, size_t count, int flags) {
  if (state_ != State::kConnection) return -EPIPE;
  const size_t wanted = TotalOf(iov, count);
  size_t sent = 0;
  std::vector<uint8_t> bytes;
  bytes.reserve(wanted);
  for (size_t i = 0; i < count; ++i) {
    const auto* base = static_cast<const uint8_t*>(iov[i].iov_base);
    bytes.insert(bytes.end(), base, base + iov[i].iov_len);
  }
  for (;;) {
    if (PendingError() != 0 || SendShut()) {
      if (sent != 0) return static_cast<ssize_t>(sent);
      const int error = TakeError();
      return error != 0 ? -error : -EPIPE;
    }
    if (sent == wanted && !Connecting()) return static_cast<ssize_t>(sent);
    if (!Connecting() || IsPassiveFastOpen()) {
      const auto rest = std::span(bytes).subspan(sent);
      const IoResult r = (flags & MSG_OOB) != 0 ? world_.shard().WriteUrgent(handle_, rest)
                                                : world_.shard().Write(handle_, rest);
      sent += r.bytes;
      written_ += r.bytes;
      if ((flags & MSG_ZEROCOPY) != 0 && zerocopy_ && sent == wanted)
        zerocopy_log_.OnWritten(written_);
      world_.Pump();
      if (sent == wanted) return static_cast<ssize_t>(sent);
      if (r.bytes != 0) continue;
    }
    if (const int e = WaitWritable(lock, flags); e != 0)
      return sent != 0 ? static_cast<ssize_t>(sent) : e;
  }
}

ssize_t Socket::Send(World::Lock& lock, const iovec* iov, size_t count, int flags,
                     const sockaddr* address, socklen_t length) {
  if ((flags & MSG_FASTOPEN) != 0 || deferred_) {
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < count; ++i) {
      const auto* base = static_cast<const uint8_t*>(iov[i].iov_base);
      bytes.insert(bytes.end(), base, base + iov[i].iov_len);
    }
    const ssize_t n = ConnectWithData(lock, address, length, bytes, flags);
    const bool waits = !nonblocking && (flags & MSG_DONTWAIT) == 0;
    if (n < 0 || !waits || static_cast<size_t>(n) == bytes.size()) return n;
    // The rest follows the handshake.
    const iovec rest{bytes.data() + n, bytes.size() - static_cast<size_t>(n)};
    const ssize_t more = SendBytes(lock, &rest, 1, flags);
    return more < 0 ? n : n + more;
  }
  // MSG_MORE is a cork for as long as the calls say so.
  const bool more = (flags & MSG_MORE) != 0;
  if (more != options_.more_coming) {
    options_.more_coming = more;
    world_.shard().SetOptions(handle_, options_);
  }
  return SendBytes(lock, iov, count, flags);
}

int Socket::Ioctl(unsigned long request, void* argument) {
  auto* const out = static_cast<int*>(argument);
  const TcpConnection* c = connection();
  switch (request) {
    case FIONBIO:
      nonblocking = *out != 0;
      return 0;
    case FIONREAD:  // SIOCINQ
      if (state_ == State::kListening) return -EINVAL;
      *out = c != nullptr ? static_cast<int>(c->readable_bytes()) : 0;
      return 0;
    case SIOCOUTQ: {  // what the peer has not acknowledged, a FIN included
      if (state_ == State::kListening) return -EINVAL;
      const bool counts = c != nullptr && c->state() != TcpState::kSynSent;
      *out = counts ? static_cast<int>(c->Info(world_.shard().context()).send_q) : 0;
      return 0;
    }
    case SIOCOUTQNSD: {
      if (state_ == State::kListening) return -EINVAL;
      const bool counts = c != nullptr && c->state() != TcpState::kSynSent;
      *out = counts ? static_cast<int>(c->Info(world_.shard().context()).not_sent) : 0;
      return 0;
    }
    case SIOCATMARK:
      *out = c != nullptr && c->at_mark() ? 1 : 0;
      return 0;
    default:
      return -ENOTTY;
  }
}

}  // namespace usher::packetdrill
