// Link, IPv4 and IPv6 addresses as values, and the 4-tuple that names a connection.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "stack/wire/bytes.h"

namespace usher {

// An Ethernet address, bytes in the order of the wire.
struct MacAddress {
  std::array<uint8_t, 6> bytes{};

  static constexpr MacAddress Broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  constexpr bool is_multicast() const { return (bytes[0] & 1) != 0; }  // broadcast included
  constexpr bool is_zero() const { return *this == MacAddress{}; }
  friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) = default;
};

enum class Family : uint8_t { kIpv4, kIpv6 };

// An IPv4 address or an IPv6 address. IPv4 is held as ::ffff:a.b.c.d, so that one comparison and
// one layout serve both; is_v4() tells them apart (a mapped address never occurs on the wire as
// IPv6: such packets are dropped at the IPv6 input).
class IpAddress {
 public:
  constexpr IpAddress() = default;  // the IPv6 unspecified address ::
  // `host_order`: 198.18.0.1 is 0xc6120001.
  static constexpr IpAddress V4(uint32_t host_order) {
    IpAddress a;
    a.bytes_[10] = a.bytes_[11] = 0xff;
    a.bytes_[12] = static_cast<uint8_t>(host_order >> 24);
    a.bytes_[13] = static_cast<uint8_t>(host_order >> 16);
    a.bytes_[14] = static_cast<uint8_t>(host_order >> 8);
    a.bytes_[15] = static_cast<uint8_t>(host_order);
    return a;
  }
  static constexpr IpAddress V6(const std::array<uint8_t, 16>& bytes) {
    IpAddress a;
    a.bytes_ = bytes;
    return a;
  }
  // Reads "198.18.0.2" or "2001:2::2"; nullopt for anything else.
  static std::optional<IpAddress> Parse(std::string_view text);

  constexpr bool is_v4() const {
    constexpr auto kMapped = std::bit_cast<Words>(
        std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0});
    constexpr auto kMask = std::bit_cast<Words>(
        std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0});
    const auto words = std::bit_cast<Words>(bytes_);
    return words[0] == 0 && (words[1] & kMask[1]) == kMapped[1];
  }
  constexpr Family family() const { return is_v4() ? Family::kIpv4 : Family::kIpv6; }
  constexpr uint32_t v4() const {  // host order; meaningful only if is_v4()
    return static_cast<uint32_t>(bytes_[12]) << 24 | static_cast<uint32_t>(bytes_[13]) << 16 |
           static_cast<uint32_t>(bytes_[14]) << 8 | bytes_[15];
  }
  constexpr const std::array<uint8_t, 16>& bytes() const { return bytes_; }

  // 0.0.0.0 or ::
  constexpr bool is_unspecified() const { return *this == IpAddress() || *this == V4(0); }
  constexpr bool is_loopback() const {
    constexpr std::array<uint8_t, 16> kLoopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return is_v4() ? bytes_[12] == 127 : *this == V6(kLoopback);
  }
  constexpr bool is_multicast() const {
    return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
  }
  bool is_link_local() const;  // 169.254/16 or fe80::/10
  // 255.255.255.255 only; subnet broadcast is the interface's affair
  constexpr bool is_broadcast() const { return *this == V4(0xffffffff); }

  // True if the first `prefix_length` bits (of 32 or 128) agree; false across families.
  constexpr bool InPrefix(const IpAddress& network, int prefix_length) const {
    const int family_bits = is_v4() ? 32 : 128;
    if (is_v4() != network.is_v4() || prefix_length < 0 || prefix_length > family_bits)
      return false;
    const int bits = prefix_length + (128 - family_bits);
    const auto a = std::bit_cast<Words>(bytes_);
    const auto b = std::bit_cast<Words>(network.bytes_);
    const uint64_t high = BigEndian(a[0] ^ b[0]);
    if (bits <= 64) return bits == 0 || high >> (64 - bits) == 0;
    return high == 0 && BigEndian(a[1] ^ b[1]) >> (128 - bits) == 0;
  }

  // A host's own address: not multicast, unspecified, 255.255.255.255 or loopback.
  constexpr bool is_unicast() const {
    if (is_v4()) {
      const uint32_t a = v4();
      return a >> 28 != 0xe && a != 0 && a != 0xffffffff && a >> 24 != 127;
    }
    return !is_multicast() && !is_unspecified() && !is_loopback();
  }

  std::string ToString() const;  // RFC 5952 form for IPv6
  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;
  friend constexpr bool operator==(const IpAddress& a, const IpAddress& b) {
    const auto x = std::bit_cast<Words>(a.bytes_);
    const auto y = std::bit_cast<Words>(b.bytes_);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
  }

 private:
  friend class IpPrefix;
  using Words = std::array<uint64_t, 2>;  // one test for two words, not for twelve bytes

  alignas(4) std::array<uint8_t, 16> bytes_{};
};

// A prefix to compare many addresses with: what IpAddress::InPrefix says, without its arithmetic.
class IpPrefix {
 public:
  // `length` of 0 to 32 or 128 bits; the bits of `network` beyond it do not matter.
  constexpr IpPrefix(const IpAddress& network, int length)
      : length_(length), v4_(network.is_v4()), network_(std::bit_cast<Words>(network.bytes_)) {
    const int bits = v4_ ? 96 + length : length;
    mask_[0] = BigEndian(bits >= 64 ? ~uint64_t{0} : ~(~uint64_t{0} >> bits));
    mask_[1] = BigEndian(bits >= 128  ? ~uint64_t{0}
                         : bits <= 64 ? uint64_t{0}
                                      : ~(~uint64_t{0} >> (bits - 64)));
  }

  int length() const { return length_; }
  // `v4` is address.is_v4(), which whoever asks many prefixes asks once.
  bool Contains(const IpAddress& address, bool v4) const {
    const auto a = std::bit_cast<Words>(address.bytes_);
    return v4 == v4_ &&
           (((a[0] ^ network_[0]) & mask_[0]) | ((a[1] ^ network_[1]) & mask_[1])) == 0;
  }

 private:
  using Words = IpAddress::Words;

  int length_;
  bool v4_;
  Words network_;
  Words mask_;
};

// The name of a connection, seen from our side. Ports in host order.
struct FourTuple {
  IpAddress local;
  IpAddress remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  friend constexpr auto operator<=>(const FourTuple&, const FourTuple&) = default;
};

std::string ToString(const MacAddress& mac);  // "02:00:00:00:00:01"
std::optional<MacAddress> ParseMac(std::string_view text);
std::string ToString(const IpAddress& address, uint16_t port);  // "1.2.3.4:80", "[2001:2::2]:80"

// To and from the bytes of the wire. Load and Store touch exactly 4, 16 or 6 bytes at `p`.
inline IpAddress LoadIpv4(const uint8_t* p) {
  std::array<uint8_t, 16> bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::memcpy(bytes.data() + 12, p, 4);
  return IpAddress::V6(bytes);
}
inline IpAddress LoadIpv6(const uint8_t* p) {
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), p, 16);
  return IpAddress::V6(bytes);
}
inline void StoreIpv4(uint8_t* p, const IpAddress& address) {
  std::memcpy(p, address.bytes().data() + 12, 4);
}
inline void StoreIpv6(uint8_t* p, const IpAddress& address) {
  std::memcpy(p, address.bytes().data(), 16);
}
inline MacAddress LoadMac(const uint8_t* p) {
  MacAddress mac;
  std::memcpy(mac.bytes.data(), p, 6);
  return mac;
}
inline void StoreMac(uint8_t* p, const MacAddress& mac) { std::memcpy(p, mac.bytes.data(), 6); }

// RFC 4291 section 2.7.1: ff02::1:ffXX:XXXX, where neighbour solicitations for `target` go.
IpAddress SolicitedNodeMulticast(const IpAddress& target);
// The link address a multicast group is sent to: RFC 1112 section 6.4, RFC 2464 section 7.
MacAddress MulticastMac(const IpAddress& group);

}  // namespace usher
