#include "stack/packet/pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <vector>

namespace usher {
namespace {

// A driver that counts the calls it gets. Its buffers are never looked into, but by Allocate.
class CountingPool final : public PacketPool {
 public:
  explicit CountingPool(uint32_t count) : memory_(count) {
    for (Buffer& b : memory_) free_.push_back(&b);
  }
  using PacketPool::ReturnCached;

  uint32_t allocate_calls = 0;
  std::vector<size_t> freed;  // sizes of the calls

 private:
  struct alignas(64) Buffer {
    uint8_t bytes[kDriverHeaderSize + kBufferHeaderSize + kBufferRoom];
  };
  uint32_t DriverAllocate(std::span<void*> out) override {
    ++allocate_calls;
    uint32_t n = 0;
    for (; n < out.size() && !free_.empty(); ++n) {
      out[n] = free_.back();
      free_.pop_back();
    }
    return n;
  }
  void DriverFree(std::span<void* const> handles) override {
    freed.push_back(handles.size());
    free_.insert(free_.end(), handles.begin(), handles.end());
  }
  uint32_t DriverAvailable() const override { return static_cast<uint32_t>(free_.size()); }

  std::vector<Buffer> memory_;
  std::vector<void*> free_;
};

TEST(PacketPool, ABufferIsEmptyAndHasItsHeadroom) {
  CountingPool pool(1);
  Packet p;
  p.length = 99;
  p.flags = kRxL4ChecksumGood;  // of the packet before it in this descriptor
  ASSERT_TRUE(pool.Allocate(&p));
  EXPECT_EQ(p.length, 0);
  EXPECT_EQ(p.flags, 0);
  auto* start = static_cast<uint8_t*>(p.handle);
  EXPECT_EQ(RoomOf(p.handle), start + 192);
  EXPECT_EQ(p.data, start + 192 + 128);
  EXPECT_EQ(HandleOf(HeaderOf(p.handle)), p.handle);
  EXPECT_EQ(reinterpret_cast<uint8_t*>(HeaderOf(p.handle)), start + 128);
}

TEST(PacketPool, GivesEveryBufferOnceAndThenNone) {
  constexpr uint32_t kCount = 3 * kBurstSize + 5;
  CountingPool pool(kCount);
  std::set<void*> handles;
  Packet p;
  while (pool.Allocate(&p)) handles.insert(p.handle);
  EXPECT_EQ(handles.size(), kCount);
  EXPECT_EQ(pool.available(), 0u);
  pool.Free(*handles.begin());
  EXPECT_EQ(pool.available(), 1u);
  ASSERT_TRUE(pool.Allocate(&p));
  EXPECT_EQ(p.handle, *handles.begin());
  EXPECT_FALSE(pool.Allocate(&p));
}

TEST(PacketPool, AsksItsDriverOnceABurst) {
  CountingPool pool(4 * kBurstSize);
  std::vector<void*> held;
  Packet p;
  for (uint32_t i = 0; i < 2 * kBurstSize; ++i) {
    ASSERT_TRUE(pool.Allocate(&p));
    held.push_back(p.handle);
  }
  EXPECT_EQ(pool.allocate_calls, 2u);
  // As many as the stack in front holds stay there; the next one moves a burst.
  for (void* handle : held) pool.Free(handle);
  EXPECT_TRUE(pool.freed.empty());
  ASSERT_TRUE(pool.Allocate(&p));
  held = {p.handle};
  for (uint32_t i = 0; i < kBurstSize; ++i) {
    ASSERT_TRUE(pool.Allocate(&p));
    held.push_back(p.handle);
  }
  EXPECT_EQ(pool.allocate_calls, 2u);  // all of it from the stack in front
  EXPECT_EQ(pool.available(), 4 * kBurstSize - held.size());
}

TEST(PacketPool, MovesABurstBackWhenItsFrontIsFull) {
  CountingPool pool(4 * kBurstSize);
  std::vector<void*> held;
  Packet p;
  for (uint32_t i = 0; i < 2 * kBurstSize + 1; ++i) {
    ASSERT_TRUE(pool.Allocate(&p));
    held.push_back(p.handle);
  }
  // The third burst came for one buffer: 31 are in front, so that 33 more fill it.
  for (uint32_t i = 0; i < kBurstSize + 1; ++i) pool.Free(held[i]);
  EXPECT_TRUE(pool.freed.empty());
  pool.Free(held[kBurstSize + 1]);
  EXPECT_EQ(pool.freed, (std::vector<size_t>{kBurstSize}));
  for (uint32_t i = kBurstSize + 2; i < held.size(); ++i) pool.Free(held[i]);
  EXPECT_EQ(pool.available(), 4 * kBurstSize);
}

TEST(PacketPool, ReturnsWhatIsInFront) {
  CountingPool pool(kBurstSize);
  Packet p;
  ASSERT_TRUE(pool.Allocate(&p));
  pool.Free(p.handle);
  pool.ReturnCached();
  EXPECT_EQ(pool.freed, (std::vector<size_t>{kBurstSize}));
  EXPECT_EQ(pool.available(), kBurstSize);
  EXPECT_TRUE(pool.Allocate(&p));
}

}  // namespace
}  // namespace usher
