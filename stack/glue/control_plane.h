// Everything by which a server is looked at and steered from outside: the control socket in EAL's
// runtime directory, and the telemetry commands.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "stack/glue/control_server.h"
#include "stack/glue/telemetry.h"

namespace usher {

class ControlPlane {
 public:
  // After EAL has started, from the main thread. `on_shutdown`: see ControlOptions. Must end before
  // the stack does. Errors as ControlServer::Start and Telemetry::Start.
  static absl::StatusOr<std::unique_ptr<ControlPlane>> Start(Stack& stack,
                                                             std::function<void()> on_shutdown);

 private:
  ControlPlane() = default;
  std::unique_ptr<ControlServer> server_;
  std::unique_ptr<Telemetry> telemetry_;
};

}  // namespace usher
