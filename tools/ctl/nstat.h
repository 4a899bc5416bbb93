// usherctl nstat: counters, with nstat's memory of the last call.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/ctl/client.h"

namespace usher::ctl {

struct NstatOptions {
  bool absolute = false;   // -a: values since the server's start, not since the last call
  bool zeros = false;      // -z
  bool no_update = false;  // -s: the last call stays what it was
  bool no_output = false;  // -n: only note the values down
  std::vector<std::string> patterns;  // shell patterns, as nstat's; none: all
};

absl::StatusOr<NstatOptions> ParseNstatOptions(const std::vector<std::string>& arguments);

// All counters of one server at one moment.
struct NstatSample {
  struct Value {
    std::string name;
    uint64_t value = 0;
    bool gauge = false;
  };
  std::string server;   // names one life of a server
  int64_t time_ns = 0;  // wall clock
  std::vector<Value> values;
};

struct NstatRow {
  std::string name;
  uint64_t value = 0;
  double rate = 0;  // per second since the last call
};

// What is printed of `now` when the call before saw `before` (nothing: there was none, or the
// server has been started anew since). Gauges are shown as they stand.
std::vector<NstatRow> NstatRows(const NstatOptions& options, const NstatSample& now,
                                const std::optional<NstatSample>& before);

std::string FormatHistory(const NstatSample& sample);
std::optional<NstatSample> ParseHistory(const std::string& text);

absl::Status RunNstat(Client& client, const NstatOptions& options, bool json);

}  // namespace usher::ctl
