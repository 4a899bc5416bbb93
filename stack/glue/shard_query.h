// Questions to a shard from another thread, answered by the shard itself between two bursts.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "stack/api/stack.h"

namespace usher {

// How long a shard may take before it counts as not polled any more.
inline constexpr std::chrono::seconds kShardAnswerLimit{5};

// Runs `question(Shard&)` on shard i's thread and waits for what it returns; nullopt when `stop`
// becomes true or the shard does not answer. The question may still run after that, until the stack
// ends: it must own whatever it refers to. Any thread but the shards' own.
template <class Question>
auto AskShard(Stack& stack, uint32_t i, const std::atomic<bool>& stop, Question question)
    -> std::optional<decltype(question(std::declval<Shard&>()))> {
  using Answer = decltype(question(std::declval<Shard&>()));
  struct Pending {
    std::mutex mutex;
    std::condition_variable ready;
    std::optional<Answer> answer;
  };
  auto pending = std::make_shared<Pending>();
  stack.Post(i, [pending, question = std::move(question)](Shard& shard) mutable {
    Answer answer = question(shard);
    const std::lock_guard lock(pending->mutex);
    pending->answer = std::move(answer);
    pending->ready.notify_one();
  });
  const auto limit = std::chrono::steady_clock::now() + kShardAnswerLimit;
  std::unique_lock lock(pending->mutex);
  while (!pending->answer && !stop && std::chrono::steady_clock::now() < limit)
    pending->ready.wait_for(lock, std::chrono::milliseconds(50));
  return std::move(pending->answer);
}

}  // namespace usher
