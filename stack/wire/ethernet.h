// Ethernet II frames, with at most one 802.1Q tag.
#pragma once

#include <cstddef>
#include <optional>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"

namespace usher {

struct EtherType {
  static constexpr uint16_t kIpv4 = 0x0800;
  static constexpr uint16_t kArp = 0x0806;
  static constexpr uint16_t kVlan = 0x8100;
  static constexpr uint16_t kIpv6 = 0x86dd;
};

// A received frame without preamble and frame check sequence. Frames shorter than the 60 bytes of
// the standard are read (virtual links do not pad); shorter than their own header they are not. The
// payload may end in padding: the header inside says where it ends.
class EthernetView {
 public:
  static constexpr size_t kHeaderSize = 14;
  static constexpr size_t kTagSize = 4;

  static std::optional<EthernetView> Parse(ByteSpan frame) {
    if (frame.size() < kHeaderSize) return std::nullopt;
    size_t header = kHeaderSize;
    if (Load16(frame.data() + 12) == EtherType::kVlan) {
      header += kTagSize;
      if (frame.size() < header) return std::nullopt;
    }
    return EthernetView(frame, header);
  }

  MacAddress dst() const { return LoadMac(frame_.data()); }
  MacAddress src() const { return LoadMac(frame_.data() + 6); }
  // The type of the payload, after the tag if there is one. Below 0x600 it is an 802.3 length; a
  // second tag shows here as EtherType::kVlan.
  uint16_t type() const { return Load16(frame_.data() + header_size_ - 2); }
  bool tagged() const { return header_size_ != kHeaderSize; }
  // 12 bits, 0 (priority only, IEEE 802.1Q 9.6) if there is no tag.
  uint16_t vlan_id() const { return tagged() ? Load16(frame_.data() + 14) & 0xfff : 0; }
  uint8_t priority() const { return tagged() ? frame_[14] >> 5 : 0; }
  size_t header_size() const { return header_size_; }
  ByteSpan payload() const { return frame_.subspan(header_size_); }

 private:
  EthernetView(ByteSpan frame, size_t header_size) : frame_(frame), header_size_(header_size) {}
  ByteSpan frame_;
  size_t header_size_;
};

struct EthernetHeader {
  MacAddress dst;
  MacAddress src;
  uint16_t type = 0;
  uint16_t vlan_id = 0;  // 0: no tag

  size_t size() const {
    return EthernetView::kHeaderSize + (vlan_id != 0 ? EthernetView::kTagSize : 0);
  }
  // Writes size() bytes at `out` and returns their number.
  size_t Emit(uint8_t* out) const {
    StoreMac(out, dst);
    StoreMac(out + 6, src);
    if (vlan_id != 0) {
      Store16(out + 12, EtherType::kVlan);
      Store16(out + 14, vlan_id & 0xfff);
      out += EthernetView::kTagSize;
    }
    Store16(out + 12, type);
    return size();
  }
};

}  // namespace usher
