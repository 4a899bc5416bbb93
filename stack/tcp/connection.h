// One TCP connection, from ESTABLISHED (or SYN-SENT) to its end.
//
// Read in this order: the fields below (RFC 9293 section 3.3.1 names), input.cc (section 3.10.7, step
// by step), ack.cc (what an acknowledgment does), output.cc (the only sender), timers.cc, user.cc
// (the calls of section 3.10). A connection lives in a slot of the shard's pool, knows nothing of
// tables, listeners or applications, and changes only inside calls made by its shard: afterwards the
// shard looks at `fate()` and files it anew (demux, TIME-WAIT, pool).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/ip/egress.h"
#include "stack/packet/slice.h"
#include "stack/tcp/congestion/controller.h"
#include "stack/tcp/context.h"
#include "stack/tcp/reassembly.h"
#include "stack/tcp/receive_buffer.h"
#include "stack/tcp/recovery/loss_recovery.h"
#include "stack/tcp/segment.h"
#include "stack/tcp/send_buffer.h"
#include "stack/tcp/types.h"

namespace usher {

// What a handshake agreed on: how a passive open makes a connection (listen/), and what both ends of
// an active open come to.
struct HandshakeResult {
  FourTuple tuple;
  Path path;
  Seq iss;
  Seq irs;
  uint16_t peer_mss = 536;       // from the peer's MSS option, floor applied
  uint16_t window = 0;           // of the segment that completed the handshake, unscaled
  uint32_t rcv_wnd = 0;          // what our SYN-ACK advertised, bytes
  uint32_t window_clamp = 0;     // largest window we may ever advertise, bytes
  uint8_t snd_wscale = 0;
  uint8_t rcv_wscale = 0;
  bool wscale_ok = false;
  bool timestamps_ok = false;
  bool sack_ok = false;
  bool ecn_ok = false;
  uint32_t ts_recent = 0;
  uint32_t ts_offset = 0;
  bool one_segment_window = false;  // SYN-ACKs were lost: RFC 6298 section 5.7
  Duration handshake_rtt;           // zero: not measured (retransmitted, or a cookie)
  Instant syn_ack_sent;
};

// Settings of one connection; a listener hands its own to its children.
struct TcpOptionsSet {
  bool no_delay = false;          // TCP_NODELAY
  bool cork = false;              // TCP_CORK
  bool keepalive = false;         // SO_KEEPALIVE
  bool linger = false;            // SO_LINGER
  bool window_locked = false;     // SO_RCVBUF was set: no auto-tuning
  uint16_t linger_s = 0;
  uint16_t user_mss = 0;          // TCP_MAXSEG; 0: none
  uint32_t keepalive_time_s = 0;  // 0: the sysctl's
  uint32_t keepalive_intvl_s = 0;
  uint16_t keepalive_probes = 0;
  int16_t linger2_s = 0;          // TCP_LINGER2; 0: tcp_fin_timeout, negative: none
  uint32_t user_timeout_ms = 0;   // TCP_USER_TIMEOUT; 0: by tcp_retries2
  uint32_t receive_buffer_bytes = 0;  // 0: tcp_rmem's default
  uint32_t send_buffer_bytes = 0;     // 0: tcp_wmem's default
  CongestionAlgorithm congestion = CongestionAlgorithm::kCubic;
};

// What the shard has to do with a connection after a call.
enum class Fate : uint8_t {
  kAlive,
  kTimeWait,  // fill a TIME-WAIT record from it (also an orphan in FIN-WAIT-2), then as kClosed
  kClosed,    // take it out of the demux; free the slot once the owner has let go as well
};

enum class ShutdownHow : uint8_t { kRead, kWrite, kBoth };

struct IoResult {
  size_t bytes = 0;
  Error error = Error::kNone;  // kNone with bytes == 0 from a read: the peer's FIN, end of stream
};

class TcpConnection {
 public:
  // ---- Birth and death (shard and listener) ----
  // An active open (section 3.10.1): sends the SYN. `slot` is the index in the pool and timer wheel.
  void OpenActive(TcpContext& ctx, uint32_t slot, const FourTuple& tuple, const Path& path,
                  const TcpOptionsSet& options);
  // A completed handshake: ESTABLISHED from the start. `segment` completed it; process it next by
  // Receive, so that data and FIN on it are taken.
  void OpenPassive(TcpContext& ctx, uint32_t slot, const HandshakeResult& handshake,
                   const TcpOptionsSet& options);
  // Gives back everything it holds. The slot may be freed afterwards.
  void Destroy(TcpContext& ctx);

  // ---- What happens to it (shard) ----
  // A segment of this connection (section 3.10.7). Takes the packet's buffer over when it keeps the
  // payload (segment.packet->packet.handle is null then).
  void Receive(TcpContext& ctx, Segment& segment);
  void OnTimer(TcpContext& ctx);
  void OnIcmpError(TcpContext& ctx, const IcmpError& error);
  // Sends what is owed: data as windows allow, or the acknowledgment. Called once at the end of a
  // pass for each connection in the context's output list.
  void Flush(TcpContext& ctx);

  // ---- The user's calls (section 3.10) ----
  IoResult Read(TcpContext& ctx, std::span<uint8_t> out);
  // Zero-copy: up to `max` contiguous bytes, the buffer shared until the slice dies.
  IoResult ReadSlice(TcpContext& ctx, uint32_t max, Slice* out);
  IoResult Write(TcpContext& ctx, std::span<const uint8_t> data);
  // Zero-copy: `data` stays the caller's and unchanged until `release(context)` is called, once, when
  // the peer has acknowledged it or the connection is gone. All or nothing (kAgain).
  IoResult WriteExternal(TcpContext& ctx, std::span<const uint8_t> data, ReleaseFn release,
                         void* context);
  Error Shutdown(TcpContext& ctx, ShutdownHow how);
  // The owner lets go: FIN, or RST if unread data would be lost (RFC 1122 4.2.2.13) or by SO_LINGER.
  void Close(TcpContext& ctx);
  void Abort(TcpContext& ctx);  // RST, section 3.10.5
  void ApplyOptions(TcpContext& ctx, const TcpOptionsSet& options);

  // ---- Looking at it ----
  TcpState state() const { return state_; }
  Fate fate() const { return fate_; }
  const FourTuple& tuple() const { return tuple_; }
  Error error() const { return error_; }
  bool has_owner() const { return has_owner_; }
  uint32_t slot() const { return slot_; }
  const TcpOptionsSet& options() const { return options_; }
  uint32_t readable_bytes() const { return receive_buffer_.size(); }
  uint32_t unacked_bytes() const { return send_buffer_.size(); }
  bool at_end_of_stream() const { return fin_received_ && receive_buffer_.size() == 0; }
  struct Info;  // TCP_INFO; info.h
  void FillInfo(const TcpContext& ctx, Info* info) const;

  // Links and marks of the shard's lists; see TcpContext.
  TcpConnection* next_event = nullptr;
  TcpConnection* next_output = nullptr;
  uint8_t events = 0;            // EventMask, undelivered
  bool event_queued = false;
  bool output_queued = false;
  bool accepted = false;         // handed to the application; no events before
  uint32_t generation = 0;       // of the slot, for handles
  uint32_t next_accept = 0;      // accept queue link
  uint32_t listener = 0;         // where it came from, with its generation; 0: active open
  void* user_data = nullptr;

 private:
  friend class TimeWaitTable;
};

}  // namespace usher
