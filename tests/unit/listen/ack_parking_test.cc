#include "stack/listen/ack_parking.h"

#include <gtest/gtest.h>

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
