// Fast Open, the server's side: RFC 7413.
#include "stack/listen/fast_open.h"

#include "tests/support/connection_peek.h"
#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;

MATCHER(GivesFastOpenCookie, "") {
  return arg.options.fast_open && arg.options.fast_open->length == FastOpenCookies::kSize;
}
MATCHER(HasNoFastOpen, "") { return !arg.options.fast_open; }

class FastOpenTest : public PassiveOpenTest {
 protected:
  FastOpenTest() { sysctls_.tcp_fastopen = FastOpenBits::kServer; }
  Handle ListenFast(uint32_t queue_length = 5) {
    return Listen({.backlog = 5, .model = ListenModel::kLinux, .fastopen_qlen = queue_length});
  }
  static FastOpenOption Ask(bool experimental = false) {
    FastOpenOption option;
    option.experimental = experimental;
    return option;
  }
  // The cookie that `client` is given.
  FastOpenOption CookieFor(const FourTuple& client) {
    FourTuple asking = client;
    asking.remote_port = 9;
    const SentTcp syn_ack = Exchange(LinuxSyn(asking).FastOpenCookie(Ask()));
    EXPECT_THAT(syn_ack, GivesFastOpenCookie());
    Give(From(asking).Rst(syn_ack.ack));
    return syn_ack.options.fast_open.value_or(Ask());
  }
  static constexpr uint64_t kHello = 5;
};

TEST_P(FastOpenTest, GivesACookieToWhoAsks) {
  ListenFast();
  const SentTcp syn_ack = Exchange(LinuxSyn(Client(), Seq(1000)).FastOpenCookie(Ask()).Data("hi"));
  EXPECT_THAT(syn_ack, AllOf(HasFlags("SA"), GivesFastOpenCookie(), Acks(Seq(1001))));
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenCookieReqd), 1u);
  EXPECT_EQ(half_open(), 1u) << "a request as any other";
  EXPECT_EQ(syn_ack.options.fast_open, CookieFor(Client())) << "the same for the same address";
  const SentTcp old_style = Exchange(LinuxSyn(Client(7)).FastOpenCookie(Ask(true)));
  ASSERT_TRUE(old_style.options.fast_open);
  EXPECT_TRUE(old_style.options.fast_open->experimental);
}

TEST_P(FastOpenTest, AValidCookieOpensAtTheSyn) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  const SentTcp syn_ack =
      Exchange(LinuxSyn(Client(), Seq(1000)).FastOpenCookie(cookie).Data("hello"));
  EXPECT_THAT(syn_ack, AllOf(HasFlags("SA"), Acks(Seq(1006)), HasNoFastOpen(), HasMss(OurMss()),
                             HasWindowScale(7), HasWindow(OurWindow())));
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenPassive), 1u);
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(L(listener).fast_open_pending, 1u);
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->state(), TcpState::kSynReceived);
  EXPECT_EQ(child->readable_bytes(), kHello);

  // The answer goes out before the handshake is complete.
  std::array<uint8_t, 5> buffer;
  EXPECT_EQ(child->Read(*context_, buffer).bytes, kHello);
  child->Write(*context_, buffer);
  EndPass();
  auto sent = TakeAll();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_THAT(sent[0], AllOf(HasPayload("hello"), HasSeq(syn_ack.seq + 1), Acks(Seq(1006))));

  Give(From(Client()).Ack(Seq(1006), syn_ack.seq + 6).Timestamps(5001, syn_ack.tsval()));
  EXPECT_EQ(child->state(), TcpState::kEstablished);
  EXPECT_EQ(child->unacked_bytes(), 0u);
  EXPECT_EQ(L(listener).fast_open_pending, 0u);
}

TEST_P(FastOpenTest, AWrongCookieGetsTheRightOne) {
  const Handle listener = ListenFast();
  FastOpenOption cookie = CookieFor(Client());
  cookie.cookie[0] ^= 1;
  const SentTcp syn_ack =
      Exchange(LinuxSyn(Client(), Seq(1000)).FastOpenCookie(cookie).Data("hello"));
  EXPECT_THAT(syn_ack, AllOf(Acks(Seq(1001)), GivesFastOpenCookie()));
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenPassiveFail), 1u);
  EXPECT_EQ(L(listener).half_open, 1u);
  EXPECT_NE(CookieFor(Client(1)), CookieFor(Client(2)));
}

TEST_P(FastOpenTest, TheBackupKeyIsHonouredAndReplaced) {
  const Handle listener = ListenFast();
  const SipKey old_key{1, 2};
  const SipKey new_key{3, 4};
  passive_->SetFastOpenKeys(old_key, std::nullopt);
  const FastOpenOption old_cookie = CookieFor(Client());
  passive_->SetFastOpenKeys(new_key, old_key);
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()).FastOpenCookie(old_cookie).Data("hello"));
  EXPECT_THAT(syn_ack, AllOf(Acks(Seq(1006)), GivesFastOpenCookie()));
  EXPECT_NE(syn_ack.options.fast_open, old_cookie);
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenPassiveAltKey), 1u);
  EXPECT_EQ(L(listener).accept_queue.length(), 1u);
  passive_->SetFastOpenKeys(new_key, std::nullopt);
  EXPECT_THAT(Exchange(LinuxSyn(Client(200)).FastOpenCookie(old_cookie).Data("hello")),
              Acks(Seq(1001)));
}

TEST_P(FastOpenTest, TheBitsOfTheSetting) {
  struct Row {
    int bits;
    uint32_t queue_length;
    bool cookie_shown;
    bool opens;
  } const rows[] = {
      {0x1, 5, true, false},  {0x2, 5, true, true},    {0x2, 0, true, false},
      {0x2, 5, false, false}, {0x202, 5, false, true}, {0x200, 5, false, false},
      {0x402, 0, true, true}, {0x400, 0, true, false}, {0x602, 0, false, true},
  };
  const SipKey key{1, 2};
  SeededRandom random(1);
  FastOpenCookies cookies(random);
  cookies.SetKeys(key, std::nullopt);
  passive_->SetFastOpenKeys(key, std::nullopt);
  uint16_t port = 100;
  for (const Row& row : rows) {
    sysctls_.tcp_fastopen = row.bits;
    const FourTuple client = Client(0, ++port);
    const Handle listener = Listen({.port = port, .backlog = 5, .fastopen_qlen = row.queue_length});
    SegmentBuilder syn = LinuxSyn(client).Data("x");
    if (row.cookie_shown) syn.FastOpenCookie(cookies.Make(client.local, client.remote, false));
    Give(syn);
    EXPECT_EQ(L(listener).accept_queue.length(), row.opens ? 1u : 0u)
        << "bits " << row.bits << " queue " << row.queue_length << " cookie " << row.cookie_shown;
  }
}

TEST_P(FastOpenTest, PendingIsBounded) {
  const Handle listener = ListenFast(2);
  std::vector<SentTcp> syn_acks;
  const FastOpenOption cookie = CookieFor(Client());  // all three are one address
  for (uint32_t i = 0; i < 3; ++i) {
    FourTuple client = Client();
    client.remote_port = static_cast<uint16_t>(50000 + i);
    syn_acks.push_back(Exchange(LinuxSyn(client).FastOpenCookie(cookie).Data("hello")));
  }
  EXPECT_THAT(syn_acks[1], Acks(Seq(1006)));
  EXPECT_THAT(syn_acks[2], Acks(Seq(1001))) << "an ordinary handshake";
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenListenOverflow), 1u);
  EXPECT_EQ(L(listener).fast_open_pending, 2u);
}

// What a Linux server with these keys gives; seen on 6.18.
TEST(FastOpenCookiesTest, AreThoseOfLinux) {
  SeededRandom random(1);
  FastOpenCookies cookies(random);
  cookies.SetKeys({0x0405060700010203, 0x0c0d0e0f08090a0b}, std::nullopt);
  const auto made = [&](const char* local, const char* remote) {
    const FastOpenOption option = cookies.Make(Ip(local), Ip(remote), false);
    return std::vector<uint8_t>(option.bytes().begin(), option.bytes().end());
  };
  EXPECT_EQ(made("198.18.0.2", "198.18.1.1"),
            (std::vector<uint8_t>{0x64, 0x6f, 0xe3, 0xcf, 0xd6, 0x22, 0x9e, 0x14}));
  EXPECT_EQ(made("2001:2::2", "2001:2::1:1"),
            (std::vector<uint8_t>{0x6e, 0xf2, 0xa0, 0x42, 0xcf, 0x72, 0x5e, 0x41}));
}

TEST_P(FastOpenTest, AResetWhileItWaitsToBeAcceptedGivesItsPlaceBack) {
  const Handle listener = ListenFast(1);
  const FastOpenOption cookie = CookieFor(Client());
  Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  Give(From(Client()).Rst(Seq(1006)));
  EXPECT_EQ(L(listener).fast_open_pending, 0u);
  EXPECT_EQ(L(listener).accept_queue.length(), 1u);
}

TEST_P(FastOpenTest, AResetKeepsItsPlaceForAMinute) {
  const Handle listener = ListenFast(1);
  const FastOpenOption cookie = CookieFor(Client());
  Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  Give(From(Client()).Rst(Seq(1006)));
  EXPECT_EQ(child->state(), TcpState::kClosed);
  EXPECT_EQ(L(listener).fast_open_pending, 1u);
  FourTuple again = Client();
  again.remote_port++;
  EXPECT_THAT(Exchange(LinuxSyn(again).FastOpenCookie(cookie).Data("hello")), Acks(Seq(1001)));
  Pass(Duration::Seconds(61));
  again.remote_port++;
  EXPECT_THAT(Exchange(LinuxSyn(again).FastOpenCookie(cookie).Data("hello")), Acks(Seq(1006)));
}

TEST_P(FastOpenTest, WithoutWindowScaleTheClientsWindowIsAsItSays) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  const SentTcp syn_ack =
      Exchange(PlainSyn(Client(), Seq(1000)).FastOpenCookie(cookie).Data("hello"));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  Give(From(Client()).Ack(Seq(1006), syn_ack.seq + 1).Window(1000));
  EXPECT_EQ(ConnectionPeek{*child}.snd_wnd(), 1000u);
}

// A lost SYN-ACK: the client sends its SYN again, perhaps without the data; the timer resends too.
// As Linux since 6.10: what was written goes out, the FIN once the client has acknowledged.
TEST_P(FastOpenTest, ShutdownWaitsForTheHandshake) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  const SentTcp syn_ack =
      Exchange(LinuxSyn(Client(), Seq(1000)).FastOpenCookie(cookie).Data("hello"));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->Shutdown(*context_, ShutdownHow::kWrite), Error::kNone);
  EndPass();
  EXPECT_THAT(TakeAll(), testing::IsEmpty());
  std::array<uint8_t, 5> buffer;
  EXPECT_EQ(child->Write(*context_, buffer).error, Error::kBrokenPipe);
  EXPECT_EQ(child->state(), TcpState::kSynReceived);
  Give(From(Client()).Ack(Seq(1006), syn_ack.seq + 1).Timestamps(5001, syn_ack.tsval()));
  EXPECT_EQ(child->state(), TcpState::kFinWait1);
  EndPass();
  const auto sent = TakeAll();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_THAT(sent[0], AllOf(HasFlags("FA"), HasSeq(syn_ack.seq + 1), Acks(Seq(1006))));
}

// Its RST stands behind the SYN-ACK, whatever window the SYN had (as Linux's tcp_acceptable_seq).
TEST_P(FastOpenTest, TheListenersCloseResetsItBehindItsSyn) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  const SentTcp syn_ack =
      Exchange(LinuxSyn(Client(), Seq(1000)).Window(0).FastOpenCookie(cookie).Data("hello"));
  CloseListener(listener);
  const auto sent = TakeAll();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_THAT(sent[0], AllOf(HasFlags("RA"), HasSeq(syn_ack.seq + 1), Acks(Seq(1006))));
}

TEST_P(FastOpenTest, SynAckIsSentAgain) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  const SentTcp first = Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  Pass(Duration::Millis(500));
  EXPECT_THAT(Exchange(LinuxSyn(Client())),
              AllOf(HasFlags("SA"), HasSeq(first.seq), Acks(Seq(1006))));
  Pass(Duration::Millis(800));
  const auto resent = TakeAll();
  ASSERT_GE(resent.size(), 1u);
  EXPECT_THAT(resent[0], AllOf(HasFlags("SA"), HasSeq(first.seq), Acks(Seq(1006))));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  child->Close(*context_);  // resets: its data was not read
}

// As for a request: SYN-ACKs sent again by a second timeout leave a first window of one segment.
TEST_P(FastOpenTest, OneTimeoutOfTheSynAckLeavesTheWindowAsItWas) {
  for (const int timeouts : {0, 1, 2}) {
    const Handle listener = ListenFast();
    const FourTuple client = Client(static_cast<uint32_t>(timeouts));
    const FastOpenOption cookie = CookieFor(client);
    const SentTcp first =
        Exchange(LinuxSyn(client, Seq(1000)).FastOpenCookie(cookie).Data("hello"));
    TcpConnection* child = Accept(listener);
    ASSERT_NE(child, nullptr);
    const uint32_t cwnd = child->Info(*context_).cwnd;
    Pass(Duration::Millis(timeouts == 0 ? 10 : timeouts == 1 ? 1500 : 3500));
    uint32_t tsval = first.tsval();
    for (const SentTcp& again : TakeAll()) tsval = again.tsval();
    Give(From(client).Ack(Seq(1006), first.seq + 1).Timestamps(5001, tsval));
    EXPECT_EQ(child->state(), TcpState::kEstablished);
    const uint32_t now = child->Info(*context_).cwnd;
    if (timeouts < 2)
      EXPECT_EQ(now, cwnd) << timeouts;
    else
      EXPECT_LT(now, cwnd);
    EXPECT_EQ(Count(Counter::TcpExtTCPLossUndo), 0u);
    CloseListener(listener);
  }
}

// TCP_FASTOPEN on a socket that listens already.
TEST_P(FastOpenTest, TheQueueLengthMayBeSetLater) {
  const Handle listener = ListenFast(0);
  const FourTuple client = Client();
  EXPECT_FALSE(Exchange(LinuxSyn(client).FastOpenCookie(Ask())).options.fast_open);
  EXPECT_EQ(passive_->SetFastOpen(listener, -1), Error::kInvalid);
  EXPECT_EQ(passive_->SetFastOpen(listener, 2), Error::kNone);
  EXPECT_EQ(L(listener).fast_open_limit, 2u);
  EXPECT_THAT(Exchange(LinuxSyn(Client(1)).FastOpenCookie(Ask())), GivesFastOpenCookie());
  sysctls_.somaxconn = 1;
  EXPECT_EQ(passive_->SetFastOpen(listener, 7), Error::kNone);
  EXPECT_EQ(L(listener).fast_open_limit, 1u) << "within somaxconn";
}

TEST_P(FastOpenTest, ACookieOfAnotherLengthIsNone) {
  const Handle listener = ListenFast();
  FastOpenOption cookie = CookieFor(Client());
  cookie.length = 4;
  EXPECT_THAT(Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("x")),
              AllOf(Acks(Seq(1001)), GivesFastOpenCookie()));
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenPassiveFail), 1u);
  EXPECT_EQ(L(listener).fast_open_pending, 0u);
}

// Without a slot for the connection it is a request like any other, its data not taken.
TEST_P(FastOpenTest, WithoutASlotItIsARequest) {
  connection_slots_ = 1;
  Make();
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client(1));
  EXPECT_THAT(Exchange(LinuxSyn(Client(1)).FastOpenCookie(cookie).Data("x")), Acks(Seq(1002)));
  FourTuple again = Client(1);
  again.remote_port = 77;
  EXPECT_THAT(Exchange(LinuxSyn(again).FastOpenCookie(cookie).Data("x")), Acks(Seq(1001)));
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenPassiveFail), 1u);
  EXPECT_EQ(L(listener).half_open, 1u);
  EXPECT_EQ(L(listener).fast_open_pending, 1u);
}

// A SYN that recycles TIME-WAIT begins where that one ended (RFC 6191).
TEST_P(FastOpenTest, TimeWaitPrescribesTheIss) {
  ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  DropSent();
  ASSERT_TRUE(port_.Inject(LinuxSyn(Client()).FastOpenCookie(cookie).Data("x").Frame()));
  std::array<Packet, kBurstSize> burst;
  Ingress in;
  interface_->Receive(now_, {burst.data(), port_.RxBurst(burst)}, in);
  ASSERT_EQ(in.tcp_count, 1u);
  Segment s;
  ASSERT_TRUE(Segment::Parse(in.tcp[0], counters_, &s));
  Dispatch(s, Seq(0x12345678));
  if (in.tcp[0].packet.handle != nullptr) pool_.Free(in.tcp[0].packet.handle);
  EndPass();
  const auto sent = TakeAll();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_THAT(sent[0], AllOf(HasSeq(Seq(0x12345678)), Acks(Seq(1002))));
}

// TCP_SYNCNT of the listener is the child's, which sends its SYN-ACK itself.
TEST_P(FastOpenTest, SynCountBoundsTheSynAcks) {
  const Handle listener = ListenFast();
  ASSERT_EQ(passive_->SetSynCount(listener, 2), Error::kNone);
  const FastOpenOption cookie = CookieFor(Client());
  Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("x"));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  Pass(Duration::Seconds(60));
  EXPECT_EQ(TakeAll().size(), 2u);
  EXPECT_EQ(child->state(), TcpState::kClosed);
  EXPECT_EQ(child->error(), Error::kTimedOut);
}

// What a request would answer, the child in SYN-RECEIVED answers too; but it lives on.
TEST_P(FastOpenTest, InSynReceivedItIsAskedAsARequest) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  const auto later = [&](int ms) { Pass(Duration::Millis(ms)); };
  const uint32_t echo = syn_ack.tsval();
  const Seq nxt(1006);

  // A duplicate of the SYN: the SYN-ACK again, now and then.
  const SentTcp again = Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  EXPECT_THAT(again, AllOf(HasFlags("SA"), HasSeq(syn_ack.seq)));
  GiveSilently(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedSynRecv), 1u);
  later(510);
  // Out of the window: where we stand, now and then; data always.
  EXPECT_THAT(Exchange(From(Client()).Ack(nxt + 1'000'000, syn_ack.seq + 1).Timestamps(5001, echo)),
              AllOf(HasFlags("A"), HasSeq(syn_ack.seq + 1), Acks(nxt), HasLength(0)));
  GiveSilently(From(Client()).Ack(nxt + 1'000'000, syn_ack.seq + 1).Timestamps(5001, echo));
  EXPECT_THAT(
      Exchange(
          From(Client()).Ack(nxt + 1'000'000, syn_ack.seq + 1).Timestamps(5001, echo).Data("x")),
      Acks(nxt));
  GiveSilently(From(Client()).Rst(nxt + 1'000'000));
  // An older timestamp than the SYN's.
  later(510);
  EXPECT_THAT(Exchange(From(Client()).Ack(nxt, syn_ack.seq + 1).Timestamps(4000, echo)),
              AllOf(HasFlags("A"), Acks(nxt)));
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 1u);
  // RST elsewhere in the window: challenged (RFC 5961), now and then.
  later(510);
  EXPECT_THAT(Exchange(From(Client()).Rst(nxt + 1)), AllOf(HasFlags("A"), Acks(nxt)));
  EXPECT_EQ(Count(Counter::TcpExtTCPChallengeACK), 1u);
  GiveSilently(From(Client()).Rst(nxt + 1));
  EXPECT_EQ(Count(Counter::TcpExtTCPACKSkippedChallenge), 1u);
  // Another SYN in the window: reset, and counted as a failed attempt, as for a request.
  const uint64_t fails = Count(Counter::TcpAttemptFails);
  EXPECT_THAT(Exchange(From(Client()).Syn(nxt + 10).Timestamps(5001, 0)), HasFlags("RA"));
  EXPECT_EQ(Count(Counter::TcpAttemptFails), fails + 1);
  // Without ACK: nothing.
  GiveSilently(From(Client()).Flags("F").SeqNo(nxt).Timestamps(5001, echo));
  EXPECT_EQ(child->state(), TcpState::kSynReceived);
  // After all that it can still be acknowledged; or reset at the exact number.
  GiveSilently(From(Client()).Ack(nxt, syn_ack.seq + 1).Timestamps(5001, echo));
  EXPECT_EQ(child->state(), TcpState::kEstablished);
  EXPECT_EQ(child->readable_bytes(), kHello);
}

// An old duplicate of the SYN is not answered as one.
TEST_P(FastOpenTest, PawsStopsAnOldSynInSynReceived) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  ASSERT_NE(Accept(listener), nullptr);
  Pass(Duration::Millis(510));
  EXPECT_THAT(Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Timestamps(1, 0)), HasFlags("A"));
  EXPECT_EQ(Count(Counter::TcpExtPAWSEstab), 1u);
}

TEST_P(FastOpenTest, InSynReceivedAnswersHaveTimestampsOnlyIfTheSynHad) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  const SentTcp syn_ack =
      Exchange(PlainSyn(Client(), Seq(1000)).FastOpenCookie(cookie).Data("hello"));
  ASSERT_NE(Accept(listener), nullptr);
  const SentTcp ack = Exchange(From(Client()).Ack(Seq(2'000'000), syn_ack.seq + 1).Data("far"));
  EXPECT_THAT(ack, HasFlags("A"));
  EXPECT_FALSE(ack.options.timestamps);
}

// RFC 5961 section 3.2; Linux counts the handshake and the socket.
TEST_P(FastOpenTest, AnExactResetInSynReceivedEndsIt) {
  const Handle listener = ListenFast();
  const FastOpenOption cookie = CookieFor(Client());
  Exchange(LinuxSyn(Client()).FastOpenCookie(cookie).Data("hello"));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  const uint64_t fails = Count(Counter::TcpAttemptFails);
  GiveSilently(From(Client()).Rst(Seq(1006)));
  EXPECT_EQ(child->state(), TcpState::kClosed);
  EXPECT_EQ(child->error(), Error::kConnectionReset);
  EXPECT_EQ(Count(Counter::TcpAttemptFails), fails + 2);
}

TEST(FastOpenResetsTest, HeldPlacesAreOfOneListenerAndBounded) {
  FastOpenResets resets(2);
  const Instant now = Instant::FromNanos(0);
  EXPECT_TRUE(resets.Hold(1, now));
  EXPECT_TRUE(resets.Hold(2, now));
  EXPECT_FALSE(resets.Hold(1, now));
  EXPECT_FALSE(resets.TakeExpired(2, now + Duration::Seconds(59)));
  EXPECT_TRUE(resets.TakeExpired(2, now + Duration::Seconds(61)));
  EXPECT_FALSE(resets.TakeExpired(2, now + Duration::Seconds(61)));
  EXPECT_TRUE(resets.TakeExpired(1, now + Duration::Seconds(61)));
}

USHER_FOR_BOTH_FAMILIES(FastOpenTest);

}  // namespace
}  // namespace usher::test
