#include "stack/tcp/receive_buffer.h"

#include <algorithm>
#include <cstring>

#include "stack/base/check.h"
#include "stack/tcp/held.h"

namespace usher {
namespace {

void MoveToStart(BufferHeader* buffer) {
  uint8_t* room = RoomOf(HandleOf(buffer));
  std::memmove(room, buffer->payload, buffer->payload_length);
  buffer->payload = room;
}

}  // namespace

bool ReceiveBuffer::Append(const Packet& packet, std::span<const uint8_t> payload,
                           PacketPool& pool) {
  if (last_ != nullptr && CopyBehind(last_, payload)) {
    if (packet.handle != nullptr) pool.Free(packet.handle);
    size_ += static_cast<uint32_t>(payload.size());
    return true;
  }
  BufferHeader* first = HoldPayload(packet, payload, pool);
  if (first == nullptr) return false;
  BufferHeader* last = first;
  uint32_t buffers = 1;
  while (last->next != nullptr) {
    last = last->next;
    ++buffers;
  }
  LinkChain(first, last, buffers, static_cast<uint32_t>(payload.size()));
  return true;
}

bool ReceiveBuffer::AppendInPlace(std::span<const uint8_t> payload) {
  if (last_ == nullptr || !CopyBehind(last_, payload, kBufferRoom)) return false;
  size_ += static_cast<uint32_t>(payload.size());
  return true;
}

uint32_t ReceiveBuffer::Collapse() {
  uint32_t freed = 0;
  for (BufferHeader* into = first_; into != nullptr && into->next != nullptr;) {
    BufferHeader* from = into->next;
    // The first buffer's bytes stay where they are: Front() may have shown them to somebody.
    if (into != first_ && into->refs == 1) MoveToStart(into);
    if (!CopyBehind(into, {from->payload, from->payload_length}, kBufferRoom)) {
      into = from;
      continue;
    }
    into->next = from->next;
    if (last_ == from) last_ = into;
    --buffers_;
    ++freed;
    Slice::Unref(from);
  }
  return freed;
}

void ReceiveBuffer::Append(const OutOfOrderQueue::Chain& chain) {
  if (chain.first != nullptr) LinkChain(chain.first, chain.last, chain.buffers, chain.bytes);
}

void ReceiveBuffer::LinkChain(BufferHeader* first, BufferHeader* last, uint32_t buffers,
                              uint32_t bytes) {
  (last_ != nullptr ? last_->next : first_) = first;
  last_ = last;
  buffers_ += buffers;
  size_ += bytes;
}

BufferHeader* ReceiveBuffer::Unlink() {
  BufferHeader* buffer = first_;
  first_ = buffer->next;
  if (first_ == nullptr) last_ = nullptr;
  --buffers_;
  return buffer;
}

void ReceiveBuffer::Consume(uint32_t n) {
  size_ -= n;
  if (n == first_->payload_length) {
    Slice::Unref(Unlink());
    return;
  }
  first_->payload += n;
  first_->payload_length = static_cast<uint16_t>(first_->payload_length - n);
}

size_t ReceiveBuffer::Read(std::span<uint8_t> dst) {
  size_t done = 0;
  while (done < dst.size() && first_ != nullptr) {
    const size_t n = std::min<size_t>(dst.size() - done, first_->payload_length);
    std::memcpy(dst.data() + done, first_->payload, n);
    Consume(static_cast<uint32_t>(n));
    done += n;
  }
  return done;
}

Slice ReceiveBuffer::TakeSlice(uint32_t max) {
  if (first_ == nullptr || max == 0) return {};
  const uint8_t* data = first_->payload;
  if (max < first_->payload_length) {
    ++first_->refs;
    Slice slice = Slice::Adopt(first_, data, max);
    Consume(max);
    return slice;
  }
  const uint32_t n = first_->payload_length;
  size_ -= n;
  return Slice::Adopt(Unlink(), data, n);
}

size_t ReceiveBuffer::Peek(std::span<uint8_t> dst) const {
  size_t done = 0;
  for (const BufferHeader* b = first_; b != nullptr && done < dst.size(); b = b->next) {
    const size_t n = std::min<size_t>(dst.size() - done, b->payload_length);
    std::memcpy(dst.data() + done, b->payload, n);
    done += n;
  }
  return done;
}

size_t ReceiveBuffer::Discard(size_t n) {
  size_t done = 0;
  while (done < n && first_ != nullptr) {
    const size_t part = std::min<size_t>(n - done, first_->payload_length);
    Consume(static_cast<uint32_t>(part));
    done += part;
  }
  return done;
}

void ReceiveBuffer::Clear() { Discard(size_); }

}  // namespace usher
