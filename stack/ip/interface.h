// One network interface of a shard: a port with addresses, its neighbours, and the input of
// everything that is not TCP.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "stack/base/counters.h"
#include "stack/base/random.h"
#include "stack/base/time.h"
#include "stack/ip/l4_packet.h"
#include "stack/packet/burst.h"
#include "stack/port/port.h"
#include "stack/wire/address.h"

namespace usher {

struct InterfaceAddress {
  IpAddress address;
  int prefix_length = 0;
};

// As configured; see contracts.md, [[interface]].
struct InterfaceConfig {
  std::vector<InterfaceAddress> addresses;
  std::optional<IpAddress> gateway;  // IPv4
  std::optional<IpAddress> gateway6;
  uint16_t mtu = 1500;
  uint16_t vlan = 0;  // 0: untagged
};

}  // namespace usher
