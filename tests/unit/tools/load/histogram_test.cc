#include "tools/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "stack/base/random.h"

namespace usher::load {
namespace {

Duration Ns(int64_t n) { return Duration::Nanos(n); }

TEST(HistogramTest, AnEmptyOneIsAllZero) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.min(), Duration());
  EXPECT_EQ(h.max(), Duration());
  EXPECT_EQ(h.mean(), Duration());
  EXPECT_EQ(h.Percentile(50), Duration());
}

TEST(HistogramTest, SmallValuesAreExact) {
  Histogram h;
  for (int i = 0; i <= 255; ++i) h.Record(Ns(i));
  EXPECT_EQ(h.Percentile(0), Ns(0));
  EXPECT_EQ(h.Percentile(50), Ns(127));
  EXPECT_EQ(h.Percentile(100), Ns(255));
  EXPECT_EQ(h.min(), Ns(0));
  EXPECT_EQ(h.mean(), Ns(127));
}

TEST(HistogramTest, OneValueIsEveryPercentile) {
  for (int64_t n : {int64_t{1}, int64_t{255}, int64_t{256}, int64_t{257}, int64_t{123'456'789}}) {
    Histogram h;
    h.Record(Ns(n));
    EXPECT_EQ(h.Percentile(0), Ns(n));
    EXPECT_EQ(h.Percentile(99.99), Ns(n));
  }
}

TEST(HistogramTest, PercentilesAreNotBelowAndAtMostABucketAbove) {
  SeededRandom random(7);
  Histogram h;
  std::vector<int64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    const auto ns = static_cast<int64_t>(
        std::exp2(30.0 * static_cast<double>(random.Uniform(1'000'000)) / 1e6));
    values.push_back(ns);
    h.Record(Ns(ns));
  }
  std::sort(values.begin(), values.end());
  for (const double p : {0.1, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const auto rank = static_cast<size_t>(std::ceil(static_cast<double>(values.size()) * p / 100));
    const int64_t exact = values[std::max<size_t>(rank, 1) - 1];
    EXPECT_GE(h.Percentile(p).ns(), exact) << p;
    EXPECT_LE(static_cast<double>(h.Percentile(p).ns()),
              static_cast<double>(exact) * (1 + 1.0 / 128))
        << p;
  }
}

TEST(HistogramTest, WhatIsOutOfRangeCountsAtItsEnds) {
  Histogram h;
  h.Record(Ns(-5));
  EXPECT_EQ(h.max(), Ns(0));
  h.Record(Duration::Max());
  EXPECT_EQ(h.count(), 2u);
  EXPECT_EQ(h.max().ns(), (int64_t{1} << 40) - 1);
  EXPECT_EQ(h.Percentile(100), h.max());
}

TEST(HistogramTest, AddIsAsIfOneHadRecordedAll) {
  Histogram a, b, both;
  for (int i = 1; i < 2000; i += 3) {
    (i % 2 == 0 ? a : b).Record(Ns(i * 1000));
    both.Record(Ns(i * 1000));
  }
  a.Add(b);
  a.Add(Histogram());
  EXPECT_EQ(a.count(), both.count());
  EXPECT_EQ(a.min(), both.min());
  EXPECT_EQ(a.max(), both.max());
  EXPECT_EQ(a.mean(), both.mean());
  for (const double p : {1.0, 50.0, 99.0}) EXPECT_EQ(a.Percentile(p), both.Percentile(p));
}

}  // namespace
}  // namespace usher::load
