// Frames that one shard received and another is to work on: segments of its flows where the port
// does not spread them itself, and what concerns all shards (see README.md).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace usher {

// From one shard's thread to another's; neither waits. Frames are copied, so that each buffer stays
// in the pool of its own queue pair. All memory is taken at construction; when the ring is full a
// frame is lost, as on any queue.
class FrameRing {
 public:
  static constexpr uint32_t kLargestFrame = 1522;

  // `frames`: how many it holds, a power of two.
  explicit FrameRing(uint32_t frames) : mask_(frames - 1), frames_(frames) {}
  FrameRing(const FrameRing&) = delete;
  FrameRing& operator=(const FrameRing&) = delete;

  // The sender's thread. False if the ring is full or the frame too long for it.
  bool Post(uint8_t interface, std::span<const uint8_t> frame) {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (frame.size() > kLargestFrame || tail - head_.load(std::memory_order_acquire) > mask_)
      return false;
    Frame& place = frames_[tail & mask_];
    place.interface = interface;
    place.length = static_cast<uint16_t>(frame.size());
    std::copy(frame.begin(), frame.end(), place.bytes);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // The receiver's thread.
  bool empty() const {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_acquire);
  }
  // The oldest frame; only if not empty, valid until Pop.
  std::span<const uint8_t> front() const { return {Front().bytes, Front().length}; }
  uint8_t front_interface() const { return Front().interface; }
  void Pop() { head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

 private:
  struct Frame {
    uint8_t interface;
    uint16_t length;
    uint8_t bytes[kLargestFrame];
  };
  const Frame& Front() const { return frames_[head_.load(std::memory_order_relaxed) & mask_]; }

  const uint32_t mask_;
  std::vector<Frame> frames_;
  alignas(64) std::atomic<uint32_t> head_ = 0;  // the receiver's
  alignas(64) std::atomic<uint32_t> tail_ = 0;  // the sender's
};

}  // namespace usher
