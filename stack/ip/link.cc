#include "stack/ip/link.h"

#include <algorithm>

namespace usher {

Link::Link(Port& port, uint16_t mtu, uint16_t vlan, const NetworkLimits& limits, Counters& counters)
    : port_(port),
      counters_(counters),
      vlan_(vlan),
      header_size_(vlan == 0 ? 14 : 18),
      mtu_(std::min(mtu, static_cast<uint16_t>(port.capabilities().max_frame - header_size_))),
      tx_flags_(port.capabilities().tx_flags),
      tx_(std::max(limits.tx_backlog, kBurstSize)),
      reserve_size_(limits.control_reserve) {
  EthernetHeader{.dst = {}, .src = port.mac(), .type = 0, .vlan_id = vlan}.Emit(
      header_template_.data());
  reserve_.reserve(reserve_size_);
  RefillReserve();
}

Link::~Link() {
  for (uint32_t i = tx_begin_; i < tx_end_; ++i) Free(tx_[i]);
  for (void* handle : reserve_) Free(handle);
}

bool Link::NoBuffer() {
  counters_.Add(Counter::UsherNoBuffer);
  return false;
}

bool Link::AllocateControl(Packet* out) {
  if (pool().Allocate(out)) return true;
  if (reserve_.empty()) return NoBuffer();
  out->handle = reserve_.back();
  reserve_.pop_back();
  out->data = RoomOf(out->handle) + kBufferHeadroom;
  out->length = 0;
  out->flags = 0;
  return true;
}

void Link::RefillReserveSlowly() {
  Packet packet;
  while (reserve_.size() < reserve_size_ && pool().Allocate(&packet))
    reserve_.push_back(packet.handle);
}

bool Link::MakeRoom(const TxPacket& packet) {
  if (tx_begin_ == 0 && !stalled_) Push();
  if (tx_begin_ > 0) {
    std::copy(tx_.begin() + tx_begin_, tx_.begin() + tx_end_, tx_.begin());
    tx_end_ -= tx_begin_;
    tx_begin_ = 0;
  }
  if (tx_end_ < tx_.size()) return true;
  counters_.Add(Counter::UsherTxDropped);
  Free(packet);
  return false;
}

void Link::Push() {
  const uint32_t count = tx_end_ - tx_begin_;
  const uint32_t taken = port_.TxBurst({tx_.data() + tx_begin_, count});
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < taken; ++i) bytes += tx_[tx_begin_ + i].length;
  counters_.Add(Counter::UsherTxPackets, taken);
  counters_.Add(Counter::UsherTxBytes, bytes);
  stalled_ = taken < count;
  tx_begin_ += taken;
  if (tx_begin_ == tx_end_) tx_begin_ = tx_end_ = 0;
}

}  // namespace usher
