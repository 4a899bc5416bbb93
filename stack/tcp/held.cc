#include "stack/tcp/held.h"

#include <algorithm>
#include <cstring>

#include "stack/base/check.h"

namespace usher {

namespace {

BufferHeader* CopyIntoChain(std::span<const uint8_t> payload, PacketPool& pool) {
  BufferHeader* first = nullptr;
  BufferHeader** link = &first;
  while (!payload.empty()) {
    Packet packet;
    if (!pool.Allocate(&packet)) {
      while (first != nullptr) {
        BufferHeader* next = first->next;
        Slice::Unref(first);
        first = next;
      }
      return nullptr;
    }
    // The whole room: nobody will put headers before these bytes.
    uint8_t* room = RoomOf(packet.handle);
    const size_t n = std::min<size_t>(payload.size(), kBufferRoom);
    std::memcpy(room, payload.data(), n);
    BufferHeader* buffer = Slice::Hold(packet, pool);
    buffer->payload = room;
    buffer->payload_length = static_cast<uint16_t>(n);
    *link = buffer;
    link = &buffer->next;
    payload = payload.subspan(n);
  }
  return first;
}

}  // namespace

BufferHeader* HoldPayload(const Packet& packet, std::span<const uint8_t> payload,
                          PacketPool& pool) {
  if (packet.handle == nullptr) return CopyIntoChain(payload, pool);
  USHER_DCHECK(payload.size() <= kBufferRoom && payload.data() >= RoomOf(packet.handle) &&
               payload.data() + payload.size() <= RoomOf(packet.handle) + kBufferRoom);
  BufferHeader* buffer = Slice::Hold(packet, pool);
  buffer->payload = payload.data();
  buffer->payload_length = static_cast<uint16_t>(payload.size());
  return buffer;
}

bool CopyBehind(BufferHeader* tail, std::span<const uint8_t> payload, size_t most) {
  if (payload.size() > most || tail->refs != 1) return false;
  uint8_t* room = RoomOf(HandleOf(tail));
  const size_t used = static_cast<size_t>(tail->payload - room) + tail->payload_length;
  if (kBufferRoom - used < payload.size()) return false;
  std::memcpy(room + used, payload.data(), payload.size());
  tail->payload_length = static_cast<uint16_t>(tail->payload_length + payload.size());
  return true;
}

bool CopyBefore(BufferHeader* head, std::span<const uint8_t> payload, size_t most) {
  if (payload.size() > most || head->refs != 1) return false;
  uint8_t* room = RoomOf(HandleOf(head));
  const auto unused = static_cast<size_t>(head->payload - room);
  if (unused < payload.size()) return false;
  uint8_t* to = room + unused - payload.size();
  std::memcpy(to, payload.data(), payload.size());
  head->payload = to;
  head->payload_length = static_cast<uint16_t>(head->payload_length + payload.size());
  head->seq -= static_cast<uint32_t>(payload.size());
  return true;
}

}  // namespace usher
