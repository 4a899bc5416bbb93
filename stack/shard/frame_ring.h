// Frames that one shard received and another is to work on: segments of its flows where the port
// does not spread them itself, and what concerns all shards (see README.md).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "stack/ip/l4_packet.h"
#include "stack/packet/pool.h"

namespace usher {

// From one shard's thread to another's; neither waits. Frames are copied, so that each buffer stays
// in the pool of its own queue pair. All memory is taken at construction; when the ring is full a
// frame is lost, as on any queue.
class FrameRing {
 public:
  // What a buffer of a port takes: no MTU that an interface may have is too large to be handed
  // over.
  static constexpr uint32_t kLargestFrame = kBufferRoom - kBufferHeadroom;

  // `frames`: how many it holds, a power of two.
  explicit FrameRing(uint32_t frames) : mask_(frames - 1), frames_(frames) {}
  FrameRing(const FrameRing&) = delete;
  FrameRing& operator=(const FrameRing&) = delete;

  // What it holds. A segment has been counted and verified by its sender; its bytes lie here, in no
  // buffer, so that it can be worked on in place until Pop.
  struct Frame {
    std::span<const uint8_t> bytes() const { return {room, length}; }

    L4Packet segment;  // if is_segment
    uint8_t interface;
    bool is_segment;
    uint16_t length;
    uint8_t room[kLargestFrame];
  };

  // The sender's thread. False if the ring is full or the frame too long for it.
  bool Post(uint8_t interface, std::span<const uint8_t> frame) {
    Frame* place = Place(interface, frame);
    if (place == nullptr) return false;
    place->is_segment = false;
    Publish();
    return true;
  }
  bool Post(const L4Packet& segment) {
    Frame* place = Place(segment.interface, {segment.packet.data, segment.packet.length});
    if (place == nullptr) return false;
    place->is_segment = true;
    place->segment = segment;
    place->segment.packet.data = place->room;
    place->segment.packet.handle = nullptr;
    place->segment.l4 = place->room + (segment.l4 - segment.packet.data);
    place->segment.checksum_good = true;
    place->segment.handed_over = true;
    Publish();
    return true;
  }

  // The receiver's thread: how many wait, the nth oldest of them, and the end of the `count`
  // oldest.
  uint32_t size() const {
    return tail_.load(std::memory_order_acquire) - head_.load(std::memory_order_relaxed);
  }
  Frame& operator[](uint32_t n) {
    return frames_[(head_.load(std::memory_order_relaxed) + n) & mask_];
  }
  void Pop(uint32_t count) {
    head_.store(head_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }

 private:
  // Room for one more, filled with what both kinds have.
  Frame* Place(uint8_t interface, std::span<const uint8_t> frame) {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (frame.size() > kLargestFrame || tail - head_.load(std::memory_order_acquire) > mask_)
      return nullptr;
    Frame& place = frames_[tail & mask_];
    place.interface = interface;
    place.length = static_cast<uint16_t>(frame.size());
    std::copy(frame.begin(), frame.end(), place.room);
    return &place;
  }
  void Publish() {
    tail_.store(tail_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  const uint32_t mask_;
  std::vector<Frame> frames_;
  alignas(64) std::atomic<uint32_t> head_ = 0;  // the receiver's
  alignas(64) std::atomic<uint32_t> tail_ = 0;  // the sender's
};

}  // namespace usher
