// The Ethernet side of an interface: link headers, buffers, and the transmit queue in front of the
// port.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "stack/base/counters.h"
#include "stack/ip/limits.h"
#include "stack/packet/burst.h"
#include "stack/port/port.h"
#include "stack/wire/bytes.h"
#include "stack/wire/ethernet.h"

namespace usher {

// A received frame whose link header has been read.
struct RxFrame {
  Packet packet;
  uint8_t* l3 = nullptr;        // behind the link header
  uint32_t l3_room = 0;         // bytes from there to the end of the frame, padding included
  bool link_multicast = false;  // sent to a multicast or broadcast link address
};

class Link {
 public:
  Link(Port& port, uint16_t mtu, uint16_t vlan, const NetworkLimits& limits, Counters& counters);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  const MacAddress& mac() const { return port_.mac(); }
  uint16_t vlan() const { return vlan_; }
  // Bytes of a link header as we write it, tag included.
  uint8_t header_size() const { return header_size_; }
  // Largest IP packet, in bytes.
  uint16_t mtu() const { return mtu_; }
  PacketPool& pool() { return port_.pool(); }
  uint16_t tx_flags() const { return tx_flags_; }
  // Most bytes of payload of a segment that the port cuts; 0: it does not.
  uint16_t tso_bytes() const { return port_.capabilities().tso_bytes; }

  // A buffer for a packet; false if there is none (UsherNoBuffer counted). One for control, which
  // is what keeps connections alive (ARP, NDP, bare acknowledgments, resets), may come from the
  // reserve.
  bool Allocate(Packet* out) {
    if (pool().Allocate(out)) [[likely]]
      return true;
    return NoBuffer();
  }
  bool AllocateControl(Packet* out);
  void RefillReserve() {
    if (reserve_.size() < reserve_size_) RefillReserveSlowly();
  }

  // Writes a link header of header_size() bytes.
  void WriteHeader(uint8_t* frame, const MacAddress& dst, uint16_t type) const {
    StoreMac(frame, dst);
    std::memcpy(frame + 6, header_template_.data() + 6, 6);
    if (vlan_ != 0) std::memcpy(frame + 12, header_template_.data() + 12, 4);
    Store16(frame + header_size_ - 2, type);
  }
  // The same without a destination, which WriteDestination adds.
  void WriteHeader(uint8_t* frame, uint16_t type) const { WriteHeader(frame, MacAddress{}, type); }
  static void WriteDestination(uint8_t* frame, const MacAddress& dst) { StoreMac(frame, dst); }
  // Makes the header of a received frame that of the answer to its sender; a tag stays.
  void TurnRound(uint8_t* frame) const {
    std::memcpy(frame, frame + 6, 6);
    StoreMac(frame + 6, mac());
  }

  // Queues a finished frame; takes its buffer over. Inlined, so that the descriptor is written in
  // its place from registers: read back from the stack it would wait for all stores before it, the
  // header's to a line that is not there yet among them.
  [[gnu::always_inline]] void Send(const TxPacket& packet) {
    if (tx_end_ == tx_.size() && !MakeRoom(packet)) return;
    tx_[tx_end_++] = packet;
    if (tx_end_ - tx_begin_ >= kBurstSize && !stalled_) Push();
  }
  void Free(void* handle) { pool().Free(handle); }
  void Free(const TxPacket& packet) { pool().Free(packet); }

  // Offers the queue to the port; what it does not take stays queued.
  void Flush() {
    stalled_ = false;
    if (tx_end_ != tx_begin_) Push();
  }
  uint32_t backlog() const { return tx_end_ - tx_begin_; }
  // Something waits for Flush, and not for a port that was full.
  bool wants_flush() const { return tx_end_ != tx_begin_ && !stalled_; }

 private:
  bool NoBuffer();
  void RefillReserveSlowly();
  bool MakeRoom(const TxPacket& packet);
  void Push();

  Port& port_;
  Counters& counters_;
  uint16_t vlan_;
  uint8_t header_size_;
  uint16_t mtu_;
  uint16_t tx_flags_;
  std::array<uint8_t, 18> header_template_{};

  std::vector<TxPacket> tx_;
  uint32_t tx_begin_ = 0;
  uint32_t tx_end_ = 0;
  bool stalled_ = false;  // the port was full since the last Flush

  uint32_t reserve_size_;
  std::vector<void*> reserve_;
};

}  // namespace usher
