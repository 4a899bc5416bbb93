// Received segments for the tests of what holds them.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "stack/base/random.h"
#include "stack/base/seq.h"
#include "stack/packet/burst.h"
#include "stack/packet/pool.h"
#include "stack/port/memory_port.h"

namespace usher {

using Bytes = std::vector<uint8_t>;

// Link, IPv4 and TCP header without options: what stands before the payload in its buffer.
inline constexpr uint32_t kTestHeaders = 14 + 20 + 20;

// The byte that a well-behaved peer sends at `seq`.
inline uint8_t ByteAt(Seq seq) {
  return static_cast<uint8_t>((seq.value() * 2'654'435'761u) >> 24);
}
inline Bytes BytesAt(Seq seq, uint32_t length) {
  Bytes bytes(length);
  for (uint32_t i = 0; i < length; ++i) bytes[i] = ByteAt(seq + i);
  return bytes;
}

// A received frame, and where its payload lies.
struct TestSegment {
  Packet packet;
  std::span<const uint8_t> payload;
};

// A frame in a buffer of `pool`, which must not be empty.
inline TestSegment MakeSegment(HeapPool& pool, std::span<const uint8_t> payload) {
  TestSegment segment;
  EXPECT_TRUE(pool.Allocate(&segment.packet));
  uint8_t* to = segment.packet.data + kTestHeaders;
  std::memset(segment.packet.data, 0xee, kTestHeaders);
  std::memcpy(to, payload.data(), payload.size());
  segment.packet.length = static_cast<uint16_t>(kTestHeaders + payload.size());
  segment.payload = {to, payload.size()};
  return segment;
}

// A segment that lies in nobody's buffer, such as one put together from fragments.
inline TestSegment MakeLooseSegment(const Bytes& payload) {
  return {.packet = {}, .payload = payload};
}

inline uint32_t Uniform(SeededRandom& random, uint32_t n) {
  return static_cast<uint32_t>(random.Uniform(n));
}

}  // namespace usher
