// The running kernel behind packetdrill's interface, to hold our scripts against Linux itself.
#pragma once

#include <map>
#include <string>

#include "tools/packetdrill/interface.h"

namespace usher::script {

// Puts this process into a network namespace of its own (root only), with a TUN device that has the
// addresses the scripts use, and `sysctls` set there. Real time. With `tso` the device takes large
// segments, as packetdrill's does. False: says why on stderr.
bool OpenKernel(const std::map<std::string, std::string>& sysctls, int mtu, bool tso,
                packetdrill_interface* api);

}  // namespace usher::script
