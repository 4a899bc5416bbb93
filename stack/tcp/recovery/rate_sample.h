// How fast data was delivered lately (draft-cheng-iccrg-delivery-rate-estimation).
#pragma once

#include <cstdint>

#include "stack/base/time.h"

namespace usher {

// One sample, taken at an acknowledgment: `delivered_bytes` in `interval`.
struct RateSample {
  bool valid = false;
  bool app_limited = false;    // the application, not the network, set this rate
  bool retransmitted = false;  // the sample's segment had been sent more than once
  uint32_t delivered_bytes = 0;
  uint32_t prior_delivered = 0;  // the connection's delivered count when the segment was sent
  uint32_t lost_bytes = 0;       // newly marked lost at this acknowledgment
  uint32_t prior_in_flight_bytes = 0;
  Duration interval;

  // Bytes per second; 0 for a sample that is not valid.
  uint64_t bytes_per_second() const {
    if (!valid || interval.us() <= 0) return 0;
    return static_cast<uint64_t>(delivered_bytes) * 1'000'000 /
           static_cast<uint64_t>(interval.us());
  }
};

}  // namespace usher
