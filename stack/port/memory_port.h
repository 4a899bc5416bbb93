// A port that is two queues in memory: unit tests, fuzzers, simulation, replay, benchmarks.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "stack/port/port.h"

namespace usher {

// Buffers on the heap with the layout of packet/pool.h. Fixed number, allocated at construction.
class HeapPool final : public PacketPool {
 public:
  explicit HeapPool(uint32_t count);
  ~HeapPool() override;
  uint32_t capacity() const { return capacity_; }

 private:
  uint32_t DriverAllocate(std::span<void*> out) override;
  void DriverFree(std::span<void* const> handles) override;
  uint32_t DriverAvailable() const override { return static_cast<uint32_t>(free_.size()); }

  uint32_t capacity_;
  std::unique_ptr<uint8_t[]> memory_;
  std::vector<void*> free_;
};

// A frame's bytes, copied out of all of its buffers; a large segment whole, its checksum completed.
std::vector<uint8_t> BytesOf(const TxPacket& packet);

// Frames given to Inject() are received by the stack; frames the stack sends wait in sent().
class MemoryPort final : public Port {
 public:
  MemoryPort(HeapPool& pool, const MacAddress& mac, const PortCapabilities& capabilities = {});
  ~MemoryPort() override;

  // Copies `frame` into a buffer and queues it for RxBurst; false if the pool is empty or the frame
  // longer than a buffer. `flags` are RxFlag bits a driver would have set.
  bool Inject(std::span<const uint8_t> frame, uint16_t flags = 0);

  // Takes the oldest frame the stack sent, copied out; empty if there is none.
  std::vector<uint8_t> TakeSent();
  // Frames injected that the stack has not received yet.
  size_t received_count() const { return received_.size(); }
  size_t sent_count() const { return sent_.size(); }

  // Faults: how many more frames TxBurst takes before it takes no more; and the carrier.
  void set_tx_room(uint32_t frames) { tx_room_ = frames; }
  void set_link_up(bool up) { link_up_ = up; }

  uint32_t RxBurst(std::span<Packet> out) override;
  uint32_t TxBurst(std::span<const TxPacket> packets) override;
  bool LinkUp() const override { return link_up_; }

 private:
  std::deque<Packet> received_;
  std::deque<TxPacket> sent_;
  uint32_t tx_room_ = UINT32_MAX;
  bool link_up_ = true;
};

}  // namespace usher
