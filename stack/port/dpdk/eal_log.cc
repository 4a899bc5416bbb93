#include "stack/port/dpdk/eal_log.h"

#include <rte_log.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace usher {
namespace {

constexpr size_t kMaxCollected = 64 * 1024;

// Said on every ordinary start: net_tap has no rte_flow on most kernels and no signal by our own
// choice (ScopedTapSignalsTaken); nobody asked for the old telemetry or for secondary processes.
constexpr std::array<std::string_view, 9> kMeaningless = {
    "multiq",
    "qdisc kind is unknown",
    "Disabling rte flow support",
    "All rt-signals are in use",
    "No Rx trigger signal",
    "Rx trigger disabled",
    "No legacy callbacks",
    "Failed to send start req to secondary",
    "Failed to register mp action callback",
};

ssize_t Collect(void* cookie, const char* data, size_t size) {
  auto& text = *static_cast<std::string*>(cookie);
  if (text.size() + size <= kMaxCollected) text.append(data, size);
  return static_cast<ssize_t>(size);
}

bool IsMeaningless(std::string_view line) {
  if (line.empty()) return true;
  for (std::string_view m : kMeaningless)
    if (line.find(m) != std::string_view::npos) return true;
  return false;
}

// Drops "EAL: ", "FATAL: " and "function(): " before the message proper.
std::string_view Bare(std::string_view line) {
  for (std::string_view prefix : {"EAL: ", "FATAL: "})
    if (line.starts_with(prefix)) line.remove_prefix(prefix.size());
  const size_t call = line.find("(): ");
  if (call != std::string_view::npos && line.find(' ') > call) line.remove_prefix(call + 4);
  while (line.starts_with(' ')) line.remove_prefix(1);
  return line;
}

template <typename F>
void ForEachLine(std::string_view text, F f) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    f(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

ScopedEalLog::ScopedEalLog() {
  stream_ = fopencookie(&text_, "w",
                        {.read = nullptr, .write = Collect, .seek = nullptr, .close = nullptr});
  if (stream_ != nullptr) {
    setvbuf(stream_, nullptr, _IONBF, 0);
    rte_openlog_stream(stream_);
  }
}

ScopedEalLog::~ScopedEalLog() {
  rte_openlog_stream(nullptr);
  if (stream_ != nullptr) fclose(stream_);
  if (discarded_) return;
  ForEachLine(text_, [](std::string_view line) {
    if (!IsMeaningless(line)) fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  });
}

std::string ScopedEalLog::LineWith(const char* what) const {
  std::string found;
  ForEachLine(text_, [&](std::string_view line) {
    if (found.empty() && line.find(what) != std::string_view::npos) found = Bare(line);
  });
  return found;
}

std::string ScopedEalLog::Summary() const {
  std::string summary;
  ForEachLine(text_, [&](std::string_view line) {
    if (IsMeaningless(line)) return;
    const std::string_view bare = Bare(line);
    // EAL says its fatal errors twice.
    if (summary.find(bare) != std::string::npos) return;
    if (!summary.empty()) summary += "; ";
    summary += bare;
  });
  return summary;
}

ScopedTapSignalsTaken::ScopedTapSignalsTaken() {
  // DPDK before 22.11.4 uses SIGIO, later ones the first free real-time signal.
  auto take = [this](int s) {
    struct sigaction old;
    if (sigaction(s, nullptr, &old) != 0 || old.sa_handler != SIG_DFL) return;
    struct sigaction taken = {};
    taken.sa_handler = [](int) {};
    taken.sa_flags = SA_RESTART;
    if (sigaction(s, &taken, nullptr) == 0) taken_ |= uint64_t{1} << (s - 1);
  };
  take(SIGIO);
  for (int s = SIGRTMIN + 1; s < SIGRTMAX; ++s) take(s);
}

ScopedTapSignalsTaken::~ScopedTapSignalsTaken() {
  struct sigaction default_action = {};
  default_action.sa_handler = SIG_DFL;
  for (int s = 1; s <= 64; ++s)
    if (taken_ >> (s - 1) & 1) sigaction(s, &default_action, nullptr);
}

}  // namespace usher
