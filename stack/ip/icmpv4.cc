#include "stack/ip/icmpv4.h"

#include <algorithm>
#include <cstring>

namespace usher {

namespace {

constexpr uint8_t kSourceQuench = 4;
constexpr uint8_t kRedirect = 5;
constexpr uint8_t kTimestamp = 13;
constexpr uint8_t kTimestampReply = 14;
constexpr uint8_t kMaskRequest = 17;
constexpr uint8_t kMaskReply = 18;

// What a Destination Unreachable means to a connection (RFC 1122 section 4.2.3.9; the codes of
// RFC 1812 section 5.2.7.1 as Linux takes them).
IcmpError::Kind KindOf(uint8_t code) {
  switch (code) {
    case Icmpv4Unreachable::kProtocol:
    case Icmpv4Unreachable::kPort:
    case 9:   // network administratively prohibited
    case 10:  // host administratively prohibited
    case Icmpv4Unreachable::kAdminProhibited:
      return IcmpError::Kind::kRefused;
    case Icmpv4Unreachable::kFragmentationNeeded:
      return IcmpError::Kind::kPacketTooBig;
    default:
      return IcmpError::Kind::kHostUnreachable;
  }
}

}  // namespace

bool Icmpv4::Receive(const RxFrame& frame, const Ipv4View& ip, bool multicast, Ingress& out) {
  context_.Count(Counter::IcmpInMsgs);
  const auto icmp = Icmpv4View::Parse(ip.payload());
  if (!icmp || !icmp->VerifyChecksum()) {
    context_.Count(Counter::IcmpInErrors);
    if (icmp) context_.Count(Counter::IcmpInCsumErrors);
    return false;
  }
  switch (icmp->type()) {
    case Icmpv4Type::kEchoRequest:
      context_.Count(Counter::IcmpInEchos);
      // Linux's icmp_echo_ignore_broadcasts: one request must not draw many answers.
      return !multicast && icmp->code() == 0 && Echo(frame, ip);
    case Icmpv4Type::kEchoReply:
      context_.Count(Counter::IcmpInEchoReps);
      return false;
    case Icmpv4Type::kDestinationUnreachable:
      context_.Count(Counter::IcmpInDestUnreachs);
      break;
    case Icmpv4Type::kTimeExceeded:
      context_.Count(Counter::IcmpInTimeExcds);
      break;
    case Icmpv4Type::kParameterProblem:
      context_.Count(Counter::IcmpInParmProbs);
      break;
    case kSourceQuench:  // RFC 6633: ignored
      context_.Count(Counter::IcmpInSrcQuenchs);
      return false;
    case kRedirect:  // our routes are configured
      context_.Count(Counter::IcmpInRedirects);
      return false;
    case kTimestamp:
      context_.Count(Counter::IcmpInTimestamps);
      return false;
    case kTimestampReply:
      context_.Count(Counter::IcmpInTimestampReps);
      return false;
    case kMaskRequest:
      context_.Count(Counter::IcmpInAddrMasks);
      return false;
    case kMaskReply:
      context_.Count(Counter::IcmpInAddrMaskReps);
      return false;
    default:
      context_.Count(Counter::IcmpInErrors);
      return false;
  }
  if (!multicast) ReceiveError(*icmp, out);
  return false;
}

void Icmpv4::ReceiveError(const Icmpv4View& icmp, Ingress& out) {
  const auto quote = icmp.quote();
  if (!quote) {
    context_.Count(Counter::IcmpInErrors);
    return;
  }
  if (quote->protocol != IpProtocol::kTcp || !context_.addresses.Has(quote->src)) return;
  context_.concerns_all = true;
  IcmpError& error = out.errors[out.error_count++];
  error.kind = icmp.type() == Icmpv4Type::kDestinationUnreachable
                   ? KindOf(icmp.code())
                   : IcmpError::Kind::kHostUnreachable;
  error.tuple = {quote->src, quote->dst, quote->src_port, quote->dst_port};
  error.seq = quote->seq;
  error.mtu = error.kind == IcmpError::Kind::kPacketTooBig ? icmp.next_hop_mtu() : 0;
}

bool Icmpv4::Echo(const RxFrame& frame, const Ipv4View& ip) {
  const auto size = static_cast<uint16_t>(ip.payload().size());
  Ipv4Header header{.src = ip.dst(),
                    .dst = ip.src(),
                    .payload_length = size,
                    .dont_fragment = ip.dont_fragment(),
                    .protocol = IpProtocol::kIcmp,
                    .dscp_ecn = ip.dscp_ecn()};
  // Nobody may learn from a counter how much we send.
  if (!header.dont_fragment) header.id = static_cast<uint16_t>(context_.random.Next64());
  uint8_t* message = frame.l3 + ip.header_size();
  MakeIcmpv4EchoReply(message);
  context_.Count(Counter::IcmpOutMsgs);
  context_.Count(Counter::IcmpOutEchoReps);
  context_.Count(Counter::IpOutRequests);
  if (frame.packet.handle == nullptr || Ipv4Header::kSize + size > context_.link.mtu()) {
    SendFragments(frame, header, {message, size});
    return false;
  }
  // Options are not sent back: close the gap they leave.
  if (message != frame.l3 + Ipv4Header::kSize)
    std::memmove(frame.l3 + Ipv4Header::kSize, message, size);
  header.Emit(frame.l3);
  context_.link.TurnRound(frame.packet.data);
  context_.link.Send(
      {.data = frame.packet.data,
       .handle = frame.packet.handle,
       .length = static_cast<uint16_t>(frame.l3 - frame.packet.data + Ipv4Header::kSize + size),
       .flags = kTxIpv4});
  context_.Count(Counter::IpOutTransmits);
  return true;
}

void Icmpv4::SendFragments(const RxFrame& frame, const Ipv4Header& header, ByteSpan message) {
  const auto link_size = static_cast<size_t>(frame.l3 - frame.packet.data);
  const size_t step = (context_.link.mtu() - Ipv4Header::kSize) & ~size_t{7};
  for (size_t at = 0; at < message.size(); at += step) {
    Packet packet;
    if (!context_.link.Allocate(&packet)) {
      context_.Count(Counter::IpFragFails);
      return;
    }
    const ByteSpan part = message.subspan(at, std::min(step, message.size() - at));
    std::memcpy(packet.data, frame.packet.data, link_size);
    context_.link.TurnRound(packet.data);
    Ipv4Header fragment = header;
    fragment.dont_fragment = false;
    fragment.fragment_offset = static_cast<uint16_t>(at);
    fragment.more_fragments = at + part.size() < message.size();
    fragment.payload_length = static_cast<uint16_t>(part.size());
    fragment.Emit(packet.data + link_size);
    std::memcpy(packet.data + link_size + Ipv4Header::kSize, part.data(), part.size());
    context_.link.Send(
        {.data = packet.data,
         .handle = packet.handle,
         .length = static_cast<uint16_t>(link_size + Ipv4Header::kSize + part.size()),
         .flags = kTxIpv4});
    context_.Count(Counter::IpFragCreates);
    context_.Count(Counter::IpOutTransmits);
  }
  context_.Count(Counter::IpFragOKs);
}

void Icmpv4::SendError(const RxFrame& frame, const Ipv4View& ip, bool multicast, uint8_t type,
                       uint8_t code) {
  if (multicast || frame.link_multicast || ip.fragment_offset() != 0) return;
  if (ip.protocol() == IpProtocol::kIcmp) {
    const auto icmp = Icmpv4View::Parse(ip.payload());
    if (!icmp || icmp->is_error()) return;
  }
  if (!context_.AllowIcmpError()) {
    context_.Count(Counter::IcmpOutRateLimitGlobal);
    return;
  }
  Packet packet;
  if (!context_.link.Allocate(&packet)) {
    context_.Count(Counter::IcmpOutErrors);
    return;
  }
  const auto link_size = static_cast<size_t>(frame.l3 - frame.packet.data);
  std::memcpy(packet.data, frame.packet.data, link_size);
  context_.link.TurnRound(packet.data);
  uint8_t* out = packet.data + link_size;
  const size_t size = Icmpv4Message{.type = type, .code = code}.EmitError(
      out + Ipv4Header::kSize, {frame.l3, std::min<size_t>(ip.total_length(), frame.l3_room)});
  // RFC 1812 section 4.3.2.5: precedence of internetwork control, as Linux sends it.
  Ipv4Header{.src = ip.dst(),
             .dst = ip.src(),
             .payload_length = static_cast<uint16_t>(size),
             .protocol = IpProtocol::kIcmp,
             .dscp_ecn = static_cast<uint8_t>((ip.dscp_ecn() & 0x1c) | 0xc0)}
      .Emit(out);
  context_.link.Send({.data = packet.data,
                      .handle = packet.handle,
                      .length = static_cast<uint16_t>(link_size + Ipv4Header::kSize + size),
                      .flags = kTxIpv4});
  context_.Count(Counter::IpOutRequests);
  context_.Count(Counter::IpOutTransmits);
  context_.Count(Counter::IcmpOutMsgs);
  context_.Count(type == Icmpv4Type::kTimeExceeded ? Counter::IcmpOutTimeExcds
                                                   : Counter::IcmpOutDestUnreachs);
}

}  // namespace usher
