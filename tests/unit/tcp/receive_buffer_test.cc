#include "stack/tcp/receive_buffer.h"

#include <deque>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/tcp/buffer_test_util.h"

namespace usher {
namespace {

Bytes Copy(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

Bytes ReadAll(ReceiveBuffer& buffer) {
  Bytes out(buffer.size());
  EXPECT_EQ(buffer.Read(out), out.size());
  return out;
}

class ReceiveBufferTest : public testing::Test {
 protected:
  void Append(ReceiveBuffer& buffer, const Bytes& bytes) {
    const TestSegment segment = MakeSegment(pool_, bytes);
    ASSERT_TRUE(buffer.Append(segment.packet, segment.payload, pool_));
  }
  void TearDown() override { EXPECT_EQ(pool_.available(), pool_.capacity()); }

  HeapPool pool_{16};
};

TEST_F(ReceiveBufferTest, HoldsALargeSegmentWithoutCopying) {
  ReceiveBuffer buffer;
  const TestSegment segment = MakeSegment(pool_, BytesAt(Seq(0), 1'448));
  ASSERT_TRUE(buffer.Append(segment.packet, segment.payload, pool_));
  Slice slice = buffer.TakeSlice(UINT32_MAX);
  EXPECT_EQ(slice.bytes().data(), segment.payload.data());
  EXPECT_EQ(slice.bytes().size(), 1'448u);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.memory_charged(), 0u);
}

TEST_F(ReceiveBufferTest, SmallSegmentsShareABuffer) {
  ReceiveBuffer buffer;
  Bytes expected;
  for (uint8_t i = 0; i < 200; ++i) {
    Append(buffer, {i});
    expected.push_back(i);
  }
  EXPECT_EQ(buffer.memory_charged(), kBufferRoom);
  EXPECT_EQ(pool_.available(), pool_.capacity() - 1);
  EXPECT_EQ(ReadAll(buffer), expected);
}

// Segments of 536 bytes leave three quarters of their buffers empty.
TEST_F(ReceiveBufferTest, CollapseMovesBytesTogether) {
  ReceiveBuffer buffer;
  for (uint32_t i = 0; i < 12; ++i) Append(buffer, BytesAt(Seq(536 * i), 536));
  ASSERT_EQ(buffer.memory_charged(), 12 * kBufferRoom);
  const uint8_t* front = buffer.Front().data();
  EXPECT_GE(buffer.Collapse(), 8u);
  EXPECT_LE(buffer.memory_charged(), 4 * kBufferRoom);
  EXPECT_EQ(buffer.Front().data(), front) << "what was shown must stay where it is";
  EXPECT_EQ(buffer.Collapse(), 0u);
  EXPECT_TRUE(buffer.AppendInPlace(BytesAt(Seq(12 * 536), 100)));
  EXPECT_EQ(ReadAll(buffer), BytesAt(Seq(0), 12 * 536 + 100));
}

TEST_F(ReceiveBufferTest, CollapseLeavesSharedBuffersAlone) {
  ReceiveBuffer buffer;
  for (uint32_t i = 0; i < 3; ++i) Append(buffer, BytesAt(Seq(600 * i), 600));
  const Slice slice = buffer.TakeSlice(100);
  EXPECT_EQ(buffer.Collapse(), 1u);
  EXPECT_EQ(Copy(slice.bytes()), BytesAt(Seq(0), 100));
  EXPECT_EQ(ReadAll(buffer), BytesAt(Seq(100), 1700));
}

TEST_F(ReceiveBufferTest, AppendInPlaceNeedsRoom) {
  ReceiveBuffer buffer;
  EXPECT_FALSE(buffer.AppendInPlace(Bytes{1}));
  Append(buffer, BytesAt(Seq(0), 1448));
  EXPECT_FALSE(buffer.AppendInPlace(BytesAt(Seq(1448), 1448)));
  EXPECT_EQ(ReadAll(buffer), BytesAt(Seq(0), 1448));
}

TEST_F(ReceiveBufferTest, NeverWritesIntoASharedBuffer) {
  ReceiveBuffer buffer;
  Append(buffer, {1, 2, 3});
  const Slice slice = buffer.TakeSlice(2);
  Append(buffer, {4});
  EXPECT_EQ(buffer.memory_charged(), 2 * kBufferRoom);
  EXPECT_EQ(Copy(slice.bytes()), (Bytes{1, 2}));
  EXPECT_EQ(ReadAll(buffer), (Bytes{3, 4}));
}

TEST_F(ReceiveBufferTest, CopiesALooseSegmentOrTakesNothing) {
  ReceiveBuffer buffer;
  const Bytes bytes = BytesAt(Seq(3), 60'000);
  TestSegment segment = MakeLooseSegment(bytes);
  EXPECT_FALSE(buffer.Append(segment.packet, segment.payload, pool_));
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(pool_.available(), pool_.capacity());
  segment.payload = segment.payload.first(30'000);
  EXPECT_TRUE(buffer.Append(segment.packet, segment.payload, pool_));
  EXPECT_EQ(buffer.memory_charged(), 14 * kBufferRoom);
  EXPECT_EQ(ReadAll(buffer), Copy(segment.payload));
}

TEST_F(ReceiveBufferTest, ASmallLooseSegmentNeedsNoBufferWhereThereIsRoom) {
  ReceiveBuffer buffer;
  Append(buffer, {1});
  const Bytes bytes = {2, 3};
  HeapPool empty(0);
  EXPECT_TRUE(buffer.Append({}, bytes, empty));
  EXPECT_EQ(ReadAll(buffer), (Bytes{1, 2, 3}));
}

// Against a plain array of bytes, with slices that outlive what they were taken from.
class ReceiveBufferModel {
 public:
  explicit ReceiveBufferModel(uint64_t seed) : random_(seed) {}

  void Step() {
    switch (Uniform(random_, 7)) {
      case 0:
      case 1:
        return Append();
      case 2:
        return AppendOutOfOrder();
      case 3:
        return Read();
      case 4:
        return TakeSlice();
      case 5:
        return Peek();
      default:
        return Discard();
    }
  }

  void Finish() {
    EXPECT_EQ(ReadAll(buffer_), Bytes(model_.begin(), model_.end()));
    EXPECT_EQ(buffer_.memory_charged(), 0u);
    CheckSlices();
    slices_.clear();
    EXPECT_EQ(pool_.available(), pool_.capacity());
  }

 private:
  struct Taken {
    Slice slice;
    Bytes bytes;
  };

  uint32_t RandomLength(uint32_t most) {
    return 1 + Uniform(random_, Uniform(random_, 2) == 0 ? std::min(most, 40u) : most);
  }
  Bytes Random(uint32_t length) {
    Bytes bytes(length);
    random_.Fill(bytes);
    return bytes;
  }
  void Expect(std::span<const uint8_t> got) {
    ASSERT_LE(got.size(), model_.size());
    ASSERT_TRUE(std::equal(got.begin(), got.end(), model_.begin()));
  }
  void Drop(size_t n) { model_.erase(model_.begin(), model_.begin() + static_cast<ptrdiff_t>(n)); }

  void Append() {
    const bool loose = Uniform(random_, 4) == 0;
    const Bytes bytes = Random(RandomLength(loose ? 9'000 : 1'460));
    if (!loose && pool_.available() == 0) return;
    const TestSegment s = loose ? MakeLooseSegment(bytes) : MakeSegment(pool_, bytes);
    const bool taken = buffer_.Append(s.packet, s.payload, pool_);
    if (!loose) {
      ASSERT_TRUE(taken);
    }
    if (taken) model_.insert(model_.end(), bytes.begin(), bytes.end());
    ASSERT_EQ(buffer_.size(), model_.size());
  }

  // Two segments that arrived in the wrong order.
  void AppendOutOfOrder() {
    if (pool_.available() < 2) return;
    const Bytes first = Random(RandomLength(1'460));
    const Bytes second = Random(RandomLength(1'460));
    OutOfOrderQueue queue(1);
    const TestSegment a = MakeSegment(pool_, second), b = MakeSegment(pool_, first);
    queue.Insert(a.packet, a.payload, pool_, Seq(static_cast<uint32_t>(first.size())), UINT32_MAX);
    queue.Insert(b.packet, b.payload, pool_, Seq(0), UINT32_MAX);
    buffer_.Append(queue.TakeInOrder(Seq(0)));
    model_.insert(model_.end(), first.begin(), first.end());
    model_.insert(model_.end(), second.begin(), second.end());
  }

  void Read() {
    Bytes out(Uniform(random_, 6'000));
    const size_t expected = std::min(out.size(), model_.size());
    ASSERT_EQ(buffer_.Read(out), expected);
    Expect(std::span(out).first(expected));
    Drop(expected);
  }

  void TakeSlice() {
    const uint32_t max = Uniform(random_, 2'500);
    Slice slice = buffer_.TakeSlice(max);
    ASSERT_EQ(slice.empty(), max == 0 || model_.empty());
    ASSERT_LE(slice.bytes().size(), max);
    Expect(slice.bytes());
    Drop(slice.bytes().size());
    const Bytes bytes = Copy(slice.bytes());
    slices_.push_back({std::move(slice), bytes});
    if (slices_.size() > 10) {
      CheckSlices();
      slices_.erase(slices_.begin(), slices_.begin() + 1 + Uniform(random_, 10));
    }
  }

  void CheckSlices() {
    for (const Taken& taken : slices_) ASSERT_EQ(Copy(taken.slice.bytes()), taken.bytes);
  }

  void Peek() {
    Bytes out(Uniform(random_, 6'000));
    const size_t expected = std::min(out.size(), model_.size());
    ASSERT_EQ(buffer_.Peek(out), expected);
    Expect(std::span(out).first(expected));
    ASSERT_EQ(buffer_.size(), model_.size());
  }

  void Discard() {
    const size_t n = Uniform(random_, 3'000);
    const size_t expected = std::min(n, model_.size());
    ASSERT_EQ(buffer_.Discard(n), expected);
    Drop(expected);
  }

  SeededRandom random_;
  HeapPool pool_{40};
  std::vector<Taken> slices_;
  ReceiveBuffer buffer_;
  std::deque<uint8_t> model_;
};

TEST(ReceiveBuffer, BehavesLikeAnArrayOfBytes) {
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ReceiveBufferModel model(seed);
    for (int step = 0; step < 2'000 && !testing::Test::HasFatalFailure(); ++step) model.Step();
    model.Finish();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace usher
