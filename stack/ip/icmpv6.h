// ICMPv6: echo, errors sent and errors received (RFC 4443); hands the rest to NDP and MLD.
#pragma once

#include "stack/ip/context.h"
#include "stack/ip/l4_packet.h"
#include "stack/ip/mld.h"
#include "stack/ip/ndp.h"
#include "stack/wire/icmpv6.h"
#include "stack/wire/ipv6.h"

namespace usher {

class Icmpv6 {
 public:
  Icmpv6(InterfaceContext& context, Ndp& ndp, Mld& mld) : context_(context), ndp_(ndp), mld_(mld) {}

  // The message that `ip`, walked by `walk`, carries; `multicast` if it was not sent to us alone.
  // True if the frame's buffer was taken over for the answer.
  bool Receive(const RxFrame& frame, const Ipv6View& ip, const Ipv6Extensions& walk, bool multicast,
               Ingress& out);

  // Tells the sender of `ip` of an error, if the rate and the rules allow (RFC 4443 section 2.4).
  // The caller has looked at multicast destinations. `rest` is the pointer, where there is one.
  void SendError(const RxFrame& frame, const Ipv6View& ip, uint8_t type, uint8_t code,
                 uint32_t rest = 0);

 private:
  bool Echo(const RxFrame& frame, const Ipv6View& ip, ByteSpan request, bool multicast);
  void SendEcho(const RxFrame& frame, const Ipv6Header& header, ByteSpan message);
  void ReceiveError(const Icmpv6View& icmp, Ingress& out);
  const IpAddress* SourceFor(const Ipv6View& ip) const;

  InterfaceContext& context_;
  Ndp& ndp_;
  Mld& mld_;
};

}  // namespace usher
