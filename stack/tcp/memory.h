// How much memory the connections of one shard hold, against net.ipv4.tcp_mem.
#pragma once

#include <array>
#include <cstdint>

#include "stack/base/check.h"
#include "stack/base/counters.h"

namespace usher {

// Accounts for the bytes that send buffers, receive buffers and out-of-order queues really occupy
// (whole buffers and blocks, not payload). Pressure begins above the middle limit and ends below
// the low one, as on Linux. Shard's thread only.
class TcpMemory {
 public:
  static constexpr uint64_t kPageSize = 4096;  // the unit of tcp_mem, whatever the machine's

  // `pages`: low, pressure, high; this shard's share of tcp_mem.
  TcpMemory(const std::array<uint64_t, 3>& pages, Counters& counters) : counters_(counters) {
    SetLimits(pages);
  }
  TcpMemory(const TcpMemory&) = delete;
  TcpMemory& operator=(const TcpMemory&) = delete;

  // New limits hold from the next charge on; what is charged already stays.
  void SetLimits(const std::array<uint64_t, 3>& pages) {
    low_ = Bytes(pages[0]);
    pressure_ = Bytes(pages[1]);
    high_ = Bytes(pages[2]);
  }

  // Adds `bytes`; false, and nothing charged, if that would pass the high limit (which is pressure
  // too).
  [[nodiscard]] bool Charge(uint32_t bytes) {
    const bool admitted = charged_ + bytes <= high_;
    if (admitted) charged_ += bytes;
    if (!under_pressure_ && (!admitted || charged_ > pressure_)) {
      under_pressure_ = true;
      counters_.Add(Counter::TcpExtTCPMemoryPressures);
    }
    return admitted;
  }

  // Adds `bytes` whatever the limits say: for memory that is taken already, and for what every
  // connection may have even under pressure (the first of tcp_rmem and tcp_wmem).
  void ChargeAlways(uint32_t bytes) {
    if (!Charge(bytes)) charged_ += bytes;
  }

  // Takes `bytes`, charged before, off again.
  void Uncharge(uint32_t bytes) {
    USHER_DCHECK(bytes <= charged_);
    charged_ -= bytes;
    if (under_pressure_ && charged_ < low_) under_pressure_ = false;
  }

  bool under_pressure() const { return under_pressure_; }
  // The high limit is reached: only what every connection is entitled to may still be taken.
  bool exhausted() const { return charged_ >= high_; }
  uint64_t charged_bytes() const { return charged_; }

 private:
  // tcp_mem may be set to numbers whose bytes do not fit.
  static uint64_t Bytes(uint64_t pages) {
    return pages > UINT64_MAX / kPageSize ? UINT64_MAX : pages * kPageSize;
  }

  Counters& counters_;
  uint64_t low_ = 0;
  uint64_t pressure_ = 0;
  uint64_t high_ = 0;
  uint64_t charged_ = 0;
  bool under_pressure_ = false;
};

}  // namespace usher
