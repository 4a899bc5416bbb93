// Two DPDK ports joined as by a cable: what one receives, the other sends.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace usher {

class DpdkDevice;
class Eal;

// Made, run and destroyed by the main thread; one per process, since EAL starts once.
class Bridge {
 public:
  // Starts EAL, whose arguments must name two devices, and both of these. Errors are one line that
  // says what to do, as of Eal::Start and DpdkDevice::Open.
  static absl::StatusOr<std::unique_ptr<Bridge>> Create(std::span<const std::string> eal_args);
  ~Bridge();
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  // Forwards until `stop` is set (by a signal handler, say). A frame that the other port does not
  // take at once is lost, as on a switch; rests for up to 100 us when there is nothing to forward.
  void Run(const std::atomic<bool>& stop);

  // Any thread.
  uint64_t forwarded() const { return forwarded_.load(std::memory_order_relaxed); }
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  Bridge();
  uint32_t Forward(DpdkDevice& from, DpdkDevice& to);

  // In this order: the devices end before EAL.
  std::unique_ptr<Eal> eal_;
  std::unique_ptr<DpdkDevice> devices_[2];
  std::atomic<uint64_t> forwarded_ = 0;  // one writer
  std::atomic<uint64_t> lost_ = 0;
};

}  // namespace usher
