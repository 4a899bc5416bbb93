#include "stack/tcp/send_buffer.h"

#include <algorithm>
#include <cstring>

#include "stack/base/asan.h"
#include "stack/base/check.h"
#include "stack/wire/checksum.h"

namespace usher {

void ReleaseQueue::Run() {
  SendPiece* piece = head_;
  head_ = tail_ = nullptr;
  while (piece != nullptr) {
    SendPiece* next = piece->next;
    const ReleaseFn release = piece->release;
    void* context = piece->context;
    pool_.FreeExternal(piece);  // first: the callback may want to append again
    release(context);
    piece = next;
  }
}

SendBlockPool::SendBlockPool(uint32_t blocks, uint32_t externals)
    : block_count_(blocks),
      available_blocks_(blocks),
      external_count_(externals),
      available_externals_(externals),
      pieces_(size_t{blocks} + externals),
      memory_(size_t{blocks} * kSendBlockSize),
      releases_(*this) {
  AsanPoison(memory_.data(), memory_.size());
}

SendBlockPool::~SendBlockPool() {
  USHER_DCHECK(available_blocks_ == block_count_ && available_externals_ == external_count_);
  AsanUnpoison(memory_.data(), memory_.size());
}

uint8_t* SendBlockPool::MemoryOf(const SendPiece* block) {
  return memory_.data() + static_cast<size_t>(block - pieces_.data()) * kSendBlockSize;
}

SendPiece* SendBlockPool::TakeBlock() {
  if (available_blocks_ == 0) return nullptr;
  --available_blocks_;
  SendPiece* piece = free_blocks_;
  if (piece != nullptr) {
    free_blocks_ = piece->next;
  } else {
    piece = &pieces_[touched_blocks_++];
  }
  AsanUnpoison(MemoryOf(piece), kSendBlockSize);
  *piece = {.data = MemoryOf(piece), .room = kSendBlockSize};
  return piece;
}

SendPiece* SendBlockPool::TakeExternal() {
  if (available_externals_ == 0) return nullptr;
  --available_externals_;
  SendPiece* piece = free_externals_;
  if (piece != nullptr) {
    free_externals_ = piece->next;
  } else {
    piece = &pieces_[block_count_ + touched_externals_++];
  }
  *piece = {};
  return piece;
}

bool SendBlockPool::Give(SendPiece* piece) {
  if (piece < pieces_.data() + block_count_) {
    AsanPoison(MemoryOf(piece), kSendBlockSize);
    piece->next = free_blocks_;
    free_blocks_ = piece;
    ++available_blocks_;
    return true;
  }
  if (piece->release == nullptr) {
    FreeExternal(piece);
    return false;
  }
  piece->next = nullptr;
  (releases_.tail_ != nullptr ? releases_.tail_->next : releases_.head_) = piece;
  releases_.tail_ = piece;
  return false;
}

void SendBlockPool::FreeExternal(SendPiece* piece) {
  piece->next = free_externals_;
  free_externals_ = piece;
  ++available_externals_;
}

SendBuffer::~SendBuffer() { USHER_DCHECK(head_ == kNone); }

void SendBuffer::Link(SendBlockPool& pool, SendPiece* piece) {
  piece->next = nullptr;
  const uint32_t number = pool.NumberOf(piece);
  if (tail_ != kNone)
    pool.pieces_[tail_].next = piece;
  else
    head_ = number;
  tail_ = number;
}

size_t SendBuffer::Append(SendBlockPool& pool, std::span<const uint8_t> bytes, size_t limit) {
  limit = std::min<size_t>(limit, kMaxSize);
  const size_t wanted = size_ < limit ? std::min(bytes.size(), limit - size_) : 0;
  size_t done = 0;
  SendPiece* last = tail_ != kNone ? &pool.pieces_[tail_] : nullptr;
  while (done < wanted) {
    if (last == nullptr || last->room == 0) {
      last = pool.TakeBlock();
      if (last == nullptr) break;
      ++blocks_;
      Link(pool, last);
    }
    const auto n = static_cast<uint32_t>(std::min<size_t>(last->room, wanted - done));
    // What has room is a block of the pool, whose memory is ours to write.
    std::memcpy(const_cast<uint8_t*>(last->data) + last->length, bytes.data() + done, n);
    last->length += n;
    last->room -= n;
    done += n;
  }
  size_ += static_cast<uint32_t>(done);
  return done;
}

bool SendBuffer::AppendExternal(SendBlockPool& pool, std::span<const uint8_t> bytes,
                                ReleaseFn release, void* context) {
  if (bytes.size() > kMaxSize - size_) return false;
  SendPiece* piece = pool.TakeExternal();
  if (piece == nullptr) return false;
  piece->data = bytes.data();
  piece->length = static_cast<uint32_t>(bytes.size());
  piece->release = release;
  piece->context = context;
  if (bytes.empty()) {  // nothing to wait for; and no piece of the list is ever empty
    pool.Give(piece);
    return true;
  }
  Link(pool, piece);
  size_ += piece->length;
  return true;
}

const SendPiece* SendBuffer::Find(const SendBlockPool& pool, uint32_t offset,
                                  uint32_t* start) const {
  USHER_DCHECK(offset < size_);
  // The nearer of the two remembered places that are not beyond; otherwise the one that is farther
  // back starts again at the head, so that the other stays where new data is being sent.
  uint32_t i = cursor_offset_[0] >= cursor_offset_[1] ? 0 : 1;
  if (cursor_offset_[i] > offset) i = 1 - i;
  if (cursor_offset_[i] > offset) {
    cursor_offset_[i] = 0;
    cursor_piece_[i] = kNone;
  }
  const SendPiece* piece = &pool.pieces_[cursor_piece_[i] != kNone ? cursor_piece_[i] : head_];
  uint32_t at = cursor_offset_[i];
  while (offset - at >= piece->length) {
    at += piece->length;
    piece = piece->next;
  }
  cursor_piece_[i] = pool.NumberOf(piece);
  cursor_offset_[i] = at;
  *start = at;
  return piece;
}

uint32_t SendBuffer::CopyOut(const SendBlockPool& pool, uint32_t offset,
                             std::span<uint8_t> dst) const {
  USHER_DCHECK(offset <= size_ && dst.size() <= size_ - offset);
  uint32_t sum = 0;
  size_t done = 0;
  while (done < dst.size()) {
    uint32_t start = 0;
    const SendPiece* piece = Find(pool, offset, &start);
    const uint32_t skip = offset - start;
    const auto n = static_cast<uint32_t>(std::min<size_t>(piece->length - skip, dst.size() - done));
    const uint32_t part = checksum::CopyAndSum(dst.data() + done, piece->data + skip, n);
    sum = done % 2 == 0 ? checksum::Add(sum, part) : checksum::AddShifted(sum, part);
    done += n;
    offset += n;
  }
  return sum;
}

void SendBuffer::Copy(const SendBlockPool& pool, uint32_t offset, std::span<uint8_t> dst) const {
  USHER_DCHECK(offset <= size_ && dst.size() <= size_ - offset);
  while (!dst.empty()) {
    const std::span<const uint8_t> piece = Contiguous(pool, offset);
    const size_t n = std::min(piece.size(), dst.size());
    std::memcpy(dst.data(), piece.data(), n);
    dst = dst.subspan(n);
    offset += static_cast<uint32_t>(n);
  }
}

std::span<const uint8_t> SendBuffer::Contiguous(const SendBlockPool& pool, uint32_t offset) const {
  if (offset >= size_) return {};
  uint32_t start = 0;
  const SendPiece* piece = Find(pool, offset, &start);
  return {piece->data + (offset - start), piece->length - (offset - start)};
}

void SendBuffer::Acknowledge(SendBlockPool& pool, uint32_t n) {
  USHER_DCHECK(n <= size_);
  size_ -= n;
  for (uint32_t i = 0; i < 2; ++i) {
    if (cursor_offset_[i] < n) {  // its piece goes, or becomes the head with other bounds
      cursor_piece_[i] = kNone;
      cursor_offset_[i] = 0;
    } else {
      cursor_offset_[i] -= n;
    }
  }
  while (n != 0) {
    SendPiece* piece = &pool.pieces_[head_];
    if (n < piece->length) {
      piece->data += n;
      piece->length -= n;
      return;
    }
    n -= piece->length;
    head_ = piece->next != nullptr ? pool.NumberOf(piece->next) : kNone;
    if (head_ == kNone) tail_ = kNone;
    if (pool.Give(piece)) --blocks_;
  }
}

void SendBuffer::Clear(SendBlockPool& pool) { Acknowledge(pool, size_); }

}  // namespace usher
