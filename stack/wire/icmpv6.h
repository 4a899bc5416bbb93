// ICMPv6 (RFC 4443). Neighbour discovery is in ndp.h, multicast listeners in mld.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>

#include "stack/wire/bytes.h"
#include "stack/wire/checksum.h"
#include "stack/wire/icmp_quote.h"
#include "stack/wire/ip_protocol.h"

namespace usher {

struct Icmpv6Type {
  static constexpr uint8_t kDestinationUnreachable = 1;
  static constexpr uint8_t kPacketTooBig = 2;
  static constexpr uint8_t kTimeExceeded = 3;
  static constexpr uint8_t kParameterProblem = 4;
  static constexpr uint8_t kEchoRequest = 128;
  static constexpr uint8_t kEchoReply = 129;
  static constexpr uint8_t kMldQuery = 130;
  static constexpr uint8_t kRouterSolicitation = 133;
  static constexpr uint8_t kRouterAdvertisement = 134;
  static constexpr uint8_t kNeighborSolicitation = 135;
  static constexpr uint8_t kNeighborAdvertisement = 136;
  static constexpr uint8_t kRedirect = 137;
  static constexpr uint8_t kMldv2Report = 143;
};

// Codes of Destination Unreachable.
struct Icmpv6Unreachable {
  static constexpr uint8_t kNoRoute = 0;
  static constexpr uint8_t kAdminProhibited = 1;
  static constexpr uint8_t kAddress = 3;
  static constexpr uint8_t kPort = 4;
};

// Codes of Parameter Problem.
struct Icmpv6Problem {
  static constexpr uint8_t kHeaderField = 0;
  static constexpr uint8_t kNextHeader = 1;
  static constexpr uint8_t kOption = 2;
};

// A message of at least 8 bytes (no type we read is shorter); any type is read.
class Icmpv6View {
 public:
  static constexpr size_t kHeaderSize = 8;

  static std::optional<Icmpv6View> Parse(ByteSpan message) {
    if (message.size() < kHeaderSize) return std::nullopt;
    return Icmpv6View(message);
  }

  uint8_t type() const { return message_[0]; }
  uint8_t code() const { return message_[1]; }
  uint32_t rest() const { return Load32(message_.data() + 4); }  // of the header
  ByteSpan body() const { return message_.subspan(kHeaderSize); }
  ByteSpan message() const { return message_; }
  bool VerifyChecksum(const IpAddress& src, const IpAddress& dst) const {
    const uint32_t pseudo = checksum::PseudoHeader(src, dst, IpProtocol::kIcmpv6,
                                                   static_cast<uint32_t>(message_.size()));
    return checksum::IsIntact(checksum::Sum(message_, pseudo));
  }

  // True for the types that report on a packet of ours; never answer these (RFC 4443 2.4(e)).
  bool is_error() const { return type() < 128; }

  // Echo and echo reply; the data is body().
  uint16_t echo_id() const { return Load16(message_.data() + 4); }
  uint16_t echo_seq() const { return Load16(message_.data() + 6); }

  // Errors.
  std::optional<IcmpQuote> quote() const { return IcmpQuote::ParseIpv6(body()); }
  uint32_t mtu() const { return rest(); }      // of Packet Too Big
  uint32_t pointer() const { return rest(); }  // of Parameter Problem

 private:
  explicit Icmpv6View(ByteSpan message) : message_(message) {}
  ByteSpan message_;
};

// Writes the checksum of an ICMPv6 message of `size` bytes sent from `src` to `dst`.
inline void FillIcmpv6Checksum(uint8_t* message, size_t size, const IpAddress& src,
                               const IpAddress& dst) {
  Store16(message + 2, 0);
  const uint32_t pseudo =
      checksum::PseudoHeader(src, dst, IpProtocol::kIcmpv6, static_cast<uint32_t>(size));
  Store16(message + 2, checksum::Finish(checksum::Sum({message, size}, pseudo)));
}

struct Icmpv6Message {
  // An error quotes at most this much: its packet stays within the minimum MTU of 1280 bytes
  // (RFC 4443 2.4(c)).
  static constexpr size_t kMaxQuote = 1280 - 40 - 8;

  uint8_t type = 0;
  uint8_t code = 0;
  uint32_t rest = 0;  // id and sequence number of an echo, MTU, pointer

  // Writes header, `body` (which must not overlap `out`) and checksum; 8 + body.size() bytes.
  // Returns their number.
  size_t Emit(uint8_t* out, ByteSpan body, const IpAddress& src, const IpAddress& dst) const {
    out[0] = type;
    out[1] = code;
    Store32(out + 4, rest);
    if (!body.empty()) std::memcpy(out + Icmpv6View::kHeaderSize, body.data(), body.size());
    const size_t size = Icmpv6View::kHeaderSize + body.size();
    FillIcmpv6Checksum(out, size, src, dst);
    return size;
  }

  // Emits an error about `packet`, the received IPv6 packet from its header on, cut to kMaxQuote.
  size_t EmitError(uint8_t* out, ByteSpan packet, const IpAddress& src,
                   const IpAddress& dst) const {
    return Emit(out, packet.first(std::min(packet.size(), kMaxQuote)), src, dst);
  }
};

}  // namespace usher
