#include "stack/tcp/held.h"

#include <numeric>

#include "gtest/gtest.h"
#include "tests/unit/tcp/buffer_test_util.h"

namespace usher {
namespace {

Bytes PayloadOf(const BufferHeader* buffer) {
  return {buffer->payload, buffer->payload + buffer->payload_length};
}

class Held : public testing::Test {
 protected:
  BufferHeader* Hold(const Bytes& payload) {
    const TestSegment segment = MakeSegment(pool_, payload);
    return HoldPayload(segment.packet, segment.payload, pool_);
  }
  void TearDown() override { EXPECT_EQ(pool_.available(), pool_.capacity()); }

  HeapPool pool_{4};
};

TEST_F(Held, HoldsAPacketInPlace) {
  const TestSegment segment = MakeSegment(pool_, Bytes{1, 2, 3});
  BufferHeader* buffer = HoldPayload(segment.packet, segment.payload, pool_);
  EXPECT_EQ(buffer->payload, segment.payload.data());
  EXPECT_EQ(buffer->payload_length, 3u);
  EXPECT_EQ(buffer->refs, 1u);
  EXPECT_EQ(buffer->next, nullptr);
  Slice::Unref(buffer);
}

TEST_F(Held, CopiesALoosePayloadIntoAsManyBuffersAsItNeeds) {
  const Bytes bytes = BytesAt(Seq(7), 2 * kBufferRoom + 1);
  const TestSegment segment = MakeLooseSegment(bytes);
  BufferHeader* buffer = HoldPayload(segment.packet, segment.payload, pool_);
  EXPECT_EQ(pool_.available(), 1u);
  Bytes copied;
  while (buffer != nullptr) {
    const Bytes part = PayloadOf(buffer);
    copied.insert(copied.end(), part.begin(), part.end());
    BufferHeader* next = buffer->next;
    Slice::Unref(buffer);
    buffer = next;
  }
  EXPECT_EQ(copied, bytes);
}

TEST_F(Held, TakesNoBufferWhenThePoolHasNotEnough) {
  const Bytes bytes(4 * kBufferRoom + 1);
  EXPECT_EQ(HoldPayload({}, bytes, pool_), nullptr);
  EXPECT_EQ(pool_.available(), 4u);
}

TEST_F(Held, CopiesSmallPayloadsBehindUntilTheRoomEnds) {
  BufferHeader* buffer = Hold({9});
  Bytes expected = {9};
  const Bytes more(100, 5);
  const uint32_t room = kBufferRoom - kBufferHeadroom - kTestHeaders - 1;
  for (uint32_t i = 0; i < room / 100; ++i) {
    ASSERT_TRUE(CopyBehind(buffer, more));
    expected.insert(expected.end(), more.begin(), more.end());
  }
  EXPECT_FALSE(CopyBehind(buffer, more));
  const Bytes rest(room % 100, 6);
  ASSERT_TRUE(CopyBehind(buffer, rest));
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_FALSE(CopyBehind(buffer, Bytes{1}));
  EXPECT_EQ(PayloadOf(buffer), expected);
  Slice::Unref(buffer);
}

TEST_F(Held, CopiesSmallPayloadsBeforeUntilTheRoomEnds) {
  BufferHeader* buffer = Hold({9});
  buffer->seq = 50;
  const Bytes all(kBufferHeadroom + kTestHeaders, 5);
  EXPECT_FALSE(CopyBefore(buffer, Bytes(all.size() + 1)));
  ASSERT_TRUE(CopyBefore(buffer, all));
  EXPECT_FALSE(CopyBefore(buffer, Bytes{1}));
  EXPECT_EQ(buffer->seq, 50 - static_cast<uint32_t>(all.size()));
  Bytes expected = all;
  expected.push_back(9);
  EXPECT_EQ(PayloadOf(buffer), expected);
  Slice::Unref(buffer);
}

TEST_F(Held, LeavesLargePayloadsAndSharedBuffersAlone) {
  BufferHeader* buffer = Hold({9});
  EXPECT_FALSE(CopyBehind(buffer, Bytes(kCoalesceMax + 1)));
  EXPECT_TRUE(CopyBehind(buffer, Bytes(kCoalesceMax)));
  ++buffer->refs;
  EXPECT_FALSE(CopyBehind(buffer, Bytes{1}));
  EXPECT_FALSE(CopyBefore(buffer, Bytes{1}));
  Slice::Unref(buffer);
  EXPECT_TRUE(CopyBefore(buffer, Bytes{1}));
  Slice::Unref(buffer);
}

}  // namespace
}  // namespace usher
