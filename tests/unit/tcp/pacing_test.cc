// Pacing of one connection by the timer wheel.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class PacingTest : public ConnectionTest {
 protected:
  PacingTest() {
    sack_ = true;
    rtt_ = Duration::Millis(100);
  }
  void OpenPaced(uint32_t bytes_per_second) {
    listen_options_.max_pacing_rate = bytes_per_second;
    listen_options_.no_delay = true;
    Open();
    mss_out_ = Peek(c_).mss();
  }
  void Write(size_t n) {
    EXPECT_EQ(c_.Write(std::string(n, 'x')).bytes, n);
    Poll();
  }
  uint64_t TakeBytes() {
    uint64_t bytes = 0;
    for (const SentTcp& s : TakeSent()) bytes += s.payload.size();
    return bytes;
  }
  uint32_t mss_out_ = 0;
};
USHER_FOR_BOTH_FAMILIES(PacingTest);

TEST_P(PacingTest, WithoutItTheWindowLeavesAtOnce) {
  OpenPaced(Pacer::kNoLimit);
  Write(10 * mss_out_);
  EXPECT_THAT(TakeSent(), SizeIs(10));
}

TEST_P(PacingTest, SegmentsLeaveAtTheRate) {
  constexpr uint32_t kRate = 64'000;
  OpenPaced(kRate);
  const Instant start = now_;
  Write(10 * mss_out_);
  EXPECT_THAT(TakeSent(), SizeIs(2));
  uint64_t bytes = 2 * mss_out_;
  while (bytes < 10 * mss_out_ && now_ - start < Duration::Seconds(1)) {
    AdvanceBy(Duration::Millis(1));
    bytes += TakeBytes();
    const auto allowed = static_cast<uint64_t>((now_ - start).ms()) * kRate / 1000 + 2 * mss_out_;
    EXPECT_LE(bytes, allowed);
  }
  const double seconds = static_cast<double>((now_ - start).us()) / 1e6;
  EXPECT_NEAR(seconds, 8.0 * mss_out_ / kRate, 0.03) << "8 segments after the first two";
}

TEST_P(PacingTest, TheWheelSaysWhen) {
  OpenPaced(64'000);
  Write(10 * mss_out_);
  TakeSent();
  const Duration wait = Duration::Micros(static_cast<int64_t>(2'000'000) * mss_out_ / 64'000);
  EXPECT_NEAR(static_cast<double>((stack_->NextDeadline(0) - now_).us()),
              static_cast<double>(wait.us()), 20);
  EXPECT_GE(UntilSent(Duration::Seconds(1)), wait - Duration::Micros(20));
  EXPECT_EQ(port_->sent_count(), 2u);
}

TEST_P(PacingTest, ALimitLowerThanTheRetransmissionTimeoutIsNoClosedWindow) {
  OpenPaced(1'000);  // a segment in a second and a half
  Write(3 * mss_out_);
  EXPECT_THAT(TakeSent(), SizeIs(2));
  AdvanceBy(Duration::Millis(50));
  Give(Ack());
  AdvanceBy(Duration::Seconds(1));
  EXPECT_THAT(TakeSent(), IsEmpty()) << "no probe either";
  EXPECT_LT(UntilSent(Duration::Seconds(3)), Duration::Seconds(3));
  EXPECT_EQ(TakeBytes(), mss_out_);
  EXPECT_EQ(Count(Counter::TcpExtTCPWinProbe), 0u);
}

TEST_P(PacingTest, RetransmissionsArePacedAsWell) {
  OpenPaced(1'000);
  Write(2 * mss_out_);
  EXPECT_THAT(TakeSent(), SizeIs(2));
  AdvanceBy(Duration::Millis(100));
  Give(Ack(0).Sack({{O(mss_out_), O(2 * mss_out_)}}));
  AdvanceBy(Duration::Seconds(1));  // over the reordering timer and the retransmission timeout
  EXPECT_THAT(TakeSent(), IsEmpty());
  AdvanceBy(Duration::Seconds(2));
  EXPECT_THAT(TakeSent(),
              ::testing::ElementsAre(::testing::AllOf(HasSeq(O(0)), HasLength(mss_out_))));
}

TEST_P(PacingTest, TheLimitMayChangeOrGo) {
  OpenPaced(1'000);
  Write(10 * mss_out_);
  EXPECT_THAT(TakeSent(), SizeIs(2));
  TcpOptionsSet options = c_.options();
  options.max_pacing_rate = Pacer::kNoLimit;
  EXPECT_EQ(c_.SetOptions(options), Error::kNone);
  EXPECT_THAT(TakeAfterPoll(), SizeIs(8));
}

// Without TCP_NODELAY, which would send by itself.
TEST_P(PacingTest, AHigherLimitHoldsAtOnce) {
  listen_options_.max_pacing_rate = 1'000;
  Open();
  mss_out_ = Peek(c_).mss();
  Write(10 * mss_out_);
  EXPECT_THAT(TakeSent(), SizeIs(2));
  TcpOptionsSet options = c_.options();
  options.max_pacing_rate = Pacer::kNoLimit;
  EXPECT_EQ(c_.SetOptions(options), Error::kNone);
  EXPECT_THAT(TakeAfterPoll(), SizeIs(8));
}

TEST_P(PacingTest, IsShown) {
  OpenPaced(64'000);
  EXPECT_EQ(tcp(c_)->Info(shard().context()).pacing_rate, 64'000u);
}

TEST_P(PacingTest, BbrPacesByItself) {
  listen_options_.congestion = CongestionAlgorithm::kBbr;
  OpenPaced(Pacer::kNoLimit);
  // The first window in a round trip of 100 ms, times the high gain.
  const uint64_t rate = 10ull * mss_out_ * 10 * Bbr::kHighGain / Bbr::kUnit;
  EXPECT_NEAR(static_cast<double>(tcp(c_)->Info(shard().context()).pacing_rate),
              static_cast<double>(rate), static_cast<double>(rate) / 100);
  Write(10 * mss_out_);
  const size_t first = TakeSent().size();
  EXPECT_LT(first, 10u);
  AdvanceBy(Duration::Millis(50));
  EXPECT_EQ(first + TakeSent().size(), 10u);
}

}  // namespace
}  // namespace usher::test
