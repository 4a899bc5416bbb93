// The boundary to the wire: one receive queue and one transmit queue of a network port.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "stack/packet/burst.h"
#include "stack/packet/pool.h"
#include "stack/wire/address.h"

namespace usher {

// What a port can do for the stack; fixed after start.
struct PortCapabilities {
  uint16_t tx_flags = 0;      // the TxFlag bits it honours
  bool rss = false;           // spreads flows over queues itself
  uint16_t max_frame = 1514;  // longest frame it sends, without check sequence
  // Most bytes of payload of a TCP segment that it cuts into segments itself (TSO); 0: it cannot.
  uint16_t tso_bytes = 0;
};

// A queue pair. All calls come from the thread of the one shard that owns it, except where noted.
class Port {
 public:
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  // Receives up to out.size() frames (at most kBurstSize are asked for). The caller owns them.
  // Frames are contiguous: an implementation linearizes what its driver chained, or drops and
  // counts.
  virtual uint32_t RxBurst(std::span<Packet> out) = 0;

  // Sends frames in order; returns how many were taken. The rest stays the caller's.
  virtual uint32_t TxBurst(std::span<const TxPacket> packets) = 0;

  // Called when the shard is about to go idle: reclaims finished transmissions.
  virtual void Reclaim() {}

  // The queue pair by which the port, spreading flows itself, receives segments of this flow. Any
  // thread. None: it does not spread, or cannot say.
  virtual std::optional<uint16_t> QueueOf(const FourTuple&) const { return std::nullopt; }

  // Carrier state; may change at any time.
  virtual bool LinkUp() const = 0;

  PacketPool& pool() { return pool_; }
  const MacAddress& mac() const { return mac_; }  // the address the stack uses, not the host's side
  const PortCapabilities& capabilities() const { return capabilities_; }

 protected:
  Port(PacketPool& pool, const MacAddress& mac, const PortCapabilities& capabilities)
      : pool_(pool), mac_(mac), capabilities_(capabilities) {}

 private:
  PacketPool& pool_;
  MacAddress mac_;
  PortCapabilities capabilities_;
};

}  // namespace usher
