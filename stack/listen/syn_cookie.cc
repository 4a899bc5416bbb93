#include "stack/listen/syn_cookie.h"

#include "stack/base/check.h"

namespace usher {

uint32_t CookieOptions::PutInto(uint32_t clock_ms) const {
  const uint32_t bits =
      (window_scale ? *window_scale : kNoWindowScale) | (sack ? kSackBit : 0) | (ecn ? kEcnBit : 0);
  const uint32_t stamp = (clock_ms & ~kMask) | bits;
  // A clock that ran ahead would make the next segment's timestamp look old to the peer.
  return bits > (clock_ms & kMask) ? stamp - (1u << kBits) : stamp;
}

CookieOptions CookieOptions::TakeFrom(uint32_t clock_ms) {
  CookieOptions options;
  const uint32_t scale = clock_ms & kNoWindowScale;
  if (scale != kNoWindowScale) options.window_scale = static_cast<uint8_t>(scale);
  options.sack = (clock_ms & kSackBit) != 0;
  options.ecn = (clock_ms & kEcnBit) != 0;
  return options;
}

bool SynCookies::Rotate(const Keys& keys, Instant now) {
  const uint32_t count = CountOf(now);
  if (previous_matters(count)) return false;
  keys_[1] = keys_[0];
  keys_[0] = keys;
  first_count_ = count + 1;
  rotated_ = true;
  return true;
}

void SynCookies::HashesOf(const TupleBatch& tuples, Instant now, TupleBatch::Hashes& h0,
                          TupleBatch::Hashes& h1) const {
  const uint32_t count = CountOf(now);
  tuples.WireHashes(KeysOf(count).h0, h0);
  tuples.WireHashes(KeysOf(count).h1, h1, count);
}

SynCookies::Cookie SynCookies::Make(const Hashes& hashes, bool v4, Seq irs, uint16_t peer_mss,
                                    Instant now) {
  const auto& table = v4 ? kMssV4 : kMssV6;
  uint32_t index = table.size() - 1;
  while (index > 0 && table[index] > peer_mss) --index;
  const uint32_t low = (hashes.h1 + index) & kLowMask;
  return {Seq(hashes.h0 + irs.value() + (CountOf(now) << kCountShift) + low), table[index]};
}

bool SynCookies::EchoFits(uint32_t clock_ms, uint32_t count, Instant now) {
  const auto age_ms = static_cast<int32_t>(static_cast<uint32_t>(now.ms()) - clock_ms);
  if (age_ms < 0 || Duration::Millis(age_ms) > kLife) return false;
  // The options may have set the clock back by up to 64 ms, over the edge of a period.
  const Instant sent = now - Duration::Millis(age_ms);
  return CountOf(sent) == count ||
         CountOf(sent + Duration::Millis(1 << CookieOptions::kBits)) == count;
}

SynCookies::Prepared SynCookies::Prepare(const FourTuple& tuple, Seq seq, Instant now) const {
  Prepared p;
  p.v4_ = tuple.remote.is_v4();
  p.newest_ = CountOf(now);
  USHER_CHECK(!previous_matters(p.newest_));
  p.base_ = Hash0(keys_[0], tuple) + (seq.value() - 1);
  for (uint32_t age = 0; age < kMaxAge; ++age)
    p.hash1_[age] = Hash1(keys_[0], tuple, p.newest_ - age);
  return p;
}

}  // namespace usher
