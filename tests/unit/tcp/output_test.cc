// What is sent and when: Nagle, silly windows, zero windows, options of segments.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OutputTest : public ConnectionTest {
 protected:
  size_t Mss() { return Peek(c_).mss(); }
};
USHER_FOR_BOTH_FAMILIES(OutputTest);

// ---- Segments ----

TEST_P(OutputTest, WritesOfAPassShareSegments) {
  Connection c = Open();
  c.Write("one");
  c.Write("two");
  Poll();
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("PA"), HasSeq(O(0)), HasPayload("onetwo")));
}

TEST_P(OutputTest, FullSegmentsAndTheInitialWindow) {
  Connection c = Open();
  c.Write(std::string(16'000, 'x'));
  Poll();
  const auto sent = TakeSent();
  ASSERT_THAT(sent, SizeIs(10));  // RFC 6928
  for (const SentTcp& s : sent) EXPECT_THAT(s, AllOf(HasFlags("A"), HasLength(Mss())));
}

TEST_P(OutputTest, TimestampsAndSackBlocksShortenSegments) {
  timestamps_ = sack_ = true;
  Connection c = Open();
  Give(Ack().SeqNo(P(10)).Data("beyond a hole"));
  TakeSent();
  c.Write(std::string(16'000, 'x'));
  Poll();
  const auto sent = TakeSent();
  ASSERT_FALSE(sent.empty());
  EXPECT_THAT(sent[0], AllOf(HasSack(Blocks({{P(10), P(23)}})), HasLength(Mss() - 12)));
  EXPECT_EQ(sent[0].option_bytes.size(), 24u);
}

TEST_P(OutputTest, ASegmentOfAnEarlierSizeCarriesNoBlocksThatDoNotFit) {
  sack_ = true;
  Connection c = Open();
  c.Write(std::string(Mss(), 'x'));
  Poll();
  EXPECT_THAT(TakeOne(), HasLength(Mss()));
  Give(Ack(0).SeqNo(P(10)).Data("beyond a hole"));
  TakeSent();
  UntilSent(Duration::Seconds(2));  // the loss probe or the timeout
  const SentTcp again = TakeOne();
  EXPECT_LE(again.payload.size() + again.option_bytes.size(), Mss());
}

// ---- Nagle, NODELAY, CORK ----

TEST_P(OutputTest, NagleHoldsASecondSmallSegment) {
  Connection c = Open();
  c.Write("a");
  Poll();
  EXPECT_THAT(TakeOne(), HasPayload("a"));
  c.Write("b");
  Poll();
  c.Write("c");
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  Give(Ack(1));
  EXPECT_THAT(TakeOne(), HasPayload("bc"));
}

TEST_P(OutputTest, NagleLetsASmallOneFollowFullOnes) {
  Connection c = Open();
  c.Write(std::string(Mss() + 10, 'x'));
  Poll();
  EXPECT_THAT(TakeSent(), ElementsAre(HasLength(Mss()), HasLength(10)));  // Minshall
}

TEST_P(OutputTest, NoDelaySendsAtOnce) {
  listen_options_.no_delay = true;
  Connection c = Open();
  for (const char* text : {"a", "b", "c"}) {
    c.Write(text);
    Poll();
    EXPECT_THAT(TakeOne(), HasPayload(text));
  }
}

TEST_P(OutputTest, TheLastSegmentWithFinIgnoresNagle) {
  Connection c = Open();
  c.Write("a");
  Poll();
  TakeSent();
  c.Write("b");
  c.Close();
  Poll();
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("FPA"), HasPayload("b")));
}

TEST_P(OutputTest, CorkHoldsPartialSegmentsUntilLifted) {
  Connection c = Open();
  TcpOptionsSet o = c.options();
  o.cork = true;
  c.SetOptions(o);
  c.Write("head");
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  o.cork = false;
  c.SetOptions(o);
  Poll();
  EXPECT_THAT(TakeOne(), HasPayload("head"));
}

TEST_P(OutputTest, CorkedDataLeavesAfterAWhile) {
  rtt_ = Duration::Millis(1);
  Connection c = Open();
  TcpOptionsSet o = c.options();
  o.cork = true;
  c.SetOptions(o);
  c.Write("head");
  Poll();
  const Duration waited = UntilSent(Duration::Seconds(5));
  EXPECT_THAT(TakeOne(), HasPayload("head"));
  EXPECT_GE(waited, Duration::Millis(200));
  EXPECT_LE(waited, Duration::Millis(1200));
}

// ---- The peer's window ----

TEST_P(OutputTest, NothingIsSentBeyondTheWindow) {
  window_ = 4000;
  Connection c = Open();
  c.Write(std::string(10'000, 'x'));
  Poll();
  size_t sent = 0;
  for (const SentTcp& s : TakeSent()) sent += s.payload.size();
  EXPECT_LE(sent, 4000u);
  EXPECT_EQ(sent, 4000 / Mss() * Mss());  // no sliver behind full segments (RFC 9293 3.8.6.2.1)
}

TEST_P(OutputTest, ASmallWindowIsUsedWhenItIsHalfTheLargest) {
  window_ = 1000;  // less than a segment
  syn_window_ = 1000;
  Connection c = Open();
  c.Write(std::string(5000, 'x'));
  Poll();
  EXPECT_THAT(TakeSent(), ElementsAre(HasLength(500), HasLength(500)));  // in two halves
  Give(Ack(1000).Window(400));  // less than half of the largest
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_LT(UntilSent(Duration::Seconds(2)), Duration::Seconds(2));  // the override
  EXPECT_THAT(TakeOne(), HasLength(400));
}

TEST_P(OutputTest, ExactlyHalfTheLargestWindowIsEnough) {
  window_ = syn_window_ = 400;
  Connection c = Open();
  c.Write(std::string(1000, 'x'));
  Poll();
  EXPECT_THAT(TakeOne(), HasLength(400));
  Give(Ack(400).Window(200));
  EXPECT_THAT(TakeOne(), HasLength(200));
}

// A tail loss probe sends what is new, up to the last byte of the peer's window (RFC 8985 7.3).
TEST_P(OutputTest, ATailLossProbeMayFillTheWindow) {
  const uint16_t mss = v6_ ? 1440 : 1460;
  options_.sysctls.tcp_wmem = {4096, 65536, 65536};
  sack_ = true;
  rtt_ = Duration::Millis(100);
  window_ = static_cast<uint16_t>(11 * mss);
  Connection c = Open();
  EXPECT_EQ(c.Write(std::string(12u * mss, 'x')).bytes, 12u * mss);
  Poll();
  ASSERT_EQ(TakeSent().size(), 10u);
  EXPECT_LE(UntilSent(Duration::Seconds(1)), Duration::Millis(250));
  EXPECT_THAT(TakeOne(), AllOf(HasSeq(O(10 * mss)), HasLength(mss)));
}

TEST_P(OutputTest, ATailLossProbeMayFillTheWindowWithTheFin) {
  const uint16_t mss = v6_ ? 1440 : 1460;
  sack_ = true;
  rtt_ = Duration::Millis(100);
  window_ = static_cast<uint16_t>(11 * mss);
  Connection c = Open();
  EXPECT_EQ(c.Write(std::string(11u * mss - 1u, 'x')).bytes, 11u * mss - 1u);
  c.Shutdown(ShutdownHow::kWrite);
  Poll();
  ASSERT_EQ(TakeSent().size(), 10u);
  EXPECT_LE(UntilSent(Duration::Seconds(1)), Duration::Millis(250));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("FPA"), HasSeq(O(10 * mss)), HasLength(mss - 1)));
}

TEST_P(OutputTest, AClosedWindowIsProbedAndItsOpeningUsed) {
  rtt_ = Duration::Millis(10);
  Connection c = Open();
  c.Write("a");
  Poll();
  TakeSent();
  c.Write("bcd");
  Give(Ack(1).Window(0));
  EXPECT_THAT(TakeSent(), IsEmpty());
  // Probes without data at a number already acknowledged, backing off while unanswered.
  Duration last;
  for (int i = 0; i < 4; ++i) {
    const Duration wait = UntilSent(Duration::Seconds(60));
    EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), HasLength(0)));
    if (i > 0) {
      EXPECT_NEAR(static_cast<double>(wait.ms()), 2.0 * static_cast<double>(last.ms()), 2);
    }
    last = wait;
  }
  EXPECT_EQ(Count(Counter::TcpExtTCPWinProbe), 4u);
  Give(Ack(1));
  EXPECT_THAT(TakeOne(), HasPayload("bcd"));
}

TEST_P(OutputTest, ProbesBackOffThoughAnswered) {
  Connection c = Open();
  c.Write("a");
  Poll();
  TakeSent();
  c.Write("bcd");
  Give(Ack(1).Window(0));
  std::vector<int64_t> waits;
  for (int i = 0; i < 5; ++i) {
    waits.push_back(UntilSent(Duration::Seconds(130)).ms());
    EXPECT_THAT(TakeOne(), HasLength(0));
    Give(Ack(1).Window(0));
  }
  for (size_t i = 1; i < waits.size(); ++i) EXPECT_GT(waits[i], waits[i - 1] * 3 / 2);
  for (int i = 0; i < 100; ++i) {  // for as long as it answers, it lives
    UntilSent(Duration::Seconds(130));
    TakeSent();
    Give(Ack(1).Window(0));
  }
  EXPECT_EQ(c.state(), TcpState::kEstablished);
}

TEST_P(OutputTest, AFinAlsoWaitsForTheWindow) {
  Connection c = Open();
  c.Write("a");
  Poll();
  TakeSent();
  Give(Ack(1).Window(0));
  c.Shutdown(ShutdownHow::kWrite);
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  UntilSent(Duration::Seconds(5));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasLength(0)));  // a probe
  Give(Ack(1));
  EXPECT_THAT(TakeOne(), HasFlags("FA"));
}

TEST_P(OutputTest, AnOldAckDoesNotChangeTheWindow) {
  listen_options_.no_delay = true;
  Connection c = Open();
  c.Write("a");
  Poll();
  c.Write("b");
  Poll();
  Give(Ack(2).Window(100));
  Give(Ack(1).SeqNo(P(0)).Window(60000).Data("later number"));
  EXPECT_EQ(Peek(c).snd_wnd(), 100u);
}

TEST_P(OutputTest, AcksStayInsideAWindowTakenBack) {
  Connection c = Open();
  c.Write(std::string(3000, 'x'));
  Poll();
  TakeSent();
  Give(Ack(0).Window(0));  // RFC 9293 3.8.6: must be survived
  EXPECT_EQ(Peek(c).snd_wnd(), 0u);
  TakeSent();
  Give(Ack(0).Window(0).Data(std::string(1000, 'y')));
  AdvanceBy(Duration::Millis(50));
  for (const SentTcp& s : TakeSent())
    if (s.payload.empty()) {
      EXPECT_THAT(s, HasSeq(O(0)));
    }
  // The first segment is sent again all the same, by the timeout.
  AdvanceBy(Duration::Seconds(3));
  bool again = false;
  for (const SentTcp& s : TakeSent()) again |= !s.payload.empty() && s.seq == O(0);
  EXPECT_TRUE(again);
}

TEST_P(OutputTest, AcksStayInsideAWindowTakenBackByAByte) {
  Connection c = Open();
  c.Write(std::string(3000, 'x'));
  Poll();
  TakeSent();
  Give(Ack(0).Data("y"));
  AdvanceBy(Duration::Millis(50));
  TakeSent();
  Give(Ack(0).Window(2999).Data("z"));
  AdvanceBy(Duration::Millis(50));
  for (const SentTcp& s : TakeSent())
    if (s.payload.empty()) {
      EXPECT_THAT(s, HasSeq(O(2999)));
    }
  EXPECT_EQ(Peek(c).snd_wnd(), 2999u);
}

// ---- Our window ----

TEST_P(OutputTest, TheWindowClosesAndReadingOpensIt) {
  listen_options_.receive_buffer_bytes = 20'000;
  Connection c = Open();
  uint32_t sent = 0;
  while (Peek(c).rcv_wnd() > 0) {
    const uint32_t n = std::min<uint32_t>(1400, Peek(c).rcv_wnd());
    Give(Ack().Data(std::string(n, 'x')));
    AdvanceBy(Duration::Millis(300));
    sent += n;
    ASSERT_LT(sent, 100'000u);
  }
  EXPECT_EQ(TakeSent().back().window, 0);
  EXPECT_GE(Count(Counter::TcpExtTCPToZeroWindowAdv), 1u);
  // A probe is answered at once, each time.
  for (int i = 0; i < 3; ++i) {
    Give(Ack().SeqNo(P(sent)).Data("p"));
    EXPECT_THAT(TakeOne(), AllOf(Acks(P(sent)), HasWindow(0)));
  }
  EXPECT_EQ(Count(Counter::TcpExtBeyondWindow), 3u);
  EXPECT_EQ(Count(Counter::TcpExtTCPFromZeroWindowAdv), 0u);
  EXPECT_EQ(Count(Counter::TcpExtPruneCalled), 0u);
  // A little room is not worth telling; half of it is.
  Read(c, 10);
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  while (!Read(c).empty()) {
  }
  Poll();
  const SentTcp update = TakeOne();
  EXPECT_THAT(update, AllOf(HasFlags("A"), Acks(P(sent))));
  EXPECT_GT(update.window, 4000);
  EXPECT_EQ(Count(Counter::TcpExtTCPFromZeroWindowAdv), 1u);
}

// The field is what may be offered in whole units, the last begun one too: a unit may be 16 KiB.
TEST_P(OutputTest, AScaledWindowIsRoundedUp) {
  window_scale_ = 0;
  Connection c = Open();
  const uint8_t scale = *syn_ack_.options.window_scale;
  ASSERT_GE(scale, 7);
  for (int i = 0; i < 30; ++i) {
    Give(Ack().Data(std::string(1400, 'x')));
    AdvanceBy(Duration::Millis(300));
  }
  TakeSent();
  while (!Read(c).empty()) {
  }
  Give(Ack().Data("x"));
  Read(c);
  AdvanceBy(Duration::Millis(300));
  const uint32_t offered = uint32_t{TakeSent().back().window} << scale;
  EXPECT_GE(offered, Peek(c).rcv_ssthresh());
  EXPECT_LT(offered, Peek(c).rcv_ssthresh() + (1u << scale));
}

TEST_P(OutputTest, TheRightEdgeNeverMovesLeft) {
  window_scale_ = 2;
  listen_options_.receive_buffer_bytes = 30'000;
  Connection c = Open();
  Seq edge = P(0) + syn_ack_.window;
  SeededRandom random(3);
  const uint8_t scale = *syn_ack_.options.window_scale;
  for (int i = 0; i < 300; ++i) {
    if (random.Uniform(3) == 0) Read(c, random.Uniform(3000) + 1);
    const uint32_t n =
        std::min<uint32_t>(static_cast<uint32_t>(random.Uniform(1400)) + 1, Peek(c).rcv_wnd());
    if (n > 0) Give(Ack().Data(std::string(n, 'x')));
    AdvanceBy(Duration::Millis(static_cast<int64_t>(random.Uniform(100))));
    for (const SentTcp& s : TakeSent()) {
      const Seq now = s.ack + (uint32_t{s.window} << scale);
      EXPECT_GE(now - edge, 0);
      edge = now;
    }
  }
}

// ---- Acknowledgments ----

TEST_P(OutputTest, TheFirstSegmentsAreAcknowledgedAtOnceThenDelayed) {
  Connection c = Open();
  for (int i = 0; i < 40; ++i) {
    Give(Ack().Data("x"));
    Read(c);
    TakeSent();
    AdvanceBy(Duration::Millis(1));
    TakeSent();
  }
  AdvanceBy(Duration::Millis(60));
  TakeSent();
  Give(Ack().Data("x"));  // the credit is used up
  EXPECT_THAT(TakeSent(), IsEmpty());
  const Duration waited = UntilSent(Duration::Seconds(1));
  EXPECT_GE(waited, Duration::Millis(30));
  EXPECT_LE(waited, Duration::Millis(200));
  EXPECT_THAT(TakeOne(), HasFlags("A"));
  EXPECT_GE(Count(Counter::TcpExtDelayedACKs), 1u);
}

TEST_P(OutputTest, EverySecondFullSegmentIsAcknowledgedAtOnce) {
  Connection c = Open();
  const std::string full(1460, 'x');
  for (int i = 0; i < 30; ++i) {  // credit and estimate
    Give(Ack().Data(full));
    while (!Read(c).empty()) {
    }
    AdvanceBy(Duration::Millis(1));
  }
  TakeSent();
  AdvanceBy(Duration::Seconds(1));
  TakeSent();
  size_t acks = 0;
  for (int i = 0; i < 10; ++i) {
    Give(Ack().Data(full));
    while (!Read(c).empty()) {
    }
    acks += TakeSent().size();
  }
  EXPECT_GE(acks, 5u);
}

TEST_P(OutputTest, AnAnswerCarriesTheAcknowledgment) {
  Open();
  app_.on_readable = [&](Connection x) {
    const std::string text = Read(x);
    if (!text.empty()) x.Write("answer");
  };
  Give(Ack().Data("question"));
  EXPECT_THAT(TakeOne(), AllOf(HasPayload("answer"), Acks(P(8))));
}

// ---- Buffers used up ----

TEST_P(OutputTest, WithoutPacketBuffersNothingIsLost) {
  Make(64);
  Connection c = Open();
  std::vector<Packet> taken;
  Packet p;
  while (pool_->Allocate(&p)) taken.push_back(p);
  c.Write("patience");
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  AdvanceBy(Duration::Seconds(2));
  EXPECT_THAT(TakeSent(), IsEmpty());
  for (const Packet& t : taken) pool_->Free(t.handle);
  UntilSent(Duration::Seconds(10));
  EXPECT_THAT(TakeOne(), HasPayload("patience"));
}

// ---- Without buffers: what is owed is sent when there are some ----

class NoBuffersTest : public OutputTest {
 protected:
  NoBuffersTest() { rtt_ = Duration::Millis(20); }
  // Nothing can be sent from now on, nor anything received.
  void Drain() {
    Packet p;
    while (shard().interface(0).link().AllocateControl(&p)) held_.push_back(p.handle);
  }
  void Refill() {
    for (void* handle : held_) pool_->Free(handle);
    held_.clear();
  }
  std::vector<void*> held_;
};
USHER_FOR_BOTH_FAMILIES(NoBuffersTest);

TEST_P(NoBuffersTest, AnAcknowledgmentStaysOwed) {
  Make(64);
  Open();
  Inject(Ack().Data("x"));
  Drain();
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_TRUE(Peek(c_).ack_pending());
  AdvanceBy(Duration::Millis(500));
  EXPECT_THAT(TakeSent(), IsEmpty());
  Refill();
  AdvanceBy(Duration::Millis(200));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), Acks(P(1))));
}

TEST_P(NoBuffersTest, ARetransmissionIsTriedAgainSoon) {
  Make(64);
  Open();
  c_.Write("lost");
  Poll();
  EXPECT_THAT(TakeOne(), HasPayload("lost"));
  Drain();
  AdvanceBy(Duration::Seconds(1));
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_GE(Count(Counter::TcpExtTCPRetransFail), 1u);
  Refill();
  EXPECT_LE(UntilSent(Duration::Seconds(10)), Duration::Millis(500)) << "not a backed-off timeout";
  EXPECT_THAT(TakeOne(), AllOf(HasSeq(O(0)), HasPayload("lost")));
}

TEST_P(NoBuffersTest, ASynIsSentByItsTimer) {
  Make(64);
  Drain();
  Connection c;
  EXPECT_EQ(stack_->Connect(0, remote_, 8080, app_, &c), Error::kNone);
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  AdvanceBy(Duration::Millis(1500));  // again in vain
  EXPECT_THAT(TakeSent(), IsEmpty());
  Refill();
  UntilSent(Duration::Seconds(10));
  EXPECT_THAT(TakeOne(), HasFlags("S"));
}

TEST_P(NoBuffersTest, AResetAnswersNobody) {
  Make(64);
  Inject(From({local_, remote_, 9999, 1}).Ack(Seq(1), Seq(2)));
  Drain();
  Poll();
  Refill();
  EXPECT_THAT(TakeOne(), HasFlags("R")) << "turned round in its own buffer";
}

// ---- Windows too small for anything ----

TEST_P(OutputTest, ABufferOfNothingOffersNothing) {
  listen_options_.receive_buffer_bytes = 1;
  Open();
  EXPECT_EQ(syn_ack_.window, 0);
  for (int i = 0; i < 2; ++i) {
    Give(Ack().SeqNo(P(0)).Data("x"));
    EXPECT_THAT(TakeOne(), AllOf(Acks(P(0)), HasWindow(0)));
  }
  EXPECT_EQ(Read(c_), "");
}

}  // namespace
}  // namespace usher::test
