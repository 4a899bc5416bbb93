// What a connection tells about itself to whoever looks: the part of Linux's tcp_info that this
// stack has true values for.
//
// Left out because a connection keeps no such counts (each would cost every connection 4 bytes or
// more): segments sent and received, the delivery rate, the times spent busy or limited.
#pragma once

#include <cstdint>
#include <limits>

#include "stack/base/time.h"
#include "stack/tcp/congestion/controller.h"
#include "stack/tcp/recovery/loss_recovery.h"
#include "stack/tcp/types.h"

namespace usher {

// Which timer runs next, in the words of ss.
enum class TimerKind : uint8_t { kOff, kOn, kKeepalive, kTimeWait, kPersist };
const char* ToString(TimerKind kind);  // "on": retransmission, probe or reordering timer

struct TimerInfo {
  TimerKind kind = TimerKind::kOff;
  Duration remaining;       // zero: due
  uint8_t retransmits = 0;  // or unanswered probes
};

struct TcpInfo {
  static constexpr uint32_t kNoSsthresh = std::numeric_limits<uint32_t>::max();

  TcpState state = TcpState::kClosed;
  uint32_t recv_q = 0;  // bytes not read by the application; an unread FIN counts as one
  uint32_t send_q = 0;  // bytes (and SYN, FIN) not acknowledged by the peer
  TimerInfo timer;

  bool timestamps = false;
  bool sack = false;
  bool wscale = false;
  bool ecn = false;
  bool ecn_seen = false;  // the peer marks its data as capable of ECN
  CongestionAlgorithm congestion = CongestionAlgorithm::kCubic;
  uint8_t snd_wscale = 0;
  uint8_t rcv_wscale = 0;

  Duration rto;
  uint8_t backoff = 0;
  Duration rtt;  // smoothed; zero: not measured yet, and so the next two
  Duration rttvar;
  Duration min_rtt;
  Duration ato;  // delayed acknowledgments wait about so long; zero: no data yet
  uint32_t mss = 0;
  uint32_t pmtu = 0;
  uint32_t rcvmss = 0;
  uint32_t advmss = 0;
  uint32_t cwnd = 0;                // segments
  uint32_t ssthresh = kNoSsthresh;  // segments
  Duration last_sent;               // how long ago, data only
  Duration last_received;
  Duration last_ack;
  uint64_t pacing_rate = 0;  // bytes per second; 0: not known
  uint32_t unacked = 0;      // segments sent and not acknowledged
  uint32_t retrans = 0;      // retransmissions in flight
  uint32_t total_retrans = 0;
  uint32_t lost = 0;  // segments
  uint32_t sacked = 0;
  uint32_t reordering = 0;
  bool reordering_seen = false;
  uint32_t rcv_ssthresh = 0;  // bytes
  uint32_t not_sent = 0;      // bytes
  uint32_t snd_wnd = 0;       // bytes
  uint32_t send_limit = 0;    // bytes of memory for what is not acknowledged (SO_SNDBUF)
  uint32_t send_memory = 0;   // taken of that
  // In all, as Linux counts them: payload, resent bytes too, in the first; resent ones modulo 2^32.
  uint64_t bytes_sent = 0;
  uint64_t bytes_retrans = 0;
  uint64_t bytes_acked = 0;     // sequence numbers: an active open's SYN and a FIN count as one
  uint64_t bytes_received = 0;  // likewise: a FIN counts as one
  RecoveryState recovery = RecoveryState::kOpen;
  uint8_t timeouts = 0;  // retransmission timeouts in a row (tcpi_retransmits)
  uint8_t probes = 0;    // of the peer's window or life, unanswered
};

}  // namespace usher
