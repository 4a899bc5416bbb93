// IPv6 input (RFC 8200, RFC 4291).
#include "stack/base/check.h"
#include "stack/ip/interface.h"
#include "stack/wire/udp.h"

namespace usher {

namespace {

Counter EcnCounter(uint8_t traffic_class) {
  constexpr Counter kCounters[] = {Counter::Ip6InNoECTPkts, Counter::Ip6InECT1Pkts,
                                   Counter::Ip6InECT0Pkts, Counter::Ip6InCEPkts};
  return kCounters[traffic_class & 3];
}

// ff01::1 and ff02::1: every node is a member (RFC 4291 section 2.7.1).
bool IsAllNodes(const IpAddress& address) {
  const auto& b = address.bytes();
  if (b[0] != 0xff || (b[1] != 1 && b[1] != 2) || b[15] != 1) return false;
  for (int i = 2; i < 15; ++i)
    if (b[i] != 0) return false;
  return true;
}

}  // namespace

Interface::Cast Interface::CastOfIpv6(const IpAddress& destination) const {
  if (addresses_.Has6(destination)) return Cast::kUs;
  if (IsAllNodes(destination) || mld_.IsMember(destination)) return Cast::kMulticast;
  return Cast::kNotUs;
}

bool Interface::ReceiveIpv6(const RxFrame& frame, Ingress& out) {
  if (addresses_.v6().empty()) {
    counters_.Add(Counter::UsherLinkUnknownEtherType);
    return false;
  }
  counters_.Add(Counter::Ip6InReceives);
  WireError why = WireError::kNone;
  const auto ip = Ipv6View::Parse({frame.l3, frame.l3_room}, &why);
  if (!ip) [[unlikely]] {
    counters_.Add(why == WireError::kTruncated ? Counter::Ip6InTruncatedPkts
                                               : Counter::Ip6InHdrErrors);
    return false;
  }
  counters_.Add(Counter::Ip6InOctets, Ipv6View::kHeaderSize + ip->payload_length());
  counters_.Add(EcnCounter(ip->traffic_class()));
  const IpAddress src = ip->src();
  const IpAddress dst = ip->dst();
  // No source is a group or the loopback, and our own would be a packet to ourselves (LAND).
  const bool impostor = addresses_.Has6(src);
  if (impostor) HearImpostor(frame, *ip);
  const uint8_t first = src.bytes()[0];
  if (impostor || first == 0xff || (first == 0 && src.is_loopback())) [[unlikely]] {
    counters_.Add(Counter::Ip6InAddrErrors);
    return false;
  }
  Cast cast = CastOfIpv6(dst);
  if (cast == Cast::kNotUs) [[unlikely]] {
    // Groups that others listen to are no error.
    counters_.Add(dst.is_multicast() ? Counter::UsherLinkNotForUs : Counter::Ip6InAddrErrors);
    return false;
  }
  if (cast == Cast::kMulticast) counters_.Add(Counter::Ip6InMcastPkts);
  if (frame.link_multicast) cast = Cast::kMulticast;
  if (ip->next_header() == IpProtocol::kTcp) [[likely]]
    return DeliverTcp6(frame, *ip, Ipv6View::kHeaderSize, cast, out);

  const Ipv6Extensions walk = Ipv6Extensions::Walk(*ip);
  if (walk.verdict != Ipv6Verdict::kAccept) {
    counters_.Add(Counter::Ip6InHdrErrors);
    if (walk.verdict == Ipv6Verdict::kProblem ||
        (walk.verdict == Ipv6Verdict::kProblemUnlessMulticast && cast == Cast::kUs))
      icmpv6_.SendError(frame, *ip, Icmpv6Type::kParameterProblem, walk.problem_code,
                        walk.problem_at);
    return false;
  }
  if (walk.fragment && !walk.fragment->is_atomic()) return ReceiveFragment6(frame, *ip, walk, out);
  return DeliverIpv6(frame, *ip, walk, cast, out);
}

// Whoever advertises our address does so from it: the one message from ourselves worth reading.
void Interface::HearImpostor(const RxFrame& frame, const Ipv6View& ip) {
  if (ip.next_header() != IpProtocol::kIcmpv6) return;
  const auto icmp = Icmpv6View::Parse(ip.payload());
  if (icmp && icmp->type() == Icmpv6Type::kNeighborAdvertisement &&
      icmp->VerifyChecksum(ip.src(), ip.dst()))
    ndp_.Receive(frame, ip, icmp->message());
}

bool Interface::ReceiveFragment6(const RxFrame& frame, const Ipv6View& ip,
                                 const Ipv6Extensions& walk, Ingress& out) {
  const ByteSpan packet = ip.packet();
  RxFrame whole;
  if (reassembly_.Add(context_.now, frame,
                      {.source = ip.src(),
                       .destination = ip.dst(),
                       .id = walk.fragment->id,
                       .protocol = walk.protocol,
                       .tos = ip.traffic_class(),
                       .more = walk.fragment->more,
                       .offset = walk.fragment->offset,
                       .headers = packet.first(walk.payload_at),
                       .next_header_at = walk.fragment->next_header_at,
                       .data = packet.subspan(walk.payload_at)},
                      &whole)) {
    const auto joined = Ipv6View::Parse({whole.l3, whole.l3_room});
    USHER_CHECK(joined);
    const Ipv6Extensions rest = Ipv6Extensions::Walk(*joined);
    if (rest.verdict != Ipv6Verdict::kAccept || rest.fragment) {
      counters_.Add(Counter::Ip6InHdrErrors);
      return false;
    }
    const bool to_us = addresses_.Has6(joined->dst()) && !whole.link_multicast;
    DeliverIpv6(whole, *joined, rest, to_us ? Cast::kUs : Cast::kMulticast, out);
  }
  return false;  // the fragment was copied
}

bool Interface::DeliverTcp6(const RxFrame& frame, const Ipv6View& ip, uint16_t l4_at, Cast cast,
                            Ingress& out) {
  counters_.Add(Counter::Ip6InDelivers);
  const IpAddress src = ip.src();
  if (src.is_unspecified()) {
    counters_.Add(Counter::Ip6InAddrErrors);
    return false;
  }
  if (frame.link_multicast) {
    counters_.Add(Counter::UsherTcpToManyDropped);
    return false;
  }
  L4Packet& segment = out.tcp[out.tcp_count++];
  segment.packet = frame.packet;
  segment.pool = &link_.pool();
  segment.l4 = frame.l3 + l4_at;
  segment.l4_length = static_cast<uint16_t>(Ipv6View::kHeaderSize + ip.payload_length() - l4_at);
  segment.interface = context_.index;
  segment.tos = ip.traffic_class();
  segment.hop_limit = ip.hop_limit();
  segment.checksum_good = (frame.packet.flags & kRxL4ChecksumGood) != 0;
  segment.handed_over = false;
  segment.to_multicast = cast == Cast::kMulticast;
  segment.source = src;
  segment.destination = ip.dst();
  return true;
}

bool Interface::DeliverIpv6(const RxFrame& frame, const Ipv6View& ip, const Ipv6Extensions& walk,
                            Cast cast, Ingress& out) {
  switch (walk.protocol) {
    case IpProtocol::kTcp:
      return DeliverTcp6(frame, ip, walk.payload_at, cast, out);
    case IpProtocol::kIcmpv6:
      counters_.Add(Counter::Ip6InDelivers);
      return icmpv6_.Receive(frame, ip, walk, cast == Cast::kMulticast, out);
    case IpProtocol::kNoNextHeader:
      counters_.Add(Counter::Ip6InDelivers);
      return false;
    case IpProtocol::kUdp: {
      const ByteSpan datagram = ip.packet().subspan(walk.payload_at);
      const auto udp = UdpView::Parse(datagram);
      // UDP's checksum is not optional here (RFC 8200 section 8.1).
      if (cast == Cast::kUs && udp && udp->checksum() != 0 &&
          checksum::IsIntact(checksum::Sum(
              udp->datagram(),
              checksum::PseudoHeader(ip.src(), ip.dst(), IpProtocol::kUdp, udp->length()))))
        icmpv6_.SendError(frame, ip, Icmpv6Type::kDestinationUnreachable, Icmpv6Unreachable::kPort);
      return false;
    }
    default:
      counters_.Add(Counter::Ip6InUnknownProtos);
      if (cast == Cast::kUs)
        icmpv6_.SendError(frame, ip, Icmpv6Type::kParameterProblem, Icmpv6Problem::kNextHeader,
                          walk.protocol_at);
      return false;
  }
}

}  // namespace usher
