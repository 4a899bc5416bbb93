// One queue pair of a DPDK ethdev, as a Port.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "stack/port/dpdk/dpdk_pool.h"
#include "stack/port/dpdk/eal.h"
#include "stack/port/dpdk/rss.h"
#include "stack/port/port.h"

struct rte_mbuf;

namespace usher {

// Made by DpdkDevice, which owns it. RxBurst, TxBurst and Reclaim are for the one thread that owns
// the queue pair; LinkUp and the counters are for any.
class DpdkPort final : public Port {
 public:
  // What the port itself did beyond handing frames through.
  struct Counts {
    uint64_t rx_copied = 0;   // frames moved into one buffer of our pool
    uint64_t rx_dropped = 0;  // of these, lost: longer than a buffer, or no buffer left
    uint64_t tx_refused = 0;  // frames the driver can never send (too long or short), thrown away
  };

  DpdkPort(PortId port, uint16_t queue, DpdkPool& pool, const MacAddress& mac,
           const PortCapabilities& capabilities)
      : Port(pool, mac, capabilities), port_(port), queue_(queue), dpdk_pool_(pool) {}

  // Frames that a driver chained, keeps in memory of its own, or took from another pool (net_ring
  // hands over the sender's buffers) are copied into one buffer of this port's pool.
  uint32_t RxBurst(std::span<Packet> out) override;

  // Every buffer must be of pool().
  uint32_t TxBurst(std::span<const TxPacket> packets) override;

  void Reclaim() override;

  // Asks the driver, for some of which that is a system call: not once per poll.
  bool LinkUp() const override;

  std::optional<uint16_t> QueueOf(const FourTuple& tuple) const override {
    return rss_ != nullptr ? rss_->QueueOf(tuple) : std::nullopt;
  }

  Counts counts() const;

 private:
  friend class DpdkDevice;
  void Accept(rte_mbuf* mbuf, Packet* out);
  bool CopyIn(rte_mbuf* mbuf, Packet* out);
  // Throws away the frames at the head of `rest` that can never be sent, the first in any case if
  // `first`; returns how many.
  uint32_t RefuseUnsendable(std::span<const TxPacket> rest, bool first);

  const PortId port_;
  const uint16_t queue_;
  DpdkPool& dpdk_pool_;
  const RssTable* rss_ = nullptr;      // the device's, once it runs and if it has one
  bool sums_ipv4_ = false;             // of the segments it cuts
  bool can_reclaim_ = true;            // until the driver says it cannot
  std::atomic<bool> running_ = false;  // between DpdkDevice::Start and Stop
  std::atomic<uint64_t> rx_copied_ = 0;
  std::atomic<uint64_t> rx_dropped_ = 0;
  std::atomic<uint64_t> tx_refused_ = 0;
};

}  // namespace usher
