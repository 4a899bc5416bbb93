#include "stack/shard/frame_ring.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace usher {
namespace {

TEST(FrameRingTest, KeepsOrderAndItsBound) {
  constexpr uint32_t kFrames = 64;
  FrameRing ring(kFrames);
  EXPECT_EQ(ring.size(), 0u);
  EXPECT_FALSE(ring.Post(0, std::vector<uint8_t>(FrameRing::kLargestFrame + 1)));
  EXPECT_EQ(ring.size(), 0u);
  const std::vector<uint8_t> largest(FrameRing::kLargestFrame, 7);
  for (uint32_t start = 0; start < 3; ++start) {  // the ring's end lies elsewhere each time
    for (uint32_t i = 0; i < kFrames; ++i)
      ASSERT_TRUE(ring.Post(static_cast<uint8_t>(i % 3),
                            std::vector<uint8_t>(i + 1, static_cast<uint8_t>(i))));
    EXPECT_FALSE(ring.Post(0, largest));
    ASSERT_EQ(ring.size(), kFrames);
    for (uint32_t i = 0; i < kFrames; ++i, ring.Pop(1)) {
      EXPECT_FALSE(ring[0].is_segment);
      EXPECT_EQ(ring[0].interface, i % 3);
      EXPECT_EQ(std::vector<uint8_t>(ring[0].bytes().begin(), ring[0].bytes().end()),
                std::vector<uint8_t>(i + 1, static_cast<uint8_t>(i)));
    }
    EXPECT_EQ(ring.size(), 0u);
    ASSERT_TRUE(ring.Post(1, largest));
    EXPECT_EQ(ring[0].bytes().size(), FrameRing::kLargestFrame);
    ring.Pop(1);
  }
}

// The sender's buffer may be gone: a segment lies in the ring with all that was found out about it.
TEST(FrameRingTest, ASegmentKeepsWhatIsKnownOfIt) {
  FrameRing ring(4);
  std::vector<uint8_t> bytes(60);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  L4Packet segment;
  segment.packet = {.data = bytes.data(), .handle = &ring, .length = 60};
  segment.l4 = bytes.data() + 34;
  segment.l4_length = 26;
  segment.interface = 2;
  segment.tos = 3;
  segment.hop_limit = 61;
  segment.source = *IpAddress::Parse("198.18.0.1");
  ASSERT_TRUE(ring.Post(segment));
  ASSERT_TRUE(ring.Post(1, bytes));
  std::fill(bytes.begin(), bytes.end(), 0xff);
  ASSERT_EQ(ring.size(), 2u);
  ASSERT_TRUE(ring[0].is_segment);
  const L4Packet& handed = ring[0].segment;
  EXPECT_EQ(handed.packet.handle, nullptr);
  EXPECT_EQ(handed.packet.data, ring[0].bytes().data());
  EXPECT_EQ(handed.l4 - handed.packet.data, 34);
  EXPECT_EQ(handed.l4[25], 59);
  EXPECT_EQ(handed.l4_length, 26);
  EXPECT_EQ(handed.interface, 2);
  EXPECT_EQ(handed.tos, 3);
  EXPECT_EQ(handed.hop_limit, 61);
  EXPECT_EQ(handed.source, segment.source);
  EXPECT_TRUE(handed.checksum_good);
  EXPECT_TRUE(handed.handed_over);
  EXPECT_FALSE(ring[1].is_segment);
  ring.Pop(2);
  EXPECT_EQ(ring.size(), 0u);
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
    if (ring.size() == 0) {
      std::this_thread::yield();
      continue;
    }
    const auto b = static_cast<uint8_t>(i);
    const auto frame = ring[0].bytes();
    wrong += ring[0].interface != b || frame.size() != 1 + i % 100 || frame.front() != b ||
             frame.back() != b;
    ring.Pop(1);
    ++i;
  }
  sender.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(ring.size(), 0u);
}

}  // namespace
}  // namespace usher
