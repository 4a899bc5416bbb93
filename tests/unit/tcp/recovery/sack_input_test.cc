// stack/tcp/recovery/sack_input.cc: which SACK and D-SACK blocks are believed. Hostile ones must
// neither move data out of flight nor undo a reduction.
#include <gmock/gmock.h>

#include "stack/base/random.h"
#include "tests/unit/tcp/recovery/sender_lab.h"

namespace usher {
namespace {

using ::testing::ElementsAre;
using Bit = RecoveryEvent::Bit;

// Ten segments out, none acknowledged, a round trip later.
class SackInputTest : public ::testing::Test {
 protected:
  SackInputTest() : lab_({.timestamps = false}) {
    lab_.Send(10);
    lab_.Advance(100);
    lab_.TakeSent();
  }
  AckOutcome Blocks(const std::vector<SeqRange>& blocks, int ack = 0) {
    return lab_.AckRanges(SenderLab::At(ack), blocks, SenderLab::AckOptions());
  }
  uint32_t Sacked() const { return lab_.control.recovery().queue().sacked_segments(); }
  static SeqRange Range(int begin, int end) { return {SenderLab::At(begin), SenderLab::At(end)}; }
  // 0 and 1 are lost, found so and sent again.
  void ResendTwo() {
    lab_.Ack(0, {{2, 10}});
    lab_.SendAllowed(0);
    ASSERT_THAT(lab_.TakeSent(), ElementsAre(0, 1));
    lab_.TakeEvents();
  }

  SenderLab lab_;
};

TEST_F(SackInputTest, FourBlocksInAnyOrderAreTaken) {
  EXPECT_EQ(Blocks({Range(8, 9), Range(2, 3), Range(6, 7), Range(4, 5)}).sacked_bytes,
            4 * SenderLab::kMss);
  EXPECT_EQ(Sacked(), 4u);
}

TEST_F(SackInputTest, TheSameBlockAgainSaysNothingNew) {
  EXPECT_EQ(Blocks({Range(4, 6)}).sacked_bytes, 2 * SenderLab::kMss);
  EXPECT_EQ(Blocks({Range(4, 6)}).sacked_bytes, 0u);
  EXPECT_EQ(Sacked(), 2u);
}

TEST_F(SackInputTest, OverlappingBlocksCountNothingTwice) {
  const AckOutcome out = Blocks({Range(4, 7), Range(3, 6), Range(5, 9), Range(8, 9)});
  EXPECT_EQ(out.sacked_bytes, 6 * SenderLab::kMss);
  EXPECT_EQ(Sacked(), 6u);
}

TEST_F(SackInputTest, PartsOfASegmentDoNotMakeIt) {
  const Seq s = SenderLab::At(4);
  EXPECT_EQ(Blocks({{s + 1, s + SenderLab::kMss}}).sacked_bytes, 0u);
  EXPECT_EQ(Blocks({{s, s + SenderLab::kMss - 1}}).sacked_bytes, 0u);
  EXPECT_EQ(Blocks({{s + 1, s + 2}}).sacked_bytes, 0u);
  EXPECT_EQ(Sacked(), 0u);
}

TEST_F(SackInputTest, BlocksOutsideWhatIsOutstandingAreDiscarded) {
  const Seq una = SenderLab::At(0);
  const Seq nxt = SenderLab::At(10);
  const SeqRange bad[] = {
      {nxt - 1000, nxt + 1},            // one byte beyond SND.NXT
      {nxt, nxt + 1000},                // wholly beyond
      {nxt + 1000, nxt + 2000},         //
      {una, una + 1000},                // begins at SND.UNA: would have been acknowledged
      {una + 2000, una + 2000},         // empty
      {una + 3000, una + 2000},         // inverted
      {nxt, una},                       // inverted, all of it
      {una + 1000, una + 0x80000001u},  // more than half the numbers
      {una + 0x80000000u, nxt},         //
      {una + 0x7fffffffu, una + 0x80000000u},
  };
  for (const SeqRange& block : bad) {
    const AckOutcome out = Blocks({block});
    EXPECT_EQ(out.sacked_bytes, 0u) << block.begin.value() << "-" << block.end.value();
    EXPECT_TRUE(out.events & (Bit::kSackDiscarded | Bit::kDsackIgnoredDubious))
        << block.begin.value() << "-" << block.end.value();
  }
  EXPECT_EQ(Sacked(), 0u);
  EXPECT_EQ(lab_.state(), RecoveryState::kOpen);
}

// A bad block between good ones spoils only itself.
TEST_F(SackInputTest, GoodBlocksBesideABadOneAreTaken) {
  const AckOutcome out = Blocks({Range(4, 5), Range(7, 6), Range(8, 9), Range(9, 12)});
  EXPECT_EQ(out.sacked_bytes, 2 * SenderLab::kMss);
  EXPECT_TRUE(out.events & Bit::kSackDiscarded);
}

TEST_F(SackInputTest, MoreThanFourBlocksAreNotRead) {
  Blocks({Range(1, 2), Range(3, 4), Range(5, 6), Range(7, 8), Range(9, 10)});
  EXPECT_EQ(Sacked(), 4u);
}

TEST_F(SackInputTest, WithoutSackNegotiatedBlocksMeanNothing) {
  SenderLab plain({.sack = false});
  plain.Send(10);
  plain.Advance(100);
  EXPECT_EQ(plain.Ack(0, {{4, 6}}).sacked_bytes, 0u);
}

// What an overtaken acknowledgment says of data acknowledged since is old, not wrong.
TEST_F(SackInputTest, OldAcknowledgmentIsNoFault) {
  lab_.Ack(6);
  const AckOutcome out = Blocks({Range(4, 5)}, 3);
  EXPECT_EQ(out.sacked_bytes, 0u);
  EXPECT_FALSE(out.events & Bit::kSackDiscarded);
}

TEST_F(SackInputTest, AcknowledgmentMoreThanAWindowOldIsNotRead) {
  const Seq old = SenderLab::At(0) - 1'000'001;
  const AckOutcome out = lab_.AckRanges(old, {Range(4, 6)}, SenderLab::AckOptions());
  EXPECT_EQ(out.sacked_bytes, 0u);
  EXPECT_EQ(Sacked(), 0u);
}

// ---- D-SACK (RFC 2883) ----

TEST_F(SackInputTest, DsackBelowTheAcknowledgmentIsToldApart) {
  ResendTwo();
  const AckOutcome out = Blocks({Range(0, 1)}, 10);
  EXPECT_TRUE(out.events & Bit::kDsackReceived);
  EXPECT_FALSE(out.events & (Bit::kDsackIgnoredDubious | Bit::kSackDiscarded));
  EXPECT_EQ(out.dsack_segments, 1u);
}

TEST_F(SackInputTest, DsackWithinTheSecondBlockIsToldApart) {
  ResendTwo();
  const AckOutcome out = Blocks({Range(3, 4), Range(2, 10)});
  EXPECT_TRUE(out.events & Bit::kDsackOfoReceived);
  EXPECT_EQ(out.dsack_segments, 1u);
}

TEST_F(SackInputTest, DsackOfSeveralSegmentsCountsThem) {
  ResendTwo();
  EXPECT_EQ(Blocks({Range(0, 2)}, 10).dsack_segments, 2u);
}

TEST_F(SackInputTest, DsackOfPartOfASegmentIsOne) {
  ResendTwo();
  const Seq s = SenderLab::At(0);
  EXPECT_EQ(Blocks({{s + 1, s + 2}}, 10).dsack_segments, 1u);
}

// More duplicates than were sent again: the network or a liar. Counted, and nothing follows.
TEST_F(SackInputTest, DsackOfWhatWasNeverSentAgainIsDubious) {
  const AckOutcome out = Blocks({Range(0, 1)}, 5);
  EXPECT_TRUE(out.events & Bit::kDsackReceived);
  EXPECT_TRUE(out.events & Bit::kDsackIgnoredDubious);
  EXPECT_EQ(out.dsack_segments, 0u);
  EXPECT_EQ(lab_.state(), RecoveryState::kOpen);
}

TEST_F(SackInputTest, InvertedOrImmenseDsackIsDubious) {
  ResendTwo();
  EXPECT_TRUE(Blocks({Range(1, 0)}, 10).events & Bit::kDsackIgnoredDubious);
  const Seq una = SenderLab::At(0);
  // Longer than any window the peer ever offered.
  EXPECT_TRUE(Blocks({{una - 1'500'000, una}}, 10).events & Bit::kDsackIgnoredDubious);
  EXPECT_FALSE(lab_.events & Bit::kDsackUndo);
}

// A liar may claim as many duplicates as there were retransmissions; with that a reduction is
// undone, and no more is to be had.
TEST_F(SackInputTest, FloodOfDsacksGainsNoMoreThanTheUndo) {
  const uint32_t before = lab_.cwnd();
  ResendTwo();
  lab_.Advance(5);
  lab_.Ack(10);
  ASSERT_LT(lab_.cwnd(), before);
  lab_.Send(2);
  for (int n = 0; n < 1000; ++n) Blocks({{SenderLab::At(0), SenderLab::At(0) + 1}}, 10);
  EXPECT_TRUE(lab_.events & Bit::kDsackIgnoredDubious);
  EXPECT_LE(lab_.control.recovery().rack().reorder_window_steps(), 3u);
  EXPECT_LE(lab_.cwnd(), before);
}

// RACK's window answers reordering: without any, a needless retransmission does not widen it.
TEST_F(SackInputTest, DsackLeavesRacksWindowWhereNoReorderingIsKnown) {
  ResendTwo();
  Blocks({Range(0, 1)}, 10);
  lab_.Advance(100);
  lab_.Send(4);
  lab_.Advance(100);
  lab_.Ack(14);
  ASSERT_FALSE(lab_.control.recovery().reordering_seen());
  EXPECT_EQ(lab_.control.recovery().rack().reorder_window_steps(), 1u);
}

TEST_F(SackInputTest, DsackFromBeforeTheUndoMarkerIsOld) {
  lab_.Ack(4);
  lab_.Send(4);
  lab_.Ack(4, {{6, 14}});
  lab_.SendAllowed(0);
  lab_.TakeEvents();
  const AckOutcome out = Blocks({Range(0, 1)}, 4);
  EXPECT_TRUE(out.events & Bit::kDsackIgnoredOld);
  EXPECT_FALSE(out.events & Bit::kDsackUndo);
}

// Whatever the blocks: the scoreboard's counts equal a recount (SenderLab checks after every
// acknowledgment), nothing sent is forgotten, and the connection comes to its end.
TEST(SackInputRandomTest, HostileBlocksKeepTheScoreboardTrue) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    SenderLab lab({.timestamps = (seed & 1) != 0});
    lab.Send(20);
    const auto edge = [&] {
      switch (random.Uniform(6)) {
        case 0:
          return Seq(static_cast<uint32_t>(random.Next64()));
        case 1:
          return lab.snd_nxt + static_cast<uint32_t>(random.Uniform(3)) - 1;
        case 2:
          return lab.snd_una + static_cast<uint32_t>(random.Uniform(3)) - 1;
        case 3:
          return lab.snd_una + static_cast<uint32_t>(random.Uniform(20'000));
        default:
          return lab.snd_una + static_cast<uint32_t>(random.Uniform(20)) * SenderLab::kMss;
      }
    };
    for (int step = 0; step < 300 && !testing::Test::HasFatalFailure(); ++step) {
      lab.Advance(static_cast<int64_t>(random.Uniform(50)));
      std::vector<SeqRange> blocks(random.Uniform(5));
      for (SeqRange& b : blocks) b = {edge(), edge()};
      Seq ack = lab.snd_una;
      if (random.Uniform(8) == 0 && lab.snd_nxt - lab.snd_una > 0)
        ack = ack + static_cast<uint32_t>(
                        random.Uniform(static_cast<uint32_t>(lab.snd_nxt - lab.snd_una) + 1));
      lab.AckRanges(ack, blocks, SenderLab::AckOptions());
      if (lab.control.timer() != SendTimer::kNone && lab.now >= lab.control.timer_deadline()) {
        if (lab.FireTimer().action == TimerOutcome::Action::kProbe)
          lab.control.OnProbeFailed(lab.context());
      }
      lab.SendAllowed(2);
      ASSERT_LE(lab.control.recovery().rack().reorder_window_steps(), 255);
    }
    lab.AckRanges(lab.snd_nxt, {}, SenderLab::AckOptions());
    EXPECT_TRUE(lab.control.recovery().queue().empty());
    EXPECT_EQ(lab.control.timer(), SendTimer::kNone);
    EXPECT_EQ(lab.in_flight(), 0u);
  }
}

}  // namespace
}  // namespace usher
