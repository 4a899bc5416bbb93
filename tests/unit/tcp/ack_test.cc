// What an acknowledgment does to SND.UNA, the send buffer and its room, and the recovery counters.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::IsEmpty;

class AckTest : public ConnectionTest {
 protected:
  // Writes and sends `n` bytes.
  void Send(size_t n) {
    ASSERT_EQ(c_.Write(std::string(n, 'x')).bytes, n);
    Poll();
    TakeSent();
  }
};
USHER_FOR_BOTH_FAMILIES(AckTest);

TEST_P(AckTest, MovesSndUnaAndFreesTheBytes) {
  Connection c = Open();
  Send(3000);
  EXPECT_EQ(tcp(c)->unacked_bytes(), 3000u);
  Give(Ack(1000));  // in the middle of a segment
  EXPECT_EQ(Peek(c).snd_una(), O(1000));
  EXPECT_EQ(tcp(c)->unacked_bytes(), 2000u);
  Give(Ack(3000));
  EXPECT_EQ(Peek(c).snd_una(), O(3000));
  EXPECT_EQ(tcp(c)->unacked_bytes(), 0u);
  EXPECT_EQ(shard().context().memory.charged_bytes(), 0u);
  EXPECT_EQ(shard().context().sent_segments.in_use(), 0u);
}

TEST_P(AckTest, AnOldOneChangesNothing) {
  Connection c = Open();
  Send(3000);
  Give(Ack(2000));
  Give(Ack(1000).Window(1));
  EXPECT_EQ(Peek(c).snd_una(), O(2000));
  EXPECT_EQ(Peek(c).snd_wnd(), 65535u) << "a window from the past";
  EXPECT_EQ(tcp(c)->unacked_bytes(), 1000u);
}

TEST_P(AckTest, TheSynAndTheFinAreNoBytes) {
  Connection c = Connect();
  EXPECT_EQ(c.Write("abc").bytes, 3u);
  Give(SynAck());  // acknowledges the SYN alone
  EXPECT_EQ(tcp(c)->unacked_bytes(), 3u);
  c.Shutdown(ShutdownHow::kWrite);
  Poll();
  TakeSent();
  Give(Ack(4));  // the bytes and the FIN
  EXPECT_EQ(tcp(c)->unacked_bytes(), 0u);
  EXPECT_EQ(c.state(), TcpState::kFinWait2);
}

TEST_P(AckTest, NeedsSackNegotiatedToBelieveABlock) {
  for (const bool sack : {false, true}) {
    sack_ = sack;
    ++tuple_.remote_port;
    Open();
    const uint64_t before = Count(Counter::TcpExtTCPSackRecovery);
    Send(10'000);
    AdvanceBy(Duration::Millis(10));
    TakeSent();
    Give(Ack(0).Sack({{O(Peek(c_).mss()), O(10'000)}}));
    EXPECT_EQ(Count(Counter::TcpExtTCPSackRecovery) - before, sack ? 1u : 0u);
    EXPECT_EQ(TakeSent().size(), sack ? 1u : 0u) << "the hole, sent again";
    c_.Abort();
    Poll();
    TakeSent();
  }
}

// As on Linux: it has the newest word on the window, though that is the same as before.
TEST_P(AckTest, BehindDataTheFirstIsNoDuplicate) {
  sack_ = false;
  Open();
  Send(10'000);
  Give(Ack(1000));
  Give(Ack(1000).Data("abc"));
  for (int i = 0; i < 3; ++i) Give(Ack(1000).SeqNo(P(3)));
  EXPECT_EQ(Count(Counter::TcpExtTCPRenoRecovery), 0u) << "two duplicates";
  Give(Ack(1000).SeqNo(P(3)));
  EXPECT_EQ(Count(Counter::TcpExtTCPRenoRecovery), 1u) << "the third";
}

// RFC 2883: what was sent again came twice.
TEST_P(AckTest, SegmentsThatCameTwiceAreCounted) {
  sack_ = true;
  rtt_ = Duration::Millis(10);
  Connection c = Open();
  c.Write("twice");
  Poll();
  while (Count(Counter::TcpRetransSegs) == 0) AdvanceBy(Duration::Millis(50));
  Give(Ack(5).Sack({{O(0), O(5)}}));
  EXPECT_EQ(Count(Counter::TcpExtTCPDSACKRecv), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPDSACKRecvSegs), 1u);
}

TEST_P(AckTest, OpensTheWindowForWhatWaits) {
  window_ = 2000;
  Connection c = Open();
  ASSERT_EQ(c.Write(std::string(3000, 'x')).bytes, 3000u);
  Poll();
  TakeSent();
  EXPECT_LE(Peek(c).snd_nxt() - O(0), 2000);
  window_ = 8000;
  Give(Ack());
  Poll();
  EXPECT_THAT(TakeSent(), ::testing::Not(IsEmpty()));
  EXPECT_EQ(Peek(c).snd_nxt(), O(3000));
}

// Room is told when a third of the buffer is free, and once.
TEST_P(AckTest, TellsOfRoomOnce) {
  listen_options_.send_buffer_bytes = 16384;
  Connection c = Open();
  size_t written = 0;
  for (IoResult r; (r = c.Write(std::string(4096, 'x'))).error == Error::kNone && r.bytes > 0;)
    written += r.bytes;
  ASSERT_GT(written, 0u);
  EXPECT_EQ(c.writable_bytes(), 0u);
  const auto end = static_cast<int64_t>(written);
  uint32_t left_before = 0;
  for (int64_t acked = 1460; acked < end && app_.writable == 0; acked += 1460) {
    left_before = tcp(c)->unacked_bytes();
    TakeAfterPoll();
    Give(Ack(acked));
  }
  EXPECT_EQ(app_.writable, 1);
  const uint32_t left = tcp(c)->unacked_bytes();
  EXPECT_LT(left, 16384u * 2 / 3);
  EXPECT_GT(left_before, 16384u / 3) << "told long after a third was free";
  EXPECT_GT(c.writable_bytes(), 0u);
  TakeAfterPoll();
  Give(Ack());
  EXPECT_EQ(app_.writable, 1) << "told again though nothing was cut short";
}

TEST_P(AckTest, ATimeoutIsCounted) {
  Open();
  Send(100);
  AdvanceBy(Duration::Seconds(5));
  EXPECT_THAT(TakeSent(), ::testing::Not(IsEmpty()));
  EXPECT_GE(Count(Counter::TcpExtTCPTimeouts), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPSlowStartRetrans), 0u)
      << "what the timer sends is no part of it";
  Give(Ack(100));
  EXPECT_EQ(Peek(c_).snd_una(), O(100));
  AdvanceBy(Duration::Seconds(5));
  EXPECT_THAT(TakeSent(), IsEmpty()) << "sent again though acknowledged";
}

}  // namespace
}  // namespace usher::test
