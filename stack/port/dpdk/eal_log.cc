#include "stack/port/dpdk/eal_log.h"

#include <rte_log.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>

namespace usher {
namespace {

constexpr size_t kMaxCollected = 64 * 1024;

// Said on every ordinary start: net_tap has no rte_flow on most kernels and no signal by our own
// choice (ScopedTapSignalsTaken); libxdp would like a bpffs and does without; nobody asked for the
// old telemetry or for secondary processes; of two sizes of hugepages one suffices.
constexpr std::array<std::string_view, 14> kMeaningless = {
    "multiq",
    "qdisc kind is unknown",
    "Disabling rte flow support",
    "All rt-signals are in use",
    "No Rx trigger signal",
    "Rx trigger disabled",
    "No legacy callbacks",
    "Failed to send start req to secondary",
    "Failed to register mp action callback",
    "skipping unrecognized data section",
    "No bpffs found",
    "without a working bpffs",
    "Falling back to loading single prog",
    "kB hugepages reported on node",
};

// A stream that collects. It is never closed: a thread of DPDK's own may be about to write to it.
class Collector {
 public:
  Collector() {
    stream_ = fopencookie(this, "w",
                          {.read = nullptr, .write = Write, .seek = nullptr, .close = nullptr});
    if (stream_ == nullptr) return;
    setvbuf(stream_, nullptr, _IONBF, 0);
  }
  FILE* stream() { return stream_; }

  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  void Begin() {
    const std::lock_guard lock(mutex_);
    text_.clear();
    collecting_ = true;
  }
  // From here on late writers are passed on to `fd`.
  void End(int fd) {
    const std::lock_guard lock(mutex_);
    collecting_ = false;
    fd_ = fd;
  }

 private:
  static ssize_t Write(void* cookie, const char* data, size_t size) {
    auto& self = *static_cast<Collector*>(cookie);
    const std::lock_guard lock(self.mutex_);
    if (!self.collecting_) return write(self.fd_, data, size);
    if (self.text_.size() + size <= kMaxCollected) self.text_.append(data, size);
    return static_cast<ssize_t>(size);
  }

  FILE* stream_;
  std::mutex mutex_;
  std::string text_;
  bool collecting_ = false;
  int fd_ = STDERR_FILENO;
};

Collector& Log() {
  static Collector& collector = *new Collector;
  return collector;
}
Collector& Output() {
  static Collector& collector = *new Collector;
  return collector;
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
void ForEachLine(const std::string& whole, F f) {
  std::string_view text = whole;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    f(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

ScopedEalLog::ScopedEalLog() : stderr_(stderr), stdout_(stdout) {
  Log().Begin();
  Output().Begin();
  if (Log().stream() != nullptr) {
    rte_openlog_stream(Log().stream());
    stderr = Log().stream();
  }
  if (Output().stream() != nullptr) stdout = Output().stream();
}

ScopedEalLog::~ScopedEalLog() {
  stderr = stderr_;
  stdout = stdout_;
  rte_openlog_stream(nullptr);
  Log().End(STDERR_FILENO);
  Output().End(STDOUT_FILENO);
  if (discarded_) return;
  const std::string output = Output().text();
  fwrite(output.data(), 1, output.size(), stdout);
  ForEachLine(Log().text(), [](std::string_view line) {
    if (!IsMeaningless(line)) fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  });
}

bool ScopedEalLog::Contains(const char* what) const {
  return Log().text().find(what) != std::string::npos;
}

std::string ScopedEalLog::LineWith(const char* what) const {
  std::string found;
  ForEachLine(Log().text(), [&](std::string_view line) {
    if (found.empty() && line.find(what) != std::string_view::npos) found = Bare(line);
  });
  return found;
}

std::string ScopedEalLog::Summary() const {
  std::string summary;
  ForEachLine(Log().text(), [&](std::string_view line) {
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
