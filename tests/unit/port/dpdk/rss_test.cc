#include "stack/port/dpdk/rss.h"

#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include <array>

namespace usher {
namespace {

// The key and the examples by which network adapters are verified (Microsoft, "Verifying the RSS
// Hash Calculation").
constexpr std::array<uint8_t, 40> kKey = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

FourTuple Tuple(const char* local, uint16_t local_port, const char* remote, uint16_t remote_port) {
  return {*IpAddress::Parse(local), *IpAddress::Parse(remote), local_port, remote_port};
}

const FourTuple kV4 = Tuple("161.142.100.80", 1766, "66.9.149.187", 2794);
const FourTuple kOther4 = Tuple("65.69.140.83", 4739, "199.92.111.2", 14230);
const FourTuple kV6 = Tuple("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794);

TEST(RssTableTest, HashesAsAdaptersDo) {
  const RssTable rss(kKey, 0, {0, 1});
  EXPECT_EQ(rss.HashOf(kV4, true), 0x51ccc178u);
  EXPECT_EQ(rss.HashOf(kV4, false), 0x323e8fc2u);
  EXPECT_EQ(rss.HashOf(kOther4, true), 0xc626b0eau);
  EXPECT_EQ(rss.HashOf(kOther4, false), 0xd718262au);
  EXPECT_EQ(rss.HashOf(kV6, true), 0x40207d3du);
  EXPECT_EQ(rss.HashOf(kV6, false), 0x2cc18cd5u);
}

TEST(RssTableTest, TheTableNamesTheQueue) {
  const RssTable rss(kKey, RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_IPV6, {7, 6, 5, 4});
  EXPECT_EQ(rss.QueueOf(kV4), 7);      // ...78: the low bits are 0
  EXPECT_EQ(rss.QueueOf(kOther4), 5);  // ...ea: 2
  EXPECT_EQ(rss.QueueOf(kV6), 6);      // by addresses: ...d5: 1
}

TEST(RssTableTest, WhatIsNotHashedHasNoQueue) {
  EXPECT_EQ(RssTable(kKey, RTE_ETH_RSS_IPV6, {0, 1}).QueueOf(kV4), std::nullopt);
  EXPECT_EQ(RssTable(kKey, RTE_ETH_RSS_IPV4, {0, 1}).QueueOf(kV6), std::nullopt);
}

}  // namespace
}  // namespace usher
