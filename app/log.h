// What usherd says on stderr.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "stack/base/time.h"

namespace usher {

// Writes "usherd: TEXT" and a line end, in one call, so that lines of several threads do not mix.
void Log(const std::string& text);

// A log for what strangers can cause: lets kBurst lines through, then kPerSecond, and says how many
// it kept back. Any thread.
class LimitedLog {
 public:
  static constexpr int64_t kPerSecond = 2;
  static constexpr int64_t kBurst = 20;

  void Write(Instant now, const std::string& text);

 private:
  std::mutex mutex_;
  Instant last_;
  int64_t credit_ns_ = kBurst * 1'000'000'000 / kPerSecond;
  uint64_t kept_back_ = 0;
};

}  // namespace usher
