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

// The tuples of a burst, for hashing them all at once: TableHash and WireHash for many.
class TupleBatch {
 public:
  static constexpr uint32_t kMax = SipBatch<2>::kMax;

  // `place`, below kMax, is where the tuple's hashes are to be put.
  void Add(const FourTuple& t, uint32_t place) {
    using tuple_hash_internal::Half, tuple_hash_internal::Ports;
    if (t.remote.is_v4()) [[likely]] {
      const uint32_t i = v4_.count++;
      v4_.words[0][i] = static_cast<uint64_t>(t.local.v4()) << 32 | t.remote.v4();
      v4_.words[1][i] = Ports(t);
      places_v4_[i] = static_cast<uint8_t>(place);
      return;
    }
    const uint32_t i = v6_.count++;
    v6_.words[0][i] = Half(t.local, 0);
    v6_.words[1][i] = Half(t.local, 1);
    v6_.words[2][i] = Half(t.remote, 0);
    v6_.words[3][i] = Half(t.remote, 1);
    v6_.words[4][i] = Ports(t);
    places_v6_[i] = static_cast<uint8_t>(place);
  }
  bool empty() const { return v4_.count + v6_.count == 0; }

  // `out` has kMax places; those that no tuple was added for stay as they are.
  void TableHashes(const SipKey& key, uint64_t* out) const {
    HashEach(out, [&key](const auto& batch, SipHashes& hashes) { SipHash13(key, batch, hashes); });
  }
  void WireHashes(const SipKey& key, uint64_t* out, uint32_t extra = 0) const {
    HashEach(out, [&](const auto& batch, SipHashes& hashes) {
      SipHash24(key, batch, static_cast<uint64_t>(extra) << 32, hashes);
    });
  }

 private:
  template <class Hash>
  void HashEach(uint64_t* out, const Hash& hash) const {
    SipHashes hashes;
    if (v4_.count != 0) {
      hash(v4_, hashes);
      for (uint32_t i = 0; i < v4_.count; ++i) out[places_v4_[i]] = hashes[i];
    }
    if (v6_.count != 0) [[unlikely]] {
      hash(v6_, hashes);
      for (uint32_t i = 0; i < v6_.count; ++i) out[places_v6_[i]] = hashes[i];
    }
  }

  SipBatch<2> v4_;
  SipBatch<5> v6_;
  std::array<uint8_t, kMax> places_v4_;
  std::array<uint8_t, kMax> places_v6_;
};

}  // namespace usher
