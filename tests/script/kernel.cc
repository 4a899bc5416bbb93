#include "tests/script/kernel.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>

#include "stack/wire/checksum.h"
#include "stack/wire/ip_protocol.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"

namespace usher::script {
namespace {

int tun = -1;
bool offloads = false;  // of the device

int Fcntl(void*, int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  return ::fcntl(fd, command, argument);
}

int Ioctl(void*, int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  return ::ioctl(fd, request, argument);
}

int NetdevSend(void*, const void* packet, size_t count) {
  return ::write(tun, packet, count) == static_cast<ssize_t>(count) ? 0 : -1;
}

// With offloads the kernel leaves TCP checksums to the device.
void CompleteChecksum(std::span<uint8_t> packet) {
  constexpr size_t kChecksumAt = 16;
  size_t header = 0;
  uint32_t sum = 0;
  if (const auto v4 = Ipv4View::Parse(packet); v4 && v4->protocol() == IpProtocol::kTcp) {
    header = v4->header_size();
    sum = checksum::PseudoHeader(v4->src(), v4->dst(), IpProtocol::kTcp,
                                 static_cast<uint32_t>(packet.size() - header));
  } else if (packet[0] >> 4 == 6 && packet[6] == IpProtocol::kTcp) {
    header = 40;
    const Ipv6View v6 = *Ipv6View::Parse(packet);
    sum = checksum::PseudoHeader(v6.src(), v6.dst(), IpProtocol::kTcp,
                                 static_cast<uint32_t>(packet.size() - header));
  }
  if (header == 0 || packet.size() < header + kChecksumAt + 2) return;
  Store16(&packet[header + kChecksumAt], 0);
  Store16(&packet[header + kChecksumAt],
          checksum::Finish(checksum::Sum(packet.subspan(header), sum)));
}

int NetdevReceive(void*, void* packet, size_t* count, long long* time_usecs) {
  pollfd p{tun, POLLIN, 0};
  if (::poll(&p, 1, 1) != 1) return -1;
  const ssize_t n = ::read(tun, packet, *count);
  if (n <= 0) return -1;
  timeval tv{};
  ::gettimeofday(&tv, nullptr);
  *time_usecs = tv.tv_sec * 1'000'000LL + tv.tv_usec;
  *count = static_cast<size_t>(n);
  if (offloads) CompleteChecksum({static_cast<uint8_t*>(packet), *count});
  return 0;
}

void FillIn(packetdrill_interface* api) {
  api->free = [](void*) {
    ::close(tun);
    tun = -1;
  };
  // The host's default algorithm may be another, and a namespace may not be allowed ours.
  api->socket = [](void*, int a, int b, int c) {
    const int fd = ::socket(a, b, c);
    if (fd >= 0) ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    return fd;
  };
  api->bind = [](void*, int fd, const sockaddr* a, socklen_t n) { return ::bind(fd, a, n); };
  api->listen = [](void*, int fd, int n) { return ::listen(fd, n); };
  api->accept = [](void*, int fd, sockaddr* a, socklen_t* n) { return ::accept(fd, a, n); };
  api->connect = [](void*, int fd, const sockaddr* a, socklen_t n) { return ::connect(fd, a, n); };
  api->read = [](void*, int fd, void* b, size_t n) { return ::read(fd, b, n); };
  api->readv = [](void*, int fd, const iovec* v, int n) { return ::readv(fd, v, n); };
  api->recv = [](void*, int fd, void* b, size_t n, int f) { return ::recv(fd, b, n, f); };
  api->recvfrom = [](void*, int fd, void* b, size_t n, int f, sockaddr* a, socklen_t* l) {
    return ::recvfrom(fd, b, n, f, a, l);
  };
  api->recvmsg = [](void*, int fd, msghdr* m, int f) { return ::recvmsg(fd, m, f); };
  api->write = [](void*, int fd, const void* b, size_t n) { return ::write(fd, b, n); };
  api->writev = [](void*, int fd, const iovec* v, int n) { return ::writev(fd, v, n); };
  api->send = [](void*, int fd, const void* b, size_t n, int f) { return ::send(fd, b, n, f); };
  api->sendto = [](void*, int fd, const void* b, size_t n, int f, const sockaddr* a, socklen_t l) {
    return ::sendto(fd, b, n, f, a, l);
  };
  api->sendmsg = [](void*, int fd, const msghdr* m, int f) { return ::sendmsg(fd, m, f); };
  api->fcntl = Fcntl;
  api->ioctl = Ioctl;
  api->close = [](void*, int fd) { return ::close(fd); };
  api->shutdown = [](void*, int fd, int how) { return ::shutdown(fd, how); };
  api->getsockopt = [](void*, int fd, int l, int n, void* v, socklen_t* s) {
    return ::getsockopt(fd, l, n, v, s);
  };
  api->setsockopt = [](void*, int fd, int l, int n, const void* v, socklen_t s) {
    return ::setsockopt(fd, l, n, v, s);
  };
  api->poll = [](void*, pollfd* p, nfds_t n, int t) { return ::poll(p, n, t); };
  api->netdev_send = NetdevSend;
  api->netdev_receive = NetdevReceive;
  api->usleep = [](void*, useconds_t us) { return ::usleep(us); };
  api->gettimeofday = [](void*, timeval* tv, struct timezone*) {
    return ::gettimeofday(tv, nullptr);
  };
  api->epoll_create = [](void*, int n) { return ::epoll_create(n); };
  api->epoll_ctl = [](void*, int e, int o, int fd, epoll_event* v) {
    return ::epoll_ctl(e, o, fd, v);
  };
  api->epoll_wait = [](void*, int e, epoll_event* v, int n, int t) {
    return ::epoll_wait(e, v, n, t);
  };
  api->pipe = [](void*, int fds[2]) { return ::pipe(fds); };
  api->splice = [](void*, int i, loff_t* a, int o, loff_t* b, size_t n, unsigned f) {
    return ::splice(i, a, o, b, n, f);
  };
}

bool Set(const std::string& name, const std::string& value) {
  std::string path = name;
  std::replace(path.begin(), path.end(), '.', '/');
  std::ofstream file("/proc/sys/" + path);
  file << value << std::flush;
  return file.good();
}

}  // namespace

bool OpenKernel(const std::map<std::string, std::string>& sysctls, int mtu, bool tso,
                packetdrill_interface* api) {
  *api = {};
  if (unshare(CLONE_NEWNET) != 0 || (tun = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK)) < 0) {
    std::perror("a network namespace with a TUN device");
    return false;
  }
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  std::strncpy(request.ifr_name, "tun0", IFNAMSIZ - 1);
  if (::ioctl(tun, TUNSETIFF, &request) != 0) return false;
  std::signal(SIGPIPE, SIG_IGN);
  offloads = tso;
  constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (tso && ::ioctl(tun, TUNSETOFFLOAD, kOffloads) != 0) {
    std::perror("TUNSETOFFLOAD");
    return false;
  }
  Set("net.ipv6.conf.tun0.router_solicitations", "0");
  for (const auto& [name, value] : sysctls)
    if (!Set(name, value)) std::fprintf(stderr, "# %s cannot be set\n", name.c_str());
  const std::string commands =
      "ip link set lo up && ip link set tun0 mtu " + std::to_string(mtu) +
      " addrgenmode none up && ip addr add 192.168.0.5/24 dev tun0 && "
      "ip -6 addr add fd3d:a0b:17d6::5/64 dev tun0 nodad && "
      "ip route add 192.0.2.0/24 dev tun0 && ip -6 route add 2001:db8::/32 dev tun0";
  if (std::system(commands.c_str()) != 0) return false;  // NOLINT(cert-env33-c)
  FillIn(api);
  return true;
}

}  // namespace usher::script
