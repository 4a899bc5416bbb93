// The kernel's settings as a script left them, for the stack to follow.
#pragma once

#include <string>

#include "stack/base/sysctl.h"

namespace usher::packetdrill {

// Takes over what `root` (/proc/sys) says of every setting the stack knows; what is missing or
// cannot be stays as it is. Not those that are the machine's measure and not a script's: tcp_mem,
// tcp_max_orphans, tcp_max_tw_buckets.
void ReadSysctls(Sysctls& sysctls, const std::string& root);

}  // namespace usher::packetdrill
