// The packet quoted by an ICMP or ICMPv6 error: what is needed to find the connection it is about.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/ip_protocol.h"

namespace usher {

// Header fields of a packet that *we* are said to have sent: `src` is ours. Everything comes from
// the network and may be forged: TCP checks `seq` against what is outstanding (RFC 5927).
struct IcmpQuote {
  IpAddress src;
  IpAddress dst;
  uint16_t src_port = 0;
  uint16_t dst_port = 0;
  // The third and fourth 16-bit words of the transport header: a TCP sequence number.
  uint32_t seq = 0;
  uint16_t packet_size = 0;  // of the quoted IP packet when whole, in bytes, as it claims
  uint8_t protocol = 0;

  // Reads an IP header of the given family and 8 bytes of the transport header. The quote is cut
  // off, so its length fields may point beyond it. nullopt if it is too short, or a fragment other
  // than the first.
  static std::optional<IcmpQuote> ParseIpv4(ByteSpan quote);
  static std::optional<IcmpQuote> ParseIpv6(ByteSpan quote);

 private:
  bool ReadTransport(ByteSpan transport) {
    if (transport.size() < 8) return false;
    src_port = Load16(transport.data());
    dst_port = Load16(transport.data() + 2);
    seq = Load32(transport.data() + 4);
    return true;
  }
};

inline std::optional<IcmpQuote> IcmpQuote::ParseIpv4(ByteSpan quote) {
  if (quote.size() < 20) return std::nullopt;
  const uint8_t* p = quote.data();
  const size_t header = static_cast<size_t>(p[0] & 15) * 4;
  if (p[0] >> 4 != 4 || header < 20 || header > quote.size()) return std::nullopt;
  if ((Load16(p + 6) & 0x1fff) != 0) return std::nullopt;
  IcmpQuote result;
  result.src = LoadIpv4(p + 12);
  result.dst = LoadIpv4(p + 16);
  result.packet_size = Load16(p + 2);
  result.protocol = p[9];
  if (!result.ReadTransport(quote.subspan(header))) return std::nullopt;
  return result;
}

inline std::optional<IcmpQuote> IcmpQuote::ParseIpv6(ByteSpan quote) {
  if (quote.size() < 40) return std::nullopt;
  const uint8_t* p = quote.data();
  if (p[0] >> 4 != 6) return std::nullopt;
  IcmpQuote result;
  result.src = LoadIpv6(p + 8);
  result.dst = LoadIpv6(p + 24);
  if (result.src.is_v4() || result.dst.is_v4()) return std::nullopt;
  result.packet_size = static_cast<uint16_t>(std::min(40 + Load16(p + 4), 65535));
  result.protocol = p[6];
  // We send at most a Fragment header; a longer chain is not ours.
  ByteSpan rest = quote.subspan(40);
  if (result.protocol == IpProtocol::kFragment) {
    if (rest.size() < 8 || (Load16(rest.data() + 2) & 0xfff8) != 0) return std::nullopt;
    result.protocol = rest[0];
    rest = rest.subspan(8);
  }
  if (!result.ReadTransport(rest)) return std::nullopt;
  return result;
}

}  // namespace usher
