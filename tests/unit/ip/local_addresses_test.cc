#include "stack/ip/local_addresses.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

TEST(LocalAddresses, Empty) {
  LocalAddresses addresses;
  EXPECT_FALSE(addresses.Has(Ip("198.18.0.2")));
  EXPECT_FALSE(addresses.Has(Ip("2001:2::2")));
  EXPECT_FALSE(addresses.Has(IpAddress()));
  EXPECT_EQ(addresses.Find4(0), nullptr);
  EXPECT_EQ(addresses.OnLink4(0), nullptr);
  EXPECT_EQ(addresses.LinkLocal6(), nullptr);
  EXPECT_FALSE(addresses.IsSubnetBroadcast4(0));
}

TEST(LocalAddresses, Ipv4IsUsedAtOnce) {
  LocalAddresses addresses;
  addresses.Add(Ip("198.18.0.2"), 15);
  EXPECT_TRUE(addresses.Has(Ip("198.18.0.2")));
  EXPECT_FALSE(addresses.Has(Ip("198.18.0.3")));
  ASSERT_NE(addresses.Find4(0xc6120002), nullptr);
  EXPECT_FALSE(addresses.Find4(0xc6120002)->conflict);
  EXPECT_EQ(addresses.Find4(0xc6120003), nullptr);
}

TEST(LocalAddresses, OnLinkByEveryLengthOfMask) {
  for (int length = 0; length <= 32; ++length) {
    LocalAddresses addresses;
    const uint32_t us = 0x0a0b0c0d;
    addresses.Add(IpAddress::V4(us), length);
    EXPECT_NE(addresses.OnLink4(us), nullptr) << length;
    if (length > 0) {
      EXPECT_EQ(addresses.OnLink4(us ^ (uint32_t{1} << (32 - length))), nullptr)
          << length << ": the last bit of the prefix differs";
    }
    if (length < 32) {
      EXPECT_NE(addresses.OnLink4(us ^ (uint32_t{1} << (31 - length))), nullptr)
          << length << ": the first bit behind the prefix differs";
    }
  }
}

TEST(LocalAddresses, OnLinkNamesTheAddressOfThatPrefix) {
  LocalAddresses addresses;
  addresses.Add(Ip("10.0.0.1"), 24);
  addresses.Add(Ip("10.0.1.1"), 24);
  EXPECT_EQ(addresses.OnLink4(0x0a000109)->ip, Ip("10.0.1.1"));
  EXPECT_EQ(addresses.OnLink4(0x0a000009)->ip, Ip("10.0.0.1"));
  EXPECT_EQ(addresses.OnLink4(0x0a000209), nullptr);
}

TEST(LocalAddresses, BroadcastOfThePrefixAndItsNetworkAddress) {
  LocalAddresses addresses;
  addresses.Add(Ip("10.0.0.5"), 30);
  EXPECT_TRUE(addresses.IsSubnetBroadcast4(0x0a000007));
  EXPECT_TRUE(addresses.IsSubnetBroadcast4(0x0a000004));
  EXPECT_FALSE(addresses.IsSubnetBroadcast4(0x0a000005));
  EXPECT_FALSE(addresses.IsSubnetBroadcast4(0x0a000006));
  EXPECT_FALSE(addresses.IsSubnetBroadcast4(0x0a000003));
}

// RFC 3021: both addresses of a /31 are hosts; a /32 has no other.
TEST(LocalAddresses, PrefixesOfTwoAndOneHaveNoBroadcast) {
  LocalAddresses addresses;
  addresses.Add(Ip("10.0.0.4"), 31);
  addresses.Add(Ip("10.9.9.9"), 32);
  EXPECT_FALSE(addresses.IsSubnetBroadcast4(0x0a000004));
  EXPECT_FALSE(addresses.IsSubnetBroadcast4(0x0a000005));
  EXPECT_FALSE(addresses.IsSubnetBroadcast4(0x0a090909));
}

TEST(LocalAddresses, Ipv6OnlyWhenItsTestIsPassed) {
  LocalAddresses addresses;
  addresses.Add(Ip("2001:2::2"), 48);
  ASSERT_NE(addresses.Find6(Ip("2001:2::2")), nullptr);
  EXPECT_EQ(addresses.Find6(Ip("2001:2::2"))->state, AddressState::kTentative);
  EXPECT_FALSE(addresses.Has(Ip("2001:2::2")));
  addresses.Find6(Ip("2001:2::2"))->state = AddressState::kPreferred;
  EXPECT_TRUE(addresses.Has(Ip("2001:2::2")));
  addresses.Find6(Ip("2001:2::2"))->state = AddressState::kDuplicate;
  EXPECT_FALSE(addresses.Has(Ip("2001:2::2")));
  EXPECT_EQ(addresses.Find6(Ip("2001:2::3")), nullptr);
}

TEST(LocalAddresses, LinkLocalOnlyWhenItsTestIsPassed) {
  LocalAddresses addresses;
  addresses.Add(Ip("169.254.1.1"), 16);  // IPv4's link-local addresses are something else
  addresses.Add(Ip("2001:2::2"), 48);
  addresses.Add(Ip("fe80::1"), 64);
  addresses.Add(Ip("fe80::2"), 64);
  addresses.Find6(Ip("2001:2::2"))->state = AddressState::kPreferred;
  EXPECT_EQ(addresses.LinkLocal6(), nullptr);
  addresses.Find6(Ip("fe80::2"))->state = AddressState::kPreferred;
  addresses.Find6(Ip("fe80::1"))->state = AddressState::kDuplicate;
  ASSERT_NE(addresses.LinkLocal6(), nullptr);
  EXPECT_EQ(*addresses.LinkLocal6(), Ip("fe80::2"));
}

}  // namespace
}  // namespace usher
