// Neighbour discovery (RFC 4861): messages as values, with the validity checks of sections 6.1 and
// 7.1 made before a value exists. The ICMPv6 checksum is the caller's to verify and to fill.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/icmpv6.h"

namespace usher {

// A Prefix Information option (section 4.6.2). Lifetimes in seconds, 0xffffffff: for ever.
struct NdpPrefix {
  IpAddress prefix;
  uint8_t length = 0;  // at most 128
  bool on_link = false;
  bool autonomous = false;
  uint32_t valid_lifetime_s = 0;
  uint32_t preferred_lifetime_s = 0;
};

// The options of a message that we know; others are stepped over.
struct NdpOptions {
  static constexpr size_t kMaxPrefixes = 4;  // further ones are ignored

  std::optional<MacAddress> source_mac;
  std::optional<MacAddress> target_mac;
  std::optional<uint32_t> mtu;
  std::array<NdpPrefix, kMaxPrefixes> prefixes{};
  size_t prefix_count = 0;

  // nullopt if an option has length 0 or runs past the end: the whole message is then discarded.
  static std::optional<NdpOptions> Parse(ByteSpan bytes);

 private:
  void ReadOne(ByteSpan option);
};

// How a message arrived: what the IPv6 header said.
struct NdpContext {
  const IpAddress& src;
  const IpAddress& dst;
  uint8_t hop_limit;
};

struct NeighborSolicitation {
  static constexpr size_t kSize = 24;
  static constexpr size_t kMaxSize = kSize + 8;

  IpAddress target;
  std::optional<MacAddress> source_mac;  // none in duplicate address detection

  // Reads an ICMPv6 message of this type; nullopt if section 7.1.1 says to discard it.
  static std::optional<NeighborSolicitation> Parse(ByteSpan message, const NdpContext& context);
  // Writes kSize bytes, or kMaxSize if source_mac is set, and returns their number.
  size_t Emit(uint8_t* out) const;
};

struct NeighborAdvertisement {
  static constexpr size_t kSize = 24;
  static constexpr size_t kMaxSize = kSize + 8;

  IpAddress target;
  std::optional<MacAddress> target_mac;
  bool router = false;
  bool solicited = false;
  bool override_entry = false;

  // Section 7.1.2.
  static std::optional<NeighborAdvertisement> Parse(ByteSpan message, const NdpContext& context);
  // Writes kSize bytes, or kMaxSize if target_mac is set, and returns their number.
  size_t Emit(uint8_t* out) const;
};

struct RouterSolicitation {
  static constexpr size_t kSize = 8;
  static constexpr size_t kMaxSize = kSize + 8;

  std::optional<MacAddress> source_mac;

  // Section 6.1.1.
  static std::optional<RouterSolicitation> Parse(ByteSpan message, const NdpContext& context);
  // Writes kSize bytes, or kMaxSize if source_mac is set, and returns their number.
  size_t Emit(uint8_t* out) const;
};

struct RouterAdvertisement {
  static constexpr size_t kSize = 16;

  uint8_t hop_limit = 0;  // 0: unspecified, likewise the times below
  bool managed = false;
  bool other = false;
  uint16_t lifetime_s = 0;  // 0: not a default router
  uint32_t reachable_ms = 0;
  uint32_t retransmit_ms = 0;
  NdpOptions options;

  // Section 6.1.2.
  static std::optional<RouterAdvertisement> Parse(ByteSpan message, const NdpContext& context);
};

namespace internal {

inline constexpr uint8_t kNdpSourceMac = 1;
inline constexpr uint8_t kNdpTargetMac = 2;
inline constexpr uint8_t kNdpPrefix = 3;
inline constexpr uint8_t kNdpMtu = 5;

// The checks that all four messages share: nobody off this link can have sent it, and it is whole.
inline bool NdpAcceptable(ByteSpan message, uint8_t type, size_t size, uint8_t hop_limit) {
  return message.size() >= size && message[0] == type && message[1] == 0 && hop_limit == 255;
}

inline bool IsSolicitedNode(const IpAddress& address) {
  static constexpr std::array<uint8_t, 13> kPrefix{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  return std::memcmp(address.bytes().data(), kPrefix.data(), kPrefix.size()) == 0;
}

inline size_t EmitNdpMac(uint8_t* out, uint8_t kind, const std::optional<MacAddress>& mac) {
  if (!mac) return 0;
  out[0] = kind;
  out[1] = 1;
  StoreMac(out + 2, *mac);
  return 8;
}

// Type, code, checksum of zero and the next four bytes.
inline void EmitNdpHeader(uint8_t* out, uint8_t type, uint32_t rest) {
  Store32(out, static_cast<uint32_t>(type) << 24);
  Store32(out + 4, rest);
}

}  // namespace internal

inline std::optional<NdpOptions> NdpOptions::Parse(ByteSpan bytes) {
  NdpOptions result;
  while (!bytes.empty()) {
    if (bytes.size() < 2) return std::nullopt;
    const size_t size = size_t{bytes[1]} * 8;
    if (size == 0 || size > bytes.size()) return std::nullopt;
    result.ReadOne(bytes.first(size));
    bytes = bytes.subspan(size);
  }
  return result;
}

inline void NdpOptions::ReadOne(ByteSpan option) {
  const uint8_t* p = option.data();
  switch (p[0]) {
    case internal::kNdpSourceMac:
      if (option.size() == 8) source_mac = LoadMac(p + 2);
      break;
    case internal::kNdpTargetMac:
      if (option.size() == 8) target_mac = LoadMac(p + 2);
      break;
    case internal::kNdpMtu:
      if (option.size() == 8) mtu = Load32(p + 4);
      break;
    case internal::kNdpPrefix:
      if (option.size() != 32 || p[2] > 128 || prefix_count == kMaxPrefixes) break;
      prefixes[prefix_count++] = {.prefix = LoadIpv6(p + 16),
                                  .length = p[2],
                                  .on_link = (p[3] & 0x80) != 0,
                                  .autonomous = (p[3] & 0x40) != 0,
                                  .valid_lifetime_s = Load32(p + 4),
                                  .preferred_lifetime_s = Load32(p + 8)};
      break;
    default:
      break;
  }
}

inline std::optional<NeighborSolicitation> NeighborSolicitation::Parse(ByteSpan message,
                                                                       const NdpContext& context) {
  if (!internal::NdpAcceptable(message, Icmpv6Type::kNeighborSolicitation, kSize,
                               context.hop_limit))
    return std::nullopt;
  const auto options = NdpOptions::Parse(message.subspan(kSize));
  if (!options) return std::nullopt;
  const IpAddress target = LoadIpv6(message.data() + 8);
  if (target.is_multicast() || target.is_v4()) return std::nullopt;
  // Duplicate address detection goes to the solicited-node group and names no link address.
  if (context.src.is_unspecified() &&
      (!internal::IsSolicitedNode(context.dst) || options->source_mac))
    return std::nullopt;
  return NeighborSolicitation{target, options->source_mac};
}

inline size_t NeighborSolicitation::Emit(uint8_t* out) const {
  internal::EmitNdpHeader(out, Icmpv6Type::kNeighborSolicitation, 0);
  StoreIpv6(out + 8, target);
  return kSize + internal::EmitNdpMac(out + kSize, internal::kNdpSourceMac, source_mac);
}

inline std::optional<NeighborAdvertisement> NeighborAdvertisement::Parse(
    ByteSpan message, const NdpContext& context) {
  if (!internal::NdpAcceptable(message, Icmpv6Type::kNeighborAdvertisement, kSize,
                               context.hop_limit))
    return std::nullopt;
  const auto options = NdpOptions::Parse(message.subspan(kSize));
  if (!options) return std::nullopt;
  const NeighborAdvertisement result{.target = LoadIpv6(message.data() + 8),
                                     .target_mac = options->target_mac,
                                     .router = (message[4] & 0x80) != 0,
                                     .solicited = (message[4] & 0x40) != 0,
                                     .override_entry = (message[4] & 0x20) != 0};
  if (result.target.is_multicast() || result.target.is_v4()) return std::nullopt;
  if (context.dst.is_multicast() && result.solicited) return std::nullopt;
  return result;
}

inline size_t NeighborAdvertisement::Emit(uint8_t* out) const {
  internal::EmitNdpHeader(
      out, Icmpv6Type::kNeighborAdvertisement,
      (router ? 1u << 31 : 0) | (solicited ? 1u << 30 : 0) | (override_entry ? 1u << 29 : 0));
  StoreIpv6(out + 8, target);
  return kSize + internal::EmitNdpMac(out + kSize, internal::kNdpTargetMac, target_mac);
}

inline std::optional<RouterSolicitation> RouterSolicitation::Parse(ByteSpan message,
                                                                   const NdpContext& context) {
  if (!internal::NdpAcceptable(message, Icmpv6Type::kRouterSolicitation, kSize, context.hop_limit))
    return std::nullopt;
  const auto options = NdpOptions::Parse(message.subspan(kSize));
  if (!options || (context.src.is_unspecified() && options->source_mac)) return std::nullopt;
  return RouterSolicitation{options->source_mac};
}

inline size_t RouterSolicitation::Emit(uint8_t* out) const {
  internal::EmitNdpHeader(out, Icmpv6Type::kRouterSolicitation, 0);
  return kSize + internal::EmitNdpMac(out + kSize, internal::kNdpSourceMac, source_mac);
}

inline std::optional<RouterAdvertisement> RouterAdvertisement::Parse(ByteSpan message,
                                                                     const NdpContext& context) {
  if (!internal::NdpAcceptable(message, Icmpv6Type::kRouterAdvertisement, kSize,
                               context.hop_limit) ||
      !context.src.is_link_local())
    return std::nullopt;
  const auto options = NdpOptions::Parse(message.subspan(kSize));
  if (!options) return std::nullopt;
  const uint8_t* p = message.data();
  return RouterAdvertisement{.hop_limit = p[4],
                             .managed = (p[5] & 0x80) != 0,
                             .other = (p[5] & 0x40) != 0,
                             .lifetime_s = Load16(p + 6),
                             .reachable_ms = Load32(p + 8),
                             .retransmit_ms = Load32(p + 12),
                             .options = *options};
}

}  // namespace usher
