#include "stack/base/random.h"

#include <gtest/gtest.h>

#include <array>

namespace usher {
namespace {

TEST(SeededRandom, GivesTheSplitMix64Sequence) {
  // The published outputs for seed 1234567.
  SeededRandom random(1234567);
  EXPECT_EQ(random.Next64(), 6457827717110365317u);
  EXPECT_EQ(random.Next64(), 3203168211198807973u);
  EXPECT_EQ(random.Next64(), 9817491932198370423u);
  EXPECT_EQ(random.Next64(), 4593380528125082431u);
  EXPECT_EQ(random.Next64(), 16408922859458223821u);
}

TEST(SeededRandom, FillsInLittleEndianOrderAndStartsEachFillAtAWord) {
  SeededRandom words(42), bytes(42);
  for (int round = 0; round < 2; ++round) {
    std::array<uint8_t, 11> filled{};
    bytes.Fill(filled);
    const uint64_t low = words.Next64(), high = words.Next64();
    for (size_t i = 0; i < filled.size(); ++i) {
      EXPECT_EQ(filled[i], static_cast<uint8_t>(i < 8 ? low >> (8 * i) : high >> (8 * (i - 8))));
    }
  }
}

TEST(SeededRandom, UniformStaysBelowItsBoundAndReachesAll) {
  SeededRandom random(1);
  std::array<int, 7> seen{};
  for (int i = 0; i < 7'000; ++i) {
    const uint64_t value = random.Uniform(seen.size());
    ASSERT_LT(value, seen.size());
    ++seen[value];
  }
  for (int count : seen) EXPECT_NEAR(count, 1'000, 150);
  EXPECT_EQ(random.Uniform(1), 0u);
}

TEST(SeededRandomDeathTest, UniformOfNothingIsRefused) {
  SeededRandom random(1);
  EXPECT_DEATH(random.Uniform(0), "check failed");
}

}  // namespace
}  // namespace usher
