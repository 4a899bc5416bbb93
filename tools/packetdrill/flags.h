// The text behind packetdrill's --so_flags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stack/listen/backlog.h"

namespace usher::packetdrill {

struct Flags {
  uint16_t mtu = 1500;
  bool tso = true;     // segments of up to 64 KiB leave whole, as over Linux's TUN device
  bool still = false;  // an empty netdev_receive does not move the clock
  ListenModel listen_model = ListenModel::kLinux;
  uint64_t seed = 1;
  std::string sysctl_root = "/proc/sys";  // where the settings are read, for tests

  // A comma-separated list of key=value. Unknown keys are ignored (`v` among them: a socket says
  // itself which family it is of), and so are values that cannot be.
  static Flags Parse(std::string_view text);
};

}  // namespace usher::packetdrill
