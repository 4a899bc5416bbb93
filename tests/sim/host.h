// A host of the simulation: one shard over a memory port, and the program that runs on it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/support/connection_peek.h"

namespace usher::sim {

// The byte at `offset` of what flow `flow` sends in direction `from_client`.
inline uint8_t PayloadByte(uint32_t flow, bool from_client, uint64_t offset) {
  uint64_t x = (offset / 8) * 0x9e3779b97f4a7c15u + flow * 0x632be59bd9b4e019u + from_client;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
  return static_cast<uint8_t>(x >> (8 * (offset % 8)));
}

// How one end of a flow behaves.
struct EndPlan {
  uint64_t bytes = 0;          // to send
  uint32_t write_size = 4096;  // at most in one call
  bool external = false;       // zero-copy
  uint32_t read_size = 65536;  // at most in one tick; all there is, if read_pause is zero
  Duration read_pause;
  bool slices = false;
  bool close_at_end = false;  // Close instead of Shutdown when all is sent (reads nothing more)
};

struct FlowPlan {
  uint32_t id = 0;
  EndPlan client;
  EndPlan server;
};

// One end of a flow, as an application sees it.
class End {
 public:
  End(Connection connection, const FlowPlan& flow, bool client, uint64_t seed)
      : connection_(connection),
        id_(flow.id),
        client_(client),
        plan_(client ? flow.client : flow.server),
        expected_(client ? flow.server.bytes : flow.client.bytes),
        random_(seed) {}

  void Write() {
    while (sent_ < plan_.bytes && connection_.valid()) {
      const auto n = std::min<uint64_t>(plan_.bytes - sent_, 1 + random_.Uniform(plan_.write_size));
      auto data = std::make_unique<std::vector<uint8_t>>(n);
      for (uint64_t i = 0; i < n; ++i) (*data)[i] = PayloadByte(id_, client_, sent_ + i);
      IoResult r;
      if (plan_.external) {
        auto* piece = new Piece{this, std::move(data)};
        r = connection_.WriteExternal(*piece->data, &End::Release, piece);
        if (r.error != Error::kNone) {
          delete piece;
        } else {
          ++pieces_;
        }
      } else {
        r = connection_.Write(*data);
      }
      sent_ += r.bytes;
      if (r.bytes < n) {
        if (r.error != Error::kNone && r.error != Error::kAgain) Fail("write", r.error);
        return;
      }
    }
    if (sent_ < plan_.bytes || ended_) return;
    ended_ = true;
    if (plan_.close_at_end) {
      connection_.Close();
      closed_ = true;
    } else if (connection_.Shutdown(ShutdownHow::kWrite) != Error::kNone) {
      ADD_FAILURE() << "shutdown";
    }
    CloseIfDone();
  }

  void Read() {
    uint64_t budget = plan_.read_pause.ns() == 0 ? UINT64_MAX : plan_.read_size;
    std::vector<uint8_t> buffer(8192);
    while (budget > 0 && !eof_ && connection_.valid()) {
      const auto most = std::min<uint64_t>(budget, 1 + random_.Uniform(buffer.size()));
      IoResult r;
      Slice slice;
      std::span<const uint8_t> bytes;
      if (plan_.slices) {
        r = connection_.ReadSlice(&slice, static_cast<uint32_t>(most));
        bytes = slice.bytes();
      } else {
        r = connection_.Read(std::span(buffer).first(most));
        bytes = std::span(buffer).first(r.bytes);
      }
      if (r.bytes == 0) {
        if (r.error == Error::kNone) {
          eof_ = true;
          if (received_ != expected_) Fail("short end of stream", r.error);
        } else if (r.error != Error::kAgain) {
          Fail("read", r.error);
        }
        break;
      }
      for (uint8_t b : bytes)
        if (b != PayloadByte(id_, !client_, received_++)) {
          ADD_FAILURE() << "wrong byte at " << received_ - 1 << " of flow " << id_;
          connection_.Abort();
          closed_ = true;
          return;
        }
      budget -= r.bytes;
    }
    CloseIfDone();
  }

  void OnReadable() {
    if (plan_.read_pause.ns() == 0) Read();
  }
  void OnClosed(Error why) {
    if (why != Error::kNone) Fail("closed", why);
    while (connection_.valid() && !eof_ && !closed_ && error_ == Error::kNone) Read();
    if (!closed_) connection_.Close();
    closed_ = true;
  }
  // The program's own clock, for slow readers.
  bool slow() const { return plan_.read_pause.ns() != 0; }
  Duration pause() const { return plan_.read_pause; }
  // From here on its connection may fail: error() tells how.
  void AllowFailure() { report_ = false; }
  bool closed() const { return closed_; }
  bool eof() const { return eof_; }
  uint32_t id() const { return id_; }
  uint32_t pieces() const { return pieces_; }
  Error error() const { return error_; }
  uint64_t sent() const { return sent_; }
  uint64_t received() const { return received_; }
  bool complete() const { return closed_ && received_ == expected_ && sent_ == plan_.bytes; }

 private:
  struct Piece {
    End* end;
    std::unique_ptr<std::vector<uint8_t>> data;
  };
  static void Release(void* context) {
    auto* piece = static_cast<Piece*>(context);
    std::fill(piece->data->begin(), piece->data->end(), 0xdb);  // what is sent late shows
    --piece->end->pieces_;
    delete piece;
  }
  void CloseIfDone() {
    if (!ended_ || !eof_ || closed_) return;
    closed_ = true;
    connection_.Close();
  }
  void Fail(const char* what, Error e) {
    if (error_ != Error::kNone) return;
    error_ = e == Error::kNone ? Error::kAborted : e;
    if (report_)
      ADD_FAILURE() << (client_ ? "client" : "server") << " of flow " << id_ << ": " << what << " "
                    << ToString(e) << ", sent " << sent_ << ", received " << received_ << " of "
                    << expected_;
  }

  Connection connection_;
  const uint32_t id_;
  const bool client_;
  const EndPlan plan_;
  const uint64_t expected_;
  SeededRandom random_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  uint32_t pieces_ = 0;
  bool ended_ = false;
  bool eof_ = false;
  bool closed_ = false;
  bool report_ = true;
  Error error_ = Error::kNone;
};

class Host : public Application {
 public:
  Host(uint8_t number, bool v6, const StackOptions& options, uint32_t buffers, uint16_t mtu,
       uint64_t seed)
      : address(v6 ? *IpAddress::Parse("2001:2::" + std::to_string(number))
                   : IpAddress::V4(0xc6120000u + number)),
        mac{{2, 0, 0, 0, 0, number}},
        random(seed),
        pool(buffers),
        port(pool, mac) {
    InterfaceConfig config;
    config.addresses = {{address, v6 ? 64 : 15}};
    config.dad_transmits = 0;
    config.mtu = mtu;
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port, config}}};
    auto made = Stack::Create(options, interfaces, random);
    EXPECT_TRUE(made.ok()) << made.status();
    stack = *std::move(made);
  }
  ~Host() override {
    stack.reset();
    while (port.sent_count() > 0) port.TakeSent();
    EXPECT_EQ(pool.available(), pool.capacity()) << "packet buffers leaked";
    for (const auto& end : ends) EXPECT_EQ(end->pieces(), 0u) << "not released";
  }

  void OnAcceptable(Acceptor a) override {
    Connection c;
    while (a.Accept(&c) == Error::kNone) {
      const auto plan = plans.find(c.tuple().remote_port);
      if (plan == plans.end()) {
        ADD_FAILURE() << "a connection nobody opened";
        c.Abort();
        continue;
      }
      Begin(c, plan->second, false)->Write();
    }
  }
  void OnConnected(Connection c) override { Of(c)->Write(); }
  void OnReadable(Connection c) override { Of(c)->OnReadable(); }
  void OnWritable(Connection c) override { Of(c)->Write(); }
  void OnClosed(Connection c, Error why) override { Of(c)->OnClosed(why); }

  End* Begin(Connection c, const FlowPlan& plan, bool client) {
    ends.push_back(std::make_unique<End>(c, plan, client, random.Next64()));
    c.set_user_data(ends.back().get());
    if (ends.back()->slow()) wakeups.emplace(now + ends.back()->pause(), ends.back().get());
    return ends.back().get();
  }
  Instant NextDeadline() {
    const Instant program = wakeups.empty() ? Instant::Never() : wakeups.begin()->first;
    return std::min(program, stack->NextDeadline(0));
  }
  void Poll(Instant t) {
    now = t;
    while (!wakeups.empty() && wakeups.begin()->first <= now) {
      End* end = wakeups.begin()->second;
      wakeups.erase(wakeups.begin());
      if (end->closed()) continue;
      end->Read();
      if (!end->closed() && !end->eof()) wakeups.emplace(now + end->pause(), end);
    }
    stack->Poll(0, now);
    stack->shard(0).ForEachConnection([this](TcpConnection& c) {
      const test::ConnectionPeek peek{c};
      peek.CheckInvariants(context());
      if (c.state() == TcpState::kSynSent || c.state() == TcpState::kClosed) return;
      // A window update that was overtaken may take window back: the farthest edge counts.
      const Seq edge = peek.snd_una() + peek.snd_wnd();
      Seq& farthest =
          edges.try_emplace(c.tuple().local_port ^ c.tuple().remote_port << 16, edge).first->second;
      farthest = Max(farthest, edge);
      EXPECT_LE(peek.snd_nxt() - farthest, 0) << "sent beyond the peer's window";
    });
  }
  const TcpContext& context() { return stack->shard(0).context(); }

  // Everything is given back, once no connection is left.
  void ExpectBaseline() {
    Shard& shard = stack->shard(0);
    EXPECT_EQ(shard.connection_count(), 0u);
    EXPECT_EQ(shard.time_wait().size(), 0u);
    EXPECT_EQ(context().memory.charged_bytes(), 0u);
    EXPECT_EQ(context().sent_segments.in_use(), 0u);
    EXPECT_EQ(context().orphans, 0u);
    EXPECT_EQ(shard.counters().Get(Counter::TcpCurrEstab), 0u);
  }

  IpAddress address;
  MacAddress mac;
  SeededRandom random;
  HeapPool pool;
  MemoryPort port;
  std::unique_ptr<Stack> stack;
  std::map<uint16_t, FlowPlan> plans;  // by the client's port
  std::vector<std::unique_ptr<End>> ends;
  std::multimap<Instant, End*> wakeups;
  std::map<uint32_t, Seq> edges;  // farthest ever allowed by the peer, by ports
  Instant now;

 private:
  static End* Of(Connection c) { return static_cast<End*>(c.user_data()); }
};

}  // namespace usher::sim
