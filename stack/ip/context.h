// What the protocols of one interface share.
#pragma once

#include <cstdint>

#include "stack/base/counters.h"
#include "stack/base/random.h"
#include "stack/base/time.h"
#include "stack/ip/events.h"
#include "stack/ip/limits.h"
#include "stack/ip/link.h"
#include "stack/ip/local_addresses.h"
#include "stack/ip/neighbour_cache.h"

namespace usher {

struct InterfaceContext {
  uint8_t index;
  Instant now;  // of the current pass
  const NetworkLimits& limits;
  Link& link;
  LocalAddresses& addresses;
  NeighbourCache& neighbours;
  Counters& counters;
  SeededRandom& random;  // for jitter only
  const NetworkEventSink& events;

  void Count(Counter counter, uint64_t n = 1) { counters.Add(counter, n); }
  void Tell(NetworkEvent::Kind kind, const IpAddress& address, const MacAddress& mac = {}) {
    if (events) events({kind, index, address, mac});
  }
};

}  // namespace usher
