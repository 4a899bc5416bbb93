// Runs many schedules side by side, each in a process of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/differential/schedule.h"

namespace usher::differential {

// kOnce: differed, but in none of three repetitions, so the difference was of time, not of rules.
enum class Outcome : uint8_t { kSame, kOnce, kDiffers, kLate, kBroken };

struct Verdict {
  Outcome outcome = Outcome::kBroken;
  size_t step = 0;                       // kDiffers, kOnce: where first
  std::string text;                      // kDiffers, kOnce: what; kBroken: why
  std::map<std::string, uint64_t> rows;  // rows of the rule book that were hit, and how often
};

// Plays `schedule` to both sides, in a child process. Blocks.
Verdict Judge(const Schedule& schedule);

// The same for the schedules of all `seeds`, `jobs` at a time. Those that were
// too late, or that differ for the first time, are repeated. `done` is called for each; false from
// it ends the run early.
void JudgeMany(const std::vector<uint64_t>& seeds, uint32_t jobs,
               const std::function<bool(const Schedule&, const Verdict&)>& done);

// Removes steps as long as a difference remains; returns the numbers of those left.
std::vector<size_t> Minimise(const Schedule& schedule, const Verdict& verdict);

// Prints what each step led to on either side.
void PrintBoth(const Schedule& schedule);

// How often runs had to be repeated because the machine was too slow.
uint64_t LateRuns();

// Moves this process into a network namespace of its own, from which those of the schedules take
// settings that cannot be changed later.
void EnterLab();

}  // namespace usher::differential
