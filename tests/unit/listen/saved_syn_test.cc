#include "stack/listen/saved_syn.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <vector>

#include "stack/base/random.h"

namespace usher {
namespace {

std::vector<uint8_t> Headers(size_t size, uint8_t first) {
  std::vector<uint8_t> bytes(size);
  std::iota(bytes.begin(), bytes.end(), first);
  return bytes;
}
std::vector<uint8_t> Of(const SavedSyns& syns, uint32_t slot) {
  const auto saved = syns.OfConnection(slot);
  return {saved.begin(), saved.end()};
}

TEST(SavedSyns, GoFromTheRequestToTheConnection) {
  SavedSyns syns(2, 4, 4);
  EXPECT_TRUE(syns.OfConnection(3).empty());
  syns.Save(1, Headers(60, 9));
  EXPECT_TRUE(syns.OfConnection(3).empty());
  syns.MoveToConnection(1, 3);
  EXPECT_EQ(Of(syns, 3), Headers(60, 9));
  EXPECT_EQ(Of(syns, 3), Headers(60, 9)) << "reading does not take";
  syns.ForgetRequest(1);  // nothing of it is left there
  EXPECT_EQ(Of(syns, 3), Headers(60, 9));
  syns.ForgetConnection(3);
  EXPECT_TRUE(syns.OfConnection(3).empty());
  EXPECT_EQ(syns.size(), 0u);
}

TEST(SavedSyns, ForgettingTwiceIsHarmless) {
  SavedSyns syns(1, 2, 2);
  syns.ForgetRequest(0);
  syns.ForgetConnection(0);
  syns.Save(0, Headers(40, 1));
  syns.ForgetRequest(0);
  syns.ForgetRequest(0);
  EXPECT_EQ(syns.size(), 0u);
  syns.MoveToConnection(0, 1);
  EXPECT_TRUE(syns.OfConnection(1).empty());
}

TEST(SavedSyns, BeyondTheBoundNothingIsSaved) {
  SavedSyns syns(2, 4, 4);
  for (uint32_t request = 0; request < 4; ++request)
    syns.Save(request, Headers(40, static_cast<uint8_t>(request)));
  EXPECT_EQ(syns.size(), 2u);
  for (uint32_t i = 0; i < 4; ++i) syns.MoveToConnection(i, i);
  EXPECT_EQ(Of(syns, 0), Headers(40, 0));
  EXPECT_EQ(Of(syns, 1), Headers(40, 1));
  EXPECT_TRUE(syns.OfConnection(2).empty());
  syns.ForgetConnection(0);
  syns.Save(3, Headers(40, 7));
  syns.MoveToConnection(3, 2);
  EXPECT_EQ(Of(syns, 2), Headers(40, 7));
}

TEST(SavedSyns, EverySizeUpToTheLargestHeaders) {
  SavedSyns syns(1, 1, 1);
  for (size_t size = 1; size <= 200; ++size) {
    syns.Save(0, Headers(size, 3));
    syns.MoveToConnection(0, 0);
    EXPECT_EQ(Of(syns, 0), size <= 120 ? Headers(size, 3) : std::vector<uint8_t>()) << size;
    syns.ForgetConnection(0);
    EXPECT_EQ(syns.size(), 0u);
  }
}

TEST(SavedSyns, PlaceForNoneSavesNone) {
  SavedSyns syns(0, 1, 1);
  syns.Save(0, Headers(40, 1));
  syns.MoveToConnection(0, 0);
  EXPECT_TRUE(syns.OfConnection(0).empty());
}

// Requests and connections come and go at random; what is read is what was saved.
TEST(SavedSyns, RandomLives) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    SavedSyns syns(4, 8, 8);
    std::map<uint32_t, std::vector<uint8_t>> requests, connections;
    for (int step = 0; step < 2000; ++step) {
      const auto r = static_cast<uint32_t>(random.Uniform(8));
      const auto c = static_cast<uint32_t>(random.Uniform(8));
      switch (random.Uniform(4)) {
        case 0:
          if (requests.count(r) == 0 && requests.size() + connections.size() < 4) {
            requests[r] = Headers(40 + random.Uniform(80), static_cast<uint8_t>(step));
            syns.Save(r, requests[r]);
          }
          break;
        case 1:
          if (requests.count(r) == 1 && connections.count(c) == 0) {
            syns.MoveToConnection(r, c);
            connections[c] = requests[r];
            requests.erase(r);
          }
          break;
        case 2:
          syns.ForgetRequest(r);
          requests.erase(r);
          break;
        default:
          syns.ForgetConnection(c);
          connections.erase(c);
      }
      ASSERT_EQ(syns.size(), requests.size() + connections.size()) << "seed " << seed;
      for (uint32_t slot = 0; slot < 8; ++slot)
        ASSERT_EQ(Of(syns, slot),
                  connections.count(slot) == 1 ? connections[slot] : std::vector<uint8_t>())
            << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace usher
