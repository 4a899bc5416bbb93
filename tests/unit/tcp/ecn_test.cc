// Explicit congestion notification of one connection (RFC 3168).
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class EcnTest : public ConnectionTest {
 protected:
  EcnTest() {
    ecn_ = true;
    sack_ = true;
    rtt_ = Duration::Millis(20);
  }
  bool InUse() { return tcp(c_)->Info(shard().context()).ecn; }
  bool Seen() { return tcp(c_)->Info(shard().context()).ecn_seen; }
  std::vector<SentTcp> Write(size_t n) {
    EXPECT_EQ(c_.Write(std::string(n, 'x')).bytes, n);
    Poll();
    return TakeSent();
  }
  SegmentBuilder Data(Ecn ecn) { return Ack().Data(std::string(100, 'y')).Ecn(ecn); }
  // All acknowledgments at once from here on: nothing is held back.
  SentTcp AckOf(const SegmentBuilder& b) {
    Give(b);
    AdvanceBy(Duration::Millis(200));
    return TakeOne();
  }
};
USHER_FOR_BOTH_FAMILIES(EcnTest);

// ---- The handshake ----

TEST_P(EcnTest, APassiveOpenGrantsIt) {
  Open();
  EXPECT_THAT(syn_ack_, AllOf(HasFlags("SAE"), HasEcn(Ecn::kNotEct)));
  EXPECT_TRUE(InUse());
  EXPECT_FALSE(Seen());
}

TEST_P(EcnTest, NobodyAskedNobodyMarks) {
  ecn_ = false;
  Open();
  EXPECT_THAT(syn_ack_, HasFlags("SA"));
  EXPECT_FALSE(InUse());
  EXPECT_THAT(Write(100), ElementsAre(AllOf(HasFlags("PA"), HasEcn(Ecn::kNotEct))));
  Give(Data(Ecn::kCe));  // a mark that nobody may set
  EXPECT_THAT(TakeOne(), HasFlags("A"));
  EXPECT_FALSE(Seen());
}

TEST_P(EcnTest, AnActiveOpenAsksOnlyIfToldTo) {
  for (const int setting : {0, 1, 2}) {
    options_.sysctls.tcp_ecn = setting;
    stack_.reset();
    Connect();
    EXPECT_THAT(syn_ack_, AllOf(HasFlags(setting == 1 ? "SEW" : "S"), HasEcn(Ecn::kNotEct)));
    Give(SynAck());
    EXPECT_EQ(InUse(), setting == 1);
    EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasEcn(Ecn::kNotEct)));
    TearDown();
  }
}

TEST_P(EcnTest, ASynAckMustGrantWithEceAlone) {
  options_.sysctls.tcp_ecn = 1;
  for (const char* flags : {"SA", "SAW", "SAEW", "SAE"}) {
    Connect();
    Give(SynAck().Flags(flags));
    EXPECT_EQ(InUse(), std::string(flags) == "SAE") << flags;
    TearDown();
  }
}

TEST_P(EcnTest, ASynWithoutAnswerIsSentAgainWithoutAsking) {
  for (const int fallback : {1, 0}) {
    options_.sysctls.tcp_ecn = 1;
    options_.sysctls.tcp_ecn_fallback = fallback;
    Connect();
    AdvanceBy(Duration::Millis(1100));
    EXPECT_THAT(TakeOne(), HasFlags(fallback != 0 ? "S" : "SEW"));
    Give(SynAck());  // the first one was answered late
    EXPECT_TRUE(InUse());
    TearDown();
  }
}

TEST_P(EcnTest, ASimultaneousOpenAgreesWhenBothAsked) {
  options_.sysctls.tcp_ecn = 1;
  for (const bool asks : {true, false}) {
    ecn_ = asks;
    Connect();
    Give(SynOf(Seq(peer_isn_)));
    EXPECT_THAT(TakeOne(), HasFlags(asks ? "SAE" : "SA"));
    EXPECT_EQ(InUse(), asks);
    TearDown();
  }
}

// ---- What is marked ----

TEST_P(EcnTest, NewDataIsMarkedAndNothingElse) {
  Open();
  EXPECT_THAT(Write(3000), Each(HasEcn(Ecn::kEct0)));
  Give(From(tuple_).Ack(peer_nxt_, O(0)).Data("y").Ecn(Ecn::kEct0));
  EXPECT_THAT(TakeOne(), AllOf(HasLength(0), HasFlags("A"), HasEcn(Ecn::kNotEct)));
  AdvanceBy(Duration::Millis(150));  // a loss probe
  EXPECT_THAT(TakeOne(), AllOf(Not(HasLength(0)), HasEcn(Ecn::kNotEct)));
  AdvanceBy(Duration::Seconds(1));  // retransmissions
  EXPECT_THAT(TakeSent(), AllOf(Not(IsEmpty()), Each(HasEcn(Ecn::kNotEct))));
  Give(Ack());
  TakeSent();
  c_.Shutdown(ShutdownHow::kWrite);
  EXPECT_THAT(TakeAfterPoll(), ElementsAre(AllOf(HasFlags("FA"), HasEcn(Ecn::kNotEct))));
}

TEST_P(EcnTest, WindowProbesAreNotMarked) {
  Open();
  window_ = 0;
  Give(Ack());
  EXPECT_THAT(Write(100), IsEmpty());
  AdvanceBy(Duration::Millis(1100));
  EXPECT_THAT(TakeSent(), AllOf(Not(IsEmpty()), Each(HasEcn(Ecn::kNotEct))));
  GiveSilently(Ack().Window(10));  // too little to send for its own sake
  AdvanceBy(Duration::Seconds(5));
  EXPECT_THAT(TakeSent(), ::testing::Contains(AllOf(HasLength(10), HasEcn(Ecn::kNotEct))));
}

// ---- The receiver ----

TEST_P(EcnTest, AMarkIsEchoedUntilTheSenderSaysThatItHeard) {
  Open();
  EXPECT_THAT(AckOf(Data(Ecn::kEct0)), HasFlags("A"));
  EXPECT_TRUE(Seen());
  EXPECT_THAT(AckOf(Data(Ecn::kCe)), HasFlags("AE"));
  EXPECT_THAT(AckOf(Data(Ecn::kEct0)), HasFlags("AE"));
  EXPECT_THAT(Write(100), ElementsAre(HasFlags("PAE"))) << "data carries it as well";
  EXPECT_THAT(AckOf(Data(Ecn::kEct0).Flags("AW")), HasFlags("A"));
  EXPECT_THAT(AckOf(Data(Ecn::kEct0)), HasFlags("A"));
  EXPECT_THAT(AckOf(Data(Ecn::kCe).Flags("AW")), HasFlags("AE")) << "heard, and marked again";
}

TEST_P(EcnTest, ABareAcknowledgmentCannotSayCwr) {
  Open();
  EXPECT_THAT(AckOf(Data(Ecn::kCe)), HasFlags("AE"));
  Give(Ack().Flags("AW"));
  EXPECT_THAT(AckOf(Data(Ecn::kEct0)), HasFlags("AE"));
}

TEST_P(EcnTest, MarksBeyondAHoleCount) {
  Open();
  Give(From(tuple_).Ack(P(100), our_nxt_).Data("later").Ecn(Ecn::kCe));
  EXPECT_THAT(TakeOne(), HasFlags("AE"));
}

TEST_P(EcnTest, AMarkIsAcknowledgedAtOnce) {
  Open();
  for (int i = 0; i < 40; ++i) {  // the quick acknowledgments of the beginning are used up
    Give(Data(Ecn::kEct0));
    AdvanceBy(Duration::Millis(30));
  }
  TakeSent();
  Give(Data(Ecn::kEct0));
  if (port_->sent_count() > 0) {  // every second one is acknowledged
    TakeSent();
    Give(Data(Ecn::kEct0));
  }
  AdvanceBy(Duration::Millis(100));
  TakeSent();
  GiveSilently(Data(Ecn::kEct0));
  AdvanceBy(Duration::Millis(100));
  TakeSent();
  Give(Data(Ecn::kCe));
  EXPECT_THAT(TakeOne(), HasFlags("AE"));
}

// ---- The sender ----

TEST_P(EcnTest, AnEchoReducesOnceAWindowAndIsAnsweredByCwr) {
  Open();
  const uint32_t mss = Peek(c_).mss();
  Write(10 * mss);
  const uint32_t cwnd = Peek(c_).cwnd();
  AdvanceBy(Duration::Millis(10));
  Give(Ack(mss).Flags("AE"));
  EXPECT_EQ(Peek(c_).recovery().state(), RecoveryState::kCwr);
  Give(Ack(2 * mss).Flags("AE"));
  Give(Ack(10 * mss).Flags("AE"));
  const uint32_t reduced = Peek(c_).cwnd();
  EXPECT_LT(reduced, cwnd);
  EXPECT_GE(reduced, cwnd * 7 / 10 - mss) << "one reduction by CUBIC's beta, not three";
  const auto next = Write(3000);
  EXPECT_THAT(next[0], AllOf(HasFlags("AW"), HasEcn(Ecn::kEct0)));
  EXPECT_THAT(next[1], Not(HasFlags("AW")));
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 0u);
  EXPECT_EQ(Count(Counter::TcpExtTCPDelivered), 10u);
  EXPECT_EQ(Count(Counter::TcpExtTCPDeliveredCE), 10u);
}

TEST_P(EcnTest, ANewWindowReducesAnew) {
  Open();
  Write(10 * 1460);
  Give(Ack().Flags("AE"));
  Write(1460);
  Give(Ack());  // above what was out at the reduction: it is over
  EXPECT_EQ(Peek(c_).recovery().state(), RecoveryState::kOpen);
  const uint32_t cwnd = Peek(c_).cwnd();
  Write(1460 * 3);
  Give(Ack(1460 * 12).Flags("AE"));
  EXPECT_EQ(Peek(c_).recovery().state(), RecoveryState::kCwr);
  Give(Ack());
  Write(1460);
  Give(Ack());
  EXPECT_LT(Peek(c_).cwnd(), cwnd);
}

TEST_P(EcnTest, LossIsAnsweredByCwrToo) {
  Open();
  const uint32_t mss = Peek(c_).mss();
  Write(10 * mss);
  AdvanceBy(Duration::Millis(20));
  Give(Ack(0).Sack({{O(mss), O(10 * mss)}}));
  EXPECT_THAT(TakeSent(), ElementsAre(AllOf(HasFlags("A"), HasEcn(Ecn::kNotEct))));
  Give(Ack(10 * mss));
  EXPECT_THAT(Write(100), ElementsAre(AllOf(HasFlags("PAW"), HasEcn(Ecn::kEct0))));
}

TEST_P(EcnTest, WithoutAgreementAnEchoMeansNothing) {
  ecn_ = false;
  Open();
  Write(10 * 1460);
  Give(Ack(1460).Flags("AE"));
  EXPECT_EQ(Peek(c_).recovery().state(), RecoveryState::kOpen);
  EXPECT_EQ(Count(Counter::TcpExtTCPDeliveredCE), 0u);
}

// ---- DCTCP (RFC 8257) ----

class DctcpTest : public EcnTest {
 protected:
  DctcpTest() { listen_options_.congestion = CongestionAlgorithm::kDctcp; }
};
USHER_FOR_BOTH_FAMILIES(DctcpTest);

TEST_P(DctcpTest, GrantsEcnWhateverTheSetting) {
  options_.sysctls.tcp_ecn = 0;
  Open();
  EXPECT_THAT(syn_ack_, AllOf(HasFlags("SAE"), HasEcn(Ecn::kEct0)));
  EXPECT_TRUE(InUse());
}

TEST_P(DctcpTest, AsksForEcnWhateverTheSetting) {
  options_.sysctls.tcp_ecn = 0;
  TcpOptionsSet options;
  options.congestion = CongestionAlgorithm::kDctcp;
  Connect(options);
  EXPECT_THAT(syn_ack_, AllOf(HasFlags("SEW"), HasEcn(Ecn::kEct0)));
}

TEST_P(DctcpTest, TheSettingChoosesTheAlgorithm) {
  listen_options_.congestion = {};
  options_.sysctls.tcp_congestion_control = "dctcp";
  Open();
  EXPECT_EQ(tcp(c_)->Info(shard().context()).congestion, CongestionAlgorithm::kDctcp);
  TcpOptionsSet options = c_.options();
  options.congestion = CongestionAlgorithm::kReno;
  EXPECT_EQ(c_.SetOptions(options), Error::kNone);
  EXPECT_EQ(tcp(c_)->Info(shard().context()).congestion, CongestionAlgorithm::kReno);
}

TEST_P(DctcpTest, WithoutAgreementItIsNewReno) {
  ecn_ = false;
  Open();
  EXPECT_THAT(Write(100), ElementsAre(HasEcn(Ecn::kNotEct)));
  Give(Data(Ecn::kCe));
  EXPECT_THAT(TakeOne(), HasFlags("A"));
}

TEST_P(DctcpTest, EverySegmentIsMarked) {
  Open();
  EXPECT_THAT(Write(3000), Each(HasEcn(Ecn::kEct0)));
  Give(Data(Ecn::kEct0));
  EXPECT_THAT(TakeOne(), AllOf(HasLength(0), HasEcn(Ecn::kEct0)));
}

// Section 3.2: the acknowledgments tell exactly which bytes were marked.
TEST_P(DctcpTest, EchoesExactlyWhatWasMarked) {
  Open();
  for (int i = 0; i < 40; ++i) {
    Give(Data(Ecn::kEct0));
    AdvanceBy(Duration::Millis(300));
  }
  TakeSent();
  // One pass brings plain, marked and plain data: three acknowledgments, each with its own mark.
  const auto piece = [this](int64_t n, Ecn ecn) {
    return From(tuple_).Ack(P(4000 + n), our_nxt_).Data(std::string(100, 'z')).Ecn(ecn);
  };
  Inject(piece(0, Ecn::kEct0));
  Inject(piece(100, Ecn::kCe));
  Inject(piece(200, Ecn::kCe));
  Inject(piece(300, Ecn::kEct0));
  Poll();
  EXPECT_THAT(TakeSent(),
              ElementsAre(AllOf(HasFlags("A"), Acks(P(4100))), AllOf(HasFlags("AE"), Acks(P(4300))),
                          AllOf(HasFlags("A"), Acks(P(4400)))));
  // CWR does not end it, the end of marking does.
  EXPECT_THAT(AckOf(Data(Ecn::kCe)), HasFlags("AE"));
  EXPECT_THAT(AckOf(Data(Ecn::kCe).Flags("AW")), HasFlags("AE"));
  EXPECT_THAT(AckOf(Data(Ecn::kEct0)), HasFlags("A"));
}

TEST_P(DctcpTest, AFewMarksCutALittle) {
  Open();
  const uint32_t mss = Peek(c_).mss();
  for (int i = 0; i < 40; ++i) {  // alpha forgets its careful beginning
    Write(2 * mss);
    AdvanceBy(Duration::Millis(5));
    Give(Ack());
    AdvanceBy(Duration::Millis(1));
  }
  const uint32_t cwnd = Peek(c_).cwnd();
  Write(10 * mss);
  AdvanceBy(Duration::Millis(5));
  Give(Ack().Flags("AE"));
  Write(mss);
  Give(Ack());
  EXPECT_LT(Peek(c_).cwnd(), cwnd);
  EXPECT_GT(Peek(c_).cwnd(), cwnd * 8 / 10);
}

// ---- The network layer counts what it sees ----

TEST_P(EcnTest, PacketsAreCountedByTheirMark) {
  Open();
  const auto count = [this](int ecn) {
    constexpr Counter kV4[] = {Counter::IpExtInNoECTPkts, Counter::IpExtInECT1Pkts,
                               Counter::IpExtInECT0Pkts, Counter::IpExtInCEPkts};
    constexpr Counter kV6[] = {Counter::Ip6InNoECTPkts, Counter::Ip6InECT1Pkts,
                               Counter::Ip6InECT0Pkts, Counter::Ip6InCEPkts};
    return Count((v6_ ? kV6 : kV4)[ecn]);
  };
  for (int ecn = 0; ecn < 4; ++ecn) {
    const uint64_t before = count(ecn);
    Give(Data(static_cast<Ecn>(ecn)));
    EXPECT_EQ(count(ecn), before + 1);
  }
}

}  // namespace
}  // namespace usher::test
