// TCP_INFO: what the connection knows of itself, in the kernel's structure.
#include <linux/tcp.h>

#include <algorithm>
#include <cstring>

#include "tools/packetdrill/socket.h"

namespace usher::packetdrill {
namespace {

// Linux's numbers of the states (net/tcp_states.h).
uint8_t StateNumber(TcpState s) {
  switch (s) {
    case TcpState::kEstablished:
      return 1;
    case TcpState::kSynSent:
      return 2;
    case TcpState::kSynReceived:
      return 3;
    case TcpState::kFinWait1:
      return 4;
    case TcpState::kFinWait2:
      return 5;
    case TcpState::kTimeWait:
      return 6;
    case TcpState::kClosed:
      return 7;
    case TcpState::kCloseWait:
      return 8;
    case TcpState::kLastAck:
      return 9;
    case TcpState::kListen:
      return 10;
    case TcpState::kClosing:
      return 11;
  }
  return 7;
}

constexpr uint32_t kInitialWindow = 10;  // segments

uint32_t Us(Duration d) { return static_cast<uint32_t>(d.us()); }
uint32_t Ms(Duration d) { return static_cast<uint32_t>(d.ms()); }

std::vector<uint8_t> BytesOf(const tcp_info& info) {
  std::vector<uint8_t> bytes(sizeof info);
  std::memcpy(bytes.data(), &info, sizeof info);
  return bytes;
}

}  // namespace

std::vector<uint8_t> Socket::TcpInfoBytes() const {
  tcp_info out{};
  out.tcpi_state = StateNumber(tcp_state());
  if (state_ == State::kListening) {
    const Listener* l = world_.shard().passive_open().Get(handle_);
    if (l != nullptr) {  // what ss shows as Recv-Q and Send-Q
      out.tcpi_unacked = l->accept_queue.length();
      out.tcpi_sacked = l->limits.accept_limit;
    }
    return BytesOf(out);
  }
  const TcpConnection* c = connection();
  if (c == nullptr) return BytesOf(out);
  const TcpInfo in = c->Info(world_.shard().context());
  out.tcpi_ca_state = static_cast<uint8_t>(in.recovery);
  out.tcpi_retransmits = in.timeouts;
  out.tcpi_probes = in.probes;
  out.tcpi_backoff = in.backoff;
  out.tcpi_options =
      static_cast<uint8_t>((in.timestamps ? TCPI_OPT_TIMESTAMPS : 0) |
                           (in.sack ? TCPI_OPT_SACK : 0) | (in.wscale ? TCPI_OPT_WSCALE : 0) |
                           (in.ecn ? TCPI_OPT_ECN : 0) | (in.ecn_seen ? TCPI_OPT_ECN_SEEN : 0));
  out.tcpi_snd_wscale = in.wscale ? in.snd_wscale : 0;
  out.tcpi_rcv_wscale = in.wscale ? in.rcv_wscale : 0;
  out.tcpi_rto = Us(in.rto);
  out.tcpi_ato = Us(in.ato);
  out.tcpi_snd_mss = in.mss;
  out.tcpi_rcv_mss = in.rcvmss;
  out.tcpi_unacked = in.unacked;
  out.tcpi_sacked = in.sacked;
  out.tcpi_lost = in.lost;
  out.tcpi_retrans = in.retrans;
  out.tcpi_last_data_sent = Ms(in.last_sent);
  out.tcpi_last_data_recv = Ms(in.last_received);
  out.tcpi_last_ack_recv = Ms(in.last_ack);
  out.tcpi_pmtu = in.pmtu;
  out.tcpi_rcv_ssthresh = in.rcv_ssthresh;
  out.tcpi_rtt = Us(in.rtt);
  out.tcpi_rttvar = Us(in.rttvar);
  out.tcpi_snd_ssthresh = in.ssthresh == TcpInfo::kNoSsthresh ? INT32_MAX : in.ssthresh;
  out.tcpi_snd_cwnd = in.cwnd;
  out.tcpi_advmss = in.advmss;
  out.tcpi_reordering = in.reordering;
  out.tcpi_rcv_space = kInitialWindow * in.advmss;
  out.tcpi_total_retrans = in.total_retrans;
  out.tcpi_pacing_rate = in.pacing_rate;
  out.tcpi_max_pacing_rate = UINT64_MAX;
  out.tcpi_notsent_bytes = in.not_sent;
  out.tcpi_min_rtt = in.min_rtt == Duration() ? UINT32_MAX : Us(in.min_rtt);
  out.tcpi_bytes_sent = in.bytes_sent;
  out.tcpi_bytes_retrans = in.bytes_retrans;
  out.tcpi_bytes_acked = in.bytes_acked;
  out.tcpi_bytes_received = in.bytes_received;
  const FlowCounts counts = world_.flows().Of(c->tuple());
  out.tcpi_segs_out = counts.segs_out;
  out.tcpi_segs_in = counts.segs_in;
  out.tcpi_data_segs_out = counts.data_segs_out;
  out.tcpi_data_segs_in = counts.data_segs_in;
  out.tcpi_bytes_sent = counts.bytes_sent;
  out.tcpi_bytes_retrans = counts.bytes_retrans;
  // The handshake's own segment counts as one.
  const uint32_t acked = in.bytes_acked + (active_ ? 0 : 1);
  out.tcpi_delivered = 1 + counts.DeliveredUpTo(acked) + in.sacked;
  out.tcpi_reord_seen = in.reordering_seen ? 1 : 0;
  out.tcpi_snd_wnd = in.snd_wnd;
  return BytesOf(out);
}

}  // namespace usher::packetdrill
