// When a step may be played without meeting a timer of the kernel, which fires a little late.
#pragma once

#include <algorithm>
#include <vector>

namespace usher::differential {

class SafeTimes {
 public:
  void NoteSegment(double at_ms) {
    if (sent_.empty() || sent_.back() < at_ms) sent_.push_back(at_ms);
  }
  // Whether nothing that a segment sent may have set going is due about then.
  bool Contains(double at_ms) const {
    return std::none_of(sent_.begin(), sent_.end(),
                        [&](double sent) { return IsUncertain(at_ms - sent); });
  }

 private:
  // In ms after a segment: delayed acknowledgment, retransmissions, SYN-ACKs, TIME-WAIT.
  static bool IsUncertain(double after) {
    constexpr double kZones[][2] = {{20, 150},    {190, 330},     {430, 600},     {930, 1130},
                                    {1930, 2130}, {2900, 3250},   {3900, 4400},   {6850, 7700},
                                    {7900, 8500}, {14700, 16500}, {30500, 33000}, {59900, 69000}};
    return std::any_of(std::begin(kZones), std::end(kZones),
                       [&](const auto& z) { return after >= z[0] && after <= z[1]; });
  }

  std::vector<double> sent_;
};

}  // namespace usher::differential
