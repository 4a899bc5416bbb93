// What the network layer hands up: transport packets with their addresses already read.
#pragma once

#include <array>
#include <cstdint>

#include "stack/packet/burst.h"
#include "stack/packet/pool.h"
#include "stack/wire/address.h"

namespace usher {

// A received TCP segment, still in its buffer. Valid only during the pass that received it; to keep
// the payload, hold `packet` (Slice::Hold) if it has a handle. A datagram put together from
// fragments has none, nor has what a sibling shard handed over: the bytes are the reassembler's or
// the ring's, and who wants to keep them copies them.
struct L4Packet {
  Packet packet;
  PacketPool* pool = nullptr;  // of the port it came by: where its buffer goes back to
  uint8_t* l4 = nullptr;       // first byte of the TCP header
  uint16_t l4_length = 0;      // TCP header and payload
  uint8_t interface = 0;       // index of the interface it came in by
  uint8_t tos = 0;             // IPv4 TOS or IPv6 traffic class; ECN in its low 2 bits
  uint8_t hop_limit = 0;
  bool checksum_good = false;  // verified by the port; otherwise TCP verifies it
  bool handed_over = false;    // by a sibling shard, which has counted it
  bool to_multicast = false;   // sent to a broadcast or multicast address of the network; what was
                               // sent to one of the link is no TCP
  IpAddress source;
  IpAddress destination;
};

// An ICMP or ICMPv6 error that quotes a TCP segment we may have sent (RFC 5927).
struct IcmpError {
  enum class Kind : uint8_t {
    kPacketTooBig,     // `mtu` is the next hop's; 0 if an old router left it out
    kHostUnreachable,  // network, host or address unreachable, time exceeded: soft
    kRefused,  // port or protocol unreachable, administratively prohibited: hard in SYN-SENT
  };
  Kind kind = Kind::kHostUnreachable;
  FourTuple tuple;   // of the quoted segment, seen from our side
  uint32_t seq = 0;  // its sequence number
  uint32_t mtu = 0;
};

// What one burst brought for the transport. Lives on the stack of the poll loop.
struct Ingress {
  std::array<L4Packet, kBurstSize> tcp;
  std::array<IcmpError, kBurstSize> errors;
  uint32_t tcp_count = 0;
  uint32_t error_count = 0;
};

}  // namespace usher
