// Received payload that stays in its packet buffer: chains of held buffers, linked by `next`.
#pragma once

#include <cstdint>
#include <span>

#include "stack/packet/burst.h"
#include "stack/packet/pool.h"
#include "stack/packet/slice.h"

namespace usher {

// Payload up to this length is copied into the free room of a neighbouring held buffer where it
// fits, so that a peer that sends little pieces cannot tie up a buffer with each.
inline constexpr uint32_t kCoalesceMax = 512;

// Begins to hold `payload`, which lies in `packet`: the buffer is the caller's, refs 1. A packet
// without a handle (put together from fragments, valid only now) is copied into a chain of as many
// fresh buffers as it needs. Null if the pool has not enough of them, or `payload` is empty: then
// the packet still is the sender's.
BufferHeader* HoldPayload(const Packet& packet, std::span<const uint8_t> payload, PacketPool& pool);

// Moves the payload of `buffer`, which follows that of `tail`, into the room behind it, and frees
// `buffer`. False if it does not fit, is not small, or either is shared.
bool CoalesceBack(BufferHeader* tail, BufferHeader* buffer);

// The same for a `buffer` whose payload comes just before that of `head`.
bool CoalesceFront(BufferHeader* head, BufferHeader* buffer);

}  // namespace usher
