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
#include "stack/ip/token_bucket.h"

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
  TokenBucket& icmp_rate;
  // Set by what reads a frame that concerns the host's other shards too (neighbour and router
  // advertisements, errors about segments): they come in by one queue only.
  bool concerns_all = false;

  void Count(Counter counter, uint64_t n = 1) { counters.Add(counter, n); }
  // Whether one more ICMP or ICMPv6 error may go out now.
  bool AllowIcmpError() {
    if (!icmp_rate.Take(now)) return false;
    // The exact limit, seen from outside, would tell which ports we answer from (CVE-2020-25705).
    icmp_rate.Spill(static_cast<uint32_t>(random.Uniform(3)));
    return true;
  }
  void Tell(NetworkEvent::Kind kind, const IpAddress& address, const MacAddress& mac = {}) {
    if (events) events({kind, index, address, mac});
  }
};

}  // namespace usher
