// usherctl top: the listeners with their two queues, what is dropped and why, shard by shard, live.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/ctl/client.h"

namespace usher::ctl {

struct TopOptions {
  double interval_s = 1;  // -d
  int count = 0;          // -n: frames, then end; 0: until q
};

absl::StatusOr<TopOptions> ParseTopOptions(const std::vector<std::string>& arguments);

// A server at one moment.
struct TopSample {
  struct Listener {
    std::string name;
    uint64_t half_open = 0, half_open_capacity = 0;
    uint64_t queue = 0, queue_limit = 0;
    std::string held_back_by;
  };
  struct Shard {
    std::map<std::string, uint64_t> load;
    std::map<std::string, uint64_t> counters;
    std::map<std::string, uint64_t> drops;  // by reason
    uint64_t half_open = 0;
    uint64_t queued = 0;
    uint64_t syns = 0;
    uint64_t accepted = 0;
  };
  std::string instance;
  int64_t pid = 0;
  uint64_t uptime_ms = 0;
  double time_s = 0;  // steady clock
  std::vector<Listener> listeners;
  std::vector<Shard> shards;
};

// Made of the rows of "status", "listeners", "listeners" per shard and "counters" per shard.
TopSample ParseTopSample(const nlohmann::json& status, const std::vector<nlohmann::json>& listeners,
                         const std::vector<nlohmann::json>& per_shard,
                         const std::vector<nlohmann::json>& counters);

// The picture, at most `width` columns (80 at least are made use of); rates are those since
// `before`. With `color` bars carry escape sequences.
std::vector<std::string> TopFrame(const TopSample& now, const TopSample& before, size_t width,
                                  bool color);

// "0", "12.3", "4.56k", "7.89M": at most five characters.
std::string ShortNumber(double value);
// "[####......]"; full at value >= limit.
std::string Bar(uint64_t value, uint64_t limit, size_t width);

absl::Status RunTop(Client& client, const TopOptions& options, bool json);

}  // namespace usher::ctl
