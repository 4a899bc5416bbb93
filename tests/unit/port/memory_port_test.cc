#include "stack/port/memory_port.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace usher {
namespace {

using Frame = std::vector<uint8_t>;

constexpr MacAddress kMac{{2, 0, 0, 0, 0, 1}};

class MemoryPortTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kBuffers = 80;

  // A frame of the pool's, to be sent.
  TxPacket Outgoing(const Frame& bytes) {
    Packet p;
    EXPECT_TRUE(pool_.Allocate(&p));
    std::copy(bytes.begin(), bytes.end(), p.data);
    return {.data = p.data, .handle = p.handle, .length = static_cast<uint16_t>(bytes.size())};
  }

  HeapPool pool_{kBuffers};
  MemoryPort port_{pool_, kMac};
};

TEST_F(MemoryPortTest, FramesAreReceivedInOrderAndOwned) {
  ASSERT_TRUE(port_.Inject(Frame{1, 2, 3}, kRxIpChecksumGood));
  ASSERT_TRUE(port_.Inject(Frame{4}));
  EXPECT_EQ(port_.received_count(), 2u);
  std::array<Packet, kBurstSize> burst;
  ASSERT_EQ(port_.RxBurst(burst), 2u);
  EXPECT_EQ(Frame(burst[0].data, burst[0].data + burst[0].length), (Frame{1, 2, 3}));
  EXPECT_EQ(burst[0].flags, kRxIpChecksumGood);
  EXPECT_EQ(Frame(burst[1].data, burst[1].data + burst[1].length), Frame{4});
  EXPECT_EQ(burst[1].flags, 0);
  EXPECT_EQ(pool_.available(), kBuffers - 2);
  for (uint32_t i = 0; i < 2; ++i) pool_.Free(burst[i].handle);
  EXPECT_EQ(pool_.available(), kBuffers);
  EXPECT_EQ(port_.RxBurst(burst), 0u);
}

TEST_F(MemoryPortTest, ABurstIsNoLongerThanAskedFor) {
  for (uint8_t i = 0; i < 5; ++i) ASSERT_TRUE(port_.Inject(Frame{i}));
  std::array<Packet, 3> burst;
  ASSERT_EQ(port_.RxBurst(burst), 3u);
  EXPECT_EQ(*burst[2].data, 2);
  for (const Packet& p : burst) pool_.Free(p.handle);
  ASSERT_EQ(port_.RxBurst(burst), 2u);
  EXPECT_EQ(*burst[0].data, 3);
  pool_.Free(burst[0].handle);
  pool_.Free(burst[1].handle);
}

TEST_F(MemoryPortTest, WhatDoesNotFitIsNotInjected) {
  EXPECT_FALSE(port_.Inject(Frame(kBufferRoom - kBufferHeadroom + 1)));
  EXPECT_EQ(pool_.available(), kBuffers);
  EXPECT_TRUE(port_.Inject(Frame(kBufferRoom - kBufferHeadroom)));
  for (uint32_t i = 1; i < kBuffers; ++i) ASSERT_TRUE(port_.Inject(Frame{0}));
  EXPECT_FALSE(port_.Inject(Frame{0})) << "the pool is empty";
}

TEST_F(MemoryPortTest, SentFramesAreTakenInOrderAndTheirBuffersFreed) {
  const TxPacket out[] = {Outgoing({1, 2}), Outgoing({3})};
  EXPECT_EQ(port_.TxBurst(out), 2u);
  EXPECT_EQ(port_.sent_count(), 2u);
  EXPECT_EQ(port_.TakeSent(), (Frame{1, 2}));
  EXPECT_EQ(port_.TakeSent(), Frame{3});
  EXPECT_EQ(pool_.available(), kBuffers);
  EXPECT_TRUE(port_.TakeSent().empty());
}

TEST_F(MemoryPortTest, WithoutRoomTheRestStaysTheCallers) {
  port_.set_tx_room(1);
  const TxPacket out[] = {Outgoing({1}), Outgoing({2})};
  EXPECT_EQ(port_.TxBurst(out), 1u);
  EXPECT_EQ(port_.TxBurst(std::span(out).subspan(1)), 0u);
  port_.set_tx_room(UINT32_MAX);
  EXPECT_EQ(port_.TxBurst(std::span(out).subspan(1)), 1u);
  EXPECT_EQ(port_.sent_count(), 2u);
}

TEST_F(MemoryPortTest, TheCarrierComesAndGoes) {
  EXPECT_TRUE(port_.LinkUp());
  port_.set_link_up(false);
  EXPECT_FALSE(port_.LinkUp());
}

TEST(MemoryPort, ItsEndGivesBackWhatItHolds) {
  HeapPool pool(4);
  {
    MemoryPort port(pool, kMac, {.tx_flags = kTxTcpChecksum, .max_frame = 9014});
    EXPECT_EQ(port.mac(), kMac);
    EXPECT_EQ(&port.pool(), &pool);
    EXPECT_EQ(port.capabilities().max_frame, 9014);
    ASSERT_TRUE(port.Inject(Frame{1}));
    Packet p;
    ASSERT_TRUE(pool.Allocate(&p));
    const TxPacket out[] = {{.data = p.data, .handle = p.handle, .length = 1}};
    ASSERT_EQ(port.TxBurst(out), 1u);
    EXPECT_EQ(pool.available(), 2u);
  }
  EXPECT_EQ(pool.available(), 4u);
}

}  // namespace
}  // namespace usher
