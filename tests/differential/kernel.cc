// The live kernel as a subject: a network namespace of this process with a TUN device whose user
// side is the clients. A packet written to it is processed before write() returns, so what it
// causes can be read at once.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/differential/subject.h"

namespace usher::differential {
namespace {

constexpr char kDevice[] = "tun0";

void Check(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "listen-differential: %s: %s\n", what.c_str(), std::strerror(errno));
  std::_Exit(3);
}

std::string PathOf(const std::string& sysctl) {
  std::string path = "/proc/sys/" + sysctl;
  std::replace(path.begin() + 10, path.end(), '.', '/');
  return path;
}

void WriteSysctl(const std::string& name, const std::string& value) {
  const int fd = open(PathOf(name).c_str(), O_WRONLY);
  Check(fd >= 0, name);
  Check(write(fd, value.data(), value.size()) == static_cast<ssize_t>(value.size()),
        absl::StrCat(name, " = ", value));
  close(fd);
}

// Whole of a small file of /proc.
std::string Slurp(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY);
  Check(fd >= 0, path);
  std::string text;
  char buffer[16384];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(n));
  close(fd);
  return text;
}

double NowMs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

sockaddr_storage SockAddress(const IpAddress& address, uint16_t port, socklen_t* size) {
  sockaddr_storage storage = {};
  if (address.is_v4()) {
    auto* a = reinterpret_cast<sockaddr_in*>(&storage);
    a->sin_family = AF_INET;
    a->sin_port = htons(port);
    a->sin_addr.s_addr = htonl(address.v4());
    *size = sizeof *a;
  } else {
    auto* a = reinterpret_cast<sockaddr_in6*>(&storage);
    a->sin6_family = AF_INET6;
    a->sin6_port = htons(port);
    std::memcpy(&a->sin6_addr, address.bytes().data(), 16);
    *size = sizeof *a;
  }
  return storage;
}

class Kernel final : public Subject {
 public:
  Kernel(const Schedule& schedule, Beginning* beginning) : ipv6_(schedule.ipv6) {
    Check(unshare(CLONE_NEWNET) == 0, "a network namespace");
    for (const char* name : {"all", "default"}) {
      WriteSysctl(absl::StrCat("net.ipv6.conf.", name, ".disable_ipv6"), ipv6_ ? "0" : "1");
      WriteSysctl(absl::StrCat("net.ipv4.conf.", name, ".rp_filter"), "0");
    }
    // What earlier connections taught about a peer must not colour later ones.
    WriteSysctl("net.ipv4.tcp_no_metrics_save", "1");
    WriteSysctl("net.ipv4.tcp_ecn", "0");
    WriteSysctl(kFastOpenKeySysctl, kFastOpenKeys[0]);
    // Acknowledgments held back for a millisecond are a matter of the machine's speed.
    WriteSysctl("net.ipv4.tcp_comp_sack_nr", "0");
    OpenDevice();
    for (const char* name : kSharedSysctls) {
      std::string value = Slurp(PathOf(name));
      while (!value.empty() && value.back() == '\n') value.pop_back();
      beginning->sysctls[name] = value;
    }
    TakeSent();
    started_ms_ = NowMs();
    beginning->clock_ns = static_cast<int64_t>(started_ms_ * 1e6);
  }

  void SetSysctl(const std::string& name, const std::string& value) override {
    WriteSysctl(name, value);
  }

  int Listen(const Step& step) override {
    const int fd = socket(ipv6_ ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    Check(fd >= 0, "socket");
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const int defer = static_cast<int>(step.defer_s);
    const int count = step.syncnt;
    if (step.reuseport) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (defer != 0) setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof defer);
    if (count != 0) setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &count, sizeof count);
    if (step.save_syn) setsockopt(fd, IPPROTO_TCP, TCP_SAVE_SYN, &on, sizeof on);
    if (step.fastopen_qlen >= 0)
      setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &step.fastopen_qlen, sizeof step.fastopen_qlen);
    socklen_t size;
    const sockaddr_storage any =
        SockAddress(ipv6_ ? IpAddress() : IpAddress::V4(0), kServerPort, &size);
    int error = 0;
    if (bind(fd, reinterpret_cast<const sockaddr*>(&any), size) != 0 ||
        listen(fd, step.backlog) != 0)
      error = errno;
    if (error != 0)
      close(fd);
    else
      listeners_.push_back(fd);
    return error;
  }
  int SetBacklog(int backlog) override {
    return listen(listeners_.front(), backlog) == 0 ? 0 : errno;
  }
  int CloseListener() override {
    const int fd = listeners_.front();
    listeners_.pop_front();
    return close(fd) == 0 ? 0 : errno;
  }
  void RotateListeners() override {
    listeners_.push_back(listeners_.front());
    listeners_.pop_front();
  }

  int Accept(uint8_t* client) override {
    sockaddr_storage peer = {};
    socklen_t size = sizeof peer;
    const int fd =
        accept4(listeners_.front(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK);
    if (fd < 0) return errno;
    const IpAddress address =
        ipv6_ ? LoadIpv6(reinterpret_cast<sockaddr_in6*>(&peer)->sin6_addr.s6_addr)
              : IpAddress::V4(ntohl(reinterpret_cast<sockaddr_in*>(&peer)->sin_addr.s_addr));
    const auto c = ClientOf(address, ntohs(reinterpret_cast<sockaddr_in*>(&peer)->sin_port));
    Check(c.has_value(), "accept returned a stranger");
    *client = *c;
    connections_[*c] = fd;  // an older one stays open, and out of reach
    return 0;
  }
  Bytes SavedSyn(uint8_t client) override {
    Bytes headers(1000);
    auto size = static_cast<socklen_t>(headers.size());
    Check(getsockopt(Of(client), IPPROTO_TCP, TCP_SAVED_SYN, headers.data(), &size) == 0,
          "TCP_SAVED_SYN");
    headers.resize(size);
    return headers;
  }
  int Read(uint8_t client, Bytes* bytes) override {
    const int fd = Of(client);
    if (fd < 0) return ENOENT;
    bytes->resize(100'000);
    const ssize_t n = recv(fd, bytes->data(), bytes->size(), 0);
    bytes->resize(n > 0 ? static_cast<size_t>(n) : 0);
    return n < 0 ? errno : 0;
  }
  int Write(uint8_t client, uint32_t bytes) override {
    const int fd = Of(client);
    if (fd < 0) return ENOENT;
    const Bytes data(bytes, 'x');
    return send(fd, data.data(), data.size(), MSG_NOSIGNAL) < 0 ? errno : 0;
  }
  int Shutdown(uint8_t client) override {
    const int fd = Of(client);
    if (fd < 0) return ENOENT;
    return shutdown(fd, SHUT_WR) != 0 ? errno : 0;
  }
  int Close(uint8_t client) override {
    const int fd = Of(client);
    if (fd < 0) return ENOENT;
    connections_.erase(client);
    return close(fd) != 0 ? errno : 0;
  }

  void Inject(const Bytes& packet) override {
    Check(write(tun_, packet.data(), packet.size()) == static_cast<ssize_t>(packet.size()),
          "write to TUN");
    Drain();
  }
  std::vector<SentPacket> TakeSent() override {
    Drain();
    return std::exchange(sent_, {});
  }
  void SleepUntil(double ms) override {
    for (;;) {
      Drain();
      const double left = started_ms_ + ms - NowMs();
      if (left <= 0) return;
      timespec t;
      t.tv_sec = static_cast<time_t>(left / 1e3);
      t.tv_nsec = static_cast<long>((left - static_cast<double>(t.tv_sec) * 1e3) * 1e6);
      pollfd p = {tun_, POLLIN, 0};
      ppoll(&p, 1, &t, nullptr);
    }
  }
  double LateBy(double ms) override { return NowMs() - started_ms_ - ms; }

  SocketTable Sockets() override {
    SocketTable table;
    for (const int fd : listeners_) {
      tcp_info info;
      socklen_t size = sizeof info;
      Check(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0, "TCP_INFO");
      table.listening = true;
      table.accept_queue += info.tcpi_unacked;
      table.accept_limit += info.tcpi_sacked;
    }
    ReadTcpTable(&table);
    std::sort(table.rows.begin(), table.rows.end());
    return table;
  }

  CounterValues Counters() override {
    CounterValues values;
    for (const char* path : {"/proc/net/snmp", "/proc/net/netstat"}) {
      const std::vector<std::string> lines = absl::StrSplit(Slurp(path), '\n');
      for (size_t i = 0; i + 1 < lines.size(); i += 2) {
        const std::vector<std::string> names = absl::StrSplit(lines[i], ' ');
        const std::vector<std::string> numbers = absl::StrSplit(lines[i + 1], ' ');
        if (names[0] != "Tcp:" && names[0] != "TcpExt:") continue;
        const std::string prefix = names[0].substr(0, names[0].size() - 1);
        for (size_t k = 1; k < names.size() && k < numbers.size(); ++k)
          values[prefix + names[k]] = std::strtoull(numbers[k].c_str(), nullptr, 10);
      }
    }
    return values;
  }

 private:
  int Of(uint8_t client) const {
    const auto i = connections_.find(client);
    return i == connections_.end() ? -1 : i->second;
  }

  void OpenDevice() {
    tun_ = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    Check(tun_ >= 0, "/dev/net/tun");
    ifreq r = {};
    std::strncpy(r.ifr_name, kDevice, IFNAMSIZ - 1);
    r.ifr_flags = IFF_TUN | IFF_NO_PI;
    Check(ioctl(tun_, TUNSETIFF, &r) == 0, "TUNSETIFF");
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    auto* address = reinterpret_cast<sockaddr_in*>(&r.ifr_addr);
    *address = {};
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(ServerAddress(false).v4());
    Check(ioctl(fd, SIOCSIFADDR, &r) == 0, "SIOCSIFADDR");
    address->sin_addr.s_addr = htonl(0xfffe0000);
    Check(ioctl(fd, SIOCSIFNETMASK, &r) == 0, "SIOCSIFNETMASK");
    r.ifr_qlen = 4000;
    Check(ioctl(fd, SIOCSIFTXQLEN, &r) == 0, "SIOCSIFTXQLEN");
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    Check(ioctl(fd, SIOCSIFFLAGS, &r) == 0, "SIOCSIFFLAGS");
    close(fd);
    SegmentInTcp();
    if (ipv6_) AddIpv6Address();
  }
  // One segment to a socket buffer: segmentation by the device puts PSH on the last of each bundle.
  void SegmentInTcp() {
    struct {
      nlmsghdr header;
      ifinfomsg link;
      rtattr attribute;
      uint32_t segments;
    } request = {};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_NEWLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request.link.ifi_index = static_cast<int>(if_nametoindex(kDevice));
    request.attribute.rta_len = RTA_LENGTH(sizeof request.segments);
    request.attribute.rta_type = IFLA_GSO_MAX_SEGS;
    request.segments = 1;
    struct {
      nlmsghdr header;
      nlmsgerr error;
    } reply = {};
    const int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    Check(send(fd, &request, sizeof request, 0) == sizeof request, "RTM_NEWLINK");
    Check(recv(fd, &reply, sizeof reply, 0) > 0, "answer to RTM_NEWLINK");
    errno = -reply.error.error;
    Check(reply.error.error == 0, "IFLA_GSO_MAX_SEGS");
    close(fd);
  }
  void AddIpv6Address() {
    struct {
      in6_addr address;
      uint32_t prefix_length;
      int index;
    } request = {};
    std::memcpy(&request.address, ServerAddress(true).bytes().data(), 16);
    request.prefix_length = 48;
    request.index = static_cast<int>(if_nametoindex(kDevice));
    const int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    WriteSysctl(absl::StrCat("net.ipv6.conf.", kDevice, ".accept_dad"), "0");
    Check(ioctl(fd, SIOCSIFADDR, &request) == 0, "IPv6 address");
    close(fd);
    // Ready once its flags lack IFA_F_TENTATIVE; a worker of the kernel sees to that.
    constexpr unsigned kTentative = 0x40;
    for (;;) {
      const std::string table = Slurp("/proc/net/if_inet6");
      const size_t row = table.find("20010002");
      unsigned flags = kTentative;
      if (row != std::string::npos) std::sscanf(table.c_str() + row, "%*s %*x %*x %*x %x", &flags);
      if ((flags & kTentative) == 0) return;
      usleep(1000);
    }
  }

  void Drain() {
    uint8_t buffer[65536];
    ssize_t n;
    while ((n = read(tun_, buffer, sizeof buffer)) > 0) {
      const bool tcp = ipv6_ ? buffer[0] >> 4 == 6 && buffer[6] == IPPROTO_TCP
                             : buffer[0] >> 4 == 4 && buffer[9] == IPPROTO_TCP;
      if (tcp) sent_.push_back({NowMs() - started_ms_, Bytes(buffer, buffer + n)});
    }
  }

  // /proc/net/tcp: address:port in host order of 32-bit words, state, queues, timer, timeouts.
  void ReadTcpTable(SocketTable* table) {
    static constexpr const char* kStates[] = {
        "?",      "ESTAB",      "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2",  "TIME-WAIT",
        "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN",   "CLOSING",    "NEW-SYN-RECV"};
    const std::vector<std::string> lines =
        absl::StrSplit(Slurp(ipv6_ ? "/proc/net/tcp6" : "/proc/net/tcp"), '\n');
    for (size_t i = 1; i < lines.size(); ++i) {
      const std::vector<std::string> f = absl::StrSplit(lines[i], ' ', absl::SkipEmpty());
      if (f.size() < 11) continue;
      const size_t colon = f[2].rfind(':');
      const auto port = static_cast<uint16_t>(std::strtoul(f[2].c_str() + colon + 1, nullptr, 16));
      const auto state = std::strtoul(f[3].c_str(), nullptr, 16);
      if (state == 10 || state > 12) continue;
      if (port < ClientPort(0) || port >= ClientPort(kMaxClients)) continue;
      std::string row = absl::StrCat("c", port - ClientPort(0), " ", kStates[state]);
      // A Fast Open child is a socket, which somebody refers to; a request is none.
      const bool request = state == 3 && f[10] == "0";
      if (request)
        absl::StrAppend(&row, " timeouts ", std::strtoul(f[6].c_str(), nullptr, 16));
      else if (state != 6)
        absl::StrAppend(&row, " recv-q ",
                        std::strtoul(f[4].c_str() + f[4].find(':') + 1, nullptr, 16));
      table->rows.push_back(row);
    }
  }

  const bool ipv6_;
  int tun_ = -1;
  std::deque<int> listeners_;
  double started_ms_ = 0;
  std::map<uint8_t, int> connections_;
  std::vector<SentPacket> sent_;
};

}  // namespace

std::unique_ptr<Subject> MakeKernel(const Schedule& schedule, Beginning* beginning) {
  return std::make_unique<Kernel>(schedule, beginning);
}

}  // namespace usher::differential
