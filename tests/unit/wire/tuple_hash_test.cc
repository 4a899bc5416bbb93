#include "stack/wire/tuple_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>
#include <vector>

namespace usher {
namespace {

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

const SipKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

// One tuple of each family, and every other that differs from it in one field.
std::vector<FourTuple> Neighbours(const char* local, const char* other_local, const char* remote,
                                  const char* other_remote) {
  return {{Ip(local), Ip(remote), 80, 40000},       {Ip(other_local), Ip(remote), 80, 40000},
          {Ip(local), Ip(other_remote), 80, 40000}, {Ip(local), Ip(remote), 81, 40000},
          {Ip(local), Ip(remote), 80, 40001},       {Ip(local), Ip(remote), 40000, 80},
          {Ip(remote), Ip(local), 80, 40000}};
}

TEST(TupleHash, EveryFieldCounts) {
  // The IPv6 addresses differ in one half only, so that a half left out would show.
  std::set<FourTuple> all;
  for (const auto& tuples : {Neighbours("198.18.0.2", "198.18.0.3", "198.18.0.1", "199.18.0.1"),
                             Neighbours("2001:2::2", "2001:3::2", "2001:2::1", "2001:2::3"),
                             Neighbours("2001:2::2", "2001:2::5", "2001:2::1", "2001:4::1")})
    all.insert(tuples.begin(), tuples.end());
  EXPECT_EQ(all.size(), 16u);
  std::set<uint64_t> table, wire;
  for (const FourTuple& t : all) {
    table.insert(TableHash(kKey, t));
    wire.insert(WireHash(kKey, t));
  }
  EXPECT_EQ(table.size(), all.size());
  EXPECT_EQ(wire.size(), all.size());
}

TEST(TupleHash, TheKeyCounts) {
  for (const FourTuple& t : {FourTuple{Ip("198.18.0.2"), Ip("198.18.0.1"), 80, 40000},
                             FourTuple{Ip("2001:2::2"), Ip("2001:2::1"), 80, 40000}}) {
    for (const SipKey& other : {SipKey{kKey.k0 ^ 1, kKey.k1}, SipKey{kKey.k0, kKey.k1 ^ 1}}) {
      EXPECT_NE(TableHash(kKey, t), TableHash(other, t));
      EXPECT_NE(WireHash(kKey, t), WireHash(other, t));
    }
  }
}

// What goes out on the wire must not tell where the table files a tuple.
TEST(TupleHash, TheTwoAreDifferentFunctions) {
  const FourTuple t{Ip("198.18.0.2"), Ip("198.18.0.1"), 80, 40000};
  EXPECT_NE(TableHash(kKey, t), WireHash(kKey, t));
}

TEST(TupleHash, TheExtraWordIsHashedBesideThePorts) {
  const FourTuple t{Ip("198.18.0.2"), Ip("198.18.0.1"), 80, 40000};
  std::set<uint64_t> seen;
  for (const uint32_t extra : {0u, 1u, 80u, 0x10000u, UINT32_MAX})
    seen.insert(WireHash(kKey, t, extra));
  EXPECT_EQ(seen.size(), 5u);
  EXPECT_EQ(WireHash(kKey, t), WireHash(kKey, t, 0));
}

TEST(TupleHash, IsTheSipHashOfTheWordsItNames) {
  const FourTuple t{Ip("198.18.0.2"), Ip("198.18.0.1"), 80, 40000};
  const uint64_t addresses = uint64_t{0xc6120002} << 32 | 0xc6120001;
  const uint64_t ports = uint64_t{80} << 16 | 40000;
  EXPECT_EQ(TableHash(kKey, t), SipHash13(kKey, addresses, ports));
  EXPECT_EQ(WireHash(kKey, t, 7), SipHash24(kKey, addresses, ports | uint64_t{7} << 32));
}

TEST(TupleBatch, GivesWhatOneByOneGives) {
  for (uint32_t count = 1; count <= TupleBatch::kMax; ++count) {
    TupleBatch batch;
    EXPECT_TRUE(batch.empty());
    std::vector<FourTuple> tuples;
    std::vector<uint32_t> places;
    for (uint32_t i = 0; i < count; ++i) {
      const bool v4 = i % 3 != count % 3;  // both families mixed, and each alone
      tuples.push_back({Ip(v4 ? "198.18.0.2" : "2001:2::2"), Ip(v4 ? "198.18.0.1" : "2001:2::1"),
                        80, static_cast<uint16_t>(40000 + i)});
      places.push_back(batch.Add(tuples.back()));
    }
    EXPECT_FALSE(batch.empty());
    TupleBatch::Hashes table{}, wire{}, extra{};
    batch.TableHashes(kKey, table);
    batch.WireHashes(kKey, wire);
    batch.WireHashes(kKey, extra, 0xfedcba98);
    for (uint32_t i = 0; i < count; ++i) {
      EXPECT_EQ(table[places[i]], TableHash(kKey, tuples[i])) << i << " of " << count;
      EXPECT_EQ(wire[places[i]], WireHash(kKey, tuples[i])) << i << " of " << count;
      EXPECT_EQ(extra[places[i]], WireHash(kKey, tuples[i], 0xfedcba98)) << i << " of " << count;
    }
  }
}

}  // namespace
}  // namespace usher
