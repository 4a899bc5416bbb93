#include "stack/tcp/send_buffer.h"

#include <deque>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "stack/wire/checksum.h"
#include "tests/unit/tcp/buffer_test_util.h"

namespace usher {
namespace {

// Memory given without copying, which counts its releases.
struct External {
  Bytes bytes;
  int released = 0;
  static void Release(void* context) { ++static_cast<External*>(context)->released; }
};

TEST(SendBuffer, IsSmallAndHoldsNothingWhenEmpty) {
  EXPECT_LE(sizeof(SendBuffer), 48u);
  SendBlockPool pool(2, 0);
  SendBuffer buffer;
  EXPECT_EQ(buffer.Append(pool, Bytes{1, 2, 3}, 100), 3u);
  EXPECT_EQ(buffer.memory_charged(), kSendBlockSize);
  buffer.Acknowledge(pool, 2);
  EXPECT_EQ(pool.available_blocks(), 1u);
  buffer.Acknowledge(pool, 1);
  EXPECT_EQ(pool.available_blocks(), 2u);
  EXPECT_EQ(buffer.memory_charged(), 0u);
}

TEST(SendBuffer, FillsTheTailBlockFirst) {
  SendBlockPool pool(3, 0);
  SendBuffer buffer;
  for (uint32_t i = 0; i < 2 * kSendBlockSize; i += 2) {
    ASSERT_EQ(buffer.Append(pool, Bytes{1, 2}, SIZE_MAX), 2u);
  }
  EXPECT_EQ(pool.available_blocks(), 1u);
  buffer.Clear(pool);
}

TEST(SendBuffer, TakesAPartWhenTheLimitOrThePoolEnds) {
  SendBlockPool pool(1, 0);
  SendBuffer buffer;
  EXPECT_EQ(buffer.Append(pool, Bytes(10), 7), 7u);
  EXPECT_EQ(buffer.Append(pool, Bytes(10), 7), 0u);
  EXPECT_EQ(buffer.Append(pool, Bytes(10), 5), 0u);  // the limit was lowered
  EXPECT_EQ(buffer.Append(pool, Bytes(kSendBlockSize), SIZE_MAX), kSendBlockSize - 7);
  EXPECT_EQ(buffer.Append(pool, Bytes(1), SIZE_MAX), 0u);
  EXPECT_EQ(buffer.size(), kSendBlockSize);
  buffer.Clear(pool);
}

TEST(SendBuffer, SumsPiecesOfOddLengthRightly) {
  SendBlockPool pool(4, 8);
  SendBuffer buffer;
  Bytes all;
  std::deque<Bytes> parts;
  for (uint32_t length : {1u, 2u, 3u, 7u, 1u, 64u, 129u}) {
    parts.push_back(BytesAt(Seq(length), length));
    all.insert(all.end(), parts.back().begin(), parts.back().end());
    ASSERT_TRUE(buffer.AppendExternal(pool, parts.back(), nullptr, nullptr));
  }
  for (uint32_t from = 0; from < all.size(); ++from) {
    for (uint32_t n = 0; n <= all.size() - from; ++n) {
      Bytes out(n);
      const uint32_t sum = buffer.CopyOut(pool, from, out);
      const auto expected = std::span(all).subspan(from, n);
      ASSERT_TRUE(std::ranges::equal(out, expected));
      ASSERT_EQ(checksum::Fold(sum), checksum::Fold(checksum::Sum(expected)));
    }
  }
  buffer.Clear(pool);
}

TEST(SendBuffer, RefusesExternalMemoryWithoutTakingIt) {
  SendBlockPool pool(0, 1);
  SendBuffer buffer;
  External first{.bytes = Bytes(3)}, second{.bytes = Bytes(3)};
  EXPECT_TRUE(buffer.AppendExternal(pool, first.bytes, &External::Release, &first));
  EXPECT_FALSE(buffer.AppendExternal(pool, second.bytes, &External::Release, &second));
  EXPECT_EQ(buffer.size(), 3u);
  const std::span<const uint8_t> huge(first.bytes.data(), SendBuffer::kMaxSize);  // never read
  buffer.Clear(pool);
  pool.releases().Run();
  EXPECT_EQ(first.released, 1);
  EXPECT_EQ(second.released, 0);
  EXPECT_TRUE(buffer.AppendExternal(pool, huge, nullptr, nullptr));
  EXPECT_FALSE(buffer.AppendExternal(pool, first.bytes, &External::Release, &first));
  buffer.Clear(pool);
  EXPECT_EQ(first.released, 1);
}

TEST(SendBuffer, ReleasesOnlyWhenTheQueueRuns) {
  SendBlockPool pool(1, 2);
  SendBuffer buffer;
  External memory{.bytes = Bytes(5)}, nothing;
  EXPECT_TRUE(buffer.AppendExternal(pool, memory.bytes, &External::Release, &memory));
  EXPECT_TRUE(buffer.AppendExternal(pool, nothing.bytes, &External::Release, &nothing));
  EXPECT_EQ(nothing.released, 0);
  buffer.Acknowledge(pool, 4);
  pool.releases().Run();
  EXPECT_EQ(memory.released, 0);
  EXPECT_EQ(nothing.released, 1);
  buffer.Acknowledge(pool, 1);
  EXPECT_EQ(memory.released, 0);
  EXPECT_FALSE(pool.releases().empty());
  pool.releases().Run();
  EXPECT_EQ(memory.released, 1);
  EXPECT_TRUE(pool.releases().empty());
  pool.releases().Run();
  EXPECT_EQ(memory.released, 1);
}

// A callback that uses the buffer: what it makes due waits for the next run.
TEST(SendBuffer, ReleaseMayAppendAgain) {
  struct Stream {
    SendBlockPool pool{0, 1};
    SendBuffer buffer;
    uint8_t byte = 0;
    int released = 0;
    static void Release(void* context) {
      auto* s = static_cast<Stream*>(context);
      if (++s->released == 2) return;
      EXPECT_TRUE(s->buffer.AppendExternal(s->pool, {&s->byte, 1}, &Release, s));
      s->buffer.Clear(s->pool);
    }
  };
  Stream s;
  ASSERT_TRUE(s.buffer.AppendExternal(s.pool, {&s.byte, 1}, &Stream::Release, &s));
  s.buffer.Clear(s.pool);
  s.pool.releases().Run();
  EXPECT_EQ(s.released, 1);
  EXPECT_FALSE(s.pool.releases().empty());
  s.pool.releases().Run();
  EXPECT_EQ(s.released, 2);
  EXPECT_EQ(s.pool.available_externals(), 1u);
}

// Against a plain array of bytes.
class SendBufferModel {
 public:
  explicit SendBufferModel(uint64_t seed) : random_(seed) {}

  void Step() {
    switch (Uniform(random_, 8)) {
      case 0:
      case 1:
        return Write();
      case 2:
        return WriteExternal();
      case 3:
        return Acknowledge();
      case 4:
        return SendNext();
      case 5:
        return Check(Uniform(random_, buffer_.size() + 1), 3'000);
      case 6:
        return CheckContiguous();
      default:
        if (Uniform(random_, 4) == 0) RunReleases();
        if (Uniform(random_, 100) == 0) Clear();
    }
  }

  void Finish() {
    Clear();
    RunReleases();
    EXPECT_EQ(pool_.available_blocks(), kBlocks);
    EXPECT_EQ(pool_.available_externals(), kExternals);
  }

 private:
  static constexpr uint32_t kBlocks = 12, kExternals = 6;

  struct Lent {
    std::unique_ptr<External> memory;
    uint64_t end;  // in the stream, from its beginning
  };

  Bytes Random(uint32_t length) {
    Bytes bytes(length);
    random_.Fill(bytes);
    return bytes;
  }

  void Write() {
    const Bytes bytes = Random(Uniform(random_, Uniform(random_, 2) == 0 ? 20 : 6'000));
    const size_t limit = Uniform(random_, 30'000);
    const uint32_t before = buffer_.size();
    const size_t n = buffer_.Append(pool_, bytes, limit);
    ASSERT_LE(n, bytes.size());
    if (n < bytes.size()) {
      EXPECT_TRUE(buffer_.size() >= limit || pool_.available_blocks() == 0);
    }
    if (n > 0) {
      EXPECT_LE(buffer_.size(), limit);
    }
    EXPECT_EQ(buffer_.size(), before + n);
    model_.insert(model_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
  }

  void WriteExternal() {
    auto memory = std::make_unique<External>(External{.bytes = Random(Uniform(random_, 4'000))});
    const bool room = pool_.available_externals() != 0;
    ASSERT_EQ(buffer_.AppendExternal(pool_, memory->bytes, &External::Release, memory.get()), room);
    EXPECT_EQ(memory->released, 0);
    if (!room) return;
    model_.insert(model_.end(), memory->bytes.begin(), memory->bytes.end());
    lent_.push_back({std::move(memory), acknowledged_ + model_.size()});
  }

  void Acknowledge() {
    const uint32_t n =
        Uniform(random_, Uniform(random_, 3) == 0 ? buffer_.size() + 1
                                                  : std::min(buffer_.size(), 2'000u) + 1);
    buffer_.Acknowledge(pool_, n);
    model_.erase(model_.begin(), model_.begin() + n);
    acknowledged_ += n;
    next_ = next_ > n ? next_ - n : 0;
  }

  void SendNext() {
    const auto n = static_cast<uint32_t>(std::min<size_t>(1'448, model_.size() - next_));
    Check(next_, n);
    next_ += n;
  }

  void Check(uint32_t offset, uint32_t most) {
    ASSERT_EQ(buffer_.size(), model_.size());
    const auto n = static_cast<uint32_t>(std::min<size_t>(most, model_.size() - offset));
    Bytes out(n);
    const uint32_t sum = buffer_.CopyOut(pool_, offset, out);
    const Bytes expected(model_.begin() + offset, model_.begin() + offset + n);
    ASSERT_EQ(out, expected);
    ASSERT_EQ(checksum::Fold(sum), checksum::Fold(checksum::Sum(expected)));
  }

  void CheckContiguous() {
    const uint32_t offset = Uniform(random_, buffer_.size() + 1);
    const std::span<const uint8_t> view = buffer_.Contiguous(pool_, offset);
    ASSERT_EQ(view.empty(), offset == model_.size());
    ASSERT_LE(view.size(), model_.size() - offset);
    ASSERT_TRUE(std::equal(view.begin(), view.end(), model_.begin() + offset));
  }

  // Exactly those are called back whose bytes are all acknowledged.
  void RunReleases() {
    pool_.releases().Run();
    for (const Lent& lent : lent_) {
      ASSERT_EQ(lent.memory->released, lent.end <= acknowledged_ ? 1 : 0);
    }
    std::erase_if(lent_, [](const Lent& lent) { return lent.memory->released == 1; });
  }

  void Clear() {
    buffer_.Clear(pool_);
    EXPECT_TRUE(buffer_.empty());
    EXPECT_EQ(buffer_.memory_charged(), 0u);
    acknowledged_ += model_.size();
    model_.clear();
    next_ = 0;
  }

  SeededRandom random_;
  SendBlockPool pool_{kBlocks, kExternals};
  SendBuffer buffer_;
  std::deque<uint8_t> model_;
  std::vector<Lent> lent_;
  uint64_t acknowledged_ = 0;
  uint32_t next_ = 0;
};

TEST(SendBuffer, BehavesLikeAnArrayOfBytes) {
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SendBufferModel model(seed);
    for (int step = 0; step < 2'000 && !testing::Test::HasFatalFailure(); ++step) model.Step();
    model.Finish();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace usher
