// Plays a schedule to a subject and writes down what came of each step; compares two such accounts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/differential/schedule.h"
#include "tests/differential/subject.h"

namespace usher::differential {

struct SeenPacket {
  uint8_t client = 0;
  double at_ms = 0;
  std::string text;
};

// What one step led to, until the next.
struct StepResult {
  double begin_ms = 0;
  double end_ms = 0;
  bool is_wait = false;
  std::vector<SeenPacket> packets;
  std::vector<std::string> facts;           // results of calls, and the listener's queue
  std::vector<std::string> rows;            // the sockets of all clients
  std::map<std::string, int64_t> counters;  // by how much they rose; those that did
};
using Trace = std::vector<StepResult>;

// False in *in_time: the machine was too slow for the schedule's times; the account is worthless.
Trace Play(const Schedule& schedule, Subject& subject, bool* in_time);

struct Difference {
  size_t step = 0;
  std::string text;  // what differs, kernel and usher beside each other
};
std::optional<Difference> Compare(const Trace& kernel, const Trace& usher);

// One step's account in lines.
std::string ToString(const StepResult& result);

}  // namespace usher::differential
