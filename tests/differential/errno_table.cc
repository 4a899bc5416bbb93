// errno-table: bad and border calls of listen(), accept(), setsockopt() and sysctl, made to the
// live kernel and to usher; the same errno must come back. See README.md.
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/differential/known.h"

namespace usher::differential {
namespace {

constexpr int kSkipped = 77;
constexpr uint16_t kPort = 8080;
const IpAddress kAny = IpAddress::V4(0);
const IpAddress kOurs = IpAddress::V4(0xc6120002);  // usher's; to the kernel that is loopback
const IpAddress kLoopback = IpAddress::V4(0x7f000001);
const IpAddress kForeign = IpAddress::V4(0xc0000201);

// ---- The kernel ----

int Result(int r) { return r < 0 ? errno : 0; }

int Bind(int fd, const IpAddress& address, uint16_t port) {
  sockaddr_in a = {};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(address == kOurs ? kLoopback.v4() : address.v4());
  return Result(bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a));
}

// A socket for one row.
struct Socket {
  Socket() : fd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {}
  ~Socket() { close(fd); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int Listen(const IpAddress& address, uint16_t port, int backlog) const {
    const int error = Bind(fd, address, port);
    return error != 0 ? error : Result(listen(fd, backlog));
  }
  int Set(int option, int value) const {
    return Result(setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value));
  }
  int Accept() const {
    const int child = accept(fd, nullptr, nullptr);
    return Result(child);
  }
  const int fd;
};

int WriteSysctl(const std::string& name, const std::string& value) {
  std::string path = "/proc/sys/" + name;
  std::replace(path.begin() + 10, path.end(), '.', '/');
  const int fd = open(path.c_str(), O_WRONLY);
  if (fd < 0) return errno;
  const int error = Result(static_cast<int>(write(fd, value.data(), value.size())));
  close(fd);
  return error;
}

bool LoopbackUp() {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq r = {};
  std::strcpy(r.ifr_name, "lo");
  r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  const bool ok = ioctl(fd, SIOCSIFFLAGS, &r) == 0;
  close(fd);
  return ok;
}

// ---- usher ----

struct Quiet final : Application {
  void OnClosed(Connection, Error) override {}
};

class Usher {
 public:
  Usher() : pool_(256), port_(pool_, MacAddress{{2, 0, 0, 0, 0, 1}}), random_(1) {
    StackOptions options;
    options.max_connections = 16;
    InterfaceConfig config;
    config.addresses = {{kOurs, 15}};
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port_, config}}};
    stack_ = *Stack::Create(options, interfaces, random_);
    stack_->Start(0, Instant::FromNanos(1'000'000'000));
  }
  Shard& shard() { return stack_->shard(0); }

  int Listen(const IpAddress& address, uint16_t port, int backlog, Handle* handle) {
    ListenSpec spec;
    spec.address = address;
    spec.port = port;
    spec.backlog = backlog;
    return ToErrno(shard().Listen(spec, handle, &application_));
  }
  // A listener for one row; `act` is done to it.
  int With(const std::function<Error(PassiveOpen&, Handle)>& act) {
    Handle handle;
    if (const int error = Listen(kAny, kPort, 5, &handle); error != 0) return error;
    const Error error = act(shard().passive_open(), handle);
    shard().CloseListener(handle);
    return ToErrno(error);
  }
  int Accept(Handle listener) {
    Handle child;
    return ToErrno(shard().Accept(listener, &child));
  }
  static int SetSysctl(const std::string& name, const std::string& value) {
    Sysctls sysctls;
    const absl::Status status = usher::SetSysctl(sysctls, name, value);
    if (status.ok()) return 0;
    return absl::IsNotFound(status) ? ENOENT : EINVAL;
  }

 private:
  HeapPool pool_;
  MemoryPort port_;
  SeededRandom random_;
  Quiet application_;
  std::unique_ptr<Stack> stack_;
};

// ---- The table ----

class Table {
 public:
  void Row(const std::string& call, int kernel, int usher) {
    const bool same = kernel == usher;
    const bool known = !same && IsKnown(absl::StrCat("errno of ", call));
    ++(same ? same_ : known ? known_ : different_);
    std::printf("%-9s %-62s kernel %s, usher %s\n",
                same    ? "same"
                : known ? "known"
                        : "DIFFERENT",
                call.c_str(), Name(kernel), Name(usher));
  }
  int Finish() const {
    std::printf("%d calls: %d the same, %d known to differ, %d different\n",
                same_ + known_ + different_, same_, known_, different_);
    return different_ == 0 && same_ != 0 ? 0 : 1;
  }

 private:
  static const char* Name(int error) { return error == 0 ? "0" : strerrorname_np(error); }
  int same_ = 0, known_ = 0, different_ = 0;
};

void Listening(Table& table, Usher& usher) {
  for (const int backlog : {0, 1, -1, INT_MIN, INT_MAX}) {
    Handle handle;
    table.Row(absl::StrCat("listen(", backlog, ")"), Socket().Listen(kAny, kPort, backlog),
              usher.Listen(kAny, kPort, backlog, &handle));
    usher.shard().CloseListener(handle);
  }
  const auto two = [&](const char* what, const IpAddress& first, const IpAddress& second,
                       uint16_t second_port) {
    const Socket a, b;
    a.Listen(first, kPort, 5);
    Handle ha, hb;
    usher.Listen(first, kPort, 5, &ha);
    table.Row(what, b.Listen(second, second_port, 5), usher.Listen(second, second_port, 5, &hb));
    usher.shard().CloseListener(ha);
    usher.shard().CloseListener(hb);
  };
  two("a second listener of the same address and port", kOurs, kOurs, kPort);
  two("a second listener, any address, the same port", kOurs, kAny, kPort);
  two("a second listener, one address, the same port", kAny, kOurs, kPort);
  two("a second listener of another port", kAny, kAny, kPort + 1);
  two("a second listener of an ephemeral port", kAny, kAny, 0);
  Handle handle;
  table.Row("a listener of a foreign address", Socket().Listen(kForeign, kPort, 5),
            usher.Listen(kForeign, kPort, 5, &handle));

  const auto again = [&](int backlog) {
    const Socket s;
    s.Listen(kAny, kPort, 5);
    table.Row(absl::StrCat("listen(", backlog, ") again"), Result(listen(s.fd, backlog)),
              usher.With([&](PassiveOpen& p, Handle h) { return p.SetBacklog(h, backlog); }));
  };
  for (const int backlog : {0, 100, -5, INT_MIN, INT_MAX}) again(backlog);
}

void Accepting(Table& table, Usher& usher) {
  const Socket s;
  s.Listen(kAny, kPort, 5);
  Handle handle;
  usher.Listen(kAny, kPort, 5, &handle);
  table.Row("accept() of an empty queue", s.Accept(), usher.Accept(handle));
  close(s.fd);
  usher.shard().CloseListener(handle);
  table.Row("accept() of a closed listener", s.Accept(), usher.Accept(handle));
  table.Row("listen() of a closed listener", Result(listen(s.fd, 5)),
            ToErrno(usher.shard().passive_open().SetBacklog(handle, 5)));
  table.Row("close() of a closed listener", Result(close(s.fd)),
            ToErrno(usher.shard().CloseListener(handle)));
}

void Options(Table& table, Usher& usher) {
  const auto set = [&](const char* name, int option, int value,
                       const std::function<Error(PassiveOpen&, Handle)>& act) {
    const Socket s;
    s.Listen(kAny, kPort, 5);
    table.Row(absl::StrCat("setsockopt(", name, ", ", value, ")"), s.Set(option, value),
              usher.With(act));
  };
  for (const int value : {-1, 0, 1, 127, 128, 255, 256, INT_MAX, INT_MIN})
    set("TCP_SYNCNT", TCP_SYNCNT, value,
        [&](PassiveOpen& p, Handle h) { return p.SetSynCount(h, value); });
  for (const int value : {0, 1, 63, 100000, INT_MAX})
    set("TCP_DEFER_ACCEPT", TCP_DEFER_ACCEPT, value, [&](PassiveOpen& p, Handle h) {
      return p.SetDeferAccept(h, static_cast<uint32_t>(value));
    });
  for (const int value : {-1, 0, 1, 4096, INT_MAX, INT_MIN})
    set("TCP_FASTOPEN", TCP_FASTOPEN, value,
        [&](PassiveOpen& p, Handle h) { return p.SetFastOpen(h, value); });
}

void Settings(Table& table) {
  constexpr const char* kNames[] = {"net.core.somaxconn",
                                    "net.ipv4.tcp_max_syn_backlog",
                                    "net.ipv4.tcp_syncookies",
                                    "net.ipv4.tcp_synack_retries",
                                    "net.ipv4.tcp_abort_on_overflow",
                                    "net.ipv4.tcp_timestamps",
                                    "net.ipv4.tcp_window_scaling",
                                    "net.ipv4.tcp_sack",
                                    "net.ipv4.tcp_rfc1337",
                                    "net.ipv4.tcp_migrate_req",
                                    "net.ipv4.tcp_fin_timeout",
                                    "net.ipv4.tcp_max_tw_buckets"};
  for (const std::string name : kNames)
    for (const char* value : {"0", "1", "2", "-1", "255", "256", "many", "2147483648"})
      table.Row(absl::StrCat(name, " = \"", value, "\""), WriteSysctl(name, value),
                Usher::SetSysctl(name, value));
  table.Row("net.ipv4.tcp_no_such = \"1\"", WriteSysctl("net.ipv4.tcp_no_such", "1"),
            Usher::SetSysctl("net.ipv4.tcp_no_such", "1"));
}

int Main() {
  if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || !LoopbackUp()) {
    std::puts("skipped: a network namespace needs root");
    return kSkipped;
  }
  Table table;
  Usher usher;
  Listening(table, usher);
  Accepting(table, usher);
  Options(table, usher);
  Settings(table);
  return table.Finish();
}

}  // namespace
}  // namespace usher::differential

int main() { return usher::differential::Main(); }
