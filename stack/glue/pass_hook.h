// What a program does of its own on the threads that poll the shards.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

// Joined to a Runtime before Run; called on the thread of shard `shard`, between two passes.
// Different shards call at the same time.
class PassHook {
 public:
  virtual ~PassHook() = default;
  // Before the pass at `now`; what it writes leaves with that pass. `work`: what was done since the
  // last call (0: an idle pass, after which the thread may have slept). Returns how much it did
  // itself: as long as there is something, the thread does not sleep.
  virtual uint32_t BeforePass(uint32_t shard, Instant now, uint32_t work) = 0;
  // When it is to be called again though nothing arrives.
  virtual Instant NextDeadline(uint32_t shard) const = 0;
  // True: it receives and sends by the ports itself, and the stack is not polled. Asked once.
  virtual bool owns_ports() const { return false; }
};

}  // namespace usher
