#include "stack/wire/ipv4.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

// A header of 20 bytes with 4 bytes of payload.
const char* const kPacket = "4502 0018 1234 4000 4006 0000 c6120001 c6120002 01020304";
// The same with a Router Alert: 24 bytes of header.
const char* const kWithOptions =
    "4600 001c 0000 2001 4006 0000 c6120001 c6120002 94040000 01020304";

TEST(Ipv4View, ReadsAHeader) {
  const auto bytes = Hex(kPacket);
  const auto view = Ipv4View::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->header_size(), 20u);
  EXPECT_EQ(view->dscp_ecn(), 2);
  EXPECT_EQ(view->total_length(), 24);
  EXPECT_EQ(view->id(), 0x1234);
  EXPECT_FALSE(view->reserved_flag());
  EXPECT_TRUE(view->dont_fragment());
  EXPECT_FALSE(view->more_fragments());
  EXPECT_EQ(view->fragment_offset(), 0u);
  EXPECT_FALSE(view->is_fragment());
  EXPECT_EQ(view->ttl(), 64);
  EXPECT_EQ(view->protocol(), IpProtocol::kTcp);
  EXPECT_EQ(view->src().ToString(), "198.18.0.1");
  EXPECT_EQ(view->dst().ToString(), "198.18.0.2");
  EXPECT_TRUE(view->options().empty());
  EXPECT_EQ(view->payload().size(), 4u);
  EXPECT_EQ(view->payload()[0], 1);
}

TEST(Ipv4View, ReadsOptionsAndFragments) {
  const auto bytes = Hex(kWithOptions);
  const auto view = Ipv4View::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->header_size(), 24u);
  EXPECT_EQ(view->options().size(), 4u);
  EXPECT_EQ(view->options()[0], 0x94);
  EXPECT_TRUE(view->more_fragments());
  EXPECT_EQ(view->fragment_offset(), 8u);
  EXPECT_TRUE(view->is_fragment());
  EXPECT_EQ(view->payload().size(), 4u);
}

TEST(Ipv4View, ChecksumOfAWellKnownHeader) {
  // The usual textbook example.
  auto bytes = Hex("4500 0073 0000 4000 4011 b861 c0a80001 c0a800c7");
  bytes.resize(0x73);
  EXPECT_TRUE(Ipv4View::Parse(bytes)->VerifyChecksum());
  for (size_t i = 8; i < 20; ++i) {
    auto copy = bytes;
    copy[i] ^= 0x10;
    EXPECT_FALSE(Ipv4View::Parse(copy)->VerifyChecksum()) << "byte " << i;
  }
}

TEST(Ipv4View, PaddingIsCut) {
  auto bytes = Hex(kPacket);
  bytes.resize(46);
  const auto view = Ipv4View::Parse(bytes);
  EXPECT_EQ(view->payload().size(), 4u);
  EXPECT_EQ(view->packet().size(), 24u);
}

TEST(Ipv4View, SaysWhyItRefuses) {
  const auto why = [](size_t at, uint8_t value) {
    auto bytes = Hex(kPacket);
    bytes[at] = value;
    WireError error = WireError::kNone;
    EXPECT_FALSE(Ipv4View::Parse(bytes, &error).has_value());
    return error;
  };
  EXPECT_EQ(why(0, 0x65), WireError::kVersion);
  EXPECT_EQ(why(0, 0x44), WireError::kHeaderLength);
  EXPECT_EQ(why(0, 0x4f), WireError::kTotalLength);
  EXPECT_EQ(why(3, 19), WireError::kTotalLength);
  EXPECT_EQ(why(3, 25), WireError::kTruncated);
  EXPECT_EQ(why(2, 0xff), WireError::kTruncated);
}

TEST(Ipv4View, TruncationsAndMutations) {
  for (const char* text : {kPacket, kWithOptions}) {
    const auto bytes = Hex(text);
    for (size_t n = 0; n < bytes.size(); ++n) {
      WireError why = WireError::kNone;
      EXPECT_FALSE(Ipv4View::Parse(ExactCopy(bytes, n).span(), &why).has_value()) << n;
      EXPECT_EQ(why, WireError::kTruncated) << n;
    }
    ForEachTruncationAndMutation(bytes, [](ByteSpan packet) {
      const auto view = Ipv4View::Parse(packet);
      if (!view) return;
      ASSERT_GE(view->header_size(), 20u);
      ASSERT_LE(view->packet().size(), packet.size());
      Touch(view->options());
      Touch(view->payload());
      view->VerifyChecksum();
      ASSERT_LE(view->fragment_offset(), 65528u);
    });
  }
}

TEST(Ipv4Header, RoundTrip) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    Lcg random(seed);
    const Ipv4Header header{.src = IpAddress::V4(random.Next()),
                            .dst = IpAddress::V4(random.Next()),
                            .payload_length = static_cast<uint16_t>(random.Below(100)),
                            .id = static_cast<uint16_t>(random.Next()),
                            .fragment_offset = static_cast<uint16_t>(random.Below(8192) * 8),
                            .dont_fragment = random.Chance(),
                            .more_fragments = random.Chance(),
                            .protocol = static_cast<uint8_t>(random.Next()),
                            .ttl = static_cast<uint8_t>(random.Next()),
                            .dscp_ecn = static_cast<uint8_t>(random.Next())};
    std::vector<uint8_t> packet(20 + header.payload_length);
    ASSERT_EQ(header.Emit(packet.data()), 20u);
    const auto view = Ipv4View::Parse(packet);
    ASSERT_TRUE(view.has_value()) << "seed " << seed;
    EXPECT_TRUE(view->VerifyChecksum()) << "seed " << seed;
    EXPECT_EQ(view->src(), header.src) << "seed " << seed;
    EXPECT_EQ(view->dst(), header.dst) << "seed " << seed;
    EXPECT_EQ(view->payload().size(), header.payload_length) << "seed " << seed;
    EXPECT_EQ(view->id(), header.id) << "seed " << seed;
    EXPECT_EQ(view->fragment_offset(), header.fragment_offset) << "seed " << seed;
    EXPECT_EQ(view->dont_fragment(), header.dont_fragment) << "seed " << seed;
    EXPECT_EQ(view->more_fragments(), header.more_fragments) << "seed " << seed;
    EXPECT_FALSE(view->reserved_flag());
    EXPECT_EQ(view->protocol(), header.protocol) << "seed " << seed;
    EXPECT_EQ(view->ttl(), header.ttl) << "seed " << seed;
    EXPECT_EQ(view->dscp_ecn(), header.dscp_ecn) << "seed " << seed;
  }
}

TEST(Ipv4Header, LargestPacket) {
  std::vector<uint8_t> packet(65535);
  Ipv4Header{.src = IpAddress::V4(1), .dst = IpAddress::V4(2), .payload_length = 65515}.Emit(
      packet.data());
  EXPECT_EQ(Ipv4View::Parse(packet)->payload().size(), 65515u);
}

}  // namespace
}  // namespace usher
