// The pool, the port and the device over DPDK's own software devices: no root, no hugepages.
#include "stack/port/dpdk/dpdk_port.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "stack/packet/slice.h"
#include "stack/port/dpdk/dpdk_device.h"
#include "stack/port/dpdk/dpdk_pool.h"
#include "stack/port/dpdk/eal.h"

namespace usher {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

Eal* g_eal;
std::string g_directory;

std::vector<uint8_t> Frame(size_t length, uint8_t first) {
  std::vector<uint8_t> frame(length);
  for (size_t i = 0; i < length; ++i) frame[i] = static_cast<uint8_t>(first + i);
  return frame;
}

TxPacket Built(PacketPool& pool, const std::vector<uint8_t>& frame) {
  Packet p;
  EXPECT_TRUE(pool.Allocate(&p));
  std::memcpy(p.data, frame.data(), frame.size());
  return {.data = p.data, .handle = p.handle, .length = static_cast<uint16_t>(frame.size())};
}

std::unique_ptr<DpdkDevice> OpenDevice(const std::string& name, DpdkDeviceConfig config = {}) {
  config.link_wait_ms = 0;
  const auto port = g_eal->Find(name);
  EXPECT_TRUE(port.ok()) << port.status();
  auto device = DpdkDevice::Open(*port, config);
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

DpdkDeviceConfig Small() {
  DpdkDeviceConfig config;
  config.rx_ring = config.tx_ring = 64;
  config.held_buffers = 128;
  return config;
}

// Devices close for good, so every test has a ring of its own.
class DpdkPortTest : public ::testing::Test {
 protected:
  void Open(const std::string& name, DpdkDeviceConfig config = Small()) {
    device_ = OpenDevice(name, config);
    port_ = &device_->queue(0);
    pool_ = &device_->pool(0);
    baseline_ = pool_->available();
  }
  std::vector<Packet> Receive(Port& port) {
    std::vector<Packet> packets(kBurstSize);
    packets.resize(port.RxBurst(packets));
    return packets;
  }
  // A frame through the loop, as raw mbuf on its way in.
  rte_mbuf* RawMbuf(rte_mempool* pool, uint16_t length) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
    auto* data = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, length));
    for (uint16_t i = 0; i < length; ++i) data[i] = static_cast<uint8_t>(i);
    return mbuf;
  }
  void SendRaw(rte_mbuf* mbuf) { ASSERT_EQ(rte_eth_tx_burst(device_->port(), 0, &mbuf, 1), 1); }

  std::unique_ptr<DpdkDevice> device_;
  DpdkPort* port_ = nullptr;
  DpdkPool* pool_ = nullptr;
  uint32_t baseline_ = 0;
};

TEST(DpdkPoolTest, LayoutIsThatOfThePacketFolder) {
  auto pool = DpdkPool::Create("layout", 100, -1);
  ASSERT_TRUE(pool.ok()) << pool.status();
  Packet p;
  ASSERT_TRUE((*pool)->Allocate(&p));
  const auto* mbuf = static_cast<rte_mbuf*>(p.handle);
  EXPECT_EQ(mbuf->buf_addr, RoomOf(p.handle));
  EXPECT_EQ(rte_mbuf_to_priv(static_cast<rte_mbuf*>(p.handle)), HeaderOf(p.handle));
  EXPECT_EQ(mbuf->buf_len, kBufferRoom);
  EXPECT_EQ(p.data, RoomOf(p.handle) + kBufferHeadroom);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(HeaderOf(p.handle)) % 64, 0u);
  (*pool)->Free(p.handle);
}

TEST(DpdkPoolTest, GivesEveryBufferOnceAndTakesThemBack) {
  auto created = DpdkPool::Create("all", 333, -1);
  ASSERT_TRUE(created.ok()) << created.status();
  DpdkPool& pool = **created;
  EXPECT_EQ(pool.available(), 333u);
  for (int round = 0; round < 3; ++round) {
    std::vector<void*> handles;
    Packet p;
    while (pool.Allocate(&p)) handles.push_back(p.handle);
    EXPECT_EQ(handles.size(), 333u);
    EXPECT_EQ(pool.available(), 0u);
    std::sort(handles.begin(), handles.end());
    EXPECT_EQ(std::unique(handles.begin(), handles.end()), handles.end());
    for (void* h : handles) pool.Free(h);
    EXPECT_EQ(pool.available(), 333u);
  }
}

TEST(DpdkPoolTest, FreedBuffersAreAsDriversExpectThem) {
  auto created = DpdkPool::Create("reset", 64, -1);
  ASSERT_TRUE(created.ok()) << created.status();
  DpdkPool& pool = **created;
  Packet p;
  ASSERT_TRUE(pool.Allocate(&p));
  BufferHeader* header = Slice::Hold(p, pool);
  {
    Slice held = Slice::Adopt(header, p.data, 10);
    Slice copy = held;
  }
  EXPECT_EQ(pool.available(), 64u);
  rte_mbuf* mbuf = nullptr;
  for (uint32_t i = 0; i < 64; ++i) {
    ASSERT_TRUE(pool.Allocate(&p));
    mbuf = static_cast<rte_mbuf*>(p.handle);
    EXPECT_EQ(rte_mbuf_refcnt_read(mbuf), 1);
    EXPECT_EQ(mbuf->nb_segs, 1);
    EXPECT_EQ(mbuf->next, nullptr);
  }
}

TEST(DpdkPoolTest, SaysHowMuchMemoryItNeeds) {
  const auto pool = DpdkPool::Create("huge", 1000000, -1);
  ASSERT_EQ(pool.status().code(), absl::StatusCode::kResourceExhausted);
  const uint64_t mebibytes = 1000000ull * DpdkPool::BytesPerBuffer() / (1 << 20) + 1;
  EXPECT_THAT(std::string(pool.status().message()),
              HasSubstr(absl::StrCat("need ", mebibytes, " MiB")));
}

// The figure is right: what it names is enough, and it wastes no more than a tenth.
TEST(DpdkPoolTest, MemoryFigureIsHonest) {
  EXPECT_LT(DpdkPool::BytesPerBuffer(),
            (kDriverHeaderSize + kBufferHeaderSize + kBufferRoom) * 11 / 10);
}

TEST_F(DpdkPortTest, LoopsFramesThroughARing) {
  Open("net_ring0");
  std::vector<TxPacket> out;
  for (uint8_t i = 0; i < 3; ++i) out.push_back(Built(*pool_, Frame(60 + 700 * i, i)));
  ASSERT_EQ(port_->TxBurst(out), 3u);
  const std::vector<Packet> in = Receive(*port_);
  ASSERT_EQ(in.size(), 3u);
  for (uint8_t i = 0; i < 3; ++i) {
    EXPECT_EQ(in[i].handle, out[i].handle);  // the same pool: nothing copied
    EXPECT_EQ(in[i].flags, 0);
    EXPECT_THAT(std::vector<uint8_t>(in[i].data, in[i].data + in[i].length),
                ElementsAreArray(Frame(60 + 700 * i, i)));
    pool_->Free(in[i].handle);
  }
  EXPECT_EQ(pool_->available(), baseline_);
  EXPECT_EQ(port_->counts().rx_copied, 0u);
}

TEST_F(DpdkPortTest, SendsFromAnywhereInTheBuffer) {
  Open("net_ring1");
  TxPacket p = Built(*pool_, Frame(100, 1));
  p.data += 20;  // a header stripped
  p.length -= 20;
  ASSERT_EQ(port_->TxBurst({&p, 1}), 1u);
  std::vector<Packet> in = Receive(*port_);
  ASSERT_EQ(in.size(), 1u);
  EXPECT_EQ(in[0].length, 80);
  EXPECT_EQ(in[0].data[0], 21);
  TxPacket answer{.data = in[0].data - 50, .handle = in[0].handle, .length = 130};  // turned round
  ASSERT_EQ(port_->TxBurst({&answer, 1}), 1u);
  in = Receive(*port_);
  ASSERT_EQ(in.size(), 1u);
  EXPECT_EQ(in[0].length, 130);
  EXPECT_EQ(in[0].data[50], 21);
  pool_->Free(in[0].handle);
}

TEST_F(DpdkPortTest, BurstsLongerThanOneDriverCall) {
  Open("net_ring2");
  std::vector<TxPacket> out;
  for (int i = 0; i < 100; ++i) out.push_back(Built(*pool_, Frame(60, static_cast<uint8_t>(i))));
  ASSERT_EQ(port_->TxBurst(out), 100u);
  uint8_t expected = 0;
  for (std::vector<Packet> in; !(in = Receive(*port_)).empty();)
    for (const Packet& p : in) {
      EXPECT_EQ(p.data[0], expected++);
      pool_->Free(p.handle);
    }
  EXPECT_EQ(expected, 100);
}

TEST_F(DpdkPortTest, TransmitOffloadsAsDriversReadThem) {
  Open("net_ring3");
  struct {
    uint16_t flags;
    uint64_t offloads;
  } const cases[] = {
      {0, 0},
      {kTxIpv4, 0},
      {kTxIpv4 | kTxIpChecksum, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM},
      {kTxIpv4 | kTxTcpChecksum, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM},
      {kTxIpv4 | kTxIpChecksum | kTxTcpChecksum,
       RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM},
      {kTxTcpChecksum, RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM},
  };
  for (const auto& c : cases) {
    TxPacket p = Built(*pool_, Frame(90, 0));
    p.flags = c.flags;
    p.l2_length = 18;
    p.l3_length = 40;
    p.l4_length = 32;
    ASSERT_EQ(port_->TxBurst({&p, 1}), 1u);
    rte_mbuf* mbuf = nullptr;
    ASSERT_EQ(rte_eth_rx_burst(device_->port(), 0, &mbuf, 1), 1);
    EXPECT_EQ(mbuf->ol_flags, c.offloads) << c.flags;
    if (c.offloads != 0) {
      EXPECT_EQ(mbuf->l2_len, 18);
      EXPECT_EQ(mbuf->l3_len, 40);
      EXPECT_EQ(mbuf->l4_len, 32);
      EXPECT_EQ(mbuf->tso_segsz, 0);
    }
    pool_->Free(mbuf);
  }
}

TEST_F(DpdkPortTest, BelievesChecksumsOnlyWhenTheDriverVouchesForTheData) {
  Open("net_ring4");
  struct {
    uint64_t offloads;
    uint16_t flags;
  } const cases[] = {
      {RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN | RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN, 0},
      {RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_BAD, 0},
      {RTE_MBUF_F_RX_IP_CKSUM_NONE | RTE_MBUF_F_RX_L4_CKSUM_NONE,
       kRxIpChecksumGood | kRxL4ChecksumGood},
      {RTE_MBUF_F_RX_IP_CKSUM_GOOD, kRxIpChecksumGood},
      {RTE_MBUF_F_RX_L4_CKSUM_GOOD, kRxL4ChecksumGood},
      {RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_RSS_HASH,
       kRxIpChecksumGood | kRxL4ChecksumGood | kRxFlowHash},
  };
  for (const auto& c : cases) {
    rte_mbuf* mbuf = RawMbuf(pool_->mempool(), 64);
    mbuf->ol_flags = c.offloads;
    mbuf->hash.rss = 0x12345678;
    SendRaw(mbuf);
    const std::vector<Packet> in = Receive(*port_);
    ASSERT_EQ(in.size(), 1u);
    EXPECT_EQ(in[0].flags, c.flags) << std::hex << c.offloads;
    if ((c.flags & kRxFlowHash) != 0) {
      EXPECT_EQ(in[0].flow_hash, 0x12345678u);
    }
    pool_->Free(in[0].handle);
  }
}

TEST_F(DpdkPortTest, ChainedFramesBecomeOneBuffer) {
  Open("net_ring5");
  rte_mbuf* head = RawMbuf(pool_->mempool(), 500);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(rte_pktmbuf_chain(head, RawMbuf(pool_->mempool(), 500)), 0);
  SendRaw(head);
  const std::vector<Packet> in = Receive(*port_);
  ASSERT_EQ(in.size(), 1u);
  ASSERT_EQ(in[0].length, 1500);
  for (int i = 0; i < 1500; ++i) ASSERT_EQ(in[0].data[i], static_cast<uint8_t>(i % 500));
  EXPECT_EQ(port_->counts().rx_copied, 1u);
  pool_->Free(in[0].handle);
  EXPECT_EQ(pool_->available(), baseline_);
}

TEST_F(DpdkPortTest, ChainsLongerThanABufferAreDroppedAndCounted) {
  Open("net_ring6");
  rte_mbuf* head = RawMbuf(pool_->mempool(), 2000);
  ASSERT_EQ(rte_pktmbuf_chain(head, RawMbuf(pool_->mempool(), 49)), 0);
  SendRaw(head);
  rte_mbuf* good = RawMbuf(pool_->mempool(), 64);
  SendRaw(good);
  const std::vector<Packet> in = Receive(*port_);
  ASSERT_EQ(in.size(), 1u);  // the one behind it is not lost
  EXPECT_EQ(in[0].handle, good);
  EXPECT_EQ(port_->counts().rx_dropped, 1u);
  pool_->Free(in[0].handle);
  EXPECT_EQ(pool_->available(), baseline_);
}

TEST_F(DpdkPortTest, ForeignBuffersAreCopiedAndGoHome) {
  Open("net_ring7");
  auto other = DpdkPool::Create("other", 64, -1);
  ASSERT_TRUE(other.ok()) << other.status();
  SendRaw(RawMbuf((*other)->mempool(), 64));
  const std::vector<Packet> in = Receive(*port_);
  ASSERT_EQ(in.size(), 1u);
  EXPECT_EQ(static_cast<rte_mbuf*>(in[0].handle)->pool, pool_->mempool());
  EXPECT_EQ((*other)->available(), 64u);
  pool_->Free(in[0].handle);
  EXPECT_EQ(pool_->available(), baseline_);
}

TEST_F(DpdkPortTest, EmptyPoolLosesFramesThenRecovers) {
  Open("net_ring8");
  auto other = DpdkPool::Create("sender", 64, -1);
  ASSERT_TRUE(other.ok()) << other.status();
  std::vector<void*> all;
  Packet p;
  while (pool_->Allocate(&p)) all.push_back(p.handle);
  EXPECT_EQ(all.size(), baseline_);
  SendRaw(RawMbuf((*other)->mempool(), 64));
  EXPECT_TRUE(Receive(*port_).empty());
  EXPECT_EQ(port_->counts().rx_dropped, 1u);
  for (void* h : all) pool_->Free(h);
  SendRaw(RawMbuf((*other)->mempool(), 64));
  const std::vector<Packet> in = Receive(*port_);
  ASSERT_EQ(in.size(), 1u);
  pool_->Free(in[0].handle);
  EXPECT_EQ(pool_->available(), baseline_);
  EXPECT_EQ((*other)->available(), 64u);
}

TEST_F(DpdkPortTest, FullTransmitRingLeavesTheRestWithTheCaller) {
  DpdkDeviceConfig config = Small();
  config.held_buffers = 4096;
  Open("net_ring9", config);
  std::vector<TxPacket> out;
  for (int i = 0; i < 2000; ++i) out.push_back(Built(*pool_, Frame(60, 0)));
  const uint32_t taken = port_->TxBurst(out);
  EXPECT_LT(taken, out.size());  // a ring of 1024
  EXPECT_GT(taken, 0u);
  EXPECT_EQ(port_->TxBurst(std::span(out).subspan(taken)), 0u);
  for (size_t i = taken; i < out.size(); ++i) pool_->Free(out[i].handle);
  for (std::vector<Packet> in; !(in = Receive(*port_)).empty();)
    for (const Packet& p : in) pool_->Free(p.handle);
  EXPECT_EQ(pool_->available(), baseline_);
}

TEST_F(DpdkPortTest, StopAndStartAThousandTimes) {
  Open("net_ring10");
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(device_->Stop().ok());
    EXPECT_FALSE(port_->LinkUp());
    TxPacket p = Built(*pool_, Frame(60, 7));
    EXPECT_EQ(port_->TxBurst({&p, 1}), 0u);
    EXPECT_TRUE(Receive(*port_).empty());
    ASSERT_TRUE(device_->Start().ok());
    EXPECT_TRUE(port_->LinkUp());
    ASSERT_EQ(port_->TxBurst({&p, 1}), 1u);
    const std::vector<Packet> in = Receive(*port_);
    ASSERT_EQ(in.size(), 1u);
    pool_->Free(in[0].handle);
  }
  EXPECT_EQ(pool_->available(), baseline_);
}

TEST_F(DpdkPortTest, ReclaimIsHarmlessWhereUnsupported) {
  Open("net_ring11");
  port_->Reclaim();
  port_->Reclaim();
  TxPacket p = Built(*pool_, Frame(60, 7));
  EXPECT_EQ(port_->TxBurst({&p, 1}), 1u);
  for (const Packet& r : Receive(*port_)) pool_->Free(r.handle);
}

TEST(DpdkDeviceTest, RefusesWhatTheDeviceCannot) {
  const auto port = g_eal->Find("net_null0");
  ASSERT_TRUE(port.ok());
  DpdkDeviceConfig config = Small();
  config.queue_pairs = 2000;
  EXPECT_EQ(DpdkDevice::Open(*port, config).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(DpdkDeviceTest, RefusesAnMtuBeyondABuffer) {
  const auto port = g_eal->Find("net_null1");
  ASSERT_TRUE(port.ok());
  DpdkDeviceConfig config = Small();
  config.mtu = 2031;
  EXPECT_EQ(DpdkDevice::Open(*port, config).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(DpdkDeviceTest, RefusesMoreBuffersThanFit) {
  const auto port = g_eal->Find("net_null2");
  ASSERT_TRUE(port.ok());
  DpdkDeviceConfig config = Small();
  config.held_buffers = 1000000;
  config.queue_pairs = 2;
  const auto device = DpdkDevice::Open(*port, config);
  EXPECT_EQ(device.status().code(), absl::StatusCode::kResourceExhausted);
  const uint64_t mebibytes =
      2ull * DpdkDevice::BuffersPerQueue(config) * DpdkPool::BytesPerBuffer() / (1 << 20) + 1;
  EXPECT_THAT(std::string(device.status().message()),
              HasSubstr(absl::StrCat("port ", *port, " needs ", mebibytes, " MiB")));
}

TEST(DpdkDeviceTest, QueuePairsHaveTheirOwnPools) {
  DpdkDeviceConfig config = Small();
  config.queue_pairs = 3;
  const auto device = OpenDevice("net_null3", config);
  ASSERT_EQ(device->queue_pairs(), 3);
  for (uint16_t q = 0; q < 3; ++q) {
    EXPECT_EQ(&device->queue(q).pool(), &device->pool(q));
    EXPECT_EQ(device->pool(q).available(), DpdkDevice::BuffersPerQueue(config));
    std::array<Packet, kBurstSize> burst;
    ASSERT_EQ(device->queue(q).RxBurst(burst), kBurstSize);
    for (const Packet& p : burst) {
      EXPECT_EQ(static_cast<rte_mbuf*>(p.handle)->pool, device->pool(q).mempool());
      device->pool(q).Free(p.handle);
    }
  }
  EXPECT_FALSE(device->queue(0).capabilities().rss);
}

TEST(DpdkDeviceTest, CapabilitiesFollowPolicyAndDriver) {
  const auto device = OpenDevice("net_ring12", Small());
  EXPECT_EQ(device->driver(), "net_ring");
  EXPECT_EQ(device->queue(0).capabilities().tx_flags, 0);
  EXPECT_EQ(device->queue(0).capabilities().max_frame, 1514);
  EXPECT_FALSE(device->mac().is_zero());
  EXPECT_FALSE(device->mac().is_multicast());
}

TEST(DpdkDeviceTest, MemifJoinsTwoDevices) {
  const auto server = OpenDevice("net_memif0", Small());
  const auto client = OpenDevice("net_memif1", Small());
  // They find each other over a socket, in EAL's control thread.
  for (int i = 0; i < 1000 && !(server->queue(0).LinkUp() && client->queue(0).LinkUp()); ++i)
    usleep(10000);
  ASSERT_TRUE(server->queue(0).LinkUp());
  const uint32_t baseline = client->pool(0).available();
  const TxPacket p = Built(client->pool(0), Frame(1514, 3));
  ASSERT_EQ(client->queue(0).TxBurst({&p, 1}), 1u);
  std::array<Packet, kBurstSize> in;
  uint32_t n = 0;
  for (int i = 0; i < 1000 && n == 0; ++i)
    if ((n = server->queue(0).RxBurst(in)) == 0) usleep(1000);
  ASSERT_EQ(n, 1u);
  EXPECT_THAT(std::vector<uint8_t>(in[0].data, in[0].data + in[0].length),
              ElementsAreArray(Frame(1514, 3)));
  server->pool(0).Free(in[0].handle);
  EXPECT_EQ(client->pool(0).available(), baseline);
}

TEST(DpdkDeviceTest, PcapFileInAndOut) {
  auto device = OpenDevice("net_pcap0", Small());
  DpdkPort& port = device->queue(0);
  std::array<Packet, kBurstSize> in;
  ASSERT_EQ(port.RxBurst(in), 2u);
  EXPECT_THAT(std::vector<uint8_t>(in[0].data, in[0].data + in[0].length),
              ElementsAreArray(Frame(60, 1)));
  EXPECT_EQ(in[1].length, 1514);
  std::array<TxPacket, 2> out;
  for (int i = 0; i < 2; ++i)
    out[i] = {.data = in[i].data, .handle = in[i].handle, .length = in[i].length};
  ASSERT_EQ(port.TxBurst(out), 2u);
  EXPECT_EQ(port.RxBurst(in), 0u);
  EXPECT_EQ(device->stats().tx_packets, 2u);
  device.reset();  // closes the file
  std::ifstream written(g_directory + "/out.pcap", std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(written)), {});
  ASSERT_EQ(bytes.size(), 24u + 16 + 60 + 16 + 1514);
  EXPECT_EQ(std::memcmp(bytes.data() + 24 + 16, Frame(60, 1).data(), 60), 0);
  EXPECT_EQ(std::memcmp(bytes.data() + 24 + 16 + 60 + 16, Frame(1514, 2).data(), 1514), 0);
}

// The other end is a second process, the vhost side (Echo, below), which sends everything back.
TEST(DpdkDeviceTest, VirtioUserTalksToVhost) {
  const auto device = OpenDevice("net_virtio_user0", Small());
  DpdkPort& port = device->queue(0);
  DpdkPool& pool = device->pool(0);
  EXPECT_EQ(port.capabilities().tx_flags, 0);  // virtio: the stack sums, by policy
  EXPECT_EQ(ToString(device->mac()), "02:00:00:00:00:09");
  for (int i = 0; i < 1000 && !port.LinkUp(); ++i) usleep(10000);
  ASSERT_TRUE(port.LinkUp());
  constexpr uint32_t kFrames = 1000;  // several times round the rings
  uint32_t sent = 0, received = 0;
  for (int idle = 0; received < kFrames && idle < 20000;) {
    if (sent < kFrames && sent - received < 16) {
      const TxPacket p = Built(pool, Frame(64 + sent % 1400, static_cast<uint8_t>(sent)));
      const uint32_t taken = port.TxBurst({&p, 1});
      if (taken == 0) pool.Free(p.handle);
      sent += taken;
    }
    std::array<Packet, kBurstSize> in;
    const uint32_t n = port.RxBurst(in);
    for (uint32_t i = 0; i < n; ++i, ++received) {
      EXPECT_EQ(in[i].length, 64 + received % 1400);
      EXPECT_EQ(in[i].data[0], static_cast<uint8_t>(received));
      pool.Free(in[i].handle);
    }
    if (n == 0) {
      ++idle;
      usleep(100);
    }
  }
  EXPECT_EQ(received, kFrames);
}

// Two frames as a classic pcap file.
void WritePcap(const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  const auto put = [&](auto... words) {
    for (uint32_t w : {static_cast<uint32_t>(words)...})
      file.write(reinterpret_cast<const char*>(&w), sizeof(w));
  };
  put(0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1);
  for (const std::vector<uint8_t>& frame : {Frame(60, 1), Frame(1514, 2)}) {
    put(0, 0, frame.size(), frame.size());
    file.write(reinterpret_cast<const char*>(frame.data()),
               static_cast<std::streamsize>(frame.size()));
  }
}

std::vector<std::string> EalArguments() {
  std::vector<std::string> args = {"--no-huge", "--no-shconf", "-m", "128"};
  for (int i = 0; i < 13; ++i) args.push_back(absl::StrCat("--vdev=net_ring", i));
  for (int i = 0; i < 4; ++i) args.push_back(absl::StrCat("--vdev=net_null", i, ",size=64"));
  const std::string socket =
      absl::StrCat(",socket-abstract=no,socket=", g_directory, "/memif.sock");
  args.push_back(absl::StrCat("--vdev=net_memif0,role=server", socket));
  args.push_back(absl::StrCat("--vdev=net_memif1,role=client", socket));
  args.push_back(absl::StrCat("--vdev=net_virtio_user0,mac=02:00:00:00:00:09,path=", g_directory,
                              "/vhost.sock"));
  args.push_back(absl::StrCat("--vdev=net_pcap0,rx_pcap=", g_directory,
                              "/in.pcap,tx_pcap=", g_directory, "/out.pcap"));
  return args;
}

// The second process: a vhost device that sends back what it gets, until its standard input ends.
int Echo(const std::string& socket) {
  const auto eal = Eal::Start(std::vector<std::string>{
      "--no-huge", "--no-shconf", "-m", "64", absl::StrCat("--vdev=net_vhost0,iface=", socket)});
  if (!eal.ok()) return 1;
  DpdkDeviceConfig config = Small();
  config.link_wait_ms = 0;
  const auto device = DpdkDevice::Open(0, config);
  if (!device.ok() || write(STDOUT_FILENO, "!", 1) != 1) return 1;
  DpdkPort& port = (*device)->queue(0);
  pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  while (poll(&input, 1, 0) == 0) {
    std::array<Packet, kBurstSize> in;
    const uint32_t n = port.RxBurst(in);
    for (uint32_t i = 0; i < n; ++i) {
      const TxPacket p{.data = in[i].data, .handle = in[i].handle, .length = in[i].length};
      if (port.TxBurst({&p, 1}) == 0) port.pool().Free(p.handle);
    }
    if (n == 0) usleep(100);
  }
  return 0;
}

// Runs this program again as Echo; it ends when the returned descriptor is closed.
struct EchoProcess {
  pid_t pid;
  int input;
};
EchoProcess StartEcho() {
  int input[2], output[2];
  if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0) return {-1, -1};
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(input[0], STDIN_FILENO);
    dup2(output[1], STDOUT_FILENO);
    execl("/proc/self/exe", "test-port-dpdk", "--echo", (g_directory + "/vhost.sock").c_str(),
          nullptr);
    _exit(1);
  }
  close(input[0]);
  close(output[1]);
  char ready;
  if (read(output[0], &ready, 1) != 1) fprintf(stderr, "the vhost process did not start\n");
  close(output[0]);
  return {pid, input[1]};
}

}  // namespace

int Main() {
  char directory[] = "/tmp/usher-port-XXXXXX";
  if (mkdtemp(directory) == nullptr) return 1;
  g_directory = directory;
  WritePcap(g_directory + "/in.pcap");
  const EchoProcess echo = StartEcho();
  int result = 1;
  if (auto eal = Eal::Start(EalArguments()); eal.ok()) {
    g_eal = eal->get();
    result = RUN_ALL_TESTS();
  } else {
    fprintf(stderr, "%s\n", std::string(eal.status().message()).c_str());
  }
  close(echo.input);
  waitpid(echo.pid, nullptr, 0);
  for (const char* name : {"/in.pcap", "/out.pcap", "/memif.sock", "/vhost.sock"})
    unlink((g_directory + name).c_str());
  rmdir(directory);
  return result;
}

}  // namespace usher

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc > 2 && std::string(argv[1]) == "--echo") return usher::Echo(argv[2]);
  return usher::Main();
}
