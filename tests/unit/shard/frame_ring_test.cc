#include "stack/shard/frame_ring.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace usher {
namespace {

TEST(FrameRingTest, KeepsOrderAndItsBound) {
  constexpr uint32_t kFrames = 64;
  FrameRing ring(kFrames);
  EXPECT_TRUE(ring.empty());
  EXPECT_FALSE(ring.Post(0, std::vector<uint8_t>(FrameRing::kLargestFrame + 1)));
  EXPECT_TRUE(ring.empty());
  const std::vector<uint8_t> largest(FrameRing::kLargestFrame, 7);
  for (uint32_t start = 0; start < 3; ++start) {  // the ring's end lies elsewhere each time
    for (uint32_t i = 0; i < kFrames; ++i)
      ASSERT_TRUE(ring.Post(static_cast<uint8_t>(i % 3),
                            std::vector<uint8_t>(i + 1, static_cast<uint8_t>(i))));
    EXPECT_FALSE(ring.Post(0, largest));
    for (uint32_t i = 0; i < kFrames; ++i, ring.Pop()) {
      ASSERT_FALSE(ring.empty());
      EXPECT_EQ(ring.front_interface(), i % 3);
      EXPECT_EQ(std::vector<uint8_t>(ring.front().begin(), ring.front().end()),
                std::vector<uint8_t>(i + 1, static_cast<uint8_t>(i)));
    }
    EXPECT_TRUE(ring.empty());
    ASSERT_TRUE(ring.Post(1, largest));
    EXPECT_EQ(ring.front().size(), FrameRing::kLargestFrame);
    ring.Pop();
  }
}

TEST(FrameRingTest, TwoThreads) {
  FrameRing ring(64);
  constexpr uint32_t kCount = 100'000;
  std::thread sender([&ring] {
    for (uint32_t i = 0; i < kCount;) {
      const auto b = static_cast<uint8_t>(i);
      if (ring.Post(b, std::vector<uint8_t>(1 + i % 100, b)))
        ++i;
      else
        std::this_thread::yield();
    }
  });
  uint32_t wrong = 0;
  for (uint32_t i = 0; i < kCount;) {
    if (ring.empty()) {
      std::this_thread::yield();
      continue;
    }
    const auto b = static_cast<uint8_t>(i);
    const auto frame = ring.front();
    wrong += ring.front_interface() != b || frame.size() != 1 + i % 100 || frame.front() != b ||
             frame.back() != b;
    ring.Pop();
    ++i;
  }
  sender.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_TRUE(ring.empty());
}

}  // namespace
}  // namespace usher
