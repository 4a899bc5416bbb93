// The bytes between SND.UNA and the end of what the application wrote.
//
// A send buffer is a list of pieces. A piece is either a block of the shard's pool, into which
// written bytes are copied, or a reference to memory that the caller keeps unchanged until it is
// told that the peer has it (zero-copy). Offsets count from SND.UNA.
//
//   SendBuffer  head ---> piece ---> piece ---> piece <--- tail
//                         block      caller's   block
//                         [..####]   [######]   [###...]  <- room for the next write
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "stack/base/zeroed_array.h"

namespace usher {

class SendBlockPool;

// Tells the owner of memory given to SendBuffer::AppendExternal that it is his again.
using ReleaseFn = void (*)(void* context);

// Bytes that one block holds.
inline constexpr uint32_t kSendBlockSize = 2048;

// One stretch of buffered bytes. Lives in a SendBlockPool.
struct SendPiece {
  SendPiece* next;
  const uint8_t* data;  // the first byte not yet acknowledged
  uint32_t length;
  uint32_t room;      // bytes free behind the data; 0 for the caller's memory
  ReleaseFn release;  // null for a block
  void* context;      // for release
};

// Callbacks that are due but must not run in the middle of segment processing, where they could
// call back into the connection. The shard runs them when the burst is done.
class ReleaseQueue {
 public:
  explicit ReleaseQueue(SendBlockPool& pool) : pool_(pool) {}
  ReleaseQueue(const ReleaseQueue&) = delete;
  ReleaseQueue& operator=(const ReleaseQueue&) = delete;

  // Calls what was due when Run began, in order; a callback may write to, acknowledge or clear any
  // send buffer. What falls due meanwhile waits for the next Run.
  void Run();

  bool empty() const { return head_ == nullptr; }

 private:
  friend class SendBlockPool;

  SendBlockPool& pool_;
  SendPiece* head_ = nullptr;
  SendPiece* tail_ = nullptr;
};

// The blocks and piece records of one shard: a fixed number, whose memory is touched only when
// first used. Shard's thread only.
class SendBlockPool {
 public:
  // `externals`: how many zero-copy pieces may be outstanding at once, beside the blocks.
  SendBlockPool(uint32_t blocks, uint32_t externals);
  // Every send buffer must have been cleared and every release run.
  ~SendBlockPool();
  SendBlockPool(const SendBlockPool&) = delete;
  SendBlockPool& operator=(const SendBlockPool&) = delete;

  ReleaseQueue& releases() { return releases_; }
  uint32_t available_blocks() const { return available_blocks_; }
  uint32_t available_externals() const { return available_externals_; }
  // What a pool of these sizes takes at most, for the memory plan at start.
  static constexpr size_t BytesFor(uint32_t blocks, uint32_t externals) {
    return size_t{blocks} * (kSendBlockSize + sizeof(SendPiece)) +
           size_t{externals} * sizeof(SendPiece);
  }

 private:
  friend class SendBuffer;
  friend class ReleaseQueue;

  // An empty piece with a whole block of room; null when the pool is exhausted.
  SendPiece* TakeBlock();
  // A piece for the caller's memory; null when the pool is exhausted.
  SendPiece* TakeExternal();
  // Gives a piece back: at once, or by way of its release callback. True if it was a block.
  bool Give(SendPiece* piece);
  uint8_t* MemoryOf(const SendPiece* block);
  uint32_t NumberOf(const SendPiece* piece) const {
    return static_cast<uint32_t>(piece - pieces_.data());
  }
  void FreeExternal(SendPiece* piece);

  uint32_t block_count_;
  uint32_t available_blocks_;
  uint32_t external_count_;
  uint32_t available_externals_;
  uint32_t touched_blocks_ = 0;  // those below were used before
  uint32_t touched_externals_ = 0;
  SendPiece* free_blocks_ = nullptr;  // used before, last in first out
  SendPiece* free_externals_ = nullptr;
  ZeroedArray<SendPiece> pieces_;  // of block i at i, then those for external memory
  ZeroedArray<uint8_t> memory_;    // block i at i * kSendBlockSize
  ReleaseQueue releases_;
};

// One connection's unacknowledged and unsent bytes. Always used with the one pool of its shard, and
// cleared before it is destroyed. Holds no block while it is empty.
class SendBuffer {
 public:
  SendBuffer() = default;
  SendBuffer(const SendBuffer&) = delete;
  SendBuffer& operator=(const SendBuffer&) = delete;
  ~SendBuffer();

  // Copies bytes to the end of the buffer until size() is `limit` or the pool is exhausted; returns
  // how many were taken.
  size_t Append(SendBlockPool& pool, std::span<const uint8_t> bytes, size_t limit);

  // Puts the caller's memory at the end of the buffer without copying. It must not change until
  // `release(context)` is called, exactly once, by ReleaseQueue::Run after all its bytes were
  // acknowledged or the buffer was cleared; a null `release` is not called. False, and nothing
  // taken, if the pool is exhausted or size() would pass kMaxSize.
  bool AppendExternal(SendBlockPool& pool, std::span<const uint8_t> bytes, ReleaseFn release,
                      void* context);

  // Copies the dst.size() bytes from `offset` on and returns their partial Internet checksum
  // (wire/checksum.h), in one pass; they must be in the buffer. Constant time amortised for
  // sequential sending, and for a retransmission pass beside it.
  uint32_t CopyOut(const SendBlockPool& pool, uint32_t offset, std::span<uint8_t> dst) const;

  // The same without the sum: for what the port sums.
  void Copy(const SendBlockPool& pool, uint32_t offset, std::span<uint8_t> dst) const;

  // The bytes from `offset` on that lie in one piece: empty at the end of the buffer. Valid until
  // they are acknowledged.
  std::span<const uint8_t> Contiguous(const SendBlockPool& pool, uint32_t offset) const;

  // Drops the first n <= size() bytes: SND.UNA has moved.
  void Acknowledge(SendBlockPool& pool, uint32_t n);

  // Drops everything.
  void Clear(SendBlockPool& pool);

  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Bytes of the pool's blocks held (not the caller's memory).
  uint32_t memory_charged() const { return blocks_ * kSendBlockSize; }

  // Sequence arithmetic ends at 2^31; no send buffer comes near.
  static constexpr uint32_t kMaxSize = 1u << 30;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // The piece that holds `offset` < size(), and the offset of its first byte.
  const SendPiece* Find(const SendBlockPool& pool, uint32_t offset, uint32_t* start) const;
  void Link(SendBlockPool& pool, SendPiece* piece);

  // Pieces by their numbers in the pool.
  uint32_t head_ = kNone;
  uint32_t tail_ = kNone;
  // Two places are remembered, so that a look-up need not start at the head: where new data is
  // being sent, and a retransmission behind it. The offset is that of the piece's first byte; none
  // means the head, with offset 0.
  mutable uint32_t cursor_piece_[2] = {kNone, kNone};
  mutable uint32_t cursor_offset_[2] = {};
  uint32_t size_ = 0;
  uint32_t blocks_ = 0;
};
static_assert(sizeof(SendBuffer) <= 32);

}  // namespace usher
