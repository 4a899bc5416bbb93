#include "app/http/output_queue.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace usher {
namespace {

std::array<uint8_t, kPatternBlockSize> MakePatternBlock() {
  std::array<uint8_t, kPatternBlockSize> block;
  for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<uint8_t>(i % 251);
  return block;
}

}  // namespace

const std::array<uint8_t, kPatternBlockSize>& PatternBlock() {
  static const std::array<uint8_t, kPatternBlockSize> block = MakePatternBlock();
  return block;
}

OutputQueue::Piece& OutputQueue::Push(Kind kind, uint64_t length) {
  Piece& piece = pieces_[(first_ + count_) % kMaxPieces];
  piece = Piece{nullptr, length, 0, kind};
  ++count_;
  size_ += length;
  return piece;
}

void OutputQueue::PushImmutable(std::string_view bytes) {
  if (bytes.empty()) return;
  Push(Kind::kImmutable, bytes.size()).data = reinterpret_cast<const uint8_t*>(bytes.data());
}

void OutputQueue::PushOwned(std::string_view bytes) {
  if (bytes.empty()) return;
  const size_t tail = (owned_head_ + owned_used_) % kOwnedCapacity;
  const size_t before_wrap = std::min(bytes.size(), kOwnedCapacity - tail);
  std::memcpy(owned_.data() + tail, bytes.data(), before_wrap);
  std::memcpy(owned_.data(), bytes.data() + before_wrap, bytes.size() - before_wrap);
  owned_used_ += static_cast<uint32_t>(bytes.size());
  if (count_ > 0) {
    Piece& last = pieces_[(first_ + count_ - 1) % kMaxPieces];
    if (last.kind == Kind::kOwned) {
      last.length += bytes.size();
      size_ += bytes.size();
      return;
    }
  }
  Push(Kind::kOwned, bytes.size());
}

void OutputQueue::PushPattern(uint64_t length) {
  if (length > 0) Push(Kind::kPattern, length);
}

void OutputQueue::PushString(std::string bytes) {
  if (bytes.empty()) return;
  string_ = std::move(bytes);
  string_pending_ = true;
  Push(Kind::kString, string_.size()).data = reinterpret_cast<const uint8_t*>(string_.data());
}

OutputPiece OutputQueue::Front() const {
  OutputPiece piece;
  Gather({&piece, 1});
  return piece;
}

size_t OutputQueue::Gather(std::span<OutputPiece> pieces) const {
  size_t filled = 0;
  size_t owned_at = owned_head_;
  for (size_t i = 0; i < count_; ++i) {
    const Piece& piece = At(i);
    const uint8_t* data = piece.data;
    size_t offset = piece.offset;
    uint64_t left = piece.length;
    while (left > 0) {
      if (filled == pieces.size()) return filled;
      size_t run = static_cast<size_t>(left);
      if (piece.kind == Kind::kOwned) {
        run = std::min<uint64_t>(left, kOwnedCapacity - owned_at);
        data = owned_.data() + owned_at;
        owned_at = (owned_at + run) % kOwnedCapacity;
      } else if (piece.kind == Kind::kPattern) {
        run = std::min<uint64_t>(left, kPatternBlockSize - offset);
        data = PatternBlock().data() + offset;
        offset = 0;
      }
      const bool immutable = piece.kind == Kind::kImmutable || piece.kind == Kind::kPattern;
      pieces[filled++] = OutputPiece{{data, run}, immutable};
      left -= run;
    }
  }
  return filled;
}

void OutputQueue::Consume(uint64_t n) {
  size_ -= n;
  while (n > 0) {
    Piece& piece = pieces_[first_];
    const uint64_t run = std::min(n, piece.length);
    n -= run;
    piece.length -= run;
    switch (piece.kind) {
      case Kind::kImmutable:
      case Kind::kString:
        piece.data += run;
        break;
      case Kind::kOwned:
        owned_head_ = static_cast<uint32_t>((owned_head_ + run) % kOwnedCapacity);
        owned_used_ -= static_cast<uint32_t>(run);
        break;
      case Kind::kPattern:
        piece.offset = static_cast<uint32_t>((piece.offset + run) % kPatternBlockSize);
        break;
    }
    if (piece.length > 0) return;
    if (piece.kind == Kind::kString) {
      string_pending_ = false;
      string_ = std::string();
    }
    first_ = (first_ + 1) % kMaxPieces;
    --count_;
  }
}

}  // namespace usher
