// Which of the stack's work is left to a port that offers to do it.
#pragma once

#include <cstdint>

namespace usher {

// Who computes checksums.
enum class ChecksumPolicy : uint8_t {
  kAuto,   // the port where it has hardware for it: PCI devices, except virtio's
  kStack,  // the stack
  kPort,   // the port, as far as its driver offers it
};

struct OffloadOptions {
  ChecksumPolicy rx_checksum = ChecksumPolicy::kAuto;
  ChecksumPolicy tx_checksum = ChecksumPolicy::kAuto;
  // Large segments are cut by the port, if it can and gains by that.
  bool tso = true;
};

}  // namespace usher
