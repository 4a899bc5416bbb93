// How much memory a runtime takes, decided once from its options.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "stack/api/stack.h"

namespace usher {

// What the buffers of one shard's packet pool are for, and the bound that keeps them free enough to
// go on receiving: unread and unacknowledged bytes together stay within tcp_mem, which is less than
// the pool holds.
struct MemoryPlan {
  uint32_t held_buffers = 0;  // per queue pair; see DpdkDeviceConfig
};

// Fills in what `options` leaves open (half-open requests; tcp_mem if it is not set, otherwise the
// pools are sized by it) for a stack of `shards`.
MemoryPlan PlanMemory(StackOptions* options, uint32_t shards);

// ResourceExhausted, with the figures, if the tables of the stack and `application_bytes` beside
// them would not fit the machine's memory. `available`: bytes the machine can give; see
// AvailableMemory.
absl::Status CheckTablesFit(const StackOptions& options, uint32_t shards,
                            uint64_t application_bytes, uint64_t available);

// Bytes that can be had without swapping (MemAvailable); UINT64_MAX if the system does not say.
uint64_t AvailableMemory();

}  // namespace usher
