#include "stack/tcp/md5.h"

#include <nettle/md5.h>

#include <algorithm>
#include <cstring>

#include "stack/base/check.h"

namespace usher {
namespace {

constexpr size_t kDigestSize = 16;
using Digest = std::array<uint8_t, kDigestSize>;

// RFC 2385 section 2.0: pseudo-header, header without options and with a checksum of zero, payload,
// key.
Digest DigestOf(const Md5Key& key, const IpAddress& from, const IpAddress& to,
                const uint8_t* header, uint32_t header_length, uint32_t payload_length) {
  md5_ctx context;
  md5_init(&context);
  const uint32_t length = header_length + payload_length;
  std::array<uint8_t, 40> pseudo{};
  if (from.is_v4()) {
    Store32(pseudo.data(), from.v4());
    Store32(pseudo.data() + 4, to.v4());
    pseudo[9] = static_cast<uint8_t>(IpProtocol::kTcp);
    Store16(pseudo.data() + 10, static_cast<uint16_t>(length));
    md5_update(&context, 12, pseudo.data());
  } else {
    std::copy(from.bytes().begin(), from.bytes().end(), pseudo.begin());
    std::copy(to.bytes().begin(), to.bytes().end(), pseudo.begin() + 16);
    Store32(pseudo.data() + 32, length);
    pseudo[39] = static_cast<uint8_t>(IpProtocol::kTcp);
    md5_update(&context, 40, pseudo.data());
  }
  std::array<uint8_t, TcpHeader::kSize> plain;
  std::memcpy(plain.data(), header, plain.size());
  Store16(plain.data() + 16, 0);
  md5_update(&context, plain.size(), plain.data());
  if (payload_length != 0) md5_update(&context, payload_length, header + header_length);
  md5_update(&context, key.size, key.bytes.data());
  Digest digest;
  md5_digest(&context, digest.size(), digest.data());
  return digest;
}

// The signature among the option bytes; null: there is none that is whole.
const uint8_t* FindSignature(ByteSpan options) {
  for (size_t at = 0; at < options.size() && options[at] != TcpOptionKind::kEnd;) {
    if (options[at] == TcpOptionKind::kNop) {
      ++at;
      continue;
    }
    const size_t left = options.size() - at;
    if (left < 2 || options[at + 1] < 2 || options[at + 1] > left) return nullptr;
    if (options[at] == TcpOptionKind::kMd5)
      return options[at + 1] == kDigestSize + 2 ? &options[at + 2] : nullptr;
    at += options[at + 1];
  }
  return nullptr;
}

}  // namespace

Md5Key Md5Key::From(std::span<const uint8_t> secret) {
  Md5Key key;
  key.size = static_cast<uint8_t>(std::min(secret.size(), kMaxSize));
  std::copy_n(secret.begin(), key.size, key.bytes.begin());
  return key;
}

const Md5Key* FindMd5Key(const Md5Rules& rules, const IpAddress& peer) {
  const Md5Rule* best = nullptr;
  for (const Md5Rule& rule : rules) {
    if (!peer.InPrefix(rule.peer, rule.prefix_length)) continue;
    if (best == nullptr || rule.prefix_length > best->prefix_length) best = &rule;
  }
  return best != nullptr ? &best->key : nullptr;
}

bool SetMd5Rule(Md5Rules& rules, const Md5Rule& rule) {
  const auto same = std::find_if(rules.begin(), rules.end(), [&](const Md5Rule& r) {
    return r.prefix_length == rule.prefix_length && r.peer.InPrefix(rule.peer, rule.prefix_length);
  });
  if (rule.key.size == 0) {
    if (same == rules.end()) return false;
    rules.erase(same);
  } else if (same != rules.end()) {
    same->key = rule.key;
  } else {
    rules.push_back(rule);
  }
  return true;
}

uint32_t Md5Keys::IndexOf(const Md5Key& key) const {
  uint32_t found = ObjectPool<Entry>::kNone;
  keys_.ForEach([&](uint32_t i) {
    if (keys_[i].key == key) found = i;
  });
  return found;
}

uint16_t Md5Keys::Acquire(const Md5Key& key) {
  const uint32_t found = IndexOf(key);
  if (found != ObjectPool<Entry>::kNone) {
    ++keys_[found].users;
    return static_cast<uint16_t>(found + 1);
  }
  const uint32_t index = keys_.Allocate(Entry{key});
  return index != ObjectPool<Entry>::kNone ? static_cast<uint16_t>(index + 1) : kNone;
}

void SignSegment(const Md5Key& key, const FourTuple& tuple, uint8_t* header, uint16_t header_length,
                 uint32_t payload_length) {
  constexpr size_t kDigestAt = TcpHeader::kSize + TcpOptions::kMd5Size - kDigestSize;
  USHER_DCHECK(header[kDigestAt - 2] == TcpOptionKind::kMd5);
  const Digest digest =
      DigestOf(key, tuple.local, tuple.remote, header, header_length, payload_length);
  std::copy(digest.begin(), digest.end(), header + kDigestAt);
}

bool PassSignature(Counters& counters, const Md5Key* key, const Segment& s) {
  const uint8_t* const header = s.packet->l4;
  const auto header_length = static_cast<uint32_t>(s.packet->l4_length - s.payload_length);
  const uint8_t* const signature =
      s.options.md5 ? FindSignature({header + TcpHeader::kSize, header_length - TcpHeader::kSize})
                    : nullptr;
  if (signature == nullptr) {
    if (key == nullptr) return true;
    counters.Add(Counter::TcpExtTCPMD5NotFound);
    return false;
  }
  if (key == nullptr) {
    counters.Add(Counter::TcpExtTCPMD5Unexpected);
    return false;
  }
  const Digest digest =
      DigestOf(*key, s.tuple.remote, s.tuple.local, header, header_length, s.payload_length);
  uint8_t difference = 0;  // in constant time
  for (size_t i = 0; i < kDigestSize; ++i) difference |= digest[i] ^ signature[i];
  if (difference == 0) return true;
  counters.Add(Counter::TcpExtTCPMD5Failure);
  return false;
}

}  // namespace usher
