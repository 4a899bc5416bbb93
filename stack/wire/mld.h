// Multicast listener discovery: queries of versions 1 (RFC 2710) and 2 (RFC 3810) are read, version
// 2 reports are written. The ICMPv6 checksum is the caller's to verify and to fill.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/icmpv6.h"
#include "stack/wire/ip_protocol.h"

namespace usher {

// A query. The caller has checked that it came from a link-local address with hop limit 1 and a
// Router Alert (RFC 3810 section 5.1.14).
struct MldQuery {
  static constexpr size_t kSizeV1 = 24;
  static constexpr size_t kMinSizeV2 = 28;

  int version = 2;
  IpAddress group;  // :: in a general query
  uint32_t max_response_ms = 0;
  uint16_t source_count = 0;

  // nullopt if it is not a query, or too short for its version or its sources.
  static std::optional<MldQuery> Parse(ByteSpan message) {
    if (message.size() < kSizeV1 || message[0] != Icmpv6Type::kMldQuery) return std::nullopt;
    // 25 to 27 bytes are neither version (RFC 3810 section 8.1).
    if (message.size() != kSizeV1 && message.size() < kMinSizeV2) return std::nullopt;
    const uint8_t* p = message.data();
    MldQuery query;
    query.group = LoadIpv6(p + 8);
    if (!query.group.is_multicast() && !query.group.is_unspecified()) return std::nullopt;
    const uint32_t code = Load16(p + 4);
    if (message.size() == kSizeV1) {
      query.version = 1;
      query.max_response_ms = code;
      return query;
    }
    query.max_response_ms = DecodeMaxResponse(code);
    query.source_count = Load16(p + 26);
    if (message.size() - kMinSizeV2 < size_t{query.source_count} * 16) return std::nullopt;
    return query;
  }

 private:
  // Section 5.1.3: from 32,768 on, a mantissa of 12 bits and an exponent of 3.
  static constexpr uint32_t DecodeMaxResponse(uint32_t code) {
    if (code < 0x8000) return code;
    return ((code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3);
  }
};

// Types of a report's records (section 5.2.12).
struct MldRecordType {
  static constexpr uint8_t kModeIsExclude = 2;    // "I listen", answering a query
  static constexpr uint8_t kChangeToInclude = 3;  // with no sources: "I leave"
  static constexpr uint8_t kChangeToExclude = 4;  // with no sources: "I join"
};

// A version 2 report with one record per group, none with sources. It goes to ff02::16 with hop
// limit 1, behind the Hop-by-Hop header below.
struct MldReport {
  static constexpr size_t Size(size_t groups) { return 8 + 20 * groups; }

  uint8_t record_type = MldRecordType::kModeIsExclude;
  std::span<const IpAddress> groups;

  // Writes Size(groups.size()) bytes at `out`, with a checksum of zero, and returns their number.
  size_t Emit(uint8_t* out) const {
    Store32(out, static_cast<uint32_t>(Icmpv6Type::kMldv2Report) << 24);
    Store32(out + 4, static_cast<uint32_t>(groups.size()));
    uint8_t* p = out + 8;
    for (const IpAddress& group : groups) {
      Store32(p, static_cast<uint32_t>(record_type) << 24);
      StoreIpv6(p + 4, group);
      p += 20;
    }
    return Size(groups.size());
  }
};

// The Hop-by-Hop Options header that every MLD message needs: Router Alert (RFC 2711), padded.
struct MldHopByHop {
  static constexpr size_t kSize = 8;

  // Writes kSize bytes at `out` and returns their number.
  static size_t Emit(uint8_t* out) {
    Store64(out, static_cast<uint64_t>(IpProtocol::kIcmpv6) << 56 | 0x00'0502'0000'0100);
    return kSize;
  }
};

}  // namespace usher
