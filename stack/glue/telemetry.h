// The small views of a stack as DPDK telemetry commands: /usher/listeners, /usher/connections,
// /usher/counters, /usher/drops, /usher/sysctl. dpdk-telemetry.py shows them.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "stack/glue/control_commands.h"

namespace usher {

// Answers telemetry's questions while it lives; one at a time in a process. A reply has 512 rows
// and 16 KiB at most, as DPDK bounds it: what is longer goes by the control socket.
class Telemetry {
 public:
  // After EAL has started. `commands` outlives it. AlreadyExists: there is one.
  static absl::StatusOr<std::unique_ptr<Telemetry>> Start(ControlCommands& commands);
  ~Telemetry();
  Telemetry(const Telemetry&) = delete;
  Telemetry& operator=(const Telemetry&) = delete;

 private:
  Telemetry() = default;
};

}  // namespace usher
