#include "stack/wire/address.h"

#include <arpa/inet.h>

#include <cstdio>

namespace usher {
namespace {

// The longest run of two or more zero groups, the first of equals (RFC 5952 section 4.2).
struct ZeroRun {
  int begin = -1;
  int length = 0;
};

ZeroRun LongestZeroRun(const std::array<uint16_t, 8>& groups) {
  ZeroRun best;
  for (int i = 0; i < 8; ++i) {
    int end = i;
    while (end < 8 && groups[end] == 0) ++end;
    if (end - i >= 2 && end - i > best.length) best = {i, end - i};
    if (end > i) i = end;
  }
  return best;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<IpAddress> IpAddress::Parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  // inet_pton would stop at an embedded NUL and accept what is before it.
  if (text.size() >= sizeof buffer || text.find('\0') != std::string_view::npos)
    return std::nullopt;
  text.copy(buffer, text.size());
  buffer[text.size()] = '\0';
  std::array<uint8_t, 16> bytes{};
  if (text.find(':') == std::string_view::npos) {
    if (inet_pton(AF_INET, buffer, bytes.data()) != 1) return std::nullopt;
    return LoadIpv4(bytes.data());
  }
  if (inet_pton(AF_INET6, buffer, bytes.data()) != 1) return std::nullopt;
  return V6(bytes);
}

bool IpAddress::is_link_local() const {
  if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

std::string IpAddress::ToString() const {
  char buffer[INET6_ADDRSTRLEN];
  if (is_v4()) {
    std::snprintf(buffer, sizeof buffer, "%d.%d.%d.%d", bytes_[12], bytes_[13], bytes_[14],
                  bytes_[15]);
    return buffer;
  }
  std::array<uint16_t, 8> groups;
  for (int i = 0; i < 8; ++i)
    groups[i] = static_cast<uint16_t>(bytes_[2 * i] << 8 | bytes_[2 * i + 1]);
  const ZeroRun run = LongestZeroRun(groups);
  std::string text;
  for (int i = 0; i < 8; ++i) {
    if (i == run.begin) {
      text += "::";
      i += run.length - 1;
      continue;
    }
    if (!text.empty() && text.back() != ':') text += ':';
    std::snprintf(buffer, sizeof buffer, "%x", groups[i]);
    text += buffer;
  }
  return text;
}

std::string ToString(const MacAddress& mac) {
  char buffer[18];
  std::snprintf(buffer, sizeof buffer, "%02x:%02x:%02x:%02x:%02x:%02x", mac.bytes[0], mac.bytes[1],
                mac.bytes[2], mac.bytes[3], mac.bytes[4], mac.bytes[5]);
  return buffer;
}

std::optional<MacAddress> ParseMac(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  MacAddress mac;
  for (size_t i = 0; i < 6; ++i) {
    const int high = HexDigit(text[3 * i]);
    const int low = HexDigit(text[3 * i + 1]);
    if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':')) return std::nullopt;
    mac.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return mac;
}

std::string ToString(const IpAddress& address, uint16_t port) {
  const std::string port_text = std::to_string(port);
  if (address.is_v4()) return address.ToString() + ':' + port_text;
  return '[' + address.ToString() + "]:" + port_text;
}

IpAddress SolicitedNodeMulticast(const IpAddress& target) {
  std::array<uint8_t, 16> bytes{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::memcpy(bytes.data() + 13, target.bytes().data() + 13, 3);
  return IpAddress::V6(bytes);
}

MacAddress MulticastMac(const IpAddress& group) {
  const auto& b = group.bytes();
  if (group.is_v4()) return {{0x01, 0x00, 0x5e, static_cast<uint8_t>(b[13] & 0x7f), b[14], b[15]}};
  return {{0x33, 0x33, b[12], b[13], b[14], b[15]}};
}

}  // namespace usher
