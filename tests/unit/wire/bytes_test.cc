#include "stack/wire/bytes.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

TEST(Bytes, BigEndianAtAnyAlignment) {
  const auto bytes = Hex("ff 0102030405060708");
  EXPECT_EQ(Load16(bytes.data() + 1), 0x0102);
  EXPECT_EQ(Load32(bytes.data() + 1), 0x01020304u);
  EXPECT_EQ(Load64(bytes.data() + 1), 0x0102030405060708u);
  std::vector<uint8_t> out(9, 0xff);
  Store64(out.data() + 1, 0x0102030405060708);
  EXPECT_EQ(out, bytes);
  Store32(out.data() + 1, 0xa1a2a3a4);
  Store16(out.data() + 5, 0xb1b2);
  EXPECT_EQ(out, Hex("ff a1a2a3a4 b1b2 0708"));
}

TEST(Bytes, RawKeepsTheOrder) {
  const auto bytes = Hex("01020304");
  std::vector<uint8_t> out(4);
  StoreRaw(out.data(), LoadRaw<uint32_t>(bytes.data()));
  EXPECT_EQ(out, bytes);
}

}  // namespace
}  // namespace usher
