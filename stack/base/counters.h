// Counters that one thread writes and any thread may read. A shard owns one set; whoever wants
// totals reads every shard's and adds up.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "stack/base/check.h"

namespace usher {

// Spelt exactly as nstat shows them: Counter::TcpExtListenOverflows.
enum class Counter : uint16_t {
#define X(name) name,
#define G(name) name,
#include "stack/base/counter_list.h"
};

inline constexpr size_t kCounterCount = 0
#define X(name) +1
#define G(name) +1
#include "stack/base/counter_list.h"
    ;

// The counter's name, for nstat and telemetry.
const char* CounterName(Counter counter);

// The counter of that exact name, if there is one. Linear: for the control plane.
std::optional<Counter> FindCounter(std::string_view name);

// Whether the value may also fall.
constexpr bool IsGauge(Counter counter) {
  switch (counter) {
#define X(name)
#define G(name) case Counter::name:
#include "stack/base/counter_list.h"
    return true;
    default:
      return false;
  }
}

// One set of counters, all zero at first. Add and Sub are for the owning thread alone; Get is for
// all. A reader sees each counter whole, but not all of them at one instant.
class alignas(64) Counters {
 public:
  // A plain load, add and store: a locked add would cost about 20 cycles for nothing, since there
  // is only one writer.
  void Add(Counter counter, uint64_t n = 1) {
    std::atomic<uint64_t>& value = values_[static_cast<size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  // Lowers a gauge.
  void Sub(Counter gauge, uint64_t n = 1) {
    USHER_DCHECK(IsGauge(gauge) && Get(gauge) >= n);
    Add(gauge, 0 - n);
  }

  uint64_t Get(Counter counter) const {
    return values_[static_cast<size_t>(counter)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<uint64_t>, kCounterCount> values_ = {};
};

}  // namespace usher
