#include "stack/base/siphash_batch.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>

#include "stack/base/random.h"

namespace usher {
namespace {

using internal::SipWay;
using internal::SipWays;
using Hashes = std::array<uint64_t, SipBatch<2>::kMax>;

// The key and messages 00 01 02 .. of the reference vectors (vectors_sip64).
constexpr SipKey kVectorKey{0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
constexpr uint64_t kVectorOf16Bytes = 0x3f2acc7f57c29bdbu;
constexpr uint64_t kVectorOf40Bytes = 0x0e3ea96b5304a7d0u;

template <uint32_t kWords>
void FillWithVectorMessage(SipBatch<kWords>& batch) {
  batch.count = SipBatch<kWords>::kMax;
  for (uint32_t w = 0; w < kWords; ++w)
    for (uint32_t i = 0; i < batch.count; ++i)
      batch.words[w][i] = 0x0706050403020100u + w * 0x0808080808080808u;
}

template <uint32_t kWords>
void FillAtRandom(SipBatch<kWords>& batch, SeededRandom& random) {
  for (auto& column : batch.words)
    for (uint64_t& word : column) word = random.Next64();
}

TEST(SipBatch, EveryWayMatchesTheReferenceVectors) {
  const auto of2 = std::make_unique<SipBatch<2>>();
  const auto of5 = std::make_unique<SipBatch<5>>();
  FillWithVectorMessage(*of2);
  FillWithVectorMessage(*of5);
  for (const SipWay& way : SipWays()) {
    if (!way.supported) continue;
    Hashes hashes{};
    way.hash24_of2(kVectorKey, *of2, 0, hashes.data());
    for (const uint64_t hash : hashes) EXPECT_EQ(hash, kVectorOf16Bytes) << way.name;
    way.hash24_of5(kVectorKey, *of5, 0, hashes.data());
    for (const uint64_t hash : hashes) EXPECT_EQ(hash, kVectorOf40Bytes) << way.name;
  }
}

// Every number of messages, each with its own words, against the hash of one.
TEST(SipBatch, EveryWayGivesWhatTheSingleHashGives) {
  SeededRandom random(20261121);
  const auto of2 = std::make_unique<SipBatch<2>>();
  const auto of5 = std::make_unique<SipBatch<5>>();
  for (uint32_t count = 0; count <= SipBatch<2>::kMax; ++count) {
    const SipKey key{random.Next64(), random.Next64()};
    const uint64_t extra = random.Next64();
    FillAtRandom(*of2, random);
    FillAtRandom(*of5, random);
    of2->count = of5->count = count;
    const auto& two = of2->words;
    const auto& five = of5->words;
    for (const SipWay& way : SipWays()) {
      if (!way.supported) continue;
      SCOPED_TRACE(std::string(way.name) + ", " + std::to_string(count) + " messages");
      Hashes long_of2{}, long_of5{}, short_of2{}, short_of5{};
      way.hash24_of2(key, *of2, extra, long_of2.data());
      way.hash24_of5(key, *of5, extra, long_of5.data());
      way.hash13_of2(key, *of2, extra, short_of2.data());
      way.hash13_of5(key, *of5, extra, short_of5.data());
      for (uint32_t i = 0; i < count; ++i) {
        EXPECT_EQ(long_of2[i], SipHash24(key, two[0][i], two[1][i] | extra)) << i;
        EXPECT_EQ(short_of2[i], SipHash13(key, two[0][i], two[1][i] | extra)) << i;
        EXPECT_EQ(long_of5[i], SipHash24(key, five[0][i], five[1][i], five[2][i], five[3][i],
                                         five[4][i] | extra))
            << i;
        EXPECT_EQ(short_of5[i], SipHash13(key, five[0][i], five[1][i], five[2][i], five[3][i],
                                          five[4][i] | extra))
            << i;
      }
    }
  }
}

TEST(SipBatch, TheChosenWayGivesTheSame) {
  SeededRandom random(7);
  const auto of2 = std::make_unique<SipBatch<2>>();
  const auto of5 = std::make_unique<SipBatch<5>>();
  const SipKey key{random.Next64(), random.Next64()};
  FillAtRandom(*of2, random);
  FillAtRandom(*of5, random);
  for (const uint32_t count : {1u, 2u, 3u, 4u, 9u, 32u}) {
    of2->count = of5->count = count;
    const uint32_t last = count - 1;
    const auto& two = of2->words;
    const auto& five = of5->words;
    Hashes hashes{};
    SipHash24(key, *of2, 0, hashes.data());
    EXPECT_EQ(hashes[last], SipHash24(key, two[0][last], two[1][last]));
    SipHash13(key, *of2, hashes.data());
    EXPECT_EQ(hashes[last], SipHash13(key, two[0][last], two[1][last]));
    SipHash24(key, *of5, 0, hashes.data());
    EXPECT_EQ(hashes[last], SipHash24(key, five[0][last], five[1][last], five[2][last],
                                      five[3][last], five[4][last]));
    SipHash13(key, *of5, hashes.data());
    EXPECT_EQ(hashes[last], SipHash13(key, five[0][last], five[1][last], five[2][last],
                                      five[3][last], five[4][last]));
  }
}

TEST(SipBatch, TheLastWayIsForEveryMachine) {
  EXPECT_TRUE(SipWays().back().supported);
  EXPECT_EQ(SipWays().back().lanes, 1u);
}

}  // namespace
}  // namespace usher
