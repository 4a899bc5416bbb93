// usher as a subject: one shard over a memory port, in virtual time.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <deque>

#include "absl/strings/str_cat.h"
#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "stack/wire/ethernet.h"
#include "tests/differential/subject.h"

namespace usher::differential {
namespace {

constexpr MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress kPeerMac{{2, 0, 0, 0, 0, 2}};

// The schedule makes the calls.
struct Quiet final : Application {
  void OnClosed(Connection, Error) override {}
};

class Usher final : public Subject {
 public:
  Usher(const Schedule& schedule, const Beginning& beginning)
      : ipv6_(schedule.ipv6),
        start_(Instant::FromNanos(beginning.clock_ns)),
        pool_(1024),
        port_(pool_, kOurMac),
        random_(schedule.seed) {
    StackOptions options;
    options.max_connections = 256;
    options.passive_open.max_requests = 1024;
    options.passive_open.default_model = ListenModel::kLinux;
    for (const auto& [name, value] : beginning.sysctls) Set(options.sysctls, name, value);
    options.sysctls.tcp_max_tw_buckets = std::min(options.sysctls.tcp_max_tw_buckets, 256);
    InterfaceConfig config;
    config.addresses = {{ServerAddress(false), 15}};
    if (ipv6_) config.addresses.push_back({ServerAddress(true), 48});
    config.dad_transmits = 0;
    config.accept_ra = false;
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port_, config}}};
    auto stack = Stack::Create(options, interfaces, random_);
    if (!stack.ok()) Fail(stack.status().ToString());
    stack_ = *std::move(stack);
    stack_->Start(0, now_);
    Poll();
    for (uint8_t c = 0; c < kMaxClients; ++c)
      if (!shard().interface(0).SetPermanentNeighbour(now_, ClientAddress(ipv6_, c), kPeerMac))
        Fail("no place for a neighbour");
    Poll();
    TakeSent();
    SetSysctl(kFastOpenKeySysctl, kFastOpenKeys[0]);
  }

  void SetSysctl(const std::string& name, const std::string& value) override {
    Sysctls s = shard().sysctls();
    Set(s, name, value);
    shard().ApplySysctls(s);
  }

  int Listen(const Step& step) override {
    ListenSpec spec;
    spec.address = ipv6_ ? IpAddress() : IpAddress::V4(0);
    spec.port = kServerPort;
    spec.backlog = step.backlog;
    spec.defer_accept_s = step.defer_s;
    spec.syncnt = step.syncnt;
    spec.reuseport = step.reuseport;
    spec.save_syn = step.save_syn;
    if (step.fastopen_qlen >= 0) spec.fastopen_qlen = static_cast<uint32_t>(step.fastopen_qlen);
    Handle listener;
    const int error = ToErrno(shard().Listen(spec, &listener, &application_));
    if (error == 0) listeners_.push_back(listener);
    return error;
  }
  int SetBacklog(int backlog) override {
    const int error = ToErrno(shard().passive_open().SetBacklog(listeners_.front(), backlog));
    Poll();
    return error;
  }
  int CloseListener() override {
    const int error = ToErrno(shard().CloseListener(listeners_.front()));
    listeners_.pop_front();
    Poll();
    return error;
  }
  void RotateListeners() override {
    listeners_.push_back(listeners_.front());
    listeners_.pop_front();
  }

  int Accept(uint8_t* client) override {
    Handle handle;
    const int error = ToErrno(shard().Accept(listeners_.front(), &handle));
    if (error == 0) {
      const FourTuple t = shard().Find(handle)->tuple();
      const auto c = ClientOf(t.remote, t.remote_port);
      if (!c) Fail("accept returned a stranger");
      *client = *c;
      connections_[*c] = handle;
    }
    Poll();
    return error;
  }
  Bytes SavedSyn(uint8_t client) override {
    const TcpConnection& c = *shard().Find(connections_.at(client));
    const auto saved = shard().passive_open().SavedSyn(c);
    Bytes headers(saved.begin(), saved.end());
    shard().passive_open().ForgetSavedSyn(c);
    return headers;
  }
  int Read(uint8_t client, Bytes* bytes) override {
    const auto i = connections_.find(client);
    if (i == connections_.end()) return ENOENT;
    bytes->resize(100'000);
    size_t have = 0;
    IoResult r;
    // As one recv() on Linux: all that is there, and an error only if nothing is.
    const TcpConnection* c = shard().Find(i->second);
    do {
      r = shard().Read(i->second, std::span(*bytes).subspan(have));
      have += r.bytes;
    } while (r.bytes != 0 && c->readable_bytes() != 0);
    bytes->resize(have);
    Poll();
    return have != 0 ? 0 : ToErrno(r.error);
  }
  int Write(uint8_t client, uint32_t bytes) override {
    const auto i = connections_.find(client);
    if (i == connections_.end()) return ENOENT;
    const Bytes data(bytes, 'x');
    const IoResult r = shard().Write(i->second, data);
    Poll();
    return r.bytes != 0 ? 0 : ToErrno(r.error);
  }
  int Shutdown(uint8_t client) override {
    const auto i = connections_.find(client);
    if (i == connections_.end()) return ENOENT;
    const int error = ToErrno(shard().Shutdown(i->second, ShutdownHow::kWrite));
    Poll();
    return error;
  }
  int Close(uint8_t client) override {
    const auto i = connections_.find(client);
    if (i == connections_.end()) return ENOENT;
    const int error = ToErrno(shard().Close(i->second));
    connections_.erase(client);
    Poll();
    return error;
  }

  void Inject(const Bytes& packet) override {
    const EthernetHeader ethernet{
        .dst = kOurMac, .src = kPeerMac, .type = ipv6_ ? EtherType::kIpv6 : EtherType::kIpv4};
    Bytes frame(ethernet.size());
    ethernet.Emit(frame.data());
    frame.insert(frame.end(), packet.begin(), packet.end());
    if (!port_.Inject(frame)) Fail("no buffer for a frame");
    Poll();
  }
  std::vector<SentPacket> TakeSent() override { return std::exchange(sent_, {}); }
  void SleepUntil(double ms) override {
    const Instant end = start_ + Duration::Nanos(static_cast<int64_t>(ms * 1e6));
    for (;;) {
      const Instant next = stack_->NextDeadline(0);
      if (next > end) break;
      now_ = std::max(now_, next);
      Poll();
    }
    now_ = std::max(now_, end);
    Poll();
  }
  double LateBy(double) override { return 0; }

  SocketTable Sockets() override {
    SocketTable table;
    for (const Handle handle : listeners_) {
      const Listener* l = shard().passive_open().Get(handle);
      table.listening = true;
      table.accept_queue += l->accept_queue.length();
      table.accept_limit += l->limits.accept_limit;
    }
    const SynTable& requests = shard().passive_open().requests();
    requests.ForEach([&](uint32_t i) {
      AddRow(&table, requests.TupleOf(i), "SYN-RECV",
             absl::StrCat(" timeouts ", requests[i].num_timeout));
    });
    shard().ForEachConnection([&](const TcpConnection& c) {
      if (c.state() == TcpState::kClosed || c.settled) return;
      const bool fin = c.peer_closed() && !c.end_was_read();
      AddRow(&table, c.tuple(), ToString(c.state()),
             absl::StrCat(" recv-q ", c.readable_bytes() + (fin ? 1 : 0)));
    });
    const TimeWaitTable& tw = shard().time_wait();
    tw.ForEach([&](uint32_t i) {
      const bool fin_wait2 = tw.fin_wait2(i);
      AddRow(&table, tw.TupleOf(i), fin_wait2 ? "FIN-WAIT-2" : "TIME-WAIT",
             fin_wait2 ? " recv-q 0" : "");
    });
    std::sort(table.rows.begin(), table.rows.end());
    return table;
  }

  CounterValues Counters() override {
    CounterValues values;
    for (size_t i = 0; i < kCounterCount; ++i) {
      const auto counter = static_cast<Counter>(i);
      const std::string name = CounterName(counter);
      if (name.rfind("Tcp", 0) == 0) values[name] = shard().counters().Get(counter);
    }
    return values;
  }

 private:
  [[noreturn]] static void Fail(const std::string& what) {
    std::fprintf(stderr, "listen-differential: usher: %s\n", what.c_str());
    std::_Exit(3);
  }
  static void Set(Sysctls& sysctls, const std::string& name, const std::string& value) {
    if (const absl::Status s = usher::SetSysctl(sysctls, name, value); !s.ok()) Fail(s.ToString());
  }
  static void AddRow(SocketTable* table, const FourTuple& t, const std::string& state,
                     const std::string& rest) {
    const auto c = ClientOf(t.remote, t.remote_port);
    if (c) table->rows.push_back(absl::StrCat("c", *c, " ", state, rest));
  }

  Shard& shard() { return stack_->shard(0); }
  // Until nothing more is due at this instant.
  void Poll() {
    do {
      stack_->Poll(0, now_);
      for (Bytes frame = port_.TakeSent(); !frame.empty(); frame = port_.TakeSent()) Keep(frame);
    } while (stack_->NextDeadline(0) <= now_);
  }
  void Keep(const Bytes& frame) {
    const auto ethernet = EthernetView::Parse(frame);
    if (!ethernet) Fail("a frame without Ethernet header");
    const ByteSpan packet = ethernet->payload();
    const bool tcp = ipv6_ ? ethernet->type() == EtherType::kIpv6 && packet[6] == IpProtocol::kTcp
                           : ethernet->type() == EtherType::kIpv4 && packet[9] == IpProtocol::kTcp;
    if (!tcp) return;
    const double at = static_cast<double>((now_ - start_).ns()) / 1e6;
    sent_.push_back({at, Bytes(packet.begin(), packet.end())});
  }

  const bool ipv6_;
  const Instant start_;
  Instant now_ = start_;
  HeapPool pool_;
  MemoryPort port_;
  SeededRandom random_;
  Quiet application_;
  std::unique_ptr<Stack> stack_;
  std::deque<Handle> listeners_;
  std::map<uint8_t, Handle> connections_;
  std::vector<SentPacket> sent_;
};

}  // namespace

std::unique_ptr<Subject> MakeUsher(const Schedule& schedule, const Beginning& beginning) {
  return std::make_unique<Usher>(schedule, beginning);
}

}  // namespace usher::differential
