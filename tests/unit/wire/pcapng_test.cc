#include "stack/wire/pcapng.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace usher {
namespace {

uint32_t At(const std::string& bytes, size_t offset) {
  uint32_t x;
  std::memcpy(&x, bytes.data() + offset, 4);
  return x;
}

// Every block says its length at both ends, and is a whole number of words: readers go by that in
// both directions. The types, in order.
std::vector<uint32_t> Blocks(const std::string& bytes) {
  std::vector<uint32_t> types;
  for (size_t at = 0; at < bytes.size();) {
    const uint32_t length = At(bytes, at + 4);
    EXPECT_EQ(length % 4, 0u);
    EXPECT_LE(at + length, bytes.size());
    if (length < 12 || at + length > bytes.size()) return types;
    EXPECT_EQ(At(bytes, at + length - 4), length);
    types.push_back(At(bytes, at));
    at += length;
  }
  return types;
}

TEST(PcapngTest, BlocksAreWhole) {
  std::string out;
  PcapngWriter writer(&out);
  writer.Interface("net_tap0", 96);
  writer.Interface("x");
  const std::vector<uint8_t> frame(61, 0xab);
  for (size_t kept = 57; kept <= 61; ++kept)
    writer.Packet(1, 5, std::span(frame).first(kept), frame.size());
  EXPECT_EQ(Blocks(out), (std::vector<uint32_t>{0x0a0d0d0a, 1, 1, 6, 6, 6, 6, 6}));
}

TEST(PcapngTest, APacketSaysWhenWhereAndWhichWay) {
  std::string out;
  PcapngWriter writer(&out);
  writer.Interface("a");
  out.clear();  // as an owner does that has written it
  const std::vector<uint8_t> frame = {1, 2, 3, 4, 5};
  writer.Packet(0, 0x0102030405060708, frame, 1500, PcapngWriter::Direction::kOut);
  ASSERT_EQ(out.size(), 52u);
  EXPECT_EQ(At(out, 8), 0u);            // interface
  EXPECT_EQ(At(out, 12), 0x01020304u);  // time, upper half first
  EXPECT_EQ(At(out, 16), 0x05060708u);
  EXPECT_EQ(At(out, 20), 5u);
  EXPECT_EQ(At(out, 24), 1500u);
  EXPECT_EQ(out.substr(28, 8), std::string("\1\2\3\4\5\0\0\0", 8));
  EXPECT_EQ(At(out, 36), 2u | 4u << 16);  // epb_flags
  EXPECT_EQ(At(out, 40), 2u);             // outbound
  EXPECT_EQ(At(out, 44), 0u);
}

}  // namespace
}  // namespace usher
