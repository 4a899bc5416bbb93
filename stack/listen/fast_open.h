// TCP Fast Open, the server's side (RFC 7413): data in the SYN, for those who have been here.
//
// A client that has received a cookie at its address once may send data with its next SYN, and the
// application reads it a round trip early. The cookie is a keyed hash of the two addresses, so
// nothing is kept per client, and the key's holder recognises what it gave out. Beside the primary
// key there may be a backup: cookies of either are good, and whoever comes with one of the backup
// is given one of the primary, so that a farm of servers can change keys without turning anybody
// away.
//
// What a thief of cookies, or a client that lies about nothing but its patience, could do is
// bounded: each listener has at most ListenSpec::fastopen_qlen connections that have not yet
// proved to be reachable now; and one that is reset in that state keeps its place for a minute, so
// that a spoofer cannot turn victims' resets into places (section 5.1).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "stack/base/random.h"
#include "stack/base/siphash.h"
#include "stack/base/time.h"
#include "stack/wire/address.h"
#include "stack/wire/tcp_options.h"

namespace usher {

// Bits of the sysctl tcp_fastopen.
struct FastOpenBits {
  static constexpr int kServer = 0x2;
  static constexpr int kNoCookieNeeded = 0x200;
  static constexpr int kAllListeners = 0x400;  // listeners that did not ask: their backlog's worth
};

class FastOpenCookies {
 public:
  static constexpr uint8_t kSize = 8;

  explicit FastOpenCookies(RandomSource& random) : primary_(SipKey::From(random)) {}

  void SetKeys(const SipKey& primary, const std::optional<SipKey>& backup) {
    primary_ = primary;
    backup_ = backup;
  }

  // What a client at `remote` is given.
  FastOpenOption Make(const IpAddress& local, const IpAddress& remote, bool experimental) const;

  enum class Match : uint8_t { kNone, kPrimary, kBackup };
  Match Check(const IpAddress& local, const IpAddress& remote, const FastOpenOption& option) const;

 private:
  SipKey primary_;
  std::optional<SipKey> backup_;
};

// Places that stay taken after a reset. Of all listeners of a shard, in the order of their ends.
class FastOpenResets {
 public:
  static constexpr Duration kHeld = Duration::Seconds(60);

  explicit FastOpenResets(uint32_t capacity) : capacity_(capacity) { held_.reserve(capacity); }

  // False: no room to remember it.
  bool Hold(uint32_t listener, Instant now) {
    if (held_.size() == capacity_) return false;
    held_.push_back({listener, now + kHeld});
    return true;
  }
  // Gives back one place of `listener` whose time is over, if there is one.
  bool TakeExpired(uint32_t listener, Instant now) {
    for (auto it = held_.begin(); it != held_.end() && it->until <= now; ++it) {
      if (it->listener != listener) continue;
      held_.erase(it);
      return true;
    }
    return false;
  }
  void Forget(uint32_t listener) {
    std::erase_if(held_, [listener](const Held& h) { return h.listener == listener; });
  }

 private:
  struct Held {
    uint32_t listener;
    Instant until;
  };
  uint32_t capacity_;
  std::vector<Held> held_;  // never beyond what is reserved
};

}  // namespace usher
