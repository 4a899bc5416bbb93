// Large segments, over a port that would cut them and here hands them on whole.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

class TsoTest : public ConnectionTest {
 protected:
  TsoTest() {
    capabilities_.tso_bytes = 65'215;
    sack_ = true;
    rtt_ = Duration::Millis(100);
  }
  void Start() {
    Open();
    mss_out_ = Peek(c_).mss();
  }
  void Write(const std::string& bytes) {
    EXPECT_EQ(c_.Write(bytes).bytes, bytes.size());
    Poll();
  }
  void WriteSegments(uint32_t n) { Write(std::string(n * mss_out_, 'x')); }
  // Lengths of what was sent, in segments.
  std::vector<double> Lengths() {
    std::vector<double> lengths;
    for (const SentTcp& s : TakeSent())
      lengths.push_back(static_cast<double>(s.payload.size()) / mss_out_);
    return lengths;
  }
  static std::string Pattern(size_t n) {
    std::string s(n, 0);
    for (size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 7 + i / 251);
    return s;
  }
  uint32_t mss_out_ = 0;
};
USHER_FOR_BOTH_FAMILIES(TsoTest);

TEST_P(TsoTest, TwoSegmentsAtLeastOnASlowPath) {
  Start();
  const uint64_t before = Count(Counter::TcpOutSegs);
  WriteSegments(10);
  EXPECT_THAT(Lengths(), ElementsAre(2, 2, 2, 2, 2));
  EXPECT_EQ(Count(Counter::TcpOutSegs) - before, 10u);
}

TEST_P(TsoTest, HalfOfTheWindowOnAShortPath) {
  rtt_ = Duration::Micros(300);
  Start();
  WriteSegments(10);
  EXPECT_THAT(Lengths(), ElementsAre(5, 5));
}

TEST_P(TsoTest, ThePortThatCannotGetsSegments) {
  capabilities_.tso_bytes = 0;
  Start();
  WriteSegments(3);
  EXPECT_THAT(Lengths(), ElementsAre(1, 1, 1));
}

TEST_P(TsoTest, EveryByteInItsPlace) {
  rtt_ = Duration::Micros(300);
  timestamps_ = true;
  Start();
  const std::string bytes = Pattern(10 * mss_out_ - 77);
  Write(bytes);
  std::string got;
  for (const SentTcp& s : TakeSent()) {
    EXPECT_EQ(s.seq, O(static_cast<int64_t>(got.size())));
    EXPECT_NE(s.flags & TcpFlags::kPsh, 0);
    got.append(s.payload.begin(), s.payload.end());
  }
  EXPECT_EQ(got, bytes);
}

TEST_P(TsoTest, ZeroCopyToo) {
  rtt_ = Duration::Micros(300);
  Start();
  const std::string bytes = Pattern(5 * mss_out_);
  EXPECT_EQ(c_.Write(std::string("head")).bytes, 4u);
  EXPECT_EQ(
      c_.WriteExternal(
            {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, [](void*) {}, nullptr)
          .bytes,
      bytes.size());
  Poll();
  std::string got;
  for (const SentTcp& s : TakeSent()) got.append(s.payload.begin(), s.payload.end());
  EXPECT_EQ(got, "head" + bytes);
}

TEST_P(TsoTest, TheEndRidesOnIt) {
  Start();
  EXPECT_EQ(c_.Write(std::string(3 * mss_out_ + 5, 'x')).bytes, 3 * mss_out_ + 5);
  c_.Close();
  Poll();
  const auto sent = TakeSent();
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[0].flags & TcpFlags::kFin, 0);
  EXPECT_NE(sent[1].flags & TcpFlags::kFin, 0);
  EXPECT_EQ(sent[1].payload.size(), mss_out_ + 5);
}

TEST_P(TsoTest, OnlyWhatIsMissingIsSentAgain) {
  Start();
  WriteSegments(10);
  TakeSent();
  AdvanceBy(rtt_);
  // The second half of the first large segment, and all behind it.
  Give(Ack(0).Sack({{O(mss_out_), O(6 * mss_out_)}}));
  auto sent = TakeSent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].seq, O(0));
  EXPECT_EQ(sent[0].payload.size(), mss_out_);
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 1u);
}

TEST_P(TsoTest, AWholeOneIsSentAgainAsOne) {
  Start();
  WriteSegments(10);
  TakeSent();
  AdvanceBy(rtt_);
  Give(Ack(0).Sack({{O(2 * mss_out_), O(10 * mss_out_)}}));
  EXPECT_THAT(Lengths(), ElementsAre(2));
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 2u);
}

TEST_P(TsoTest, NotWhileUrgentDataIsOnItsWay) {
  Start();
  const std::string bytes(3 * mss_out_, 'x');
  EXPECT_EQ(c_.WriteUrgent({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}).bytes,
            bytes.size());
  Poll();
  EXPECT_THAT(Lengths(), ElementsAre(1, 1, 1));
}

TEST_P(TsoTest, WithFewBuffersSegmentsAreSingle) {
  rtt_ = Duration::Micros(300);
  Start();
  std::vector<Packet> taken;
  Packet p;
  while (pool_->Allocate(&p)) taken.push_back(p);
  for (int i = 0; i < 3; ++i) {
    pool_->Free(taken.back().handle);
    taken.pop_back();
  }
  WriteSegments(10);
  EXPECT_THAT(Lengths(), Each(1)) << "single ones, while there are buffers for them";
  for (const Packet& t : taken) pool_->Free(t.handle);
}

}  // namespace
}  // namespace usher::test
