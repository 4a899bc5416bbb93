// Keyed hashes of a 4-tuple: tables, initial sequence numbers, cookies.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "stack/base/siphash.h"
#include "stack/base/siphash_batch.h"
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

// The tuples of a burst, for hashing them all at once: TableHash and WireHash of many.
class TupleBatch {
 public:
  static constexpr uint32_t kMax = SipBatch<2>::kMax;
  using Hashes = std::array<uint64_t, 2 * kMax>;

  // Returns the tuple's place among the hashes. At most kMax tuples.
  uint32_t Add(const FourTuple& t) {
    using tuple_hash_internal::Half, tuple_hash_internal::Ports;
    if (t.remote.is_v4()) [[likely]] {
      const uint32_t i = v4_.count++;
      v4_.words[0][i] = static_cast<uint64_t>(t.local.v4()) << 32 | t.remote.v4();
      v4_.words[1][i] = Ports(t);
      return i;
    }
    const uint32_t i = v6_.count++;
    v6_.words[0][i] = Half(t.local, 0);
    v6_.words[1][i] = Half(t.local, 1);
    v6_.words[2][i] = Half(t.remote, 0);
    v6_.words[3][i] = Half(t.remote, 1);
    v6_.words[4][i] = Ports(t);
    return kMax + i;
  }
  bool empty() const { return v4_.count + v6_.count == 0; }

  // Hashes at places that no tuple has are undefined.
  void TableHashes(const SipKey& key, Hashes& out) const {
    if (v4_.count != 0) SipHash13(key, v4_, out.data());
    if (v6_.count != 0) SipHash13(key, v6_, out.data() + kMax);
  }
  void WireHashes(const SipKey& key, Hashes& out, uint32_t extra = 0) const {
    const uint64_t high = static_cast<uint64_t>(extra) << 32;
    if (v4_.count != 0) SipHash24(key, v4_, high, out.data());
    if (v6_.count != 0) SipHash24(key, v6_, high, out.data() + kMax);
  }

 private:
  SipBatch<2> v4_;
  SipBatch<5> v6_;
};

}  // namespace usher
