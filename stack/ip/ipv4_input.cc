// IPv4 input (RFC 791, RFC 1122 section 3.2).
#include "stack/base/check.h"
#include "stack/ip/interface.h"
#include "stack/wire/udp.h"

namespace usher {

namespace {

constexpr uint32_t kAllHosts = 0xe0000001;  // 224.0.0.1: every host is a member (RFC 1112)

// Options that choose a packet's way; nobody has honest use for them (RFC 7126 sections 4.3, 4.4).
constexpr uint8_t kLooseSourceRoute = 131;
constexpr uint8_t kStrictSourceRoute = 137;

Counter EcnCounter(uint8_t tos) {
  constexpr Counter kCounters[] = {Counter::IpExtInNoECTPkts, Counter::IpExtInECT1Pkts,
                                   Counter::IpExtInECT0Pkts, Counter::IpExtInCEPkts};
  return kCounters[tos & 3];
}

}  // namespace

Interface::Cast Interface::CastOfIpv4(uint32_t destination) const {
  if (addresses_.Has4(destination)) return Cast::kUs;
  if (destination == 0xffffffff || destination == kAllHosts ||
      addresses_.IsSubnetBroadcast4(destination))
    return Cast::kMulticast;
  return Cast::kNotUs;
}

// RFC 1122 section 3.2.1.3: addresses that are never a source; and our own, which would be a
// packet to ourselves (LAND).
bool Interface::IsMartian(uint32_t source) const {
  const uint32_t net = source >> 24;
  return net == 0 || net == 127 || net >= 224 || addresses_.Has4(source) ||
         addresses_.IsSubnetBroadcast4(source);
}

// Options are not acted upon, only checked: false if they are malformed, or a source route.
bool Interface::AcceptOptions(ByteSpan options) const {
  while (!options.empty()) {
    const uint8_t kind = options[0];
    if (kind == 0) return true;
    if (kind == 1) {
      options = options.subspan(1);
      continue;
    }
    if (kind == kLooseSourceRoute || kind == kStrictSourceRoute) return false;
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) return false;
    options = options.subspan(options[1]);
  }
  return true;
}

// On the way of every segment; the other caller, fragments, would keep GCC from inlining it.
[[gnu::always_inline]] inline bool Interface::DeliverIpv4(const RxFrame& frame, const Ipv4View& ip,
                                                          Cast cast, Ingress& out) {
  if (ip.protocol() != IpProtocol::kTcp) [[unlikely]]
    return DeliverOther4(frame, ip, cast, out);
  counters_.Add(Counter::IpInDelivers);
  if (frame.link_multicast) [[unlikely]] {
    counters_.Add(Counter::UsherTcpToManyDropped);
    return false;
  }
  L4Packet& segment = out.tcp[out.tcp_count++];
  segment.packet = frame.packet;
  segment.pool = &link_.pool();
  segment.l4 = frame.l3 + ip.header_size();
  segment.l4_length = static_cast<uint16_t>(ip.total_length() - ip.header_size());
  segment.interface = context_.index;
  segment.tos = ip.dscp_ecn();
  segment.hop_limit = ip.ttl();
  segment.checksum_good = (frame.packet.flags & kRxL4ChecksumGood) != 0;
  segment.handed_over = false;
  segment.to_multicast = cast == Cast::kMulticast;
  segment.source = ip.src();
  segment.destination = ip.dst();
  return true;
}

bool Interface::ReceiveIpv4(const RxFrame& frame, Ingress& out) {
  counters_.Add(Counter::IpInReceives);
  WireError why = WireError::kNone;
  const auto ip = Ipv4View::Parse({frame.l3, frame.l3_room}, &why);
  if (!ip) [[unlikely]] {
    counters_.Add(Counter::IpInHdrErrors);
    if (why == WireError::kTruncated) counters_.Add(Counter::IpExtInTruncatedPkts);
    return false;
  }
  if ((frame.packet.flags & kRxIpChecksumGood) == 0 && !ip->VerifyChecksum()) [[unlikely]] {
    counters_.Add(Counter::IpInHdrErrors);
    counters_.Add(Counter::IpExtInCsumErrors);
    return false;
  }
  counters_.Add(Counter::IpExtInOctets, ip->total_length());
  counters_.Add(EcnCounter(ip->dscp_ecn()));
  Cast cast = CastOfIpv4(Load32(frame.l3 + 16));
  if (cast == Cast::kNotUs || IsMartian(Load32(frame.l3 + 12))) [[unlikely]] {
    counters_.Add(Counter::IpInAddrErrors);
    return false;
  }
  // Sent to all of the link but to one of us: not honest (RFC 1122 section 3.3.6).
  if (frame.link_multicast && cast == Cast::kUs) cast = Cast::kMulticast;
  if (!ip->options().empty() && !AcceptOptions(ip->options())) [[unlikely]] {
    counters_.Add(Counter::IpInHdrErrors);
    return false;
  }
  if (ip->is_fragment()) [[unlikely]]
    return ReceiveFragment4(frame, *ip, out);
  return DeliverIpv4(frame, *ip, cast, out);
}

bool Interface::ReceiveFragment4(const RxFrame& frame, const Ipv4View& ip, Ingress& out) {
  RxFrame whole;
  if (reassembly_.Add(context_.now, frame,
                      {.source = ip.src(),
                       .destination = ip.dst(),
                       .id = ip.id(),
                       .protocol = ip.protocol(),
                       .tos = ip.dscp_ecn(),
                       .more = ip.more_fragments(),
                       .offset = ip.fragment_offset(),
                       .headers = ip.header(),
                       .data = ip.payload()},
                      &whole)) {
    const auto joined = Ipv4View::Parse({whole.l3, whole.l3_room});
    USHER_CHECK(joined);
    const bool to_us = addresses_.Has4(joined->dst().v4()) && !whole.link_multicast;
    DeliverIpv4(whole, *joined, to_us ? Cast::kUs : Cast::kMulticast, out);
  }
  return false;  // the fragment was copied
}

bool Interface::DeliverOther4(const RxFrame& frame, const Ipv4View& ip, Cast cast, Ingress& out) {
  switch (ip.protocol()) {
    case IpProtocol::kIcmp:
      counters_.Add(Counter::IpInDelivers);
      return icmpv4_.Receive(frame, ip, cast == Cast::kMulticast, out);
    case IpProtocol::kUdp:
      if (cast == Cast::kUs) RefuseUdp4(frame, ip);
      return false;
    default:
      counters_.Add(Counter::IpInUnknownProtos);
      icmpv4_.SendError(frame, ip, cast == Cast::kMulticast, Icmpv4Type::kDestinationUnreachable,
                        Icmpv4Unreachable::kProtocol);
      return false;
  }
}

// No UDP lives here: every port is unreachable, if the datagram is one at all.
void Interface::RefuseUdp4(const RxFrame& frame, const Ipv4View& ip) {
  const auto udp = UdpView::Parse(ip.payload());
  if (!udp) return;
  if (udp->checksum() != 0 &&
      !checksum::IsIntact(checksum::Sum(
          udp->datagram(),
          checksum::PseudoHeader(ip.src(), ip.dst(), IpProtocol::kUdp, udp->length()))))
    return;
  icmpv4_.SendError(frame, ip, /*multicast=*/false, Icmpv4Type::kDestinationUnreachable,
                    Icmpv4Unreachable::kPort);
}

}  // namespace usher
