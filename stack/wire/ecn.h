// The ECN field: the low two bits of IPv4's TOS and IPv6's traffic class (RFC 3168 section 5).
#pragma once

#include <cstdint>

namespace usher {

enum class Ecn : uint8_t {
  kNotEct = 0,  // the sender does not understand marks
  kEct1 = 1,
  kEct0 = 2,
  kCe = 3,  // congestion experienced
};

inline constexpr uint8_t kEcnMask = 3;

inline Ecn EcnOf(uint8_t tos) { return static_cast<Ecn>(tos & kEcnMask); }

}  // namespace usher
