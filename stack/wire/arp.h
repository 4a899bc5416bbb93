// ARP for IPv4 over Ethernet (RFC 826).
#pragma once

#include <cstddef>
#include <optional>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/ethernet.h"

namespace usher {

struct ArpOperation {
  static constexpr uint16_t kRequest = 1;
  static constexpr uint16_t kReply = 2;
};

// An ARP packet as a value: the same struct is read and written.
struct ArpPacket {
  static constexpr size_t kSize = 28;

  uint16_t operation = ArpOperation::kRequest;
  MacAddress sender_mac;
  IpAddress sender_ip;
  MacAddress target_mac;
  IpAddress target_ip;

  // Reads the payload of an Ethernet frame, padding allowed. nullopt if it is short, or not IPv4
  // over Ethernet. Any operation is read.
  static std::optional<ArpPacket> Parse(ByteSpan payload) {
    if (payload.size() < kSize) return std::nullopt;
    const uint8_t* p = payload.data();
    if (Load16(p) != kEthernet || Load16(p + 2) != EtherType::kIpv4 || Load16(p + 4) != kLengths)
      return std::nullopt;
    return ArpPacket{Load16(p + 6), LoadMac(p + 8), LoadIpv4(p + 14), LoadMac(p + 18),
                     LoadIpv4(p + 24)};
  }

  // Writes kSize bytes at `out` and returns their number.
  size_t Emit(uint8_t* out) const {
    Store16(out, kEthernet);
    Store16(out + 2, EtherType::kIpv4);
    Store16(out + 4, kLengths);
    Store16(out + 6, operation);
    StoreMac(out + 8, sender_mac);
    StoreIpv4(out + 14, sender_ip);
    StoreMac(out + 18, target_mac);
    StoreIpv4(out + 24, target_ip);
    return kSize;
  }

 private:
  static constexpr uint16_t kEthernet = 1;
  static constexpr uint16_t kLengths = 0x0604;  // of link and of network addresses
};

}  // namespace usher
