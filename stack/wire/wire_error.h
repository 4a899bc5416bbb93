// Why a parser refused a packet.
#pragma once

#include <cstdint>

namespace usher {

enum class WireError : uint8_t {
  kNone,
  kTruncated,      // the buffer ends before the header does, or before the length it claims
  kVersion,        // not the IP version (or hardware, or protocol type) this parser reads
  kHeaderLength,   // IHL or data offset below 5, or beyond the packet
  kTotalLength,    // the length field is smaller than the header
  kMappedAddress,  // ::ffff:a.b.c.d inside IPv6 (never legitimate on the wire)
  kTooMany,        // more extension headers or options than we follow
  kField,          // a field with a value its RFC forbids
};

}  // namespace usher
