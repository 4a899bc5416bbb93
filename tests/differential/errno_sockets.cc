// The calls of a socket as a program makes them: the same ones to the kernel's sockets and to
// usher's (those of the packetdrill adapter, which have the signatures of POSIX).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "stack/wire/ip_protocol.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/tcp.h"
#include "tests/differential/errno_table.h"
#include "tools/packetdrill/interface.h"

namespace usher::differential {
namespace {

// An address as bind() takes it.
struct Address {
  sockaddr_storage storage = {};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Address AddressOf(const IpAddress& ip, uint16_t port) {
  Address a;
  if (ip.is_v4()) {
    sockaddr_in in = {};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(ip.v4());
    std::memcpy(&a.storage, &in, a.length = sizeof in);
  } else {
    sockaddr_in6 in6 = {};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    StoreIpv6(in6.sin6_addr.s6_addr, ip);
    std::memcpy(&a.storage, &in6, a.length = sizeof in6);
  }
  return a;
}

IpAddress Any(int domain) { return domain == AF_INET ? IpAddress::V4(0) : IpAddress(); }

// Whose calls they are. Results as those of the system calls: -1 and errno. One for each row; what
// is open at its end is closed.
class Calls {
 public:
  virtual ~Calls() = default;

  virtual int Socket(int domain, int type, int protocol) = 0;
  virtual int Bind(int fd, const sockaddr* address, socklen_t length) = 0;
  virtual int Listen(int fd, int backlog) = 0;
  virtual int Accept(int fd) = 0;
  virtual int Connect(int fd, const sockaddr* address, socklen_t length) = 0;
  virtual int Shutdown(int fd, int how) = 0;
  virtual int Close(int fd) = 0;
  virtual int Set(int fd, int level, int name, const void* value, socklen_t length) = 0;
  virtual int Get(int fd, int level, int name, void* value, socklen_t* length) = 0;

  virtual IpAddress Ours(int domain) const = 0;
  // Where nobody answers a SYN.
  virtual Address Silent(int domain) = 0;
  // A peer makes a connection to `port` of ours; ends it in order; resets it.
  virtual void PeerConnects(int domain, uint16_t port) = 0;
  virtual void PeerCloses() = 0;
  virtual void PeerResets() = 0;

  // ---- What rows are made of ----
  int New(int domain) { return Socket(domain, SOCK_STREAM | SOCK_NONBLOCK, 0); }
  int Bind(int fd, const IpAddress& ip, uint16_t port) {
    const Address a = AddressOf(ip, port);
    return Bind(fd, a.get(), a.length);
  }
  int SetInt(int fd, int level, int name, int value) {
    return Set(fd, level, name, &value, sizeof value);
  }
  int Listener(int domain, uint16_t port) {
    const int fd = New(domain);
    Bind(fd, Any(domain), port);
    Listen(fd, 5);
    return fd;
  }
  // A connection accepted from `listener`.
  int Accepted(int listener, int domain, uint16_t port) {
    PeerConnects(domain, port);
    return Accept(listener);
  }
};

class Kernel final : public Calls {
 public:
  ~Kernel() override {
    for (const int fd : opened_) close(fd);
  }
  int Socket(int domain, int type, int protocol) override {
    return Keep(socket(domain, type, protocol));
  }
  int Bind(int fd, const sockaddr* address, socklen_t length) override {
    return bind(fd, address, length);
  }
  int Listen(int fd, int backlog) override { return listen(fd, backlog); }
  int Accept(int fd) override { return Keep(accept4(fd, nullptr, nullptr, SOCK_NONBLOCK)); }
  int Connect(int fd, const sockaddr* address, socklen_t length) override {
    return connect(fd, address, length);
  }
  int Shutdown(int fd, int how) override { return shutdown(fd, how); }
  int Close(int fd) override {
    std::erase(opened_, fd);
    return close(fd);
  }
  int Set(int fd, int level, int name, const void* value, socklen_t length) override {
    return setsockopt(fd, level, name, value, length);
  }
  int Get(int fd, int level, int name, void* value, socklen_t* length) override {
    return getsockopt(fd, level, name, value, length);
  }

  IpAddress Ours(int domain) const override {
    return *IpAddress::Parse(domain == AF_INET ? "127.0.0.1" : "::1");
  }
  // A listener whose queue of one is full drops every SYN.
  Address Silent(int domain) override {
    const int fd = New(domain);
    Calls::Bind(fd, Ours(domain), 0);
    listen(fd, 0);
    Address a;
    a.length = sizeof a.storage;
    getsockname(fd, reinterpret_cast<sockaddr*>(&a.storage), &a.length);
    connect(New(domain), a.get(), a.length);
    return a;
  }
  void PeerConnects(int domain, uint16_t port) override {
    peer_ = Keep(socket(domain, SOCK_STREAM, 0));
    const Address a = AddressOf(Ours(domain), port);
    connect(peer_, a.get(), a.length);
  }
  void PeerCloses() override { Close(peer_); }
  void PeerResets() override {
    const linger l{1, 0};
    setsockopt(peer_, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    Close(peer_);
  }

 private:
  int Keep(int fd) {
    if (fd >= 0) opened_.push_back(fd);
    return fd;
  }
  std::vector<int> opened_;
  int peer_ = -1;
};

class Usher final : public Calls {
 public:
  // Settings are those of a new stack: there is no such folder.
  Usher() { packetdrill_interface_init("sysctl_root=/nowhere,still=1", &calls_); }
  ~Usher() override { calls_.free(calls_.userdata); }

  int Socket(int domain, int type, int protocol) override {
    return calls_.socket(calls_.userdata, domain, type, protocol);
  }
  int Bind(int fd, const sockaddr* address, socklen_t length) override {
    return calls_.bind(calls_.userdata, fd, address, length);
  }
  int Listen(int fd, int backlog) override { return calls_.listen(calls_.userdata, fd, backlog); }
  int Accept(int fd) override { return calls_.accept(calls_.userdata, fd, nullptr, nullptr); }
  int Connect(int fd, const sockaddr* address, socklen_t length) override {
    return calls_.connect(calls_.userdata, fd, address, length);
  }
  int Shutdown(int fd, int how) override { return calls_.shutdown(calls_.userdata, fd, how); }
  int Close(int fd) override { return calls_.close(calls_.userdata, fd); }
  int Set(int fd, int level, int name, const void* value, socklen_t length) override {
    return calls_.setsockopt(calls_.userdata, fd, level, name, value, length);
  }
  int Get(int fd, int level, int name, void* value, socklen_t* length) override {
    return calls_.getsockopt(calls_.userdata, fd, level, name, value, length);
  }

  IpAddress Ours(int domain) const override {
    return *IpAddress::Parse(domain == AF_INET ? "192.168.0.1" : "fd3d:a0b:17d6::1");
  }
  Address Silent(int domain) override { return AddressOf(Peers(domain), 9); }
  void PeerConnects(int domain, uint16_t port) override {
    domain_ = domain;
    port_ = port;
    Give(TcpFlags::kSyn, 0, 0);
    ReadSent();
    Give(TcpFlags::kAck, 1, next_);
  }
  void PeerCloses() override {
    ReadSent();
    Give(TcpFlags::kFin | TcpFlags::kAck, 1, next_);
  }
  void PeerResets() override { Give(TcpFlags::kRst, 1, 0); }

 private:
  static constexpr uint16_t kPeerPort = 40000;

  static IpAddress Peers(int domain) {
    return *IpAddress::Parse(domain == AF_INET ? "192.0.2.1" : "2001:db8::1");
  }
  void Give(uint16_t flags, uint32_t seq, uint32_t ack) {
    const IpAddress src = Peers(domain_), dst = Ours(domain_);
    std::array<uint8_t, Ipv6Header::kSize + TcpHeader::kSize> packet;
    const bool v4 = domain_ == AF_INET;
    const size_t ip_size = v4 ? size_t{Ipv4Header::kSize} : size_t{Ipv6Header::kSize};
    if (v4)
      Ipv4Header{.src = src, .dst = dst, .payload_length = TcpHeader::kSize}.Emit(packet.data());
    else
      Ipv6Header{.src = src, .dst = dst, .payload_length = TcpHeader::kSize}.Emit(packet.data());
    TcpHeader h;
    h.src_port = kPeerPort;
    h.dst_port = port_;
    h.seq = Seq(seq);
    h.ack = Seq(ack);
    h.flags = flags;
    h.window = 65535;
    h.Emit(packet.data() + ip_size, TcpOptions());
    FillTcpChecksum(packet.data() + ip_size, TcpHeader::kSize, src, dst);
    calls_.netdev_send(calls_.userdata, packet.data(), ip_size + TcpHeader::kSize);
  }
  // Where the server's numbers are now.
  void ReadSent() {
    std::array<uint8_t, 2048> packet;
    for (;;) {
      size_t size = packet.size();
      long long time_us = 0;
      if (calls_.netdev_receive(calls_.userdata, packet.data(), &size, &time_us) != 0 || size == 0)
        return;
      const ByteSpan bytes(packet.data(), size);
      const auto v4 = Ipv4View::Parse(bytes);
      const auto v6 = Ipv6View::Parse(bytes);
      const auto tcp = TcpView::Parse(v4 ? v4->payload() : v6 ? v6->payload() : ByteSpan());
      if (!tcp) continue;
      next_ = tcp->seq().value();
      if ((tcp->flags() & (TcpFlags::kSyn | TcpFlags::kFin)) != 0) ++next_;
    }
  }

  packetdrill_interface calls_ = {};
  int domain_ = AF_INET;
  uint16_t port_ = 0;
  uint32_t next_ = 0;
};

// ---- The rows ----

// What a row comes to: its last call, and what is read back.
struct Outcome {
  int error = 0;
  std::string value;
};
// `port`: one that no other row has used.
using Row = std::function<Outcome(Calls&, int domain, uint16_t port)>;

class Rows {
 public:
  explicit Rows(Table& table) : table_(table) {}

  // The same over both families, where nothing is open yet.
  void Add(const std::string& call, const Row& row) {
    Renew();
    AddBeside(call, row);
  }
  // The same beside what earlier rows left.
  void AddBeside(const std::string& call, const Row& row) {
    for (const int domain : {AF_INET, AF_INET6}) {
      ++port_;
      const Outcome k = row(*kernel_, domain, port_);
      const Outcome u = row(*usher_, domain, port_);
      table_.Row(absl::StrCat(call, domain == AF_INET ? ", IPv4" : ", IPv6"), k.error, u.error,
                 k.value, u.value);
    }
  }
  void Renew() {
    kernel_ = std::make_unique<Kernel>();
    usher_ = std::make_unique<Usher>();
  }

 private:
  Table& table_;
  std::unique_ptr<Kernel> kernel_;
  std::unique_ptr<Usher> usher_;
  uint16_t port_ = 1024;
};

Outcome Of(long result) { return {ErrnoOf(result), ""}; }

enum class Stage { kFresh, kBound, kListening, kConnecting, kAccepted, kReset, kShut };
constexpr std::pair<Stage, const char*> kStages[] = {
    {Stage::kFresh, "a new socket"},
    {Stage::kBound, "a bound one"},
    {Stage::kListening, "a listener"},
    {Stage::kConnecting, "one in SYN-SENT"},
    {Stage::kAccepted, "a connection"},
    {Stage::kReset, "a connection that was reset"},
    {Stage::kShut, "a listener that was shut"},
};

int At(Calls& c, Stage stage, int domain, uint16_t port) {
  switch (stage) {
    case Stage::kFresh:
      return c.New(domain);
    case Stage::kBound: {
      const int fd = c.New(domain);
      c.Bind(fd, Any(domain), port);
      return fd;
    }
    case Stage::kListening:
      return c.Listener(domain, port);
    case Stage::kConnecting: {
      const int fd = c.New(domain);
      const Address silent = c.Silent(domain);
      c.Connect(fd, silent.get(), silent.length);
      return fd;
    }
    case Stage::kAccepted:
      return c.Accepted(c.Listener(domain, port), domain, port);
    case Stage::kReset: {
      const int fd = c.Accepted(c.Listener(domain, port), domain, port);
      c.PeerResets();
      return fd;
    }
    case Stage::kShut: {
      const int fd = c.Listener(domain, port);
      c.Shutdown(fd, SHUT_RDWR);
      return fd;
    }
  }
  return -1;
}

// Every call on a socket at every stage.
void Stages(Rows& rows) {
  for (const auto& pair : kStages) {
    const Stage stage = pair.first;
    const auto add = [&](const char* call, const auto& act) {
      rows.Add(absl::StrCat(call, " on ", pair.second),
               [stage, &act](Calls& c, int domain, uint16_t port) {
                 const int fd = At(c, stage, domain, port);
                 return Of(act(c, fd, domain, port));
               });
    };
    add("listen()", [](Calls& c, int fd, int, uint16_t) { return c.Listen(fd, 5); });
    add("listen(-1)", [](Calls& c, int fd, int, uint16_t) { return c.Listen(fd, -1); });
    add("accept()", [](Calls& c, int fd, int, uint16_t) { return c.Accept(fd); });
    add("bind()", [](Calls& c, int fd, int domain, uint16_t) {
      return c.Bind(fd, Any(domain), uint16_t{9});
    });
    add("connect()", [](Calls& c, int fd, int domain, uint16_t) {
      const Address to = c.Silent(domain);
      return c.Connect(fd, to.get(), to.length);
    });
    for (const int how : {int{SHUT_RD}, int{SHUT_WR}, int{SHUT_RDWR}, 3, -1})
      add(absl::StrCat("shutdown(", how, ")").c_str(),
          [how](Calls& c, int fd, int, uint16_t) { return c.Shutdown(fd, how); });
    add("close()", [](Calls& c, int fd, int, uint16_t) { return c.Close(fd); });
    add("listen() after close()", [](Calls& c, int fd, int, uint16_t) {
      c.Close(fd);
      return c.Listen(fd, 5);
    });
    add("accept() after close()", [](Calls& c, int fd, int, uint16_t) {
      c.Close(fd);
      return c.Accept(fd);
    });
  }
  for (const int fd : {-1, 100000, INT_MIN}) {
    rows.Add(absl::StrCat("listen() on ", fd),
             [fd](Calls& c, int, uint16_t) { return Of(c.Listen(fd, 5)); });
    rows.Add(absl::StrCat("accept() on ", fd),
             [fd](Calls& c, int, uint16_t) { return Of(c.Accept(fd)); });
    rows.Add(absl::StrCat("setsockopt() on ", fd), [fd](Calls& c, int, uint16_t) {
      return Of(c.SetInt(fd, SOL_SOCKET, SO_REUSEADDR, 1));
    });
  }
}

void Names(Rows& rows) {
  for (const int length : {0, 1, 2, 8, 15, 16, 17, 23, 24, 27, 28, 29, 128})
    rows.Add(absl::StrCat("bind() with ", length, " bytes"),
             [length](Calls& c, int domain, uint16_t port) {
               const Address a = AddressOf(Any(domain), port);
               return Of(c.Bind(c.New(domain), a.get(), static_cast<socklen_t>(length)));
             });
  for (const int family : {AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6})
    for (const bool any : {true, false})
      rows.Add(absl::StrCat("bind() with family ", family, any ? "" : " and an address"),
               [=](Calls& c, int domain, uint16_t port) {
                 Address a = AddressOf(any ? Any(domain) : c.Ours(domain), port);
                 a.storage.ss_family = static_cast<sa_family_t>(family);
                 return Of(c.Bind(c.New(domain), a.get(), a.length));
               });
  for (const char* ip : {"224.0.0.1", "255.255.255.255"})
    rows.Add(absl::StrCat("bind() to ", ip), [ip](Calls& c, int, uint16_t port) {
      return Of(c.Bind(c.New(AF_INET), *IpAddress::Parse(ip), port));
    });
  rows.Add("bind() to ff02::1", [](Calls& c, int, uint16_t port) {
    return Of(c.Bind(c.New(AF_INET6), *IpAddress::Parse("ff02::1"), port));
  });
  for (const int type : {int{SOCK_STREAM}, int{SOCK_SEQPACKET}, 77})
    for (const int protocol : {0, int{IPPROTO_TCP}, int{IPPROTO_UDP}, 77, -1})
      rows.Add(
          absl::StrCat("socket() of type ", type, " and protocol ", protocol),
          [=](Calls& c, int domain, uint16_t) { return Of(c.Socket(domain, type, protocol)); });
}

// Two sockets at one port: what the second's bind() and listen() say, for each of SO_REUSEADDR and
// SO_REUSEPORT on either, the first bound, listening, or gone but for a connection of its own.
void Sharing(Rows& rows) {
  enum class First { kBound, kListening, kConnection, kTimeWait };
  constexpr std::pair<First, const char*> kFirsts[] = {
      {First::kBound, "bound"},
      {First::kListening, "listening"},
      {First::kConnection, "closed, its connection there"},
      {First::kTimeWait, "closed, its connection in TIME-WAIT"}};
  for (const auto& first : kFirsts)
    for (int reuse = 0; reuse < 16; ++reuse)
      for (const bool specific : {false, true}) {
        const auto text = [reuse](int shift) {
          return absl::StrCat((reuse >> shift & 1) != 0 ? " SO_REUSEADDR" : "",
                              (reuse >> shift & 2) != 0 ? " SO_REUSEPORT" : "");
        };
        rows.Add(absl::StrCat("one", text(0), " ", first.second, ", another", text(2),
                              specific ? " at one address" : ""),
                 [=, stage = first.first](Calls& c, int domain, uint16_t port) {
                   const auto make = [&](int shift) {
                     const int fd = c.New(domain);
                     c.SetInt(fd, SOL_SOCKET, SO_REUSEADDR, reuse >> shift & 1);
                     c.SetInt(fd, SOL_SOCKET, SO_REUSEPORT, reuse >> shift >> 1 & 1);
                     return fd;
                   };
                   const int one = make(0);
                   c.Bind(one, Any(domain), port);
                   if (stage != First::kBound) c.Listen(one, 5);
                   if (stage == First::kConnection || stage == First::kTimeWait) {
                     const int connection = c.Accepted(one, domain, port);
                     c.Close(one);
                     if (stage == First::kTimeWait) {
                       c.Close(connection);
                       c.PeerCloses();
                     }
                   }
                   const int other = make(2);
                   const int bound = c.Bind(other, specific ? c.Ours(domain) : Any(domain), port);
                   return bound != 0 ? Outcome{errno, "bind"} : Of(c.Listen(other, 5));
                 });
      }
}

// ---- Options ----

struct Option {
  const char* text;
  int level;
  int name;
};
#define USHER_OPTION(level, name) \
  { #level ", " #name, level, name }
constexpr Option kOptions[] = {
    USHER_OPTION(SOL_SOCKET, SO_REUSEADDR),      USHER_OPTION(SOL_SOCKET, SO_REUSEPORT),
    USHER_OPTION(SOL_SOCKET, SO_KEEPALIVE),      USHER_OPTION(SOL_SOCKET, SO_ACCEPTCONN),
    USHER_OPTION(SOL_SOCKET, SO_ERROR),          USHER_OPTION(SOL_SOCKET, SO_TYPE),
    USHER_OPTION(IPPROTO_TCP, TCP_SAVE_SYN),     USHER_OPTION(IPPROTO_TCP, TCP_SAVED_SYN),
    USHER_OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT), USHER_OPTION(IPPROTO_TCP, TCP_SYNCNT),
    USHER_OPTION(IPPROTO_TCP, TCP_FASTOPEN),     USHER_OPTION(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE),
    USHER_OPTION(IPPROTO_TCP, TCP_KEEPIDLE),     USHER_OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
    USHER_OPTION(IPPROTO_TCP, TCP_KEEPCNT),      USHER_OPTION(IPPROTO_TCP, TCP_LINGER2),
    USHER_OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT), USHER_OPTION(IPPROTO_TCP, TCP_NODELAY),
    USHER_OPTION(IPPROTO_TCP, TCP_CORK),         USHER_OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
    USHER_OPTION(IPPROTO_TCP, TCP_INQ),          USHER_OPTION(IPPROTO_TCP, 9999),
    USHER_OPTION(IPPROTO_IPV6, IPV6_V6ONLY),     USHER_OPTION(77, 1),
};
#undef USHER_OPTION

std::string ReadBack(Calls& c, int fd, const Option& o) {
  int value = 0;
  socklen_t length = sizeof value;
  const int error = ErrnoOf(c.Get(fd, o.level, o.name, &value, &length));
  return error == 0 ? absl::StrCat(value) : absl::StrCat("(errno ", error, ")");
}

void Options(Rows& rows) {
  constexpr Stage kWhere[] = {Stage::kFresh, Stage::kListening, Stage::kAccepted};
  for (const Option& o : kOptions) {
    for (const Stage stage : kWhere) {
      const char* const where = kStages[static_cast<size_t>(stage)].second;
      rows.Renew();
      for (const int value :
           {INT_MIN, -1,  0,   1,   2,   3,    4,    8,     63,    64,    119,   120,    121,
            126,     127, 128, 255, 256, 4096, 4097, 32767, 32768, 65535, 65536, INT_MAX})
        rows.AddBeside(absl::StrCat("setsockopt(", o.text, ", ", value, ") on ", where),
                       [=](Calls& c, int domain, uint16_t port) {
                         const int fd = At(c, stage, domain, port);
                         const Outcome set = Of(c.SetInt(fd, o.level, o.name, value));
                         return Outcome{set.error, ReadBack(c, fd, o)};
                       });
      for (const int length : {0, 1, 2, 3, 5, 8, -1})
        rows.AddBeside(absl::StrCat("setsockopt(", o.text, ", 1) of ", length, " bytes on ", where),
                       [=](Calls& c, int domain, uint16_t port) {
                         const int fd = At(c, stage, domain, port);
                         const int value[2] = {1, 1};
                         const Outcome set =
                             Of(c.Set(fd, o.level, o.name, value, static_cast<socklen_t>(length)));
                         return Outcome{set.error, ReadBack(c, fd, o)};
                       });
      for (const int length : {0, 1, 2, 3, 5, 8, -1, INT_MIN})
        rows.AddBeside(
            absl::StrCat("getsockopt(", o.text, ") of ", length, " bytes on ", where),
            [=](Calls& c, int domain, uint16_t port) {
              const int fd = At(c, stage, domain, port);
              int value[2] = {};
              auto size = static_cast<socklen_t>(length);
              const Outcome got = Of(c.Get(fd, o.level, o.name, value, &size));
              return Outcome{got.error, got.error == 0 ? absl::StrCat(size, " bytes") : ""};
            });
    }
  }
}

// What a connection has of its listener's options, set before listen() and after.
void Inherited(Rows& rows) {
  for (const Option& o : kOptions)
    for (const bool before : {true, false})
      rows.Add(
          absl::StrCat(o.text, " of a connection, set ", before ? "before" : "after", " listen()"),
          [=](Calls& c, int domain, uint16_t port) {
            const int fd = c.New(domain);
            c.Bind(fd, Any(domain), port);
            if (before) c.SetInt(fd, o.level, o.name, 1);
            c.Listen(fd, 5);
            if (!before) c.SetInt(fd, o.level, o.name, 1);
            return Outcome{0, ReadBack(c, c.Accepted(fd, domain, port), o)};
          });
}

}  // namespace

void SocketRows(Table& table) {
  Rows rows(table);
  Stages(rows);
  Names(rows);
  Sharing(rows);
  Options(rows);
  Inherited(rows);
}

}  // namespace usher::differential
