// PAWS, protection against wrapped sequence numbers (RFC 7323 section 5), as Linux has it
// (tcp_paws_check, tcp_paws_reject).
#pragma once

#include <cstdint>

namespace usher {

// How many ticks `tsval` is behind `recent`, the last timestamp taken; not above 0: it is not
// behind. 2^31 away counts as ahead, and 0 as `recent` as nothing told yet.
inline int32_t TicksBehind(uint32_t tsval, uint32_t recent) {
  return recent == 0 ? 0 : static_cast<int32_t>(recent - tsval);
}

// From this age on `recent` says nothing, for a clock of a millisecond may have wrapped meanwhile
// (section 5.5).
constexpr uint32_t kPawsHorizonS = 24 * 24 * 3600;
// The same for a reset where there is no connection yet or any more: its timestamp is seldom worth
// the name, so after a minute it is believed without.
constexpr uint32_t kPawsResetHorizonS = 60;

// Whether what bears `tsval` is to be dropped; `age_s`: how long ago `recent` came.
inline bool PawsRejects(uint32_t tsval, uint32_t recent, uint32_t age_s, bool rst) {
  return TicksBehind(tsval, recent) > 0 && age_s < kPawsHorizonS &&
         !(rst && age_s >= kPawsResetHorizonS);
}

}  // namespace usher
