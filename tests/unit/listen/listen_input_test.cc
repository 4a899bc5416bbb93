// A segment at LISTEN, row by row of the rules, under all three models.
#include "stack/tcp/time_wait.h"
#include "tests/support/connection_peek.h"
#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::Not;

class ListenInputTestBase : public PassiveOpenTestBase {
 protected:
  using PassiveOpenTestBase::PassiveOpenTestBase;
  // `n` SYNs that nobody completes, from clients `from` on.
  void FillHalfOpen(uint32_t n, uint32_t from = 1000) {
    for (uint32_t i = 0; i < n; ++i) {
      const size_t before = half_open();
      Give(LinuxSyn(Client(from + i)));
      ASSERT_EQ(half_open(), before + 1) << "request " << i;
    }
    DropSent();
  }
  // `n` handshakes that nobody accepts.
  void FillAcceptQueue(Handle listener, uint32_t n, uint32_t from = 2000) {
    for (uint32_t i = 0; i < n; ++i) {
      Handshake(Client(from + i));
      ASSERT_EQ(L(listener).accept_queue.length(), i + 1);
    }
    DropSent();
  }
  uint64_t Drops(Handle listener, DropReason reason) const {
    return L(listener).counters.drops[reason];
  }
};

class ListenInputTest : public ListenInputTestBase, public ::testing::WithParamInterface<Family> {
 protected:
  ListenInputTest() : ListenInputTestBase(GetParam()) {}
};

using ModelAndFamily = std::tuple<ListenModel, Family>;

class EachModelTest : public ListenInputTestBase,
                      public ::testing::WithParamInterface<ModelAndFamily> {
 protected:
  EachModelTest() : ListenInputTestBase(std::get<Family>(GetParam())) {}
  ListenModel model() const { return std::get<ListenModel>(GetParam()); }
  Handle ListenWith(int backlog) { return Listen({.backlog = backlog, .model = model()}); }
};

INSTANTIATE_TEST_SUITE_P(Models, EachModelTest,
                         ::testing::Combine(::testing::Values(ListenModel::kLinuxClassic,
                                                              ListenModel::kLinux,
                                                              ListenModel::kBsd),
                                            ::testing::Values(Family::kIpv4, Family::kIpv6)),
                         [](const auto& row) {
                           std::string name = ToString(std::get<ListenModel>(row.param));
                           std::erase(name, '-');
                           return name +
                                  (std::get<Family>(row.param) == Family::kIpv4 ? "V4" : "V6");
                         });

// ---- What is not a SYN ----

TEST_P(EachModelTest, ResetIsIgnored) {
  const Handle listener = ListenWith(5);
  GiveSilently(From(Client()).Rst(Seq(1)));
  GiveSilently(From(Client()).Flags("RA").SeqNo(Seq(1)).AckNo(Seq(9)));
  EXPECT_EQ(L(listener).counters.drops.syns() + L(listener).counters.drops.acks(), 0u);
}

TEST_P(EachModelTest, AckWithoutCookieIsReset) {
  const Handle listener = ListenWith(5);
  const SentTcp rst = Exchange(From(Client()).Ack(Seq(1), Seq(777)));
  EXPECT_THAT(rst, AllOf(HasFlags("R"), HasSeq(Seq(777))));
  EXPECT_EQ(Drops(listener, DropReason::kAckUnexpected), 1u);
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesFailed), 0u) << "no cookie was sent: no hash";
}

TEST_P(EachModelTest, SynAckIsReset) {
  const Handle listener = ListenWith(5);
  const SentTcp rst = Exchange(From(Client()).Flags("SA").SeqNo(Seq(1)).AckNo(Seq(777)));
  EXPECT_THAT(rst, AllOf(HasFlags("R"), HasSeq(Seq(777))));
  EXPECT_EQ(Drops(listener, DropReason::kAckWithSyn), 1u);
}

TEST_P(EachModelTest, SynFinAndNoFlagsAreDropped) {
  const Handle listener = ListenWith(5);
  GiveSilently(From(Client()).Flags("SF").SeqNo(Seq(1)));
  GiveSilently(From(Client()).FlagBits(0).SeqNo(Seq(1)));
  GiveSilently(From(Client()).Flags("F").SeqNo(Seq(1)));
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(Drops(listener, DropReason::kSynBadFlags), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 0u);
}

TEST_P(EachModelTest, AllFlagCombinationsAreSafe) {
  ListenWith(5);
  for (uint16_t flags = 0; flags <= TcpFlags::kAll; ++flags) {
    DropSent();
    Give(From(Client(flags)).FlagBits(flags).SeqNo(Seq(5)).AckNo(Seq(6)).Data("x"));
    const auto sent = TakeAll();
    const bool rst = (flags & TcpFlags::kRst) != 0;
    const bool ack = (flags & TcpFlags::kAck) != 0;
    const bool syn = (flags & TcpFlags::kSyn) != 0 && (flags & TcpFlags::kFin) == 0;
    if (rst || (!ack && !syn)) {
      EXPECT_TRUE(sent.empty()) << FlagsToString(flags);
    } else if (ack) {
      ASSERT_EQ(sent.size(), 1u) << FlagsToString(flags);
      EXPECT_THAT(sent[0], HasFlags("R")) << FlagsToString(flags);
    }
  }
}

TEST_P(EachModelTest, SynToNobodyIsResetAndCounted) {
  ListenWith(5);
  const SentTcp rst = Exchange(LinuxSyn(Client(0, 81), Seq(1000)));
  EXPECT_THAT(rst, AllOf(HasFlags("RA"), Acks(Seq(1001)), HasSeq(Seq(0))));
  EXPECT_EQ(passive_->without_listener().drops[DropReason::kSynNoListener], 1u);
  Exchange(From(Client(0, 81)).Ack(Seq(1), Seq(2)));
  EXPECT_EQ(passive_->without_listener().drops[DropReason::kAckNoListener], 1u);
  GiveSilently(From(Client(0, 81)).Rst(Seq(1)));
}

TEST_P(EachModelTest, BroadcastSynIsDropped) {
  const Handle listener = ListenWith(5);
  GiveSilently(LinuxSyn(Client()).To(MacAddress::Broadcast()));  // not even TCP (as Linux)
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 0u);
  EXPECT_EQ(Count(Counter::TcpInSegs), 0u);
  FourTuple to_all = Client();
  to_all.local = Ip(v6_ ? "ff02::1" : "198.19.255.255");
  GiveSilently(LinuxSyn(to_all));
  EXPECT_EQ(Drops(listener, DropReason::kSynNotUnicast), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
}

// LAND: from and to the same address and port.
TEST_P(EachModelTest, SynFromOurselvesIsDropped) {
  ListenWith(5);
  GiveSilently(LinuxSyn({local_, local_, 80, 80}));
  EXPECT_EQ(half_open(), 0u);
}

TEST_P(EachModelTest, DataOnASynIsNotTaken) {
  ListenWith(5);
  EXPECT_THAT(Exchange(LinuxSyn(Client(), Seq(1000)).Data("early")),
              AllOf(HasFlags("SA"), Acks(Seq(1001))));
}

// ---- What the SYN-ACK says ----

TEST_P(EachModelTest, SynAckOffersOnlyWhatTheSynOffered) {
  ListenWith(100);
  EXPECT_THAT(Exchange(PlainSyn(Client(1))),
              AllOf(HasMss(OurMss()), HasNoWindowScale(), Not(HasTimestamps()),
                    Not(HasSackPermitted()), HasWindow(PlainWindow())));
  EXPECT_THAT(Exchange(PlainSyn(Client(2)).WindowScale(3)),
              AllOf(HasWindowScale(7), Not(HasTimestamps()), Not(HasSackPermitted())));
  EXPECT_THAT(Exchange(PlainSyn(Client(3)).SackPermitted()),
              AllOf(HasNoWindowScale(), Not(HasTimestamps()), HasSackPermitted()));
  EXPECT_THAT(Exchange(PlainSyn(Client(4)).Timestamps(9, 0)),
              AllOf(HasNoWindowScale(), EchoesTimestamp(9), Not(HasSackPermitted()),
                    HasWindow(OurWindow())));
}

TEST_P(EachModelTest, SynAckBytesAreLinuxs) {
  ListenWith(100);
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  Bytes expected = {2, 4, 0, 0, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0x13, 0x88, 1, 3, 3, 7};
  Store16(expected.data() + 2, OurMss());
  Store32(expected.data() + 8, syn_ack.tsval());
  EXPECT_EQ(syn_ack.option_bytes, expected);
  EXPECT_EQ(syn_ack.tos, 0);
}

// RFC 3168 section 6.1.1: the SYN asks with ECE and CWR, the SYN-ACK grants with ECE alone.
TEST_P(EachModelTest, EcnIsGrantedWhenAskedFor) {
  ListenWith(100);
  for (const int setting : {0, 1, 2}) {
    sysctls_.tcp_ecn = setting;
    const auto client = [this, n = static_cast<uint16_t>(10 * setting)](int i) {
      return Client(static_cast<uint16_t>(n + i));
    };
    const char* const granted = setting != 0 ? "SAE" : "SA";
    EXPECT_THAT(Exchange(LinuxSyn(client(1)).Flags("SEW")), HasFlags(granted));
    EXPECT_THAT(Exchange(LinuxSyn(client(2)).Flags("SE")), HasFlags("SA"));
    EXPECT_THAT(Exchange(LinuxSyn(client(3)).Flags("SW")), HasFlags("SA"));
    EXPECT_THAT(Exchange(LinuxSyn(client(4))), HasFlags("SA"));
    // A marked SYN was meddled with, unless it knows the newer rules.
    EXPECT_THAT(Exchange(LinuxSyn(client(5)).Flags("SEW").Ecn(Ecn::kEct0)), HasFlags("SA"));
    EXPECT_THAT(
        Exchange(LinuxSyn(client(6))
                     .FlagBits(TcpFlags::kSyn | TcpFlags::kEce | TcpFlags::kCwr | TcpFlags::kAe)
                     .Ecn(Ecn::kEct0)),
        HasFlags(granted));
  }
}

// As Linux: any flag that is newer than RFC 3168, and no other.
TEST_P(EachModelTest, AMarkedSynIsTrustedForEachReservedFlag) {
  ListenWith(1000);
  uint32_t client = 0;
  for (const Ecn ecn : {Ecn::kNotEct, Ecn::kEct0, Ecn::kEct1, Ecn::kCe}) {
    for (uint8_t reserved = 0; reserved < 16; ++reserved) {
      const FourTuple tuple = Client(client++);
      Bytes frame = LinuxSyn(tuple).Flags("SEW").Ecn(ecn);
      uint8_t* const tcp = frame.data() + 14 + (v6_ ? 40 : 20);
      tcp[12] |= reserved;
      FillTcpChecksum(tcp, frame.size() - static_cast<size_t>(tcp - frame.data()), tuple.remote,
                      tuple.local);
      EXPECT_THAT(Exchange(frame), HasFlags(ecn == Ecn::kNotEct || reserved != 0 ? "SAE" : "SA"))
          << int{reserved};
    }
  }
}

TEST_P(EachModelTest, SettingsTurnOptionsOff) {
  ListenWith(100);
  sysctls_.tcp_timestamps = 0;
  EXPECT_THAT(Exchange(LinuxSyn(Client(1))), AllOf(Not(HasTimestamps()), HasWindowScale(7)));
  sysctls_.tcp_timestamps = 1;
  sysctls_.tcp_window_scaling = 0;
  EXPECT_THAT(Exchange(LinuxSyn(Client(2))), AllOf(HasTimestamps(), HasNoWindowScale()));
  sysctls_.tcp_sack = 0;
  EXPECT_THAT(Exchange(LinuxSyn(Client(3))), AllOf(HasTimestamps(), Not(HasSackPermitted())));
}

TEST_P(EachModelTest, UserMssBoundsBothDirections) {
  ListenSpec spec{.backlog = 5, .model = model()};
  spec.options.user_mss = 700;
  Listen(spec);
  EXPECT_THAT(Exchange(LinuxSyn(Client())), HasMss(700));
}

TEST_P(EachModelTest, TimeWaitPrescribesTheIss) {
  const Handle listener = ListenWith(0);
  const Bytes frame = LinuxSyn(Client(), Seq(1000));
  ASSERT_TRUE(port_.Inject(frame));
  context_->now = now_;
  std::array<Packet, kBurstSize> burst;
  Ingress in;
  interface_->Receive(now_, {burst.data(), port_.RxBurst(burst)}, in);
  usher::Segment s;
  ASSERT_TRUE(usher::Segment::Parse(in.tcp[0], counters_, &s));
  sysctls_.tcp_syncookies = 2;  // does not apply to it
  Dispatch(s, Seq(4711));
  EndPass();
  const auto sent = TakeAll();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_THAT(sent[0], AllOf(HasFlags("SA"), HasSeq(Seq(4711))));
  EXPECT_EQ(L(listener).half_open, 1u);
}

// ---- 1. Half-open full ----

TEST_P(ListenInputTest, LinuxHalfOpenIsFullBeyondTheAcceptLimit) {
  const Handle listener = Listen({.backlog = 2, .model = ListenModel::kLinux});
  FillHalfOpen(3);
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDoCookies), 0u);
  EXPECT_THAT(Exchange(LinuxSyn(Client())), HasFlags("SA"));
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDoCookies), 1u);
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesSent), 1u);
  EXPECT_EQ(half_open(), 3u) << "a cookie stores nothing";
  EXPECT_EQ(L(listener).counters.syncookies_sent, 1u);
}

TEST_P(ListenInputTest, ClassicHalfOpenIsFullAtTheTablesSize) {
  Listen({.backlog = 2, .model = ListenModel::kLinuxClassic});
  FillHalfOpen(16);
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDoCookies), 0u);
  EXPECT_THAT(Exchange(LinuxSyn(Client())), HasFlags("SA"));
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDoCookies), 1u);
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesSent), 1u);
  EXPECT_EQ(half_open(), 16u);
}

TEST_P(ListenInputTest, WithoutCookiesAFullTableDrops) {
  sysctls_.tcp_syncookies = 0;
  for (const ListenModel model : {ListenModel::kLinux, ListenModel::kLinuxClassic}) {
    const uint16_t port = model == ListenModel::kLinux ? 80 : 81;
    const Handle listener = Listen({.port = port, .backlog = 2, .model = model});
    const uint32_t room = model == ListenModel::kLinux ? 3 : 16;
    for (uint32_t i = 0; i < room; ++i) Give(LinuxSyn(Client(i, port)));
    const uint64_t drops = Count(Counter::TcpExtListenDrops);
    GiveSilently(LinuxSyn(Client(100, port)));
    EXPECT_EQ(Drops(listener, DropReason::kSynHalfOpenFull), 1u);
    EXPECT_EQ(L(listener).counters.req_q_full_drop, 1u);
    EXPECT_EQ(Count(Counter::TcpExtListenDrops), drops + 1);
  }
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDrop), 2u);
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 0u);
}

// ---- 2. Accept queue full ----

TEST_P(ListenInputTest, LinuxDropsEverySynWhenTheAcceptQueueIsFull) {
  const Handle listener = Listen({.backlog = 2, .model = ListenModel::kLinux});
  FillAcceptQueue(listener, 3);
  GiveSilently(LinuxSyn(Client()));
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
  EXPECT_EQ(Drops(listener, DropReason::kSynAcceptQueueFull), 1u);
  ASSERT_NE(Accept(listener), nullptr);
  EXPECT_THAT(Exchange(LinuxSyn(Client())), HasFlags("SA"));
}

TEST_P(ListenInputTest, ClassicStillTakesSynsWhileFewAreYoung) {
  const Handle listener = Listen({.backlog = 2, .model = ListenModel::kLinuxClassic});
  FillAcceptQueue(listener, 3);
  EXPECT_THAT(Exchange(LinuxSyn(Client(1))), HasFlags("SA"));
  EXPECT_THAT(Exchange(LinuxSyn(Client(2))), HasFlags("SA"));
  GiveSilently(LinuxSyn(Client(3)));  // two young ones wait
  EXPECT_EQ(Drops(listener, DropReason::kSynAcceptQueueFull), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 1u);
  Pass(Duration::Millis(1100));  // their first timeout: not young any more
  EXPECT_EQ(L(listener).young, 0u);
  EXPECT_THAT(Exchange(LinuxSyn(Client(3))), HasFlags("SA"));
}

TEST_P(ListenInputTest, BacklogZeroAdmitsOne) {
  for (const ListenModel model : {ListenModel::kLinux, ListenModel::kLinuxClassic}) {
    const uint16_t port = model == ListenModel::kLinux ? 80 : 81;
    const Handle listener = Listen({.port = port, .backlog = 0, .model = model});
    Handshake(Client(1, port));
    EXPECT_EQ(L(listener).accept_queue.length(), 1u);
    const SentTcp syn_ack =
        model == ListenModel::kLinuxClassic ? Exchange(LinuxSyn(Client(2, port))) : SentTcp();
    if (model == ListenModel::kLinux)
      GiveSilently(LinuxSyn(Client(2, port)));
    else
      GiveSilently(FinalAck(syn_ack));
    EXPECT_EQ(L(listener).accept_queue.length(), 1u);
  }
}

// The SYN was marked for a cookie before the accept queue was looked at: the counters say so.
TEST_P(ListenInputTest, MarkedSynMeetsAFullAcceptQueue) {
  sysctls_.tcp_syncookies = 2;
  const Handle listener = Listen({.backlog = 0, .model = ListenModel::kLinux});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client(1)));
  Give(FinalAck(syn_ack));
  ASSERT_EQ(L(listener).accept_queue.length(), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDoCookies), 1u);
  GiveSilently(LinuxSyn(Client(2)));
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDoCookies), 2u);
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesSent), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
}

// ---- 3. The last quarter ----

TEST_P(ListenInputTest, LastQuarterIsKeptForProvenPeersWithoutCookies) {
  sysctls_.tcp_max_syn_backlog = 16;
  for (const int syncookies : {0, 1}) {
    sysctls_.tcp_syncookies = syncookies;
    const uint16_t port = syncookies == 0 ? 80 : 81;
    const Handle listener = Listen({.port = port, .backlog = 100, .model = ListenModel::kLinux});
    for (uint32_t i = 0; i < 20; ++i) Give(LinuxSyn(Client(i, port)));
    // 16 - qlen < 4 holds from qlen = 13 on.
    EXPECT_EQ(L(listener).half_open, syncookies == 0 ? 13u : 20u);
    EXPECT_EQ(Drops(listener, DropReason::kSynLastQuarter), syncookies == 0 ? 7u : 0u);
  }
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 7u);
}

// ---- bsd ----

TEST_P(ListenInputTest, BsdCountsBothQueuesTogether) {
  const Handle listener = Listen({.backlog = 4, .model = ListenModel::kBsd});  // 3 * 4 / 2 = 6
  FillAcceptQueue(listener, 4);
  FillHalfOpen(3);
  GiveSilently(LinuxSyn(Client()));
  EXPECT_EQ(Drops(listener, DropReason::kSynQueueFull), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPReqQFullDoCookies), 0u) << "no cookies there";
  ASSERT_NE(Accept(listener), nullptr);
  EXPECT_THAT(Exchange(LinuxSyn(Client())), HasFlags("SA"));
}

TEST_P(ListenInputTest, BsdGaveThePlaceAtTheSyn) {
  const Handle listener = Listen({.backlog = 0, .model = ListenModel::kBsd});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client(1)));
  GiveSilently(LinuxSyn(Client(2)));
  GiveSilently(FinalAck(syn_ack));
  EXPECT_EQ(L(listener).accept_queue.length(), 1u);
  sysctls_.tcp_syncookies = 2;
  GiveSilently(LinuxSyn(Client(2)));
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesSent), 0u);
}

// ---- The shard's own bounds ----

TEST_P(EachModelTest, NoRecordNoRequest) {
  passive_config_.max_requests = 2;
  Make();
  const Handle listener = ListenWith(100);
  FillHalfOpen(2);
  GiveSilently(LinuxSyn(Client()));
  EXPECT_EQ(Drops(listener, DropReason::kSynNoRecord), 1u);
}

TEST_P(EachModelTest, NoConnectionSlotIsACountedRefusal) {
  connection_slots_ = 1;
  Make();
  const Handle listener = ListenWith(100);
  Handshake(Client(1));
  const SentTcp syn_ack = Exchange(LinuxSyn(Client(2)));
  GiveSilently(FinalAck(syn_ack));
  EXPECT_EQ(Drops(listener, DropReason::kAckNoConnection), 1u);
  EXPECT_EQ(half_open(), 1u) << "the request is kept";
}

// ---- Cookies ----

class CookieTest : public ListenInputTest {
 protected:
  CookieTest() { sysctls_.tcp_syncookies = 2; }
  Handle ListenForCookies(ListenSpec spec = {}) {
    spec.model = ListenModel::kLinux;
    if (spec.port == 0) spec.port = kPort;
    return Listen(spec);
  }
};

TEST_P(CookieTest, HandshakeWithoutMemory) {
  const Handle listener = ListenForCookies();
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  EXPECT_THAT(syn_ack, AllOf(HasFlags("SA"), Acks(Seq(1001)), HasMss(OurMss()), HasSackPermitted(),
                             EchoesTimestamp(5000), HasWindowScale(7), HasWindow(OurWindow())));
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(passive_->requests().size(), 0u);
  Give(FinalAck(syn_ack));
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesRecv), 1u);
  EXPECT_EQ(Count(Counter::TcpPassiveOpens), 1u);
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->tuple(), Client());
  EXPECT_EQ(child->state(), TcpState::kEstablished);
}

TEST_P(CookieTest, DataOnTheAckIsTaken) {
  const Handle listener = ListenForCookies();
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  Give(FinalAck(syn_ack).Data("hello"));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->readable_bytes(), 5u);
}

TEST_P(CookieTest, TheChildsWindowIsInSegmentsOfTheCookiesMss) {
  const Handle listener = ListenForCookies();
  const uint16_t least = v6_ ? 1220 : 536;
  for (const auto& [mss, window] :
       {std::pair<uint16_t, uint32_t>(least, 65536 - 65536 % least), {OurMss(), PlainWindow()}}) {
    const SentTcp syn_ack = Exchange(LinuxSyn(Client(mss)).Mss(mss));
    EXPECT_THAT(syn_ack, HasWindow(OurWindow()));  // in segments of ours
    Give(FinalAck(syn_ack));
    TcpConnection* child = Accept(listener);
    ASSERT_NE(child, nullptr);
    EXPECT_EQ(ConnectionPeek{*child}.rcv_wnd(), window);
  }
}

TEST_P(ListenInputTest, AWindowBeyondTheFieldCountsFromTheHandshakeOn) {
  sysctls_.tcp_rmem[1] = 400'000;
  for (const int cookies : {0, 2}) {
    sysctls_.tcp_syncookies = cookies;
    const Handle listener = Listen({.port = static_cast<uint16_t>(kPort + cookies)});
    const auto port = static_cast<uint16_t>(kPort + cookies);
    const SentTcp syn_ack = Exchange(LinuxSyn(Client(0, port)));
    EXPECT_THAT(syn_ack, HasWindow(65535));
    Give(FinalAck(syn_ack));
    TcpConnection* child = Accept(listener);
    ASSERT_NE(child, nullptr);
    const uint32_t mss = cookies != 0 ? OurMss() : OurMss() - 12;
    EXPECT_EQ(ConnectionPeek{*child}.rcv_wnd(), 200'000 - 200'000 % mss);
  }
}

TEST_P(CookieTest, WithoutTimestampsScaleAndSackAreOff) {
  ListenForCookies();
  const SentTcp syn_ack = Exchange(PlainSyn(Client()).WindowScale(7).SackPermitted());
  EXPECT_THAT(syn_ack, AllOf(HasNoWindowScale(), Not(HasSackPermitted()), Not(HasTimestamps())));
  Give(FinalAck(syn_ack));
  EXPECT_EQ(children_.size(), 1u);
}

TEST_P(CookieTest, EcnTravelsInTheTimestamp) {
  ListenForCookies();
  for (const bool asks : {false, true}) {
    const SentTcp syn_ack = Exchange(LinuxSyn(Client(asks ? 2 : 1)).Flags(asks ? "SEW" : "S"));
    EXPECT_THAT(syn_ack, HasFlags(asks ? "SAE" : "SA"));
    Give(FinalAck(syn_ack));
    EXPECT_EQ(children_.at(syn_ack.tuple)->Info(*context_).ecn, asks);
  }
  // Nowhere to carry it.
  const SentTcp plain = Exchange(PlainSyn(Client(3)).Flags("SEW"));
  EXPECT_THAT(plain, HasFlags("SA"));
  // Turned off while the cookie was on its way.
  const SentTcp late = Exchange(LinuxSyn(Client(4)).Flags("SEW"));
  EXPECT_THAT(late, HasFlags("SAE"));
  sysctls_.tcp_ecn = 0;
  Give(FinalAck(late));
  EXPECT_FALSE(children_.at(late.tuple)->Info(*context_).ecn);
}

// However the SYN before was answered, and whether or not the hashes were computed beforehand: the
// same SYN gets the same SYN-ACK, by cookie and from the table.
TEST_P(CookieTest, WhatIsForeseenChangesNoAnswer) {
  ListenForCookies();
  const auto answer = [this](const FourTuple& tuple, int cookies) {
    sysctls_.tcp_syncookies = cookies;
    const SentTcp syn_ack = Exchange(LinuxSyn(tuple));
    GiveSilently(From(tuple).Rst(Seq(1001)));
    return syn_ack;
  };
  for (const FourTuple& tuple : {ClientOf(Family::kIpv4, 1), ClientOf(Family::kIpv6, 1)}) {
    for (const int cookies : {1, 2}) {
      foresee_ = false;
      const SentTcp expected = answer(tuple, cookies);
      foresee_ = true;
      for (const int before : {1, 2}) {
        answer(Client(2), before);
        const SentTcp syn_ack = answer(tuple, cookies);
        EXPECT_EQ(syn_ack.seq, expected.seq) << cookies << " after " << before;
        EXPECT_EQ(syn_ack.tsval(), expected.tsval()) << cookies << " after " << before;
      }
    }
  }
}

TEST_P(ListenInputTest, WhatIsForeseenOfAnAckChangesNoTimestamp) {
  const Handle listener = Listen({.port = kPort});
  for (const uint32_t i : {0u, 1u}) {
    foresee_ = i == 1;
    for (const FourTuple& tuple : {ClientOf(Family::kIpv4, i), ClientOf(Family::kIpv6, i)}) {
      Handshake(tuple);
      TcpConnection* child = Accept(listener);
      ASSERT_NE(child, nullptr);
      EXPECT_EQ(TimeWaitFacts::From(*child).core.ts_offset, isn_.TimestampOffset(tuple));
    }
  }
}

TEST_P(CookieTest, TimestampNeverRunsAhead) {
  ListenForCookies();
  uint32_t last = 0;
  for (uint32_t i = 0; i < 200; ++i) {
    const SentTcp syn_ack = Exchange(LinuxSyn(Client(7)));
    const uint32_t clock = syn_ack.tsval() - isn_.TimestampOffset(Client(7));
    EXPECT_LE(clock, TimestampClock(now_));
    EXPECT_LT(TimestampClock(now_) - clock, 64u);
    EXPECT_EQ(CookieOptions::TakeFrom(clock).window_scale, std::optional<uint8_t>(7));
    EXPECT_TRUE(CookieOptions::TakeFrom(clock).sack);
    EXPECT_GE(clock, last);
    last = clock;
    now_ = now_ + Duration::Millis(7);
  }
}

TEST_P(CookieTest, WrongNumberIsFailedAndReset) {
  const Handle listener = ListenForCookies();
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  const Seq wrong = syn_ack.seq + 1 + (1u << 20);
  EXPECT_THAT(Exchange(From(Client()).Ack(Seq(1001), wrong)), AllOf(HasFlags("R"), HasSeq(wrong)));
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesFailed), 1u);
  EXPECT_EQ(Drops(listener, DropReason::kAckCookieFailed), 1u);
}

TEST_P(CookieTest, OnlyLookedForWhileOneMayComeBack) {
  const Handle listener = ListenForCookies();
  const SentTcp first = Exchange(LinuxSyn(Client()));
  Pass(Duration::Seconds(121));
  Exchange(FinalAck(first));
  EXPECT_EQ(Drops(listener, DropReason::kAckUnexpected), 1u);
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesFailed), 0u);
  const SentTcp second = Exchange(LinuxSyn(Client(1)));
  sysctls_.tcp_syncookies = 0;
  Exchange(FinalAck(second));
  EXPECT_EQ(Drops(listener, DropReason::kAckUnexpected), 2u);
  sysctls_.tcp_syncookies = 1;
  GiveSilently(FinalAck(second));
  EXPECT_EQ(children_.size(), 1u);
}

TEST_P(CookieTest, GroupMembersKnowOfEachOthersCookies) {
  const Handle a = ListenForCookies({.reuseport = true});
  const Handle b = ListenForCookies({.reuseport = true});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  CloseListener(L(a).counters.syncookies_sent == 0 ? a : b);  // leaves the one that sent it
  Give(FinalAck(syn_ack));
  EXPECT_EQ(children_.size(), 1u);
  // And the member that sent none answers for a late comer of the other.
  const Handle c = ListenForCookies({.reuseport = true});
  uint32_t to_new = 0;
  for (uint32_t i = 10; to_new == 0 && i < 60; ++i) {
    const uint64_t before = L(c).counters.acks;
    Exchange(From(Client(i)).Ack(Seq(1), Seq(2)));
    to_new = static_cast<uint32_t>(L(c).counters.acks - before);
  }
  ASSERT_EQ(to_new, 1u);
  EXPECT_EQ(Drops(c, DropReason::kAckCookieFailed), 1u);
}

TEST_P(CookieTest, OptionsThatAreOffAreNotBelieved) {
  const Handle listener = ListenForCookies();
  const SentTcp a = Exchange(LinuxSyn(Client(1)));
  sysctls_.tcp_sack = 0;
  EXPECT_THAT(Exchange(FinalAck(a)), HasFlags("R"));
  sysctls_.tcp_sack = 1;
  sysctls_.tcp_window_scaling = 0;
  EXPECT_THAT(Exchange(FinalAck(a)), HasFlags("R"));
  EXPECT_EQ(Drops(listener, DropReason::kAckCookieOptions), 2u);
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesRecv), 2u);
  sysctls_.tcp_window_scaling = 1;
  GiveSilently(FinalAck(a));
  EXPECT_EQ(children_.size(), 1u);
}

TEST_P(CookieTest, AcceptQueueFullDropsInSilence) {
  const Handle listener = ListenForCookies({.backlog = 0});
  const SentTcp a = Exchange(LinuxSyn(Client(1)));
  const SentTcp b = Exchange(LinuxSyn(Client(2)));
  GiveSilently(FinalAck(a));
  GiveSilently(FinalAck(b));
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
  EXPECT_EQ(Drops(listener, DropReason::kAckCookieQueueFull), 1u);
  EXPECT_EQ(children_.size(), 1u);
}

TEST_P(CookieTest, SurvivesKeyRotation) {
  ListenForCookies();
  const SentTcp a = Exchange(LinuxSyn(Client(1)));
  passive_->RotateCookieKey(random_);
  Pass(Duration::Seconds(61));
  const SentTcp b = Exchange(LinuxSyn(Client(2)));
  GiveSilently(FinalAck(a));
  GiveSilently(FinalAck(b));
  EXPECT_EQ(children_.size(), 2u);
}

// ---- Strict cookies ----

TEST_P(CookieTest, StrictWantsTheTimestampItSent) {
  const Handle listener = ListenForCookies({.strict_cookies = true});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  Exchange(From(Client()).Ack(Seq(1001), syn_ack.seq + 1));  // none
  Exchange(From(Client()).Ack(Seq(1001), syn_ack.seq + 1).Timestamps(5001, 12345));
  Exchange(
      From(Client()).Ack(Seq(1001), syn_ack.seq + 1).Timestamps(5001, syn_ack.tsval() - 200'000));
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesFailed), 3u);
  EXPECT_EQ(Drops(listener, DropReason::kAckCookieFailed), 3u);
  GiveSilently(FinalAck(syn_ack));
  EXPECT_EQ(children_.size(), 1u);
}

TEST_P(CookieTest, StrictHasNoCookieForClientsWithoutTimestamps) {
  const Handle listener = ListenForCookies({.strict_cookies = true});
  GiveSilently(PlainSyn(Client()));
  EXPECT_EQ(Drops(listener, DropReason::kSynNoTimestamp), 1u);
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesSent), 0u);
}

TEST_P(CookieTest, ForTheAckNoSlotIsACountedRefusal) {
  connection_slots_ = 1;
  Make();
  const Handle listener = ListenForCookies({.backlog = 5});
  const SentTcp a = Exchange(LinuxSyn(Client(1)));
  const SentTcp b = Exchange(LinuxSyn(Client(2)));
  GiveSilently(FinalAck(a));
  GiveSilently(FinalAck(b));
  EXPECT_EQ(Drops(listener, DropReason::kAckNoConnection), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
  EXPECT_EQ(L(listener).accept_queue.length(), 1u);
}

// The rest of the group looks for the cookies of a member that is closed; others do not.
TEST_P(CookieTest, OnlyTheGroupInheritsAClosedMembersCookies) {
  const Handle a = ListenForCookies({.address = local_, .reuseport = true});
  const Handle other = ListenForCookies({.address = other_local_, .reuseport = true});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  const Handle b = ListenForCookies({.address = local_, .reuseport = true});
  CloseListener(a);
  FourTuple elsewhere = Client(3);
  elsewhere.local = other_local_;
  Exchange(From(elsewhere).Ack(Seq(1), Seq(2)));
  EXPECT_EQ(Drops(other, DropReason::kAckUnexpected), 1u);
  Give(FinalAck(syn_ack));
  EXPECT_EQ(L(b).accept_queue.length(), 1u);
  // Nor does one at the same address on another port of the same chain.
  EXPECT_FALSE(L(other).cookies_sent_before);
}

TEST_P(ListenInputTest, ASynFromWhereNoRouteLeadsIsRefused) {
  const Handle listener = Listen({.backlog = 5});
  const FourTuple far{local_, Ip(v6_ ? "2001:db8::5" : "203.0.113.5"), kPort, 40000};
  GiveSilently(LinuxSyn(far));
  EXPECT_EQ(Drops(listener, DropReason::kSynNoRoute), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenDrops), 1u);
  EXPECT_EQ(half_open(), 0u);
}

USHER_FOR_BOTH_FAMILIES(ListenInputTest);
USHER_FOR_BOTH_FAMILIES(CookieTest);

}  // namespace
}  // namespace usher::test
