// The differences between usher and the kernel that are known and meant: known_differences.txt.
#pragma once

#include <string>

namespace usher::differential {

// Whether the file has an entry of that name.
bool IsKnown(const std::string& name);
// Whether it has an entry "counter NAME", or one for after a SYN-ACK's timeout, and there was one.
bool IsKnownCounter(const std::string& name, bool synack_timeout);

}  // namespace usher::differential
