// The UDP header (RFC 768): read only, to answer that a port is unreachable.
#pragma once

#include <cstddef>
#include <optional>

#include "stack/wire/bytes.h"

namespace usher {

// A datagram with 8 <= length() <= the IP payload.
class UdpView {
 public:
  static constexpr size_t kHeaderSize = 8;

  static std::optional<UdpView> Parse(ByteSpan datagram) {
    if (datagram.size() < kHeaderSize) return std::nullopt;
    const size_t length = Load16(datagram.data() + 4);
    if (length < kHeaderSize || length > datagram.size()) return std::nullopt;
    return UdpView(datagram.first(length));
  }

  uint16_t src_port() const { return Load16(datagram_.data()); }
  uint16_t dst_port() const { return Load16(datagram_.data() + 2); }
  uint16_t length() const { return Load16(datagram_.data() + 4); }
  uint16_t checksum() const { return Load16(datagram_.data() + 6); }  // 0 in IPv4: none
  ByteSpan payload() const { return datagram_.subspan(kHeaderSize); }
  ByteSpan datagram() const { return datagram_; }

 private:
  explicit UdpView(ByteSpan datagram) : datagram_(datagram) {}
  ByteSpan datagram_;
};

}  // namespace usher
