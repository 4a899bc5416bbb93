#include "stack/wire/arp.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

const char* const kRequest = "0001 0800 06 04 0001 020000000001 c6120001 000000000000 c6120002";

TEST(ArpPacket, ReadsARequest) {
  const auto arp = ArpPacket::Parse(Hex(kRequest));
  ASSERT_TRUE(arp.has_value());
  EXPECT_EQ(arp->operation, ArpOperation::kRequest);
  EXPECT_EQ(ToString(arp->sender_mac), "02:00:00:00:00:01");
  EXPECT_EQ(arp->sender_ip.ToString(), "198.18.0.1");
  EXPECT_TRUE(arp->target_mac.is_zero());
  EXPECT_EQ(arp->target_ip.ToString(), "198.18.0.2");
}

TEST(ArpPacket, EmitGivesTheSameBytes) {
  const auto bytes = Hex(kRequest);
  std::vector<uint8_t> out(ArpPacket::kSize);
  EXPECT_EQ(ArpPacket::Parse(bytes)->Emit(out.data()), out.size());
  EXPECT_EQ(out, bytes);
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Lcg random(seed);
    auto packet = random.Bytes(ArpPacket::kSize);
    std::copy(bytes.begin(), bytes.begin() + 6, packet.begin());
    ASSERT_EQ(ArpPacket::Parse(packet)->Emit(out.data()), out.size());
    ASSERT_EQ(out, packet) << "seed " << seed;
  }
}

TEST(ArpPacket, PaddingIsAllowedTruncationIsNot) {
  auto bytes = Hex(kRequest);
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_FALSE(ArpPacket::Parse(ExactCopy(bytes, n).span()).has_value()) << n;
  bytes.resize(46);
  EXPECT_TRUE(ArpPacket::Parse(bytes).has_value());
}

TEST(ArpPacket, OtherHardwareOrProtocolIsRefused) {
  auto bytes = Hex(kRequest);
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int delta = 1; delta < 256; ++delta) {
      ExactCopy copy(bytes);
      copy.data()[i] = static_cast<uint8_t>(bytes[i] + delta);
      ASSERT_EQ(ArpPacket::Parse(copy.span()).has_value(), i >= 6) << "byte " << i;
    }
  }
}

}  // namespace
}  // namespace usher
