// stack/listen/syn_table.h: what a half-open request costs and holds. The table itself is
// tests/unit/tcp/small_records_test.cc's.
#include "stack/listen/syn_table.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

TEST(SynTable, RequestIsNewAndYoung) {
  SynTable table(2);
  const FourTuple tuple{*IpAddress::Parse("198.18.0.2"), *IpAddress::Parse("198.18.0.1"), 80, 4000};
  const uint32_t index = table.Allocate(tuple);
  ASSERT_NE(index, SynTable::kNone);
  Request& r = table[index];
  EXPECT_TRUE(r.young());
  EXPECT_EQ(r.peer_mss, 536) << "without an option (RFC 9293 section 3.7.1)";
  EXPECT_FALSE(r.path.valid);
  EXPECT_FALSE(r.acked);
  r.num_timeout = 1;
  EXPECT_FALSE(r.young());
  EXPECT_EQ(table.TupleOf(index), tuple);
}

// A scale is at most 14 (RFC 7323 section 2.3), and a byte holds both.
TEST(SynTable, ScalesKeepTheirRange) {
  Request r;
  for (uint8_t scale = 0; scale <= 14; ++scale) {
    r.snd_wscale = scale & 15;
    r.rcv_wscale = static_cast<uint8_t>(14 - scale) & 15;
    EXPECT_EQ(r.snd_wscale, scale);
    EXPECT_EQ(r.rcv_wscale, 14 - scale);
  }
}

TEST(SynTable, FullTableRefusesByFamily) {
  SynTable table(1);
  FourTuple v4{*IpAddress::Parse("198.18.0.2"), *IpAddress::Parse("198.18.0.1"), 80, 4000};
  const FourTuple v6{*IpAddress::Parse("2001:2::2"), *IpAddress::Parse("2001:2::1"), 80, 4000};
  const uint32_t index = table.Allocate(v4);
  v4.remote_port = 4001;
  EXPECT_EQ(table.Allocate(v4), SynTable::kNone);
  EXPECT_NE(table.Allocate(v6), SynTable::kNone);
  table.Free(index);
  EXPECT_NE(table.Allocate(v4), SynTable::kNone);
}

}  // namespace
}  // namespace usher
