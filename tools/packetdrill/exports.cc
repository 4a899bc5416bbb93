// The entry points: from the interface's C calls to files, and from -errno to errno.
#include <fcntl.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstdarg>
#include <memory>
#include <type_traits>

#include "tools/packetdrill/epoll.h"
#include "tools/packetdrill/interface.h"
#include "tools/packetdrill/pipe.h"
#include "tools/packetdrill/socket.h"

namespace usher::packetdrill {
namespace {

struct Machine {
  explicit Machine(const Flags& flags) : world(flags) {}
  World world;
  SocketNames names;
  FileTable files;
};

Machine& Of(void* userdata) { return *static_cast<Machine*>(userdata); }

// Runs `call(lock)` with the world to itself; a result below 0 goes to errno.
template <class Call>
auto Enter(void* userdata, Call&& call) {
  Machine& m = Of(userdata);
  World::Lock lock = m.world.Enter();
  auto result = call(m, lock);
  m.world.LetWokenReturn(lock);
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return static_cast<decltype(result)>(-1);
}

// The same for one file; EBADF if there is none.
template <class Call>
auto WithFile(void* userdata, int fd, Call&& call) {
  return Enter(userdata, [&](Machine& m, World::Lock& lock) {
    const std::shared_ptr<File> file = m.files.Get(fd);
    using Result = decltype(call(m, *file, lock));
    return file != nullptr ? call(m, *file, lock) : static_cast<Result>(-EBADF);
  });
}

// The same for a socket; ENOTSOCK if it is something else.
template <class Call>
auto WithSocket(void* userdata, int fd, Call&& call) {
  return WithFile(userdata, fd, [&](Machine& m, File& file, World::Lock& lock) {
    auto* const socket = dynamic_cast<Socket*>(&file);
    using Result = decltype(call(m, *socket, lock));
    return socket != nullptr ? call(m, *socket, lock) : static_cast<Result>(-ENOTSOCK);
  });
}

void Free(void* userdata) { delete static_cast<Machine*>(userdata); }

int NewSocket(void* userdata, int domain, int type, int protocol) {
  return Enter(userdata, [&](Machine& m, World::Lock&) {
    constexpr int kKinds = 11;  // of which Linux knows
    const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (kind < 0 || kind >= kKinds || protocol < 0) return -EINVAL;
    if (domain != AF_INET && domain != AF_INET6) return -EAFNOSUPPORT;
    if (kind != SOCK_STREAM) return -ESOCKTNOSUPPORT;
    if (protocol != 0 && protocol != IPPROTO_TCP) return -EPROTONOSUPPORT;
    auto socket = std::make_shared<Socket>(m.world, m.names, domain);
    socket->nonblocking = (type & SOCK_NONBLOCK) != 0;
    return m.files.Add(std::move(socket));
  });
}

int Bind(void* userdata, int fd, const sockaddr* address, socklen_t length) {
  return WithSocket(userdata, fd,
                    [&](Machine&, Socket& s, World::Lock&) { return s.Bind(address, length); });
}

int Listen(void* userdata, int fd, int backlog) {
  return WithSocket(userdata, fd,
                    [&](Machine&, Socket& s, World::Lock&) { return s.Listen(backlog); });
}

int Accept(void* userdata, int fd, sockaddr* address, socklen_t* length) {
  return WithSocket(userdata, fd, [&](Machine& m, Socket& s, World::Lock& lock) {
    std::shared_ptr<Socket> accepted;
    const int result = s.Accept(lock, address, length, &accepted);
    return result == 0 ? m.files.Add(std::move(accepted)) : result;
  });
}

int Connect(void* userdata, int fd, const sockaddr* address, socklen_t length) {
  return WithSocket(userdata, fd, [&](Machine&, Socket& s, World::Lock& lock) {
    return s.Connect(lock, address, length);
  });
}

ssize_t Readv(void* userdata, int fd, const iovec* iov, int count) {
  return WithFile(userdata, fd, [&](Machine&, File& f, World::Lock& lock) -> ssize_t {
    if (count < 0) return -EINVAL;
    size_t total = 0;
    for (int i = 0; i < count; ++i) total += iov[i].iov_len;
    return total != 0 ? f.Read(lock, iov, static_cast<size_t>(count)) : 0;
  });
}

ssize_t Read(void* userdata, int fd, void* buffer, size_t count) {
  const iovec iov{buffer, count};
  return Readv(userdata, fd, &iov, 1);
}

ssize_t Recvfrom(void* userdata, int fd, void* buffer, size_t count, int flags, sockaddr*,
                 socklen_t* length) {
  const iovec iov{buffer, count};
  return WithSocket(userdata, fd, [&](Machine&, Socket& s, World::Lock& lock) {
    const ssize_t n = s.Receive(lock, &iov, 1, flags);
    if (n >= 0 && length != nullptr) *length = 0;  // a stream names no sender
    return n;
  });
}

ssize_t Recv(void* userdata, int fd, void* buffer, size_t count, int flags) {
  return Recvfrom(userdata, fd, buffer, count, flags, nullptr, nullptr);
}

ssize_t Recvmsg(void* userdata, int fd, msghdr* message, int flags) {
  return WithSocket(userdata, fd, [&](Machine&, Socket& s, World::Lock& lock) {
    return s.Receive(lock, message->msg_iov, message->msg_iovlen, flags, message);
  });
}

ssize_t Writev(void* userdata, int fd, const iovec* iov, int count) {
  return WithFile(userdata, fd, [&](Machine&, File& f, World::Lock& lock) -> ssize_t {
    return count < 0 ? -EINVAL : f.Write(lock, iov, static_cast<size_t>(count));
  });
}

ssize_t Write(void* userdata, int fd, const void* buffer, size_t count) {
  const iovec iov{const_cast<void*>(buffer), count};
  return Writev(userdata, fd, &iov, 1);
}

ssize_t Sendto(void* userdata, int fd, const void* buffer, size_t count, int flags,
               const sockaddr* address, socklen_t length) {
  const iovec iov{const_cast<void*>(buffer), count};
  return WithSocket(userdata, fd, [&](Machine&, Socket& s, World::Lock& lock) {
    return s.Send(lock, &iov, 1, flags, address, length);
  });
}

ssize_t Send(void* userdata, int fd, const void* buffer, size_t count, int flags) {
  return Sendto(userdata, fd, buffer, count, flags, nullptr, 0);
}

ssize_t Sendmsg(void* userdata, int fd, const msghdr* message, int flags) {
  return WithSocket(userdata, fd, [&](Machine&, Socket& s, World::Lock& lock) {
    return s.Send(lock, message->msg_iov, message->msg_iovlen, flags,
                  static_cast<const sockaddr*>(message->msg_name), message->msg_namelen);
  });
}

int Fcntl(void* userdata, int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  return WithFile(userdata, fd, [&](Machine&, File& f, World::Lock&) {
    switch (command) {
      case F_GETFL:
        return O_RDWR | (f.nonblocking ? O_NONBLOCK : 0);
      case F_SETFL:
        f.nonblocking = (argument & O_NONBLOCK) != 0;
        return 0;
      case F_GETFD:
      case F_SETFD:
        return 0;
      default:
        return -EINVAL;
    }
  });
}

int Ioctl(void* userdata, int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  return WithFile(userdata, fd,
                  [&](Machine&, File& f, World::Lock&) { return f.Ioctl(request, argument); });
}

int Close(void* userdata, int fd) {
  return Enter(userdata, [&](Machine& m, World::Lock& lock) {
    const std::shared_ptr<File> file = m.files.Remove(fd);
    if (file == nullptr) return -EBADF;
    file->Close(lock);
    return 0;
  });
}

int Shutdown(void* userdata, int fd, int how) {
  return WithSocket(userdata, fd,
                    [&](Machine&, Socket& s, World::Lock&) { return s.Shutdown(how); });
}

int Getsockopt(void* userdata, int fd, int level, int name, void* value, socklen_t* length) {
  return WithSocket(userdata, fd, [&](Machine&, Socket& s, World::Lock&) {
    return s.GetOption(level, name, value, length);
  });
}

int Setsockopt(void* userdata, int fd, int level, int name, const void* value, socklen_t length) {
  return WithSocket(userdata, fd, [&](Machine&, Socket& s, World::Lock&) {
    return s.SetOption(level, name, value, length);
  });
}

int Poll(void* userdata, pollfd* fds, nfds_t count, int timeout_ms) {
  return Enter(userdata, [&](Machine& m, World::Lock& lock) {
    return PollFiles(m.world, lock, m.files, fds, count, timeout_ms);
  });
}

int NetdevSend(void* userdata, const void* packet, size_t count) {
  return Enter(userdata, [&](Machine& m, World::Lock& lock) {
    const bool taken = m.world.Send(lock, {static_cast<const uint8_t*>(packet), count});
    return taken ? 0 : -EINVAL;
  });
}

int NetdevReceive(void* userdata, void* packet, size_t* count, long long* time_usecs) {
  return Enter(userdata, [&](Machine& m, World::Lock& lock) {
    const size_t size = m.world.Receive(lock, {static_cast<uint8_t*>(packet), *count}, time_usecs);
    if (size == 0) return -EAGAIN;
    *count = size;
    return 0;
  });
}

int Usleep(void* userdata, useconds_t usec) {
  return Enter(userdata, [&](Machine& m, World::Lock& lock) {
    m.world.Sleep(lock, Duration::Micros(usec));
    return 0;
  });
}

int Gettimeofday(void* userdata, timeval* tv, struct timezone*) {
  return Enter(userdata, [&](Machine& m, World::Lock&) {
    const int64_t us = m.world.TimeOfDayUs();
    *tv = {us / 1'000'000, us % 1'000'000};
    return 0;
  });
}

int EpollCreate(void* userdata, int size) {
  return Enter(userdata, [&](Machine& m, World::Lock&) {
    return size > 0 ? m.files.Add(std::make_shared<Epoll>(m.world)) : -EINVAL;
  });
}

int EpollCtl(void* userdata, int epfd, int operation, int fd, epoll_event* event) {
  return WithFile(userdata, epfd, [&](Machine& m, File& f, World::Lock&) {
    const std::shared_ptr<File> file = m.files.Get(fd);
    if (file == nullptr) return -EBADF;
    auto* const epoll = dynamic_cast<Epoll*>(&f);
    if (epoll == nullptr || file.get() == &f) return -EINVAL;
    if (event == nullptr && operation != EPOLL_CTL_DEL) return -EFAULT;
    return epoll->Control(operation, fd, file, event);
  });
}

int EpollWait(void* userdata, int epfd, epoll_event* events, int most, int timeout_ms) {
  return WithFile(userdata, epfd, [&](Machine&, File& f, World::Lock& lock) {
    auto* const epoll = dynamic_cast<Epoll*>(&f);
    return epoll != nullptr ? epoll->Wait(lock, events, most, timeout_ms) : -EINVAL;
  });
}

int MakePipe(void* userdata, int fds[2]) {
  return Enter(userdata, [&](Machine& m, World::Lock&) {
    const auto [reader, writer] = Pipe::Make(m.world);
    fds[0] = m.files.Add(reader);
    fds[1] = m.files.Add(writer);
    return 0;
  });
}

ssize_t SpliceFiles(void* userdata, int fd_in, loff_t* off_in, int fd_out, loff_t* off_out,
                    size_t length, unsigned flags) {
  return Enter(userdata, [&](Machine& m, World::Lock& lock) -> ssize_t {
    const auto in = m.files.Get(fd_in);
    const auto out = m.files.Get(fd_out);
    if (in == nullptr || out == nullptr) return -EBADF;
    if (off_in != nullptr || off_out != nullptr) return -ESPIPE;
    return Splice(lock, *in, *out, length, flags);
  });
}

}  // namespace
}  // namespace usher::packetdrill

extern "C" __attribute__((visibility("default"))) void packetdrill_interface_init(
    const char* flags, struct packetdrill_interface* interface) {
  using namespace usher::packetdrill;  // NOLINT(google-build-using-namespace)
  *interface = {
      .userdata = new Machine(Flags::Parse(flags != nullptr ? flags : "")),
      .free = Free,
      .socket = NewSocket,
      .bind = Bind,
      .listen = Listen,
      .accept = Accept,
      .connect = Connect,
      .read = Read,
      .readv = Readv,
      .recv = Recv,
      .recvfrom = Recvfrom,
      .recvmsg = Recvmsg,
      .write = Write,
      .writev = Writev,
      .send = Send,
      .sendto = Sendto,
      .sendmsg = Sendmsg,
      .fcntl = Fcntl,
      .ioctl = Ioctl,
      .close = Close,
      .shutdown = Shutdown,
      .getsockopt = Getsockopt,
      .setsockopt = Setsockopt,
      .poll = Poll,
      .netdev_send = NetdevSend,
      .netdev_receive = NetdevReceive,
      .usleep = Usleep,
      .gettimeofday = Gettimeofday,
      .epoll_create = EpollCreate,
      .epoll_ctl = EpollCtl,
      .epoll_wait = EpollWait,
      .pipe = MakePipe,
      .splice = SpliceFiles,
  };
}
