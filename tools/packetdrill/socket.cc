#include "tools/packetdrill/socket.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "tools/packetdrill/sysctl_reader.h"

namespace usher::packetdrill {
namespace {

bool IsWildcard(const IpAddress& a) { return a.is_unspecified(); }

// Whether one packet could be for both.
bool Overlap(const IpAddress& a, bool a_v6_only, const IpAddress& b, bool b_v6_only) {
  if (!IsWildcard(a) && !IsWildcard(b)) return a == b;
  const auto covers = [](const IpAddress& any, bool v6_only, const IpAddress& other) {
    return IsWildcard(any) && (any.is_v4() == other.is_v4() || (!any.is_v4() && !v6_only));
  };
  return covers(a, a_v6_only, b) || covers(b, b_v6_only, a);
}

}  // namespace

// ---- Names ----

void SocketNames::Leave(const Socket& s, const FourTuple& connection) {
  left_.push_back({connection, s.reuse_address(), s.reuse_port()});
}

bool SocketNames::Conflicts(World& world, const Socket& s, const Endpoint& name) {
  std::erase_if(left_, [&](const Left& l) { return !world.Has(l.connection); });
  const bool held = std::any_of(left_.begin(), left_.end(), [&](const Left& l) {
    if (l.connection.local_port != name.port) return false;
    if ((s.reuse_port() && l.reuse_port) || (s.reuse_address() && l.reuse_address)) return false;
    return Overlap(name.address, s.v6_only(), l.connection.local, false);
  });
  return held || std::any_of(sockets_.begin(), sockets_.end(), [&](const Socket* other) {
           if (other == &s || !other->bound() || other->bound()->port != name.port) return false;
           if (s.reuse_port() && other->reuse_port()) return false;
           if (s.reuse_address() && other->reuse_address() && !other->listening()) return false;
           return Overlap(name.address, s.v6_only(), other->bound()->address, other->v6_only());
         });
}

uint16_t SocketNames::EphemeralPort(World& world, const Socket& s, const IpAddress& address) {
  const auto [low, high] = world.shard().sysctls().ip_local_port_range;
  const auto count = static_cast<uint32_t>(high - low + 1);
  for (uint32_t i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(static_cast<uint32_t>(low) + next_++ % count);
    if (!Conflicts(world, s, {address, port})) return port;
  }
  return 0;
}

// ---- Life ----

Socket::Socket(World& world, SocketNames& names, int domain)
    : world_(world), names_(names), domain_(domain) {
  names_.Add(this);
  FollowSysctls();
}

Socket::~Socket() {
  names_.Remove(this);
  world_.Unwatch(this);
  if (TcpConnection* c = connection()) c->user_data = nullptr;
}

void Socket::FollowSysctls() {
  Sysctls sysctls = world_.shard().sysctls();
  ReadSysctls(sysctls, world_.flags().sysctl_root);
  world_.shard().ApplySysctls(sysctls);
}

TcpConnection* Socket::connection() const {
  return state_ == State::kConnection ? world_.shard().Find(handle_) : nullptr;
}

TcpState Socket::tcp_state() const {
  if (state_ == State::kListening) return TcpState::kListen;
  const TcpConnection* c = connection();
  return c != nullptr ? c->state() : TcpState::kClosed;
}

bool Socket::IsPassiveFastOpen() const { return tcp_state() == TcpState::kSynReceived && !active_; }

Instant Socket::DeadlineIn(const timeval& timeout) const {
  if (timeout.tv_sec == 0 && timeout.tv_usec == 0) return Instant::Never();
  return world_.now() + Duration::Seconds(timeout.tv_sec) + Duration::Micros(timeout.tv_usec);
}

// sk_err: why the connection ended, until somebody was told.
int Socket::PendingError() const {
  const TcpConnection* c = connection();
  if (c == nullptr || error_taken_ || c->error() == Error::kAborted) return 0;
  return ToErrno(c->error());
}

int Socket::TakeError() {
  const int error = PendingError();
  if (error != 0) error_taken_ = true;
  return error;
}

bool Socket::ReceiveShut() const {
  const TcpConnection* c = connection();
  return shut_receive_ || (c != nullptr && (c->peer_closed() || c->state() == TcpState::kClosed));
}

bool Socket::SendShut() const {
  const TcpConnection* c = connection();
  return shut_send_ || (c != nullptr && c->state() == TcpState::kClosed);
}

int Socket::Bind(const sockaddr* address, socklen_t length) {
  Endpoint name;
  if (const int e = ReadSockaddr(domain_, address, length, &name); e != 0) return e;
  // A connection that is over has given up the port that it did not choose.
  const bool over = state_ == State::kConnection && tcp_state() == TcpState::kClosed;
  if ((state_ != State::kFresh && !over) || (bound_ && !(over && port_chosen_))) return -EINVAL;
  if (domain_ == AF_INET6 && v6_only() && name.address.is_v4()) return -EINVAL;
  if (name.address.is_multicast() && !name.address.is_v4()) return -EINVAL;
  if (name.port == 0) name.port = names_.EphemeralPort(world_, *this, name.address);
  if (name.port == 0 || names_.Conflicts(world_, *this, name)) return -EADDRINUSE;
  // Which addresses are the host's is the script's to say.
  world_.AddAddress(name.address);
  bound_ = name;
  return 0;
}

int Socket::BindEphemeral(const IpAddress& address) {
  const uint16_t port = names_.EphemeralPort(world_, *this, address);
  if (port == 0) return -EADDRINUSE;
  bound_ = Endpoint{address, port};
  port_chosen_ = true;
  return 0;
}

int Socket::Listen(int backlog) {
  Shard& shard = world_.shard();
  FollowSysctls();
  if (state_ == State::kListening)
    return -ToErrno(shard.passive_open().SetBacklog(handle_, backlog));
  if (state_ == State::kConnection) return -EINVAL;
  if (!bound_) {
    const IpAddress any = domain_ == AF_INET ? IpAddress::V4(0) : IpAddress();
    if (const int e = BindEphemeral(any); e != 0) return e;
  }
  ListenSpec spec = options_listen_;
  spec.address = bound_->address;
  spec.port = bound_->port;
  spec.backlog = backlog;
  spec.options = options_;
  spec.user_data = nullptr;
  Handle handle;
  const Error e = shard.Listen(spec, &handle, static_cast<World::Owner*>(this));
  if (e != Error::kNone) return -ToErrno(e);
  handle_ = handle;
  state_ = State::kListening;
  return 0;
}

int Socket::Accept(World::Lock& lock, sockaddr* address, socklen_t* length,
                   std::shared_ptr<Socket>* accepted) {
  Shard& shard = world_.shard();
  Handle child;
  const auto take = [&] {
    return state_ != State::kListening || shard.Accept(handle_, &child) != Error::kAgain;
  };
  if (!take()) {
    if (nonblocking) return -EAGAIN;
    const Instant deadline = DeadlineIn(receive_timeout_);
    const auto ready = [&] {
      const Listener* l = state_ == State::kListening ? shard.passive_open().Get(handle_) : nullptr;
      return l == nullptr || l->accept_queue.length() != 0;
    };
    if (!world_.Block(lock, ready, deadline)) return -EAGAIN;
    take();
  }
  if (state_ != State::kListening) return -EINVAL;
  auto socket = std::make_shared<Socket>(world_, names_, domain_);
  TcpConnection* c = shard.Find(child);
  if (c == nullptr) return -ECONNABORTED;
  socket->state_ = State::kConnection;
  socket->handle_ = child;
  socket->bound_ = Endpoint{c->tuple().local, c->tuple().local_port};
  socket->peer_ = Endpoint{c->tuple().remote, c->tuple().remote_port};
  socket->port_chosen_ = true;
  socket->connect_reported_ = true;
  socket->reuse_address_ = reuse_address_;
  socket->options_ = c->options();
  socket->options_listen_.reuseport = options_listen_.reuseport;
  socket->options_listen_.v6_only = options_listen_.v6_only;
  socket->options_listen_.syncnt = options_listen_.syncnt;
  socket->save_syn_ = save_syn_;
  socket->inq_ = inq_;
  socket->zerocopy_ = zerocopy_;
  if (zerocopy_) world_.Watch(socket.get());
  socket->receive_low_water_ = receive_low_water_;
  socket->receive_timeout_ = receive_timeout_;
  socket->send_timeout_ = send_timeout_;
  socket->linger_seconds_ = linger_seconds_;
  socket->remembered_ = remembered_;
  c->user_data = static_cast<World::Owner*>(socket.get());
  WriteSockaddr(domain_, socket->peer_, address, length);
  *accepted = std::move(socket);
  world_.Pump();
  return 0;
}

// ---- Active open ----

int Socket::Connect(World::Lock& lock, const sockaddr* address, socklen_t length) {
  if (address == nullptr || length < sizeof(sa_family_t)) return -EINVAL;
  if (address->sa_family == AF_UNSPEC) {
    Disconnect();
    return 0;
  }
  if (state_ == State::kListening) return -EISCONN;
  if (state_ == State::kConnection && !connect_reported_) {  // an attempt is under way
    if (Connecting() && nonblocking) return -EALREADY;
    return WaitConnected(lock, !nonblocking);
  }
  if (state_ == State::kConnection) return -EISCONN;
  if (deferred_) return -EISCONN;
  Endpoint to;
  if (const int e = CheckPeer(address, length, &to); e != 0) return e;
  FastOpenSyn syn;
  if (fast_open_connect_) {
    syn = FastOpenTo(to.address);
    if (!syn.has_option || syn.cookie.length != 0) {
      deferred_ = to;
      return 0;
    }
  }
  if (const int e = StartConnect(to, fast_open_connect_ ? &syn : nullptr); e != 0) return e;
  return nonblocking ? -EINPROGRESS : WaitConnected(lock, true);
}

int Socket::CheckPeer(const sockaddr* address, socklen_t length, Endpoint* to) const {
  if (const int e = ReadSockaddr(domain_, address, length, to); e != 0) return e;
  if (to->address.is_multicast() || to->address.is_broadcast()) return -ENETUNREACH;
  if (domain_ == AF_INET6 && v6_only() && to->address.is_v4()) return -ENETUNREACH;
  return 0;
}

// What a SYN to `peer` has of Fast Open: the cookie if there is one, else the request of one.
FastOpenSyn Socket::FastOpenTo(const IpAddress& peer) const {
  constexpr int kClientWithoutCookie = 4;  // a bit of tcp_fastopen
  FastOpenSyn syn;
  if (const FastOpenSyn* known = world_.FastOpenOf(peer)) syn = *known;
  if (fast_open_no_cookie_ || (world_.shard().sysctls().tcp_fastopen & kClientWithoutCookie) != 0)
    syn.has_option = false;
  return syn;
}

ssize_t Socket::ConnectWithData(World::Lock& lock, const sockaddr* address, socklen_t length,
                                std::span<const uint8_t> data, int flags) {
  FollowSysctls();
  const bool wait = !nonblocking && (flags & MSG_DONTWAIT) == 0;
  Endpoint to;
  if (deferred_) {
    to = *deferred_;
    deferred_.reset();
  } else {
    if ((world_.shard().sysctls().tcp_fastopen & 1) == 0) return -EOPNOTSUPP;
    if (address == nullptr || length < sizeof(sa_family_t)) return -EINVAL;
    if (state_ == State::kConnection && Connecting()) return -EALREADY;
    if (state_ != State::kFresh) return -EISCONN;
    if (const int e = CheckPeer(address, length, &to); e != 0) return e;
  }
  FastOpenSyn syn = FastOpenTo(to.address);
  if (!syn.has_option || syn.cookie.length != 0) syn.data = data;
  if (const int e = StartConnect(to, &syn); e != 0) return e;
  const size_t copied = connection() != nullptr ? connection()->unacked_bytes() : 0;
  written_ += copied;
  if (!wait) return copied != 0 ? static_cast<ssize_t>(copied) : -EINPROGRESS;
  if (const int e = WaitConnected(lock, true); e != 0) return e;
  return static_cast<ssize_t>(copied);
}

int Socket::StartConnect(const Endpoint& to, const FastOpenSyn* fast_open) {
  if (state_ == State::kConnection) Disconnect();
  std::optional<IpAddress> local;
  uint16_t port = 0;
  if (bound_) {
    port = bound_->port;
    if (!IsWildcard(bound_->address)) local = bound_->address;
  }
  if (!local) local = world_.SourceFor(to.address);
  Handle handle;
  const Error e =
      world_.shard().Connect(to.address, to.port, options_, &handle, nullptr, local, port,
                             fast_open, FindMd5Key(options_listen_.md5, to.address));
  if (e != Error::kNone) return e == Error::kInvalid ? -ENETUNREACH : -ToErrno(e);
  state_ = State::kConnection;
  handle_ = handle;
  peer_ = to;
  active_ = true;
  error_taken_ = connect_reported_ = end_read_ = shut_receive_ = shut_send_ = false;
  TcpConnection* c = connection();
  c->user_data = static_cast<World::Owner*>(this);
  if (!bound_) port_chosen_ = true;
  bound_ = Endpoint{c->tuple().local, c->tuple().local_port};
  world_.Pump();
  return 0;
}

// The end of a connect(), now or when it comes.
int Socket::WaitConnected(World::Lock& lock, bool wait) {
  if (Connecting()) {
    if (!wait) return -EALREADY;
    const Instant deadline = DeadlineIn(send_timeout_);
    const bool over = world_.Block(
        lock, [this] { return !Connecting(); }, deadline);
    if (!over) return -EINPROGRESS;
  }
  if (tcp_state() == TcpState::kClosed) {
    const int error = TakeError();
    Disconnect();
    return error != 0 ? -error : -ECONNABORTED;
  }
  connect_reported_ = true;
  return 0;
}

// Back to a fresh socket: connect(AF_UNSPEC), a failed attempt, shutdown() of an opening one.
void Socket::Disconnect() {
  if (state_ == State::kListening) world_.shard().CloseListener(handle_);
  if (TcpConnection* c = connection()) {
    c->user_data = nullptr;
    world_.shard().Abort(handle_);
  }
  state_ = State::kFresh;
  if (port_chosen_) bound_.reset();
  port_chosen_ = false;
  Edge();
  world_.Pump();
}

int Socket::Shutdown(int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return -EINVAL;
  if (state_ == State::kFresh) {
    shut_receive_ |= how != SHUT_WR;
    shut_send_ |= how != SHUT_RD;
    return -ENOTCONN;
  }
  if (state_ == State::kListening) {
    if (how != SHUT_WR) Disconnect();
    return 0;
  }
  if (tcp_state() == TcpState::kSynSent) {
    Disconnect();
    return 0;
  }
  shut_receive_ |= how != SHUT_WR;
  shut_send_ |= how != SHUT_RD;
  const ShutdownHow what = how == SHUT_RD   ? ShutdownHow::kRead
                           : how == SHUT_WR ? ShutdownHow::kWrite
                                            : ShutdownHow::kBoth;
  const Error e = world_.shard().Shutdown(handle_, what);
  Edge();
  world_.Pump();
  return -ToErrno(e);
}

void Socket::Close(World::Lock& lock) {
  TcpConnection* c = connection();
  if (c != nullptr && c->state() != TcpState::kClosed) names_.Leave(*this, c->tuple());
  if (state_ == State::kListening) {
    world_.shard().CloseListener(handle_);
  } else if (c != nullptr) {
    const bool waits = options_.linger && linger_seconds_ != 0 && c->readable_bytes() == 0 &&
                       !nonblocking && c->state() != TcpState::kSynSent;
    if (waits) {
      world_.shard().Shutdown(handle_, ShutdownHow::kWrite);
      world_.Pump();
      const auto done = [this] {
        const TcpState s = tcp_state();
        return s != TcpState::kFinWait1 && s != TcpState::kClosing && s != TcpState::kLastAck;
      };
      world_.Block(lock, done, world_.now() + Duration::Seconds(linger_seconds_));
    }
    if ((c = connection()) != nullptr) c->user_data = nullptr;
    if (tcp_state() == TcpState::kSynSent)
      world_.shard().Abort(handle_);
    else
      world_.shard().Close(handle_);
  }
  state_ = State::kFresh;
  names_.Remove(this);
  world_.Pump();
}

// ---- Readiness ----

void Socket::OnEvent(uint8_t events) {
  const TcpConnection* c = connection();
  const bool fin = c != nullptr && c->peer_closed();
  if ((events & (kEventConnected | kEventClosed)) != 0 || fin) {
    Edge();
    return;
  }
  if ((events & kEventReadable) != 0) InEdge();
  if ((events & kEventWritable) != 0) OutEdge();
}

void Socket::OnPass() {
  if (!zerocopy_log_.waiting()) return;
  const TcpConnection* c = connection();
  const bool alive = c != nullptr && c->state() != TcpState::kClosed;
  if (zerocopy_log_.OnAcked(alive ? written_ - c->unacked_bytes() : UINT64_MAX)) Edge();
}

uint32_t Socket::SendLimit() const {
  if (options_.send_buffer_bytes != 0) return options_.send_buffer_bytes;
  if (const TcpConnection* c = connection(); c != nullptr)
    return c->Info(world_.shard().context()).send_limit;
  return static_cast<uint32_t>(world_.shard().sysctls().tcp_wmem[1]);
}

bool Socket::Writable() const {
  TcpConnection* c = connection();
  if (c == nullptr) return true;
  return c->IsWritable(world_.shard().context());
}

uint32_t Socket::Poll() {
  if (state_ == State::kListening) {
    const Listener* l = world_.shard().passive_open().Get(handle_);
    return l != nullptr && l->accept_queue.length() != 0 ? EPOLLIN | EPOLLRDNORM : 0;
  }
  if (deferred_) return EPOLLOUT | EPOLLWRNORM;
  uint32_t mask = 0;
  const TcpState s = tcp_state();
  if ((ReceiveShut() && SendShut()) || s == TcpState::kClosed) mask |= EPOLLHUP;
  if (ReceiveShut()) mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (s != TcpState::kSynSent && (s != TcpState::kSynReceived || IsPassiveFastOpen())) {
    const TcpConnection* c = connection();
    if (c != nullptr && c->readable_bytes() >= static_cast<uint32_t>(receive_low_water_))
      mask |= EPOLLIN | EPOLLRDNORM;
    if (SendShut() || Writable()) mask |= EPOLLOUT | EPOLLWRNORM;
  }
  if (PendingError() != 0 || !zerocopy_log_.empty()) mask |= EPOLLERR;
  return mask;
}

// Hands the options to the connection or the listener.
void Socket::Apply() {
  if (state_ == State::kConnection) {
    world_.shard().SetOptions(handle_, options_);
    world_.Pump();
  } else if (state_ == State::kListening) {
    world_.shard().passive_open().SetChildOptions(handle_, options_);
  }
}

}  // namespace usher::packetdrill
