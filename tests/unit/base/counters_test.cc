#include "stack/base/counters.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

namespace usher {
namespace {

TEST(Counters, StartAtZeroAndCount) {
  Counters counters;
  for (size_t i = 0; i < kCounterCount; ++i) {
    EXPECT_EQ(counters.Get(static_cast<Counter>(i)), 0u);
  }
  counters.Add(Counter::TcpExtListenOverflows);
  counters.Add(Counter::TcpExtListenOverflows, 41);
  EXPECT_EQ(counters.Get(Counter::TcpExtListenOverflows), 42u);
  EXPECT_EQ(counters.Get(Counter::TcpExtListenDrops), 0u);
}

TEST(Counters, GaugeRisesAndFalls) {
  Counters counters;
  counters.Add(Counter::TcpCurrEstab, 3);
  counters.Sub(Counter::TcpCurrEstab);
  EXPECT_EQ(counters.Get(Counter::TcpCurrEstab), 2u);
  EXPECT_TRUE(IsGauge(Counter::TcpCurrEstab));
  EXPECT_FALSE(IsGauge(Counter::TcpInSegs));
}

#ifdef USHER_DEBUG
TEST(CountersDeathTest, OnlyGaugesFallAndNeverBelowZero) {
  Counters counters;
  counters.Add(Counter::TcpInSegs);
  EXPECT_DEATH(counters.Sub(Counter::TcpInSegs), "IsGauge");
  EXPECT_DEATH(counters.Sub(Counter::TcpCurrEstab), "check failed");
}
#endif

TEST(Counters, NamesAreUniqueAndFound) {
  std::set<std::string> names;
  for (size_t i = 0; i < kCounterCount; ++i) {
    const auto counter = static_cast<Counter>(i);
    EXPECT_TRUE(names.insert(CounterName(counter)).second) << CounterName(counter);
    EXPECT_EQ(FindCounter(CounterName(counter)), counter);
  }
  EXPECT_EQ(FindCounter("TcpExtTCPReqQFullDoCookies"), Counter::TcpExtTCPReqQFullDoCookies);
  EXPECT_EQ(FindCounter("tcpextlistendrops"), std::nullopt);
  EXPECT_EQ(FindCounter(""), std::nullopt);
}

TEST(Counters, OtherThreadsSeeThemGrow) {
  Counters counters;
  std::thread reader([&counters] {
    uint64_t last = 0;
    while (last < 10'000) {
      const uint64_t now = counters.Get(Counter::UsherRxPackets);
      ASSERT_GE(now, last);
      last = now;
    }
  });
  for (int i = 0; i < 10'000; ++i) counters.Add(Counter::UsherRxPackets);
  reader.join();
}

}  // namespace
}  // namespace usher
