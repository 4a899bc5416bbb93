// Errands for a shard from other threads: telemetry, new listeners, settings.
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace usher {

class Shard;

// Any thread posts; the shard's thread runs what was posted between two bursts. The only lock in a
// shard: taken on its side only when the flag says that something is there.
class Mailbox {
 public:
  using Errand = absl::AnyInvocable<void(Shard&)>;

  void Post(Errand errand) {
    const std::lock_guard lock(mutex_);
    errands_.push_back(std::move(errand));
    pending_.store(true, std::memory_order_release);
  }

  bool pending() const { return pending_.load(std::memory_order_relaxed); }

  // Shard's thread. What is posted meanwhile waits for the next call.
  void Run(Shard& shard) {
    std::vector<Errand> errands;
    {
      const std::lock_guard lock(mutex_);
      errands.swap(errands_);
      pending_.store(false, std::memory_order_relaxed);
    }
    for (Errand& errand : errands) errand(shard);
  }

 private:
  std::atomic<bool> pending_ = false;
  std::mutex mutex_;
  std::vector<Errand> errands_;
};

}  // namespace usher
