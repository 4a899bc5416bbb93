// Arrival of segments, RFC 9293 section 3.10.7 in its order.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class InputTest : public ConnectionTest {};
USHER_FOR_BOTH_FAMILIES(InputTest);

// ---- Text in and out of order ----

TEST_P(InputTest, DataInOrderIsReadAndAcknowledged) {
  Connection c = Open();
  Give(Ack().Flags("PA").Data("hello"));
  EXPECT_EQ(app_.readable, 1);
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(5))));
  EXPECT_EQ(Read(c), "hello");
  EXPECT_EQ(Read(c), "");
  EXPECT_EQ(last_error_, Error::kAgain);
}

TEST_P(InputTest, ABurstIsAcknowledgedOnce) {
  Connection c = Open();
  const std::string full(1460, 'x');
  for (int i = 0; i < 4; ++i) Inject(Ack().Data(full));
  Poll();
  EXPECT_THAT(TakeSent(), ElementsAre(AllOf(HasFlags("A"), Acks(P(4 * 1460)))));
  EXPECT_EQ(Read(c).size(), 4u * 1460);
}

TEST_P(InputTest, OutOfOrderDataWaitsForTheHole) {
  sack_ = true;
  Connection c = Open();
  Give(Ack().SeqNo(P(5)).Data("world"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(0)), HasSack(Blocks({{P(5), P(10)}}))));
  EXPECT_EQ(app_.readable, 0);
  Give(Ack().SeqNo(P(15)).Data("!"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(0)), HasSack(Blocks({{P(15), P(16)}, {P(5), P(10)}}))));
  Give(Ack().SeqNo(P(0)).Data("hello"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(10)), HasSack(Blocks({{P(15), P(16)}}))));
  Give(Ack().SeqNo(P(10)).Data("12345"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(16)), HasSack(Blocks({}))));
  EXPECT_EQ(Read(c), "helloworld12345!");
}

TEST_P(InputTest, WithoutSackPermittedNoBlockIsSent) {
  Open();
  Give(Ack().SeqNo(P(5)).Data("world"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(0)), HasSack(Blocks({}))));
}

TEST_P(InputTest, OverlapsKeepTheBytesThatCameFirst) {
  sack_ = true;
  Connection c = Open();
  Give(Ack().Data("abcdef"));
  TakeSent();
  Give(Ack().SeqNo(P(3)).Data("XXXghi"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(9)), HasSack(Blocks({{P(3), P(6)}}))));
  Give(Ack().SeqNo(P(11)).Data("lmn"));
  TakeSent();
  Give(Ack().SeqNo(P(9)).Data("jkYYYo"));
  EXPECT_THAT(TakeOne(), Acks(P(15)));
  EXPECT_EQ(Read(c).substr(0, 11), "abcdefghijk");
}

TEST_P(InputTest, OldDataIsAcknowledgedAtOnceWithADuplicateSack) {
  sack_ = true;
  Connection c = Open();
  Give(Ack().Data("abcdef"));
  TakeSent();
  Give(Ack().SeqNo(P(0)).Data("abc"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(6)), HasSack(Blocks({{P(0), P(3)}}))));
  EXPECT_EQ(Read(c), "abcdef");
  Give(Ack().SeqNo(P(6)).Data("g"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(7)), HasSack(Blocks({}))));
}

TEST_P(InputTest, ADuplicateOfAHeldSegmentIsReportedFirst) {
  sack_ = true;
  Open();
  Give(Ack().SeqNo(P(5)).Data("world"));
  TakeSent();
  Give(Ack().SeqNo(P(5)).Data("world"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(0)), HasSack(Blocks({{P(5), P(10)}, {P(5), P(10)}}))));
}

TEST_P(InputTest, TheDsackSettingIsHonoured) {
  sack_ = true;
  options_.sysctls.tcp_dsack = 0;
  Open();
  Give(Ack().Data("abcdef"));
  TakeSent();
  Give(Ack().SeqNo(P(0)).Data("abc"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(6)), HasSack(Blocks({}))));
}

TEST_P(InputTest, DataBeyondTheWindowIsRefusedWhileDataWaits) {
  listen_options_.receive_buffer_bytes = 8192;
  Connection c = Open();
  const uint32_t window = syn_ack_.window;
  ASSERT_GT(window, 0u);
  const std::string flood(1400, 'y');
  uint32_t sent = 0;
  while (sent <= window) {
    Inject(Ack().SeqNo(P(sent)).Data(flood));
    sent += 1400;
  }
  Poll();
  size_t got = 0;
  while (size_t n = Read(c).size()) got += n;
  EXPECT_EQ(got, window - window % 1400);  // while data waits, only what fits whole
  EXPECT_EQ(Count(Counter::TcpExtBeyondWindow), 1u);
}

TEST_P(InputTest, WhatBeginsInTheWindowIsTakenWhole) {
  listen_options_.receive_buffer_bytes = 2304;
  Connection c = Open();
  ASSERT_LT(syn_ack_.window, 1400);
  Give(Ack().Data(std::string(1400, 'y')));
  EXPECT_EQ(Read(c).size(), 1400u);
}

TEST_P(InputTest, WhatBeginsInTheWindowIsTakenWholeBeyondAHoleToo) {
  sack_ = true;
  Open();
  const uint32_t last = syn_ack_.window - 1u;
  Give(Ack().SeqNo(P(last)).Data(std::string(1000, 'y')));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(0)), HasSack(Blocks({{P(last), P(last + 1000)}}))));
  Give(Ack().SeqNo(P(last + 1)).Data("beyond"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(0)), HasSack(Blocks({{P(last), P(last + 1000)}}))));
  EXPECT_EQ(Count(Counter::TcpExtTCPOFOQueue), 1u);
}

TEST_P(InputTest, SegmentsOutOfTheWindowAreAnsweredAndDropped) {
  Connection c = Open();
  Give(Ack().SeqNo(P(200'000)).Data("far"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(0))));
  Give(Ack().SeqNo(P(-10)).Data("behind"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(0))));
  EXPECT_EQ(Read(c), "");
}

TEST_P(InputTest, EmptySegmentsOutOfTheWindowAreAnsweredNowAndThen) {
  Open();
  Give(Ack().SeqNo(P(-10)));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(0))));
  GiveSilently(Ack().SeqNo(P(-10)));
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedSeq), 1u);
  AdvanceBy(Duration::Millis(501));
  Give(Ack().SeqNo(P(-10)));
  EXPECT_THAT(TakeOne(), Acks(P(0)));
}

TEST_P(InputTest, ASegmentWithoutAckIsDropped) {
  Connection c = Open();
  GiveSilently(Flags("P").SeqNo(P(0)).Data("data"));
  EXPECT_EQ(Read(c), "");
}

// ---- RST and SYN: RFC 5961 ----

TEST_P(InputTest, AResetAtTheExactNumberResets) {
  Connection c = Open();
  GiveSilently(Flags("R").SeqNo(P(0)));
  EXPECT_EQ(app_.closed, 1);
  EXPECT_EQ(app_.closed_why, Error::kConnectionReset);
  EXPECT_EQ(Read(c), "");
  EXPECT_EQ(last_error_, Error::kConnectionReset);
  EXPECT_EQ(Read(c), "");
  EXPECT_EQ(last_error_, Error::kNone);  // told once
  c.Close();
  Poll();
  ExpectNothingLeft();
  EXPECT_EQ(Count(Counter::TcpEstabResets), 1u);
}

TEST_P(InputTest, AResetElsewhereInTheWindowIsChallenged) {
  Connection c = Open();
  Give(Flags("R").SeqNo(P(1)));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(0))));
  EXPECT_EQ(Count(Counter::TcpExtTCPChallengeACK), 1u);
  EXPECT_EQ(c.state(), TcpState::kEstablished);
  // At most one in tcp_invalid_ratelimit.
  GiveSilently(Flags("R").SeqNo(P(2)));
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedChallenge), 1u);
  AdvanceBy(Duration::Millis(501));
  Give(Flags("R").SeqNo(P(3)));
  EXPECT_THAT(TakeOne(), HasFlags("A"));
}

TEST_P(InputTest, AResetOutOfTheWindowIsNothing) {
  Connection c = Open();
  GiveSilently(Flags("R").SeqNo(P(-1)));
  GiveSilently(Flags("R").SeqNo(P(100'000)));
  EXPECT_EQ(c.state(), TcpState::kEstablished);
}

TEST_P(InputTest, AResetAtTheEndOfWhatWasSackedResets) {
  sack_ = true;
  Open();
  Give(Ack().SeqNo(P(5)).Data("world"));
  GiveSilently(Flags("R").SeqNo(P(10)));
  EXPECT_EQ(app_.closed_why, Error::kConnectionReset);
}

TEST_P(InputTest, AResetAtTheFinsNumberResetsWhenThePeerHasClosed) {
  Open();
  Give(Ack().Flags("FA"));
  TakeSent();
  GiveSilently(Flags("R").SeqNo(P(0)));
  EXPECT_EQ(app_.closed_why, Error::kBrokenPipe);
}

TEST_P(InputTest, BytesBeforeAResetAreReadBeforeTheError) {
  Connection c = Open();
  Give(Ack().Data("last words"));
  Give(Flags("R").SeqNo(P(10)));
  EXPECT_EQ(Read(c), "last words");
  Read(c);
  EXPECT_EQ(last_error_, Error::kConnectionReset);
}

TEST_P(InputTest, ASynInTheWindowIsChallenged) {
  Connection c = Open();
  Give(Flags("S").SeqNo(P(100)));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(0))));
  AdvanceBy(Duration::Seconds(1));
  Give(Flags("SA").SeqNo(P(-1)).AckNo(O(0)));  // the SYN-ACK's own ACK was lost
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(0))));
  EXPECT_EQ(c.state(), TcpState::kEstablished);
  EXPECT_EQ(Count(Counter::TcpExtTCPSYNChallenge), 2u);
}

TEST_P(InputTest, ASynOutOfTheWindowIsChallenged) {
  Open();
  Give(Flags("S").SeqNo(P(-5000)));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(0))));
}

// ---- ACK ----

TEST_P(InputTest, AnAckOfWhatWasNeverSentIsAnsweredNotBelieved) {
  Connection c = Open();
  Give(Ack(1).Data("x"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(0))));
  EXPECT_EQ(Read(c), "");
}

TEST_P(InputTest, AnAckOlderThanAnyWindowIsChallenged) {
  Connection c = Open();
  Give(Ack(-65536).Data("x"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(0))));
  EXPECT_EQ(Count(Counter::TcpExtTCPChallengeACK), 1u);
  EXPECT_EQ(Read(c), "");
  c.Write("answer");
  Poll();
  TakeSent();
  Give(Ack(6));
  Give(Ack(-1).Data("x"));  // before anything that was ever sent
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedChallenge), 1u);
  Give(Ack(0).SeqNo(P(0)).Data("y"));  // old but possible: its data counts
  EXPECT_EQ(Read(c), "y");
}

// ---- Timestamps ----

TEST_P(InputTest, PawsDropsOldTimestamps) {
  timestamps_ = true;
  Connection c = Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("a"));
  TakeSent();
  Give(Ack().Timestamps(9'999'998, last_tsval_).Data("b"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(1)), EchoesTimestamp(10'000'000)));
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 1u);
  EXPECT_EQ(Read(c), "a");
}

// Linux's TCP_PAWS_WINDOW: taken, but not remembered.
TEST_P(InputTest, PawsAllowsOneTick) {
  timestamps_ = true;
  Connection c = Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("a"));
  TakeSent();
  Give(Ack().Timestamps(9'999'999, last_tsval_).Data("b"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(2)), EchoesTimestamp(10'000'000)));
  EXPECT_EQ(Read(c), "ab");
}

TEST_P(InputTest, PawsEndsHalfTheCircleAway) {
  timestamps_ = true;
  Connection c = Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("a"));
  Give(Ack().Timestamps(10'000'000 + (1u << 31) + 1, last_tsval_).Data("b"));
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 1u);
  TakeSent();
  Give(Ack().SeqNo(P(1)).Timestamps(10'000'000 + (1u << 31), last_tsval_).Data("b"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(2)), EchoesTimestamp(10'000'000 + (1u << 31))));
  EXPECT_EQ(Read(c), "ab");
}

TEST_P(InputTest, PawsDoesNotStopAReset) {
  timestamps_ = true;
  Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("a"));
  Give(Flags("R").SeqNo(P(1)).Timestamps(1, 0));
  EXPECT_EQ(app_.closed, 1);
}

TEST_P(InputTest, PawsLetsADisorderedPureAckPass) {
  timestamps_ = true;
  Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("a"));
  AdvanceBy(Duration::Seconds(1));
  Give(Ack().Timestamps(10'000'000, last_tsval_));
  GiveSilently(Ack().Timestamps(9'999'950, last_tsval_));
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 0u);
  Give(Ack().Timestamps(9'000'000, last_tsval_));  // older than any retransmission
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 1u);
}

TEST_P(InputTest, ASynThatPawsRejectsIsChallenged) {
  timestamps_ = true;
  Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("a"));
  TakeSent();
  Give(Flags("S").SeqNo(P(50)).Timestamps(1, 0));
  EXPECT_THAT(TakeOne(), HasFlags("A"));
  EXPECT_EQ(Count(Counter::TcpExtTCPSYNChallenge), 1u);
}

TEST_P(InputTest, AfterTwentyFourDaysAnyTimestampGoes) {
  timestamps_ = true;
  Connection c = Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("a"));
  AdvanceBy(Duration::Seconds(24 * 24 * 3600 + 10));
  TakeSent();
  Give(Ack().Timestamps(5, last_tsval_).Data("b"));
  EXPECT_EQ(Read(c), "ab");
  EXPECT_THAT(TakeSent(), Not(IsEmpty()));
}

TEST_P(InputTest, ASegmentWithoutItsTimestampIsTaken) {
  timestamps_ = true;
  Connection c = Open();
  Give(Ack().NoTimestamps().Data("x"));
  EXPECT_EQ(Read(c), "x");
}

TEST_P(InputTest, TheEchoIsThatOfTheSegmentThatMovedTheEdge) {
  timestamps_ = true;
  Open();
  Give(Ack().SeqNo(P(5)).Timestamps(10'000'001, last_tsval_).Data("world"));
  EXPECT_THAT(TakeOne(), Not(EchoesTimestamp(10'000'001)));  // beyond a hole: not yet
  Give(Ack().SeqNo(P(0)).Timestamps(10'000'002, last_tsval_).Data("hello"));
  EXPECT_THAT(TakeOne(), AllOf(Acks(P(10)), EchoesTimestamp(10'000'002)));
}

// ---- FIN ----

TEST_P(InputTest, AFinEndsTheStream) {
  Connection c = Open();
  Give(Ack().Flags("FPA").Data("bye"));
  EXPECT_EQ(c.state(), TcpState::kCloseWait);
  EXPECT_EQ(Read(c), "bye");
  EXPECT_EQ(Read(c), "");
  EXPECT_EQ(last_error_, Error::kNone);
  AdvanceBy(Duration::Millis(50));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(4))));
  // Half-close: we may still send.
  EXPECT_EQ(c.Write("reply").bytes, 5u);
  Poll();
  EXPECT_THAT(TakeOne(), HasPayload("reply"));
}

TEST_P(InputTest, AFinAcrossAHoleWaits) {
  Connection c = Open();
  Give(Ack().SeqNo(P(5)).Flags("FA"));
  EXPECT_EQ(c.state(), TcpState::kEstablished);
  TakeSent();
  Give(Ack().SeqNo(P(0)).Data("hello"));
  EXPECT_EQ(c.state(), TcpState::kCloseWait);
  EXPECT_THAT(TakeOne(), Acks(P(6)));
}

TEST_P(InputTest, ARepeatedFinIsAcknowledgedEachTime) {
  Open();
  Give(Ack().Flags("FA"));
  AdvanceBy(Duration::Millis(50));
  TakeSent();
  for (int i = 0; i < 3; ++i) {
    Give(Ack().SeqNo(P(0)).Flags("FA"));
    EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(1))));
  }
}

TEST_P(InputTest, DataBehindAFinIsIgnored) {
  Connection c = Open();
  Give(Ack().Flags("FA"));
  TakeSent();
  Give(Ack().SeqNo(P(1)).Data("more"));
  EXPECT_EQ(Read(c), "");
  EXPECT_EQ(last_error_, Error::kNone);
}

TEST_P(InputTest, AFinAtAClosedWindowIsTaken) {
  listen_options_.receive_buffer_bytes = 8192;
  Connection c = Open();
  uint32_t sent = 0;
  while (sent < 4 * syn_ack_.window && Peek(c).rcv_wnd() > 0) {
    const uint32_t n = std::min<uint32_t>(1000, Peek(c).rcv_wnd());
    Give(Ack().SeqNo(P(sent)).Data(std::string(n, 'x')));
    sent += n;
  }
  ASSERT_EQ(Peek(c).rcv_wnd(), 0u);
  TakeSent();
  Give(Ack().SeqNo(P(sent)).Flags("FA"));
  EXPECT_EQ(c.state(), TcpState::kCloseWait);
  EXPECT_EQ(Read(c).size(), sent);
}

// ---- Bad checksums and shapes ----

TEST_P(InputTest, ABadChecksumIsCountedAndDropped) {
  Connection c = Open();
  GiveSilently(Ack().Data("x").BadChecksum());
  EXPECT_EQ(Count(Counter::TcpInCsumErrors), 1u);
  EXPECT_EQ(Read(c), "");
}

// Every combination of flags at every place in every state: no crash, and what RFC 9293 and RFC
// 5961 say for RST and SYN.
TEST_P(InputTest, AllFlagsInAllStates) {
  enum class S { kEstablished, kCloseWait, kFinWait1, kFinWait2, kClosing, kLastAck, kSynSent };
  for (int state = 0; state < 7; ++state) {
    for (uint16_t flags = 0; flags < 64; ++flags) {
      for (int64_t at : {-1, 0, 1, 100'000}) {
        for (int64_t ack : {-1, 0, 1, 2}) {
          SCOPED_TRACE(testing::Message() << "state " << state << " flags " << FlagsToString(flags)
                                          << " at " << at << " ack " << ack);
          const auto s = static_cast<S>(state);
          tuple_ = {local_, remote_, kPort, kPeerPort};
          Connection c = s == S::kSynSent ? Connect() : Open();
          if (s == S::kFinWait1 || s == S::kFinWait2 || s == S::kClosing)
            c.Shutdown(ShutdownHow::kWrite);
          Poll();
          TakeSent();
          if (s == S::kFinWait2) Give(Ack(1));
          if (s == S::kClosing) Give(Ack(0).Flags("FA"));
          if (s == S::kCloseWait || s == S::kLastAck) Give(Ack().Flags("FA"));
          if (s == S::kLastAck) c.Shutdown(ShutdownHow::kWrite);
          AdvanceBy(Duration::Millis(100));
          TakeSent();
          const TcpState before = c.state();
          const Seq rcv_nxt = Peek(c).rcv_nxt();
          Give(From(tuple_)
                   .FlagBits(flags)
                   .SeqNo(s == S::kSynSent ? P(at) : rcv_nxt + static_cast<uint32_t>(at))
                   .AckNo(O(ack))
                   .Data("data"));
          const bool rst = (flags & TcpFlags::kRst) != 0;
          if (s != S::kSynSent) {
            if (rst && at == 0) {
              EXPECT_EQ(c.state(), TcpState::kClosed);
            }
            if (rst && at == 1) {
              EXPECT_EQ(c.state(), before);
            }
            if (!rst && (flags & TcpFlags::kSyn) != 0) {
              EXPECT_EQ(c.state(), before);
            }
          } else if (rst) {
            EXPECT_EQ(c.state(), (flags & TcpFlags::kAck) != 0 && ack == 0 ? TcpState::kClosed
                                                                           : TcpState::kSynSent);
          }
          for (const SentTcp& sent : TakeSent()) {
            EXPECT_FALSE(rst && (sent.flags & TcpFlags::kRst) != 0)
                << "a reset answered by a reset";
          }
          if (c.valid()) c.Abort();
          Poll();
          TakeSent();
          Give(From({local_, remote_, kPort, kPeerPort}).Rst(peer_nxt_));  // a request left over
          TakeSent();
          AdvanceBy(Duration::Seconds(150));
          TakeSent();
          app_ = RecordingApplication();
          peer_nxt_ = P(0);
          if (HasFailure()) return;
        }
      }
    }
  }
  ExpectNothingLeft();
}

// The reader has made room, but nobody has said so yet: what comes to the closed window is a probe.
TEST_P(InputTest, DataAtAClosedWindowIsNotTakenThoughThereIsRoom) {
  listen_options_.receive_buffer_bytes = 20'000;
  Open();
  uint32_t sent = 0;
  while (Peek(c_).rcv_wnd() > 0) {
    const uint32_t n = std::min<uint32_t>(1400, Peek(c_).rcv_wnd());
    Give(Ack().Data(std::string(n, 'x')));
    AdvanceBy(Duration::Millis(300));
    sent += n;
    ASSERT_LT(sent, 100'000u);
  }
  TakeSent();
  EXPECT_EQ(Read(c_).size(), sent);
  Give(Ack().SeqNo(P(sent)).Data("p"));
  EXPECT_EQ(Count(Counter::TcpExtTCPZeroWindowDrop), 1u);
  const auto answers = TakeSent();
  ASSERT_FALSE(answers.empty());
  EXPECT_THAT(answers.back(), Acks(P(sent)));
  EXPECT_GT(answers.back().window, 0) << "and now it is told";
  EXPECT_EQ(Read(c_), "");
  Give(Ack().SeqNo(P(sent)).Data("p"));
  EXPECT_EQ(Read(c_), "p");
}

// Nothing stands behind a FIN: what a peer that contradicts itself has sent there is dropped.
TEST_P(InputTest, AFinInOrderEndsWhatWaitsBeyondIt) {
  sack_ = true;
  Connection c = Open();
  Give(Ack().SeqNo(P(10)).Data("beyond"));
  Give(Ack().SeqNo(P(0)).Flags("FA").Data("all"));
  EXPECT_EQ(c.state(), TcpState::kCloseWait);
  EXPECT_TRUE(Peek(c).out_of_order_empty());
  TakeSent();
  AdvanceBy(Duration::Millis(50));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(4)), HasSack(Blocks({}))));
  EXPECT_EQ(Read(c), "all");
  EXPECT_EQ(Read(c), "");
  EXPECT_EQ(last_error_, Error::kNone);
}

// It overtook a segment that was answered long ago; an answer would help nobody.
TEST_P(InputTest, PawsDropsAnOldPureAckInSilence) {
  timestamps_ = true;
  Open();
  Give(Ack().Timestamps(10'000'000, last_tsval_).Data("abc"));
  TakeSent();
  GiveSilently(Flags("A").SeqNo(P(0)).AckNo(O(0)).Timestamps(9'000'000, last_tsval_));
  EXPECT_EQ(Count(Counter::TcpExtPAWSOldAck), 1u);
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 0u);
}

// RFC 7323 section 5.2: a SYN-ACK that echoes an older connection's timestamp.
TEST_P(InputTest, ASynAckOfAnOlderConnectionIsReset) {
  timestamps_ = true;
  Connection c = Connect();
  AdvanceBy(Duration::Millis(10));
  Give(SynOf(Seq(peer_isn_)).Flags("SA").AckNo(O(0)).Timestamps(Tsval(), last_tsval_ - 5000));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("R"), HasSeq(O(0))));
  EXPECT_EQ(Count(Counter::TcpExtPAWSActive), 1u);
  EXPECT_EQ(c.state(), TcpState::kSynSent);
  // One that echoes nothing is believed, and one that echoes ours.
  Give(SynOf(Seq(peer_isn_)).Flags("SA").AckNo(O(0)).Timestamps(Tsval(), 0));
  EXPECT_EQ(c.state(), TcpState::kEstablished);
}

// An older connection of the peer's answers: its end is near, so the SYN goes again soon, once.
TEST_P(InputTest, AfterAWrongSynAckTheSynGoesAgainSoonButNotTwice) {
  Connect();
  Give(SynAck().AckNo(O(5)));
  EXPECT_THAT(TakeOne(), HasFlags("R"));
  EXPECT_LE(UntilSent(Duration::Seconds(1)), Duration::Millis(20));
  EXPECT_THAT(TakeOne(), HasFlags("S"));
  Give(SynAck().AckNo(O(5)));
  EXPECT_THAT(TakeOne(), HasFlags("R"));
  EXPECT_GE(UntilSent(Duration::Seconds(5)), Duration::Millis(500));
  EXPECT_THAT(TakeOne(), HasFlags("S"));
}

TEST_P(InputTest, ASimultaneousSynRepeatedIsAnsweredNowAndThen) {
  Connect();
  Give(SynOf(Seq(peer_isn_)));
  EXPECT_THAT(TakeOne(), HasFlags("SA"));
  Give(SynOf(Seq(peer_isn_)));
  EXPECT_THAT(TakeOne(), HasFlags("SA"));
  GiveSilently(SynOf(Seq(peer_isn_)));
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedSynRecv), 1u);
}

}  // namespace
}  // namespace usher::test
