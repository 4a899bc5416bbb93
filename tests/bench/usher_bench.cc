// In-process benchmarks of the stack's own cost, without a port: TSC cycles per segment or request.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "tests/bench/scenarios.h"

namespace usher::bench {
namespace {

// Reports the median over the bursts of cycles per item: a burst during which the machine did
// something else does not count.
template <class Scenario>
void Measure(benchmark::State& state, Scenario scenario) {
  std::vector<double> per_item;
  for (auto _ : state) {
    scenario.Burst([&](World& w) {
      const auto cycles = static_cast<double>(w.Poll());
      per_item.push_back(cycles / scenario.items);
      state.SetIterationTime(cycles / TscHz());
    });
  }
  auto middle = per_item.begin() + static_cast<ptrdiff_t>(per_item.size() / 2);
  std::nth_element(per_item.begin(), middle, per_item.end());
  state.counters["cycles"] = *middle;
}

void BM_SynCookie(benchmark::State& state) { Measure(state, SynCookie()); }
void BM_SynTable(benchmark::State& state) { Measure(state, SynTable()); }
void BM_HandshakeAck(benchmark::State& state) { Measure(state, HandshakeAck()); }
void BM_DataSegment(benchmark::State& state) { Measure(state, DataSegment()); }
// Over as many connections as the argument says.
void BM_Request(benchmark::State& state) {
  Measure(state, Request(static_cast<uint32_t>(state.range(0))));
}
void BM_IdlePoll(benchmark::State& state) { Measure(state, IdlePoll()); }

BENCHMARK(BM_SynCookie)->Name("SynCookie")->UseManualTime();
BENCHMARK(BM_SynTable)->Name("SynTable")->UseManualTime();
BENCHMARK(BM_HandshakeAck)->Name("HandshakeAck")->UseManualTime();
BENCHMARK(BM_DataSegment)->Name("DataSegment")->UseManualTime();
BENCHMARK(BM_Request)->Name("Request")->UseManualTime()->Arg(1)->Arg(64)->Arg(10000)->Arg(100000);
BENCHMARK(BM_IdlePoll)->Name("IdlePoll")->UseManualTime();

}  // namespace
}  // namespace usher::bench

BENCHMARK_MAIN();
