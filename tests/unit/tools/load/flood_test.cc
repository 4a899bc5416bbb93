#include "tools/load/flood.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

#include "stack/port/memory_port.h"
#include "stack/wire/arp.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/tcp.h"

namespace usher::load {
namespace {

constexpr MacAddress kOurMac = {{2, 0, 0, 0, 0, 1}};
constexpr MacAddress kServerMac = {{2, 0, 0, 0, 0, 2}};
const IpAddress kServer = IpAddress::V4(0xc6120002);

class FloodTest : public testing::Test {
 protected:
  FloodTest() : pool_(2048), port_(pool_, kOurMac) {
    options_.to = kServer;
    options_.port = 80;
    options_.mode = Mode::kSynFlood;
    options_.seconds = Duration::Millis(20);
    options_.warmup = Duration();
    options_.addresses = {"198.18.0.1/15"};
    options_.spoof = *InterfaceAddress::Parse("198.19.64.0/24");
  }

  // Runs to the end; the server answers ARP if `there`.
  void Run(bool there = true) {
    flood_ = std::make_unique<Flood>(options_, port_, target_, 0, 1, 3);
    const Instant too_late = now_ + Duration::Seconds(10);
    while (!flood_->done() && now_ < too_late) {
      flood_->BeforePass(now_, 1);
      for (auto frame = port_.TakeSent(); !frame.empty(); frame = port_.TakeSent()) {
        const auto ethernet = EthernetView::Parse(frame);
        if (ethernet->type() != EtherType::kArp) {
          sent_.push_back(frame);
          continue;
        }
        const ArpPacket arp = *ArpPacket::Parse(ethernet->payload());
        arps_.push_back(arp);
        if (there && arp.operation == ArpOperation::kRequest && arp.target_ip == next_hop_)
          Say({ArpOperation::kReply, kServerMac, arp.target_ip, arp.sender_mac, arp.sender_ip});
      }
      now_ = now_ + Duration::Micros(100);
    }
    EXPECT_TRUE(flood_->done()) << "does not end";
    EXPECT_EQ(pool_.available(), pool_.capacity()) << "a buffer is lost";
  }

  void Say(const ArpPacket& arp) {
    std::array<uint8_t, 42> frame;
    EthernetHeader{.dst = kOurMac, .src = kServerMac, .type = EtherType::kArp}.Emit(frame.data());
    arp.Emit(frame.data() + 14);
    port_.Inject(frame);
  }

  void Answer(uint16_t flags, const IpAddress& from = kServer, uint16_t port = 80) {
    std::array<uint8_t, 54> frame;
    EthernetHeader{.dst = kOurMac, .src = kServerMac, .type = EtherType::kIpv4}.Emit(frame.data());
    const IpAddress to = IpAddress::V4(0xc6134001);
    Ipv4Header{.src = from, .dst = to, .payload_length = 20}.Emit(frame.data() + 14);
    TcpHeader tcp;
    tcp.src_port = port;
    tcp.dst_port = 2000;
    tcp.flags = flags;
    tcp.Emit(frame.data() + 34);
    FillTcpChecksum(frame.data() + 34, 20, from, to);
    port_.Inject(frame);
  }

  const Result& result() const { return flood_->result(); }

  LoadOptions options_;
  HeapPool pool_;
  MemoryPort port_;
  FloodTarget target_;
  std::unique_ptr<Flood> flood_;
  IpAddress next_hop_ = kServer;
  Instant now_ = Instant::FromNanos(1'000'000'000);
  std::vector<std::vector<uint8_t>> sent_;
  std::vector<ArpPacket> arps_;
};

TEST_F(FloodTest, SourcesAreOfThePrefixAndDiffer) {
  options_.rate = 100'000;
  Run();
  std::set<uint32_t> sources;
  std::set<uint16_t> ports;
  for (const auto& frame : sent_) {
    const auto ethernet = EthernetView::Parse(frame);
    EXPECT_EQ(ethernet->dst(), kServerMac);
    EXPECT_EQ(ethernet->src(), kOurMac);
    const auto ip = Ipv4View::Parse(ethernet->payload());
    EXPECT_TRUE(ip->src().InPrefix(options_.spoof.address, 24)) << ip->src().ToString();
    EXPECT_EQ(ip->dst(), kServer);
    const auto tcp = TcpView::Parse(ip->payload());
    EXPECT_EQ(tcp->flags(), TcpFlags::kSyn);
    EXPECT_EQ(tcp->dst_port(), 80);
    EXPECT_GE(tcp->src_port(), 1024);
    sources.insert(ip->src().v4());
    ports.insert(tcp->src_port());
  }
  EXPECT_EQ(sources.size(), 256u);
  EXPECT_GT(ports.size(), 1500u);
}

TEST_F(FloodTest, TheRateIsKept) {
  options_.rate = 100'000;
  Run();
  EXPECT_NEAR(static_cast<double>(result().frames), 2000, 10);
  EXPECT_EQ(sent_.size(), result().frames);
  EXPECT_EQ(result().refused, 0u);
}

TEST_F(FloodTest, WithoutARateAsFastAsThePortTakes) {
  options_.mode = Mode::kAckFlood;
  Run();
  EXPECT_EQ(result().frames, 200u * 4 * kBurstSize);
  const auto ip = Ipv4View::Parse(EthernetView::Parse(sent_[0])->payload());
  EXPECT_EQ(TcpView::Parse(ip->payload())->flags(), TcpFlags::kAck);
}

TEST_F(FloodTest, WhatThePortDoesNotTakeIsGivenBack) {
  port_.set_tx_room(100);
  Run();
  EXPECT_EQ(result().frames, 99u) << "and one was the question for the server";
  EXPECT_GT(result().refused, 0u);
}

TEST_F(FloodTest, AnswersAreTold) {
  Answer(TcpFlags::kSyn | TcpFlags::kAck);
  Answer(TcpFlags::kSyn | TcpFlags::kAck);
  Answer(TcpFlags::kRst | TcpFlags::kAck);
  Answer(TcpFlags::kAck);
  Answer(TcpFlags::kAck, IpAddress::V4(0xc6120003));
  Answer(TcpFlags::kAck, kServer, 81);
  options_.rate = 1000;
  Run();
  EXPECT_EQ(result().syn_acks, 2u);
  EXPECT_EQ(result().resets, 1u);
  EXPECT_EQ(result().other_answers, 1u);
}

TEST_F(FloodTest, IsEveryMadeUpHostForArp) {
  for (const uint32_t asked : {0xc6120001u, 0xc6134007u, 0xc6120063u})
    Say({ArpOperation::kRequest, kServerMac, kServer, MacAddress(), IpAddress::V4(asked)});
  options_.rate = 1000;
  Run();
  std::vector<uint32_t> answered;
  for (const ArpPacket& arp : arps_) {
    if (arp.operation != ArpOperation::kReply) continue;
    EXPECT_EQ(arp.sender_mac, kOurMac);
    EXPECT_EQ(arp.target_mac, kServerMac);
    answered.push_back(arp.sender_ip.v4());
  }
  EXPECT_EQ(answered, (std::vector<uint32_t>{0xc6120001u, 0xc6134007u}))
      << "ours, one made up; not another's";
}

TEST_F(FloodTest, AServerBehindARouter) {
  options_.to = IpAddress::V4(0x0a000001);
  options_.gateway = next_hop_ = IpAddress::V4(0xc61200fe);
  options_.rate = 1000;
  Run();
  EXPECT_NEAR(static_cast<double>(result().frames), 20, 1);
  EXPECT_EQ(EthernetView::Parse(sent_[0])->dst(), kServerMac);
}

TEST_F(FloodTest, AGivenLinkAddressIsNotAskedFor) {
  options_.to_mac = MacAddress{{2, 0, 0, 0, 0, 9}};
  options_.rate = 1000;
  Run(false);
  EXPECT_TRUE(arps_.empty());
  ASSERT_FALSE(sent_.empty());
  EXPECT_EQ(EthernetView::Parse(sent_[0])->dst(), options_.to_mac);
}

TEST_F(FloodTest, NobodyThere) {
  Run(false);
  EXPECT_TRUE(result().unreachable);
  EXPECT_TRUE(sent_.empty());
  EXPECT_GE(arps_.size(), 20u) << "asked once only";
}

}  // namespace
}  // namespace usher::load
