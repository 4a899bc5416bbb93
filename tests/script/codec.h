// IP packets from a script's words, and what the stack sent read back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stack/wire/address.h"
#include "tests/script/script.h"

namespace usher::script {

// One connection between the stack and the script, in numbers of the wire.
struct Flow {
  IpAddress local;   // the stack's
  IpAddress remote;  // the script's
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  std::optional<uint32_t> local_iss;  // 0 of the script is this on the wire
  std::optional<uint32_t> remote_iss;
  std::optional<uint32_t> local_ts;  // wire value minus script value of the stack's timestamps
  std::vector<std::pair<uint32_t, uint32_t>> timestamps;  // (script, wire) as seen
  uint32_t last_tsval = 0;                                // of the script's own, as last sent
};

// What was read of a packet.
struct Segment {
  IpAddress source, destination;
  uint8_t protocol = 0;
  uint8_t tos = 0, ttl = 0;
  uint16_t source_port = 0, destination_port = 0;
  uint32_t seq = 0, ack = 0;
  uint8_t flags = 0;
  uint16_t window = 0, urgent = 0;
  std::vector<uint8_t> options;
  uint32_t length = 0;
  std::vector<uint8_t> tcp;  // all of it
};

// The bytes of an inbound packet.
std::vector<uint8_t> Encode(const Packet& p, Flow& flow);

// False: no TCP over IP, or broken (`error` says how: lengths and checksums are looked at).
bool Decode(std::span<const uint8_t> packet, Segment* out, std::string* error);

// Empty if `got` is what `expected` says; otherwise what differs. Notes what can be learnt: the
// stack's initial sequence number, the zero of its timestamps. `push_matters`: PSH is looked at.
std::string Compare(const Packet& expected, const Segment& got, Flow& flow, bool push_matters);

std::string ToText(const Segment& s, const Flow& flow);

}  // namespace usher::script
