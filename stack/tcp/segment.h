// A received TCP segment with its facts read, in the terms of RFC 9293 section 3.3.1 (SEG.*).
#pragma once

#include <cstdint>
#include <span>

#include "stack/base/counters.h"
#include "stack/base/seq.h"
#include "stack/ip/egress.h"
#include "stack/wire/tcp.h"

namespace usher {

struct Segment {
  L4Packet* packet = nullptr;  // whose buffer it lies in; taken over by whoever holds the payload
  FourTuple tuple;             // local is the destination
  Seq seq;
  Seq ack;
  uint16_t flags = 0;   // TcpFlags
  uint16_t window = 0;  // as on the wire, unscaled
  const uint8_t* payload = nullptr;
  uint32_t payload_length = 0;
  TcpOptions options;
  // Of a SYN whose hashes the passive open has computed already: under this number.
  static constexpr uint32_t kNotForeseen = UINT32_MAX;
  uint32_t foreseen = kNotForeseen;

  bool Has(uint16_t flag) const { return (flags & flag) != 0; }
  // SEG.LEN: payload, and one each for SYN and FIN.
  uint32_t Length() const {
    return payload_length + ((flags & TcpFlags::kSyn) != 0) + ((flags & TcpFlags::kFin) != 0);
  }
  Seq EndSeq() const { return seq + Length(); }

  // It asks for a connection: SYN alone, whatever else is on it.
  bool IsRequest() const {
    return (flags & (TcpFlags::kSyn | TcpFlags::kAck | TcpFlags::kRst)) == TcpFlags::kSyn;
  }

  // Reads `packet`; verifies the checksum unless the port did. False: malformed, counted
  // (TcpInErrs, TcpInCsumErrors); nothing may be answered.
  static bool Parse(L4Packet& packet, Counters& counters, Segment* out);
};

}  // namespace usher
