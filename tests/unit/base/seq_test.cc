#include "stack/base/seq.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

TEST(Seq, ComparesAcrossTheWrap) {
  const Seq before(0xfffffff0u);
  const Seq after = before + 0x20;
  EXPECT_EQ(after.value(), 0x10u);
  EXPECT_LT(before, after);
  EXPECT_LE(before, after);
  EXPECT_GT(after, before);
  EXPECT_GE(after, before);
  EXPECT_NE(after, before);
  EXPECT_EQ(Max(before, after), after);
  EXPECT_EQ(Min(before, after), before);
}

TEST(Seq, DifferencesAreSignedAcrossTheWrap) {
  EXPECT_EQ(Seq(5) - Seq(0xfffffffbu), 10);
  EXPECT_EQ(Seq(0xfffffffbu) - Seq(5), -10);
  EXPECT_EQ(Seq(5) - 10u, Seq(0xfffffffbu));
  Seq s(0xffffffffu);
  s += 1;
  EXPECT_EQ(s, Seq(0));
}

TEST(Seq, OrdersUpToHalfTheSpaceFromEveryPoint) {
  for (uint32_t start : {0u, 1u, 0x7fffffffu, 0x80000000u, 0x80000001u, 0xffffffffu}) {
    for (uint32_t distance : {1u, 2u, 0xffffu, 0x7ffffffeu, 0x7fffffffu}) {
      EXPECT_LT(Seq(start), Seq(start) + distance) << start << " " << distance;
      EXPECT_FALSE(Seq(start) + distance < Seq(start)) << start << " " << distance;
    }
  }
}

TEST(Seq, EqualIsNeitherBeforeNorAfter) {
  EXPECT_FALSE(Seq(7) < Seq(7));
  EXPECT_FALSE(Seq(7) > Seq(7));
  EXPECT_LE(Seq(7), Seq(7));
  EXPECT_GE(Seq(7), Seq(7));
}

}  // namespace
}  // namespace usher
