// What a session still has to send: a bounded row of pieces, most of them references to memory that
// never changes, so that a file's bytes go from the site to the send buffer without a stop.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace usher {

// A run of bytes to send. `immutable` bytes stay as they are for as long as the StaticSite and the
// HttpContext live, so they may be sent by reference; others only until ConsumeOutput.
struct OutputPiece {
  std::span<const uint8_t> bytes;
  bool immutable = false;
};

// Length of the repeating block behind /bytes/N; a multiple of 251, so that byte i of the stream is
// i mod 251 and a lost or doubled stretch shows (251 is prime to every segment size in use).
inline constexpr size_t kPatternBlockSize = 251 * 261;

// The block itself: byte i is i mod 251.
const std::array<uint8_t, kPatternBlockSize>& PatternBlock();

// A FIFO of pieces with fixed capacity; no allocation after construction. Not thread safe.
class OutputQueue {
 public:
  // Room for bytes that the session itself composes (heads, echoed bodies).
  static constexpr size_t kOwnedCapacity = 4096;
  static constexpr size_t kMaxPieces = 32;

  bool empty() const { return count_ == 0; }
  // Bytes still to be sent, generated ones included.
  uint64_t size() const { return size_; }
  size_t owned_free() const { return kOwnedCapacity - owned_used_; }
  size_t pieces_free() const { return kMaxPieces - count_; }

  // Queues a reference; the bytes must outlive the session.
  void PushImmutable(std::string_view bytes);
  // Queues a copy. The caller has checked owned_free() and pieces_free().
  void PushOwned(std::string_view bytes);
  // Queues the first `length` bytes of the repeating pattern.
  void PushPattern(uint64_t length);
  // Queues a string of any length, which the queue keeps until it is sent; one at a time.
  void PushString(std::string bytes);
  bool string_pending() const { return string_pending_; }

  // The next run of bytes in order; empty when nothing is queued.
  OutputPiece Front() const;
  // Fills `pieces` with what comes next, in order; returns how many were filled. Generated streams
  // may fill more than one.
  size_t Gather(std::span<OutputPiece> pieces) const;
  // Drops the first `n` bytes; n must not exceed size().
  void Consume(uint64_t n);

 private:
  enum class Kind : uint8_t { kImmutable, kOwned, kPattern, kString };
  struct Piece {
    const uint8_t* data;  // kImmutable and kString
    uint64_t length;      // still to be sent
    uint32_t offset;      // kPattern: where in the block the next byte lies
    Kind kind;
  };

  Piece& Push(Kind kind, uint64_t length);
  const Piece& At(size_t i) const { return pieces_[(first_ + i) % kMaxPieces]; }

  std::array<Piece, kMaxPieces> pieces_;
  uint32_t first_ = 0;
  uint32_t count_ = 0;
  uint32_t owned_head_ = 0;  // where the oldest owned byte lies in owned_
  uint32_t owned_used_ = 0;
  uint64_t size_ = 0;
  bool string_pending_ = false;
  std::string string_;
  std::array<uint8_t, kOwnedCapacity> owned_;
};

}  // namespace usher
