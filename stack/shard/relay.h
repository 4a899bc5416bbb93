// What one shard receives and the others must know as well. A port spreads TCP by its flows, but an
// ARP reply, a neighbour or router advertisement, or an ICMP error about a segment comes in by one
// queue, and that need not be the queue of the shard that waits for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "stack/packet/burst.h"

namespace usher {

// Copies of such frames on their way to one shard. Allocated once: a flood of them fills the box
// and no more.
class RelayBox {
 public:
  static constexpr uint32_t kFrames = 2 * kBurstSize;
  static constexpr uint32_t kLargestFrame = 1522;

  RelayBox() : frames_(new Frame[kFrames]) {}
  RelayBox(const RelayBox&) = delete;
  RelayBox& operator=(const RelayBox&) = delete;

  // Any thread. False if the box is full, or the frame too long for it.
  bool Post(uint8_t interface, std::span<const uint8_t> frame);

  // The rest is for the shard's thread.
  bool pending() const { return count_.load(std::memory_order_relaxed) != 0; }
  // Copies the oldest frame to `out`, which has room for kLargestFrame; its length, 0 if there is
  // none.
  uint16_t Take(uint8_t* interface, uint8_t* out);

 private:
  struct Frame {
    uint8_t interface;
    uint16_t length;
    uint8_t bytes[kLargestFrame];
  };

  std::mutex mutex_;  // for all but reads of count_
  std::unique_ptr<Frame[]> frames_;
  uint32_t first_ = 0;
  std::atomic<uint32_t> count_ = 0;
};

}  // namespace usher
