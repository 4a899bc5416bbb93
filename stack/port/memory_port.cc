#include "stack/port/memory_port.h"

#include <algorithm>
#include <cstring>

#include "stack/wire/checksum.h"

namespace usher {
namespace {

constexpr size_t kBufferSize = kDriverHeaderSize + kBufferHeaderSize + kBufferRoom;
static_assert(kBufferSize % alignof(BufferHeader) == 0);

// A large segment that is handed on whole has a checksum of the whole.
void CompleteChecksum(const TxPacket& packet, std::span<uint8_t> frame) {
  constexpr size_t kChecksumAt = 16;
  const size_t tcp = size_t{packet.l2_length} + packet.l3_length;
  const auto length = static_cast<uint32_t>(frame.size() - tcp);
  // The field holds the pseudo-header's sum without the length.
  const uint32_t sum = checksum::Sum(frame.subspan(tcp), BigEndian(length));
  Store16(&frame[tcp + kChecksumAt], checksum::Finish(sum));
}

}  // namespace

HeapPool::HeapPool(uint32_t count)
    : capacity_(count), memory_(new uint8_t[count * kBufferSize + alignof(BufferHeader)]) {
  auto base = reinterpret_cast<uintptr_t>(memory_.get());
  base = (base + alignof(BufferHeader) - 1) & ~(alignof(BufferHeader) - 1);
  free_.reserve(count);
  for (uint32_t i = count; i-- > 0;)
    free_.push_back(reinterpret_cast<void*>(base + i * kBufferSize));
}

HeapPool::~HeapPool() { ReturnCached(); }

uint32_t HeapPool::DriverAllocate(std::span<void*> out) {
  const size_t n = std::min(out.size(), free_.size());
  std::copy(free_.end() - n, free_.end(), out.begin());
  free_.resize(free_.size() - n);
  return static_cast<uint32_t>(n);
}

void HeapPool::DriverFree(std::span<void* const> handles) {
  free_.insert(free_.end(), handles.begin(), handles.end());
}

std::vector<uint8_t> BytesOf(const TxPacket& packet) {
  if (packet.tso_mss == 0) return {packet.data, packet.data + packet.length};
  std::vector<uint8_t> bytes;
  bytes.reserve(packet.length);
  ForEachBuffer(packet, [&bytes](const BufferHeader& h) {
    bytes.insert(bytes.end(), h.payload, h.payload + h.payload_length);
  });
  CompleteChecksum(packet, bytes);
  return bytes;
}

MemoryPort::MemoryPort(HeapPool& pool, const MacAddress& mac, const PortCapabilities& capabilities)
    : Port(pool, mac, capabilities) {}

MemoryPort::~MemoryPort() {
  for (const Packet& p : received_) pool().Free(p.handle);
  for (const TxPacket& p : sent_) pool().Free(p);
}

bool MemoryPort::Inject(std::span<const uint8_t> frame, uint16_t flags) {
  Packet p;
  if (frame.size() > kBufferRoom - kBufferHeadroom || !pool().Allocate(&p)) return false;
  std::memcpy(p.data, frame.data(), frame.size());
  p.length = static_cast<uint16_t>(frame.size());
  p.flags = flags;
  received_.push_back(p);
  return true;
}

std::vector<uint8_t> MemoryPort::TakeSent() {
  if (sent_.empty()) return {};
  const TxPacket p = sent_.front();
  sent_.pop_front();
  std::vector<uint8_t> frame = BytesOf(p);
  pool().Free(p);
  return frame;
}

uint32_t MemoryPort::RxBurst(std::span<Packet> out) {
  const size_t n = std::min(out.size(), received_.size());
  std::copy_n(received_.begin(), n, out.begin());
  received_.erase(received_.begin(), received_.begin() + n);
  return static_cast<uint32_t>(n);
}

uint32_t MemoryPort::TxBurst(std::span<const TxPacket> packets) {
  const size_t n = std::min<size_t>(packets.size(), tx_room_);
  if (tx_room_ != UINT32_MAX) tx_room_ -= static_cast<uint32_t>(n);
  sent_.insert(sent_.end(), packets.begin(), packets.begin() + n);
  return static_cast<uint32_t>(n);
}

}  // namespace usher
