// SYN cookies: a handshake without memory.
//
// A listener under a flood of SYNs from addresses that do not exist has two bad choices: to keep
// a record for each, which fills its table, or to refuse, which refuses the honest as well. Dan
// Bernstein's third way (1996; RFC 4987 section 3.6): put the record into the SYN-ACK. Its
// sequence number is ours to choose, the client must send it back plus one, and only whoever
// receives at the claimed address can. So the ISS is made a message to ourselves, authenticated by
// a keyed hash, and nothing is kept.
//
// The encoding is that of Linux, read from the left as 8 and 24 bits:
//
//   cookie = H0(tuple) + client's ISN + (count << 24) + ((H1(tuple, count) + mss index) mod 2^24)
//
//   H0, H1      SipHash-2-4 under two secret keys
//   count       minutes of the shard's clock. Adding H0 and the ISN hides it, and with it the
//               uptime; it lets the receiver know which H1 to compare with, and limits a cookie's
//               life: age 0 and 1 are accepted, so a cookie is good for 60 to 120 s
//   mss index   one of four segment sizes, the largest not above what the client announced
//
// An ACK brings ack = cookie + 1 and seq = client's ISN + 1. Take off H0 and the ISN, and the top
// byte must be count or count - 1; take off H1 of that count from the lower 24 bits, and an index
// 0..3 must remain. A forger who sees nothing hits with 2 counts * 4 indices = 8 of 2^32 numbers
// (tests/bench/cookie_forgery.cc counts them).
//
// 24 + 8 bits hold nothing else, so what the client offered beyond the MSS must ride in another
// field that it sends back: the timestamp. TSval's low six bits carry them,
//
//   bits 0-3    its window scale, 15: none offered
//   bit 4       SACK permitted
//   bit 5       ECN granted
//
// and the rest stays the clock, set back by 64 ms if the bits would make it run ahead. They are
// put in before the per-tuple offset is added, so that they are not readable on the wire. A client
// without timestamps loses window scaling, SACK and ECN for that connection, which is better than
// losing the connection.
//
// What is lost in any case: data of the SYN, the round-trip sample of the handshake, and the
// retransmission of a lost SYN-ACK or of the client's final ACK (a client that waits for us to
// speak first then waits in vain). So cookies are for the flood, not for every day; a listener
// tests ACKs for cookies only if it sent one within their life, which costs a stray ACK no hash.
//
// Strict cookies (ours, off as default) want the echoed timestamp to be one that we may have sent
// with that very cookie: within its life, and of the minute that the cookie's count names. 8 of
// 2^32 become 4 for the forger who knows the clock, who must also hit one of about 2^17 values out
// of 2^32 whose offset he cannot know. The price: no cookie for clients without timestamps.
//
// Rotation. A count belongs to one key for good: Rotate() makes a new key for the counts from the
// next on. So there is never a moment when two keys would double the forger's chance, and never an
// honest cookie that no longer passes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "stack/base/random.h"
#include "stack/base/seq.h"
#include "stack/base/siphash.h"
#include "stack/base/time.h"
#include "stack/wire/address.h"
#include "stack/wire/tuple_hash.h"

namespace usher {

// What TSval carries beside the time.
struct CookieOptions {
  static constexpr uint32_t kBits = 6;
  static constexpr uint32_t kMask = (1u << kBits) - 1;
  static constexpr uint32_t kNoWindowScale = 0xf;
  static constexpr uint32_t kSackBit = 1u << 4;
  static constexpr uint32_t kEcnBit = 1u << 5;

  std::optional<uint8_t> window_scale;
  bool sack = false;
  bool ecn = false;

  // The largest clock value not above `clock_ms` that carries the options.
  uint32_t PutInto(uint32_t clock_ms) const;
  // `clock_ms`: an echoed TSval without the per-tuple offset.
  static CookieOptions TakeFrom(uint32_t clock_ms);
};

// Keys and encoding. One per shard; every call says what time it is.
class SynCookies {
 public:
  static constexpr Duration kPeriod = Duration::Seconds(60);
  static constexpr uint32_t kMaxAge = 2;  // periods
  static constexpr Duration kLife = kPeriod * kMaxAge;

  struct Keys {
    SipKey h0;
    SipKey h1;
    static Keys From(RandomSource& random) {
      const SipKey h0 = SipKey::From(random);
      return {h0, SipKey::From(random)};
    }
  };

  explicit SynCookies(RandomSource& random) : keys_{Keys::From(random), {}} {}

  // A new secret from the next period on. False, and nothing done, if the last rotation is so young
  // that cookies of the secret before it are still good.
  bool Rotate(RandomSource& random, Instant now) { return Rotate(Keys::From(random), now); }
  bool Rotate(const Keys& keys, Instant now);

  struct Cookie {
    Seq iss;
    uint16_t mss = 0;  // what the cookie will say the client's MSS was
  };
  // The cookie for a SYN with sequence number `irs` and MSS `peer_mss`.
  Cookie Make(const FourTuple& tuple, Seq irs, uint16_t peer_mss, Instant now) const {
    return Make(HashesOf(tuple, now), tuple.remote.is_v4(), irs, peer_mss, now);
  }

  // The hashes in the cookies that are made `now`, for those who hash a burst at once.
  struct Hashes {
    uint32_t h0 = 0;
    uint32_t h1 = 0;
  };
  Hashes HashesOf(const FourTuple& tuple, Instant now) const {
    const uint32_t count = CountOf(now);
    return {Hash0(KeysOf(count), tuple), Hash1(KeysOf(count), tuple, count)};
  }
  // The same of many tuples: the low halves of what is written.
  void HashesOf(const TupleBatch& tuples, Instant now, TupleBatch::Hashes& h0,
                TupleBatch::Hashes& h1) const;
  static Cookie Make(const Hashes& hashes, bool v4, Seq irs, uint16_t peer_mss, Instant now);

  struct Verdict {
    uint16_t mss = 0;    // 0: not a cookie, or too old
    uint32_t count = 0;  // the period it was made in
  };
  // Tests an ACK of `ack`, with sequence number `seq`.
  Verdict Check(const FourTuple& tuple, Seq seq, Seq ack, Instant now) const {
    const uint32_t newest = CountOf(now);
    Verdict verdict;
    // Periods of two keys may be in question: each count is tried with its own.
    for (int key = 0; key < (previous_matters(newest) ? 2 : 1) && verdict.mss == 0; ++key) {
      const uint32_t base = Hash0(keys_[key], tuple) + (seq.value() - 1);
      verdict = Decode(tuple.remote.is_v4(), ack.value() - 1 - base, newest, [&](uint32_t count) {
        return IsKeyOf(key, count) ? std::optional(Hash1(keys_[key], tuple, count)) : std::nullopt;
      });
    }
    return verdict;
  }

  // The echoed clock value belongs to a cookie of period `count` that is not older than a cookie
  // may be.
  static bool EchoFits(uint32_t clock_ms, uint32_t count, Instant now);

  // All that Check needs for one tuple and sequence number, hashed once: to test many
  // acknowledgment numbers (bench/cookie_forgery).
  class Prepared {
   public:
    Verdict Check(Seq ack) const {
      return Decode(v4_, ack.value() - 1 - base_, newest_,
                    [this](uint32_t count) { return std::optional(hash1_[newest_ - count]); });
    }

   private:
    friend class SynCookies;
    bool v4_;
    uint32_t base_;
    uint32_t newest_;
    std::array<uint32_t, kMaxAge> hash1_;
  };
  // Only while one key serves all counts (no rotation within the life of a cookie).
  Prepared Prepare(const FourTuple& tuple, Seq seq, Instant now) const;

  static uint32_t CountOf(Instant now) { return static_cast<uint32_t>(now.ns() / kPeriod.ns()); }

 private:
  static constexpr uint32_t kCountShift = 24;
  static constexpr uint32_t kLowMask = (1u << kCountShift) - 1;
  // Ends of ranges into which the MSS values seen on the Internet fall (Linux's choice).
  static constexpr std::array<uint16_t, 4> kMssV4 = {536, 1300, 1440, 1460};
  static constexpr std::array<uint16_t, 4> kMssV6 = {1220, 1420, 1440, 8940};

  // Of cookies made in period `count`.
  const Keys& KeysOf(uint32_t count) const { return keys_[IsKeyOf(0, count) ? 0 : 1]; }

  static uint32_t Hash0(const Keys& keys, const FourTuple& tuple) {
    return static_cast<uint32_t>(WireHash(keys.h0, tuple));
  }
  static uint32_t Hash1(const Keys& keys, const FourTuple& tuple, uint32_t count) {
    return static_cast<uint32_t>(WireHash(keys.h1, tuple, count));
  }

  // `sum` is the cookie without H0 and the client's ISN; hash1(count) gives H1, or nothing if that
  // count is not to be accepted.
  template <class Hash1Of>
  static Verdict Decode(bool v4, uint32_t sum, uint32_t newest, Hash1Of&& hash1) {
    const uint32_t age = (newest - (sum >> kCountShift)) & (UINT32_MAX >> kCountShift);
    if (age >= kMaxAge) [[likely]]
      return {};
    const uint32_t count = newest - age;
    const std::optional<uint32_t> h1 = hash1(count);
    if (!h1) return {};
    const uint32_t index = (sum - *h1) & kLowMask;
    const auto& table = v4 ? kMssV4 : kMssV6;
    if (index >= table.size()) return {};
    return {table[index], count};
  }

  // keys_[0] makes cookies of the counts from first_count_ on, keys_[1] those before.
  bool IsKeyOf(int key, uint32_t count) const {
    const bool before = rotated_ && static_cast<int32_t>(count - first_count_) < 0;
    return key == (before ? 1 : 0);
  }
  bool previous_matters(uint32_t newest) const {
    return rotated_ && static_cast<int32_t>(newest - (kMaxAge - 1) - first_count_) < 0;
  }

  std::array<Keys, 2> keys_;
  uint32_t first_count_ = 0;
  bool rotated_ = false;
};

}  // namespace usher
