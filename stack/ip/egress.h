// The way out: where a packet to an address goes, and how the transport builds one.
//
// This header is all that tcp/ and listen/ see of the network layer. A packet is built in place:
//
//   TxFrame frame;
//   if (egress.Begin(path, family, &frame)) {      // buffer taken, l4 points behind the
//   headers-to-be
//     ... write TCP header, options, payload at frame.l4 ...
//     egress.CommitTcp(frame, {...});              // IP and link headers, checksum, queued
//   }
//   egress.Flush();                                // once a burst: one transmit call per port
#pragma once

#include <cstdint>
#include <vector>

#include "stack/base/counters.h"
#include "stack/ip/l4_packet.h"
#include "stack/packet/burst.h"
#include "stack/packet/pool.h"
#include "stack/wire/address.h"

namespace usher {

class Interface;

// Where packets of one flow leave: kept by a connection, so that a route is looked up once.
// A path that has gone stale (neighbour evicted, route changed) is found anew by Commit.
struct Path {
  uint32_t neighbour = 0;  // handle in the interface's neighbour cache, generation included
  uint16_t mtu = 0;        // largest IP packet, in bytes; lowered by path MTU discovery
  uint8_t interface = 0;   // index
  bool valid = false;
};

// A packet under construction; its buffer belongs to the egress until committed or cancelled.
struct TxFrame {
  uint8_t* l4 = nullptr;  // where the transport header begins; everything after it may be written
  uint32_t room = 0;      // bytes from l4 to the end of the buffer
  Packet packet;
  PacketPool* pool = nullptr;
  Path path;
  bool reply = false;   // link header is that of the packet answered, turned round
  uint8_t ip_size = 0;  // of the IP header before l4
};

// The transport's part of a packet, for CommitTcp.
struct TcpSend {
  const IpAddress& local;
  const IpAddress& remote;
  uint16_t header_length;  // TCP header with options, bytes
  uint16_t payload_length;
  uint32_t payload_sum;   // partial Internet checksum of the payload (wire/checksum.h); 0 if none;
                          // not looked at where the port computes it (see checksums_by_port)
  uint8_t tos = 0;        // with ECN bits
  uint16_t tso_mss = 0;   // not 0: the port cuts the payload into segments of so many bytes
  uint8_t hop_limit = 0;  // 0: the default
  // Partial sum of TCP header and options, with a checksum of zero; 0, which no header has: to be
  // read back from the frame.
  uint32_t header_sum = 0;
};

class Egress {
 public:
  explicit Egress(Counters& counters) : counters_(counters) {}
  Egress(const Egress&) = delete;
  Egress& operator=(const Egress&) = delete;

  // Set-up: interfaces are numbered in the order they are added and outlive the egress.
  void AddInterface(Interface* interface);

  // net.ipv4.ip_default_ttl: the TTL of IPv4 packets whose sender asks for none.
  void set_default_ttl(int32_t ttl) { default_ttl_ = static_cast<uint8_t>(ttl); }

  // Finds interface and next hop for packets from `local` to `remote`. False: no route
  // (IpOutNoRoutes counted by the caller's family).
  bool FindPath(const IpAddress& local, const IpAddress& remote, Path* path);

  // As FindPath, but only looks: the largest IP packet on the way, 0 if there is no route. What a
  // stranger's SYN may ask for: it makes no neighbour entry. `remote` is the source of a packet
  // that was received.
  uint16_t RouteMtu(const IpAddress& local, const IpAddress& remote) const;

  // The source address for an active open to `remote` (RFC 6724 in short: same family, on-link
  // first, link-local only for link-local). False: no route.
  bool FindSource(const IpAddress& remote, IpAddress* local);

  // True if `address` is one of ours, on any interface.
  bool IsLocal(const IpAddress& address) const;
  // 255.255.255.255, or the broadcast address of one of our subnets.
  bool IsOurBroadcast(const IpAddress& address) const;

  // True if the port of `path` computes TCP checksums: the payload need not be summed.
  bool checksums_by_port(const Path& path) const;

  // Takes a buffer for a packet along `path`. False: pool empty (UsherNoBuffer counted). `control`
  // may draw on the reserve: for what has no payload and keeps connections going (ACK, RST, FIN).
  bool Begin(const Path& path, Family family, TxFrame* frame, bool control = false);

  // Most bytes of payload of one segment that the port of `path` cuts itself (TSO); 0: it cannot.
  uint16_t tso_bytes(const Path& path) const;

  // Prepares a frame just begun for a segment that the port will cut: adds buffers until there is
  // room for `bytes` from l4 on. False: no buffers, and the frame is as before. What goes where:
  // ForEachBuffer of packet/pool.h.
  bool Extend(TxFrame& frame, uint32_t bytes);

  // Turns a received packet round in its own buffer: the answer goes to the link address it came
  // from. Takes the packet's buffer over; `received.packet.handle` becomes null. frame->l4 may
  // overlap received.l4: read what is needed of the segment before writing the answer. Never fails;
  // a packet without a handle (reassembled) may: false, pool empty.
  bool BeginReply(L4Packet& received, TxFrame* frame);

  // Writes IP and link headers, completes the TCP checksum (or leaves it to the port) and queues
  // the packet. A neighbour not yet resolved takes it into its bounded pending queue. What is
  // longer than the interface's MTU is dropped (IpFragFails).
  void CommitTcp(TxFrame& frame, const TcpSend& send);

  // Gives the buffer back unsent.
  void Cancel(TxFrame& frame) { frame.pool->Free(frame.packet.handle); }

  // Hands all queued packets to their ports; what a port does not take is kept for the next flush
  // up to a bound (NetworkLimits::tx_backlog); beyond that the newest are dropped and counted
  // (UsherTxDropped).
  void Flush();

  // For a confirmation of forward progress by the transport (RFC 4861 7.3.1).
  void ConfirmReachable(const Path& path);

 private:
  static constexpr uint8_t kDefaultHopLimit = 64;

  // Interface and next hop; -1: none.
  int FindHop(const IpAddress& local, const IpAddress& remote, IpAddress* next_hop) const;
  void SendToNeighbour(const Path& path, const TxPacket& packet, const TcpSend& send);

  Counters& counters_;
  std::vector<Interface*> interfaces_;
  uint8_t default_ttl_ = kDefaultHopLimit;
};

}  // namespace usher
