// In-order bytes that the application has not read, in the packet buffers they came in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "stack/packet/pool.h"
#include "stack/packet/slice.h"
#include "stack/tcp/out_of_order_queue.h"

namespace usher {

// A list of held buffers. Cleared by its destructor. Shard's thread only.
class ReceiveBuffer {
 public:
  ReceiveBuffer() = default;
  ~ReceiveBuffer() { Clear(); }
  ReceiveBuffer(const ReceiveBuffer&) = delete;
  ReceiveBuffer& operator=(const ReceiveBuffer&) = delete;

  // Puts `payload`, not empty, which lies in `packet`, at the end. A packet with a handle is taken
  // over (small ones are copied behind the last and freed); one without is copied into buffers of
  // `pool`: false, and nothing taken, if there are not enough.
  [[nodiscard]] bool Append(const Packet& packet, std::span<const uint8_t> payload,
                            PacketPool& pool);

  // Copies `payload` into the room behind the last byte. False, and nothing done, if there is none.
  [[nodiscard]] bool AppendInPlace(std::span<const uint8_t> payload);

  // Moves bytes together where whole buffers become free by that; returns how many did. Buffers
  // that a slice shares stay as they are.
  uint32_t Collapse();

  // Puts buffers that became in order at the end.
  void Append(const OutOfOrderQueue::Chain& chain);

  // Moves up to dst.size() bytes out; returns how many.
  size_t Read(std::span<uint8_t> dst);

  // Moves up to `max` bytes out without copying: those of the first buffer. Empty if there are
  // none. What the slice holds is no longer charged here.
  Slice TakeSlice(uint32_t max);

  // The bytes of the first buffer, left where they are. Empty if there are none.
  std::span<const uint8_t> Front() const {
    if (first_ == nullptr) return {};
    return {first_->payload, first_->payload_length};
  }

  // Copies up to dst.size() bytes and leaves them; returns how many.
  size_t Peek(std::span<uint8_t> dst) const;

  // Drops up to n bytes; returns how many.
  size_t Discard(size_t n);

  void Clear();

  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Memory occupied: whole buffers.
  uint32_t memory_charged() const { return buffers_ * kBufferRoom; }

 private:
  void LinkChain(BufferHeader* first, BufferHeader* last, uint32_t buffers, uint32_t bytes);
  // Takes the first buffer off the list; its reference is the caller's.
  BufferHeader* Unlink();
  // Drops the first n bytes, 0 < n <= those of the first buffer.
  void Consume(uint32_t n);

  BufferHeader* first_ = nullptr;
  BufferHeader* last_ = nullptr;
  uint32_t size_ = 0;
  uint32_t buffers_ = 0;
};
static_assert(sizeof(ReceiveBuffer) <= 32);

}  // namespace usher
