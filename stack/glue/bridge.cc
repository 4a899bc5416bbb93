#include "stack/glue/bridge.h"

#include <unistd.h>

#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "stack/port/dpdk/dpdk_device.h"
#include "stack/port/dpdk/eal.h"

namespace usher {
namespace {

constexpr uint32_t kRestMicros = 100;
// Passes without a frame before resting: one would sleep between a request and its response.
constexpr uint32_t kIdlePasses = 64;

}  // namespace

Bridge::Bridge() = default;
Bridge::~Bridge() = default;

absl::StatusOr<std::unique_ptr<Bridge>> Bridge::Create(std::span<const std::string> eal_args) {
  std::unique_ptr<Bridge> bridge(new Bridge);
  auto eal = Eal::Start(eal_args);
  if (!eal.ok()) return eal.status();
  bridge->eal_ = *std::move(eal);
  const auto found = bridge->eal_->devices();
  if (found.size() != 2)
    return absl::InvalidArgumentError(
        absl::StrCat("a bridge joins two devices (--vdev), here are ", found.size()));
  for (int i = 0; i < 2; ++i) {
    DpdkDeviceConfig config;
    config.held_buffers = 1024;
    config.offloads.tso = false;  // it hands frames on as they come
    config.link_wait_ms = 0;      // a vhost port has no link before its peer comes
    auto device = DpdkDevice::Open(found[i].port, config);
    if (!device.ok()) return device.status();
    bridge->devices_[i] = *std::move(device);
  }
  return bridge;
}

// Copied into the other port's own buffers: each port gives back only what is of its pool.
uint32_t Bridge::Forward(DpdkDevice& from, DpdkDevice& to) {
  DpdkPort& in = from.queue(0);
  DpdkPort& out = to.queue(0);
  std::array<Packet, kBurstSize> received;
  std::array<TxPacket, kBurstSize> sending;
  const uint32_t n = in.RxBurst(received);
  uint32_t count = 0;
  for (const Packet& frame : std::span(received).first(n)) {
    if (Packet copy; out.pool().Allocate(&copy)) {
      std::memcpy(copy.data, frame.data, frame.length);
      sending[count++] = {.data = copy.data, .handle = copy.handle, .length = frame.length};
    }
    in.pool().Free(frame.handle);
  }
  const uint32_t sent = count == 0 ? 0 : out.TxBurst(std::span(sending).first(count));
  for (uint32_t i = sent; i < count; ++i) out.pool().Free(sending[i].handle);
  forwarded_.store(forwarded() + sent, std::memory_order_relaxed);
  lost_.store(lost() + n - sent, std::memory_order_relaxed);
  return n;
}

void Bridge::Run(const std::atomic<bool>& stop) {
  uint32_t idle = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    const uint32_t moved =
        Forward(*devices_[0], *devices_[1]) + Forward(*devices_[1], *devices_[0]);
    if (moved != 0) {
      idle = 0;
    } else if (++idle >= kIdlePasses) {
      devices_[0]->queue(0).Reclaim();
      devices_[1]->queue(0).Reclaim();
      usleep(kRestMicros);
    }
  }
}

}  // namespace usher
