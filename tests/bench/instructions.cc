// Counts the instructions of the hot paths under valgrind: instructions.py runs it and compares.
#include <valgrind/callgrind.h>

#include <algorithm>
#include <cstdio>

#include "stack/base/siphash_batch.h"
#include "tests/bench/scenarios.h"

namespace usher::bench {
namespace {

constexpr int kBursts = 64;

// Dumps the instructions of kBursts measured passes under `name`, and says by what to divide them.
template <class Scenario>
void Count(const char* name, Scenario scenario) {
  // Tables are touched and paths learnt before.
  for (int i = 0; i < 16; ++i) scenario.Burst([](World& w) { w.Poll(); });
  CALLGRIND_ZERO_STATS;
  for (int i = 0; i < kBursts; ++i) {
    scenario.Burst([](World& w) {
      CALLGRIND_TOGGLE_COLLECT;
      w.Poll();
      CALLGRIND_TOGGLE_COLLECT;
    });
  }
  CALLGRIND_DUMP_STATS_AT(name);
  std::printf("%s %u\n", name, kBursts * static_cast<uint32_t>(scenario.items));
}

}  // namespace
}  // namespace usher::bench

int main() {
  using namespace usher::bench;
  if (RUNNING_ON_VALGRIND == 0) {
    std::fputs("instructions: to be run by tests/bench/instructions.py\n", stderr);
    return 2;
  }
  // What the machine has decides how hashes are computed.
  const auto ways = usher::internal::SipWays();
  const auto way =
      std::find_if(ways.begin(), ways.end(), [](const auto& w) { return w.supported; });
  std::printf("build %s, SipHash by %s\n", USHER_BUILD, way->name);
  Count("SynCookie", SynCookie());
  Count("SynTable", SynTable());
  Count("HandshakeAck", HandshakeAck());
  Count("DataSegment", DataSegment());
  Count("Request", Request(64));
  Count("IdlePoll", IdlePoll());
  return 0;
}
