// What an interface may use at most. All of it is taken when the interface is made.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

struct NetworkLimits {
  // Neighbour cache: each group of entries has its own bound, so that a flood of one kind evicts
  // only its like (neighbour_cache.h).
  uint32_t neighbours_confirmed = 1024;  // have answered us once
  uint32_t neighbours_offered = 512;     // told us their address by asking for ours
  uint32_t neighbours_resolving = 256;   // asked for, or without an answer
  uint32_t neighbours_pinned = 32;       // gateways and configured ones
  uint32_t pending_per_neighbour = 3;    // packets that wait for a link address
  uint32_t pending_packets = 128;        // the same, for all neighbours together

  uint32_t tx_backlog = 1024;     // frames the port has not taken yet
  uint32_t control_reserve = 16;  // buffers kept back for ARP, NDP and bare acknowledgments

  // Reassembly. Each datagram in work has 64 KB of its own.
  uint32_t reassembly_datagrams = 32;
  uint32_t reassembly_per_source = 8;     // of these, from one address
  uint32_t fragments_per_datagram = 128;  // 64 KB in packets of 576 bytes are 119
  Duration ipfrag_time = Duration::Seconds(30);
  Duration ip6frag_time = Duration::Seconds(60);

  // ICMP and ICMPv6 errors sent, per interface (Linux: icmp_msgs_per_sec, icmp_msgs_burst).
  uint32_t icmp_msgs_per_sec = 1000;
  uint32_t icmp_msgs_burst = 50;
  // ARP requests and neighbour solicitations that start or repeat a resolution.
  uint32_t solicits_per_sec = 1000;
  uint32_t solicits_burst = 100;

  uint32_t default_routers = 8;    // learnt from router advertisements
  uint32_t on_link_prefixes = 16;  // learnt from router advertisements
};

}  // namespace usher
