#include "stack/ip/egress.h"

#include <algorithm>

#include "stack/ip/interface.h"
#include "stack/wire/checksum.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"

namespace usher {

namespace {

constexpr uint8_t IpHeaderSize(bool v4) { return v4 ? Ipv4Header::kSize : Ipv6Header::kSize; }

constexpr size_t kTcpChecksumAt = 16;

// Completes the TCP checksum, or leaves for the port what it wants to find in the field: of a
// segment that it will cut, the pseudo-header's sum without a length.
void WriteTcpChecksum(uint8_t* tcp, const TcpSend& send, bool by_port) {
  const auto length =
      send.tso_mss != 0 ? 0u : static_cast<uint32_t>(send.header_length + send.payload_length);
  const uint32_t pseudo = checksum::PseudoHeader(send.local, send.remote, IpProtocol::kTcp, length);
  if (by_port) {
    StoreRaw(tcp + kTcpChecksumAt, checksum::Fold(pseudo));
    return;
  }
  uint32_t header = send.header_sum;
  if (header == 0) {
    StoreRaw<uint16_t>(tcp + kTcpChecksumAt, 0);
    header = checksum::Sum({tcp, send.header_length});
  }
  const uint32_t sum = checksum::Add(checksum::Add(header, pseudo), send.payload_sum);
  Store16(tcp + kTcpChecksumAt, checksum::Finish(sum));
}

// Writes the IPv4 header of a TCP packet. What Ipv4Header::Emit does, with the checksum taken from
// registers: reading back bytes just written in small pieces costs more than all the rest.
// Identification 0: with DF set it has no meaning (RFC 6864), and tells nothing.
void WriteIpv4Header(uint8_t* ip, const TcpSend& send, uint16_t total_length, uint8_t ttl) {
  const auto first =
      BigEndian(0x4500u << 16 | static_cast<uint32_t>(send.tos) << 16 | total_length);
  const auto second = BigEndian(uint32_t{0x4000});
  const auto third = BigEndian(static_cast<uint32_t>(ttl) << 24 | uint32_t{IpProtocol::kTcp} << 16);
  const auto src = LoadRaw<uint32_t>(send.local.bytes().data() + 12);
  const auto dst = LoadRaw<uint32_t>(send.remote.bytes().data() + 12);
  const uint64_t sum = uint64_t{first} + second + third + src + dst;
  const auto inverted = static_cast<uint16_t>(
      ~checksum::Fold(checksum::Add(static_cast<uint32_t>(sum), static_cast<uint32_t>(sum >> 32))));
  StoreRaw(ip, first);
  StoreRaw(ip + 4, second);
  StoreRaw(ip + 8, third | BigEndian(uint32_t{BigEndian(inverted)}));
  StoreRaw(ip + 12, src);
  StoreRaw(ip + 16, dst);
}

}  // namespace

void Egress::AddInterface(Interface* interface) { interfaces_.push_back(interface); }

int Egress::FindHop(const IpAddress& local, const IpAddress& remote, IpAddress* next_hop) const {
  if (IsLocal(remote)) return -1;
  // Strong host model (RFC 1122 section 3.3.4.2): packets leave by the interface that has their
  // source address, if that one has a route at all; then by the longest prefix.
  int best = -1;
  int chosen = -1;
  for (size_t i = 0; i < interfaces_.size(); ++i) {
    const Interface& interface = *interfaces_[i];
    const auto hop = interface.routes().Find(interface.now(), remote);
    if (!hop) continue;
    // Many hosts are no peer of a connection (RFC 9293 MUST-46).
    if (remote.is_v4() && interface.addresses().IsSubnetBroadcast4(remote.v4())) return -1;
    if (interfaces_.size() > 1) {  // else there is nothing to weigh against
      const int merit = hop->prefix_length + (interface.addresses().Has(local) ? 1000 : 0);
      if (merit <= best) continue;
      best = merit;
    }
    *next_hop = hop->address;
    chosen = static_cast<int>(i);
  }
  return chosen;
}

bool Egress::FindPath(const IpAddress& local, const IpAddress& remote, Path* path) {
  IpAddress next_hop;
  const int chosen = FindHop(local, remote, &next_hop);
  path->valid = chosen >= 0;
  if (!path->valid) return false;
  Interface& interface = *interfaces_[static_cast<size_t>(chosen)];
  path->interface = static_cast<uint8_t>(chosen);
  path->mtu = interface.mtu(remote.family());
  path->neighbour = interface.neighbours().FindOrCreate(interface.now(), next_hop);
  return true;
}

uint16_t Egress::RouteMtu(const IpAddress& local, const IpAddress& remote) const {
  // Input has let it in, so it may be a peer; and a gateway reaches whatever is not on the link.
  if (interfaces_.size() == 1 && remote.is_v4() && interfaces_[0]->routes().HasGateway4())
    return interfaces_[0]->mtu(Family::kIpv4);
  IpAddress next_hop;
  const int chosen = FindHop(local, remote, &next_hop);
  return chosen < 0 ? 0 : interfaces_[static_cast<size_t>(chosen)]->mtu(remote.family());
}

bool Egress::FindSource(const IpAddress& remote, IpAddress* local) {
  int best = -1;
  for (const Interface* interface : interfaces_) {
    const auto hop = interface->routes().Find(interface->now(), remote);
    if (!hop || hop->prefix_length <= best) continue;
    if (!interface->ChooseSource(remote, local)) continue;
    best = hop->prefix_length;
  }
  return best >= 0;
}

bool Egress::IsLocal(const IpAddress& address) const {
  for (const Interface* interface : interfaces_)
    if (interface->addresses().Has(address)) return true;
  return false;
}

bool Egress::IsOurBroadcast(const IpAddress& address) const {
  if (!address.is_v4()) return false;
  if (address.is_broadcast()) return true;
  for (const Interface* interface : interfaces_)
    if (interface->addresses().IsSubnetBroadcast4(address.v4())) return true;
  return false;
}

bool Egress::checksums_by_port(const Path& path) const {
  return (interfaces_[path.interface]->link().tx_flags() & kTxTcpChecksum) != 0;
}

uint16_t Egress::tso_bytes(const Path& path) const {
  return interfaces_[path.interface]->link().tso_bytes();
}

bool Egress::Extend(TxFrame& frame, uint32_t bytes) {
  Link& link = interfaces_[frame.path.interface]->link();
  BufferHeader* const first = HeaderOf(frame.packet.handle);
  const auto before = static_cast<uint16_t>(frame.l4 - frame.packet.data);
  first->payload = frame.packet.data;
  first->payload_length = static_cast<uint16_t>(before + std::min(bytes, frame.room));
  first->next = nullptr;
  BufferHeader* last = first;
  for (uint32_t done = std::min(bytes, frame.room); done < bytes;) {
    Packet more;
    if (!link.Allocate(&more)) {
      while (first->next != nullptr) {
        BufferHeader* const h = first->next;
        first->next = h->next;
        link.Free(HandleOf(h));
      }
      return false;
    }
    BufferHeader* const h = HeaderOf(more.handle);
    const uint32_t n = std::min(bytes - done, kBufferRoom);
    h->payload = RoomOf(more.handle);
    h->payload_length = static_cast<uint16_t>(n);
    h->next = nullptr;
    last = last->next = h;
    done += n;
  }
  return true;
}

bool Egress::Begin(const Path& path, Family family, TxFrame* frame, bool control) {
  Link& link = interfaces_[path.interface]->link();
  if (!(control ? link.AllocateControl(&frame->packet) : link.Allocate(&frame->packet)))
    return false;
  frame->ip_size = IpHeaderSize(family == Family::kIpv4);
  frame->l4 = frame->packet.data + link.header_size() + frame->ip_size;
  frame->room = static_cast<uint32_t>(RoomOf(frame->packet.handle) + kBufferRoom - frame->l4);
  frame->pool = &link.pool();
  frame->path = path;
  frame->reply = false;
  return true;
}

bool Egress::BeginReply(L4Packet& received, TxFrame* frame) {
  Link& link = interfaces_[received.interface]->link();
  frame->pool = &link.pool();
  frame->path = {.interface = received.interface, .valid = true};
  frame->reply = true;
  frame->ip_size = IpHeaderSize(received.source.is_v4());
  const EthernetView ethernet = *EthernetView::Parse({received.packet.data, 18});
  const size_t link_size = ethernet.header_size();
  if (received.packet.handle != nullptr) {
    frame->packet = received.packet;
    received.packet.handle = nullptr;
  } else {
    if (!link.AllocateControl(&frame->packet)) return false;
    std::memcpy(frame->packet.data, received.packet.data, link_size);
  }
  link.TurnRound(frame->packet.data);
  frame->l4 = frame->packet.data + link_size + frame->ip_size;
  frame->room = static_cast<uint32_t>(RoomOf(frame->packet.handle) + kBufferRoom - frame->l4);
  return true;
}

void Egress::CommitTcp(TxFrame& frame, const TcpSend& send) {
  Interface& interface = *interfaces_[frame.path.interface];
  Link& link = interface.link();
  const uint8_t ip_size = frame.ip_size;
  const bool v4 = ip_size == Ipv4Header::kSize;
  uint8_t* const ip = frame.l4 - ip_size;
  const auto l2_size = static_cast<uint8_t>(ip - frame.packet.data);
  const auto l4_size = static_cast<uint16_t>(send.header_length + send.payload_length);

  const uint16_t offloads = link.tx_flags();
  WriteTcpChecksum(frame.l4, send, send.tso_mss != 0 || (offloads & kTxTcpChecksum) != 0);
  const TxPacket packet{
      .data = frame.packet.data,
      .handle = frame.packet.handle,
      .length = static_cast<uint16_t>(l2_size + ip_size + l4_size),
      .flags = static_cast<uint8_t>((offloads & kTxTcpChecksum) | (v4 ? kTxIpv4 : 0)),
      .l2_length = l2_size,
      .l3_length = ip_size,
      .l4_length = static_cast<uint8_t>(send.header_length),
      .tso_mss = send.tso_mss};
  if (v4) {
    WriteIpv4Header(ip, send, static_cast<uint16_t>(ip_size + l4_size),
                    send.hop_limit != 0 ? send.hop_limit : default_ttl_);
    counters_.Add(Counter::IpOutRequests);
    counters_.Add(Counter::IpOutTransmits);
    counters_.Add(Counter::IpExtOutOctets, ip_size + l4_size);
  } else {
    Ipv6Header{.src = send.local,
               .dst = send.remote,
               .payload_length = l4_size,
               .hop_limit = send.hop_limit != 0 ? send.hop_limit : kDefaultHopLimit,
               .traffic_class = send.tos}
        .Emit(ip);
    counters_.Add(Counter::Ip6OutRequests);
    counters_.Add(Counter::Ip6OutTransmits);
    counters_.Add(Counter::Ip6OutOctets, ip_size + l4_size);
  }
  const uint32_t longest =
      send.tso_mss != 0 ? uint32_t{send.header_length} + send.tso_mss : uint32_t{l4_size};
  if (ip_size + longest > link.mtu()) [[unlikely]] {
    counters_.Add(v4 ? Counter::IpFragFails : Counter::Ip6FragFails);
    link.Free(packet);
  } else if (frame.reply) {
    link.Send(packet);
  } else {
    SendToNeighbour(frame.path, packet, send);
  }
}

void Egress::SendToNeighbour(const Path& path, const TxPacket& packet, const TcpSend& send) {
  Interface* interface = interfaces_[path.interface];
  uint32_t neighbour = path.neighbour;
  const MacAddress* mac = interface->neighbours().Use(interface->now(), neighbour);
  if (mac == nullptr && !interface->neighbours().IsCurrent(neighbour)) [[unlikely]] {
    const bool v4 = send.remote.is_v4();
    Path anew;
    // A buffer goes out by the port whose pool it is from: a flow does not change interfaces.
    if (!FindPath(send.local, send.remote, &anew) || anew.interface != path.interface) {
      counters_.Add(v4 ? Counter::IpOutNoRoutes : Counter::Ip6OutNoRoutes);
      interface->link().Free(packet);
      return;
    }
    neighbour = anew.neighbour;
    mac = interface->neighbours().Use(interface->now(), neighbour);
  }
  interface->link().WriteHeader(
      packet.data, (packet.flags & kTxIpv4) != 0 ? EtherType::kIpv4 : EtherType::kIpv6);
  if (mac == nullptr) {
    interface->neighbours().Queue(interface->now(), neighbour, packet);
    return;
  }
  Link::WriteDestination(packet.data, *mac);
  interface->link().Send(packet);
}

void Egress::Flush() {
  for (Interface* interface : interfaces_) interface->Flush();
}

void Egress::ConfirmReachable(const Path& path) {
  Interface& interface = *interfaces_[path.interface];
  interface.neighbours().ConfirmReachable(interface.now(), path.neighbour);
}

}  // namespace usher
