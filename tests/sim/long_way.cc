// The stack without its short cuts, for short_cuts_test.cc: plays the seeds FIRST to LAST and
// prints what came of each, by number; of a single one every step.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "stack/base/short_cuts.h"
#include "tests/sim/short_cuts_play.h"

static_assert(!usher::kShortCuts);

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc < 2) return 2;
  const uint64_t first = std::strtoull(argv[1], nullptr, 10);
  if (argc == 2) {
    for (const std::string& step : usher::sim::Play(first)) std::printf("%s\n", step.c_str());
    return 0;
  }
  const uint64_t last = std::strtoull(argv[2], nullptr, 10);
  for (uint64_t seed = first; seed <= last; ++seed)
    std::printf("%llu\n",
                static_cast<unsigned long long>(usher::sim::Digest(usher::sim::Play(seed))));
  return 0;
}
