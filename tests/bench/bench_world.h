// A stack over a port that costs next to nothing, and a client that builds frames outside the
// timing.
#pragma once

#include <x86intrin.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "stack/api/stack.h"
#include "stack/base/check.h"
#include "stack/port/memory_port.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/tcp.h"

namespace usher::bench {

inline constexpr MacAddress kServerMac{{2, 0, 0, 0, 0, 1}};
inline constexpr MacAddress kClientMac{{2, 0, 0, 0, 0, 2}};
inline const IpAddress kServer = IpAddress::V4(0xc6120002);   // 198.18.0.2
inline const IpAddress kGateway = IpAddress::V4(0xc6120001);  // the router of all clients
inline constexpr uint16_t kPort = 80;
inline constexpr size_t kHeaders = 14 + 20 + 20 + 12;  // Ethernet, IPv4, TCP, timestamps

// Hands over frames prepared by Prepare, and remembers where the stack's answers lie until the next
// Prepare.
class BenchPort final : public Port {
 public:
  explicit BenchPort(HeapPool& pool) : Port(pool, kServerMac, {}) {}

  uint8_t* Prepare(uint16_t length) {
    Packet p;
    USHER_CHECK(pool().Allocate(&p));
    p.length = length;
    received_.push_back(p);
    return p.data;
  }
  void Drop() {
    for (const TxPacket& p : sent_) pool().Free(p.handle);
    sent_.clear();
  }
  std::span<const TxPacket> sent() const { return sent_; }

  uint32_t RxBurst(std::span<Packet> out) override {
    const size_t n = std::min(out.size(), received_.size());
    std::copy_n(received_.begin(), n, out.begin());
    received_.erase(received_.begin(), received_.begin() + static_cast<ptrdiff_t>(n));
    return static_cast<uint32_t>(n);
  }
  uint32_t TxBurst(std::span<const TxPacket> packets) override {
    sent_.insert(sent_.end(), packets.begin(), packets.end());
    return static_cast<uint32_t>(packets.size());
  }
  bool LinkUp() const override { return true; }

 private:
  std::vector<Packet> received_;
  std::vector<TxPacket> sent_;
};

// The client's side of one connection.
struct Client {
  FourTuple tuple;  // seen from the server
  Seq snd_nxt;
  Seq rcv_nxt;
  uint32_t ts_echo = 0;
};

// Reads requests by slices; answers each byte burst with `response` if that is not empty.
class Responder final : public Application {
 public:
  std::string response;
  void OnAcceptable(Acceptor a) override {
    Connection c;
    while (a.Accept(&c) == Error::kNone) ++accepted;
  }
  void OnReadable(Connection c) override {
    Slice s;
    IoResult r;
    bool any = false;
    while ((r = c.ReadSlice(&s)).bytes != 0) any = true;
    if (any && !response.empty()) c.Write(response);
    if (r.error == Error::kNone) c.Close();
  }
  uint64_t accepted = 0;
};

class World {
 public:
  explicit World(uint32_t connections, int32_t syncookies = 1) : pool_(1024), port_(pool_) {
    StackOptions o;
    o.max_connections = connections;
    o.sysctls.tcp_syncookies = syncookies;
    o.sysctls.tcp_max_syn_backlog = 1 << 20;
    o.sysctls.somaxconn = 1 << 20;
    InterfaceConfig config;
    config.addresses = {{kServer, 24}};
    config.gateway = kGateway;
    const std::vector<ShardInterface> ports[] = {{ShardInterface{&port_, config}}};
    SeededRandom random(1);
    auto stack = Stack::Create(o, ports, random);
    USHER_CHECK(stack.ok());
    stack_ = *std::move(stack);
    stack_->shard(0).interface(0).SetPermanentNeighbour(now_, kGateway, kClientMac);
    USHER_CHECK(
        stack_->Listen({.address = IpAddress::V4(0), .port = kPort, .backlog = 1 << 19}, responder)
            .ok());
  }

  // The i-th client: addresses and ports vary, neighbours do not (one router).
  static FourTuple TupleOf(uint32_t i) {
    return {kServer, IpAddress::V4(0xc6130000 + i / 50000), kPort,
            static_cast<uint16_t>(10000 + i % 50000)};
  }

  void Queue(const FourTuple& t, uint16_t flags, Seq seq, Seq ack, std::span<const uint8_t> payload,
             const TcpOptions& options) {
    const size_t tcp_size = TcpHeader::kSize + options.EmitSize() + payload.size();
    uint8_t* f = port_.Prepare(static_cast<uint16_t>(34 + tcp_size));
    EthernetHeader{.dst = kServerMac, .src = kClientMac, .type = EtherType::kIpv4}.Emit(f);
    Ipv4Header{.src = t.remote, .dst = t.local, .payload_length = static_cast<uint16_t>(tcp_size)}
        .Emit(f + 14);
    TcpHeader h;
    h.src_port = t.remote_port;
    h.dst_port = t.local_port;
    h.seq = seq;
    h.ack = ack;
    h.flags = flags;
    h.window = 65535;
    const size_t header = h.Emit(f + 34, options);
    if (!payload.empty()) std::memcpy(f + 34 + header, payload.data(), payload.size());
    FillTcpChecksum(f + 34, tcp_size, t.remote, t.local);
  }
  void QueueSyn(const FourTuple& t, Seq isn) {
    TcpOptions o;
    o.mss = 1460;
    o.sack_permitted = true;
    o.timestamps = TcpTimestamps{1000, 0};
    o.window_scale = 7;
    Queue(t, TcpFlags::kSyn, isn, Seq(0), {}, o);
  }
  void QueueData(Client& c, uint16_t flags, std::span<const uint8_t> payload) {
    TcpOptions o;
    o.timestamps = TcpTimestamps{1001, c.ts_echo};
    Queue(c.tuple, flags, c.snd_nxt, c.rcv_nxt, payload, o);
    c.snd_nxt += static_cast<uint32_t>(payload.size());
  }

  // One pass; returns its TSC cycles. The answers stay readable until Drop.
  uint64_t Poll() {
    now_ = now_ + Duration::Micros(10);
    const uint64_t start = __rdtsc();
    stack_->Poll(0, now_);
    return __rdtsc() - start;
  }
  void Advance(Duration d) { now_ = now_ + d; }
  void Drop() { port_.Drop(); }

  // Reads the segment of a sent packet.
  static TcpView View(const TxPacket& p) {
    return *TcpView::Parse({p.data + 34, static_cast<size_t>(p.length) - 34});
  }
  // Takes the answer to a client's data: what it acknowledges is gone, its payload is received.
  static void Take(Client& c, const TxPacket& p) {
    const TcpView v = View(p);
    c.rcv_nxt = v.seq() + v.sequence_length();
    if (const auto ts = v.options().timestamps) c.ts_echo = ts->value;
  }

  // Opens connections first..first+count-1 and has them accepted.
  void Open(uint32_t first, uint32_t count) {
    for (uint32_t done = 0; done < count; done += kBurstSize) {
      const uint32_t n = std::min(kBurstSize, count - done);
      for (uint32_t i = 0; i < n; ++i) QueueSyn(TupleOf(first + done + i), Seq(1000));
      Poll();
      USHER_CHECK(port_.sent().size() == n);
      for (uint32_t i = 0; i < n; ++i) {
        Client c;
        c.tuple = TupleOf(first + done + i);
        c.snd_nxt = Seq(1001);
        Take(c, port_.sent()[i]);
        clients.push_back(c);
      }
      Drop();
      for (uint32_t i = 0; i < n; ++i)
        QueueData(clients[clients.size() - n + i], TcpFlags::kAck, {});
      Poll();
      Drop();
    }
  }

  BenchPort& port() { return port_; }
  Stack& stack() { return *stack_; }
  Responder responder;
  std::vector<Client> clients;

 private:
  Instant now_ = Instant::FromNanos(1'000'000'000);
  HeapPool pool_;
  BenchPort port_;
  std::unique_ptr<Stack> stack_;
};

// TSC cycles per second, measured once.
inline double TscHz() {
  static const double hz = [] {
    const auto t0 = std::chrono::steady_clock::now();
    const uint64_t c0 = __rdtsc();
    while (std::chrono::steady_clock::now() - t0 < std::chrono::milliseconds(50)) {
    }
    const std::chrono::duration<double> s = std::chrono::steady_clock::now() - t0;
    return static_cast<double>(__rdtsc() - c0) / s.count();
  }();
  return hz;
}

}  // namespace usher::bench
