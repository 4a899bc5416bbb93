#include "stack/ip/icmpv6_output.h"

namespace usher {

bool BeginIcmpv6(InterfaceContext& context, Icmpv6Draft* draft, uint16_t before) {
  if (!context.link.AllocateControl(&draft->packet)) return false;
  draft->l3 = draft->packet.data + context.link.header_size();
  draft->message = draft->l3 + Ipv6Header::kSize + before;
  draft->before = before;
  return true;
}

Icmpv6Draft ReuseForIcmpv6(const RxFrame& frame) {
  return {frame.packet, frame.l3, frame.l3 + Ipv6Header::kSize, 0};
}

void SendIcmpv6(InterfaceContext& context, const Icmpv6Draft& draft, size_t size,
                const Ipv6Header& header, const MacAddress& dst) {
  CountIcmpv6Out(context, draft.message[0]);
  FillIcmpv6Checksum(draft.message, size, header.src, header.dst);
  Ipv6Header ip = header;
  ip.payload_length = static_cast<uint16_t>(draft.before + size);
  ip.next_header = draft.before == 0 ? IpProtocol::kIcmpv6 : IpProtocol::kHopByHop;
  ip.Emit(draft.l3);
  uint8_t* frame = draft.l3 - context.link.header_size();
  context.link.WriteHeader(frame, dst, EtherType::kIpv6);
  const auto length =
      static_cast<uint16_t>(context.link.header_size() + Ipv6Header::kSize + draft.before + size);
  context.link.Send({.data = frame, .handle = draft.packet.handle, .length = length});
  context.Count(Counter::Ip6OutRequests);
  context.Count(Counter::Ip6OutTransmits);
  if (header.dst.is_multicast()) context.Count(Counter::Ip6OutMcastPkts);
}

void CountIcmpv6Out(InterfaceContext& context, uint8_t type) {
  context.Count(Counter::Icmp6OutMsgs);
  switch (type) {
    case Icmpv6Type::kDestinationUnreachable:
      return context.Count(Counter::Icmp6OutDestUnreachs);
    case Icmpv6Type::kTimeExceeded:
      return context.Count(Counter::Icmp6OutTimeExcds);
    case Icmpv6Type::kParameterProblem:
      return context.Count(Counter::Icmp6OutParmProblems);
    case Icmpv6Type::kEchoReply:
      return context.Count(Counter::Icmp6OutEchoReplies);
    case Icmpv6Type::kRouterSolicitation:
      return context.Count(Counter::Icmp6OutRouterSolicits);
    case Icmpv6Type::kNeighborSolicitation:
      context.Count(Counter::UsherNdOutSolicits);
      return context.Count(Counter::Icmp6OutNeighborSolicits);
    case Icmpv6Type::kNeighborAdvertisement:
      context.Count(Counter::UsherNdOutAdverts);
      return context.Count(Counter::Icmp6OutNeighborAdvertisements);
    case Icmpv6Type::kMldv2Report:
      return context.Count(Counter::Icmp6OutMLDv2Reports);
    case 131:
      return context.Count(Counter::Icmp6OutGroupMembResponses);
    default:
      return;
  }
}

}  // namespace usher
