// The Internet checksum (RFC 1071), as partial sums that can be kept, added and finished later.
//
// A partial sum is a uint32_t: the one's complement sum of the data taken as 32-bit words in the
// machine's own byte order (RFC 1071 section 2(B): the order does not matter until the end). Data
// of odd length counts as if one zero byte followed.
//
// Rule for joining: a block that starts at an even offset of the whole is joined with Add; one that
// starts at an odd offset (because what went before had an odd length) with AddShifted.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"

namespace usher::checksum {

namespace internal {

// The one's complement sum of two 64-bit words.
inline uint64_t AddCarry(uint64_t a, uint64_t b) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  // GCC makes a row of these twice as long.
  asm("addq %1, %0\n\tadcq $0, %0" : "+r"(a) : "rm"(b) : "cc");
  return a;
#else
  const uint64_t sum = a + b;
  return sum + (sum < b ? 1 : 0);
#endif
}

constexpr uint32_t Fold64(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  return static_cast<uint32_t>(sum) + static_cast<uint32_t>(sum >> 32);
}

// 64-bit lanes, as wide as the target's registers.
#ifdef __AVX2__
using Lanes [[gnu::vector_size(32)]] = uint64_t;
#else
using Lanes [[gnu::vector_size(16)]] = uint64_t;
#endif

template <bool kCopy, typename T>
inline T Take(uint8_t*& dst, const uint8_t*& src) {
  T v;
  std::memcpy(&v, src, sizeof v);
  src += sizeof v;
  if constexpr (kCopy) {
    std::memcpy(dst, &v, sizeof v);
    dst += sizeof v;
  }
  return v;
}

template <bool kCopy, int kCount>
inline uint64_t AddWords(uint8_t*& dst, const uint8_t*& src, uint64_t sum) {
  for (int i = 0; i < kCount; ++i) sum = AddCarry(sum, Take<kCopy, uint64_t>(dst, src));
  return sum;
}

// Sums `n` bytes at `src`, a multiple of kBlockSize, into `sum` and copies them to `dst` if that is
// not null, with the widest registers that the machine has.
inline constexpr size_t kBlockSize = 64;
uint64_t AccumulateBlocks(uint8_t* dst, const uint8_t* src, size_t n, uint64_t sum);
// Below it what the call costs is not won back.
inline constexpr size_t kManyBytes = 256;

// Sums `n` bytes at `src` into `sum`; copies them to `dst` as well if kCopy. The lanes hold sums of
// 32-bit halves, so they cannot overflow for any length that a packet has.
template <bool kCopy>
inline uint64_t Accumulate(uint8_t* dst, const uint8_t* src, size_t n, uint64_t sum) {
  if (n >= kManyBytes) {
    const size_t blocks = n & ~(kBlockSize - 1);
    sum = AccumulateBlocks(dst, src, blocks, sum);
    src += blocks;
    if constexpr (kCopy) dst += blocks;
    n -= blocks;
  }
  constexpr size_t kStep = 4 * sizeof(Lanes);
  if (n >= kStep) {
    Lanes low{}, high{};
    do {
      const auto a = Take<kCopy, Lanes>(dst, src);
      const auto b = Take<kCopy, Lanes>(dst, src);
      const auto c = Take<kCopy, Lanes>(dst, src);
      const auto d = Take<kCopy, Lanes>(dst, src);
      low += ((a & 0xffffffff) + (b & 0xffffffff)) + ((c & 0xffffffff) + (d & 0xffffffff));
      high += ((a >> 32) + (b >> 32)) + ((c >> 32) + (d >> 32));
      n -= kStep;
    } while (n >= kStep);
    // `high` has weight 2^32, which is 1 in one's complement arithmetic of 32 bits.
    const Lanes both = low + high;
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof(Lanes) / 8; ++i) all += both[i];
    sum = AddCarry(sum, all);
  }
  // By powers of two: headers end up here, and a loop would be half of their cost.
  static_assert(kStep <= 128);
  if ((n & 64) != 0) sum = AddWords<kCopy, 8>(dst, src, sum);
  if ((n & 32) != 0) sum = AddWords<kCopy, 4>(dst, src, sum);
  if ((n & 16) != 0) sum = AddWords<kCopy, 2>(dst, src, sum);
  if ((n & 8) != 0) sum = AddWords<kCopy, 1>(dst, src, sum);
  // A 64-bit sum of at most 7 more bytes: their words lie at even offsets, so each is added as is.
  uint64_t tail = 0;
  if ((n & 4) != 0) tail += Take<kCopy, uint32_t>(dst, src);
  if ((n & 2) != 0) tail += Take<kCopy, uint16_t>(dst, src);
  if ((n & 1) != 0) {
    const auto last = Take<kCopy, uint8_t>(dst, src);
    tail += std::endian::native == std::endian::little ? last : last << 8;
  }
  return AddCarry(sum, tail);
}

}  // namespace internal

// The one's complement sum of two partial sums.
constexpr uint32_t Add(uint32_t a, uint32_t b) {
  const uint64_t sum = static_cast<uint64_t>(a) + b;
  return static_cast<uint32_t>(sum) + static_cast<uint32_t>(sum >> 32);
}

// Add for a `block` that starts at an odd offset: each of its bytes changes place within its word.
constexpr uint32_t AddShifted(uint32_t sum, uint32_t block) {
  return Add(sum, std::rotl(block, 8));
}

// The partial sum of `data`, joined to `initial` as by Add.
inline uint32_t Sum(ByteSpan data, uint32_t initial = 0) {
  return internal::Fold64(internal::Accumulate<false>(nullptr, data.data(), data.size(), initial));
}

// Copies `n` bytes from `src` to `dst` (which do not overlap) and returns their partial sum joined
// to `initial` as by Add: one pass over the data.
inline uint32_t CopyAndSum(uint8_t* dst, const uint8_t* src, size_t n, uint32_t initial = 0) {
  return internal::Fold64(internal::Accumulate<true>(dst, src, n, initial));
}

// Writes 32-bit numbers one behind the other and keeps their partial sum: so that what was just
// written in small pieces need not be read back in larger ones, which waits for all of them.
class SummedWriter {
 public:
  explicit SummedWriter(uint8_t* out) : begin_(out), p_(out) {}

  void Put32(uint32_t v) {
    const uint32_t raw = BigEndian(v);
    StoreRaw(p_, raw);
    sum_ += raw;
    p_ += 4;
  }
  // Takes in `n` bytes, an even number, that the caller wrote at position().
  void Skip(size_t n) {
    sum_ += Sum({p_, n});
    p_ += n;
  }

  uint8_t* position() const { return p_; }
  size_t size() const { return static_cast<size_t>(p_ - begin_); }
  uint32_t sum() const { return internal::Fold64(sum_); }

 private:
  uint8_t* begin_;
  uint8_t* p_;
  uint64_t sum_ = 0;  // a packet has too few words for it to overflow
};

// The 16-bit one's complement sum, still in the machine's byte order. 0 only if all data was zero.
constexpr uint16_t Fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum + (sum >> 16));
}

// The checksum of data with partial sum `sum`, in host order: write it with Store16.
constexpr uint16_t Finish(uint32_t sum) { return BigEndian(static_cast<uint16_t>(~Fold(sum))); }

// True if `sum`, taken over data that contains its checksum field, is what an intact packet gives.
constexpr bool IsIntact(uint32_t sum) { return Fold(sum) == 0xffff; }

// The partial sum of the TCP, UDP or ICMPv6 pseudo-header (RFC 9293 section 3.1, RFC 8200 section
// 8.1). Both addresses are of one family; `length` is that of the upper-layer header and payload.
// IPv4 needs no case of its own: the ::ffff of a mapped address is zero in one's complement, and
// the fields of the two pseudo-headers sum to the same.
inline uint32_t PseudoHeader(const IpAddress& src, const IpAddress& dst, uint8_t protocol,
                             uint32_t length) {
  const uint8_t* s = src.bytes().data();
  const uint8_t* d = dst.bytes().data();
  uint64_t sum = uint64_t{BigEndian(length)} + BigEndian(static_cast<uint32_t>(protocol));
  sum = internal::AddCarry(sum, LoadRaw<uint64_t>(s));
  sum = internal::AddCarry(sum, LoadRaw<uint64_t>(s + 8));
  sum = internal::AddCarry(sum, LoadRaw<uint64_t>(d));
  sum = internal::AddCarry(sum, LoadRaw<uint64_t>(d + 8));
  return internal::Fold64(sum);
}

// The checksum field after a 16-bit word it covers changed from `before` to `after` (RFC 1624,
// equation 3). All in host order; the word lies at an even offset.
constexpr uint16_t Update(uint16_t checksum, uint16_t before, uint16_t after) {
  uint32_t sum = static_cast<uint16_t>(~checksum);
  sum += static_cast<uint16_t>(~before);
  sum += after;
  return static_cast<uint16_t>(~Fold(sum));
}

// Update for a 32-bit field at an even offset.
constexpr uint16_t Update32(uint16_t checksum, uint32_t before, uint32_t after) {
  checksum =
      Update(checksum, static_cast<uint16_t>(before >> 16), static_cast<uint16_t>(after >> 16));
  return Update(checksum, static_cast<uint16_t>(before), static_cast<uint16_t>(after));
}

}  // namespace usher::checksum
