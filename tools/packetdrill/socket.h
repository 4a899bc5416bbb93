// A TCP socket with Linux's manners, over the stack's handles.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tools/packetdrill/addresses.h"
#include "tools/packetdrill/file.h"
#include "tools/packetdrill/zerocopy.h"

namespace usher::packetdrill {

class Socket;

// What all sockets share: which names are bound.
class SocketNames {
 public:
  void Add(Socket* s) { sockets_.push_back(s); }
  void Remove(Socket* s) { std::erase(sockets_, s); }
  // `s` goes, its connection does not, and keeps the name (TIME-WAIT too).
  void Leave(const Socket& s, const FourTuple& connection);
  // Whether `s` may not be bound to `name`.
  bool Conflicts(World& world, const Socket& s, const Endpoint& name);
  // A free port for `s` at `address`; 0: none.
  uint16_t EphemeralPort(World& world, const Socket& s, const IpAddress& address);

 private:
  struct Left {
    FourTuple connection;
    bool reuse_address;
    bool reuse_port;
  };
  std::vector<Socket*> sockets_;
  std::vector<Left> left_;
  uint32_t next_ = 0;
};

// Results are those of the system calls, -errno for errors.
class Socket final : public File, public World::Owner {
 public:
  Socket(World& world, SocketNames& names, int domain);
  ~Socket() override;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // socket.cc
  int Bind(const sockaddr* address, socklen_t length);
  int Listen(int backlog);
  int Accept(World::Lock& lock, sockaddr* address, socklen_t* length,
             std::shared_ptr<Socket>* accepted);
  int Connect(World::Lock& lock, const sockaddr* address, socklen_t length);
  // sendto(MSG_FASTOPEN), and the first write after a deferred connect(): a SYN with `data`.
  ssize_t ConnectWithData(World::Lock& lock, const sockaddr* address, socklen_t length,
                          std::span<const uint8_t> data, int flags);
  int Shutdown(int how);
  uint32_t Poll() override;
  void Close(World::Lock& lock) override;
  void OnEvent(uint8_t events) override;
  void OnPass() override;

  // socket_io.cc
  ssize_t Receive(World::Lock& lock, const iovec* iov, size_t count, int flags,
                  msghdr* message = nullptr);
  ssize_t Send(World::Lock& lock, const iovec* iov, size_t count, int flags,
               const sockaddr* address = nullptr, socklen_t length = 0);
  ssize_t Read(World::Lock& lock, const iovec* iov, size_t count) override {
    return Receive(lock, iov, count, 0);
  }
  ssize_t Write(World::Lock& lock, const iovec* iov, size_t count) override {
    return Send(lock, iov, count, 0);
  }
  int Ioctl(unsigned long request, void* argument) override;

  // socket_options.cc
  int GetOption(int level, int name, void* value, socklen_t* length);
  int SetOption(int level, int name, const void* value, socklen_t length);

  const std::optional<Endpoint>& bound() const { return bound_; }
  bool reuse_address() const { return reuse_address_; }
  bool reuse_port() const { return options_listen_.reuseport; }
  bool v6_only() const { return options_listen_.v6_only; }
  bool listening() const { return state_ == State::kListening; }

 private:
  enum class State : uint8_t { kFresh, kListening, kConnection };

  // -- socket.cc --
  Instant DeadlineIn(const timeval& timeout) const;
  TcpConnection* connection() const;
  TcpState tcp_state() const;
  bool Connecting() const {
    const TcpState s = tcp_state();
    return s == TcpState::kSynSent || s == TcpState::kSynReceived;
  }
  bool IsPassiveFastOpen() const;
  int PendingError() const;
  int TakeError();
  bool ReceiveShut() const;
  bool SendShut() const;
  bool Writable() const;
  uint32_t SendLimit() const;
  int BindEphemeral(const IpAddress& address);
  void FollowSysctls();
  void Apply();
  int StartConnect(const Endpoint& to, const FastOpenSyn* fast_open);
  int CheckPeer(const sockaddr* address, socklen_t length, Endpoint* to) const;
  FastOpenSyn FastOpenTo(const IpAddress& peer) const;
  int WaitConnected(World::Lock& lock, bool wait);
  void Disconnect();

  // -- socket_io.cc --
  ssize_t ReceiveUrgent(const iovec* iov, size_t count);
  ssize_t ReceiveBytes(World::Lock& lock, const iovec* iov, size_t count, int flags);
  std::optional<ssize_t> EndOfReading() const;
  size_t CopyOut(const iovec* iov, size_t count, size_t skip, int flags);
  ssize_t SendBytes(World::Lock& lock, const iovec* iov, size_t count, int flags);
  int WaitWritable(World::Lock& lock, int flags);
  uint32_t InqHint() const;
  void AddInq(msghdr* message) const;

  // -- socket_options.cc, tcp_info.cc --
  int GetSocketLevel(int name, std::vector<uint8_t>* out);
  int GetTcpLevel(int name, std::vector<uint8_t>* out, socklen_t* length);
  int GetRareTcpLevel(int name, std::vector<uint8_t>* out, socklen_t* length);
  int Remembered(int level, int name, std::vector<uint8_t>* out) const;
  int DeferAcceptInForce() const;
  int GetIpLevel(int level, int name, std::vector<uint8_t>* out);
  int SetSocketLevel(int name, const void* value, socklen_t length);
  int SetTcpLevel(int name, int value, const void* raw, socklen_t length);
  int SetMd5(int name, const void* raw, socklen_t length);
  int SetRareTcpLevel(int name, int value, const void* raw, socklen_t length);
  int SetIpLevel(int level, int name, const void* value, socklen_t length);
  std::vector<uint8_t> TcpInfoBytes() const;
  int SavedSyn(std::vector<uint8_t>* out, socklen_t* length);

  World& world_;
  SocketNames& names_;
  const int domain_;
  State state_ = State::kFresh;
  Handle handle_;  // of the listener or the connection
  std::optional<Endpoint> bound_;
  bool port_chosen_ = false;  // not by the script: forgotten when the connection ends
  Endpoint peer_;
  bool connect_reported_ = false;  // connect() has said that it succeeded
  bool active_ = false;            // opened by connect()
  bool error_taken_ = false;
  bool end_read_ = false;  // a read told the end of the stream
  bool shut_receive_ = false;
  bool shut_send_ = false;
  // Options.
  TcpOptionsSet options_;
  ListenSpec options_listen_;  // of what only a listener heeds
  uint8_t save_syn_ = 0;       // TCP_SAVE_SYN
  bool reuse_address_ = false;
  bool inq_ = false;
  bool fast_open_connect_ = false;    // TCP_FASTOPEN_CONNECT
  bool fast_open_no_cookie_ = false;  // TCP_FASTOPEN_NO_COOKIE
  std::optional<Endpoint> deferred_;  // connect() said yes; the first write opens
  bool zerocopy_ = false;             // SO_ZEROCOPY
  ZeroCopyLog zerocopy_log_;
  uint64_t written_ = 0;  // bytes in all
  int receive_low_water_ = 1;
  timeval receive_timeout_{};
  timeval send_timeout_{};
  uint32_t linger_seconds_ = 0;
  std::map<std::pair<int, int>, int> remembered_;  // (level, name) of options without effect here
};

}  // namespace usher::packetdrill
