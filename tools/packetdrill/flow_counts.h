// What a connection does not count itself but TCP_INFO tells: its segments, as they pass the link.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "stack/wire/address.h"

namespace usher::packetdrill {

// As Linux counts: a child's SYN-ACK is not among what it sent, the ACK that made it is among what
// it received.
struct FlowCounts {
  uint32_t segs_out = 0;
  uint32_t segs_in = 0;
  uint32_t data_segs_out = 0;
  uint32_t data_segs_in = 0;
  uint64_t bytes_sent = 0;  // retransmissions included
  uint64_t bytes_retrans = 0;

  // Segments (data or FIN) sent for the first time whose end, counted from the initial sequence
  // number, is not beyond `acked`.
  uint32_t DeliveredUpTo(uint32_t acked) const;

  uint32_t iss = 0;
  uint32_t sent_to = 0;        // the end of what was ever sent, counted from iss
  std::vector<uint32_t> ends;  // of first transmissions, counted from iss
};

// Of all flows; a SYN begins one anew.
class FlowLedger {
 public:
  // `mss`: of a large segment, that of those it is cut into; else 0.
  void OnSent(std::span<const uint8_t> ip_packet, uint16_t mss = 0) { Note(ip_packet, true, mss); }
  void OnReceived(std::span<const uint8_t> ip_packet) { Note(ip_packet, false, 0); }
  FlowCounts Of(const FourTuple& tuple) const {
    const auto it = flows_.find(tuple);
    return it != flows_.end() ? it->second : FlowCounts();
  }

 private:
  void Note(std::span<const uint8_t> ip_packet, bool sent, uint16_t mss);

  std::map<FourTuple, FlowCounts> flows_;
};

}  // namespace usher::packetdrill
