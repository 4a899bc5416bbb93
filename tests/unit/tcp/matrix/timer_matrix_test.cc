// Every timer in every state where it can run: what a silent peer leads to, and when.
#include <array>

#include "tests/unit/tcp/matrix/state_world.h"

namespace usher::test {
namespace {

// What happens to a state when nothing more comes: which segments its timers send, how long it
// lasts, and what the user is told.
struct Silence {
  Place place;
  const char* sends;  // the flags of each; "-": nothing is sent
  int64_t least_s, most_s;
  std::optional<Error> told;
};
constexpr int64_t kForever = 24 * 3600;
// tcp_syn_retries 6 behind 4 linear timeouts: 131 s; tcp_synack_retries 5: 63 s; tcp_retries2 15
// from 200 ms: 924.6 s and the rest of the last back-off; an orphan: 8 retries, 102 s; TIME-WAIT
// and FIN-WAIT-2: 60 s.
constexpr std::array kSilences = {
    Silence{Place::kClosed, "-", 0, 0, std::nullopt},
    Silence{Place::kListen, "-", 0, 0, std::nullopt},
    Silence{Place::kSynSent, "S", 131, 132, Error::kTimedOut},
    Silence{Place::kSynReceived, "SA", 63, 64, std::nullopt},
    Silence{Place::kSynReceivedActive, "SA", 63, 64, Error::kTimedOut},
    Silence{Place::kEstablished, "PA", 924, 1050, Error::kTimedOut},
    Silence{Place::kFinWait1, "FPA", 924, 1050, Error::kTimedOut},
    Silence{Place::kFinWait1Closed, "FPA", 102, 210, std::nullopt},
    Silence{Place::kFinWait2, "-", kForever, kForever, std::nullopt},
    Silence{Place::kFinWait2Closed, "-", 60, 61, std::nullopt},
    Silence{Place::kCloseWait, "PA", 924, 1050, Error::kTimedOut},
    Silence{Place::kClosing, "FPA", 924, 1050, Error::kTimedOut},
    Silence{Place::kClosingClosed, "FPA", 102, 210, std::nullopt},
    Silence{Place::kLastAck, "FPA", 924, 1050, Error::kTimedOut},
    Silence{Place::kLastAckClosed, "FPA", 102, 210, std::nullopt},
    Silence{Place::kTimeWait, "-", 60, 61, std::nullopt},
};

class TimerMatrixTest : public ConnectionTest {};
USHER_FOR_BOTH_FAMILIES(TimerMatrixTest);

TEST_P(TimerMatrixTest, WhatSilenceLeadsTo) {
  StateWorld world(GetParam());
  for (const Silence& row : kSilences) {
    world.Enter(row.place);
    const Seq rcv_nxt = world.station().rcv_nxt;
    const Instant start = world.now_;
    const bool there = world.State() != TcpState::kClosed;
    size_t sent = 0;
    while (there && world.State() != TcpState::kClosed &&
           (world.now_ - start).seconds() < kForever) {
      world.UntilSent(Duration::Seconds(row.least_s == kForever ? 3600 : 1));
      for (const SentTcp& s : world.TakeSentAfterPoll()) {
        EXPECT_THAT(s, HasFlags(row.sends)) << ToString(row.place);
        ++sent;
      }
    }
    EXPECT_GE((world.now_ - start).seconds(), row.least_s) << ToString(row.place);
    EXPECT_LE((world.now_ - start).seconds(), row.most_s) << ToString(row.place);
    EXPECT_EQ(sent == 0, std::string(row.sends) == "-") << ToString(row.place);
    EXPECT_EQ(world.application().closed, row.told ? 1 : 0) << ToString(row.place);
    if (row.told) {
      EXPECT_EQ(world.application().closed_why, *row.told) << ToString(row.place);
    }
    world.Leave(rcv_nxt);
    ASSERT_TRUE(world.Empty()) << ToString(row.place);
  }
}

// Keepalive, where nothing else would notice that the peer is gone (section 3.8.4).
TEST_P(TimerMatrixTest, KeepaliveWhereNothingIsInFlight) {
  StateWorld world(GetParam());
  for (const Place place : {Place::kEstablished, Place::kCloseWait, Place::kFinWait2}) {
    world.Enter(place);
    const Station st = world.station();
    world.KeepAlive();
    EXPECT_NEAR(static_cast<double>(world.UntilSent(Duration::Seconds(9000)).seconds()), 7200, 2)
        << ToString(place);
    const auto probe = world.TakeSentAfterPoll();
    ASSERT_EQ(probe.size(), 1u);
    EXPECT_THAT(probe[0], ::testing::AllOf(HasFlags("A"), HasSeq(st.snd_nxt - 1), HasLength(0)));
    world.AdvanceBy(Duration::Seconds(9 * 75 + 1));
    EXPECT_EQ(world.application().closed_why, Error::kTimedOut) << ToString(place);
    EXPECT_EQ(world.State(), TcpState::kClosed);
    world.Leave(st.rcv_nxt);
  }
}

// The persist timer, in the four states where something may wait for the peer's window.
TEST_P(TimerMatrixTest, ClosedWindowsAreProbed) {
  StateWorld world(GetParam());
  for (const Place place : {Place::kEstablished, Place::kCloseWait}) {
    for (const bool closing : {false, true}) {
      world.Enter(place);
      const Station st = world.station();
      world.CloseWindow();
      world.user().Write("waits");
      if (closing) world.user().Shutdown(ShutdownHow::kWrite);
      EXPECT_THAT(world.TakeSentAfterPoll(), ::testing::IsEmpty());
      EXPECT_LT(world.UntilSent(Duration::Seconds(10)).ms(), 1100) << ToString(place);
      EXPECT_EQ(world.TakeSentAfterPoll().size(), 1u);
      const bool passive = place == Place::kCloseWait;
      EXPECT_EQ(world.State(), closing   ? passive ? TcpState::kLastAck : TcpState::kFinWait1
                               : passive ? TcpState::kCloseWait
                                         : TcpState::kEstablished);
      world.Leave(st.rcv_nxt);
      ASSERT_TRUE(world.Empty());
    }
  }
}

// MUST-40, wherever text is received.
TEST_P(TimerMatrixTest, AnAcknowledgmentWaitsLessThanHalfASecond) {
  StateWorld world(GetParam());
  for (const Place place : {Place::kEstablished, Place::kFinWait2}) {
    world.Enter(place);
    Duration longest;
    for (int i = 0; i < 60; ++i) {
      world.GiveByte();
      const Duration waited = world.UntilSent(Duration::Seconds(2));
      longest = std::max(longest, waited);
      world.TakeSentAfterPoll();
      world.Read(world.user());
    }
    EXPECT_LT(longest.ms(), 500) << ToString(place);
    EXPECT_GT(longest.ms(), 0) << ToString(place) << ": none was delayed";
    world.Leave(world.station().rcv_nxt);
    ASSERT_TRUE(world.Empty());
  }
}

// MUST-23: three minutes and more, for who wants them.
TEST_P(TimerMatrixTest, SynRetriesSetHowLongASynIsTried) {
  options_.sysctls.tcp_syn_retries = 7;
  Connect();
  // Four timeouts of a second, then 1, 2, ... 64, and tcp_rto_max once.
  AdvanceBy(Duration::Seconds(250));
  EXPECT_EQ(app_.closed, 0);
  AdvanceBy(Duration::Seconds(2));
  EXPECT_EQ(app_.closed_why, Error::kTimedOut);
}

}  // namespace
}  // namespace usher::test
