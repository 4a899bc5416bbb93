// listen-differential: the same schedules for the live kernel and for usher; see README.md.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "tests/differential/coverage.h"
#include "tests/differential/farm.h"
#include "tests/differential/play.h"
#include "tests/differential/schedule.h"

namespace usher::differential {
namespace {

// More differences than this that no repetition shows are not an accident.
constexpr uint64_t kMostOncePer100 = 2;
constexpr int kSkipped = 77;
constexpr uint64_t kHitsPer10000 = 20;

struct Arguments {
  uint64_t schedules = 500;
  uint64_t seed = 1;
  uint32_t jobs = 48;
  bool first_failure = false;
  bool coverage = false;
  bool print = false;
  bool minimise = true;
  uint64_t reports = 12;
  std::string steps;
  std::string profile;
};

void Usage() {
  std::fputs(
      "usage: listen-differential [--schedules N] [--seed S] [--jobs J] [--first-failure]\n"
      "                           [--coverage] [--reports N] [--no-minimise] [--profile NAME]\n"
      "                           [--steps LIST] [--print]\n"
      "  --schedules N    how many, with the seeds S, S+1, ... (500)\n"
      "  --jobs J         how many side by side (48)\n"
      "  --first-failure  stop at the first difference\n"
      "  --coverage       a table of the rule book's rows; fails if one is hit too seldom\n"
      "  --reports N      how many differences are shown (12)\n"
      "  --no-minimise    show them with the step alone\n"
      "  --profile NAME   only schedules of that plan: those of other seeds are left out\n"
      "  --steps LIST     only these steps (\"0-3,7\") of the schedule of seed S\n"
      "  --print          the schedule of seed S and what each step led to on either side\n",
      stderr);
  std::exit(2);
}

uint64_t Number(const char* text) {
  char* end = nullptr;
  const uint64_t value = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') Usage();
  return value;
}

Arguments Read(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&] {
      if (++i == argc) Usage();
      return argv[i];
    };
    if (name == "--schedules")
      a.schedules = Number(value());
    else if (name == "--seed")
      a.seed = Number(value());
    else if (name == "--jobs")
      a.jobs = static_cast<uint32_t>(Number(value()));
    else if (name == "--first-failure")
      a.first_failure = true;
    else if (name == "--coverage")
      a.coverage = true;
    else if (name == "--steps")
      a.steps = value();
    else if (name == "--profile")
      a.profile = value();
    else if (name == "--reports")
      a.reports = Number(value());
    else if (name == "--no-minimise")
      a.minimise = false;
    else if (name == "--print")
      a.print = true;
    else
      Usage();
  }
  if (a.jobs == 0) Usage();
  return a;
}

void Report(const Arguments& a, const Schedule& schedule, const Verdict& verdict) {
  std::printf("seed %llu (%s): ", static_cast<unsigned long long>(schedule.seed),
              schedule.profile.c_str());
  if (verdict.outcome == Outcome::kOnce) {
    std::printf("once, and in no repetition, at step %zu: %s\n%s", verdict.step,
                ToString(schedule.steps[verdict.step]).c_str(), verdict.text.c_str());
    return;
  }
  if (verdict.outcome != Outcome::kDiffers) {
    std::printf("%s\n",
                verdict.outcome == Outcome::kLate ? "too late every time" : verdict.text.c_str());
    return;
  }
  if (!a.minimise) {
    std::printf("step %zu: %s\n%s", verdict.step, ToString(schedule.steps[verdict.step]).c_str(),
                verdict.text.c_str());
    return;
  }
  const std::vector<size_t> kept = Minimise(schedule, verdict);
  const Schedule least = Keep(schedule, kept);
  const Verdict again = Judge(least);
  if (again.outcome != Outcome::kDiffers) {
    std::printf("differs at step %zu, but not again when minimised\n%s", verdict.step,
                verdict.text.c_str());
    std::fputs(ToString(schedule).c_str(), stdout);
    return;
  }
  std::printf(
      "differs at step %zu of\n%s%s  replay: listen-differential --seed %llu --steps %s --print\n",
      again.step, ToString(least).c_str(), again.text.c_str(),
      static_cast<unsigned long long>(schedule.seed), StepListToString(kept).c_str());
  std::fflush(stdout);
}

// One schedule, or some of its steps.
int RunOne(const Arguments& a) {
  Schedule schedule = Generate(a.seed);
  if (!a.steps.empty()) {
    const std::vector<size_t> kept = ParseStepList(a.steps);
    if (kept.empty()) Usage();
    schedule = Keep(schedule, kept);
  }
  if (a.print) PrintBoth(schedule);
  const Verdict v = Judge(schedule);
  if (v.outcome == Outcome::kSame) {
    std::puts("same");
    return 0;
  }
  std::printf("step %zu:\n%s", v.step, v.text.c_str());
  return 1;
}

std::vector<uint64_t> Seeds(const Arguments& a) {
  std::vector<uint64_t> seeds;
  for (uint64_t seed = a.seed; seed < a.seed + a.schedules; ++seed)
    if (a.profile.empty() || Generate(seed).profile == a.profile) seeds.push_back(seed);
  return seeds;
}

int RunMany(const Arguments& a) {
  uint64_t same = 0, once = 0, differ = 0, broken = 0;
  std::map<std::string, uint64_t> hits;
  timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  std::vector<std::pair<Schedule, Verdict>> bad;
  JudgeMany(Seeds(a), a.jobs, [&](const Schedule& schedule, const Verdict& v) {
    for (const auto& [row, n] : v.rows) hits[row] += n;
    if (v.outcome == Outcome::kSame) {
      ++same;
      return true;
    }
    ++(v.outcome == Outcome::kOnce ? once : v.outcome == Outcome::kDiffers ? differ : broken);
    if (bad.size() < a.reports) bad.emplace_back(schedule, v);
    return !a.first_failure || v.outcome == Outcome::kOnce;
  });
  clock_gettime(CLOCK_MONOTONIC, &end);
  for (const auto& [schedule, v] : bad) Report(a, schedule, v);
  bool covered = true;
  if (a.coverage) {
    const uint64_t done = same + once + differ;
    for (const std::string& row : AllRows()) {
      const bool enough = hits[row] * 10000 >= kHitsPer10000 * done;
      covered &= enough;
      std::printf("%8llu  %s%s\n", static_cast<unsigned long long>(hits[row]), row.c_str(),
                  enough ? "" : "   TOO SELDOM");
    }
  }
  const auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "%llu schedules: %llu the same, %llu once not, %llu differ, %llu broken; %llu runs repeated "
      "(late); %.1f s\n",
      number(same + once + differ + broken), number(same), number(once), number(differ),
      number(broken), number(LateRuns()),
      static_cast<double>(end.tv_sec - begin.tv_sec) +
          static_cast<double>(end.tv_nsec - begin.tv_nsec) / 1e9);
  const bool steady = once * 100 <= kMostOncePer100 * (same + once);
  if (!steady)
    std::puts("too many schedules differed once: the machine is too busy, or it is real");
  return differ + broken == 0 && covered && steady ? 0 : 1;
}

int Main(int argc, char** argv) {
  const Arguments a = Read(argc, argv);
  if (geteuid() != 0) {
    std::puts("skipped: network namespaces and TUN devices need root");
    return kSkipped;
  }
  if (access("/dev/net/tun", R_OK | W_OK) != 0) {
    std::puts("skipped: there is no /dev/net/tun");
    return kSkipped;
  }
  EnterLab();
  return a.print || !a.steps.empty() ? RunOne(a) : RunMany(a);
}

}  // namespace
}  // namespace usher::differential

int main(int argc, char** argv) { return usher::differential::Main(argc, argv); }
