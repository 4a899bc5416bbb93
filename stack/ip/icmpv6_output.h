// Sending ICMPv6 messages of our own making.
#pragma once

#include "stack/ip/context.h"
#include "stack/wire/icmpv6.h"
#include "stack/wire/ipv6.h"

namespace usher {

// A message to be: `message` points behind the room for link and IPv6 header (and `before` bytes of
// extension headers).
struct Icmpv6Draft {
  Packet packet;
  uint8_t* l3 = nullptr;
  uint8_t* message = nullptr;
  uint16_t before = 0;
};

// Takes a buffer, from the reserve if need be. False: none left (counted).
bool BeginIcmpv6(InterfaceContext& context, Icmpv6Draft* draft, uint16_t before = 0);

// Uses the buffer of a received frame, whose contents are lost.
Icmpv6Draft ReuseForIcmpv6(const RxFrame& frame);

// Writes checksum, IPv6 header (whose lengths are filled in here) and link header, and sends.
void SendIcmpv6(InterfaceContext& context, const Icmpv6Draft& draft, size_t size,
                const Ipv6Header& header, const MacAddress& dst);

// Counts one message of `type` sent.
void CountIcmpv6Out(InterfaceContext& context, uint8_t type);

}  // namespace usher
