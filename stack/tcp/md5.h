// TCP MD5 signatures (RFC 2385), for who asks for them: a listener or an active open with keys
// signs all it sends to the peers that the keys are for, and drops in silence what they send
// unsigned or wrongly signed. As Linux's TCP_MD5SIG, TIME-WAIT excepted, which looks at signatures
// here too.
//
// Everybody else pays one look at whether there is a key or a signature.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "stack/base/counters.h"
#include "stack/base/object_pool.h"
#include "stack/tcp/segment.h"
#include "stack/wire/address.h"

namespace usher {

struct Md5Key {
  static constexpr size_t kMaxSize = 80;  // TCP_MD5SIG_MAXKEYLEN

  uint8_t size = 0;
  std::array<uint8_t, kMaxSize> bytes{};

  // The first kMaxSize bytes of `secret`.
  static Md5Key From(std::span<const uint8_t> secret);
  friend bool operator==(const Md5Key&, const Md5Key&) = default;
};

// The key for the peers in a prefix.
struct Md5Rule {
  IpAddress peer;
  uint8_t prefix_length = 0;  // of 32 or 128 bits
  Md5Key key;
};
using Md5Rules = std::vector<Md5Rule>;

// The key for `peer`: of the longest prefix that holds it; null: none.
const Md5Key* FindMd5Key(const Md5Rules& rules, const IpAddress& peer);
// Puts `rule` in place of the one for the same prefix, or adds it; an empty key takes that one
// away. False: there was none to take.
bool SetMd5Rule(Md5Rules& rules, const Md5Rule& rule);

// The keys that a shard's connections and TIME-WAIT records use, equal ones once.
class Md5Keys {
 public:
  static constexpr uint16_t kNone = 0;
  static constexpr uint32_t kCapacity = 1024;

  // A number for `key`, to be given back by Release; kNone: too many different ones are in use.
  uint16_t Acquire(const Md5Key& key);
  bool HasRoomFor(const Md5Key& key) const {
    return keys_.size() < kCapacity || IndexOf(key) != ObjectPool<Entry>::kNone;
  }
  void Hold(uint16_t number) {
    if (number != kNone) ++keys_[number - 1u].users;
  }
  void Release(uint16_t number) {
    if (number != kNone && --keys_[number - 1u].users == 0) keys_.Free(number - 1u);
  }
  // Null for kNone.
  const Md5Key* Find(uint16_t number) const {
    return number != kNone ? &keys_[number - 1u].key : nullptr;
  }
  uint32_t in_use() const { return keys_.size(); }
  static constexpr size_t BytesFor() { return ObjectPool<Entry>::BytesFor(kCapacity); }

 private:
  struct Entry {
    Md5Key key;
    uint32_t users = 1;
  };
  uint32_t IndexOf(const Md5Key& key) const;

  ObjectPool<Entry> keys_{kCapacity};
};

// Signs a segment of `tuple` (seen from here) that is complete but for its checksum: its options
// begin with the room that TcpOptions::md5 or EmitMd5Room leaves. `payload` follows the header.
void SignSegment(const Md5Key& key, const FourTuple& tuple, uint8_t* header, uint16_t header_length,
                 uint32_t payload_length);

// Whether `s` is signed as `key` wants it, or not at all if there is no key (null). If not it is
// counted, and nothing may be answered.
bool PassSignature(Counters& counters, const Md5Key* key, const Segment& s);

}  // namespace usher
