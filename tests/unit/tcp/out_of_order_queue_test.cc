#include "stack/tcp/out_of_order_queue.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "stack/packet/slice.h"
#include "tests/unit/tcp/buffer_test_util.h"

namespace usher {

void PrintTo(const SackBlock& block, std::ostream* os) {
  *os << "[" << block.begin.value() << ", " << block.end.value() << ")";
}

namespace {

using Outcome = OutOfOrderQueue::Outcome;
using testing::ElementsAre;
using testing::IsEmpty;

SackBlock Block(uint32_t begin, uint32_t end) { return {Seq(begin), Seq(end)}; }

std::vector<SackBlock> Sacks(const OutOfOrderQueue& queue) {
  std::vector<SackBlock> blocks(OutOfOrderQueue::kMaxSackBlocks);
  blocks.resize(queue.SackBlocks(blocks));
  return blocks;
}

// The bytes of a chain, which is freed; checks what it says of itself.
Bytes Consume(const OutOfOrderQueue::Chain& chain) {
  Bytes bytes;
  uint32_t buffers = 0;
  for (BufferHeader* b = chain.first; b != nullptr;) {
    EXPECT_NE(b->payload_length, 0u);
    bytes.insert(bytes.end(), b->payload, b->payload + b->payload_length);
    ++buffers;
    BufferHeader* next = b->next;
    EXPECT_EQ(next == nullptr, b == chain.last);
    Slice::Unref(b);
    b = next;
  }
  EXPECT_EQ(bytes.size(), chain.bytes);
  EXPECT_EQ(buffers, chain.buffers);
  return bytes;
}

class OutOfOrderQueueTest : public testing::Test {
 protected:
  OutOfOrderQueue::InsertResult Insert(uint32_t seq, const Bytes& bytes,
                                       uint32_t max = UINT32_MAX) {
    const TestSegment segment = MakeSegment(pool_, bytes);
    return queue_.Insert(segment.packet, segment.payload, pool_, Seq(seq), max);
  }
  OutOfOrderQueue::InsertResult Insert(uint32_t begin, uint32_t end, uint32_t max = UINT32_MAX) {
    return Insert(begin, BytesAt(Seq(begin), end - begin), max);
  }
  void TearDown() override {
    queue_.Clear();
    EXPECT_EQ(pool_.available(), pool_.capacity());
    EXPECT_EQ(queue_.memory_charged(), 0u);
    EXPECT_EQ(queue_.bytes(), 0u);
  }

  HeapPool pool_{4'000};
  OutOfOrderQueue queue_{12345};
};

TEST_F(OutOfOrderQueueTest, HandsOverWhatTheHoleHeldBack) {
  Insert(100, 200);
  Insert(200, 300);
  EXPECT_EQ(queue_.TakeInOrder(Seq(99)).first, nullptr);
  EXPECT_TRUE(queue_.EndsAt(Seq(300)));
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(100))), BytesAt(Seq(100), 200));
  EXPECT_TRUE(queue_.empty());
  EXPECT_THAT(Sacks(queue_), IsEmpty());
}

TEST_F(OutOfOrderQueueTest, StopsAtTheNextHole) {
  Insert(100, 200);
  Insert(300, 400);
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(100))), BytesAt(Seq(100), 100));
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(300, 400)));
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(300))), BytesAt(Seq(300), 100));
}

TEST_F(OutOfOrderQueueTest, DropsWhatWasReceivedMeanwhile) {
  Insert(100, 200);
  Insert(300, 1'300);
  const OutOfOrderQueue::Chain chain = queue_.TakeInOrder(Seq(350));
  EXPECT_EQ(chain.duplicate, Block(100, 200));
  EXPECT_EQ(Consume(chain), BytesAt(Seq(350), 950));
}

TEST_F(OutOfOrderQueueTest, ExistingBytesWin) {
  Insert(10, Bytes(10, 'a'));
  const auto result = Insert(5, Bytes(10, 'b'));
  EXPECT_EQ(result.duplicate, Block(10, 15));
  EXPECT_EQ(Insert(15, Bytes(10, 'c')).duplicate, Block(15, 20));
  const Bytes all = Consume(queue_.TakeInOrder(Seq(5)));
  EXPECT_EQ(std::string(all.begin(), all.end()), "bbbbbaaaaaaaaaaccccc");
}

TEST_F(OutOfOrderQueueTest, ACoveredRangeGivesWay) {
  Insert(10, Bytes(5, 'a'));
  Insert(20, Bytes(5, 'b'));
  Insert(30, Bytes(5, 'c'));
  const auto result = Insert(5, Bytes(27, 'd'));
  EXPECT_EQ(result.duplicate, Block(10, 15));  // the first of three
  const Bytes all = Consume(queue_.TakeInOrder(Seq(5)));
  EXPECT_EQ(std::string(all.begin(), all.end()), "dddddddddddddddddddddddddccccc");
}

TEST_F(OutOfOrderQueueTest, ReportsAWholeDuplicate) {
  Insert(100, 200);
  for (const auto& [begin, end] : {std::pair(100u, 200u), {120u, 130u}, {100u, 101u}}) {
    const auto result = Insert(begin, end);
    EXPECT_EQ(result.outcome, Outcome::kDuplicate);
    EXPECT_EQ(result.duplicate, Block(begin, end));
  }
  EXPECT_EQ(queue_.buffers(), 1u);
}

TEST_F(OutOfOrderQueueTest, ARepetitionBringsItsRangeToTheFront) {
  Insert(10, 20);
  Insert(30, 40);
  Insert(12, 15);
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(10, 20), Block(30, 40)));
}

TEST_F(OutOfOrderQueueTest, AFinIsARangeOfOneNumber) {
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(40), &fin);
  EXPECT_EQ(fin.outcome, Outcome::kQueued);
  EXPECT_EQ(fin.duplicate, SackBlock());
  EXPECT_FALSE(queue_.empty());
  EXPECT_EQ(queue_.memory_charged(), 0u);
  EXPECT_TRUE(queue_.EndsAt(Seq(41)));
  Insert(10, 20);
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(10, 20), Block(40, 41)));
  Insert(30, 40);  // runs up to it
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(30, 41), Block(10, 20)));
  EXPECT_TRUE(queue_.EndsAt(Seq(41)));
  OutOfOrderQueue::Chain chain = queue_.TakeInOrder(Seq(10));
  EXPECT_FALSE(chain.fin);
  Consume(chain);
  chain = queue_.TakeInOrder(Seq(30));
  EXPECT_TRUE(chain.fin);
  EXPECT_EQ(Consume(chain), BytesAt(Seq(30), 10));
  EXPECT_TRUE(queue_.empty());
  EXPECT_THAT(Sacks(queue_), IsEmpty());
}

TEST_F(OutOfOrderQueueTest, ARepeatedFinIsADuplicate) {
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(40), &fin);
  fin = {};
  queue_.InsertFin(Seq(40), &fin);
  EXPECT_EQ(fin.duplicate, Block(40, 41));
  Insert(30, 40);
  fin = Insert(35, 40);  // and with the data before it
  queue_.InsertFin(Seq(40), &fin);
  EXPECT_EQ(fin.duplicate, Block(35, 41));
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(30, 41)));
}

TEST_F(OutOfOrderQueueTest, AFinAmongDataIsNotBelieved) {
  Insert(30, 40);
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(35), &fin);
  EXPECT_EQ(fin.duplicate, Block(35, 36));
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(30, 40)));
  const OutOfOrderQueue::Chain chain = queue_.TakeInOrder(Seq(30));
  EXPECT_FALSE(chain.fin);
  Consume(chain);
}

TEST_F(OutOfOrderQueueTest, DataThatFollowsAFinIsOneBlockWithIt) {
  Insert(31, 40);
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(30), &fin);
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(30, 40)));
  Insert(50, 60);
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(50, 60), Block(30, 40)));
}

// The farthest told block is where a peer's RST may stand, whichever FIN is believed.
TEST_F(OutOfOrderQueueTest, OfTwoFinsTheFartherIsTheEnd) {
  EXPECT_FALSE(queue_.EndsAt(Seq(0)));
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(60), &fin);
  queue_.InsertFin(Seq(40), &fin);
  EXPECT_TRUE(queue_.EndsAt(Seq(61)));
  EXPECT_FALSE(queue_.EndsAt(Seq(41)));
}

TEST_F(OutOfOrderQueueTest, AFinThatDataPassedIsForgotten) {
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(40), &fin);
  EXPECT_FALSE(queue_.TakeInOrder(Seq(50)).fin);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(OutOfOrderQueueTest, AFinGoesWithTheDataBeforeIt) {
  Insert(10, 20);
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(20), &fin);
  queue_.Prune(1);
  EXPECT_TRUE(queue_.empty());
  EXPECT_THAT(Sacks(queue_), IsEmpty());
}

TEST_F(OutOfOrderQueueTest, NothingIsLeftOfWhatWasCleared) {
  Insert(10, 20);
  OutOfOrderQueue::InsertResult fin;
  queue_.InsertFin(Seq(30), &fin);
  queue_.Clear();
  EXPECT_TRUE(queue_.empty());
  EXPECT_THAT(Sacks(queue_), IsEmpty());
  EXPECT_FALSE(queue_.TakeInOrder(Seq(30)).fin);
}

TEST_F(OutOfOrderQueueTest, SackBlocksComeMostRecentFirst) {
  Insert(10, 20);
  Insert(30, 40);
  Insert(50, 60);
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(50, 60), Block(30, 40), Block(10, 20)));
  Insert(40, 45);  // the range it extends comes first again
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(30, 45), Block(50, 60), Block(10, 20)));
  Insert(45, 50);  // two become one
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(30, 60), Block(10, 20)));
  Insert(70, 80);
  Insert(90, 100);
  Insert(110, 120);  // a fifth: the oldest is forgotten
  EXPECT_THAT(Sacks(queue_),
              ElementsAre(Block(110, 120), Block(90, 100), Block(70, 80), Block(30, 60)));
  std::array<SackBlock, 3> three;  // beside timestamps
  EXPECT_EQ(queue_.SackBlocks(three), 3u);
  EXPECT_EQ(three[2], Block(70, 80));
}

TEST_F(OutOfOrderQueueTest, OneByteSegmentsInOrderShareBuffers) {
  for (uint32_t i = 0; i < 1'000; ++i) {
    EXPECT_EQ(Insert(100 + i, 101 + i).coalesced, i != 0);
  }
  EXPECT_EQ(queue_.buffers(), 1u);
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(100))), BytesAt(Seq(100), 1'000));
}

TEST_F(OutOfOrderQueueTest, OneByteSegmentsBackwardsShareBuffers) {
  for (uint32_t i = 1'000; i-- > 0;) Insert(100 + i, 101 + i);
  EXPECT_LE(queue_.buffers(), 1 + 1'000 / kBufferHeadroom);
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(100, 1'100)));
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(100))), BytesAt(Seq(100), 1'000));
}

TEST_F(OutOfOrderQueueTest, FilledHolesFreeTheBuffersOfTheirNeighbours) {
  for (uint32_t i = 0; i < 1'000; i += 2) Insert(100 + i, 101 + i);
  EXPECT_EQ(queue_.buffers(), 500u);
  for (uint32_t i = 1; i < 1'000; i += 2) Insert(100 + i, 101 + i);
  EXPECT_EQ(queue_.buffers(), 1u);
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(100))), BytesAt(Seq(100), 1'000));
}

TEST_F(OutOfOrderQueueTest, GivesUpTheFarEndForWhatIsNearer) {
  const uint32_t max = 16 * kBufferRoom;
  for (uint32_t i = 0; i < 16; ++i) Insert(100'000 + i * 1'000, 101'000 + i * 1'000, max);
  EXPECT_EQ(Insert(120'000, 120'001, max).outcome, Outcome::kRefused);
  EXPECT_EQ(queue_.buffers(), 16u);

  const auto result = Insert(10, 20, max);
  EXPECT_EQ(result.outcome, Outcome::kQueued);
  EXPECT_TRUE(result.pruned);
  EXPECT_EQ(queue_.buffers(), 15u);  // an eighth less, and the new one
  EXPECT_TRUE(queue_.EndsAt(Seq(114'000)));
  EXPECT_THAT(Sacks(queue_), ElementsAre(Block(10, 20), Block(100'000, 114'000)));
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(10))), BytesAt(Seq(10), 10));
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(100'000))), BytesAt(Seq(100'000), 14'000));
}

TEST_F(OutOfOrderQueueTest, ALoweredBoundIsMet) {
  for (uint32_t i = 1; i <= 16; ++i) Insert(10'000 * i, 10'000 * i + 1'000);
  const auto result = Insert(10, 20, 4 * kBufferRoom);
  EXPECT_EQ(result.outcome, Outcome::kQueued);
  EXPECT_EQ(queue_.memory_charged(), 4 * kBufferRoom);
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(30'000))), BytesAt(Seq(30'000), 1'000));
  EXPECT_TRUE(queue_.empty()) << "the nearest are kept";
}

TEST_F(OutOfOrderQueueTest, PruneGivesUpWholeRangesToo) {
  for (uint32_t i = 0; i < 10; ++i) Insert(1'000 * i, 1'000 * i + 600);
  EXPECT_EQ(queue_.Prune(1), 2 * kBufferRoom);  // an eighth, rounded up
  EXPECT_TRUE(queue_.EndsAt(Seq(7'600)));
  EXPECT_EQ(queue_.Prune(3 * kBufferRoom + 1), 4 * kBufferRoom);
  EXPECT_EQ(queue_.bytes(), 4u * 600);
  EXPECT_THAT(Sacks(queue_), IsEmpty());
  EXPECT_EQ(queue_.Prune(UINT32_MAX), 4 * kBufferRoom);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.Prune(1), 0u);
}

TEST_F(OutOfOrderQueueTest, ALooseSegmentIsCopied) {
  const Bytes bytes = BytesAt(Seq(500), 5'000);
  EXPECT_EQ(queue_.Insert({}, bytes, pool_, Seq(500), UINT32_MAX).outcome, Outcome::kQueued);
  EXPECT_EQ(queue_.buffers(), 3u);
  HeapPool empty(0);
  EXPECT_EQ(queue_.Insert({}, bytes, empty, Seq(9'500), UINT32_MAX).outcome, Outcome::kRefused);
  const Bytes more = BytesAt(Seq(5'000), 5'000);
  const auto result = queue_.Insert({}, more, pool_, Seq(5'000), UINT32_MAX);
  EXPECT_EQ(result.outcome, Outcome::kQueued);
  EXPECT_EQ(result.duplicate, Block(5'000, 5'500));
  EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(500))), BytesAt(Seq(500), 9'500));
}

// Cost ------------------------------------------------------------------------------------------

// One-byte segments with a hole after each, in several orders: the worst a peer can do.
std::vector<std::vector<uint32_t>> AttackOrders(uint32_t count) {
  std::vector<uint32_t> up(count);
  std::iota(up.begin(), up.end(), 0u);
  std::vector<uint32_t> down(up.rbegin(), up.rend());
  std::vector<uint32_t> shuffled = up;
  SeededRandom random(1);
  for (uint32_t i = count; i > 1; --i) std::swap(shuffled[i - 1], shuffled[Uniform(random, i)]);
  std::vector<uint32_t> inward;
  for (uint32_t i = 0; i < count / 2; ++i) {
    inward.push_back(i);
    inward.push_back(count - 1 - i);
  }
  return {up, down, shuffled, inward};
}

TEST_F(OutOfOrderQueueTest, OneByteSegmentsCostLogarithmicWork) {
  constexpr uint32_t kCount = 3'000;
  const uint32_t log2 = std::bit_width(kCount);
  for (const std::vector<uint32_t>& order : AttackOrders(kCount)) {
    uint32_t before = queue_.visits();
    for (uint32_t i : order) ASSERT_EQ(Insert(2 * i, 2 * i + 1).outcome, Outcome::kQueued);
    EXPECT_EQ(queue_.buffers(), kCount);
    // Each insertion is three searches and a split; a treap's paths are about 1.4 log2 n.
    EXPECT_LT(queue_.visits() - before, kCount * log2 * 8);

    before = queue_.visits();
    for (uint32_t i : order) Insert(2 * i + 1, 2 * i + 2);  // fill the holes
    EXPECT_LT(queue_.visits() - before, kCount * log2 * 10);
    EXPECT_EQ(Consume(queue_.TakeInOrder(Seq(0))), BytesAt(Seq(0), 2 * kCount));
  }
}

TEST_F(OutOfOrderQueueTest, AFloodBeyondTheMemoryBoundCostsLogarithmicWork) {
  constexpr uint32_t kBuffers = 500;
  const uint32_t max = kBuffers * kBufferRoom;
  SeededRandom random(7);
  for (const uint32_t window : {2'000u, 200'000u}) {
    for (const bool backwards : {false, true}) {
      const uint32_t before = queue_.visits();
      constexpr uint32_t kSegments = 20'000;
      for (uint32_t i = 0; i < kSegments; ++i) {
        const uint32_t seq = backwards ? window - i % window : 1 + Uniform(random, window);
        Insert(2 * seq, 2 * seq + 1, max);
        ASSERT_LE(queue_.memory_charged(), max);
      }
      EXPECT_LT(queue_.visits() - before, kSegments * std::bit_width(kBuffers) * 10);
      queue_.Clear();
    }
  }
}

TEST_F(OutOfOrderQueueTest, ALongChainIsCutInAmortisedConstantTime) {
  constexpr uint32_t kBuffers = 1'000;
  const uint32_t max = kBuffers * kBufferRoom;
  constexpr uint32_t kBase = 1u << 20;
  uint32_t end = kBase;
  const uint32_t before = queue_.visits();
  constexpr uint32_t kSegments = 10'000;
  for (uint32_t i = 0; i < kSegments; ++i) {
    // Full segments that extend one chain; where they are refused, a near one makes room.
    if (Insert(end, end + 1'400, max).outcome == Outcome::kRefused) {
      ASSERT_EQ(Insert(2 * i, 2 * i + 1, max).outcome, Outcome::kQueued);
      Consume(queue_.TakeInOrder(Seq(2 * i)));
      end = Sacks(queue_).front().end.value();
    } else {
      end += 1'400;
    }
  }
  EXPECT_LT(queue_.visits() - before, kSegments * 40);
}

// Model -----------------------------------------------------------------------------------------

// A window of bytes that are there or not, and the SACK blocks as RFC 2018 tells them.
class ReassemblyModel {
 public:
  ReassemblyModel(uint64_t seed, Seq base) : random_(seed), base_(base), held_(kWindow + 1) {}

  void Step() {
    const uint32_t dice = Uniform(random_, 60);
    if (dice == 0) {
      Prune();
    } else if (dice <= 5) {
      Advance();
    } else {
      InsertSegment();
    }
    ASSERT_EQ(queue_.buffers(), pool_.capacity() - pool_.available());
    if (++steps_ % 8 == 0) Compare();
  }

  void Finish() {
    Compare();
    queue_.Clear();
    EXPECT_EQ(queue_.buffers(), 0u);
    EXPECT_EQ(queue_.bytes(), 0u);
    EXPECT_EQ(pool_.available(), pool_.capacity());
  }

 private:
  static constexpr uint32_t kWindow = 5'000;

  uint32_t RunEnd(uint32_t from) const {
    while (held_[from]) ++from;
    return from;
  }
  uint32_t RunBegin(uint32_t from) const {
    while (from > 0 && held_[from - 1]) --from;
    return from;
  }
  uint32_t Count() const {
    return static_cast<uint32_t>(std::count(held_.begin(), held_.end(), true));
  }

  void InsertSegment() {
    const uint32_t begin = 1 + Uniform(random_, kWindow - 1);
    const uint32_t most = Uniform(random_, 3) == 0 ? 1'460 : 30;
    const uint32_t length = 1 + Uniform(random_, std::min(most, kWindow - begin));
    const uint32_t end = begin + length;
    const uint32_t max = Uniform(random_, 2) == 0 ? 60 * kBufferRoom : UINT32_MAX;
    const uint32_t before = queue_.memory_charged();

    const TestSegment s = MakeSegment(pool_, BytesAt(base_ + begin, length));
    const auto result = queue_.Insert(s.packet, s.payload, pool_, base_ + begin, max);

    ASSERT_LE(queue_.memory_charged(), std::max(max, before));
    if (!result.pruned) {
      ASSERT_EQ(result.duplicate, FirstRun(begin, end));
    }
    const bool all = std::count(held_.begin() + begin, held_.begin() + end, true) == length;
    ASSERT_EQ(result.outcome == Outcome::kDuplicate, all);
    if (result.outcome == Outcome::kRefused) {
      ASSERT_GT(before + kBufferRoom, max);
      if (result.pruned) CutTo(queue_.bytes(), 0, 0);
      return;
    }
    std::fill(held_.begin() + begin, held_.begin() + end, true);
    if (result.pruned) CutTo(queue_.bytes(), begin, end);
    Remember(RunBegin(begin), RunEnd(begin));
  }

  // The first run of bytes in [begin, end) that are here.
  SackBlock FirstRun(uint32_t begin, uint32_t end) const {
    while (begin < end && !held_[begin]) ++begin;
    if (begin == end) return {};
    return {base_ + begin, base_ + std::min(RunEnd(begin), end)};
  }

  // Takes bytes away at the far end, but for [begin, end), until `count` are left.
  void CutTo(uint32_t count, uint32_t begin, uint32_t end) {
    uint32_t cut = kWindow;
    for (uint32_t left = Count(); left > count && cut > 0; --cut) {
      const bool spared = cut - 1 >= begin && cut - 1 < end;
      if (!held_[cut - 1] || spared) continue;
      held_[cut - 1] = false;
      --left;
    }
    ASSERT_GE(cut, begin);
    std::erase_if(sacks_, [&](const SackBlock& b) { return b.begin >= base_ + cut; });
    for (SackBlock& b : sacks_) b.end = Min(b.end, base_ + cut);
  }

  // RFC 2018 section 4: the range of the latest segment comes first.
  void Remember(uint32_t begin, uint32_t end) {
    const SackBlock block = {base_ + begin, base_ + end};
    std::erase_if(sacks_,
                  [&](const SackBlock& b) { return b.begin >= block.begin && b.end <= block.end; });
    sacks_.insert(sacks_.begin(), block);
    if (sacks_.size() > OutOfOrderQueue::kMaxSackBlocks) sacks_.pop_back();
  }

  void Advance() {
    // To the first hole's end, as a retransmission would, or anywhere.
    uint32_t to = Uniform(random_, 2'000);
    if (Uniform(random_, 2) == 0) {
      to = 0;
      while (to < kWindow && !held_[to]) ++to;
    }
    const SackBlock duplicate = FirstRun(0, to);
    const uint32_t end = RunEnd(to);
    const OutOfOrderQueue::Chain chain = queue_.TakeInOrder(base_ + to);
    ASSERT_EQ(chain.duplicate, duplicate);
    ASSERT_EQ(Consume(chain), BytesAt(base_ + to, end - to));
    base_ += end;
    held_.erase(held_.begin(), held_.begin() + end);
    held_.resize(kWindow + 1);
    std::erase_if(sacks_, [&](const SackBlock& b) { return b.begin <= base_; });
  }

  void Prune() {
    const uint32_t held = queue_.memory_charged();
    const uint32_t wanted = Uniform(random_, 20 * kBufferRoom);
    const uint32_t freed = queue_.Prune(wanted);
    ASSERT_GE(freed, std::min(wanted, held));
    ASSERT_EQ(queue_.memory_charged(), held - freed);
    CutTo(queue_.bytes(), 0, 0);
  }

  void Compare() {
    ASSERT_EQ(queue_.bytes(), Count());
    ASSERT_EQ(queue_.empty(), Count() == 0);
    ASSERT_EQ(Sacks(queue_), sacks_);
    if (sacks_.empty()) return;
    const auto last = std::max_element(sacks_.begin(), sacks_.end(),
                                       [](const auto& a, const auto& b) { return a.end < b.end; });
    ASSERT_TRUE(queue_.EndsAt(last->end));
  }

  SeededRandom random_;
  uint32_t steps_ = 0;
  Seq base_;                // RCV.NXT
  std::vector<bool> held_;  // held_[i] is about base_ + i; the last is never set
  std::vector<SackBlock> sacks_;
  HeapPool pool_{1'500};
  OutOfOrderQueue queue_{99};
};

TEST(OutOfOrderQueue, BehavesLikeAWindowOfBytes) {
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    // Half of them cross the end of the sequence space.
    ReassemblyModel model(seed, Seq(seed % 2 == 0 ? 1u : 0u - 30'000u));
    for (int step = 0; step < 1'500 && !testing::Test::HasFatalFailure(); ++step) model.Step();
    model.Finish();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace usher
