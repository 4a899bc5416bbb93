// A segment or a timer of a half-open request, row by row of the rules.
#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;

class RequestInputTest : public PassiveOpenTest {
 protected:
  // A listener and one request of Client(), whose SYN had sequence number 1000 and TSval 5000.
  void MakeRequest(ListenSpec spec = {.backlog = 5}) {
    if (!spec.model) spec.model = ListenModel::kLinux;
    listener_ = Listen(spec);
    syn_ack_ = Exchange(LinuxSyn(Client()));
    ASSERT_EQ(half_open(), 1u);
    rcv_nxt_ = syn_ack_.ack;
    snd_nxt_ = syn_ack_.seq + 1;
  }
  // A segment of the client, with the right numbers.
  SegmentBuilder Right(std::string_view flags = "A", uint32_t tsval = 5001) {
    SegmentBuilder b = From(Client());
    b.Flags(flags).SeqNo(rcv_nxt_).Timestamps(tsval, syn_ack_.tsval()).Window(502);
    if (flags.find('A') != std::string_view::npos) b.AckNo(snd_nxt_);
    return b;
  }
  uint64_t Drops(DropReason reason) const { return L(listener_).counters.drops[reason]; }
  bool Established() const { return children_.count(Client()) == 1; }

  Handle listener_;
  SentTcp syn_ack_;
  Seq rcv_nxt_;
  Seq snd_nxt_;
};

// ---- Duplicate SYN ----

TEST_P(RequestInputTest, DuplicateSynIsAnsweredAgain) {
  MakeRequest();
  const SentTcp again = Exchange(LinuxSyn(Client(), Seq(1000), 5000));
  EXPECT_THAT(again, AllOf(HasFlags("SA"), HasSeq(syn_ack_.seq), Acks(rcv_nxt_), HasMss(OurMss()),
                           HasWindow(syn_ack_.window), HasWindowScale(7)));
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPSynRetrans), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPTimeouts), 0u);
}

TEST_P(RequestInputTest, DuplicateSynsAreAnsweredOncePerHalfSecond) {
  MakeRequest();
  Exchange(LinuxSyn(Client()));
  Pass(Duration::Millis(499));
  GiveSilently(LinuxSyn(Client()));
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedSynRecv), 1u);
  EXPECT_EQ(Drops(DropReason::kSynRateLimited), 1u);
  Pass(Duration::Millis(1));
  EXPECT_THAT(Exchange(LinuxSyn(Client())), HasFlags("SA"));
}

TEST_P(RequestInputTest, DuplicateSynRearmsTheTimer) {
  MakeRequest();
  Pass(Duration::Millis(900));
  Exchange(LinuxSyn(Client()));
  Pass(Duration::Millis(999));
  EXPECT_EQ(TakeAll().size(), 0u);
  Pass(Duration::Millis(1));
  EXPECT_EQ(TakeAll().size(), 1u);
}

// ---- Wrong acknowledgment number ----

TEST_P(RequestInputTest, WrongAckIsReset) {
  MakeRequest();
  for (const uint32_t off : {1u, 0xffffffffu, 1000u, 1u << 31}) {
    const Seq wrong = snd_nxt_ + off;
    EXPECT_THAT(Exchange(Right().AckNo(wrong)), AllOf(HasFlags("R"), HasSeq(wrong)));
  }
  EXPECT_EQ(Drops(DropReason::kAckUnexpected), 4u);
  EXPECT_EQ(half_open(), 1u) << "the request is kept";
  GiveSilently(Right());
  EXPECT_TRUE(Established());
}

// It may answer a cookie that was sent before the request was made.
TEST_P(RequestInputTest, ACookiesAckDoesNotEndTheRequestOfALaterSyn) {
  sysctls_.tcp_syncookies = 2;
  listener_ = Listen({.backlog = 5, .model = ListenModel::kLinux});
  const SentTcp cookie = Exchange(LinuxSyn(Client()));
  sysctls_.tcp_syncookies = 1;
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  ASSERT_EQ(half_open(), 1u);
  EXPECT_NE(cookie.seq, syn_ack.seq);
  GiveSilently(FinalAck(cookie));
  EXPECT_EQ(Drops(DropReason::kAckCookieOfRequest), 1u);
  EXPECT_EQ(half_open(), 1u) << "the request has the name";
  EXPECT_EQ(L(listener_).accept_queue.length(), 0u);
  GiveSilently(FinalAck(syn_ack));
  EXPECT_TRUE(Established());
}

// ---- Out of window ----

TEST_P(RequestInputTest, OutOfWindowIsAcknowledged) {
  MakeRequest();
  const uint32_t window = syn_ack_.window;
  struct Row {
    Seq seq;
    const char* data;
    bool answered;
  } const rows[] = {
      {rcv_nxt_ - 1, "", true},          {rcv_nxt_ + window + 1, "", true},
      {rcv_nxt_ + window, "x", true},    {rcv_nxt_ - 1, "x", true},  // ends where the window begins
      {rcv_nxt_ + (1u << 31), "", true},
  };
  for (const Row& row : rows) {
    const SentTcp ack = Exchange(Right().SeqNo(row.seq).Data(row.data));
    EXPECT_THAT(ack, AllOf(HasFlags("A"), HasSeq(snd_nxt_), Acks(rcv_nxt_), EchoesTimestamp(5000)));
    EXPECT_EQ(ack.window, window >> 7);
    Pass(Duration::Millis(500));
    DropSent();
  }
  EXPECT_EQ(Drops(DropReason::kAckOutOfWindow), 5u);
  EXPECT_EQ(half_open(), 1u);
}

TEST_P(RequestInputTest, TheVeryEdgeOfTheWindowPasses) {
  MakeRequest();
  GiveSilently(Right().SeqNo(rcv_nxt_ + syn_ack_.window));
  EXPECT_TRUE(Established());
}

TEST_P(RequestInputTest, WhatReachesIntoTheWindowPasses) {
  MakeRequest();
  Give(Right().SeqNo(rcv_nxt_ - 1).Data("xy"));
  TcpConnection* child = Accept(listener_);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->readable_bytes(), 1u);
}

TEST_P(RequestInputTest, OutOfWindowAcksAreRateLimited) {
  MakeRequest();
  Exchange(Right().SeqNo(rcv_nxt_ - 1));
  GiveSilently(Right().SeqNo(rcv_nxt_ - 1));
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedSynRecv), 1u);
  Exchange(Right().SeqNo(rcv_nxt_ - 10).Data("data"));  // data is always answered
  Pass(Duration::Millis(500));
  Exchange(Right().SeqNo(rcv_nxt_ - 1));
}

TEST_P(RequestInputTest, PawsFailureIsAcknowledged) {
  MakeRequest();
  EXPECT_THAT(Exchange(Right("A", 4999)), AllOf(HasFlags("A"), Acks(rcv_nxt_)));
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 1u);
  EXPECT_EQ(Drops(DropReason::kAckPaws), 1u);
  GiveSilently(Right("A", 5000));
  EXPECT_TRUE(Established());
}

// 2^31 away is not behind (as Linux).
TEST_P(RequestInputTest, PawsEndsHalfTheCircleAway) {
  MakeRequest();
  EXPECT_THAT(Exchange(Right("A", 5000 + (1u << 31) + 1)), AllOf(HasFlags("A"), Acks(rcv_nxt_)));
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 1u);
  GiveSilently(Right("A", 5000 + (1u << 31)));
  EXPECT_TRUE(Established());
}

// As Linux: once the timer stands at more than a minute, a reset is believed with an old timestamp.
TEST_P(RequestInputTest, PawsStopsAResetUntilTheTimerIsAMinute) {
  sysctls_.tcp_synack_retries = 8;
  MakeRequest();
  Pass(Duration::Seconds(1 + 2 + 4 + 8 + 16 + 1));  // it stands at 32 s
  GiveSilently(Right("R", 4999));
  EXPECT_EQ(half_open(), 1u);
  Pass(Duration::Seconds(32));  // at 64 s
  GiveSilently(Right("R", 4999));
  EXPECT_EQ(half_open(), 0u);
}

TEST_P(RequestInputTest, OldDuplicateSynFailsPaws) {
  MakeRequest();
  EXPECT_THAT(Exchange(LinuxSyn(Client(), Seq(1000), 4000)), AllOf(HasFlags("A"), Acks(rcv_nxt_)));
  EXPECT_EQ(Drops(DropReason::kSynOutOfWindow), 1u);
}

TEST_P(RequestInputTest, EchoOfATimestampNotSentIsChallenged) {
  MakeRequest();
  const uint32_t tsval = syn_ack_.tsval();
  EXPECT_THAT(Exchange(Right().Timestamps(5001, tsval - 1)), AllOf(HasFlags("A"), Acks(rcv_nxt_)));
  EXPECT_EQ(Count(Counter::TcpExtTSEcrRejected), 1u);
  EXPECT_EQ(Drops(DropReason::kAckTimestampEcho), 1u);
  Pass(Duration::Millis(600));
  EXPECT_THAT(Exchange(Right().Timestamps(5001, tsval + 1)), HasFlags("A"));
  EXPECT_EQ(half_open(), 1u);
  GiveSilently(Right().Timestamps(5001, 0));  // none to echo
  EXPECT_TRUE(Established());
}

TEST_P(RequestInputTest, EchoOfAnySynAckPasses) {
  MakeRequest();
  Pass(Duration::Seconds(4));  // resent after 1 and 3 s
  const auto resent = TakeAll();
  ASSERT_EQ(resent.size(), 2u);
  EXPECT_THAT(Exchange(Right().Timestamps(5001, resent[1].tsval() + 1)), HasFlags("A"));
  GiveSilently(Right().Timestamps(5001, resent[0].tsval()));
  EXPECT_TRUE(Established());
}

// ---- RST ----

TEST_P(RequestInputTest, ExactResetEndsTheRequest) {
  MakeRequest();
  GiveSilently(From(Client()).Rst(rcv_nxt_));
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(L(listener_).half_open, 0u);
  EXPECT_EQ(L(listener_).young, 0u);
  EXPECT_EQ(Count(Counter::TcpAttemptFails), 1u);
  EXPECT_EQ(Count(Counter::TcpExtEmbryonicRsts), 1u);
  EXPECT_EQ(Drops(DropReason::kSynEndedByReset), 1u);
  Pass(Duration::Seconds(70));
  EXPECT_EQ(TakeAll().size(), 0u) << "its timer still runs";
}

TEST_P(RequestInputTest, ResetAtEveryOtherNumberLeavesIt) {
  MakeRequest();
  const uint32_t window = syn_ack_.window;
  EXPECT_THAT(Exchange(From(Client()).Rst(rcv_nxt_ + 1)),
              AllOf(HasFlags("A"), HasSeq(snd_nxt_), Acks(rcv_nxt_)));
  EXPECT_EQ(Count(Counter::TcpExtTCPChallengeACK), 1u);
  GiveSilently(From(Client()).Rst(rcv_nxt_ + 2));  // rate limited
  for (const uint32_t off : {window + 1, window + 2, 1u << 31, 0xffffffffu}) {
    Pass(Duration::Millis(600));
    GiveSilently(From(Client()).Rst(rcv_nxt_ + off));
  }
  EXPECT_EQ(Count(Counter::TcpAttemptFails), 0u);
  EXPECT_EQ(half_open(), 1u);
}

TEST_P(RequestInputTest, ResetWithAWrongAckIsIgnored) {
  MakeRequest();
  GiveSilently(From(Client()).Flags("RA").SeqNo(rcv_nxt_).AckNo(snd_nxt_ + 1));
  EXPECT_EQ(half_open(), 1u);
  GiveSilently(From(Client()).Flags("RA").SeqNo(rcv_nxt_).AckNo(snd_nxt_));
  EXPECT_EQ(half_open(), 0u);
}

// ---- SYN in the window ----

TEST_P(RequestInputTest, SynInWindowEndsTheRequest) {
  MakeRequest();
  EXPECT_THAT(Exchange(LinuxSyn(Client(), rcv_nxt_ + 100, 5001)),
              AllOf(HasFlags("RA"), Acks(rcv_nxt_ + 101)));
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(Count(Counter::TcpAttemptFails), 1u);
  EXPECT_EQ(Count(Counter::TcpExtEmbryonicRsts), 1u);
  EXPECT_EQ(Drops(DropReason::kSynInWindow), 1u);
  EXPECT_EQ(Drops(DropReason::kSynEndedBySyn), 1u);
}

TEST_P(RequestInputTest, SynOutsideTheWindowIsAcknowledged) {
  MakeRequest();
  EXPECT_THAT(Exchange(LinuxSyn(Client(), rcv_nxt_ + 100'000, 5001)),
              AllOf(HasFlags("A"), Acks(rcv_nxt_)));
  EXPECT_EQ(Drops(DropReason::kSynOutOfWindow), 1u);
  EXPECT_EQ(half_open(), 1u);
}

// ---- The right ACK ----

TEST_P(RequestInputTest, RightAckMakesAChild) {
  MakeRequest();
  now_ = now_ + Duration::Millis(20);
  GiveSilently(Right());
  ASSERT_TRUE(Established());
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(passive_->requests().size(), 0u);
  EXPECT_EQ(L(listener_).counters.completed, 1u);
}

TEST_P(RequestInputTest, DataOnTheAckIsTaken) {
  MakeRequest();
  Give(Right().Data("GET /"));
  TcpConnection* child = Accept(listener_);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->readable_bytes(), 5u);
}

TEST_P(RequestInputTest, FinOnTheAckIsTaken) {
  MakeRequest();
  Give(Right("AF"));
  TcpConnection* child = Accept(listener_);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->state(), TcpState::kCloseWait);
  EXPECT_TRUE(child->at_end_of_stream());
}

// The SYN again, with the ACK and data behind it, is the SYN and a first segment.
TEST_P(RequestInputTest, SynAgainInFrontOfDataIsCutOff) {
  MakeRequest();
  Give(Right("SA").SeqNo(Seq(1000)).Data("abc"));
  TcpConnection* child = Accept(listener_);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->readable_bytes(), 3u);
}

TEST_P(RequestInputTest, SegmentWithoutAckIsDropped) {
  MakeRequest();
  GiveSilently(Right("F"));
  GiveSilently(Right("P").Data("x"));
  EXPECT_EQ(half_open(), 1u);
  EXPECT_FALSE(Established());
}

// ---- Accept queue full ----

class OverflowTest : public RequestInputTest {
 protected:
  // Room for two: both places are taken, and a third client's SYN was admitted before that.
  SentTcp ThirdOfTwo(ListenModel model, uint16_t port) {
    listener_ = Listen({.port = port, .backlog = 1, .model = model});
    const SentTcp a = Exchange(LinuxSyn(Client(1, port)));
    const SentTcp b = Exchange(LinuxSyn(Client(2, port)));
    GiveSilently(FinalAck(a));
    const SentTcp c = Exchange(LinuxSyn(Client(3, port)));
    GiveSilently(FinalAck(b));
    EXPECT_EQ(L(listener_).accept_queue.length(), 2u);
    EXPECT_EQ(L(listener_).half_open, 1u);
    return c;
  }
};

TEST_P(OverflowTest, KeepsTheRequestAndAsksAgain) {
  for (const ListenModel model : {ListenModel::kLinux, ListenModel::kLinuxClassic}) {
    const SentTcp third = ThirdOfTwo(model, model == ListenModel::kLinux ? 80 : 81);
    const uint64_t overflows = Count(Counter::TcpExtListenOverflows);
    GiveSilently(FinalAck(third));
    EXPECT_EQ(Count(Counter::TcpExtListenOverflows), overflows + 1);
    EXPECT_EQ(L(listener_).half_open, 1u);
    EXPECT_EQ(Drops(DropReason::kAckAcceptQueueFull), 1u);
    Pass(Duration::Seconds(1));
    const auto resent = TakeAll();
    ASSERT_EQ(resent.size(), 1u);
    EXPECT_THAT(resent[0], HasFlags("SA"));
    ASSERT_NE(Accept(listener_), nullptr);
    Give(FinalAck(resent[0]).Data("now"));
    ASSERT_NE(Accept(listener_), nullptr);
    TcpConnection* child = Accept(listener_);
    ASSERT_NE(child, nullptr);
    EXPECT_EQ(child->readable_bytes(), 3u);
  }
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 2u);
}

TEST_P(OverflowTest, DataLaterCompletesWhatOverflowed) {
  const SentTcp third = ThirdOfTwo(ListenModel::kLinux, 80);
  GiveSilently(FinalAck(third));
  Accept(listener_);
  Give(FinalAck(third).Data("GET"));
  EXPECT_EQ(children_.count(third.tuple), 1u);
}

// A request that nobody has acknowledged ends where its SYN-ACK cannot be sent again; this one's
// client believes in the connection.
TEST_P(OverflowTest, WithoutABufferItIsKept) {
  const SentTcp third = ThirdOfTwo(ListenModel::kLinux, 80);
  GiveSilently(FinalAck(third));
  std::vector<void*> held;
  Packet packet;
  while (interface_->link().AllocateControl(&packet)) held.push_back(packet.handle);
  Pass(Duration::Seconds(1));
  EXPECT_EQ(port_.sent_count(), 0u);
  EXPECT_EQ(L(listener_).half_open, 1u);
  for (void* handle : held) pool_.Free(handle);
  Accept(listener_);
  Give(FinalAck(third).Data("GET"));
  EXPECT_EQ(children_.count(third.tuple), 1u);
}

TEST_P(OverflowTest, AbortOnOverflowResets) {
  sysctls_.tcp_abort_on_overflow = 1;
  const SentTcp third = ThirdOfTwo(ListenModel::kLinux, 80);
  EXPECT_THAT(Exchange(FinalAck(third)), AllOf(HasFlags("R"), HasSeq(third.seq + 1)));
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(L(listener_).half_open, 0u);
  EXPECT_EQ(Drops(DropReason::kSynEndedByOverflow), 1u);
  EXPECT_EQ(Drops(DropReason::kAckAcceptQueueFull), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
  EXPECT_EQ(Count(Counter::TcpExtEmbryonicRsts), 1u);
  EXPECT_EQ(Count(Counter::TcpAttemptFails), 0u);
}

// ---- SYN-ACK timer ----

TEST_P(RequestInputTest, SynAckIsResentAt1And3And7And15And31AndGivenUpAt63) {
  MakeRequest();
  const Instant start = now_;
  std::vector<int64_t> at;
  for (int i = 0; i < 70; ++i) {
    Pass(Duration::Seconds(1));
    for (const SentTcp& s : TakeAll()) {
      EXPECT_THAT(s, AllOf(HasFlags("SA"), HasSeq(syn_ack_.seq), Acks(rcv_nxt_)));
      at.push_back((now_ - start).seconds());
    }
    if (i == 61) {
      EXPECT_EQ(half_open(), 1u);
    }
    if (i == 62) {
      EXPECT_EQ(half_open(), 0u);
    }
  }
  EXPECT_EQ(at, (std::vector<int64_t>{1, 3, 7, 15, 31}));
  EXPECT_EQ(Drops(DropReason::kSynEndedByTimeout), 1u);
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 5u);
  EXPECT_EQ(Count(Counter::TcpExtTCPSynRetrans), 5u);
  EXPECT_EQ(Count(Counter::TcpExtTCPTimeouts), 6u);
  EXPECT_EQ(Count(Counter::TcpAttemptFails), 0u);
}

TEST_P(RequestInputTest, TimeoutIsCappedAt120Seconds) {
  sysctls_.tcp_synack_retries = 9;
  MakeRequest();
  std::vector<int64_t> at;
  const Instant start = now_;
  for (int i = 0; i < 500; ++i) {
    Pass(Duration::Seconds(1));
    if (!TakeAll().empty()) at.push_back((now_ - start).seconds());
  }
  EXPECT_EQ(at, (std::vector<int64_t>{1, 3, 7, 15, 31, 63, 127, 247, 367}));
}

TEST_P(RequestInputTest, SynCountOverridesTheRetries) {
  for (const int count : {1, 3}) {
    const uint16_t port = static_cast<uint16_t>(80 + count);
    const Handle listener = Listen({.port = port, .backlog = 5});
    ASSERT_EQ(passive_->SetSynCount(listener, count), Error::kNone);
    DropSent();
    Give(LinuxSyn(Client(0, port)));
    Pass(Duration::Seconds(100));
    EXPECT_EQ(TakeAll().size(), 1u + static_cast<size_t>(count));
  }
}

TEST_P(RequestInputTest, YoungIsLostAtTheFirstTimeout) {
  MakeRequest();
  EXPECT_EQ(L(listener_).young, 1u);
  Pass(Duration::Millis(1001));
  EXPECT_EQ(L(listener_).young, 0u);
  EXPECT_EQ(L(listener_).half_open, 1u);
  Give(Right());
  EXPECT_EQ(L(listener_).half_open, 0u);
  EXPECT_EQ(L(listener_).young, 0u);
}

// Pruning. All requests of a crowded table become old together, so at their second timeout (3 s)
// they are cut to two retries: gone at 7 s instead of 63.
TEST_P(RequestInputTest, CrowdsOfOldRequestsAreCut) {
  for (const ListenModel model : {ListenModel::kLinux, ListenModel::kLinuxClassic}) {
    const uint16_t port = model == ListenModel::kLinux ? 80 : 81;
    const Handle listener = Listen({.port = port, .backlog = 15, .model = model});  // capacity 16
    for (uint32_t i = 0; i < 10; ++i) Give(LinuxSyn(Client(i, port)));
    Pass(Duration::Millis(6900));
    EXPECT_EQ(L(listener).half_open, 10u);
    Pass(Duration::Millis(200));
    EXPECT_LT(L(listener).half_open, 8u) << "cut until the crowd is gone";
    EXPECT_GT(L(listener).counters.drops[DropReason::kSynEndedByPruning], 2u);
  }
}

TEST_P(RequestInputTest, TheYoungProtectTheOldFromPruning) {
  // 6 old ones among 10: 10 < 2 * 4 does not hold, so one retry is taken; 10 < 16: no more.
  const Handle listener = Listen({.backlog = 15, .model = ListenModel::kLinux});
  for (uint32_t i = 0; i < 6; ++i) Give(LinuxSyn(Client(i)));
  for (int second = 0; second < 30; ++second) {
    // Keeps four young ones there: each is completed before it ages.
    std::vector<SentTcp> syn_acks;
    for (uint32_t i = 0; i < 4; ++i) {
      DropSent();
      Give(LinuxSyn(Client(100 + i + 4 * static_cast<uint32_t>(second))));
      syn_acks.push_back(TakeAll().at(0));
    }
    Pass(Duration::Millis(990));
    DropSent();
    for (const SentTcp& s : syn_acks) Give(FinalAck(s));
    while (Accept(listener) != nullptr) {
    }
  }
  EXPECT_EQ(L(listener).half_open, 6u) << "four retries: until 31 s";
}

TEST_P(RequestInputTest, BsdDoesNotPrune) {
  const Handle listener = Listen({.backlog = 15, .model = ListenModel::kBsd});
  for (uint32_t i = 0; i < 20; ++i) Give(LinuxSyn(Client(i)));
  Pass(Duration::Seconds(60));
  EXPECT_EQ(L(listener).half_open, 20u);
  Pass(Duration::Seconds(4));
  EXPECT_EQ(L(listener).half_open, 0u);
}

// ---- TCP_DEFER_ACCEPT ----

TEST_P(RequestInputTest, DeferredAckWaitsForData) {
  MakeRequest({.backlog = 5, .defer_accept_s = 3});
  GiveSilently(Right());
  EXPECT_FALSE(Established());
  EXPECT_EQ(Count(Counter::TcpExtTCPDeferAcceptDrop), 1u);
  EXPECT_EQ(Drops(DropReason::kAckDeferred), 1u);
  Give(Right().Data("GET"));
  TcpConnection* child = Accept(listener_);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->readable_bytes(), 3u);
}

// 7 s are three timeouts. Once the client was heard no SYN-ACK is resent until the last of them;
// the answer to that one is taken bare.
TEST_P(RequestInputTest, DeferredHandshakeEndsWithALastSynAck) {
  MakeRequest({.backlog = 5, .defer_accept_s = 7});
  GiveSilently(Right());
  Pass(Duration::Millis(6900));
  EXPECT_EQ(TakeAll().size(), 0u);
  Pass(Duration::Millis(200));
  const auto last = TakeAll();
  ASSERT_EQ(last.size(), 1u);
  GiveSilently(FinalAck(last[0]));
  EXPECT_TRUE(Established());
}

// tcp_rto_max_ms shortens timeouts, not what the seconds stand for (Linux 6.18: 60 s are read back
// as 63 whatever it says).
TEST_P(RequestInputTest, DeferringCountsTimeoutsAsIfTheyGrewTo120Seconds) {
  sysctls_.tcp_rto_max_ms = 10'000;
  MakeRequest({.backlog = 5, .defer_accept_s = 60});
  EXPECT_EQ(L(listener_).defer_accept_retries, 6);
}

TEST_P(RequestInputTest, DeferredFinIsNotBare) {
  MakeRequest({.backlog = 5, .defer_accept_s = 7});
  Give(Right("AF"));
  EXPECT_TRUE(Established());
}

TEST_P(RequestInputTest, DeferredButNeverHeardIsResentAsUsual) {
  MakeRequest({.backlog = 5, .defer_accept_s = 7});
  Pass(Duration::Seconds(64));
  EXPECT_EQ(TakeAll().size(), 5u);
  EXPECT_EQ(half_open(), 0u);
}

// ---- What the child learns ----

// Two segments' worth of data written at once tell the initial window.
class ChildTest : public RequestInputTest {
 protected:
  size_t SegmentsSentAtOnce() {
    TcpConnection* child = Accept(listener_);
    if (child == nullptr) return 0;
    DropSent();
    const std::vector<uint8_t> data(4000, 'x');
    child->Write(*context_, data);
    EndPass();
    return TakeAll().size();
  }
};

TEST_P(ChildTest, FirstWindowIsTenSegments) {
  MakeRequest();
  Give(Right());
  EXPECT_EQ(SegmentsSentAtOnce(), 3u);
}

TEST_P(ChildTest, OneSegmentAfterLostSynAcks) {
  MakeRequest();
  Pass(Duration::Seconds(4));  // two timeouts
  const auto resent = TakeAll();
  ASSERT_EQ(resent.size(), 2u);
  Give(FinalAck(resent[1]));
  EXPECT_EQ(SegmentsSentAtOnce(), 1u);
}

TEST_P(ChildTest, ButNotIfTheFirstSynAckWasAnswered) {
  MakeRequest();
  Pass(Duration::Seconds(4));
  Give(Right());  // echoes the first
  EXPECT_EQ(SegmentsSentAtOnce(), 3u);
}

TEST_P(ChildTest, NorForDuplicateSynsAlone) {
  MakeRequest();
  for (int i = 0; i < 3; ++i) {
    Pass(Duration::Millis(600));
    Exchange(LinuxSyn(Client()));
  }
  const auto echo = TimestampClock(now_) + isn_.TimestampOffset(Client());
  Give(Right().Timestamps(5001, echo));
  EXPECT_EQ(SegmentsSentAtOnce(), 3u);
}

TEST_P(ChildTest, NorForOneTimeoutAlone) {
  MakeRequest();
  Pass(Duration::Seconds(1));
  const auto resent = TakeAll();
  ASSERT_EQ(resent.size(), 1u);
  Give(FinalAck(resent[0]));
  EXPECT_EQ(SegmentsSentAtOnce(), 3u);
}

USHER_FOR_BOTH_FAMILIES(RequestInputTest);
USHER_FOR_BOTH_FAMILIES(OverflowTest);
USHER_FOR_BOTH_FAMILIES(ChildTest);

}  // namespace
}  // namespace usher::test
