#include "stack/ip/link.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "stack/port/memory_port.h"

namespace usher {
namespace {

constexpr MacAddress kUs{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress kPeer{{2, 0, 0, 0, 0, 2}};

class LinkTest : public ::testing::Test {
 protected:
  void Make(uint32_t buffers = 256, uint16_t mtu = 1500, uint16_t vlan = 0) {
    pool_ = std::make_unique<HeapPool>(buffers);
    port_ = std::make_unique<MemoryPort>(*pool_, kUs, capabilities_);
    link_ = std::make_unique<Link>(*port_, mtu, vlan, limits_, counters_);
  }
  void TearDown() override {
    link_.reset();
    port_.reset();
    EXPECT_EQ(pool_->available(), pool_->capacity()) << "buffers leaked";
  }

  // A frame of 60 bytes, numbered in its last.
  TxPacket Frame(uint8_t number) {
    Packet packet;
    EXPECT_TRUE(link_->Allocate(&packet));
    std::fill_n(packet.data, 60, uint8_t{0});
    packet.data[59] = number;
    return {.data = packet.data, .handle = packet.handle, .length = 60};
  }
  std::vector<int> SentNumbers() {
    std::vector<int> numbers;
    while (port_->sent_count() > 0) numbers.push_back(port_->TakeSent().back());
    return numbers;
  }

  NetworkLimits limits_;
  PortCapabilities capabilities_;
  Counters counters_;
  std::unique_ptr<HeapPool> pool_;
  std::unique_ptr<MemoryPort> port_;
  std::unique_ptr<Link> link_;
};

TEST_F(LinkTest, HeaderIsDestinationOurselvesAndType) {
  Make();
  uint8_t frame[18];  // room for a tag, which none is written to
  link_->WriteHeader(frame, kPeer, EtherType::kIpv6);
  const auto view = EthernetView::Parse({frame, 14});
  ASSERT_TRUE(view);
  EXPECT_EQ(view->dst(), kPeer);
  EXPECT_EQ(view->src(), kUs);
  EXPECT_EQ(view->type(), EtherType::kIpv6);
  EXPECT_EQ(link_->header_size(), 14);
}

TEST_F(LinkTest, TagGoesIntoEveryHeader) {
  Make(256, 1500, 4094);
  EXPECT_EQ(link_->header_size(), 18);
  uint8_t frame[18];
  link_->WriteHeader(frame, EtherType::kArp);
  Link::WriteDestination(frame, kPeer);
  const auto view = EthernetView::Parse({frame, 18});
  ASSERT_TRUE(view);
  EXPECT_EQ(view->vlan_id(), 4094);
  EXPECT_EQ(view->dst(), kPeer);
  EXPECT_EQ(view->type(), EtherType::kArp);
}

TEST_F(LinkTest, TurnedRoundToItsSenderTagKept) {
  Make(256, 1500, 5);
  uint8_t frame[18];
  EthernetHeader{
      .dst = MacAddress::Broadcast(), .src = kPeer, .type = EtherType::kIpv4, .vlan_id = 5}
      .Emit(frame);
  link_->TurnRound(frame);
  const auto view = EthernetView::Parse({frame, 18});
  EXPECT_EQ(view->dst(), kPeer);
  EXPECT_EQ(view->src(), kUs);
  EXPECT_EQ(view->vlan_id(), 5);
  EXPECT_EQ(view->type(), EtherType::kIpv4);
}

TEST_F(LinkTest, MtuIsTheSmallerOfConfiguredAndPossible) {
  Make(64, 1400);
  EXPECT_EQ(link_->mtu(), 1400);
  link_.reset();
  Make(64, 9000);
  EXPECT_EQ(link_->mtu(), 1500);
  link_.reset();
  capabilities_.max_frame = 9018;
  Make(64, 9000, 1);
  EXPECT_EQ(link_->mtu(), 9000);
}

TEST_F(LinkTest, QueueWaitsForTheFlushOrAWholeBurst) {
  Make();
  for (uint32_t i = 0; i + 1 < kBurstSize; ++i) link_->Send(Frame(static_cast<uint8_t>(i)));
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(link_->backlog(), kBurstSize - 1);
  link_->Send(Frame(kBurstSize - 1));
  EXPECT_EQ(port_->sent_count(), kBurstSize);
  EXPECT_EQ(link_->backlog(), 0u);
  link_->Send(Frame(99));
  link_->Flush();
  EXPECT_EQ(port_->sent_count(), kBurstSize + 1);
  EXPECT_EQ(counters_.Get(Counter::UsherTxPackets), kBurstSize + 1);
  EXPECT_EQ(counters_.Get(Counter::UsherTxBytes), (kBurstSize + 1) * 60);
}

// The queue moves along its array; nothing is lost, doubled or overtaken when it comes to the end.
TEST_F(LinkTest, OrderSurvivesAPortThatTakesALittleAtATime) {
  limits_.tx_backlog = 40;
  Make();
  std::vector<int> expected;
  std::vector<int> sent;
  uint8_t number = 0;
  port_->set_tx_room(0);
  for (int i = 0; i < 10; ++i) {  // so that there is always a rest, and the queue never begins anew
    expected.push_back(number);
    link_->Send(Frame(number++));
  }
  link_->Flush();
  for (int round = 0; round < 50; ++round) {
    port_->set_tx_room(7);
    for (int i = 0; i < 7; ++i) {
      expected.push_back(number);
      link_->Send(Frame(number++));
    }
    link_->Flush();
    const std::vector<int> some = SentNumbers();
    sent.insert(sent.end(), some.begin(), some.end());
  }
  port_->set_tx_room(UINT32_MAX);
  link_->Flush();
  const std::vector<int> rest = SentNumbers();
  sent.insert(sent.end(), rest.begin(), rest.end());
  EXPECT_EQ(sent, expected);
  EXPECT_EQ(counters_.Get(Counter::UsherTxDropped), 0u);
}

TEST_F(LinkTest, FullQueueDropsTheNewestAndCounts) {
  limits_.tx_backlog = 1;  // a burst is the least
  Make();
  port_->set_tx_room(0);
  for (uint8_t i = 0; i < kBurstSize + 10; ++i) link_->Send(Frame(i));
  EXPECT_EQ(link_->backlog(), kBurstSize);
  EXPECT_EQ(counters_.Get(Counter::UsherTxDropped), 10u);
  port_->set_tx_room(UINT32_MAX);
  link_->Flush();
  const std::vector<int> sent = SentNumbers();
  ASSERT_EQ(sent.size(), kBurstSize);
  EXPECT_EQ(sent.front(), 0);
  EXPECT_EQ(sent.back(), static_cast<int>(kBurstSize) - 1);
}

TEST_F(LinkTest, WhatIsStillQueuedGoesBackWithTheLink) {
  Make();
  port_->set_tx_room(0);
  for (uint8_t i = 0; i < 20; ++i) link_->Send(Frame(i));
  link_->Flush();
  EXPECT_EQ(link_->backlog(), 20u);  // TearDown counts the buffers
}

TEST_F(LinkTest, ControlHasAReserveThatFillsAgain) {
  limits_.control_reserve = 3;
  Make(16);
  std::vector<void*> held;
  Packet packet;
  while (link_->Allocate(&packet)) held.push_back(packet.handle);
  EXPECT_EQ(held.size(), 13u);
  EXPECT_EQ(counters_.Get(Counter::UsherNoBuffer), 1u);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(link_->AllocateControl(&packet)) << i;
    EXPECT_EQ(packet.data, RoomOf(packet.handle) + kBufferHeadroom);
    EXPECT_EQ(packet.length, 0u);
    held.push_back(packet.handle);
  }
  EXPECT_FALSE(link_->AllocateControl(&packet));
  EXPECT_EQ(counters_.Get(Counter::UsherNoBuffer), 2u);
  link_->RefillReserve();  // nothing to fill it from
  EXPECT_FALSE(link_->AllocateControl(&packet));
  for (int i = 0; i < 2; ++i) {
    link_->Free(held.back());
    held.pop_back();
  }
  link_->RefillReserve();
  EXPECT_FALSE(link_->Allocate(&packet)) << "the reserve comes first";
  EXPECT_TRUE(link_->AllocateControl(&packet));
  held.push_back(packet.handle);
  for (void* handle : held) link_->Free(handle);
}

TEST_F(LinkTest, WithoutAReserveControlIsLikeAnyOther) {
  limits_.control_reserve = 0;
  Make(4);
  std::vector<void*> held;
  Packet packet;
  while (link_->Allocate(&packet)) held.push_back(packet.handle);
  EXPECT_EQ(held.size(), 4u);
  EXPECT_FALSE(link_->AllocateControl(&packet));
  for (void* handle : held) link_->Free(handle);
}

}  // namespace
}  // namespace usher
