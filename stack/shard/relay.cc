#include "stack/shard/relay.h"

#include <cstring>

namespace usher {

bool RelayBox::Post(uint8_t interface, std::span<const uint8_t> frame) {
  if (frame.size() > kLargestFrame) return false;
  const std::lock_guard lock(mutex_);
  const uint32_t count = count_.load(std::memory_order_relaxed);
  if (count == kFrames) return false;
  Frame& place = frames_[(first_ + count) % kFrames];
  place.interface = interface;
  place.length = static_cast<uint16_t>(frame.size());
  std::memcpy(place.bytes, frame.data(), frame.size());
  count_.store(count + 1, std::memory_order_relaxed);
  return true;
}

uint16_t RelayBox::Take(uint8_t* interface, uint8_t* out) {
  const std::lock_guard lock(mutex_);
  const uint32_t count = count_.load(std::memory_order_relaxed);
  if (count == 0) return 0;
  const Frame& frame = frames_[first_];
  *interface = frame.interface;
  std::memcpy(out, frame.bytes, frame.length);
  first_ = (first_ + 1) % kFrames;
  count_.store(count - 1, std::memory_order_relaxed);
  return frame.length;
}

}  // namespace usher
