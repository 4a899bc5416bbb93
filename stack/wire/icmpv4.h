// ICMP for IPv4 (RFC 792, RFC 1122 section 3.2.2).
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>

#include "stack/wire/bytes.h"
#include "stack/wire/checksum.h"
#include "stack/wire/icmp_quote.h"

namespace usher {

struct Icmpv4Type {
  static constexpr uint8_t kEchoReply = 0;
  static constexpr uint8_t kDestinationUnreachable = 3;
  static constexpr uint8_t kEchoRequest = 8;
  static constexpr uint8_t kTimeExceeded = 11;
  static constexpr uint8_t kParameterProblem = 12;
};

// Codes of Destination Unreachable.
struct Icmpv4Unreachable {
  static constexpr uint8_t kNet = 0;
  static constexpr uint8_t kHost = 1;
  static constexpr uint8_t kProtocol = 2;
  static constexpr uint8_t kPort = 3;
  static constexpr uint8_t kFragmentationNeeded = 4;
  static constexpr uint8_t kAdminProhibited = 13;  // RFC 1812
};

// A message of at least 8 bytes; any type is read.
class Icmpv4View {
 public:
  static constexpr size_t kHeaderSize = 8;

  static std::optional<Icmpv4View> Parse(ByteSpan message) {
    if (message.size() < kHeaderSize) return std::nullopt;
    return Icmpv4View(message);
  }

  uint8_t type() const { return message_[0]; }
  uint8_t code() const { return message_[1]; }
  uint32_t rest() const { return Load32(message_.data() + 4); }  // of the header
  ByteSpan body() const { return message_.subspan(kHeaderSize); }
  bool VerifyChecksum() const { return checksum::IsIntact(checksum::Sum(message_)); }

  // True for the types that report on a packet of ours; never answer these (RFC 1122).
  bool is_error() const {
    return type() == Icmpv4Type::kDestinationUnreachable || type() == Icmpv4Type::kTimeExceeded ||
           type() == Icmpv4Type::kParameterProblem || type() == 4 || type() == 5;
  }

  // Echo and echo reply; the data is body().
  uint16_t echo_id() const { return Load16(message_.data() + 4); }
  uint16_t echo_seq() const { return Load16(message_.data() + 6); }

  // Errors.
  std::optional<IcmpQuote> quote() const { return IcmpQuote::ParseIpv4(body()); }
  // Of Fragmentation Needed; 0 from routers older than RFC 1191.
  uint16_t next_hop_mtu() const { return Load16(message_.data() + 6); }
  uint8_t pointer() const { return message_[4]; }  // of Parameter Problem

 private:
  explicit Icmpv4View(ByteSpan message) : message_(message) {}
  ByteSpan message_;
};

struct Icmpv4Message {
  // An error quotes at most this much, so that its packet is within 576 bytes (RFC 1812 4.3.2.3).
  static constexpr size_t kMaxQuote = 576 - 20 - 8;

  uint8_t type = 0;
  uint8_t code = 0;
  uint32_t rest = 0;  // id and sequence number of an echo; 0 in most errors

  // Writes header, `body` (which must not overlap `out`) and checksum; 8 + body.size() bytes.
  // Returns their number.
  size_t Emit(uint8_t* out, ByteSpan body) const {
    out[0] = type;
    out[1] = code;
    Store16(out + 2, 0);
    Store32(out + 4, rest);
    const uint32_t header = checksum::Sum({out, Icmpv4View::kHeaderSize});
    const uint32_t sum =
        checksum::CopyAndSum(out + Icmpv4View::kHeaderSize, body.data(), body.size(), header);
    Store16(out + 2, checksum::Finish(sum));
    return Icmpv4View::kHeaderSize + body.size();
  }

  // Emits an error about `packet`, the received IP packet from its header on, cut to kMaxQuote.
  size_t EmitError(uint8_t* out, ByteSpan packet) const {
    return Emit(out, packet.first(std::min(packet.size(), kMaxQuote)));
  }
};

// Turns the echo request at `message` into its reply in place.
inline void MakeIcmpv4EchoReply(uint8_t* message) {
  const uint16_t before = Load16(message);
  message[0] = Icmpv4Type::kEchoReply;
  Store16(message + 2, checksum::Update(Load16(message + 2), before, Load16(message)));
}

}  // namespace usher
