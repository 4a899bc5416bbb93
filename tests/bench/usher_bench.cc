// In-process benchmarks of the stack's own cost, without a port: TSC cycles per segment or request.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "tests/bench/bench_world.h"

namespace usher::bench {
namespace {

// Reports the median over the bursts of cycles per item: a burst during which the machine did
// something else does not count.
class Meter {
 public:
  explicit Meter(benchmark::State& state) : state_(state) {}
  ~Meter() {
    auto middle = per_item_.begin() + static_cast<ptrdiff_t>(per_item_.size() / 2);
    std::nth_element(per_item_.begin(), middle, per_item_.end());
    state_.counters["cycles"] = *middle;
  }
  void Add(uint64_t cycles, uint32_t items) {
    per_item_.push_back(static_cast<double>(cycles) / items);
    state_.SetIterationTime(static_cast<double>(cycles) / TscHz());
  }

 private:
  benchmark::State& state_;
  std::vector<double> per_item_;
};

// A SYN answered by cookie: nothing is stored.
void SynCookie(benchmark::State& state) {
  World w(1024, 2);
  Meter meter(state);
  uint32_t i = 0;
  for (auto _ : state) {
    for (uint32_t k = 0; k < kBurstSize; ++k, ++i) w.QueueSyn(World::TupleOf(i & 0xffffff), Seq(i));
    meter.Add(w.Poll(), kBurstSize);
    w.Drop();
  }
}
BENCHMARK(SynCookie)->UseManualTime();

// A SYN answered from the SYN table; the request is then taken back by a reset, unmeasured.
void SynTable(benchmark::State& state) {
  World w(65536);
  Meter meter(state);
  uint32_t i = 0;
  for (auto _ : state) {
    const uint32_t first = i;
    for (uint32_t k = 0; k < kBurstSize; ++k) w.QueueSyn(World::TupleOf(i++ & 0xffffff), Seq(1000));
    meter.Add(w.Poll(), kBurstSize);
    w.Drop();
    for (uint32_t k = 0; k < kBurstSize; ++k)
      w.Queue(World::TupleOf((first + k) & 0xffffff), TcpFlags::kRst, Seq(1001), Seq(0), {}, {});
    w.Poll();
    w.Drop();
  }
}
BENCHMARK(SynTable)->UseManualTime();

// The ACK that completes a handshake, the accept included; the connection is then reset,
// unmeasured.
void HandshakeAck(benchmark::State& state) {
  World w(65536);
  Meter meter(state);
  for (auto _ : state) {
    w.clients.clear();
    for (uint32_t k = 0; k < kBurstSize; ++k) w.QueueSyn(World::TupleOf(k), Seq(1000));
    w.Poll();
    for (uint32_t k = 0; k < kBurstSize; ++k) {
      Client c{World::TupleOf(k), Seq(1001), Seq(0), 0};
      World::Take(c, w.port().sent()[k]);
      w.clients.push_back(c);
    }
    w.Drop();
    for (Client& c : w.clients) w.QueueData(c, TcpFlags::kAck, {});
    meter.Add(w.Poll(), kBurstSize);
    for (Client& c : w.clients) w.QueueData(c, TcpFlags::kRst | TcpFlags::kAck, {});
    w.Poll();
    w.Drop();
  }
}
BENCHMARK(HandshakeAck)->UseManualTime();

// One in-order segment of 1,448 bytes, read by slice and acknowledged.
void DataSegment(benchmark::State& state) {
  World w(1024);
  w.Open(0, 2 * kBurstSize);
  Meter meter(state);
  const std::vector<uint8_t> payload(1448, 'x');
  uint32_t i = 0;
  for (auto _ : state) {
    for (uint32_t k = 0; k < kBurstSize; ++k)
      w.QueueData(w.clients[i++ % w.clients.size()], TcpFlags::kAck, payload);
    meter.Add(w.Poll(), kBurstSize);
    w.Drop();
  }
}
BENCHMARK(DataSegment)->UseManualTime();

// A request of 128 bytes answered by 438, over as many connections as the argument says; each burst
// touches 32 of them.
void Request(benchmark::State& state) {
  const auto connections = static_cast<uint32_t>(state.range(0));
  World w(connections + 64);
  w.responder.response.assign(438, 'y');
  w.Open(0, connections);
  Meter meter(state);
  const std::vector<uint8_t> request(128, 'x');
  uint32_t i = 0;
  for (auto _ : state) {
    const uint32_t n = std::min(kBurstSize, connections);
    const uint32_t first = i;
    // A stride that is prime to the count, so that neighbours in time are not neighbours in memory.
    for (uint32_t k = 0; k < n; ++k)
      w.QueueData(w.clients[(i++ * 7919ull) % connections], TcpFlags::kAck | TcpFlags::kPsh,
                  request);
    meter.Add(w.Poll(), n);
    USHER_CHECK(w.port().sent().size() == n);
    for (uint32_t k = 0; k < n; ++k)
      World::Take(w.clients[((first + k) * 7919ull) % connections], w.port().sent()[k]);
    w.Drop();
  }
}
BENCHMARK(Request)->UseManualTime()->Arg(1)->Arg(64)->Arg(10000)->Arg(100000);

// A pass that finds nothing to do.
void IdlePoll(benchmark::State& state) {
  World w(1024);
  Meter meter(state);
  for (auto _ : state) meter.Add(w.Poll(), 1);
}
BENCHMARK(IdlePoll)->UseManualTime();

}  // namespace
}  // namespace usher::bench

BENCHMARK_MAIN();
