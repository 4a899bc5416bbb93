// The digest of RFC 2385, made by its words and with nothing of stack/tcp/md5.h.
#pragma once

#include <nettle/md5.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "stack/wire/address.h"

namespace usher::test {

// Section 2.0: of the segment that `tcp` is, header first.
inline std::array<uint8_t, 16> Md5DigestOf(const IpAddress& from, const IpAddress& to,
                                           const std::vector<uint8_t>& tcp, std::string_view key) {
  const ptrdiff_t address = from.is_v4() ? 4 : 16;
  std::vector<uint8_t> text(from.bytes().end() - address, from.bytes().end());
  text.insert(text.end(), to.bytes().end() - address, to.bytes().end());
  const auto high = static_cast<uint8_t>(tcp.size() >> 8);
  const auto low = static_cast<uint8_t>(tcp.size());
  if (from.is_v4())
    text.insert(text.end(), {0, 6, high, low});
  else
    text.insert(text.end(), {0, 0, high, low, 0, 0, 0, 6});
  text.insert(text.end(), tcp.begin(), tcp.begin() + 16);
  text.insert(text.end(), {0, 0, tcp[18], tcp[19]});
  text.insert(text.end(), tcp.begin() + tcp[12] / 16 * 4, tcp.end());
  text.insert(text.end(), key.begin(), key.end());
  md5_ctx context;
  md5_init(&context);
  md5_update(&context, text.size(), text.data());
  std::array<uint8_t, 16> digest;
  md5_digest(&context, digest.size(), digest.data());
  return digest;
}

}  // namespace usher::test
