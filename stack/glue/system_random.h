// Keys from the system.
#pragma once

#include "stack/base/random.h"

namespace usher {

// getrandom(2). Its failure ends the process (RandomSource says why).
class SystemRandom final : public RandomSource {
 public:
  void Fill(std::span<uint8_t> out) override;
};

}  // namespace usher
