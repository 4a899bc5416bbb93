#include "stack/listen/ack_parking.h"

#include "tests/support/passive_open_fixture.h"

namespace usher {
namespace {

ParkedAck Ack(uint16_t port, uint32_t listener = 1) {
  ParkedAck ack;
  ack.handshake.tuple = {*IpAddress::Parse("198.18.0.2"), *IpAddress::Parse("198.18.0.1"), 80,
                         port};
  ack.listener = listener;
  return ack;
}

TEST(AckParking, HoldsAsManyAsItWasMadeForAndNoMore) {
  AckParking parking(3);
  for (uint16_t port = 1; port <= 3; ++port) EXPECT_TRUE(parking.Add(Ack(port)));
  EXPECT_FALSE(parking.Add(Ack(4)));
  EXPECT_EQ(parking.size(), 3u);
  parking.Remove(0);
  EXPECT_TRUE(parking.Add(Ack(4)));
  EXPECT_FALSE(parking.Add(Ack(5)));
}

TEST(AckParking, PlaceForNoneTakesNone) {
  AckParking parking(0);
  EXPECT_FALSE(parking.Add(Ack(1)));
  EXPECT_EQ(parking.size(), 0u);
  EXPECT_EQ(parking.Find(Ack(1).handshake.tuple), AckParking::kNone);
}

TEST(AckParking, FoundByTheWholeName) {
  AckParking parking(3);
  parking.Add(Ack(1, 7));
  parking.Add(Ack(2, 8));
  EXPECT_EQ(parking.Find(Ack(2).handshake.tuple), 1u);
  EXPECT_EQ(parking[1].listener, 8u);
  EXPECT_EQ(parking.Find(Ack(3).handshake.tuple), AckParking::kNone);
  FourTuple other = Ack(1).handshake.tuple;
  other.local_port = 81;
  EXPECT_EQ(parking.Find(other), AckParking::kNone);
}

// Places go to those who came first, whoever left in between.
TEST(AckParking, OrderOfComingSurvivesRemovals) {
  AckParking parking(4);
  for (uint16_t port = 1; port <= 4; ++port) parking.Add(Ack(port));
  parking.Remove(1);
  parking.Add(Ack(5));
  parking.Remove(0);
  ASSERT_EQ(parking.size(), 3u);
  EXPECT_EQ(parking[0].handshake.tuple.remote_port, 3);
  EXPECT_EQ(parking[1].handshake.tuple.remote_port, 4);
  EXPECT_EQ(parking[2].handshake.tuple.remote_port, 5);
}

}  // namespace
}  // namespace usher

namespace usher::test {
namespace {

// ---- At a listener ----

class ParkingTest : public PassiveOpenTest {
 protected:
  ParkingTest() {
    passive_config_.max_parked_acks = 2;
    sysctls_.tcp_syncookies = 2;
  }
  Handle ListenForCookies(ListenSpec spec) {
    spec.model = ListenModel::kLinux;
    return Listen(spec);
  }
  uint64_t Drops(Handle listener, DropReason reason) const {
    return L(listener).counters.drops[reason];
  }
  // One accepted-to-be connection fills the queue; then `n` more ACKs are parked.
  Handle FullListener(uint32_t n) {
    const Handle listener = ListenForCookies({.backlog = 0, .cookie_ack_parking = true});
    std::vector<SentTcp> syn_acks;
    for (uint32_t i = 0; i <= n; ++i) syn_acks.push_back(Exchange(LinuxSyn(Client(i))));
    for (const SentTcp& s : syn_acks) GiveSilently(FinalAck(s));
    syn_acks_ = syn_acks;
    return listener;
  }
  std::vector<SentTcp> syn_acks_;
};

TEST_P(ParkingTest, CompletesWhenAPlaceFrees) {
  const Handle listener = FullListener(2);
  EXPECT_EQ(L(listener).parked, 2u);
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 0u);
  for (uint32_t i = 0; i < 3; ++i) {
    TcpConnection* child = Accept(listener);
    ASSERT_NE(child, nullptr) << i;
    EXPECT_EQ(child->tuple(), Client(i)) << "in the order of their coming";
  }
  EXPECT_EQ(Accept(listener), nullptr);
  EXPECT_EQ(L(listener).parked, 0u);
}

TEST_P(ParkingTest, IsBounded) {
  const Handle listener = FullListener(3);
  EXPECT_EQ(L(listener).parked, 2u);
  EXPECT_EQ(Drops(listener, DropReason::kAckCookieQueueFull), 1u);
  EXPECT_EQ(Count(Counter::TcpExtListenOverflows), 1u);
}

TEST_P(ParkingTest, DataOfAParkedClientDoesNotParkTwice) {
  const Handle listener = FullListener(1);
  GiveSilently(FinalAck(syn_acks_[1]).Data("GET"));
  EXPECT_EQ(L(listener).parked, 1u);
  EXPECT_EQ(Drops(listener, DropReason::kAckParkedAgain), 1u);
  Accept(listener);
  Give(FinalAck(syn_acks_[1]).Data("GET"));  // sent again
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->readable_bytes(), 3u);
}

TEST_P(ParkingTest, EndsByTimeResetAndClose) {
  const Handle listener = FullListener(2);
  GiveSilently(From(Client(1)).Rst(Seq(999)));  // not of it
  EXPECT_EQ(L(listener).parked, 2u);
  GiveSilently(From(Client(1)).Rst(Seq(1001)));
  EXPECT_EQ(L(listener).parked, 1u);
  EXPECT_EQ(Drops(listener, DropReason::kAckParkedGone), 1u);
  Pass(Duration::Seconds(121));
  EXPECT_EQ(L(listener).parked, 0u);
  EXPECT_EQ(Drops(listener, DropReason::kAckParkedGone), 2u);

  Accept(listener);
  const SentTcp a = Exchange(LinuxSyn(Client(11)));
  const SentTcp b = Exchange(LinuxSyn(Client(12)));
  GiveSilently(FinalAck(a));
  GiveSilently(FinalAck(b));
  ASSERT_EQ(L(listener).parked, 1u);
  CloseListener(listener);
  EXPECT_EQ(passive_->without_listener().drops[DropReason::kAckParkedGone], 3u)
      << "with the listener's own two";
}

// The accept queue has a place again, and the client's next segment comes before anybody has
// looked.
TEST_P(ParkingTest, TheAckThatComesAgainTakesThePlaceItself) {
  const Handle listener = FullListener(1);
  Error error;
  ASSERT_NE(passive_->Accept(listener, &error), nullptr);
  Give(FinalAck(syn_acks_[1]).Data("GET"));
  EXPECT_EQ(L(listener).parked, 0u);
  EXPECT_EQ(Drops(listener, DropReason::kAckParkedAgain), 1u);
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->tuple(), Client(1));
  EXPECT_EQ(child->readable_bytes(), 3u) << "its data with it";
  EXPECT_EQ(Accept(listener), nullptr) << "one connection, not two";
}

TEST_P(ParkingTest, ASynThatBeginsAnewUnparks) {
  const Handle listener = FullListener(1);
  Error error;
  ASSERT_NE(passive_->Accept(listener, &error), nullptr);
  Exchange(LinuxSyn(Client(1), Seq(77'000)));
  EXPECT_EQ(L(listener).parked, 0u);
  EXPECT_EQ(Drops(listener, DropReason::kAckParkedGone), 1u);
  EXPECT_EQ(Accept(listener), nullptr);
}

// An earlier cookie's ACK waits for a place: the request of a later SYN has lost its name.
TEST_P(ParkingTest, AParkedAckEndsTheRequestOfItsName) {
  const Handle listener = FullListener(0);
  Error error;
  ASSERT_NE(passive_->Accept(listener, &error), nullptr);
  const SentTcp cookie = Exchange(LinuxSyn(Client(5)));
  const SentTcp other = Exchange(LinuxSyn(Client(6)));
  sysctls_.tcp_syncookies = 1;
  Exchange(LinuxSyn(Client(5)));
  ASSERT_EQ(half_open(), 1u);
  GiveSilently(FinalAck(other));  // the place is taken
  GiveSilently(FinalAck(cookie));
  EXPECT_EQ(L(listener).parked, 1u);
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(L(listener).half_open, 0u);
  EXPECT_EQ(Drops(listener, DropReason::kSynEndedByCookie), 1u);
  EXPECT_EQ(Accept(listener)->tuple(), Client(6));
  EXPECT_EQ(Accept(listener)->tuple(), Client(5));
}

TEST_P(ParkingTest, ClosingDropsItsOwnAndNobodyElses) {
  const Handle a = FullListener(1);
  const Handle b = ListenForCookies({.port = 81, .backlog = 0, .cookie_ack_parking = true});
  const SentTcp first = Exchange(LinuxSyn(Client(20, 81)));
  const SentTcp second = Exchange(LinuxSyn(Client(21, 81)));
  GiveSilently(FinalAck(first));
  GiveSilently(FinalAck(second));
  ASSERT_EQ(L(a).parked, 1u);
  ASSERT_EQ(L(b).parked, 1u);
  CloseListener(a);
  EXPECT_EQ(passive_->without_listener().drops[DropReason::kAckParkedGone], 1u);
  EXPECT_EQ(L(b).parked, 1u);
  EXPECT_EQ(Accept(b)->tuple(), Client(20, 81));
  EXPECT_EQ(Accept(b)->tuple(), Client(21, 81));
}

// A member of the group is added, and the client's next segment meets another than the one that
// parked its ACK. It is one connection all the same.
TEST_P(ParkingTest, AGroupMembersParkedAckIsKnownToTheOthers) {
  passive_config_.max_parked_acks = 64;
  Make();
  const ListenSpec spec{.backlog = 0, .reuseport = true, .cookie_ack_parking = true};
  const Handle a = ListenForCookies(spec);
  constexpr uint32_t kClients = 30;
  for (uint32_t i = 0; i < kClients; ++i) syn_acks_.push_back(Exchange(LinuxSyn(Client(i))));
  for (const SentTcp& s : syn_acks_) GiveSilently(FinalAck(s));
  ASSERT_EQ(L(a).parked, kClients - 1);
  const Handle b = ListenForCookies(spec);
  uint32_t moved = 0;
  while (Drops(b, DropReason::kAckParkedAgain) == 0 && L(b).accept_queue.length() == 0) {
    ASSERT_LT(++moved, kClients);
    Give(FinalAck(syn_acks_[moved]));
  }
  EXPECT_EQ(L(b).accept_queue.length(), 1u);
  EXPECT_EQ(L(a).parked, kClients - 2);
  EXPECT_EQ(Drops(a, DropReason::kAckParkedAgain), moved) << "those before it, and it";
  // Until now nobody had a place; with one for each, none comes twice.
  ASSERT_EQ(passive_->SetBacklog(a, 100), Error::kNone);
  EndPass();
  EXPECT_EQ(children_.size(), kClients);
  EXPECT_EQ(L(a).accept_queue.length() + L(b).accept_queue.length(), kClients);
  EXPECT_EQ(L(a).parked, 0u);
}

// A client that resets or begins anew is believed by whichever member hears it.
TEST_P(ParkingTest, AGroupMembersParkedAckIsGivenUpByItsClient) {
  passive_config_.max_parked_acks = 64;
  Make();
  const ListenSpec spec{.backlog = 0, .reuseport = true, .cookie_ack_parking = true};
  const Handle a = ListenForCookies(spec);
  constexpr uint32_t kClients = 30;
  for (uint32_t i = 0; i < kClients; ++i) syn_acks_.push_back(Exchange(LinuxSyn(Client(i))));
  for (const SentTcp& s : syn_acks_) GiveSilently(FinalAck(s));
  const Handle b = ListenForCookies(spec);
  for (uint32_t i = 1; i < kClients; ++i)
    Give(i % 2 == 0 ? From(Client(i)).Rst(Seq(1001)) : LinuxSyn(Client(i), Seq(99'000)));
  EXPECT_GT(L(b).counters.syns, 0u);
  // SYNs that met the full queue of `a` were dropped before anybody looked at what is parked.
  EXPECT_EQ(L(a).parked, L(a).counters.syns - kClients);
  EXPECT_EQ(Drops(a, DropReason::kAckParkedGone), kClients - 1 - L(a).parked);
}

USHER_FOR_BOTH_FAMILIES(ParkingTest);

}  // namespace
}  // namespace usher::test
