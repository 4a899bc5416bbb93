// What a port and the stack hand each other: arrays of small descriptors.
//
// A descriptor names a frame in a buffer of the port's pool. On the fast path only the descriptor
// and the frame's own bytes are touched, never the driver's bookkeeping of the buffer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace usher {

// Most descriptors moved by one call of a port.
inline constexpr uint32_t kBurstSize = 32;

enum RxFlag : uint16_t {
  kRxIpChecksumGood = 1 << 0,  // the port verified the IPv4 header checksum
  kRxL4ChecksumGood = 1 << 1,  // the port verified the TCP or UDP checksum
  kRxFlowHash = 1 << 2,        // flow_hash is valid
};

// A received frame. Whoever holds the descriptor owns the buffer and gives it back by
// PacketPool::Free, by sending it (TxPacket), or by holding it as a Slice.
struct Packet {
  uint8_t* data = nullptr;  // first byte of the Ethernet header
  void* handle = nullptr;   // the buffer; see packet/pool.h for its layout
  uint32_t flow_hash = 0;   // the port's RSS hash, if kRxFlowHash
  uint16_t length = 0;      // bytes of the frame, without its check sequence
  uint16_t flags = 0;       // RxFlag
};
static_assert(sizeof(Packet) == 24);

enum TxFlag : uint8_t {
  kTxIpv4 = 1 << 0,        // the packet is IPv4; otherwise IPv6
  kTxIpChecksum = 1 << 1,  // the port computes the IPv4 header checksum
  kTxTcpChecksum =
      1 << 2,  // the port computes the TCP checksum; its field holds the pseudo-header sum
};

// A frame to send. A port that takes it owns the buffer from then on.
//
// With `tso_mss` it is a large TCP segment, which the port cuts into segments of so many bytes of
// payload (only for ports that can: PortCapabilities::tso_bytes). Only such a frame may lie in more
// than one buffer: see ForEachBuffer in packet/pool.h.
struct TxPacket {
  uint8_t* data = nullptr;
  void* handle = nullptr;
  uint16_t length = 0;    // of the whole frame, all buffers
  uint8_t flags = 0;      // TxFlag
  uint8_t l2_length = 0;  // header lengths in bytes, given where a checksum flag or tso_mss is set
  uint8_t l3_length = 0;
  uint8_t l4_length = 0;
  uint16_t tso_mss = 0;
};
static_assert(sizeof(TxPacket) == 24);

}  // namespace usher
