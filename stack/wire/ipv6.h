// The IPv6 header (RFC 8200) and the walk over its extension headers.
#pragma once

#include <cstddef>
#include <optional>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/ip_protocol.h"
#include "stack/wire/wire_error.h"

namespace usher {

// A packet whose payload length lies inside the buffer. Jumbograms (RFC 2675) are not known: their
// payload length of 0 is taken as said.
class Ipv6View {
 public:
  static constexpr size_t kHeaderSize = 40;

  // `packet` may be longer than the IP packet (Ethernet padding). An IPv4-mapped address on the
  // wire is refused here, so that nothing behind this can mistake it for IPv4. On refusal *why says
  // the reason.
  static std::optional<Ipv6View> Parse(ByteSpan packet, WireError* why = nullptr) {
    const WireError error = Check(packet);
    if (error == WireError::kNone) [[likely]]
      return Ipv6View(packet.data());
    if (why != nullptr) *why = error;
    return std::nullopt;
  }

  uint8_t traffic_class() const { return static_cast<uint8_t>(Load16(p_) >> 4); }  // DSCP and ECN
  uint32_t flow_label() const { return Load32(p_) & 0xfffff; }
  uint16_t payload_length() const { return Load16(p_ + 4); }
  uint8_t next_header() const { return p_[6]; }
  uint8_t hop_limit() const { return p_[7]; }
  IpAddress src() const { return LoadIpv6(p_ + 8); }
  IpAddress dst() const { return LoadIpv6(p_ + 24); }
  ByteSpan payload() const { return {p_ + kHeaderSize, payload_length()}; }
  ByteSpan packet() const { return {p_, kHeaderSize + payload_length()}; }  // without padding

 private:
  explicit Ipv6View(const uint8_t* p) : p_(p) {}

  static WireError Check(ByteSpan packet) {
    if (packet.size() < kHeaderSize) return WireError::kTruncated;
    const uint8_t* p = packet.data();
    if (p[0] >> 4 != 6) return WireError::kVersion;
    if (kHeaderSize + Load16(p + 4) > packet.size()) return WireError::kTruncated;
    if (LoadIpv6(p + 8).is_v4() || LoadIpv6(p + 24).is_v4()) return WireError::kMappedAddress;
    return WireError::kNone;
  }

  const uint8_t* p_;
};

struct Ipv6Header {
  static constexpr size_t kSize = 40;

  IpAddress src;
  IpAddress dst;
  uint32_t flow_label = 0;      // 20 bits
  uint16_t payload_length = 0;  // extension headers included
  uint8_t next_header = IpProtocol::kTcp;
  uint8_t hop_limit = 64;
  uint8_t traffic_class = 0;

  // Writes kSize bytes at `out` and returns their number.
  size_t Emit(uint8_t* out) const {
    Store32(out, 6u << 28 | static_cast<uint32_t>(traffic_class) << 20 | (flow_label & 0xfffff));
    Store16(out + 4, payload_length);
    out[6] = next_header;
    out[7] = hop_limit;
    StoreIpv6(out + 8, src);
    StoreIpv6(out + 24, dst);
    return kSize;
  }
};

// The Fragment header of a packet (RFC 8200 section 4.5).
struct Ipv6Fragment {
  uint32_t id = 0;
  uint16_t offset = 0;  // of the data, in bytes, a multiple of 8
  bool more = false;
  uint16_t header_at = 0;       // where the Fragment header begins, from the start of the packet
  uint16_t next_header_at = 0;  // the next-header byte that names it; reassembly rewrites it

  // Whole in itself (RFC 6946): the walk goes on behind it.
  bool is_atomic() const { return offset == 0 && !more; }
};

// What becomes of a packet after the walk.
enum class Ipv6Verdict : uint8_t {
  kAccept,
  kDrop,  // in silence
  // Dropped, and an ICMPv6 Parameter Problem is due even if the destination was multicast.
  kProblem,
  // The same, but not if the destination was multicast.
  kProblemUnlessMulticast,
};

// The upper-layer protocol of a packet, or what is wrong with its extension headers. Offsets are
// from the start of the IPv6 header.
struct Ipv6Extensions {
  // More than this many headers, or options in one header, drop the packet: nobody sends them, and
  // each one costs us time.
  static constexpr int kMaxHeaders = 8;
  static constexpr int kMaxOptions = 16;

  Ipv6Verdict verdict = Ipv6Verdict::kAccept;
  uint8_t protocol = IpProtocol::kNoNextHeader;
  // Hop-by-Hop Options held a Router Alert (RFC 2711).
  bool router_alert = false;
  WireError error = WireError::kNone;  // why the verdict is kDrop
  // Where the upper-layer header begins; of a fragment that is not atomic, the fragment's data.
  uint16_t payload_at = 0;
  // The byte that named `protocol`: the pointer for an unknown one (code 1).
  uint16_t protocol_at = 0;
  uint8_t problem_code = 0;  // of the Parameter Problem
  uint16_t problem_at = 0;   // its pointer
  std::optional<Ipv6Fragment> fragment;

  // Walks the extension headers of `packet`. It stops at the first header that is not one of
  // Hop-by-Hop, Destination, Routing and Fragment, and at a Fragment header that is not atomic. A
  // routing header of any type, 0 included (RFC 5095), is passed if no segments are left and
  // refused otherwise: a host is no waypoint.
  static Ipv6Extensions Walk(const Ipv6View& packet);

 private:
  bool Done(Ipv6Verdict v) {
    verdict = v;
    return false;
  }
  bool Drop(WireError why) {
    error = why;
    return Done(Ipv6Verdict::kDrop);
  }
  bool Problem(uint8_t code, size_t at, Ipv6Verdict v = Ipv6Verdict::kProblemUnlessMulticast) {
    problem_code = code;
    problem_at = static_cast<uint16_t>(at);
    return Done(v);
  }
  bool ReadHeader(ByteSpan packet);
  bool ReadOptions(ByteSpan packet, size_t begin, size_t end, bool hop_by_hop);
  bool ReadFragment(ByteSpan packet);
};

namespace internal {
constexpr bool IsIpv6Extension(uint8_t protocol) {
  return protocol == IpProtocol::kHopByHop || protocol == IpProtocol::kRouting ||
         protocol == IpProtocol::kFragment || protocol == IpProtocol::kDestinationOptions;
}
}  // namespace internal

inline Ipv6Extensions Ipv6Extensions::Walk(const Ipv6View& packet) {
  Ipv6Extensions result;
  result.protocol = packet.next_header();
  result.protocol_at = 6;
  result.payload_at = Ipv6View::kHeaderSize;
  int headers = 0;
  while (internal::IsIpv6Extension(result.protocol)) {
    if (++headers > kMaxHeaders) {
      result.Drop(WireError::kTooMany);
      break;
    }
    if (!result.ReadHeader(packet.packet())) break;
  }
  return result;
}

// Reads the extension header at payload_at and steps over it; false ends the walk.
inline bool Ipv6Extensions::ReadHeader(ByteSpan packet) {
  const size_t at = payload_at;
  if (packet.size() - at < 8) return Drop(WireError::kTruncated);
  if (protocol == IpProtocol::kFragment) return ReadFragment(packet);
  const size_t size = (size_t{packet[at + 1]} + 1) * 8;
  if (size > packet.size() - at) return Drop(WireError::kTruncated);
  if (protocol == IpProtocol::kRouting) {
    // Segments left, type unknown to us: code 0, pointing at the type (RFC 8200 section 4.4).
    if (packet[at + 3] != 0) return Problem(0, at + 2);
  } else {
    const bool hop_by_hop = protocol == IpProtocol::kHopByHop;
    // Hop-by-Hop anywhere but first is an unrecognized next header (RFC 8200 section 4).
    if (hop_by_hop && at != Ipv6View::kHeaderSize) return Problem(1, protocol_at);
    if (!ReadOptions(packet, at + 2, at + size, hop_by_hop)) return false;
  }
  protocol = packet[at];
  protocol_at = static_cast<uint16_t>(at);
  payload_at = static_cast<uint16_t>(at + size);
  return true;
}

inline bool Ipv6Extensions::ReadOptions(ByteSpan packet, size_t begin, size_t end,
                                        bool hop_by_hop) {
  constexpr uint8_t kPad1 = 0, kPadN = 1, kRouterAlert = 5;
  int options = 0;
  for (size_t at = begin; at < end;) {
    const uint8_t type = packet[at];
    if (type == kPad1) {
      ++at;
      continue;
    }
    if (end - at < 2 || size_t{packet[at + 1]} + 2 > end - at) return Drop(WireError::kField);
    if (++options > kMaxOptions) return Drop(WireError::kTooMany);
    if (hop_by_hop && type == kRouterAlert && packet[at + 1] == 2) {
      router_alert = true;
    } else if (type != kPadN) {
      switch (type >> 6) {  // RFC 8200 section 4.2
        case 0:
          break;
        case 1:
          return Drop(WireError::kField);
        case 2:
          return Problem(2, at, Ipv6Verdict::kProblem);
        default:
          return Problem(2, at);
      }
    }
    at += size_t{packet[at + 1]} + 2;
  }
  return true;
}

inline bool Ipv6Extensions::ReadFragment(ByteSpan packet) {
  const size_t at = payload_at;
  if (fragment) return Drop(WireError::kField);  // a fragment of a fragment
  const uint16_t word = Load16(packet.data() + at + 2);
  fragment = Ipv6Fragment{.id = Load32(packet.data() + at + 4),
                          .offset = static_cast<uint16_t>(word & 0xfff8),
                          .more = (word & 1) != 0,
                          .header_at = static_cast<uint16_t>(at),
                          .next_header_at = protocol_at};
  const size_t data = packet.size() - at - 8;
  constexpr size_t kPayloadLengthAt = 4;
  if (fragment->more && data % 8 != 0) return Problem(0, kPayloadLengthAt);
  // What precedes the Fragment header counts too, once the packet is whole.
  if (at - Ipv6View::kHeaderSize + fragment->offset + data > 65535) return Problem(0, at + 2);
  protocol = packet[at];
  protocol_at = static_cast<uint16_t>(at);
  payload_at = static_cast<uint16_t>(at + 8);
  return fragment->is_atomic();
}

}  // namespace usher
