// DPDK's environment abstraction layer: started once, for as long as the process serves.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace usher {

using PortId = uint16_t;

// The running EAL. Main thread only. Everything made of DPDK's memory (devices, their pools, what
// they hold) must be gone before it is.
class Eal {
 public:
  // Starts EAL with `args` as DPDK's own programs take them, the program's name left out.
  // Adds `--no-pci` unless a PCI device is named (-a), and a log level of warnings unless one is
  // given. Errors are one line that says what to do: FailedPrecondition (no hugepages, called
  // twice in one process), PermissionDenied (TAP without root), AlreadyExists (interface or
  // --file-prefix in use), InvalidArgument (unknown option or device), Internal (as DPDK logged).
  static absl::StatusOr<std::unique_ptr<Eal>> Start(std::span<const std::string> args);
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

  struct Device {
    PortId port;
    std::string name;    // as EAL knows it: net_tap0, 0000:00:04.0
    std::string driver;  // net_tap, net_virtio, ...
  };
  std::vector<Device> devices() const;

  // The port of a number ("0") or of a device's name; NotFound names what there is.
  absl::StatusOr<PortId> Find(const std::string& number_or_name) const;

 private:
  explicit Eal(std::vector<std::string> args) : args_(std::move(args)) {}

  bool initialized_ = false;
  std::vector<std::string> args_;  // EAL keeps pointers into them
};

}  // namespace usher
