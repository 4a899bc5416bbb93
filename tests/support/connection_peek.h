// What tests may see of a connection's inside, and the rules that hold between its fields.
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "stack/tcp/connection.h"

namespace usher::test {

struct ConnectionPeek {
  const TcpConnection& c;

  Seq snd_una() const { return c.snd_una_; }
  Seq snd_nxt() const { return c.snd_nxt_; }
  uint32_t snd_wnd() const { return c.snd_wnd_; }
  Seq rcv_nxt() const { return c.rcv_nxt_; }
  uint32_t rcv_wnd() const { return c.ReceiveWindow(); }
  uint32_t rcv_ssthresh() const { return c.rcv_ssthresh_; }
  uint32_t cwnd() const { return c.control_.congestion().cwnd_bytes(); }
  uint32_t mss() const { return c.mss_; }
  const LossRecovery& recovery() const { return c.control_.recovery(); }
  bool out_of_order_empty() const { return !c.HasOutOfOrder(); }
  bool ack_pending() const { return c.ack_pending_; }

  // Everything that decides what it does next, as text; buffers by their sizes, times as they
  // stand.
  std::string Describe(const TcpContext& ctx) const {
    std::ostringstream out;
    const auto show = [&out](const char* name, auto... values) {
      out << ' ' << name;
      ((out << ' ' << +values), ...);
    };
    const LossRecovery& r = recovery();
    const CongestionController& w = c.control_.congestion();
    const auto n = [](Seq seq) { return seq.value(); };
    const auto ms = [](MilliStamp stamp) { return stamp.MillisAfter(MilliStamp()); };
    show("state", static_cast<int>(c.state_), static_cast<int>(c.fate_), static_cast<int>(c.error_),
         static_cast<int>(c.soft_error_), c.events);
    show("snd", n(c.snd_una_), n(c.snd_nxt_), c.snd_wnd_, n(c.snd_wl1_), n(c.snd_sml_),
         c.max_window_, c.mss_);
    show("rcv", n(c.rcv_nxt_), n(c.rcv_wup_), n(c.copied_seq_), c.rcv_wnd_, c.rcv_ssthresh_,
         c.receive_buffer_limit_, c.rcv_mss_, c.receive_buffer_.size(), c.ReceiveMemory(ctx));
    show("ts", c.ts_recent_, c.ts_recent_s_);
    show("ack", c.ack_timeout_ms_, c.quick_acks_, bool{c.interactive_}, bool{c.ack_pending_},
         bool{c.ack_now_}, bool{c.has_dsack_}, bool{c.out_of_window_acked_}, n(c.dsack_.begin),
         n(c.dsack_.end));
    show("probes", c.probes_out_, c.persist_backoff_);
    show("marks", bool{c.fin_queued_}, bool{c.fin_sent_}, bool{c.fin_received_}, bool{c.fin_read_},
         bool{c.fin_received_now_}, bool{c.write_blocked_}, bool{c.retransmit_due_},
         bool{c.send_new_first_}, bool{c.pacing_wait_}, bool{c.acked_much_}, c.output_queued);
    show("ecn", bool{c.ecn_.in_use}, bool{c.ecn_.seen}, bool{c.ecn_.echo}, bool{c.ecn_.send_cwr});
    show("urgent", bool{c.urgent_.sending}, bool{c.urgent_.marked}, bool{c.urgent_.arrived},
         bool{c.urgent_.taken}, n(c.snd_up_), n(c.rcv_up_));
    show("times", ms(c.last_progress_), ms(c.last_data_received_), ms(c.last_data_sent_),
         ms(c.last_ack_received_), ms(c.last_out_of_window_ack_), c.delayed_ack_deadline_.ns(),
         c.persist_deadline_.ns(), c.life_deadline_.ns(), ms(c.tune_started_), n(c.tune_seq_),
         c.tune_space_);
    show("memory", c.charged_, c.send_buffer_.size(), c.send_buffer_.memory_charged());
    show("recovery", static_cast<int>(r.state()), static_cast<int>(r.timer()),
         r.timer_deadline().ns(), r.timeouts(), r.reordering(), r.reordering_seen(),
         r.in_flight_bytes(ctx.sent_segments), r.sacked_segments(), r.segments_resent(),
         r.delivered_bytes(), r.retransmitting(), r.queue().segments_out(),
         r.queue().lost_segments(), r.queue().retransmitted_segments(),
         r.rack().reorder_window_steps(), r.rack().ShouldDetect());
    show("rtt", r.rtt().srtt().ns(), r.rtt().rttvar().ns(), r.rtt().mean_deviation().ns(),
         r.rtt().min_rtt().ns(), r.rtt().backoff(), c.Rto(ctx).ns());
    show("window", w.cwnd_bytes(), w.ssthresh_bytes(), w.is_cwnd_limited());
    show("pace", c.control_.pacing_rate(TcpConnection::Recovery(ctx)),
         c.control_.pacing_deadline().ns(), ms(c.control_.last_sent()));
    return out.str();
  }

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
