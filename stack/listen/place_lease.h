// One backlog for all shards: the places of a listener's queue are dealt out among them, and a
// shard that runs short asks the others, one after another, for some of theirs. No place is ever
// made or held twice, so that the shards together never queue more than one listener would.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

// From one shard to another, about a listener that both have a part of.
struct PlaceMessage {
  enum class Kind : uint8_t {
    kAsk,       // `value` places are wanted; answered by kGive
    kGive,      // `value` places, 0 or more, are yours now
    kReturned,  // the same, back from a listener that is closed: not to be sent back again
    kBacklog,   // listen() again: `value` is the backlog, `turn` when it was said
  };
  Kind kind = Kind::kAsk;
  uint16_t from = 0;  // shards
  uint16_t to = 0;
  uint32_t listener = 0;  // PlaceLease::listener
  int32_t value = 0;
  uint32_t turn = 0;
};

// What a listener knows of its lease.
struct PlaceLease {
  // While no shard has any to spare, they are not asked more often than this.
  static constexpr Duration kAskAgain = Duration::Millis(10);

  uint32_t listener = 0;     // the same number on all shards; 0: the listener is one shard's alone
  uint16_t asked = 0;        // the shard last asked
  uint16_t left_to_ask = 0;  // before the search is given up for a while; 0: none is under way
  Instant ask_again;
  int64_t leased = 0;  // places from other shards, less those given to them
  // The newest listen() that this shard knows of: how many went before it, as far as the shard that
  // was called knew, and which shard that is. Two shards that are called at once say the same turn;
  // the higher index is then taken to be the later, so that all end with the same backlog.
  uint32_t turn = 0;
  uint16_t turn_of = 0;
  bool IsNewer(const PlaceMessage& m) const {
    const auto ahead = static_cast<int32_t>(m.turn - turn);
    return ahead > 0 || (ahead == 0 && m.from > turn_of);
  }
};

}  // namespace usher
