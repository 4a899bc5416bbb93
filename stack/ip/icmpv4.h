// ICMP for IPv4: echo, errors sent and errors received (RFC 792, RFC 1122 section 3.2.2).
#pragma once

#include "stack/ip/context.h"
#include "stack/ip/l4_packet.h"
#include "stack/wire/icmpv4.h"
#include "stack/wire/ipv4.h"

namespace usher {

class Icmpv4 {
 public:
  explicit Icmpv4(InterfaceContext& context) : context_(context) {}

  // A message to one of our addresses, or (`multicast`) to all hosts. True if the frame's buffer
  // was taken over for the answer.
  bool Receive(const RxFrame& frame, const Ipv4View& ip, bool multicast, Ingress& out);

  // Tells the sender of `ip` of an error, if the rate and the rules allow: never about an ICMP
  // error, a later fragment, or what was sent to many. The frame stays the caller's.
  void SendError(const RxFrame& frame, const Ipv4View& ip, bool multicast, uint8_t type,
                 uint8_t code);

 private:
  bool Echo(const RxFrame& frame, const Ipv4View& ip);
  void SendFragments(const RxFrame& frame, const Ipv4Header& header, ByteSpan message);
  void ReceiveError(const Icmpv4View& icmp, Ingress& out);

  InterfaceContext& context_;
};

}  // namespace usher
