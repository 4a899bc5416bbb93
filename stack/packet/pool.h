// Packet buffers and the pool they come from.
//
// Every buffer, whether a DPDK mbuf or a piece of heap, has one layout, so that nothing above the
// port has to ask which it is:
//
//   handle ->  +0    the driver's own bookkeeping (an mbuf), two cache lines, not touched here
//              +128  BufferHeader: ours, used only while the packet is held beyond its burst
//              +192  headroom, then data, then tailroom: kBufferRoom bytes
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "stack/packet/burst.h"

namespace usher {

class PacketPool;

inline constexpr uint32_t kDriverHeaderSize = 128;
inline constexpr uint32_t kBufferHeaderSize = 64;
inline constexpr uint32_t kBufferHeadroom = 128;
inline constexpr uint32_t kBufferRoom = kBufferHeadroom + 2048;

// Bookkeeping of a held packet (see Slice, tcp/receive_buffer.h and tcp/reassembly.h). Undefined
// until held; the fields after `refs` belong to the one queue that holds it.
struct alignas(64) BufferHeader {
  PacketPool* pool;         // where the buffer goes when refs reaches 0
  const uint8_t* payload;   // the bytes that are still wanted
  uint16_t payload_length;  // at most kBufferRoom
  uint16_t priority;        // of a tree node
  uint32_t refs;            // holders; the shard's thread only
  BufferHeader* next;       // in a chain
  BufferHeader* left;       // of a tree node
  BufferHeader* right;
  BufferHeader* last;  // of a tree node: the end of the chain that it begins
  uint32_t seq;        // sequence number of payload[0]
  uint32_t chain_end;  // of a tree node: the sequence number after its chain
};
static_assert(sizeof(BufferHeader) == kBufferHeaderSize);

inline BufferHeader* HeaderOf(void* handle) {
  return reinterpret_cast<BufferHeader*>(static_cast<uint8_t*>(handle) + kDriverHeaderSize);
}
inline void* HandleOf(BufferHeader* header) {
  return reinterpret_cast<uint8_t*>(header) - kDriverHeaderSize;
}
inline uint8_t* RoomOf(void* handle) {
  return static_cast<uint8_t*>(handle) + kDriverHeaderSize + kBufferHeaderSize;
}

// The buffers of a large frame (TxPacket::tso_mss) are linked by BufferHeader::next; payload and
// payload_length say what is in each of them, the first included. Calls `use` with each.
template <class Use>
void ForEachBuffer(const TxPacket& packet, const Use& use) {
  for (BufferHeader* h = HeaderOf(packet.handle); h != nullptr;) {
    BufferHeader* const next = h->next;  // `use` may free it
    use(*h);
    h = next;
  }
}

// The buffers of one shard's queue pair. Not thread-safe: used by the shard's thread only. A small
// stack of handles in front of the driver's pool keeps the virtual calls to one per kBurstSize.
class PacketPool {
 public:
  virtual ~PacketPool() = default;
  PacketPool(const PacketPool&) = delete;
  PacketPool& operator=(const PacketPool&) = delete;

  // An empty buffer with kBufferHeadroom before its data; false when the pool is exhausted.
  bool Allocate(Packet* out) {
    if (cached_ == 0 && !Fill()) return false;
    out->handle = cache_[--cached_];
    out->data = RoomOf(out->handle) + kBufferHeadroom;
    out->length = 0;
    out->flags = 0;
    return true;
  }

  // Gives a buffer back. The caller must be its only holder.
  void Free(void* handle) {
    if (cached_ == cache_.size()) Spill();
    cache_[cached_++] = handle;
  }
  // Gives back all buffers of a frame that was not sent.
  void Free(const TxPacket& packet) {
    if (packet.tso_mss == 0) [[likely]]
      return Free(packet.handle);
    ForEachBuffer(packet, [this](BufferHeader& h) { Free(HandleOf(&h)); });
  }

  // Buffers in the pool now, those in front of it included (test and telemetry; may be slow).
  uint32_t available() const { return DriverAvailable() + cached_; }

 protected:
  PacketPool() = default;
  // Moves up to out.size() buffers out of the driver's pool; returns how many.
  virtual uint32_t DriverAllocate(std::span<void*> out) = 0;
  virtual void DriverFree(std::span<void* const> handles) = 0;
  virtual uint32_t DriverAvailable() const = 0;
  // For the destructor of an implementation whose driver counts its buffers.
  void ReturnCached();

 private:
  bool Fill();
  void Spill();

  uint32_t cached_ = 0;
  std::array<void*, 2 * kBurstSize> cache_;
};

}  // namespace usher
