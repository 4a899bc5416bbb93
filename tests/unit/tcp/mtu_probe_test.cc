// The path's MTU found by trying (RFC 4821), against a path that swallows what is too large.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;

class MtuProbeTest : public ConnectionTest {
 protected:
  MtuProbeTest() {
    sack_ = true;
    rtt_ = Duration::Millis(20);
    options_.sysctls.tcp_mtu_probing = 2;
    options_.sysctls.tcp_rmem = {4096, 1'000'000, 4'000'000};
  }
  uint32_t Headers() const { return v6_ ? 60 : 40; }
  uint32_t Overhead() const { return Headers() + (timestamps_ ? 12 : 0); }
  uint32_t Mss() { return Peek(c_).mss(); }

  // Sends `n` bytes over a path that bears packets of `path_mtu`; every round trip the peer
  // acknowledges what came, with SACK where something is missing. False: it did not get through.
  bool Transfer(size_t n, uint32_t path_mtu) {
    size_t written = 0;
    for (int round = 0; round < 2000; ++round) {
      if (written < n)
        written += c_.Write(std::string(std::min<size_t>(n - written, 200'000), 'x')).bytes;
      Poll();
      const auto sent = TakeSent();
      AdvanceBy(Duration::Millis(20));
      for (const SentTcp& s : sent) {
        largest_ = std::max(largest_, s.payload.size() + Overhead());
        if (s.payload.size() + Overhead() > path_mtu) {
          ++swallowed_;
          continue;
        }
        Arrive(s);
      }
      if (written == n && got_ == end_base_ + static_cast<int64_t>(n)) {
        end_base_ = got_;
        return true;
      }
    }
    return false;
  }
  // The peer gets a segment and acknowledges.
  void Arrive(const SentTcp& s) {
    const int64_t begin = s.seq - O(0);
    const int64_t end = begin + static_cast<int64_t>(s.payload.size());
    if (begin > got_) {
      beyond_begin_ = beyond_end_ == 0 ? begin : std::min(beyond_begin_, begin);
      beyond_end_ = std::max(beyond_end_, end);
    } else if (end > got_) {
      got_ = end;
      if (beyond_end_ != 0 && got_ >= beyond_begin_) {
        got_ = std::max(got_, beyond_end_);
        beyond_end_ = 0;
      }
    }
    SegmentBuilder ack = Ack(got_);
    if (beyond_end_ != 0) ack.Sack({{O(beyond_begin_), O(beyond_end_)}});
    Give(ack);
    for (const SentTcp& more : TakeSent()) pending_.push_back(more);
    for (const SentTcp& more : std::exchange(pending_, {})) later_.push_back(more);
  }
  std::vector<SentTcp> TakeSent() {
    auto sent = ConnectionTest::TakeSent();
    sent.insert(sent.begin(), later_.begin(), later_.end());
    later_.clear();
    return sent;
  }

  int64_t got_ = 0;
  int64_t end_base_ = 0;
  int64_t beyond_begin_ = 0;
  int64_t beyond_end_ = 0;
  size_t largest_ = 0;
  int swallowed_ = 0;
  std::vector<SentTcp> pending_, later_;
};
USHER_FOR_BOTH_FAMILIES(MtuProbeTest);

TEST_P(MtuProbeTest, OffByDefault) {
  options_.sysctls.tcp_mtu_probing = 0;
  Open();
  EXPECT_EQ(Mss(), 1500 - Headers());
  EXPECT_TRUE(Transfer(500'000, 1500));
  EXPECT_EQ(Count(Counter::TcpExtTCPMTUPSuccess), 0u);
}

TEST_P(MtuProbeTest, BeginsWithTheBaseAndFindsTheWholePath) {
  Open();
  EXPECT_EQ(Mss(), 1024u);
  EXPECT_TRUE(Transfer(1'000'000, 1500));
  EXPECT_GT(Mss() + Headers(), 1500u - 8);
  EXPECT_GE(Count(Counter::TcpExtTCPMTUPSuccess), 3u);
  EXPECT_EQ(Count(Counter::TcpExtTCPMTUPFail), 0u);
}

TEST_P(MtuProbeTest, TimestampsAreReckonedWith) {
  timestamps_ = true;
  Open();
  EXPECT_EQ(Mss(), 1024u);
  EXPECT_TRUE(Transfer(1'000'000, 1500));
  EXPECT_GT(Mss() + Overhead(), 1500u - 8);
  EXPECT_LE(largest_, 1500u);
}

TEST_P(MtuProbeTest, FindsANarrowPath) {
  Open();
  EXPECT_TRUE(Transfer(1'000'000, 1300));
  EXPECT_LE(Mss() + Headers(), 1300u);
  EXPECT_GT(Mss() + Headers(), 1300u - 8);
  EXPECT_GE(Count(Counter::TcpExtTCPMTUPFail), 1u);
  EXPECT_GT(swallowed_, 0);
  EXPECT_EQ(Count(Counter::TcpExtTCPTimeouts), 0u);
}

TEST_P(MtuProbeTest, TriesAgainAfterAWhile) {
  Open();
  EXPECT_TRUE(Transfer(1'000'000, 1300));
  const uint32_t narrow = Mss();
  EXPECT_TRUE(Transfer(1'000'000, 1500)) << "wider, but that is not known yet";
  EXPECT_EQ(Mss(), narrow);
  AdvanceBy(Duration::Seconds(601));
  EXPECT_TRUE(Transfer(1'000'000, 1500));
  EXPECT_GT(Mss() + Headers(), 1500u - 8);
}

TEST_P(MtuProbeTest, LittleDataIsNotWorthAProbe) {
  Open();
  EXPECT_EQ(c_.Write(std::string(3'000, 'x')).bytes, 3'000u);
  Poll();
  for (const SentTcp& s : ConnectionTest::TakeSent()) EXPECT_LE(s.payload.size(), 1024u);
}

TEST_P(MtuProbeTest, ABlackHoleIsFoundByTimeouts) {
  options_.sysctls.tcp_mtu_probing = 1;
  Open();
  EXPECT_EQ(Mss(), 1500 - Headers());
  // Full segments vanish, and no ICMP says so.
  EXPECT_EQ(c_.Write(std::string(20'000, 'x')).bytes, 20'000u);
  Poll();
  const Instant begin = now_;
  bool through = false;
  while (!through && now_ - begin < Duration::Seconds(60)) {
    for (const SentTcp& s : ConnectionTest::TakeSent())
      through |= s.payload.size() + Headers() <= 1200;
    AdvanceBy(Duration::Millis(100));
  }
  EXPECT_TRUE(through);
  EXPECT_GE(now_ - begin, Duration::Seconds(3)) << "tcp_retries1";
  EXPECT_EQ(Mss(), 1024u);
}

TEST_P(MtuProbeTest, ADeeperHoleHalvesAgain) {
  options_.sysctls.tcp_mtu_probing = 1;
  Open();
  EXPECT_EQ(c_.Write(std::string(20'000, 'x')).bytes, 20'000u);
  Poll();
  AdvanceBy(Duration::Seconds(60));
  EXPECT_LE(Mss(), 512u);
  EXPECT_GE(Mss(), 48u);
  AdvanceBy(Duration::Seconds(300));
  EXPECT_EQ(Mss(), 48u) << "tcp_mtu_probe_floor";
}

TEST_P(MtuProbeTest, WithoutProbingAHoleStaysOne) {
  options_.sysctls.tcp_mtu_probing = 0;
  Open();
  EXPECT_EQ(c_.Write(std::string(20'000, 'x')).bytes, 20'000u);
  Poll();
  AdvanceBy(Duration::Seconds(60));
  EXPECT_EQ(Mss(), 1500 - Headers());
}

}  // namespace
}  // namespace usher::test
