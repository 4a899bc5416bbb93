// What the network layer has to tell whoever runs it: rare, rate-limited, never per packet.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "stack/wire/address.h"

namespace usher {

struct NetworkEvent {
  enum class Kind : uint8_t {
    kAddressConflict,   // `mac` claims `address`, which is ours and stays in use
    kDuplicateAddress,  // `mac` has `address`: ours of that name is not used (RFC 4862 5.4.5)
    kAddressReady,      // duplicate address detection found `address` free
    kRouterFound,       // `address` is now a default router
    kRouterLost,        // and now no more
    kUnreachable,       // `address`, a gateway, does not answer
  };
  Kind kind;
  uint8_t interface;
  IpAddress address;
  MacAddress mac;  // all zero where it has no meaning
};

// "interface 0: 198.18.0.2 is also claimed by 02:00:00:00:00:09"
std::string ToString(const NetworkEvent& event);

// Called on the shard's thread, within Receive or Advance; must not call back into the interface.
using NetworkEventSink = std::function<void(const NetworkEvent&)>;

}  // namespace usher
