#include "stack/wire/ndp.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

const IpAddress kUs = *IpAddress::Parse("fe80::2");
const IpAddress kPeer = *IpAddress::Parse("fe80::1");
const IpAddress kGlobal = *IpAddress::Parse("2001:2::1");
const IpAddress kAllNodes = *IpAddress::Parse("ff02::1");
const IpAddress kAny;
const MacAddress kMac = *ParseMac("02:00:00:00:00:01");

const char* const kSolicitation =
    "8700 0000 00000000 fe800000000000000000000000000002 0101 020000000001";
const char* const kAdvertisement =
    "8800 0000 60000000 fe800000000000000000000000000001 0201 020000000001";
const char* const kRouterSolicitation = "8500 0000 00000000 0101 020000000001";
const char* const kRouterAdvertisement =
    "8600 0000 40 c0 0708 00007530 000003e8"
    "0101 020000000001"
    "0501 0000 000005dc"
    "0304 40 c0 00278d00 00093a80 00000000 20010002000000000000000000000000"
    "1903 0000 000004b0 20010002000000000000000000000035";

TEST(Ndp, NeighborSolicitation) {
  const auto ns = NeighborSolicitation::Parse(Hex(kSolicitation), {kPeer, kUs, 255});
  ASSERT_TRUE(ns.has_value());
  EXPECT_EQ(ns->target, kUs);
  EXPECT_EQ(ns->source_mac, kMac);
}

TEST(Ndp, NeighborAdvertisement) {
  const auto na = NeighborAdvertisement::Parse(Hex(kAdvertisement), {kPeer, kUs, 255});
  ASSERT_TRUE(na.has_value());
  EXPECT_EQ(na->target, kPeer);
  EXPECT_EQ(na->target_mac, kMac);
  EXPECT_FALSE(na->router);
  EXPECT_TRUE(na->solicited);
  EXPECT_TRUE(na->override_entry);
}

TEST(Ndp, RouterAdvertisement) {
  const auto ra = RouterAdvertisement::Parse(Hex(kRouterAdvertisement), {kPeer, kAllNodes, 255});
  ASSERT_TRUE(ra.has_value());
  EXPECT_EQ(ra->hop_limit, 64);
  EXPECT_TRUE(ra->managed);
  EXPECT_TRUE(ra->other);
  EXPECT_EQ(ra->lifetime_s, 1800);
  EXPECT_EQ(ra->reachable_ms, 30000u);
  EXPECT_EQ(ra->retransmit_ms, 1000u);
  EXPECT_EQ(ra->options.source_mac, kMac);
  EXPECT_EQ(ra->options.mtu, 1500u);
  ASSERT_EQ(ra->options.prefix_count, 1u);
  const NdpPrefix& prefix = ra->options.prefixes[0];
  EXPECT_EQ(prefix.prefix.ToString(), "2001:2::");
  EXPECT_EQ(prefix.length, 64);
  EXPECT_TRUE(prefix.on_link);
  EXPECT_TRUE(prefix.autonomous);
  EXPECT_EQ(prefix.valid_lifetime_s, 2592000u);
  EXPECT_EQ(prefix.preferred_lifetime_s, 604800u);
}

// RFC 4861 sections 6.1 and 7.1: hop limit 255, code 0, whole, options not of length 0.
TEST(Ndp, ChecksCommonToAll) {
  const auto check = [](const char* text, auto parse) {
    const auto good = Hex(text);
    EXPECT_TRUE(parse(good, 255));
    EXPECT_FALSE(parse(good, 254));
    EXPECT_FALSE(parse(good, 0));
    auto bytes = good;
    bytes[0] ^= 1;
    EXPECT_FALSE(parse(bytes, 255)) << "another type";
    bytes = good;
    bytes[1] = 1;
    EXPECT_FALSE(parse(bytes, 255)) << "code";
    bytes = good;
    bytes.insert(bytes.end(), {0x01, 0x00, 0, 0, 0, 0, 0, 0});
    EXPECT_FALSE(parse(bytes, 255)) << "option of length 0";
    bytes = good;
    bytes.insert(bytes.end(), {0x01, 0x02, 0, 0, 0, 0, 0, 0});
    EXPECT_FALSE(parse(bytes, 255)) << "option beyond the end";
    bytes = good;
    bytes.push_back(1);
    EXPECT_FALSE(parse(bytes, 255)) << "option without a length";
    bytes = good;
    bytes.insert(bytes.end(), {0xc8, 0x01, 0, 0, 0, 0, 0, 0});
    EXPECT_TRUE(parse(bytes, 255)) << "unknown option";
    ForEachTruncationAndMutation(good, [&](ByteSpan packet) { parse(packet, 255); });
  };
  check(kSolicitation, [](ByteSpan b, uint8_t hops) {
    return NeighborSolicitation::Parse(b, {kPeer, kUs, hops}).has_value();
  });
  check(kAdvertisement, [](ByteSpan b, uint8_t hops) {
    return NeighborAdvertisement::Parse(b, {kPeer, kUs, hops}).has_value();
  });
  check(kRouterSolicitation, [](ByteSpan b, uint8_t hops) {
    return RouterSolicitation::Parse(b, {kPeer, kUs, hops}).has_value();
  });
  check(kRouterAdvertisement, [](ByteSpan b, uint8_t hops) {
    return RouterAdvertisement::Parse(b, {kPeer, kAllNodes, hops}).has_value();
  });
}

TEST(Ndp, TruncatedFixedPart) {
  for (size_t n = 0; n < 24; ++n) {
    const ExactCopy ns(Hex(kSolicitation), n), na(Hex(kAdvertisement), n);
    EXPECT_FALSE(NeighborSolicitation::Parse(ns.span(), {kPeer, kUs, 255}).has_value()) << n;
    EXPECT_FALSE(NeighborAdvertisement::Parse(na.span(), {kPeer, kUs, 255}).has_value()) << n;
    if (n >= 16) continue;
    const ExactCopy ra(Hex(kRouterAdvertisement), n);
    EXPECT_FALSE(RouterAdvertisement::Parse(ra.span(), {kPeer, kUs, 255}).has_value()) << n;
  }
}

TEST(Ndp, SolicitationFromNobody) {
  auto with_mac = Hex(kSolicitation);
  auto without = with_mac;
  without.resize(24);
  const IpAddress group = SolicitedNodeMulticast(kUs);
  EXPECT_TRUE(NeighborSolicitation::Parse(without, {kAny, group, 255}).has_value());
  EXPECT_FALSE(NeighborSolicitation::Parse(with_mac, {kAny, group, 255}).has_value());
  EXPECT_FALSE(NeighborSolicitation::Parse(without, {kAny, kUs, 255}).has_value());
  EXPECT_FALSE(NeighborSolicitation::Parse(without, {kAny, kAllNodes, 255}).has_value());
  const auto rs = Hex(kRouterSolicitation);
  EXPECT_FALSE(RouterSolicitation::Parse(rs, {kAny, kAllNodes, 255}).has_value());
  EXPECT_TRUE(RouterSolicitation::Parse(ByteSpan(rs).first(8), {kAny, kAllNodes, 255}).has_value());
}

TEST(Ndp, MulticastAndMappedTargets) {
  for (const char* target : {"ff02::1", "::ffff:1.2.3.4"}) {
    auto ns = Hex(kSolicitation), na = Hex(kAdvertisement);
    StoreIpv6(ns.data() + 8, *IpAddress::Parse(target));
    StoreIpv6(na.data() + 8, *IpAddress::Parse(target));
    EXPECT_FALSE(NeighborSolicitation::Parse(ns, {kPeer, kUs, 255}).has_value());
    EXPECT_FALSE(NeighborAdvertisement::Parse(na, {kPeer, kUs, 255}).has_value());
  }
}

TEST(Ndp, AdvertisementToAMulticastGroupIsNotSolicited) {
  auto bytes = Hex(kAdvertisement);
  EXPECT_FALSE(NeighborAdvertisement::Parse(bytes, {kPeer, kAllNodes, 255}).has_value());
  bytes[4] = 0x20;
  EXPECT_TRUE(NeighborAdvertisement::Parse(bytes, {kPeer, kAllNodes, 255}).has_value());
}

TEST(Ndp, RouterAdvertisementOnlyFromLinkLocal) {
  EXPECT_FALSE(
      RouterAdvertisement::Parse(Hex(kRouterAdvertisement), {kGlobal, kAllNodes, 255}).has_value());
}

TEST(Ndp, ManyPrefixesAreBounded) {
  auto bytes = Hex("0304 40 c0 00278d00 00093a80 00000000 20010002000000000000000000000000");
  const auto one = bytes;
  for (int i = 0; i < 9; ++i) bytes.insert(bytes.end(), one.begin(), one.end());
  EXPECT_EQ(NdpOptions::Parse(bytes)->prefix_count, NdpOptions::kMaxPrefixes);
  bytes = one;
  bytes[2] = 129;
  EXPECT_EQ(NdpOptions::Parse(bytes)->prefix_count, 0u);
}

TEST(Ndp, EmitGivesTheSameBytes) {
  std::vector<uint8_t> out(32);
  EXPECT_EQ((NeighborSolicitation{kUs, kMac}.Emit(out.data())), 32u);
  EXPECT_EQ(out, Hex(kSolicitation));
  EXPECT_EQ((NeighborSolicitation{kUs, std::nullopt}.Emit(out.data())), 24u);
  EXPECT_EQ((NeighborAdvertisement{
                .target = kPeer, .target_mac = kMac, .solicited = true, .override_entry = true}
                 .Emit(out.data())),
            32u);
  EXPECT_EQ(out, Hex(kAdvertisement));
  EXPECT_EQ((NeighborAdvertisement{.target = kPeer, .router = true}.Emit(out.data())), 24u);
  EXPECT_EQ(out[4], 0x80);
  out.resize(16);
  EXPECT_EQ(RouterSolicitation{kMac}.Emit(out.data()), 16u);
  EXPECT_EQ(out, Hex(kRouterSolicitation));
}

}  // namespace
}  // namespace usher
