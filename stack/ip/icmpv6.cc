#include "stack/ip/icmpv6.h"

#include <algorithm>
#include <cstring>

#include "stack/ip/icmpv6_output.h"

namespace usher {

namespace {

constexpr size_t kFragmentHeader = 8;

IcmpError::Kind KindOf(uint8_t type, uint8_t code) {
  if (type == Icmpv6Type::kPacketTooBig) return IcmpError::Kind::kPacketTooBig;
  if (type == Icmpv6Type::kParameterProblem)
    return code == Icmpv6Problem::kNextHeader ? IcmpError::Kind::kRefused
                                              : IcmpError::Kind::kHostUnreachable;
  if (type == Icmpv6Type::kDestinationUnreachable) {
    switch (code) {
      case Icmpv6Unreachable::kAdminProhibited:
      case Icmpv6Unreachable::kPort:
      case 5:  // source address failed policy
      case 6:  // reject route
        return IcmpError::Kind::kRefused;
      default:
        break;
    }
  }
  return IcmpError::Kind::kHostUnreachable;
}

// RFC 4443 section 2.4(e): an error or a redirect, behind whatever extension headers (their
// contents may be what is wrong with the packet), or a fragment that does not say what it is of.
bool MustNotBeAnswered(ByteSpan packet) {
  uint8_t protocol = packet[6];
  size_t at = Ipv6View::kHeaderSize;
  while (internal::IsIpv6Extension(protocol)) {
    if (packet.size() < at + 8) return false;
    const bool fragment = protocol == IpProtocol::kFragment;
    if (fragment && (Load16(&packet[at + 2]) & 0xfff8) != 0) return true;
    protocol = packet[at];
    at += fragment ? kFragmentHeader : (size_t{packet[at + 1]} + 1) * 8;
    if (at > packet.size()) return false;
  }
  if (protocol != IpProtocol::kIcmpv6) return false;
  const auto icmp = Icmpv6View::Parse(packet.subspan(at));
  return !icmp || icmp->is_error() || icmp->type() == Icmpv6Type::kRedirect;
}

}  // namespace

bool Icmpv6::Receive(const RxFrame& frame, const Ipv6View& ip, const Ipv6Extensions& walk,
                     bool multicast, Ingress& out) {
  context_.Count(Counter::Icmp6InMsgs);
  const ByteSpan message = ip.packet().subspan(walk.payload_at);
  const auto icmp = Icmpv6View::Parse(message);
  if (!icmp || !icmp->VerifyChecksum(ip.src(), ip.dst())) {
    context_.Count(Counter::Icmp6InErrors);
    if (icmp) context_.Count(Counter::Icmp6InCsumErrors);
    return false;
  }
  const uint8_t type = icmp->type();
  // Only a test for duplicates, and a listener's report, come from nowhere.
  const bool from_nowhere = ip.src().is_unspecified();
  if (from_nowhere && type != Icmpv6Type::kNeighborSolicitation) return false;
  if (type >= Icmpv6Type::kRouterSolicitation && type <= Icmpv6Type::kRedirect) {
    // RFC 6980: neighbour discovery in fragments is not to be believed.
    if (walk.fragment || frame.packet.handle == nullptr) return false;
    return ndp_.Receive(frame, ip, message);
  }
  switch (type) {
    case Icmpv6Type::kEchoRequest:
      context_.Count(Counter::Icmp6InEchos);
      return icmp->code() == 0 && Echo(frame, ip, message, multicast);
    case Icmpv6Type::kEchoReply:
      context_.Count(Counter::Icmp6InEchoReplies);
      return false;
    case Icmpv6Type::kMldQuery:
      context_.Count(Counter::Icmp6InGroupMembQueries);
      if (ip.hop_limit() == 1 && walk.router_alert) mld_.ReceiveQuery(ip, message);
      return false;
    case Icmpv6Type::kMldv2Report:
      context_.Count(Counter::Icmp6InMLDv2Reports);
      return false;
    case Icmpv6Type::kDestinationUnreachable:
      context_.Count(Counter::Icmp6InDestUnreachs);
      break;
    case Icmpv6Type::kPacketTooBig:
      context_.Count(Counter::Icmp6InPktTooBigs);
      break;
    case Icmpv6Type::kTimeExceeded:
      context_.Count(Counter::Icmp6InTimeExcds);
      break;
    case Icmpv6Type::kParameterProblem:
      context_.Count(Counter::Icmp6InParmProblems);
      break;
    default:  // unknown: ignored, as RFC 4443 section 2.4(b) has it for informational ones
      return false;
  }
  if (!multicast) ReceiveError(*icmp, out);
  return false;
}

void Icmpv6::ReceiveError(const Icmpv6View& icmp, Ingress& out) {
  const auto quote = icmp.quote();
  if (!quote) {
    context_.Count(Counter::Icmp6InErrors);
    return;
  }
  if (quote->protocol != IpProtocol::kTcp || !context_.addresses.Has(quote->src)) return;
  context_.concerns_all = true;
  IcmpError& error = out.errors[out.error_count++];
  error.kind = KindOf(icmp.type(), icmp.code());
  error.tuple = {quote->src, quote->dst, quote->src_port, quote->dst_port};
  error.seq = quote->seq;
  error.mtu = error.kind == IcmpError::Kind::kPacketTooBig ? icmp.mtu() : 0;
}

// The address to answer `ip` from: the one it was sent to, or for a group one of the sender's
// scope.
const IpAddress* Icmpv6::SourceFor(const Ipv6View& ip) const {
  const IpAddress dst = ip.dst();
  const bool link_local = ip.src().is_link_local();
  const IpAddress* source = nullptr;
  for (const LocalAddresses::V6& a : context_.addresses.v6()) {
    if (a.state != AddressState::kPreferred) continue;
    if (a.address == dst) return &a.address;
    if (a.address.is_link_local() == link_local && source == nullptr) source = &a.address;
  }
  return source;
}

bool Icmpv6::Echo(const RxFrame& frame, const Ipv6View& ip, ByteSpan request, bool multicast) {
  const IpAddress* source = SourceFor(ip);
  if (source == nullptr) return false;
  const auto size = static_cast<uint16_t>(request.size());
  const Ipv6Header header{.src = *source,
                          .dst = ip.src(),
                          .flow_label = ip.flow_label(),
                          .payload_length = size,
                          .next_header = IpProtocol::kIcmpv6,
                          .hop_limit = ndp_.hop_limit(),
                          .traffic_class = ip.traffic_class()};
  uint8_t* message = frame.l3 + (request.data() - frame.l3);
  message[0] = Icmpv6Type::kEchoReply;
  if (multicast) {
    FillIcmpv6Checksum(message, size, header.src, header.dst);
  } else {
    // The same addresses the other way round: only the type has changed.
    Store16(message + 2, checksum::Update(Load16(message + 2), Icmpv6Type::kEchoRequest << 8,
                                          Icmpv6Type::kEchoReply << 8));
  }
  CountIcmpv6Out(context_, Icmpv6Type::kEchoReply);
  context_.Count(Counter::Ip6OutRequests);
  if (frame.packet.handle == nullptr || Ipv6Header::kSize + size > ndp_.mtu()) {
    SendEcho(frame, header, {message, size});
    return false;
  }
  if (message != frame.l3 + Ipv6Header::kSize)
    std::memmove(frame.l3 + Ipv6Header::kSize, message, size);
  header.Emit(frame.l3);
  context_.link.TurnRound(frame.packet.data);
  context_.link.Send(
      {.data = frame.packet.data,
       .handle = frame.packet.handle,
       .length = static_cast<uint16_t>(frame.l3 - frame.packet.data + Ipv6Header::kSize + size)});
  context_.Count(Counter::Ip6OutTransmits);
  return true;
}

// Sends `message`, which lies in nobody's packet, in as many fragments as it takes.
void Icmpv6::SendEcho(const RxFrame& frame, const Ipv6Header& header, ByteSpan message) {
  const auto link_size = static_cast<size_t>(frame.l3 - frame.packet.data);
  const bool whole = Ipv6Header::kSize + message.size() <= ndp_.mtu();
  const size_t extra = whole ? 0 : kFragmentHeader;
  const size_t step =
      whole ? message.size() : (ndp_.mtu() - Ipv6Header::kSize - kFragmentHeader) & ~size_t{7};
  const auto id = static_cast<uint32_t>(context_.random.Next64());
  for (size_t at = 0; at < message.size(); at += step) {
    Packet packet;
    if (!context_.link.Allocate(&packet)) {
      context_.Count(Counter::Ip6FragFails);
      return;
    }
    const ByteSpan part = message.subspan(at, std::min(step, message.size() - at));
    std::memcpy(packet.data, frame.packet.data, link_size);
    context_.link.TurnRound(packet.data);
    Ipv6Header piece = header;
    piece.payload_length = static_cast<uint16_t>(extra + part.size());
    if (!whole) piece.next_header = IpProtocol::kFragment;
    uint8_t* out = packet.data + link_size;
    out += piece.Emit(out);
    if (!whole) {
      const bool more = at + part.size() < message.size();
      Store16(out, static_cast<uint16_t>(header.next_header << 8));
      Store16(out + 2, static_cast<uint16_t>(at | (more ? 1 : 0)));
      Store32(out + 4, id);
      out += kFragmentHeader;
      context_.Count(Counter::Ip6FragCreates);
    }
    std::memcpy(out, part.data(), part.size());
    context_.link.Send({.data = packet.data,
                        .handle = packet.handle,
                        .length = static_cast<uint16_t>(out + part.size() - packet.data)});
    context_.Count(Counter::Ip6OutTransmits);
  }
  if (!whole) context_.Count(Counter::Ip6FragOKs);
}

void Icmpv6::SendError(const RxFrame& frame, const Ipv6View& ip, uint8_t type, uint8_t code,
                       uint32_t rest) {
  const IpAddress src = ip.src();
  if (src.is_unspecified() || MustNotBeAnswered(ip.packet())) return;
  const IpAddress* source = SourceFor(ip);
  if (source == nullptr) return;
  if (!context_.AllowIcmpError()) {
    context_.Count(Counter::Icmp6OutRateLimitHost);
    return;
  }
  Icmpv6Draft draft;
  if (!context_.link.Allocate(&draft.packet)) {
    context_.Count(Counter::Icmp6OutErrors);
    return;
  }
  draft.l3 = draft.packet.data + context_.link.header_size();
  draft.message = draft.l3 + Ipv6Header::kSize;
  const ByteSpan packet = ip.packet();
  const size_t quoted = std::min(packet.size(), Icmpv6Message::kMaxQuote);
  draft.message[0] = type;
  draft.message[1] = code;
  Store32(draft.message + 4, rest);
  std::memcpy(draft.message + Icmpv6View::kHeaderSize, packet.data(), quoted);
  SendIcmpv6(context_, draft, Icmpv6View::kHeaderSize + quoted,
             {.src = *source, .dst = src, .hop_limit = ndp_.hop_limit()},
             LoadMac(frame.packet.data + 6));
}

}  // namespace usher
