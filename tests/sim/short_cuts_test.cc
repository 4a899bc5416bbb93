// The hot path has short cuts: header prediction, an acknowledgment of nothing or of all that is
// out, the neighbour found last. None may change anything but the cost. The same stack is built a
// second time without them (long-way), both are played the same segments, calls and times, and
// must send the same bytes and stand the same after every step.
#include "stack/base/short_cuts.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/sim/short_cuts_play.h"

static_assert(usher::kShortCuts);

namespace usher::sim {
namespace {

constexpr uint64_t kBatch = 250;  // seeds to one test

// What the program beside this one prints.
std::string LongWay(const std::string& arguments) {
  const std::filesystem::path own = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = (own.parent_path() / "long-way").string() + " " + arguments;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  std::array<char, 4096> piece{};
  for (size_t n = 1; pipe != nullptr && n > 0;) {
    n = fread(piece.data(), 1, piece.size(), pipe.get());
    text.append(piece.data(), n);
  }
  return text;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Where the two first differ: the lines before it, and both.
std::string FirstDifference(uint64_t seed) {
  std::string all;
  for (const std::string& step : Play(seed)) all += step + "\n";
  const std::vector<std::string> ours = Lines(all);
  const std::vector<std::string> others = Lines(LongWay(std::to_string(seed)));
  size_t i = 0;
  while (i < ours.size() && i < others.size() && ours[i] == others[i]) ++i;
  std::string text;
  for (size_t k = i < 7 ? 0 : i - 7; k < i; ++k) text += "  both:  " + ours[k] + "\n";
  if (i < ours.size()) text += "  short: " + ours[i] + "\n";
  if (i < others.size()) text += "  long:  " + others[i] + "\n";
  return text;
}

// USHER_SIM_SEEDS in the environment: how many.
uint64_t Batches() {
  const char* seeds = std::getenv("USHER_SIM_SEEDS");
  return ((seeds != nullptr ? std::strtoull(seeds, nullptr, 10) : 4000) + kBatch - 1) / kBatch;
}

class ShortCutsTest : public testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Batches, ShortCutsTest, testing::Range<uint64_t>(0, Batches()));

TEST_P(ShortCutsTest, ChangeNothingButTheCost) {
  const uint64_t first = GetParam() * kBatch + 1;
  const uint64_t last = first + kBatch - 1;
  const std::vector<std::string> long_way =
      Lines(LongWay(std::to_string(first) + " " + std::to_string(last)));
  ASSERT_EQ(long_way.size(), kBatch) << "tests/sim/long-way " << first << " " << last;
  for (uint64_t seed = first; seed <= last; ++seed) {
    ASSERT_EQ(std::to_string(Digest(Play(seed))), long_way[seed - first])
        << "seed " << seed << " differs; all of its steps: tests/sim/long-way " << seed << "\n"
        << FirstDifference(seed);
  }
}

}  // namespace
}  // namespace usher::sim
