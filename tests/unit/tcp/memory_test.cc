#include "stack/tcp/memory.h"

#include "gtest/gtest.h"

namespace usher {
namespace {

constexpr uint32_t kPage = TcpMemory::kPageSize;

TEST(TcpMemory, ChargesUpToTheHighLimitAndNotBeyond) {
  Counters counters;
  TcpMemory memory({1, 2, 3}, counters);
  EXPECT_TRUE(memory.Charge(3 * kPage));
  EXPECT_FALSE(memory.Charge(1));
  EXPECT_EQ(memory.charged_bytes(), 3 * kPage);
  memory.Uncharge(1);
  EXPECT_TRUE(memory.Charge(1));
}

TEST(TcpMemory, PressureBeginsAboveTheMiddleAndEndsBelowTheLow) {
  Counters counters;
  TcpMemory memory({1, 2, 3}, counters);
  EXPECT_TRUE(memory.Charge(2 * kPage));
  EXPECT_FALSE(memory.under_pressure());
  EXPECT_TRUE(memory.Charge(1));
  EXPECT_TRUE(memory.under_pressure());
  EXPECT_EQ(counters.Get(Counter::TcpExtTCPMemoryPressures), 1u);

  memory.Uncharge(kPage + 1);  // at the low limit, not below
  EXPECT_TRUE(memory.under_pressure());
  EXPECT_TRUE(memory.Charge(2 * kPage));  // above the middle again: the same pressure
  EXPECT_EQ(counters.Get(Counter::TcpExtTCPMemoryPressures), 1u);
  memory.Uncharge(2 * kPage + 1);
  EXPECT_FALSE(memory.under_pressure());

  EXPECT_TRUE(memory.Charge(2 * kPage));
  EXPECT_TRUE(memory.under_pressure());
  EXPECT_EQ(counters.Get(Counter::TcpExtTCPMemoryPressures), 2u);
}

TEST(TcpMemory, ARefusalIsPressureToo) {
  Counters counters;
  TcpMemory memory({1, 2, 3}, counters);
  EXPECT_FALSE(memory.Charge(3 * kPage + 1));
  EXPECT_TRUE(memory.under_pressure());
  EXPECT_EQ(memory.charged_bytes(), 0u);
}

TEST(TcpMemory, ChargeAlwaysPassesTheLimit) {
  Counters counters;
  TcpMemory memory({1, 2, 3}, counters);
  memory.ChargeAlways(4 * kPage);
  EXPECT_EQ(memory.charged_bytes(), 4 * kPage);
  EXPECT_TRUE(memory.under_pressure());
  EXPECT_FALSE(memory.Charge(1));
  memory.Uncharge(4 * kPage);
  EXPECT_FALSE(memory.under_pressure());
}

TEST(TcpMemory, LimitsThatDoNotFitInBytesAreNoLimits) {
  Counters counters;
  TcpMemory memory({UINT64_MAX, UINT64_MAX, UINT64_MAX}, counters);
  EXPECT_TRUE(memory.Charge(UINT32_MAX));
  EXPECT_FALSE(memory.under_pressure());
  memory.SetLimits({0, 0, 0});
  EXPECT_FALSE(memory.Charge(1));
}

}  // namespace
}  // namespace usher
