#include "stack/tcp/recovery/sent_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/unit/tcp/recovery/sender_lab.h"

namespace usher {
namespace {

constexpr uint32_t kMss = 1000;

class SentQueueTest : public testing::Test {
 protected:
  ~SentQueueTest() override {
    queue_.Clear(pool_);
    EXPECT_EQ(pool_.in_use(), 0u);
  }

  void Append(uint32_t length, uint8_t flags = 0) {
    ASSERT_TRUE(queue_.Append(pool_, next_, length, kMss, flags, Micros(++clock_)));
    next_ += length;
  }
  Delivery Sack(uint32_t begin, uint32_t end) {
    Delivery d = NewDelivery();
    queue_.Sack(pool_, {kStart + begin, kStart + end}, kMss, d);
    ExpectExactCounts(pool_, queue_);
    return d;
  }
  Delivery Acknowledge(uint32_t to) {
    Delivery d = NewDelivery();
    queue_.Acknowledge(pool_, kStart + to, kMss, d);
    ExpectExactCounts(pool_, queue_);
    return d;
  }
  Delivery NewDelivery() const {
    Delivery d;
    d.high_seq = next_;
    d.now = Instant::FromNanos((int64_t{clock_} + 1'000) * 1'000);
    d.had_sacked = queue_.sacked_segments() > 0;
    d.prior_highest_sacked = queue_.highest_sacked();
    return d;
  }
  uint32_t Records() const {
    uint32_t n = 0;
    for (SegmentIndex i = queue_.head(); i != kNoSegment; i = SentQueue::Next(pool_, i)) ++n;
    return n;
  }
  SegmentIndex Record(uint32_t offset) const { return queue_.Find(pool_, kStart + offset); }

  const Seq kStart{0xfffff000};
  SentSegmentPool pool_{256};
  SentQueue queue_;
  Seq next_ = kStart;
  uint32_t clock_ = 0xfffffff0;  // wraps too
};

TEST_F(SentQueueTest, AnEmptyQueueHoldsNothing) {
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.bytes_out(pool_), 0u);
  EXPECT_EQ(queue_.in_flight_bytes(pool_), 0u);
  EXPECT_EQ(queue_.NextLost(pool_), kNoSegment);
  EXPECT_EQ(Record(0), kNoSegment);
  EXPECT_EQ(Acknowledge(1'000).acked_bytes, 0u);
  EXPECT_EQ(Sack(1'000, 2'000).sacked_bytes, 0u);
}

TEST_F(SentQueueTest, TheOnlyRecordIsTakenOffWhole) {
  for (int i = 0; i < 2; ++i) {
    Append(3 * kMss);
    queue_.RemoveOnly(pool_);
    EXPECT_TRUE(queue_.empty());
    EXPECT_EQ(queue_.oldest_sent(), kNoSegment);
    EXPECT_EQ(queue_.segments_out(), 0u);
    EXPECT_EQ(pool_.in_use(), 0u);
    ExpectExactCounts(pool_, queue_);
  }
  Append(kMss);
  Append(kMss);
  EXPECT_EQ(Records(), 2u);
}

TEST_F(SentQueueTest, SynAndFinTakeASequenceNumberButAreNoSegmentOfTheirOwn) {
  Append(1, SentSegment::kSyn);
  Append(2 * kMss + 1, SentSegment::kFin);
  EXPECT_EQ(queue_.segments_out(), 3u);
  EXPECT_EQ(queue_.bytes_out(pool_), 2 * kMss + 2);
  const Delivery d = Acknowledge(1);
  EXPECT_TRUE(d.syn_acked);
  EXPECT_FALSE(d.data_acked);
  EXPECT_TRUE(Acknowledge(2 * kMss + 2).data_acked);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(SentQueueTest, AcknowledgmentWithinARecordTrimsIt) {
  Append(5 * kMss);
  const Delivery d = Acknowledge(2 * kMss + 300);
  EXPECT_EQ(d.acked_bytes, 2 * kMss + 300);
  EXPECT_EQ(d.acked_segments, 2u);
  EXPECT_TRUE(d.has_acked_time);
  EXPECT_EQ(pool_[queue_.head()].seq, kStart + (2 * kMss + 300));
  EXPECT_EQ(queue_.segments_out(), 3u);
  // And to a byte within the last segment.
  EXPECT_EQ(Acknowledge(5 * kMss - 1).acked_bytes, 3 * kMss - 301);
  EXPECT_EQ(queue_.segments_out(), 1u);
  EXPECT_EQ(queue_.bytes_out(pool_), 1u);
}

TEST_F(SentQueueTest, SackSplitsOnSegmentBoundariesAndMergesNeighbours) {
  Append(10 * kMss);
  EXPECT_EQ(Sack(2 * kMss, 4 * kMss).sacked_bytes, 2 * kMss);
  EXPECT_EQ(Records(), 3u);
  EXPECT_EQ(Sack(5 * kMss, 6 * kMss).sacked_bytes, kMss);
  EXPECT_EQ(Records(), 5u);
  EXPECT_EQ(Sack(2 * kMss, 6 * kMss).sacked_bytes, kMss);  // the hole between
  EXPECT_EQ(Records(), 3u);
  EXPECT_EQ(queue_.sacked_segments(), 4u);
  EXPECT_EQ(Sack(2 * kMss, 6 * kMss).sacked_bytes, 0u);
  EXPECT_EQ(Sack(0, 10 * kMss).sacked_bytes, 6 * kMss);
  EXPECT_EQ(Records(), 1u);
  EXPECT_EQ(queue_.in_flight_bytes(pool_), 0u);
}

TEST_F(SentQueueTest, ASegmentPartlyCoveredIsNotSacked) {
  Append(3 * kMss);
  EXPECT_EQ(Sack(100, 1'900).sacked_bytes, 0u);
  EXPECT_EQ(Sack(100, 2'100).sacked_bytes, kMss);  // the middle one
  EXPECT_TRUE(pool_[Record(kMss)].Has(SentSegment::kSacked));
  EXPECT_FALSE(pool_[Record(0)].Has(SentSegment::kSacked));
  EXPECT_FALSE(pool_[Record(2 * kMss)].Has(SentSegment::kSacked));
}

TEST_F(SentQueueTest, LossRetransmissionAndSecondLoss) {
  for (int n = 0; n < 4; ++n) Append(kMss);
  queue_.MarkLost(pool_, Record(2 * kMss));
  queue_.MarkLost(pool_, Record(kMss));
  ExpectExactCounts(pool_, queue_);
  EXPECT_EQ(queue_.in_flight_bytes(pool_), 2 * kMss);
  EXPECT_EQ(queue_.NextLost(pool_), Record(kMss));
  queue_.OnRetransmitted(pool_, Record(kMss), Micros(++clock_));
  EXPECT_EQ(queue_.NextLost(pool_), Record(2 * kMss));
  queue_.OnRetransmitted(pool_, Record(2 * kMss), Micros(++clock_));
  EXPECT_EQ(queue_.NextLost(pool_), kNoSegment);
  EXPECT_EQ(queue_.in_flight_bytes(pool_), 4 * kMss);
  ExpectExactCounts(pool_, queue_);
  queue_.MarkLost(pool_, Record(kMss));
  EXPECT_EQ(queue_.NextLost(pool_), Record(kMss));
  EXPECT_EQ(queue_.in_flight_bytes(pool_), 3 * kMss);
  ExpectExactCounts(pool_, queue_);
  queue_.UnmarkAllLost(pool_);
  EXPECT_EQ(queue_.NextLost(pool_), kNoSegment);
  ExpectExactCounts(pool_, queue_);
}

TEST_F(SentQueueTest, DeliveryTellsReorderingOnlyOfWhatWasSentOnce) {
  for (int n = 0; n < 6; ++n) Append(kMss);
  EXPECT_FALSE(Sack(3 * kMss, 4 * kMss).reordered);
  const Delivery d = Sack(kMss, 2 * kMss);
  EXPECT_TRUE(d.reordered);
  EXPECT_EQ(d.reordered_from, kStart + kMss);
  queue_.OnRetransmitted(pool_, Record(2 * kMss), Micros(++clock_));
  EXPECT_FALSE(Sack(2 * kMss, 3 * kMss).reordered);
  EXPECT_TRUE(Acknowledge(kMss).reordered);  // a hole filled late by its original
}

TEST_F(SentQueueTest, ThePoolRefusesAppendsBeforeSplits) {
  int appended = 0;
  while (queue_.Append(pool_, next_, 4 * kMss, kMss, 0, Micros(++clock_))) {
    next_ += 4 * kMss;
    ++appended;
  }
  EXPECT_FALSE(pool_.CanAppend());
  EXPECT_EQ(appended, 256 - 8);
  // Each SACK of a middle segment takes two records of the reserve.
  for (uint32_t n = 0; n < 4; ++n) {
    EXPECT_EQ(Sack(n * 4 * kMss + kMss, n * 4 * kMss + 2 * kMss).sacked_bytes, kMss);
  }
  EXPECT_EQ(pool_.in_use(), 256u);
  EXPECT_EQ(Sack(4 * 4 * kMss + kMss, 4 * 4 * kMss + 2 * kMss).sacked_bytes, 0u);
  // Merging gives them back.
  EXPECT_EQ(Sack(0, 2 * kMss).sacked_bytes, kMss);
  EXPECT_EQ(pool_.in_use(), 255u);
}

TEST_F(SentQueueTest, RenegingForgetsEverySack) {
  for (int n = 0; n < 5; ++n) Append(kMss);
  Sack(0, 2 * kMss);
  Sack(3 * kMss, 4 * kMss);
  queue_.ForgetSacks(pool_);
  ExpectExactCounts(pool_, queue_);
  EXPECT_EQ(queue_.in_flight_bytes(pool_), 5 * kMss);
}

// Random operations against one state per byte. Segments are aligned, so that what is SACKed is
// known exactly without copying the rules under test.
class SentQueueRandomTest : public testing::TestWithParam<uint32_t> {};

TEST_P(SentQueueRandomTest, CountsEqualARecount) {
  const uint32_t seed = GetParam();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  SentSegmentPool pool(600);
  SentQueue queue;
  const Seq start(random());
  std::vector<bool> sacked;  // per segment since the start
  uint32_t una = 0, nxt = 0, clock = random();
  for (int step = 0; step < 3'000; ++step) {
    clock += below(3);
    Delivery d;
    d.now = Instant::FromNanos(int64_t{clock} * 1'000);
    d.high_seq = start + nxt * kMss;
    switch (below(8)) {
      case 0:
      case 1: {
        const uint32_t segments = 1 + below(6);
        if (!queue.Append(pool, start + nxt * kMss, segments * kMss, kMss, 0, Micros(clock))) break;
        nxt += segments;
        sacked.resize(nxt);
        break;
      }
      case 2: {
        if (nxt == una || below(3) != 0) break;
        const uint32_t to = una + 1 + below(std::min(nxt - una, 8u));
        uint32_t newly = 0;
        for (uint32_t n = una; n < to; ++n) newly += sacked[n] ? 0 : 1;
        queue.Acknowledge(pool, start + to * kMss, kMss, d);
        EXPECT_EQ(d.acked_bytes, (to - una) * kMss);
        EXPECT_EQ(d.delivered_bytes, newly * kMss);
        una = to;
        break;
      }
      case 3:
      case 4: {
        if (nxt == una) break;
        const uint32_t begin = una + below(nxt - una);
        const uint32_t end = std::min(nxt, begin + 1 + below(12));
        // Every record may need two splits; leave the shortage of records to its own test.
        if (pool.capacity() - pool.in_use() < 4) break;
        uint32_t newly = 0;
        for (uint32_t n = begin; n < end; ++n) newly += sacked[n] ? 0 : 1;
        queue.Sack(pool, {start + begin * kMss, start + end * kMss}, kMss, d);
        EXPECT_EQ(d.sacked_bytes, newly * kMss);
        std::fill(sacked.begin() + begin, sacked.begin() + end, true);
        break;
      }
      case 5: {
        if (nxt == una) break;
        const uint32_t at = una + below(nxt - una);
        const SegmentIndex i = queue.Find(pool, start + at * kMss);
        ASSERT_NE(i, kNoSegment);
        EXPECT_EQ(pool[i].Has(SentSegment::kSacked), sacked[at]);
        if (!sacked[at]) queue.MarkLost(pool, i);
        break;
      }
      case 6: {
        const SegmentIndex i = queue.NextLost(pool);
        for (SegmentIndex j = queue.head(); j != i; j = SentQueue::Next(pool, j)) {
          ASSERT_NE(j, kNoSegment);
          EXPECT_FALSE(pool[j].Has(SentSegment::kLost) &&
                       !pool[j].Has(SentSegment::kRetransmitted));
        }
        if (i != kNoSegment) queue.OnRetransmitted(pool, i, Micros(clock));
        break;
      }
      case 7:
        if (below(40) == 0) queue.UnmarkAllLost(pool);
        if (below(200) == 0) {
          queue.ForgetSacks(pool);
          std::fill(sacked.begin(), sacked.end(), false);
        }
        break;
    }
    uint32_t expected = 0;
    for (uint32_t n = una; n < nxt; ++n) expected += sacked[n] ? 1 : 0;
    ASSERT_EQ(queue.sacked_bytes(), expected * kMss) << "step " << step;
    ExpectExactCounts(pool, queue);
    if (testing::Test::HasFailure()) FAIL() << "step " << step;
  }
  queue.Clear(pool);
  EXPECT_EQ(pool.in_use(), 0u);
}

// Blocks at any byte, records of any length: the invariants alone.
TEST_P(SentQueueRandomTest, ArbitraryBlocksKeepTheInvariants) {
  const uint32_t seed = GetParam();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  SentSegmentPool pool(200);
  SentQueue queue;
  Seq next(random());
  uint32_t clock = random();
  for (int step = 0; step < 3'000; ++step) {
    Delivery d;
    d.now = Instant::FromNanos(int64_t{++clock} * 1'000);
    const uint32_t out = queue.bytes_out(pool);
    const uint32_t mss = 500 + below(2) * 500;
    const uint32_t before = queue.sacked_bytes();
    switch (below(6)) {
      case 0:
      case 1: {
        const uint32_t length = 1 + below(9'000);
        if (queue.Append(pool, next, length, mss, 0, Micros(clock))) next += length;
        break;
      }
      case 2:
        if (out > 0 && below(4) == 0) {
          const uint32_t n = 1 + below(std::min(out, 5'000u));
          queue.Acknowledge(pool, next - (out - n), mss, d);
          EXPECT_EQ(d.acked_bytes, n);
        }
        break;
      case 3:
        if (out > 0) {
          const uint32_t begin = below(out);
          const uint32_t end = begin + 1 + below(out - begin);
          queue.Sack(pool, {next - (out - begin), next - (out - end)}, mss, d);
          EXPECT_EQ(queue.sacked_bytes(), before + d.sacked_bytes);
          EXPECT_LE(d.sacked_bytes, end - begin);
        }
        break;
      case 4:
        if (out > 0) {
          const SegmentIndex i = queue.Find(pool, next - (1 + below(out)));
          ASSERT_NE(i, kNoSegment);
          if (!pool[i].Has(SentSegment::kSacked)) queue.MarkLost(pool, i);
        }
        break;
      case 5:
        if (const SegmentIndex i = queue.NextLost(pool); i != kNoSegment) {
          if (pool[i].length > mss) queue.Split(pool, i, mss, mss);
          queue.OnRetransmitted(pool, i, Micros(clock));
        }
        break;
    }
    ExpectExactCounts(pool, queue);
    if (testing::Test::HasFailure()) FAIL() << "step " << step;
  }
  queue.Clear(pool);
  EXPECT_EQ(pool.in_use(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SentQueueRandomTest, testing::Range(1u, 9u));

}  // namespace
}  // namespace usher
