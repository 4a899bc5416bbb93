#include "stack/wire/mld.h"

#include <gtest/gtest.h>

#include "stack/wire/ipv6.h"
#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

const char* const kGeneralV1 = "8200 0000 2710 0000 00000000000000000000000000000000";
const char* const kGroupV2 =
    "8200 0000 03e8 0000 ff0200000000000000000001ff000002 02 7d 0001"
    "20010002000000000000000000000001";

TEST(MldQuery, VersionOne) {
  const auto query = MldQuery::Parse(Hex(kGeneralV1));
  ASSERT_TRUE(query.has_value());
  EXPECT_EQ(query->version, 1);
  EXPECT_TRUE(query->group.is_unspecified());
  EXPECT_EQ(query->max_response_ms, 10000u);
}

TEST(MldQuery, VersionTwo) {
  const auto query = MldQuery::Parse(Hex(kGroupV2));
  ASSERT_TRUE(query.has_value());
  EXPECT_EQ(query->version, 2);
  EXPECT_EQ(query->group.ToString(), "ff02::1:ff00:2");
  EXPECT_EQ(query->max_response_ms, 1000u);
  EXPECT_EQ(query->source_count, 1);
}

TEST(MldQuery, FloatingPointResponseTime) {
  auto bytes = Hex(kGroupV2);
  const struct {
    uint16_t code;
    uint32_t ms;
  } kTable[] = {{0, 0}, {32767, 32767}, {0x8000, 32768}, {0x8fff, 65528}, {0xffff, 8387584}};
  for (const auto& row : kTable) {
    Store16(bytes.data() + 4, row.code);
    EXPECT_EQ(MldQuery::Parse(bytes)->max_response_ms, row.ms);
  }
  // Version 1 has no floating point.
  auto v1 = Hex(kGeneralV1);
  Store16(v1.data() + 4, 0xffff);
  EXPECT_EQ(MldQuery::Parse(v1)->max_response_ms, 65535u);
}

TEST(MldQuery, TruncationsAndMutations) {
  for (const char* text : {kGeneralV1, kGroupV2}) {
    const auto bytes = Hex(text);
    for (size_t n = 0; n < bytes.size(); ++n)
      EXPECT_EQ(MldQuery::Parse(ExactCopy(bytes, n).span()).has_value(), n == 24) << n;
    ForEachTruncationAndMutation(bytes, [](ByteSpan packet) { MldQuery::Parse(packet); });
  }
}

TEST(MldQuery, RefusesOtherTypesAndUnicastGroups) {
  auto bytes = Hex(kGeneralV1);
  bytes[0] = 131;
  EXPECT_FALSE(MldQuery::Parse(bytes).has_value());
  bytes = Hex(kGeneralV1);
  bytes[8] = 0xfe;
  EXPECT_FALSE(MldQuery::Parse(bytes).has_value());
}

TEST(MldReport, KnownBytes) {
  const IpAddress groups[] = {*IpAddress::Parse("ff02::1:ff00:2"), *IpAddress::Parse("ff02::fb")};
  std::vector<uint8_t> out(MldReport::Size(2));
  EXPECT_EQ((MldReport{MldRecordType::kChangeToExclude, groups}.Emit(out.data())), out.size());
  EXPECT_EQ(out, Hex("8f00 0000 0000 0002"
                     "04 00 0000 ff0200000000000000000001ff000002"
                     "04 00 0000 ff0200000000000000000000000000fb"));
}

TEST(MldHopByHop, IsWhatTheWalkerReads) {
  std::vector<uint8_t> packet(48);
  Ipv6Header{.src = *IpAddress::Parse("fe80::1"),
             .dst = *IpAddress::Parse("ff02::16"),
             .payload_length = 8,
             .next_header = IpProtocol::kHopByHop,
             .hop_limit = 1}
      .Emit(packet.data());
  EXPECT_EQ(MldHopByHop::Emit(packet.data() + 40), 8u);
  const auto result = Ipv6Extensions::Walk(*Ipv6View::Parse(packet));
  EXPECT_EQ(result.verdict, Ipv6Verdict::kAccept);
  EXPECT_EQ(result.protocol, IpProtocol::kIcmpv6);
  EXPECT_EQ(result.payload_at, 48);
  EXPECT_TRUE(result.router_alert);
}

}  // namespace
}  // namespace usher
