// A handshake from SYN to accept(), and the user's calls.
#include <set>

#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;

TEST_P(PassiveOpenTest, HandshakeMakesAConnectionThatAcceptReturns) {
  const Handle listener = Listen({.backlog = 5});
  const FourTuple client = Client();
  const SentTcp syn_ack = Exchange(LinuxSyn(client, Seq(1000), 5000));
  EXPECT_THAT(syn_ack, AllOf(HasFlags("SA"), Acks(Seq(1001)), HasMss(OurMss()), HasSackPermitted(),
                             EchoesTimestamp(5000), HasWindowScale(7), HasWindow(OurWindow())));
  EXPECT_EQ(syn_ack.tuple, client);
  EXPECT_EQ(syn_ack.to, kPeerMac);
  EXPECT_EQ(L(listener).half_open, 1u);
  EXPECT_EQ(Accept(listener), nullptr);

  GiveSilently(FinalAck(syn_ack));
  EXPECT_EQ(L(listener).half_open, 0u);
  EXPECT_EQ(L(listener).accept_queue.length(), 1u);
  EXPECT_EQ(ready_events_, 1u);
  EXPECT_EQ(Count(Counter::TcpPassiveOpens), 1u);
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->tuple(), client);
  EXPECT_EQ(child->state(), TcpState::kEstablished);
  EXPECT_TRUE(child->accepted);
  EXPECT_EQ(Accept(listener), nullptr);
}

TEST_P(PassiveOpenTest, AcceptIsFirstInFirstOut) {
  const Handle listener = Listen({.backlog = 100});
  for (uint32_t i = 0; i < 50; ++i) Handshake(Client(i));
  for (uint32_t i = 0; i < 50; ++i) {
    TcpConnection* child = Accept(listener);
    ASSERT_NE(child, nullptr);
    EXPECT_EQ(child->tuple(), Client(i));
  }
  EXPECT_EQ(ready_events_, 50u) << "an event for each burst that brought something";
}

TEST_P(PassiveOpenTest, AChildThatDiedInTheQueueIsStillReturned) {
  const Handle listener = Listen({.backlog = 5});
  const SentTcp syn_ack = Handshake(Client());
  Give(From(Client()).Rst(syn_ack.ack));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->state(), TcpState::kClosed);
  std::array<uint8_t, 4> buffer;
  EXPECT_EQ(child->Read(*context_, buffer).error, Error::kConnectionReset);
}

// ---- Names ----

TEST_P(PassiveOpenTest, NamesInUseAreRefused) {
  struct Row {
    const char* first;
    bool first_v6_only;
    const char* second;
    bool second_v6_only;
    bool conflict;
  };
  const Row rows[] = {
      {"0.0.0.0", false, "0.0.0.0", false, true},
      {"0.0.0.0", false, "198.18.0.2", false, true},
      {"198.18.0.2", false, "0.0.0.0", false, true},
      {"198.18.0.2", false, "198.18.0.2", false, true},
      {"198.18.0.2", false, "198.18.0.3", false, false},
      {"::", false, "0.0.0.0", false, true},
      {"0.0.0.0", false, "::", false, true},
      {"::", true, "0.0.0.0", false, false},
      {"0.0.0.0", false, "::", true, false},
      {"::", false, "198.18.0.2", false, true},
      {"::", true, "198.18.0.2", false, false},
      {"::", true, "2001:2::2", false, true},
      {"::", true, "::", true, true},
      {"0.0.0.0", false, "2001:2::2", false, false},
      {"198.18.0.2", false, "2001:2::2", false, false},
  };
  uint16_t port = 1000;
  for (const Row& r : rows) {
    SCOPED_TRACE(std::string(r.first) + " then " + r.second);
    Handle handle;
    ++port;
    const auto listen = [&](const char* address, bool v6_only, bool reuseport) {
      return passive_->Listen(
          {.address = Ip(address), .port = port, .v6_only = v6_only, .reuseport = reuseport},
          &handle);
    };
    ASSERT_EQ(listen(r.first, r.first_v6_only, false), Error::kNone);
    EXPECT_EQ(listen(r.second, r.second_v6_only, false),
              r.conflict ? Error::kAddressInUse : Error::kNone);
    EXPECT_EQ(listen(r.first, r.first_v6_only, true), Error::kAddressInUse)
        << "the first did not say reuseport";
    ++port;
    ASSERT_EQ(listen(r.first, r.first_v6_only, true), Error::kNone);
    EXPECT_EQ(listen(r.second, r.second_v6_only, true), Error::kNone);
  }
}

// As Linux: a listener that nobody reaches, except where IPv6 forbids it.
TEST_P(PassiveOpenTest, AddressesOfManyAreTakenAsLinuxTakesThem) {
  Handle handle;
  EXPECT_EQ(passive_->Listen({.address = Ip("ff02::1"), .port = 80}, &handle), Error::kInvalid);
  EXPECT_EQ(passive_->Listen({.address = Ip("224.0.0.1"), .port = 80}, &handle), Error::kNone);
  EXPECT_EQ(passive_->Listen({.address = Ip("255.255.255.255"), .port = 80}, &handle),
            Error::kNone);
  EXPECT_EQ(passive_->Listen({.address = Ip("240.0.0.1"), .port = 80}, &handle),
            Error::kAddressNotAvailable);
}

TEST_P(PassiveOpenTest, BadSpecsAreRefused) {
  Handle handle;
  EXPECT_EQ(
      passive_->Listen({.address = Ip(v6_ ? "2001:2::77" : "198.18.0.77"), .port = 80}, &handle),
      Error::kAddressNotAvailable);
  EXPECT_EQ(passive_->Listen({.port = 80, .syncnt = 128}, &handle), Error::kInvalid);
  const Handle listener = Listen({});
  EXPECT_EQ(passive_->SetSynCount(listener, 0), Error::kInvalid);
  EXPECT_EQ(passive_->SetSynCount(listener, 128), Error::kInvalid);
  EXPECT_EQ(passive_->SetSynCount(listener, 127), Error::kNone);
}

TEST_P(PassiveOpenTest, StaleHandlesAreTold) {
  const Handle listener = Listen({});
  CloseListener(listener);
  Error error;
  EXPECT_EQ(passive_->Accept(listener, &error), nullptr);
  EXPECT_EQ(error, Error::kBadHandle);
  EXPECT_EQ(passive_->SetBacklog(listener, 1), Error::kBadHandle);
  EXPECT_EQ(passive_->SetDeferAccept(listener, 1), Error::kBadHandle);
  EXPECT_EQ(passive_->SetSynCount(listener, 1), Error::kBadHandle);
  EXPECT_EQ(passive_->SetSaveSyn(listener, true), Error::kBadHandle);
  EXPECT_EQ(passive_->SetChildOptions(listener, {}), Error::kBadHandle);
  EXPECT_EQ(passive_->SetFastOpen(listener, 1), Error::kBadHandle);
  EXPECT_EQ(passive_->ShareBacklog(listener, 1), Error::kBadHandle);
  EXPECT_EQ(passive_->Close(listener, [](TcpConnection&) {}), Error::kBadHandle);
  EXPECT_EQ(passive_->Get(listener), nullptr);
}

TEST_P(PassiveOpenTest, PortZeroTakesAnEphemeralOneUntilAllAreTaken) {
  sysctls_.ip_local_port_range = {5000, 5009};
  std::set<uint16_t> ports;
  Handle handle;
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(passive_->Listen({.port = 0}, &handle), Error::kNone);
    ports.insert(L(handle).spec.port);
  }
  EXPECT_EQ(ports.size(), 10u);
  EXPECT_EQ(*ports.begin(), 5000);
  EXPECT_EQ(*ports.rbegin(), 5009);
  EXPECT_EQ(passive_->Listen({.port = 0}, &handle), Error::kAddressInUse);
}

TEST_P(PassiveOpenTest, ListenerSlotsAreBounded) {
  passive_config_.max_listeners = 2;
  Make();
  Handle handle;
  EXPECT_EQ(passive_->Listen({.port = 1}, &handle), Error::kNone);
  EXPECT_EQ(passive_->Listen({.port = 2}, &handle), Error::kNone);
  EXPECT_EQ(passive_->Listen({.port = 3}, &handle), Error::kNoBuffers);
}

TEST_P(PassiveOpenTest, TheClosestNameAnswers) {
  const Handle any = Listen({.address = Ip("::"), .v6_only = false, .reuseport = true});
  const Handle any4 = Listen({.address = Ip("0.0.0.0"), .reuseport = true});
  const Handle exact = Listen({.address = Ip("198.18.0.2"), .reuseport = true});
  Give(LinuxSyn(ClientOf(Family::kIpv4)));
  EXPECT_EQ(L(exact).half_open, 1u);
  FourTuple other = ClientOf(Family::kIpv4, 1);
  other.local = Ip("198.18.0.3");
  Give(LinuxSyn(other));
  EXPECT_EQ(L(any4).half_open, 1u);
  Give(LinuxSyn(ClientOf(Family::kIpv6)));
  EXPECT_EQ(L(any).half_open, 1u);
  CloseListener(any4);
  other.remote_port++;
  Give(LinuxSyn(other));
  EXPECT_EQ(L(any).half_open, 2u) << "dual stack";
  EXPECT_TRUE(passive_->HasListener(Ip("198.18.0.3"), kPort));
  EXPECT_FALSE(passive_->HasListener(Ip("198.18.0.3"), 81));
}

TEST_P(PassiveOpenTest, V6OnlyDoesNotAnswerIpv4) {
  Listen({.address = Ip("::"), .v6_only = true});
  EXPECT_THAT(Exchange(LinuxSyn(ClientOf(Family::kIpv4))), HasFlags("RA"));
  EXPECT_THAT(Exchange(LinuxSyn(ClientOf(Family::kIpv6))), HasFlags("SA"));
}

// ---- listen() again ----

TEST_P(PassiveOpenTest, ListenAgainOnlyMovesTheLimit) {
  const Handle listener = Listen({.backlog = 5, .model = ListenModel::kLinux});
  for (uint32_t i = 0; i < 6; ++i) Handshake(Client(i));
  ASSERT_EQ(passive_->SetBacklog(listener, 0), Error::kNone);
  EXPECT_EQ(L(listener).accept_queue.length(), 6u) << "nothing queued is evicted";
  GiveSilently(LinuxSyn(Client(10)));
  ASSERT_EQ(passive_->SetBacklog(listener, 10), Error::kNone);
  EXPECT_THAT(Exchange(LinuxSyn(Client(10))), HasFlags("SA"));
}

TEST_P(PassiveOpenTest, SomaxconnIsReadAtListen) {
  const Handle listener = Listen({.backlog = 100, .model = ListenModel::kLinux});
  sysctls_.somaxconn = 3;
  EXPECT_EQ(L(listener).limits.accept_limit, 100u);
  ASSERT_EQ(passive_->SetBacklog(listener, 100), Error::kNone);
  EXPECT_EQ(L(listener).limits.accept_limit, 3u);
  EXPECT_EQ(L(listener).whole.held_back_by, HeldBackBy::kSomaxconn);
}

TEST_P(PassiveOpenTest, OnlyWithoutCookiesTheLastQuarterIsALimit) {
  sysctls_.tcp_max_syn_backlog = 16;
  const Handle linux = Listen({.backlog = 100, .model = ListenModel::kLinux});
  const Handle bsd = Listen({.port = 81, .backlog = 100, .model = ListenModel::kBsd});
  for (const int cookies : {0, 1, 2}) {
    sysctls_.tcp_syncookies = cookies;
    EXPECT_EQ(passive_->LimitsInForce(L(linux)).half_open_capacity, cookies == 0 ? 13u : 101u);
    EXPECT_EQ(passive_->LimitsInForce(L(bsd)).half_open_capacity, L(bsd).whole.half_open_capacity);
  }
}

// ---- Close ----

TEST_P(PassiveOpenTest, CloseResetsQueuedChildren) {
  const Handle listener = Listen({.backlog = 5});
  const SentTcp a = Handshake(Client(1));
  Handshake(Client(2));
  DropSent();
  CloseListener(listener);
  EXPECT_EQ(children_reset_, 2u);
  const auto sent = TakeAll();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_TRUE((sent[0].flags & TcpFlags::kRst) != 0);
  EXPECT_EQ(sent[0].seq, a.seq + 1);
  EXPECT_EQ(connections_->size(), 0u);
  const ListenerCounters& nobody = passive_->without_listener();
  EXPECT_EQ(nobody.drops[DropReason::kSynEndedByClose], 2u);
  EXPECT_EQ(nobody.drops[DropReason::kAckEndedByClose], 2u);
  EXPECT_EQ(nobody.completed, 0u) << "of which nobody has got any";
  EXPECT_THAT(Exchange(LinuxSyn(Client(3))), HasFlags("RA"));
}

TEST_P(PassiveOpenTest, RequestsOfAClosedListenerEndAtTheirNextSegment) {
  const Handle listener = Listen({.backlog = 5});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  CloseListener(listener);
  EXPECT_EQ(half_open(), 1u);
  EXPECT_THAT(Exchange(FinalAck(syn_ack)), AllOf(HasFlags("R"), HasSeq(syn_ack.seq + 1)));
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(passive_->without_listener().drops[DropReason::kSynEndedByClose], 1u);
  EXPECT_EQ(passive_->without_listener().drops[DropReason::kAckNoListener], 1u);
}

TEST_P(PassiveOpenTest, RequestsOfAClosedListenerEndAtTheirTimer) {
  const Handle listener = Listen({.backlog = 5});
  Exchange(LinuxSyn(Client()));
  CloseListener(listener);
  Pass(Duration::Seconds(2));
  EXPECT_EQ(TakeAll().size(), 0u);
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(passive_->requests().size(), 0u);
}

// A new listener of the same name (and, the pool being what it is, in the same slot) is not the
// old one.
TEST_P(PassiveOpenTest, ANewListenerHasNoPartInTheOldOnesRequests) {
  const Handle old = Listen({.backlog = 5});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client()));
  CloseListener(old);
  const Handle fresh = Listen({.backlog = 5});
  EXPECT_EQ(fresh.index, old.index);
  EXPECT_EQ(L(fresh).half_open, 0u);
  EXPECT_THAT(Exchange(FinalAck(syn_ack)), HasFlags("R"));
  EXPECT_EQ(L(fresh).counters.drops[DropReason::kAckUnexpected], 1u);
  EXPECT_THAT(Exchange(LinuxSyn(Client(1))), HasFlags("SA"));
}

TEST_P(PassiveOpenTest, OpenCloseStormLeavesNothing) {
  for (uint32_t i = 0; i < 2000; ++i) {
    const Handle listener = Listen({.backlog = 5});
    const SentTcp syn_ack = Exchange(LinuxSyn(Client(2 * i)));
    if (i % 2 == 0) Give(FinalAck(syn_ack));
    if (i % 3 == 0) Accept(listener);
    CloseListener(listener);
    DropSent();
    if (i % 100 == 99) {
      Pass(Duration::Seconds(2));
      EXPECT_EQ(passive_->requests().size(), 0u);
    }
  }
}

// ---- SO_REUSEPORT ----

TEST_P(PassiveOpenTest, GroupSharesSynsByKeyedHash) {
  std::vector<Handle> group;
  for (int i = 0; i < 4; ++i) group.push_back(Listen({.backlog = 1000, .reuseport = true}));
  for (uint32_t i = 0; i < 400; ++i) Give(LinuxSyn(Client(i)));
  for (const Handle h : group) {
    EXPECT_GT(L(h).half_open, 60u);
    EXPECT_LT(L(h).half_open, 140u);
  }
  EXPECT_EQ(half_open(), 400u);
}

TEST_P(PassiveOpenTest, ChildrenAndRequestsMigrateWithinTheGroup) {
  sysctls_.tcp_migrate_req = 1;
  const Handle a = Listen({.backlog = 100, .reuseport = true});
  const Handle b = Listen({.backlog = 100, .reuseport = true});
  std::vector<SentTcp> half_open_ones;
  for (uint32_t i = 0; i < 20; ++i) {
    const SentTcp syn_ack = Exchange(LinuxSyn(Client(i)));
    if (i % 2 == 0)
      Give(FinalAck(syn_ack));
    else
      half_open_ones.push_back(syn_ack);
  }
  const uint32_t queued_a = L(a).accept_queue.length();
  const uint32_t half_open_a = L(a).half_open;
  ASSERT_GT(queued_a, 0u);
  ASSERT_GT(half_open_a, 1u);
  DropSent();
  CloseListener(a);
  EXPECT_EQ(TakeAll().size(), 0u) << "no reset";
  EXPECT_EQ(L(b).accept_queue.length(), 10u);
  EXPECT_EQ(Count(Counter::TcpExtTCPMigrateReqSuccess), queued_a);
  // Half of the requests by a segment, half by their timer.
  for (size_t i = 0; i < 5; ++i) GiveSilently(FinalAck(half_open_ones[i]));
  Pass(Duration::Millis(1100));
  EXPECT_EQ(L(b).half_open, 5u);
  EXPECT_EQ(TakeAll().size(), 5u);
  EXPECT_EQ(L(b).accept_queue.length(), 15u);
  EXPECT_EQ(L(b).counters.migrated_in, queued_a + half_open_a);
  EXPECT_EQ(Count(Counter::TcpExtTCPMigrateReqSuccess), queued_a + half_open_a);
  for (int i = 0; i < 15; ++i) EXPECT_NE(Accept(b), nullptr);
}

TEST_P(PassiveOpenTest, WithoutMigrateReqTheGroupDoesNotInherit) {
  const Handle a = Listen({.backlog = 100, .reuseport = true});
  const Handle b = Listen({.backlog = 100, .reuseport = true});
  for (uint32_t i = 0; i < 20; ++i) Handshake(Client(i));
  const uint32_t queued_b = L(b).accept_queue.length();
  CloseListener(a);
  EXPECT_EQ(L(b).accept_queue.length(), queued_b);
  EXPECT_EQ(children_reset_, 20 - queued_b);
}

// ---- TCP_SAVE_SYN ----

TEST_P(PassiveOpenTest, SavedSynIsWhatCame) {
  const Handle listener = Listen({.backlog = 5, .save_syn = true});
  const Bytes frame = LinuxSyn(Client());
  const SentTcp syn_ack = Exchange(frame);
  Give(FinalAck(syn_ack));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  const auto saved = passive_->SavedSyn(*child);
  EXPECT_EQ(Bytes(saved.begin(), saved.end()), Bytes(frame.begin() + 14, frame.end()));
  passive_->ForgetSavedSyn(*child);
  EXPECT_TRUE(passive_->SavedSyn(*child).empty());
}

TEST_P(PassiveOpenTest, SavedSynsAreBoundedAndGivenBack) {
  passive_config_.max_saved_syns = 2;
  Make();
  const Handle listener = Listen({.backlog = 100, .save_syn = true});
  for (uint32_t i = 0; i < 3; ++i) Give(LinuxSyn(Client(i)));
  Pass(Duration::Seconds(70));  // all are given up
  ASSERT_EQ(half_open(), 0u);
  for (uint32_t i = 0; i < 3; ++i) Handshake(Client(10 + i));
  uint32_t saved = 0;
  while (TcpConnection* child = Accept(listener)) saved += !passive_->SavedSyn(*child).empty();
  EXPECT_EQ(saved, 2u);
}

TEST_P(PassiveOpenTest, AFastOpenChildHasItsSyn) {
  sysctls_.tcp_fastopen = FastOpenBits::kServer | FastOpenBits::kNoCookieNeeded;
  const Handle listener = Listen({.backlog = 5, .save_syn = true, .fastopen_qlen = 5});
  const Bytes frame = LinuxSyn(Client()).Data("hello");
  Exchange(frame);
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  const auto saved = passive_->SavedSyn(*child);
  EXPECT_EQ(Bytes(saved.begin(), saved.end()), Bytes(frame.begin() + 14, frame.end() - 5));
}

// What is set later holds for what comes later.
TEST_P(PassiveOpenTest, SettingsReachAListenerThatListens) {
  const Handle listener = Listen({.backlog = 5});
  EXPECT_EQ(passive_->SetDeferAccept(listener, 3), Error::kNone);
  const SentTcp syn_ack = Exchange(LinuxSyn(Client(1)));
  GiveSilently(FinalAck(syn_ack));
  EXPECT_EQ(Count(Counter::TcpExtTCPDeferAcceptDrop), 1u);
  EXPECT_EQ(passive_->SetDeferAccept(listener, 0), Error::kNone);
  GiveSilently(FinalAck(syn_ack));
  ASSERT_NE(Accept(listener), nullptr);

  EXPECT_EQ(passive_->SetSaveSyn(listener, true), Error::kNone);
  TcpOptionsSet options;
  options.user_mss = 700;
  EXPECT_EQ(passive_->SetChildOptions(listener, options), Error::kNone);
  EXPECT_THAT(Handshake(Client(2)), HasMss(700));
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->options().user_mss, 700);
  EXPECT_FALSE(passive_->SavedSyn(*child).empty());
}

// A listener's turn to be told of comes in the order of the first arrivals; one that is closed
// before has none, and leaves the others theirs.
TEST_P(PassiveOpenTest, AListenerClosedBeforeItsTurnIsNotTold) {
  for (uint32_t closed = 0; closed < 3; ++closed) {
    Make();
    std::vector<Handle> listeners;
    for (uint16_t port = 80; port < 83; ++port) listeners.push_back(Listen({.port = port}));
    std::vector<SentTcp> syn_acks;
    for (uint16_t port = 80; port < 83; ++port)
      syn_acks.push_back(Exchange(LinuxSyn(Client(port, port))));
    for (const SentTcp& s : syn_acks) ASSERT_TRUE(port_.Inject(FinalAck(s).Frame()));
    std::array<Packet, kBurstSize> burst;
    Ingress in;
    interface_->Receive(now_, {burst.data(), port_.RxBurst(burst)}, in);
    ASSERT_EQ(in.tcp_count, 3u);
    for (uint32_t i = 0; i < in.tcp_count; ++i) {
      Segment s;
      ASSERT_TRUE(Segment::Parse(in.tcp[i], counters_, &s));
      Dispatch(s);
      if (in.tcp[i].packet.handle != nullptr) pool_.Free(in.tcp[i].packet.handle);
    }
    EXPECT_EQ(passive_->Close(listeners[closed],
                              [this](TcpConnection& child) {
                                children_.erase(child.tuple());
                                child.Destroy(*context_);
                                connections_->Free(child.slot());
                              }),
              Error::kNone);
    std::vector<uint16_t> told;
    const auto note = [&](Handle, const Listener& l) { told.push_back(l.spec.port); };
    passive_->DrainReady(note);
    std::vector<uint16_t> expected{80, 81, 82};
    expected.erase(expected.begin() + closed);
    EXPECT_EQ(told, expected);
    // And the list goes on behind its new end.
    told.clear();
    const uint32_t before = ready_events_;
    Handshake(Client(7, closed == 0 ? 81 : 80));
    EXPECT_EQ(ready_events_, before + 1);
  }
}

// The group of the closest name, not whoever else listens on the port.
TEST_P(PassiveOpenTest, AGroupIsOfOneName) {
  const Handle wide = Listen({.address = any_, .backlog = 100, .reuseport = true});
  const Handle a = Listen({.address = local_, .backlog = 100, .reuseport = true});
  const Handle wider = Listen({.address = Ip("::"), .backlog = 100, .reuseport = true});
  const Handle b = Listen({.address = local_, .backlog = 100, .reuseport = true});
  for (uint32_t i = 0; i < 40; ++i) Handshake(Client(i));
  EXPECT_GT(L(a).accept_queue.length(), 5u);
  EXPECT_GT(L(b).accept_queue.length(), 5u);
  EXPECT_EQ(L(a).accept_queue.length() + L(b).accept_queue.length(), 40u);
  EXPECT_EQ(L(wide).accept_queue.length() + L(wider).accept_queue.length(), 0u);
}

// Whoever listens now on a closed group's port is no heir unless it is ready to share.
TEST_P(PassiveOpenTest, OneThatDoesNotShareIsNoHeir) {
  sysctls_.tcp_migrate_req = 1;
  const Handle a = Listen({.backlog = 100, .reuseport = true});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client(1)));
  Exchange(LinuxSyn(Client(2)));
  Handshake(Client(3));
  CloseListener(a);
  EXPECT_EQ(children_reset_, 1u) << "no heir for what was queued";
  const Handle b = Listen({.backlog = 100});
  const uint64_t failures = Count(Counter::TcpExtTCPMigrateReqFailure);
  EXPECT_THAT(Exchange(FinalAck(syn_ack)), HasFlags("R"));
  EXPECT_EQ(Count(Counter::TcpExtTCPMigrateReqFailure), failures + 1);
  Pass(Duration::Millis(1100));
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(Count(Counter::TcpExtTCPMigrateReqFailure), failures + 2);
  EXPECT_EQ(L(b).half_open, 0u);
  EXPECT_EQ(L(b).counters.migrated_in, 0u);
}

// A segment that does not end the request leaves it where it was; its timer moves it.
TEST_P(PassiveOpenTest, ARequestIsOnlyLentToTheHeirOfASegment) {
  sysctls_.tcp_migrate_req = 1;
  const Handle a = Listen({.backlog = 100, .reuseport = true});
  const SentTcp syn_ack = Exchange(LinuxSyn(Client(1)));
  const Handle b = Listen({.backlog = 100, .reuseport = true});
  CloseListener(a);
  Pass(Duration::Millis(600));
  EXPECT_THAT(Exchange(LinuxSyn(Client(1))), HasFlags("SA"));  // the SYN again
  EXPECT_EQ(L(b).half_open, 0u);
  EXPECT_EQ(L(b).young, 0u);
  EXPECT_EQ(L(b).counters.migrated_in, 0u);
  Pass(Duration::Millis(1100));
  EXPECT_EQ(L(b).half_open, 1u);
  EXPECT_EQ(L(b).young, 0u) << "it has seen a timeout";
  EXPECT_EQ(L(b).counters.migrated_in, 1u);
  Give(FinalAck(syn_ack));
  EXPECT_EQ(L(b).half_open, 0u);
  EXPECT_EQ(L(b).accept_queue.length(), 1u);
}

// Messages about a backlog that this shard has no part of any more.
TEST_P(PassiveOpenTest, PlacesOfAListenerThatIsGone) {
  passive_config_.shard_count = 4;
  passive_config_.shard_index = 1;
  Make();
  const auto send = [&](PlaceMessage::Kind kind, int32_t value) {
    passive_->ClearOutbox();
    passive_->OnPlaceMessage({.kind = kind, .from = 3, .to = 1, .listener = 9, .value = value});
    return std::vector<PlaceMessage>(passive_->outbox().begin(), passive_->outbox().end());
  };
  const auto answer = send(PlaceMessage::Kind::kAsk, 5);
  ASSERT_EQ(answer.size(), 1u) << "who asks waits for an answer";
  EXPECT_EQ(answer[0].kind, PlaceMessage::Kind::kGive);
  EXPECT_EQ(answer[0].to, 3u);
  EXPECT_EQ(answer[0].value, 0);
  const auto back = send(PlaceMessage::Kind::kGive, 5);
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].kind, PlaceMessage::Kind::kReturned);
  EXPECT_EQ(back[0].value, 5);
  EXPECT_TRUE(send(PlaceMessage::Kind::kGive, 0).empty()) << "nothing to return";
  EXPECT_TRUE(send(PlaceMessage::Kind::kReturned, 5).empty()) << "or it would go round for ever";
  EXPECT_TRUE(send(PlaceMessage::Kind::kBacklog, 5).empty());
}

USHER_FOR_BOTH_FAMILIES(PassiveOpenTest);

}  // namespace
}  // namespace usher::test
