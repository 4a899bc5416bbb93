// A connection and a peer that sends it whatever a seed says, for comparing builds of the stack
// (short_cuts_test.cc).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace usher::sim {

// What came of each step, in order: what the peer, the application and the clock did, all that the
// stack sent, byte by byte, and how it stands afterwards.
std::vector<std::string> Play(uint64_t seed);

// A number for all of it.
uint64_t Digest(const std::vector<std::string>& steps);

}  // namespace usher::sim
