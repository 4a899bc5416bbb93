#include "stack/glue/system_random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "stack/base/siphash.h"

namespace usher {
namespace {

TEST(SystemRandom, NothingAskedNothingDone) {
  SystemRandom random;
  random.Fill({});
}

// getrandom gives 256 bytes at once at least, and may be interrupted in more: whatever the length,
// all of it is filled. (A byte stays zero 64 times in a row once in 2^512.)
TEST(SystemRandom, FillsToTheLastByteAndNotBeyond) {
  SystemRandom random;
  for (const size_t size : {1u, 7u, 255u, 256u, 257u, 100'000u}) {
    std::vector<uint8_t> seen(size);
    for (int round = 0; round < 64; ++round) {
      std::vector<uint8_t> bytes(size + 1, 0);
      bytes[size] = 0x5a;
      random.Fill({bytes.data(), size});
      ASSERT_EQ(bytes[size], 0x5a) << size;
      for (size_t i = 0; i < size; ++i) seen[i] |= bytes[i];
      if (size > 1000 && round == 7) break;
    }
    if (size <= 1000) {
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), 0) << size;
    } else {
      EXPECT_LT(std::count(seen.begin(), seen.end(), 0), 10) << size;
    }
  }
}

TEST(SystemRandom, KeysDiffer) {
  SystemRandom random;
  std::set<std::pair<uint64_t, uint64_t>> keys;
  for (int i = 0; i < 1000; ++i) {
    const SipKey key = SipKey::From(random);
    keys.emplace(key.k0, key.k1);
  }
  EXPECT_EQ(keys.size(), 1000u);
}

}  // namespace
}  // namespace usher
