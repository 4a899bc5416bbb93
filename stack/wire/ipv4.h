// The IPv4 header (RFC 791).
#pragma once

#include <cstddef>
#include <optional>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/checksum.h"
#include "stack/wire/ip_protocol.h"
#include "stack/wire/wire_error.h"

namespace usher {

// A packet whose lengths hold: 20 <= header_size() <= total_length() <= the buffer. The checksum is
// not looked at by Parse: the port may have done so already.
class Ipv4View {
 public:
  static constexpr size_t kMinHeaderSize = 20;

  // `packet` may be longer than the IP packet (Ethernet padding). On refusal *why says the reason.
  static std::optional<Ipv4View> Parse(ByteSpan packet, WireError* why = nullptr) {
    const WireError error = Check(packet);
    if (error == WireError::kNone) [[likely]]
      return Ipv4View(packet.data());
    if (why != nullptr) *why = error;
    return std::nullopt;
  }

  size_t header_size() const { return static_cast<size_t>(p_[0] & 15) * 4; }
  uint8_t dscp_ecn() const { return p_[1]; }
  uint16_t total_length() const { return Load16(p_ + 2); }
  uint16_t id() const { return Load16(p_ + 4); }
  bool reserved_flag() const { return (p_[6] & 0x80) != 0; }  // the "evil bit"; ignored
  bool dont_fragment() const { return (p_[6] & 0x40) != 0; }
  bool more_fragments() const { return (p_[6] & 0x20) != 0; }
  // In bytes, at most 65,528: together with the payload it may exceed 65,535.
  uint32_t fragment_offset() const { return (Load16(p_ + 6) & 0x1fffu) * 8; }
  bool is_fragment() const { return (Load16(p_ + 6) & 0x3fff) != 0; }
  uint8_t ttl() const { return p_[8]; }
  uint8_t protocol() const { return p_[9]; }
  uint16_t header_checksum() const { return Load16(p_ + 10); }
  IpAddress src() const { return LoadIpv4(p_ + 12); }
  IpAddress dst() const { return LoadIpv4(p_ + 16); }
  ByteSpan options() const { return {p_ + kMinHeaderSize, header_size() - kMinHeaderSize}; }
  ByteSpan header() const { return {p_, header_size()}; }
  ByteSpan payload() const { return {p_ + header_size(), total_length() - header_size()}; }
  ByteSpan packet() const { return {p_, total_length()}; }  // without padding

  bool VerifyChecksum() const {
    if (header_size() == kMinHeaderSize) [[likely]]  // of a length that the compiler knows
      return checksum::IsIntact(checksum::Sum({p_, kMinHeaderSize}));
    return checksum::IsIntact(checksum::Sum(header()));
  }

 private:
  explicit Ipv4View(const uint8_t* p) : p_(p) {}

  static WireError Check(ByteSpan packet) {
    if (packet.size() < kMinHeaderSize) return WireError::kTruncated;
    const uint8_t* p = packet.data();
    if (p[0] >> 4 != 4) return WireError::kVersion;
    const size_t header = static_cast<size_t>(p[0] & 15) * 4;
    const size_t total = Load16(p + 2);
    if (header < kMinHeaderSize) return WireError::kHeaderLength;
    if (total < header) return WireError::kTotalLength;
    if (total > packet.size()) return WireError::kTruncated;
    return WireError::kNone;
  }

  const uint8_t* p_;
};

// A header without options.
struct Ipv4Header {
  static constexpr size_t kSize = 20;

  IpAddress src;
  IpAddress dst;
  uint16_t payload_length = 0;  // at most 65,515
  uint16_t id = 0;
  uint16_t fragment_offset = 0;  // in bytes, a multiple of 8
  bool dont_fragment = true;
  bool more_fragments = false;
  uint8_t protocol = IpProtocol::kTcp;
  uint8_t ttl = 64;
  uint8_t dscp_ecn = 0;

  // Writes kSize bytes at `out`, with the checksum, and returns their number.
  size_t Emit(uint8_t* out) const {
    // The checksum comes from the words in registers: reading back what was just written in
    // other widths would stall.
    const uint32_t words[] = {
        0x45000000u | static_cast<uint32_t>(dscp_ecn) << 16 |
            static_cast<uint16_t>(kSize + payload_length),
        static_cast<uint32_t>(id) << 16 | (dont_fragment ? 0x4000u : 0) |
            (more_fragments ? 0x2000u : 0) | fragment_offset / 8u,
        static_cast<uint32_t>(ttl) << 24 | static_cast<uint32_t>(protocol) << 16, src.v4(),
        dst.v4()};
    uint64_t sum = 0;
    for (uint32_t word : words) sum += word;
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    const auto checksum = static_cast<uint16_t>(~checksum::Fold(static_cast<uint32_t>(sum)));
    Store32(out, words[0]);
    Store32(out + 4, words[1]);
    Store32(out + 8, words[2] | checksum);
    Store32(out + 12, words[3]);
    Store32(out + 16, words[4]);
    return kSize;
  }
};

}  // namespace usher
