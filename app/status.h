// The JSON of /status: what all shards know, put together. Its fields are in README.md.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "stack/api/stack.h"
#include "stack/listen/drop_ledger.h"
#include "stack/tcp/types.h"

namespace usher {

// Counters are read from every shard as they are. Tables belong to their shards: a shard that
// answers looks at its own, and asks the others to look at theirs for the next time.
class StatusBoard {
 public:
  // `stack` outlives it; `services[i]` is the service of listener i, in the order of Listen.
  StatusBoard(Stack* stack, std::vector<std::string> services, Instant started);

  // On the thread of shard `index`.
  std::string Render(uint32_t index);

 private:
  // What only the shard itself may look at.
  struct ShardTables {
    struct Row {
      ListenSpec spec;
      ListenModel model = ListenModel::kLinuxClassic;
      BacklogLimits limits;  // of the listener as a whole
      uint32_t accept_queue = 0;
      uint32_t half_open = 0;
      uint32_t young = 0;
      ListenerCounters counters;
    };
    std::vector<Row> listeners;
    DropLedger without_listener;
    bool states_known = false;
    std::array<uint32_t, 11> states = {};  // connections by TcpState
    uint32_t time_wait = 0;
    uint32_t connections = 0;
    uint32_t packet_buffers_free = 0;
    uint32_t send_blocks_free = 0;
    uint32_t sent_segments_used = 0;
    uint64_t tcp_memory_bytes = 0;
  };
  struct Slot {
    std::mutex mutex;  // for `tables`
    ShardTables tables;
    std::atomic<bool> asked = false;
  };

  // Connections up to which their states are counted: one look at each must not hold the shard up.
  static constexpr uint32_t kCountable = 20'000;

  static void Look(Shard& shard, ShardTables* out);
  void Refresh(uint32_t index);
  void AddListeners(const ShardTables& tables, nlohmann::json* rows) const;

  Stack* stack_;
  const std::vector<std::string> services_;
  const Instant started_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace usher
