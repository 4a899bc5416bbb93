#include "stack/base/counters.h"

namespace usher {
namespace {

constexpr const char* kNames[] = {
#define X(name) #name,
#define G(name) #name,
#include "stack/base/counter_list.h"
};
static_assert(std::size(kNames) == kCounterCount);

}  // namespace

const char* CounterName(Counter counter) { return kNames[static_cast<size_t>(counter)]; }

std::optional<Counter> FindCounter(std::string_view name) {
  for (size_t i = 0; i < kCounterCount; ++i) {
    if (name == kNames[i]) return static_cast<Counter>(i);
  }
  return std::nullopt;
}

}  // namespace usher
