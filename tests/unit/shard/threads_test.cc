// Shards on threads of their own: what they hand each other arrives whole. (For ThreadSanitizer:
// meson setup build-tsan -Db_sanitize=thread -Ddpdk=disabled, then
// build-tsan/tests/unit/test-shard.)
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/support/family.h"
#include "tests/support/segment_builder.h"

namespace usher::test {
namespace {

constexpr uint32_t kShards = 2;
constexpr uint32_t kClients = 300;
constexpr uint16_t kPort = 80;

// Frames on their way to one queue, from any thread.
class Wire {
 public:
  void Put(const Bytes& frame) {
    const std::lock_guard lock(mutex_);
    frames_.push_back(frame);
  }
  std::vector<Bytes> TakeAll() {
    const std::lock_guard lock(mutex_);
    return std::exchange(frames_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<Bytes> frames_;
};

// Counts what it accepts and echoes what it reads; one per shard.
struct Echo : Application {
  void OnAcceptable(Acceptor a) override {
    Connection c;
    while (a.Accept(&c) == Error::kNone) accepted.fetch_add(1);
  }
  void OnReadable(Connection c) override {
    uint8_t buffer[100];
    for (IoResult r = c.Read(buffer); r.bytes != 0; r = c.Read(buffer))
      c.Write(std::span(buffer, r.bytes));
  }
  std::atomic<uint32_t> accepted = 0;
};

class ThreadsTest : public testing::TestWithParam<Family> {
 protected:
  ThreadsTest() {
    std::vector<std::vector<ShardInterface>> interfaces(kShards);
    for (uint32_t i = 0; i < kShards; ++i) {
      pools_.push_back(std::make_unique<HeapPool>(2048));
      ports_.push_back(std::make_unique<MemoryPort>(*pools_[i], kOurMac));
      InterfaceConfig config;
      config.addresses = {{Ours(), 15}};
      config.dad_transmits = 0;
      interfaces[i].push_back({ports_[i].get(), config});
    }
    SeededRandom random(1);
    auto stack = Stack::Create({.max_connections = 4096}, interfaces, random);
    EXPECT_TRUE(stack.ok()) << stack.status();
    stack_ = *std::move(stack);
    for (uint32_t i = 0; i < kShards; ++i) {
      stack_->Start(i, now_);
      stack_->shard(i).interface(0).SetPermanentNeighbour(now_, Peer(), kPeerMac);
    }
  }

  static IpAddress Ours() { return Ip(GetParam() == Family::kIpv6 ? "2001:2::2" : "198.18.0.2"); }
  static IpAddress Peer() { return Ip(GetParam() == Family::kIpv6 ? "2001:2::1" : "198.18.0.1"); }
  static FourTuple Client(uint32_t i) {
    return {Ours(), Peer(), kPort, static_cast<uint16_t>(20000 + i)};
  }

  // The client's side of what shard `i` sends; its answers take the other queue half of the time.
  void Answer(uint32_t i) {
    for (auto f = ports_[i]->TakeSent(); !f.empty(); f = ports_[i]->TakeSent()) {
      const auto s = ParseSent(f);
      if (!s) continue;
      Wire& by = wires_[(i + s->tuple.remote_port) % kShards];
      if (s->flags == (TcpFlags::kSyn | TcpFlags::kAck)) {
        by.Put(From(s->tuple).Ack(Seq(1001), s->seq + 1));
        by.Put(From(s->tuple).Ack(Seq(1001), s->seq + 1).Data("hello"));
      } else if (s->payload == "hello") {
        echoed_.fetch_add(1);
        by.Put(From(s->tuple).Ack(Seq(1006), s->seq + 5));
      }
    }
  }

  void RunShard(uint32_t i) {
    Instant now = now_;
    while (echoed_.load() < kClients) {
      for (const Bytes& frame : wires_[i].TakeAll()) ports_[i]->Inject(frame);
      now = now + Duration::Micros(10);  // below the retransmission timers for long
      stack_->Poll(i, now);
      Answer(i);
      std::this_thread::yield();
    }
  }

  Instant now_ = Instant::FromNanos(1'000'000'000);
  std::vector<std::unique_ptr<HeapPool>> pools_;
  std::vector<std::unique_ptr<MemoryPort>> ports_;
  std::unique_ptr<Stack> stack_;
  std::array<Wire, kShards> wires_;
  std::atomic<uint32_t> echoed_ = 0;
};

TEST_P(ThreadsTest, EveryConnectionIsServedByItsShard) {
  Echo echo[kShards];
  // So few places that the shards ask each other for some, and that cookies are needed.
  ASSERT_TRUE(stack_
                  ->Listen({.port = kPort, .backlog = 100, .model = ListenModel::kLinux},
                           [&](uint32_t i) -> Application& { return echo[i]; })
                  .ok());
  for (uint32_t c = 0; c < kClients; ++c)
    wires_[c % kShards].Put(From(Client(c)).Syn(Seq(1000)).Mss(1460));
  std::thread other([this] { RunShard(1); });
  RunShard(0);
  other.join();
  EXPECT_EQ(echo[0].accepted + echo[1].accepted, kClients);
  uint64_t steered = 0;
  for (uint32_t i = 0; i < kShards; ++i)
    steered += stack_->shard(i).counters().Get(Counter::UsherSteered);
  EXPECT_GT(steered, kClients / 2);
}

USHER_FOR_BOTH_FAMILIES(ThreadsTest);

}  // namespace
}  // namespace usher::test
