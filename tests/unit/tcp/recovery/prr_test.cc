#include "stack/tcp/recovery/prr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace usher {
namespace {

constexpr uint32_t kMss = 1000;

// Plays RFC 6937 section 4: a flight of 20, Reno's ssthresh 10; `lost` segments from the front are
// missing, two segments left by limited transmit. Returns what each acknowledgment from the one
// that begins recovery lets out.
std::vector<uint32_t> Play(uint32_t lost) {
  Prr prr;
  uint32_t pipe = (20 + 2 - 3 - lost) * kMss;  // three SACKed
  uint32_t cwnd = 20 * kMss;
  prr.Start(cwnd);
  std::vector<uint32_t> sent;
  const uint32_t acks = 20 - lost;
  for (uint32_t ack = 3; ack <= acks; ++ack) {
    if (ack > 3) pipe -= kMss;
    EXPECT_TRUE(prr.OnAck({.delivered_bytes = kMss,
                           .lost_bytes = ack == 3 ? lost * kMss : 0,
                           .in_flight_bytes = pipe,
                           .ssthresh_bytes = 10 * kMss,
                           .mss = kMss},
                          &cwnd));
    uint32_t now = 0;
    while (cwnd >= pipe + kMss) {
      pipe += kMss;
      prr.OnSent(kMss);
      ++now;
    }
    sent.push_back(now);
  }
  return sent;
}

// Section 4, first figure: one loss. PRR sends on every other acknowledgment, until at the last one
// exactly ssthresh is in flight.
TEST(PrrTest, OneLossSpreadsTheReductionOverTheRoundTrip) {
  EXPECT_THAT(Play(1), testing::ElementsAre(1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0));
}

// Section 3's CEIL: a byte of a segment is a segment.
TEST(PrrTest, TheShareIsRoundedUp) {
  Prr prr;
  prr.Start(10 * kMss);
  uint32_t cwnd = 0;
  EXPECT_TRUE(prr.OnAck({.delivered_bytes = 10 * kMss,
                         .in_flight_bytes = 20 * kMss,
                         .ssthresh_bytes = 7 * kMss + 1,
                         .mss = kMss},
                        &cwnd));
  EXPECT_EQ(cwnd, 28 * kMss);
}

// Section 4, second figure: fifteen lost of twenty. Packet conservation: one for one.
TEST(PrrTest, BurstLossIsRepairedOneForOne) {
  EXPECT_THAT(Play(15), testing::ElementsAre(1, 1, 1));
}

TEST(PrrTest, ProgressWithoutNewLossAddsOneSegment) {
  Prr prr;
  uint32_t cwnd = 0;
  prr.Start(20 * kMss);
  Prr::Ack ack{.delivered_bytes = kMss,
               .in_flight_bytes = 2 * kMss,
               .ssthresh_bytes = 10 * kMss,
               .mss = kMss,
               .snd_una_advanced = true};
  ASSERT_TRUE(prr.OnAck(ack, &cwnd));
  EXPECT_EQ(cwnd, 4 * kMss);  // delivered one, and one more
  prr.OnSent(2 * kMss);
  ack.lost_bytes = kMss;
  ASSERT_TRUE(prr.OnAck(ack, &cwnd));
  EXPECT_EQ(cwnd, 3 * kMss);  // conservation only
}

TEST(PrrTest, SlowStartPartNeverPassesSsthresh) {
  Prr prr;
  uint32_t cwnd = 0;
  prr.Start(20 * kMss);
  ASSERT_TRUE(prr.OnAck({.delivered_bytes = 8 * kMss,
                         .in_flight_bytes = 9 * kMss,
                         .ssthresh_bytes = 10 * kMss,
                         .mss = kMss,
                         .snd_una_advanced = true},
                        &cwnd));
  EXPECT_EQ(cwnd, 10 * kMss);
}

TEST(PrrTest, TheFirstRetransmissionLeavesAtOnce) {
  Prr prr;
  uint32_t cwnd = 0;
  prr.Start(20 * kMss);
  ASSERT_TRUE(prr.OnAck({.delivered_bytes = 1,
                         .in_flight_bytes = 19 * kMss,
                         .ssthresh_bytes = 10 * kMss,
                         .mss = kMss},
                        &cwnd));
  EXPECT_EQ(cwnd, 20 * kMss);
}

TEST(PrrTest, NothingDeliveredChangesNothing) {
  Prr prr;
  uint32_t cwnd = 7;
  EXPECT_FALSE(prr.OnAck({.delivered_bytes = kMss, .mss = kMss}, &cwnd));  // not begun
  prr.Start(20 * kMss);
  EXPECT_FALSE(prr.OnAck({.delivered_bytes = 0, .mss = kMss}, &cwnd));
  EXPECT_EQ(cwnd, 7u);
}

// Whatever is lost, by the end of the round trip no more than ssthresh may be in flight.
TEST(PrrTest, ConvergesToSsthreshForEveryLoss) {
  for (uint32_t lost = 1; lost < 17; ++lost) {
    uint32_t in_flight = 20 + 2 - 3 - lost;
    bool first = true;
    for (const uint32_t sent : Play(lost)) {
      if (!first) --in_flight;
      first = false;
      in_flight += sent;
    }
    EXPECT_LE(in_flight, 10u) << lost;
  }
}

}  // namespace
}  // namespace usher
