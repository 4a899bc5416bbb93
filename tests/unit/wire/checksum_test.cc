#include "stack/wire/checksum.h"

#include <gtest/gtest.h>

#include "stack/wire/checksum_blocks.h"
#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

// RFC 1071 word for word: 16-bit big-endian words, carries folded at the end.
uint16_t NaiveChecksum(ByteSpan data, uint64_t sum = 0) {
  for (size_t i = 0; i < data.size(); i += 2)
    sum += static_cast<uint32_t>(data[i]) << 8 | (i + 1 < data.size() ? data[i + 1] : 0);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

TEST(Checksum, ExampleOfRfc1071) {
  const auto data = Hex("0001 f203 f4f5 f6f7");
  EXPECT_EQ(checksum::Finish(checksum::Sum(data)), 0xffff - 0xddf2);
}

TEST(Checksum, KnownIpv4Header) {
  const auto header = Hex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7");
  EXPECT_TRUE(checksum::IsIntact(checksum::Sum(header)));
  auto zeroed = header;
  zeroed[10] = zeroed[11] = 0;
  EXPECT_EQ(checksum::Finish(checksum::Sum(zeroed)), 0xb861);
}

TEST(Checksum, NothingAndZeroes) {
  EXPECT_EQ(checksum::Sum({}), 0u);
  EXPECT_EQ(checksum::Finish(0), 0xffff);
  const std::vector<uint8_t> zeroes(1500);
  EXPECT_EQ(checksum::Finish(checksum::Sum(zeroes)), 0xffff);
  EXPECT_FALSE(checksum::IsIntact(checksum::Sum(zeroes)));
}

TEST(Checksum, AllOnesDoNotOverflow) {
  const std::vector<uint8_t> ones(65536, 0xff);
  EXPECT_TRUE(checksum::IsIntact(checksum::Sum(ones)));
  EXPECT_TRUE(checksum::IsIntact(checksum::Sum(ones, 0xffffffff)));
  std::vector<uint8_t> copy(ones.size());
  EXPECT_TRUE(checksum::IsIntact(checksum::CopyAndSum(copy.data(), ones.data(), ones.size(), ~0u)));
}

TEST(Checksum, AgreesWithNaiveLoopForEveryLengthAndAlignment) {
  Lcg random(1);
  const auto data = random.Bytes(2100 + 16);
  for (size_t n = 0; n <= 2100; ++n) {
    for (size_t offset = 0; offset < 16; ++offset) {
      const ByteSpan block = ByteSpan(data).subspan(offset, n);
      ASSERT_EQ(checksum::Finish(checksum::Sum(block)), NaiveChecksum(block))
          << n << " bytes at offset " << offset;
    }
  }
}

TEST(Checksum, EveryWayToSumBlocksGivesTheSame) {
  using checksum::internal::kBlockSize;
  Lcg random(4);
  const auto data = random.Bytes(40 * kBlockSize + 16);
  EXPECT_TRUE(checksum::internal::SumWays().back().supported);
  for (const auto& way : checksum::internal::SumWays()) {
    if (!way.supported) continue;
    for (size_t n = 0; n <= 40 * kBlockSize; n += kBlockSize) {
      const ByteSpan block = ByteSpan(data).subspan(n % 16, n);
      const uint32_t initial = random.Next();
      const uint16_t expected = NaiveChecksum(block, BigEndian(checksum::Fold(initial)));
      const auto finish = [](uint64_t sum) {
        return checksum::Finish(checksum::internal::Fold64(sum));
      };
      EXPECT_EQ(finish(way.sum(nullptr, block.data(), n, initial)), expected) << way.name << n;
      std::vector<uint8_t> copy(n + 1, 0xee);
      EXPECT_EQ(finish(way.copy_and_sum(copy.data(), block.data(), n, initial)), expected)
          << way.name << n;
      EXPECT_TRUE(std::equal(block.begin(), block.end(), copy.begin())) << way.name << n;
      EXPECT_EQ(copy.back(), 0xee) << way.name << n;
    }
  }
}

TEST(Checksum, SummedWriterWritesAndSums) {
  Lcg random(3);
  std::vector<uint8_t> bytes(60);
  checksum::SummedWriter w(bytes.data());
  EXPECT_EQ(w.sum(), 0u);
  for (size_t n = 0; n < 10; ++n) {
    const uint32_t v = n == 4 ? 0xffffffff : random.Next();
    w.Put32(v);
    EXPECT_EQ(Load32(&bytes[4 * n]), v);
    EXPECT_EQ(w.size(), 4 * n + 4);
    EXPECT_EQ(w.position(), bytes.data() + w.size());
    EXPECT_EQ(checksum::Finish(w.sum()), NaiveChecksum(ByteSpan(bytes).first(w.size())));
  }
  bytes[40] = 0xab;
  bytes[41] = 0xcd;
  w.Skip(2);
  EXPECT_EQ(w.size(), 42u);
  EXPECT_EQ(checksum::Finish(w.sum()), NaiveChecksum(ByteSpan(bytes).first(42)));
}

TEST(Checksum, CopyAndSumCopiesExactlyAndSums) {
  Lcg random(2);
  const auto data = random.Bytes(2100 + 8);
  for (size_t n = 0; n <= 2100; ++n) {
    const size_t from = n % 8;
    const size_t to = n / 8 % 8;
    const ByteSpan block = ByteSpan(data).subspan(from, n);
    std::vector<uint8_t> out(to + n + 8, 0xa5);
    const uint32_t sum = checksum::CopyAndSum(out.data() + to, block.data(), n);
    ASSERT_EQ(checksum::Finish(sum), NaiveChecksum(block)) << n << " bytes";
    ASSERT_TRUE(std::equal(block.begin(), block.end(), out.begin() + static_cast<long>(to)));
    for (size_t i = 0; i < to; ++i) ASSERT_EQ(out[i], 0xa5);
    for (size_t i = to + n; i < out.size(); ++i) ASSERT_EQ(out[i], 0xa5);
  }
}

TEST(Checksum, PartialSumsJoinAtAnySplit) {
  Lcg random(3);
  const auto data = random.Bytes(301);
  const uint16_t whole = NaiveChecksum(data);
  for (size_t a = 0; a <= data.size(); ++a) {
    const uint32_t head = checksum::Sum(ByteSpan(data).first(a));
    const uint32_t tail = checksum::Sum(ByteSpan(data).subspan(a));
    const uint32_t sum = a % 2 == 0 ? checksum::Add(head, tail) : checksum::AddShifted(head, tail);
    ASSERT_EQ(checksum::Finish(sum), whole) << "split at " << a;
    if (a % 2 == 0) {
      ASSERT_EQ(checksum::Finish(checksum::Sum(ByteSpan(data).subspan(a), head)), whole);
    }
  }
}

TEST(Checksum, PartialSumsJoinInManyOddPieces) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Lcg random(seed);
    const auto data = random.Bytes(1000 + random.Below(500));
    uint32_t sum = 0;
    for (size_t at = 0; at < data.size();) {
      const size_t n = std::min<size_t>(random.Below(40), data.size() - at);
      const uint32_t piece = checksum::Sum(ByteSpan(data).subspan(at, n));
      sum = at % 2 == 0 ? checksum::Add(sum, piece) : checksum::AddShifted(sum, piece);
      at += n;
    }
    ASSERT_EQ(checksum::Finish(sum), NaiveChecksum(data)) << "seed " << seed;
  }
}

TEST(Checksum, PseudoHeaderOfIpv4) {
  const auto src = IpAddress::V4(0xc6120001), dst = IpAddress::V4(0xc6120002);
  const auto pseudo = Hex("c6120001 c6120002 00 06 0014");
  EXPECT_EQ(checksum::Finish(checksum::PseudoHeader(src, dst, 6, 20)), NaiveChecksum(pseudo));
}

TEST(Checksum, PseudoHeaderOfIpv6) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Lcg random(seed);
    auto pseudo = random.Bytes(40);
    pseudo[36] = pseudo[37] = pseudo[38] = 0;
    const uint32_t sum =
        checksum::PseudoHeader(LoadIpv6(pseudo.data()), LoadIpv6(pseudo.data() + 16), pseudo[39],
                               Load32(pseudo.data() + 32));
    ASSERT_EQ(checksum::Finish(sum), NaiveChecksum(pseudo)) << "seed " << seed;
  }
}

TEST(Checksum, UpdateExampleOfRfc1624) {
  EXPECT_EQ(checksum::Update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

TEST(Checksum, UpdateEqualsRecomputation) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Lcg random(seed);
    auto data = random.Bytes(40);
    const uint16_t before = NaiveChecksum(data);
    const size_t at = 2 * random.Below(18);
    const uint16_t old16 = Load16(data.data() + at);
    const uint32_t old32 = Load32(data.data() + at);
    const uint32_t fresh = random.Next();
    Store16(data.data() + at, static_cast<uint16_t>(fresh));
    ASSERT_EQ(checksum::Update(before, old16, static_cast<uint16_t>(fresh)), NaiveChecksum(data))
        << "seed " << seed;
    Store32(data.data() + at, fresh);
    ASSERT_EQ(checksum::Update32(before, old32, fresh), NaiveChecksum(data)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace usher
