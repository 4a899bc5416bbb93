// What a connection costs while nothing happens on it. (Requests and TIME-WAIT records assert their
// 64 and 128 bytes where they are declared.)
#include "gtest/gtest.h"
#include "stack/shard/shard.h"

namespace usher {
namespace {

// The slope of a table's size, so that what it needs whatever its capacity does not count.
template <class BytesFor>
double PerEntry(BytesFor&& bytes_for) {
  constexpr uint32_t kFew = 1 << 20;
  constexpr uint32_t kMany = 1 << 22;
  return static_cast<double>(bytes_for(kMany) - bytes_for(kFew)) / (kMany - kFew);
}

// Slot and life in the pool, the two timers (the connection's and its owner's), the entry in the
// flow table and the place among those to be freed. An idle connection holds no buffer, no record
// of sent segments and no reassembly queue, and stands in no queue of the pass.
TEST(Memory, IdleConnectionIsAtMost768BytesInAll) {
  const double slot = PerEntry(ObjectPool<TcpConnection>::BytesFor);
  const double timers = 2 * PerEntry(TimerWheel::BytesFor);
  const double flow = PerEntry(FlowTable::BytesFor);
  const double all = slot + timers + flow + sizeof(uint32_t);
  RecordProperty("bytes", std::to_string(all));
  EXPECT_LE(all, 768) << "slot " << slot << ", timers " << timers << ", flow " << flow;
}

}  // namespace
}  // namespace usher
