#include "tools/packetdrill/ip_port.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "stack/wire/checksum.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ip_protocol.h"

namespace usher::packetdrill {
namespace {

constexpr size_t kLinkSize = 14;
constexpr size_t kIpv4Size = 20;
constexpr size_t kIpv6Size = 40;
constexpr size_t kFragmentSize = 8;
constexpr uint16_t kLargestSegment = 65'215;  // Linux: 64 KiB less MAX_TCP_HEADER + 1
constexpr uint8_t kFirstNeighbourType = 130;  // ICMPv6 types 130 to 143: groups and neighbours
constexpr uint8_t kLastNeighbourType = 143;

// What the stack says to its link rather than to a peer.
bool IsLinkTalk(std::span<const uint8_t> packet) {
  if (packet[0] >> 4 == 4) return false;
  size_t at = kIpv6Size;
  uint8_t next = packet[6];
  while (next == IpProtocol::kHopByHop && packet.size() >= at + 8) {  // as group reports have it
    next = packet[at];
    at += 8 + size_t{packet[at + 1]} * 8;
  }
  return next == IpProtocol::kIcmpv6 && packet.size() > at && packet[at] >= kFirstNeighbourType &&
         packet[at] <= kLastNeighbourType;
}

}  // namespace

IpPort::IpPort(HeapPool& pool, uint16_t mtu, bool tso)
    : Port(pool, kOurMac,
           {.max_frame = static_cast<uint16_t>(mtu + kLinkSize),
            .tso_bytes = tso ? kLargestSegment : uint16_t{0}}),
      mtu_(mtu) {}

IpPort::~IpPort() {
  for (const Packet& p : received_) pool().Free(p.handle);
}

bool IpPort::Queue(std::span<const uint8_t> headers, std::span<const uint8_t> data) {
  Packet p;
  const size_t size = kLinkSize + headers.size() + data.size();
  if (size > kBufferRoom - kBufferHeadroom || !pool().Allocate(&p)) return false;
  std::memcpy(p.data, kOurMac.bytes.data(), 6);
  std::memcpy(p.data + 6, kPeerMac.bytes.data(), 6);
  Store16(p.data + 12, headers[0] >> 4 == 4 ? EtherType::kIpv4 : EtherType::kIpv6);
  std::memcpy(p.data + kLinkSize, headers.data(), headers.size());
  if (!data.empty()) std::memcpy(p.data + kLinkSize + headers.size(), data.data(), data.size());
  p.length = static_cast<uint16_t>(size);
  received_.push_back(p);
  return true;
}

bool IpPort::Deliver(std::span<const uint8_t> packet) {
  if (packet.empty()) return false;
  flows_.OnReceived(packet);
  const uint8_t version = packet[0] >> 4;
  if (version == 4 && packet.size() >= kIpv4Size)
    return packet.size() <= mtu_ ? Queue(packet, {}) : DeliverFragments4(packet);
  if (version == 6 && packet.size() >= kIpv6Size)
    return packet.size() <= mtu_ ? Queue(packet, {}) : DeliverFragments6(packet);
  return false;
}

// A packet that no link carries whole (what a receiver would see after large receive offload) goes
// through the stack's own reassembly: one segment to TCP, as it was written.
bool IpPort::DeliverFragments4(std::span<const uint8_t> packet) {
  const size_t header_size = size_t{packet[0] & 15u} * 4;
  if (header_size < kIpv4Size || header_size >= packet.size()) return false;
  std::vector<uint8_t> header(packet.begin(),
                              packet.begin() + static_cast<std::ptrdiff_t>(header_size));
  const auto data = packet.subspan(header_size);
  const size_t step = (mtu_ - header_size) & ~size_t{7};
  const uint16_t id = next_id_++;
  for (size_t at = 0; at < data.size(); at += step) {
    const auto part = data.subspan(at, std::min(step, data.size() - at));
    const bool more = at + part.size() < data.size();
    Store16(&header[2], static_cast<uint16_t>(header_size + part.size()));
    Store16(&header[4], id);
    Store16(&header[6], static_cast<uint16_t>((more ? 0x2000 : 0) | at / 8));
    Store16(&header[10], 0);
    Store16(&header[10], checksum::Finish(checksum::Sum(header)));
    if (!Queue(header, part)) return false;
  }
  return true;
}

bool IpPort::DeliverFragments6(std::span<const uint8_t> packet) {
  std::array<uint8_t, kIpv6Size + kFragmentSize> header{};
  std::memcpy(header.data(), packet.data(), kIpv6Size);
  header[kIpv6Size] = packet[6];
  header[6] = IpProtocol::kFragment;
  const auto data = packet.subspan(kIpv6Size);
  const size_t step = (mtu_ - header.size()) & ~size_t{7};
  const uint16_t id = next_id_++;
  for (size_t at = 0; at < data.size(); at += step) {
    const auto part = data.subspan(at, std::min(step, data.size() - at));
    const bool more = at + part.size() < data.size();
    Store16(&header[4], static_cast<uint16_t>(kFragmentSize + part.size()));
    Store16(&header[kIpv6Size + 2], static_cast<uint16_t>(at | (more ? 1 : 0)));
    Store32(&header[kIpv6Size + 4], id);
    if (!Queue(header, part)) return false;
  }
  return true;
}

uint32_t IpPort::RxBurst(std::span<Packet> out) {
  const size_t n = std::min(out.size(), received_.size());
  std::copy_n(received_.begin(), n, out.begin());
  received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(n));
  return static_cast<uint32_t>(n);
}

uint32_t IpPort::TxBurst(std::span<const TxPacket> packets) {
  for (const TxPacket& p : packets) {
    std::vector<uint8_t> frame = BytesOf(p);
    const uint16_t type = frame.size() > kLinkSize ? Load16(&frame[12]) : 0;
    const bool ip = type == EtherType::kIpv4 || type == EtherType::kIpv6;
    if (ip && !IsLinkTalk(std::span(frame).subspan(kLinkSize))) {
      frame.erase(frame.begin(), frame.begin() + kLinkSize);
      sent_.push_back({std::move(frame), now_});
      flows_.OnSent(sent_.back().packet, p.tso_mss);
    }
    pool().Free(p);
  }
  return static_cast<uint32_t>(packets.size());
}

}  // namespace usher::packetdrill
