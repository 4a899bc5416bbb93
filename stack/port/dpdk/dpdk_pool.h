// Packet buffers that are DPDK's mbufs.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "stack/packet/pool.h"

struct rte_mempool;

namespace usher {

// The buffers of one queue pair: a mempool of mbufs laid out as packet/pool.h says. What lies in
// the mempool is as drivers expect it (one reference, one segment, no successor), and nothing above
// the port changes that, so that a buffer needs no work when it is allocated or freed.
//
// Made by the main thread; then used by one thread, as PacketPool says, except that the drivers of
// other devices may give its buffers back from theirs.
class DpdkPool final : public PacketPool {
 public:
  // `count` buffers on NUMA node `socket` (-1: any). `name` must be new, at most 25 characters.
  // ResourceExhausted, with the figure needed, if they do not fit DPDK's memory.
  static absl::StatusOr<std::unique_ptr<DpdkPool>> Create(const std::string& name, uint32_t count,
                                                          int socket);
  // Gives the memory back, unless a driver still holds some of it.
  ~DpdkPool() override;

  uint32_t capacity() const { return capacity_; }
  // DPDK's memory per buffer, in bytes, all overhead included.
  static uint32_t BytesPerBuffer();

  rte_mempool* mempool() const { return mempool_; }
  // Gives what the calling thread's cache holds to all. The main thread calls it after setting up
  // queues, else the buffers its cache took would be lost to the shard.
  void FlushCache();

 private:
  DpdkPool(rte_mempool* mempool, uint32_t count) : mempool_(mempool), capacity_(count) {}

  uint32_t DriverAllocate(std::span<void*> out) override;
  void DriverFree(std::span<void* const> handles) override;
  uint32_t DriverAvailable() const override;

  rte_mempool* mempool_;
  uint32_t capacity_;
};

}  // namespace usher
