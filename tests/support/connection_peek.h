// What tests may see of a connection's inside, and the rules that hold between its fields.
#pragma once

#include <gtest/gtest.h>

#include "stack/tcp/connection.h"

namespace usher::test {

struct ConnectionPeek {
  const TcpConnection& c;

  Seq snd_una() const { return c.snd_una_; }
  Seq snd_nxt() const { return c.snd_nxt_; }
  uint32_t snd_wnd() const { return c.snd_wnd_; }
  Seq rcv_nxt() const { return c.rcv_nxt_; }
  uint32_t rcv_wnd() const { return c.ReceiveWindow(); }
  uint32_t cwnd() const { return c.control_.congestion().cwnd_bytes(); }
  uint32_t mss() const { return c.mss_; }
  const LossRecovery& recovery() const { return c.control_.recovery(); }
  bool out_of_order_empty() const { return !c.HasOutOfOrder(); }
  bool ack_pending() const { return c.ack_pending_; }

  // As if all but `left` of 4 GiB had gone both ways since the handshake.
  void PretendMoved(uint32_t left) const {
    auto& connection = const_cast<TcpConnection&>(c);
    connection.iss_ = c.snd_una_ + left;
    connection.irs_ = c.rcv_nxt_ + left;
  }

  // What holds between any two passes.
  void CheckInvariants(const TcpContext& ctx) const {
    const TcpState state = c.state();
    if (state == TcpState::kClosed) {
      EXPECT_EQ(c.send_buffer_.size(), 0u);
      EXPECT_TRUE(recovery().queue().empty());
      return;
    }
    EXPECT_LE(c.snd_una_ - c.snd_nxt_, 0);
    EXPECT_EQ(recovery().queue().bytes_out(ctx.sent_segments),
              static_cast<uint32_t>(c.snd_nxt_ - c.snd_una_));
    EXPECT_LE(static_cast<uint32_t>(c.snd_nxt_ - c.DataBase()),
              c.send_buffer_.size() + (c.fin_sent_ ? 1u : 0u) + (c.syn_unacked_ ? 1u : 0u));
    const bool in_flight = c.snd_nxt_ != c.snd_una_;
    if (in_flight) {
      EXPECT_NE(c.control_.timer(), SendTimer::kNone) << "nothing would resend";
    }
    if (!in_flight && c.HasUnsent() && c.MaySend() && !c.output_queued && !c.pacing_wait_) {
      EXPECT_NE(c.persist_deadline_, Instant::Never()) << "nothing would ever send";
    }
    if (c.ack_pending_ && !c.output_queued) {
      EXPECT_NE(c.delayed_ack_deadline_, Instant::Never()) << "an acknowledgment is forgotten";
    }
    const Instant send = in_flight ? c.control_.timer_deadline() : c.persist_deadline_;
    const Instant first = std::min({send, c.delayed_ack_deadline_, c.life_deadline_});
    if (first != Instant::Never()) {
      ASSERT_TRUE(ctx.timers.IsSet(c.slot_));
      EXPECT_LE(ctx.timers.deadline(c.slot_), first);
    }
    EXPECT_EQ(c.charged_, c.send_buffer_.memory_charged() + c.ReceiveMemory(ctx));
    EXPECT_EQ(static_cast<uint32_t>(c.rcv_nxt_ - c.copied_seq_),
              c.receive_buffer_.size() + (c.fin_received_ ? 1u : 0u));
  }
};

}  // namespace usher::test
