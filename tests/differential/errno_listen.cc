// The calls of a listener as an embedder makes them (Shard, PassiveOpen): listen(), accept() and
// the options. The kernel's socket gets the same by bind(), listen(), setsockopt().
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <climits>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/differential/errno_table.h"

namespace usher::differential {
namespace {

constexpr uint16_t kPort = 8080;

// What a listener is asked for, of either side. Usher's addresses are its interface's; to the
// kernel they are loopback's.
struct Name {
  const char* text;
  IpAddress address;
  IpAddress kernels;  // the same to the kernel
  bool v6_only = false;
};
Name Same(const char* text, bool v6_only = false) {
  const IpAddress address = *IpAddress::Parse(text);
  return {text, address, address, v6_only};
}
const Name kAny4 = Same("0.0.0.0");
const Name kAny6 = Same("::");
const Name kOurs4 = {"our IPv4", *IpAddress::Parse("198.18.0.2"), *IpAddress::Parse("127.0.0.1")};
const Name kOurs6 = {"our IPv6", *IpAddress::Parse("2001:2::2"), *IpAddress::Parse("::1")};
const Name kAny6Only = {":: (IPV6_V6ONLY)", IpAddress(), IpAddress(), true};
const Name kOurs6Only = {"our IPv6 (IPV6_V6ONLY)", kOurs6.address, kOurs6.kernels, true};
const Name kNames[] = {kAny4, kOurs4, kAny6, kOurs6, kAny6Only, kOurs6Only};

// ---- The kernel ----

// A socket for one row.
class Socket {
 public:
  explicit Socket(const Name& name, bool reuseport = false, bool reuseaddr = false)
      : name_(name),
        fd_(socket(name.kernels.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    Set(SOL_SOCKET, SO_REUSEPORT, reuseport ? 1 : 0);
    Set(SOL_SOCKET, SO_REUSEADDR, reuseaddr ? 1 : 0);
    if (!name.kernels.is_v4()) Set(IPPROTO_IPV6, IPV6_V6ONLY, name.v6_only ? 1 : 0);
  }
  ~Socket() { Close(); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int Listen(uint16_t port, int backlog) const {
    const int error = Bind(port);
    return error != 0 ? error : ListenAgain(backlog);
  }
  int ListenAgain(int backlog) const { return ErrnoOf(listen(fd_, backlog)); }
  int Set(int level, int option, int value) const {
    return ErrnoOf(setsockopt(fd_, level, option, &value, sizeof value));
  }
  std::string Get(int option) const {
    int value = 0;
    socklen_t size = sizeof value;
    const int error = ErrnoOf(getsockopt(fd_, IPPROTO_TCP, option, &value, &size));
    return error == 0 ? absl::StrCat(value) : absl::StrCat("errno ", error);
  }
  int Accept() const { return ErrnoOf(accept(fd_, nullptr, nullptr)); }
  int Close() const { return ErrnoOf(close(fd_)); }

 private:
  int Bind(uint16_t port) const {
    if (name_.kernels.is_v4()) {
      sockaddr_in a = {};
      a.sin_family = AF_INET;
      a.sin_port = htons(port);
      a.sin_addr.s_addr = htonl(name_.kernels.v4());
      return ErrnoOf(bind(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a));
    }
    sockaddr_in6 a = {};
    a.sin6_family = AF_INET6;
    a.sin6_port = htons(port);
    if (name_.kernels.is_link_local()) a.sin6_scope_id = if_nametoindex("lo");
    StoreIpv6(a.sin6_addr.s6_addr, name_.kernels);
    return ErrnoOf(bind(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a));
  }

  const Name name_;
  const int fd_;
};

// ---- usher ----

struct Quiet final : Application {
  void OnClosed(Connection, Error) override {}
};

class Usher {
 public:
  Usher() : pool_(256), port_(pool_, MacAddress{{2, 0, 0, 0, 0, 1}}), random_(1) {
    StackOptions options;
    options.max_connections = 16;
    options.passive_open.default_model = ListenModel::kLinux;
    InterfaceConfig config;
    config.addresses = {{kOurs4.address, 15}, {kOurs6.address, 48}};
    config.dad_transmits = 0;
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port_, config}}};
    stack_ = *Stack::Create(options, interfaces, random_);
    stack_->Start(0, Instant::FromNanos(1'000'000'000));
  }
  Shard& shard() { return stack_->shard(0); }
  PassiveOpen& passive() { return shard().passive_open(); }

  int Listen(const Name& name, uint16_t port, int backlog, Handle* handle, bool reuseport = false) {
    ListenSpec spec;
    spec.address = name.address;
    spec.v6_only = name.v6_only;
    spec.port = port;
    spec.backlog = backlog;
    spec.reuseport = reuseport;
    return ToErrno(shard().Listen(spec, handle, &application_));
  }
  int Accept(Handle listener) {
    Handle child;
    return ToErrno(shard().Accept(listener, &child));
  }
  int Close(Handle listener) { return ToErrno(shard().CloseListener(listener)); }
  void Set(const std::string& name, const std::string& value) {
    Sysctls sysctls = shard().sysctls();
    if (SetSysctl(sysctls, name, value).ok()) shard().ApplySysctls(sysctls);
  }

 private:
  HeapPool pool_;
  MemoryPort port_;
  SeededRandom random_;
  Quiet application_;
  std::unique_ptr<Stack> stack_;
};

// ---- The rows ----

void Listening(Table& table, Usher& usher, const Name& name) {
  for (const int backlog : {0, 1, -1, INT_MIN, INT_MAX}) {
    const std::string call = absl::StrCat("listen(", backlog, ") on ", name.text);
    Handle handle;
    table.Row(call, Socket(name).Listen(kPort, backlog),
              usher.Listen(name, kPort, backlog, &handle));
    const Socket again(name);
    again.Listen(kPort, 5);
    table.Row(absl::StrCat(call, ", again"), again.ListenAgain(backlog),
              ToErrno(usher.passive().SetBacklog(handle, backlog)));
    usher.Close(handle);
  }
}

// Addresses that are not an interface's.
void Foreign(Table& table, Usher& usher) {
  const auto bad = [&](const Name& foreign) {
    Handle handle;
    table.Row(absl::StrCat("listen() on ", foreign.text), Socket(foreign).Listen(kPort, 5),
              usher.Listen(foreign, kPort, 5, &handle));
    usher.Close(handle);
  };
  for (const char* foreign : {"192.0.2.1", "2001:db8::1", "fe80::1234", "224.0.0.1",
                              "255.255.255.255", "ff02::1", "0.0.0.1", "240.0.0.1"})
    bad(Same(foreign));
  bad({"our subnet's broadcast", *IpAddress::Parse("198.19.255.255"),
       *IpAddress::Parse("127.255.255.255")});
}

// Every pair of names at one port, with SO_REUSEPORT on neither, one, the other, both; what
// SO_REUSEADDR says must not matter between listeners.
void Pairs(Table& table, Usher& usher) {
  for (const Name& first : kNames)
    for (const Name& second : kNames)
      for (int reuse = 0; reuse < 8; ++reuse) {
        const bool port1 = (reuse & 1) != 0, port2 = (reuse & 2) != 0, addr = (reuse & 4) != 0;
        const Socket a(first, port1, addr), b(second, port2, addr);
        a.Listen(kPort, 5);
        const int kernel = b.Listen(kPort, 5);
        Handle ha, hb;
        usher.Listen(first, kPort, 5, &ha, port1);
        const int ours = usher.Listen(second, kPort, 5, &hb, port2);
        table.Row(absl::StrCat(first.text, port1 ? " SO_REUSEPORT" : "", ", then ", second.text,
                               port2 ? " SO_REUSEPORT" : "", addr ? ", both SO_REUSEADDR" : ""),
                  kernel, ours);
        usher.Close(ha);
        usher.Close(hb);
      }
}

void Ports(Table& table, Usher& usher) {
  constexpr char kRange[] = "net.ipv4.ip_local_port_range";
  for (const Name& name : kNames) {
    const Socket first(name), other(name), third(name), ephemeral(name);
    Handle h[4];
    first.Listen(kPort, 5);
    usher.Listen(name, kPort, 5, &h[0]);
    table.Row(absl::StrCat("another port, ", name.text), other.Listen(kPort + 1, 5),
              usher.Listen(name, kPort + 1, 5, &h[1]));
    table.Row(absl::StrCat("an ephemeral port, ", name.text), third.Listen(0, 5),
              usher.Listen(name, 0, 5, &h[2]));
    // A range of one port, which is taken.
    const std::string before = ReadSysctl(kRange);
    WriteSysctl(kRange, "8080 8080");
    usher.Set(kRange, "8080 8080");
    table.Row(absl::StrCat("an ephemeral port where none is left, ", name.text),
              ephemeral.Listen(0, 5), usher.Listen(name, 0, 5, &h[3]));
    WriteSysctl(kRange, before);
    usher.Set(kRange, before);
    for (const Handle& handle : h) usher.Close(handle);
  }
}

void Accepting(Table& table, Usher& usher, const Name& name) {
  const Socket s(name);
  s.Listen(kPort, 5);
  Handle handle;
  usher.Listen(name, kPort, 5, &handle);
  const auto row = [&](const char* call, int kernel, int ours) {
    table.Row(absl::StrCat(call, ", ", name.text), kernel, ours);
  };
  row("accept() of an empty queue", s.Accept(), usher.Accept(handle));
  row("close()", s.Close(), usher.Close(handle));
  row("accept() of a closed listener", s.Accept(), usher.Accept(handle));
  row("listen() of a closed listener", s.ListenAgain(5),
      ToErrno(usher.passive().SetBacklog(handle, 5)));
  row("setsockopt() of a closed listener", s.Set(IPPROTO_TCP, TCP_SYNCNT, 5),
      ToErrno(usher.passive().SetSynCount(handle, 5)));
  row("close() of a closed listener", s.Close(), usher.Close(handle));
}

void Options(Table& table, Usher& usher, const Name& name) {
  const auto set = [&](const char* text, int option, int value, const auto& act, const auto& get) {
    const Socket s(name);
    s.Listen(kPort, 5);
    Handle handle;
    usher.Listen(name, kPort, 5, &handle);
    const int kernel = s.Set(IPPROTO_TCP, option, value);
    const int ours = ToErrno(act(usher.passive(), handle));
    const bool both = kernel == 0 && ours == 0;
    table.Row(absl::StrCat("setsockopt(", text, ", ", value, ") on ", name.text), kernel, ours,
              both ? s.Get(option) : "",
              both ? absl::StrCat(get(*usher.passive().Get(handle))) : "");
    usher.Close(handle);
  };
  for (const int value : {-1, 0, 1, 126, 127, 128, 255, 256, 257, INT_MAX, INT_MIN})
    set(
        "TCP_SYNCNT", TCP_SYNCNT, value,
        [&](PassiveOpen& p, Handle h) { return p.SetSynCount(h, value); },
        [](const Listener& l) { return int{l.spec.syncnt}; });
  for (const int value : {0, 1, 2, 3, 4, 63, 64, 127, 128, 247, 248, 100000, INT_MAX})
    set(
        "TCP_DEFER_ACCEPT", TCP_DEFER_ACCEPT, value,
        [&](PassiveOpen& p, Handle h) { return p.SetDeferAccept(h, static_cast<uint32_t>(value)); },
        [](const Listener& l) { return DeferAcceptSeconds(l.defer_accept_retries); });
  for (const int value : {-1, 0, 1, 4095, 4096, 4097, INT_MAX, INT_MIN})
    set(
        "TCP_FASTOPEN", TCP_FASTOPEN, value,
        [&](PassiveOpen& p, Handle h) { return p.SetFastOpen(h, value); },
        [](const Listener& l) { return l.fast_open_whole; });
}

}  // namespace

void ListenRows(Table& table) {
  Usher usher;
  Foreign(table, usher);
  Pairs(table, usher);
  Ports(table, usher);
  for (const Name& name : kNames) {
    Listening(table, usher, name);
    Accepting(table, usher, name);
    Options(table, usher, name);
  }
}

}  // namespace usher::differential
