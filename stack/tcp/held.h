// Received payload that stays in its packet buffer: chains of held buffers, linked by `next`.
#pragma once

#include <cstdint>
#include <span>

#include "stack/packet/burst.h"
#include "stack/packet/pool.h"
#include "stack/packet/slice.h"

namespace usher {

// Payload up to this length is copied into the free room of a neighbouring held buffer where it
// fits, so that a peer that sends little pieces cannot tie up a buffer with each. Where memory is
// short, any length is.
inline constexpr uint32_t kCoalesceMax = 512;

// Begins to hold `payload`, which lies in `packet`: the buffer is the caller's, refs 1. A packet
// without a handle (put together from fragments, valid only now) is copied into a chain of as many
// fresh buffers as it needs. Null if the pool has not enough of them, or `payload` is empty: then
// the packet still is the sender's.
BufferHeader* HoldPayload(const Packet& packet, std::span<const uint8_t> payload, PacketPool& pool);

// Copies a `payload` of at most `most` bytes into the free room behind that of `tail`. False, and
// nothing done, if it is longer, does not fit, or `tail` is shared with somebody.
bool CopyBehind(BufferHeader* tail, std::span<const uint8_t> payload, size_t most = kCoalesceMax);

// The same into the room in front of the payload of `head`; head->seq follows.
bool CopyBefore(BufferHeader* head, std::span<const uint8_t> payload, size_t most = kCoalesceMax);

}  // namespace usher
