// stack/tcp/info.h: what a connection tells of itself, over its whole life.
#include "stack/tcp/info.h"

#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

class InfoTest : public ConnectionTest {
 protected:
  TcpInfo Info(Connection c) { return tcp(c)->Info(shard().context()); }
};
USHER_FOR_BOTH_FAMILIES(InfoTest);

TEST(TimerKindTest, HasTheNamesOfSs) {
  EXPECT_STREQ(ToString(TimerKind::kOff), "off");
  EXPECT_STREQ(ToString(TimerKind::kOn), "on");
  EXPECT_STREQ(ToString(TimerKind::kKeepalive), "keepalive");
  EXPECT_STREQ(ToString(TimerKind::kTimeWait), "timewait");
  EXPECT_STREQ(ToString(TimerKind::kPersist), "persist");
  EXPECT_STREQ(ToString(static_cast<TimerKind>(99)), "?");
}

TEST_P(InfoTest, FreshConnection) {
  rtt_ = Duration::Millis(30);
  window_scale_ = 7;
  sack_ = timestamps_ = true;
  Connection c = Open();
  const TcpInfo i = Info(c);
  EXPECT_EQ(i.state, TcpState::kEstablished);
  EXPECT_EQ(i.recv_q, 0u);
  EXPECT_EQ(i.send_q, 0u);
  EXPECT_EQ(i.timer.kind, TimerKind::kOff);
  EXPECT_TRUE(i.timestamps);
  EXPECT_TRUE(i.sack);
  EXPECT_TRUE(i.wscale);
  EXPECT_EQ(i.snd_wscale, 7);
  EXPECT_EQ(i.rcv_wscale, *syn_ack_.options.window_scale);
  EXPECT_EQ(i.rtt, Duration::Millis(30));
  EXPECT_EQ(i.rttvar, Duration::Millis(15)) << "RFC 6298 section 2.2: half of it";
  EXPECT_EQ(i.min_rtt, Duration::Millis(30));
  EXPECT_EQ(i.rto, Duration::Millis(230)) << "rtt and the least variation of 200 ms";
  EXPECT_EQ(i.backoff, 0);
  EXPECT_EQ(i.ato, Duration());
  EXPECT_EQ(i.pmtu, 1500u);
  const uint32_t option_bytes = 12;  // timestamps
  EXPECT_EQ(i.mss, 1460u - option_bytes - (v6_ ? 20 : 0));
  EXPECT_EQ(i.advmss, (v6_ ? 1440u : 1460u) - option_bytes);
  EXPECT_EQ(i.cwnd, 10u);
  EXPECT_EQ(i.ssthresh, TcpInfo::kNoSsthresh);
  EXPECT_EQ(i.unacked, 0u);
  EXPECT_EQ(i.total_retrans, 0u);
  EXPECT_EQ(i.snd_wnd, uint32_t{window_} << 7);
  EXPECT_EQ(i.reordering, 3u);
  EXPECT_FALSE(i.reordering_seen);
}

TEST_P(InfoTest, WithoutOptionsNothingIsClaimed) {
  Connection c = Open();
  const TcpInfo i = Info(c);
  EXPECT_FALSE(i.timestamps);
  EXPECT_FALSE(i.sack);
  EXPECT_FALSE(i.wscale);
  EXPECT_EQ(i.snd_wscale, 0);
  EXPECT_EQ(i.rcv_wscale, 0);
  EXPECT_EQ(i.snd_wnd, window_);
}

TEST_P(InfoTest, UnreadBytesAndAnUnreadFinAreTheReceiveQueue) {
  Connection c = Open();
  Give(Ack().Data("12345"));
  EXPECT_EQ(Info(c).recv_q, 5u);
  Give(Flags("FA").SeqNo(peer_nxt_).AckNo(our_nxt_));
  EXPECT_EQ(Info(c).state, TcpState::kCloseWait);
  EXPECT_EQ(Info(c).recv_q, 6u);
  EXPECT_EQ(Read(c), "12345");
  EXPECT_EQ(Info(c).recv_q, 0u);
}

TEST_P(InfoTest, SentAndUnsentBytes) {
  window_ = 3000;
  Connection c = Open();
  EXPECT_EQ(c.Write(std::string(5000, 'x')).bytes, 5000u);
  TakeAfterPoll();
  TcpInfo i = Info(c);
  EXPECT_EQ(i.send_q, 5000u);
  EXPECT_EQ(i.not_sent, 5000u - static_cast<uint32_t>(our_nxt_ - O(0)));
  EXPECT_GT(i.not_sent, 0u);
  EXPECT_EQ(i.unacked, 2u);
  EXPECT_EQ(i.timer.kind, TimerKind::kOn);
  EXPECT_GT(i.timer.remaining, Duration());
  window_ = 65535;
  Give(Ack());
  TakeSent();
  Give(Ack());
  i = Info(c);
  EXPECT_EQ(i.send_q, 0u);
  EXPECT_EQ(i.not_sent, 0u);
  EXPECT_EQ(i.unacked, 0u);
  EXPECT_EQ(i.timer.kind, TimerKind::kOff);
}

TEST_P(InfoTest, TimesSinceTheLastOfEach) {
  Connection c = Open();
  Give(Ack().Data("in"));
  AdvanceBy(Duration::Millis(300));
  c.Write("out");
  TakeAfterPoll();
  AdvanceBy(Duration::Millis(50));
  Give(Ack());
  AdvanceBy(Duration::Millis(7));
  const TcpInfo i = Info(c);
  EXPECT_EQ(i.last_received, Duration::Millis(357));
  EXPECT_EQ(i.last_sent, Duration::Millis(57));
  EXPECT_EQ(i.last_ack, Duration::Millis(7));
  EXPECT_NE(i.ato, Duration()) << "data came";
}

TEST_P(InfoTest, TimeoutBacksOffAndCounts) {
  rtt_ = Duration::Millis(10);
  timestamps_ = true;  // a measurement is what ends the back-off (RFC 6298 section 5.7)
  Connection c = Open();
  c.Write("lost");
  TakeAfterPoll();
  for (uint8_t n = 1; n <= 3; ++n) {
    ASSERT_LT(UntilSent(Duration::Seconds(10)), Duration::Seconds(10));
    TakeSent();
    const TcpInfo i = Info(c);
    EXPECT_EQ(i.backoff, n);
    EXPECT_EQ(i.total_retrans, n);
    EXPECT_EQ(i.retrans, 1u);
    EXPECT_EQ(i.lost, 1u);
    EXPECT_EQ(i.cwnd, 1u);
    EXPECT_EQ(i.timer.retransmits, n);
    EXPECT_NE(i.ssthresh, TcpInfo::kNoSsthresh);
  }
  Give(Ack());
  const TcpInfo i = Info(c);
  EXPECT_EQ(i.backoff, 0);
  EXPECT_EQ(i.retrans, 0u);
  EXPECT_EQ(i.lost, 0u);
  EXPECT_EQ(i.total_retrans, 3u);
}

TEST_P(InfoTest, SackedSegments) {
  sack_ = true;
  Connection c = Open();
  c.Write(std::string(5 * 1400, 'x'));
  TakeAfterPoll();
  const uint32_t mss = Info(c).mss;
  Give(Ack(0).Sack({{O(2 * mss), O(3 * mss)}}));
  EXPECT_EQ(Info(c).sacked, 1u);
  EXPECT_EQ(Info(c).unacked, 5u);
}

TEST_P(InfoTest, ClosedWindowIsTheProbeTimer) {
  Connection c = Open();
  window_ = 0;
  Give(Ack().Data("x"));
  TakeSent();
  c.Write("waits");
  TakeAfterPoll();
  const TcpInfo i = Info(c);
  EXPECT_EQ(i.snd_wnd, 0u);
  EXPECT_EQ(i.not_sent, 5u);
  EXPECT_EQ(i.timer.kind, TimerKind::kPersist);
  EXPECT_EQ(i.timer.retransmits, 0);
  EXPECT_LT(UntilSent(Duration::Seconds(10)), Duration::Seconds(10));
  EXPECT_EQ(Info(c).timer.retransmits, 1);
}

TEST_P(InfoTest, KeepaliveTimer) {
  Connection c = Open();
  TcpOptionsSet options = c.options();
  options.keepalive = true;
  options.keepalive_time_s = 100;
  EXPECT_EQ(c.SetOptions(options), Error::kNone);
  AdvanceBy(Duration::Seconds(30));
  const TcpInfo i = Info(c);
  EXPECT_EQ(i.timer.kind, TimerKind::kKeepalive);
  EXPECT_EQ(i.timer.remaining, Duration::Seconds(70));
}

TEST_P(InfoTest, SynSent) {
  Connection c = Connect();
  const TcpInfo i = Info(c);
  EXPECT_EQ(i.state, TcpState::kSynSent);
  EXPECT_EQ(i.send_q, 1u) << "the SYN";
  EXPECT_EQ(i.timer.kind, TimerKind::kOn);
  EXPECT_EQ(i.rtt, Duration()) << "not measured yet";
}

TEST_P(InfoTest, FinIsOneOfTheSendQueueUntilItIsAcknowledged) {
  Connection c = Open();
  EXPECT_EQ(c.Shutdown(ShutdownHow::kWrite), Error::kNone);
  TakeAfterPoll();
  EXPECT_EQ(Info(c).state, TcpState::kFinWait1);
  EXPECT_EQ(Info(c).send_q, 1u);
  Give(Ack());
  EXPECT_EQ(Info(c).state, TcpState::kFinWait2);
  EXPECT_EQ(Info(c).send_q, 0u);
}

// ---- Bytes in all ----

TEST_P(InfoTest, BytesOfBothDirections) {
  Connection c = Open();
  EXPECT_EQ(Info(c).bytes_sent, 0u);
  EXPECT_EQ(Info(c).bytes_acked, 0u) << "a passive open's SYN is none";
  EXPECT_EQ(Info(c).bytes_received, 0u);
  Give(Ack().Data("12345"));
  c.Write(std::string(700, 'x'));
  TakeAfterPoll();
  EXPECT_EQ(Info(c).bytes_received, 5u) << "read or not";
  EXPECT_EQ(Info(c).bytes_sent, 700u);
  EXPECT_EQ(Info(c).bytes_acked, 0u);
  Give(Ack(300));
  EXPECT_EQ(Info(c).bytes_acked, 300u);
  Give(Ack());
  EXPECT_EQ(Info(c).bytes_acked, 700u);
  EXPECT_EQ(Info(c).bytes_retrans, 0u);
}

TEST_P(InfoTest, WhatGoesOutAgainIsSentAgain) {
  Connection c = Open();
  c.Write("lost");
  TakeAfterPoll();
  for (uint64_t n = 1; n <= 2; ++n) {
    ASSERT_LT(UntilSent(Duration::Seconds(10)), Duration::Seconds(10));
    TakeSent();
    EXPECT_EQ(Info(c).bytes_retrans, 4 * n);
    EXPECT_EQ(Info(c).bytes_sent, 4 + 4 * n);
  }
}

TEST_P(InfoTest, FinsCountAsOneWhereTheyAreAcknowledged) {
  Connection c = Open();
  c.Write("abc");
  c.Shutdown(ShutdownHow::kWrite);
  TakeAfterPoll();
  EXPECT_EQ(Info(c).bytes_sent, 3u) << "payload";
  Give(Flags("FA").SeqNo(peer_nxt_).AckNo(our_nxt_).Data("xy"));
  if (tcp(c) == nullptr) return;  // TIME-WAIT: a small record now
  EXPECT_EQ(Info(c).bytes_acked, 4u);
  EXPECT_EQ(Info(c).bytes_received, 3u);
}

TEST_P(InfoTest, AnActiveOpensSynIsAcknowledged) {
  Connection c = ConnectFully();
  EXPECT_EQ(Info(c).bytes_acked, 1u) << "as Linux has it";
  EXPECT_EQ(Info(c).bytes_sent, 0u);
  EXPECT_EQ(Info(c).bytes_received, 0u);
}

TEST_P(InfoTest, ASynThatIsNotAnsweredIsNoByte) {
  Connection c = Connect();
  EXPECT_EQ(Info(c).bytes_sent, 0u);
  EXPECT_EQ(Info(c).bytes_acked, 0u);
  EXPECT_EQ(Info(c).bytes_received, 0u);
  UntilSent(Duration::Seconds(10));
  EXPECT_EQ(Info(c).bytes_retrans, 0u) << "a SYN has none either";
}

// Numbers come round after 4 GiB; the counts go on.
TEST_P(InfoTest, CountsGoOnWhenTheNumbersComeRound) {
  constexpr uint64_t k4GiB = uint64_t{1} << 32;
  Connection c = Open();
  Peek(c).PretendMoved(100);
  EXPECT_EQ(Info(c).bytes_acked, k4GiB - 101) << "and the SYN";
  EXPECT_EQ(Info(c).bytes_received, k4GiB - 101);
  Give(Ack().Data(std::string(99, 'x')));
  EXPECT_EQ(Info(c).bytes_received, k4GiB - 2);
  Give(Ack().Data("x"));
  EXPECT_EQ(Info(c).bytes_received, k4GiB - 1);
  Give(Ack().Data(std::string(1000, 'x')));
  EXPECT_EQ(Info(c).bytes_received, k4GiB + 999);
  c.Write(std::string(1000, 'y'));
  TakeAfterPoll();
  EXPECT_EQ(Info(c).bytes_sent, k4GiB + 899);
  EXPECT_EQ(Info(c).bytes_acked, k4GiB - 101);
  Give(Ack());
  EXPECT_EQ(Info(c).bytes_acked, k4GiB + 899);
  EXPECT_EQ(Info(c).bytes_sent, k4GiB + 899);
}

}  // namespace
}  // namespace usher::test
