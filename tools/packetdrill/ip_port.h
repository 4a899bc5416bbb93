// A port of bare IP packets: the link is invented on the way in and taken off on the way out.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "stack/base/time.h"
#include "stack/port/memory_port.h"
#include "tools/packetdrill/flow_counts.h"

namespace usher::packetdrill {

class IpPort final : public Port {
 public:
  // Who is at the other end of the invented link.
  static constexpr MacAddress kPeerMac{{0x02, 0, 0, 0, 0, 0x01}};
  static constexpr MacAddress kOurMac{{0x02, 0, 0, 0, 0, 0x02}};

  struct Sent {
    std::vector<uint8_t> packet;
    Instant at;
  };

  // `tso`: as a TUN device with offloads, it takes segments of up to 64 KiB and hands them on
  // whole.
  IpPort(HeapPool& pool, uint16_t mtu, bool tso);
  ~IpPort() override;

  // A packet for the stack; one longer than the MTU comes to it in fragments. False: not IP, or no
  // buffers.
  bool Deliver(std::span<const uint8_t> packet);
  // Packets the stack sent, oldest first.
  std::deque<Sent>& sent() { return sent_; }
  const FlowLedger& flows() const { return flows_; }
  // The instant that packets sent from now on are stamped with.
  void set_now(Instant now) { now_ = now; }

  uint32_t RxBurst(std::span<Packet> out) override;
  uint32_t TxBurst(std::span<const TxPacket> packets) override;
  bool LinkUp() const override { return true; }

 private:
  bool Queue(std::span<const uint8_t> headers, std::span<const uint8_t> data);
  bool DeliverFragments4(std::span<const uint8_t> packet);
  bool DeliverFragments6(std::span<const uint8_t> packet);

  const uint16_t mtu_;
  std::deque<Packet> received_;
  std::deque<Sent> sent_;
  FlowLedger flows_;
  Instant now_;
  uint16_t next_id_ = 1;
};

}  // namespace usher::packetdrill
