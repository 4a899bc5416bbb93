// Keyed hashes of a 4-tuple: tables, initial sequence numbers, cookies.
#pragma once

#include <cstdint>
#include <cstring>

#include "stack/base/siphash.h"
#include "stack/wire/address.h"

namespace usher {

namespace tuple_hash_internal {
inline uint64_t Half(const IpAddress& a, int i) {
  uint64_t w;
  std::memcpy(&w, a.bytes().data() + 8 * i, 8);
  return w;
}
inline uint64_t Ports(const FourTuple& t) {
  return static_cast<uint64_t>(t.local_port) << 16 | t.remote_port;
}
}  // namespace tuple_hash_internal

// SipHash-1-3: for hash tables, where an attacker sees no output.
inline uint64_t TableHash(const SipKey& key, const FourTuple& t) {
  using tuple_hash_internal::Half, tuple_hash_internal::Ports;
  if (t.remote.is_v4())
    return SipHash13(key, static_cast<uint64_t>(t.local.v4()) << 32 | t.remote.v4(), Ports(t));
  return SipHash13(key, Half(t.local, 0), Half(t.local, 1), Half(t.remote, 0), Half(t.remote, 1),
                   Ports(t));
}

// SipHash-2-4 over the tuple and one word more: for what goes out on the wire.
inline uint64_t WireHash(const SipKey& key, const FourTuple& t, uint32_t extra = 0) {
  using tuple_hash_internal::Half, tuple_hash_internal::Ports;
  const uint64_t last = Ports(t) | static_cast<uint64_t>(extra) << 32;
  if (t.remote.is_v4())
    return SipHash24(key, static_cast<uint64_t>(t.local.v4()) << 32 | t.remote.v4(), last);
  return SipHash24(key, Half(t.local, 0), Half(t.local, 1), Half(t.remote, 0), Half(t.remote, 1),
                   last);
}

}  // namespace usher
