#include "stack/packet/pool.h"

namespace usher {

bool PacketPool::Fill() {
  cached_ = DriverAllocate(std::span(cache_).first(kBurstSize));
  return cached_ != 0;
}

void PacketPool::Spill() {
  cached_ -= kBurstSize;
  DriverFree(std::span(cache_).subspan(cached_, kBurstSize));
}

void PacketPool::ReturnCached() {
  DriverFree(std::span(cache_).first(cached_));
  cached_ = 0;
}

}  // namespace usher
