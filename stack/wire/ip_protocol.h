// Protocol numbers of IPv4's protocol and IPv6's next-header field (IANA).
#pragma once

#include <cstdint>

namespace usher {

struct IpProtocol {
  static constexpr uint8_t kHopByHop = 0;
  static constexpr uint8_t kIcmp = 1;
  static constexpr uint8_t kTcp = 6;
  static constexpr uint8_t kUdp = 17;
  static constexpr uint8_t kRouting = 43;
  static constexpr uint8_t kFragment = 44;
  static constexpr uint8_t kIcmpv6 = 58;
  static constexpr uint8_t kNoNextHeader = 59;
  static constexpr uint8_t kDestinationOptions = 60;
};

}  // namespace usher
