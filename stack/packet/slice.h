// A held piece of a received packet: zero-copy receive.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "stack/packet/pool.h"

namespace usher {

// A counted reference to payload bytes inside a packet buffer. Copies share the buffer, which goes
// back to its pool with the last of them. Reference counts are not atomic: a Slice lives and dies
// on the thread of the shard that made it, and must die before the stack does.
class Slice {
 public:
  Slice() = default;
  // Takes over one reference of `header`.
  static Slice Adopt(BufferHeader* header, const uint8_t* data, uint32_t length) {
    Slice s;
    s.header_ = header;
    s.data_ = data;
    s.length_ = length;
    return s;
  }
  Slice(const Slice& other) : header_(other.header_), data_(other.data_), length_(other.length_) {
    if (header_ != nullptr) ++header_->refs;
  }
  Slice(Slice&& other) noexcept { swap(other); }
  Slice& operator=(Slice other) noexcept {
    swap(other);
    return *this;
  }
  ~Slice() { Unref(header_); }

  std::span<const uint8_t> bytes() const { return {data_, length_}; }
  bool empty() const { return length_ == 0; }
  // Drops the first n bytes of the view; n <= bytes().size().
  void RemovePrefix(uint32_t n) {
    data_ += n;
    length_ -= n;
  }

  // Starts holding `packet`, whose buffer is of `pool`: one reference, owned by the caller.
  static BufferHeader* Hold(const Packet& packet, PacketPool& pool) {
    BufferHeader* h = HeaderOf(packet.handle);
    h->pool = &pool;
    h->refs = 1;
    h->next = nullptr;
    return h;
  }
  static void Unref(BufferHeader* header) {
    if (header != nullptr && --header->refs == 0) header->pool->Free(HandleOf(header));
  }

 private:
  void swap(Slice& other) noexcept {
    std::swap(header_, other.header_);
    std::swap(data_, other.data_);
    std::swap(length_, other.length_);
  }

  BufferHeader* header_ = nullptr;
  const uint8_t* data_ = nullptr;
  uint32_t length_ = 0;
};

}  // namespace usher
