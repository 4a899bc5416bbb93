#include "app/log.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace usher {

void Log(const std::string& text) {
  const std::string line = absl::StrCat("usherd: ", text, "\n");
  // Nobody can be told that telling failed.
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, line.data(), line.size());
}

void LimitedLog::Write(Instant now, const std::string& text) {
  constexpr int64_t kCost = 1'000'000'000 / kPerSecond;
  uint64_t kept_back = 0;
  {
    const std::lock_guard lock(mutex_);
    credit_ns_ = std::min(credit_ns_ + std::max<int64_t>((now - last_).ns(), 0), kBurst * kCost);
    last_ = std::max(last_, now);
    if (credit_ns_ < kCost) {
      ++kept_back_;
      return;
    }
    credit_ns_ -= kCost;
    std::swap(kept_back, kept_back_);
  }
  if (kept_back != 0) Log(absl::StrCat(kept_back, " lines about network events were kept back"));
  Log(text);
}

}  // namespace usher
