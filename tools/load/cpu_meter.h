// How busy the load generator itself is: who reads a figure must know who was the bottleneck.
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher::load {

// Of one core, while it was measured.
struct CpuUse {
  Duration wall;
  Duration busy;    // passes in which there was something to do
  Duration user;    // of the thread, as the kernel counted
  Duration system;  // likewise
  uint64_t passes = 0;

  // 0 to 1; 1 means that the generator could not have done more.
  double busy_share() const { return Share(busy); }
  double cpu_share() const { return Share(user + system); }

 private:
  double Share(Duration d) const {
    return wall.ns() > 0 ? static_cast<double>(d.ns()) / static_cast<double>(wall.ns()) : 0;
  }
};

// Used on the thread that it measures.
class CpuMeter {
 public:
  void Start(Instant now);
  // At the start of each pass. `work`: what was done since the last call.
  void OnPass(Instant now, uint32_t work) {
    if (work != 0) use_.busy = use_.busy + (now - last_);
    last_ = now;
    ++use_.passes;
  }
  CpuUse Stop(Instant now);

 private:
  CpuUse use_;
  Instant started_;
  Instant last_;
};

}  // namespace usher::load
