// What the control socket can be asked, and the answers; README.md has the protocol.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stack/api/stack.h"
#include "stack/glue/snapshot.h"

namespace usher {

// What a capture takes; see PacketCapture.
struct CaptureLimits {
  static constexpr uint32_t kLongestFrame =
      9216;                          // the longest frame there is, where none is given
  uint32_t snaplen = kLongestFrame;  // most bytes of a frame
  uint64_t packets = UINT64_MAX;     // ends it
};

// One request line, understood.
struct ControlRequest {
  enum class Command : uint8_t {
    kStatus,
    kListeners,
    kSockets,
    kCounters,
    kSysctlGet,
    kSysctlSet,
    kCapture,
    kShutdown
  };
  Command command = Command::kStatus;
  bool per_shard = false;    // listeners, counters: not added up
  uint8_t socket_kinds = 0;  // sockets: bits 1 << SocketSnapshot::Kind
  bool info = false;         // sockets: with what ss -i shows
  std::string name;          // sysctl; empty: all
  std::string value;
  CaptureLimits capture;
};

// InvalidArgument: not JSON, or not a request; the message says what is wrong with it.
absl::StatusOr<ControlRequest> ParseControlRequest(const std::string& line);

// Where an answer goes, row by row. False: nobody is there any more.
using RowSink = absl::AnyInvocable<bool(const nlohmann::json& row)>;

// Answers requests about one stack. Any thread but the shards' own; several at once.
class ControlCommands {
 public:
  // Slots that one errand looks at, at most: some 100 us of a shard's time.
  static constexpr uint32_t kSlotsPerErrand = 1024;

  // All outlive this. Once `stop` is true, requests end early.
  ControlCommands(Stack& stack, std::string instance, const std::atomic<bool>& stop);

  // Sends the rows to `sink`. Unavailable: a shard does not answer. NotFound, InvalidArgument: of
  // a sysctl. kCapture and kShutdown are
  // not answered here.
  absl::Status Run(const ControlRequest& request, RowSink sink);

  // The parts, for telemetry.
  absl::StatusOr<std::vector<ListenersSnapshot>> Listeners();
  // Calls visit(socket, shard) for every socket until it returns false.
  absl::Status Sockets(uint8_t kinds,
                       absl::AnyInvocable<bool(const SocketSnapshot&, uint32_t)> visit);
  CounterValues Counters() const;
  // The settings of shard 0: all shards have the same, but for those computed from a table's size.
  absl::StatusOr<Sysctls> Settings();

 private:
  nlohmann::json Status();
  absl::Status RunListeners(bool per_shard, RowSink& sink);
  absl::Status RunSockets(const ControlRequest& request, RowSink& sink);
  absl::Status RunCounters(bool per_shard, RowSink& sink);
  absl::Status RunSysctlGet(const std::string& name, RowSink& sink);
  absl::Status RunSysctlSet(const std::string& name, const std::string& value, RowSink& sink);

  Stack& stack_;
  const std::string instance_;
  const std::atomic<bool>& stop_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace usher
