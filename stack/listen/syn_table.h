// Half-open requests: connections of which only the SYN has been seen and a SYN-ACK been sent
// (SYN-RECEIVED, RFC 9293 section 3.3.2).
//
// A request is all that an unfinished handshake costs: one cache line for IPv4, two for IPv6, and
// a timer. It has no buffers and no connection; both come with the final ACK. How many there are
// is bounded by the listener (backlog.h) and by the table.
#pragma once

#include <cstdint>

#include "stack/base/seq.h"
#include "stack/ip/egress.h"
#include "stack/tcp/small_records.h"

namespace usher {

// What is remembered of a SYN and of the SYN-ACK that answered it.
struct Request {
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  Seq irs;
  Seq iss;
  uint32_t ts_recent = 0;    // the peer's TSval, to be echoed
  uint32_t first_tsval = 0;  // of our SYN-ACKs: an echo must lie between these two
  uint32_t last_tsval = 0;
  uint32_t listener = 0;         // its id
  uint32_t last_answer_ms = 0;   // for tcp_invalid_ratelimit; 0: none yet
  uint32_t syn_ack_sent_us = 0;  // the first one, low 32 bits: for the round-trip time
  Path path;                     // not valid until something other than a reply was sent
  uint16_t peer_mss = 536;
  uint16_t rcv_wnd = 0;     // as advertised, bytes
  uint8_t num_retrans = 0;  // SYN-ACKs sent again, for whatever reason
  uint8_t num_timeout = 0;  // of these, by the timer; also its backoff
  uint8_t snd_wscale : 4 = 0;
  uint8_t rcv_wscale : 4 = 0;
  bool wscale_ok : 1 = false;
  bool timestamps_ok : 1 = false;
  bool timestamps_shifted : 1 = false;  // by the per-tuple offset (tcp_timestamps = 1)
  bool sack_ok : 1 = false;
  bool acked : 1 = false;      // the right ACK came, and could not be taken or was to be deferred
  bool reuseport : 1 = false;  // its listener is one of a group: it may migrate
  bool has_saved_syn : 1 = false;
  bool ecn_ok : 1 = false;

  bool young() const { return num_timeout == 0; }
};

// The requests of one shard.
using SynTable = SmallRecords<Request>;

}  // namespace usher
