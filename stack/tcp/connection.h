// One TCP connection, from ESTABLISHED (or SYN-SENT) to its end.
//
// Read in this order: the fields below (RFC 9293 section 3.3.1 names), input.cc (section 3.10.7,
// step by step), ack.cc (what an acknowledgment does), output.cc (the only sender), timers.cc,
// user.cc (the calls of section 3.10). A connection lives in a slot of the shard's pool, knows
// nothing of tables, listeners or applications, and changes only inside calls made by its shard:
// afterwards the shard looks at `fate()` and files it anew (demux, TIME-WAIT, pool).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/ip/egress.h"
#include "stack/packet/slice.h"
#include "stack/tcp/congestion/controller.h"
#include "stack/tcp/context.h"
#include "stack/tcp/info.h"
#include "stack/tcp/out_of_order_queue.h"
#include "stack/tcp/receive_buffer.h"
#include "stack/tcp/recovery/send_control.h"
#include "stack/tcp/segment.h"
#include "stack/tcp/send_buffer.h"
#include "stack/tcp/types.h"

namespace usher {

namespace test {
struct ConnectionPeek;
}

// What a handshake agreed on: how a passive open makes a connection (listen/), and what both ends
// of an active open come to.
struct HandshakeResult {
  FourTuple tuple;
  Path path;
  Seq iss;
  Seq irs;
  uint16_t peer_mss = 536;    // from the peer's MSS option, floor applied
  uint16_t window = 0;        // of the segment that completed the handshake, unscaled
  uint32_t rcv_wnd = 0;       // bytes; the SYN-ACK advertised as much of it as its field can say
  uint32_t window_clamp = 0;  // largest window we may ever advertise, bytes
  uint8_t snd_wscale = 0;
  uint8_t rcv_wscale = 0;
  bool wscale_ok = false;
  bool timestamps_ok = false;
  bool sack_ok = false;
  bool ecn_ok = false;
  uint32_t ts_recent = 0;
  uint32_t ts_offset = 0;
  bool one_segment_window = false;  // SYN-ACKs were lost: RFC 5681 section 3.1
  Duration handshake_rtt;           // zero: not measured
  Instant syn_ack_sent;
};

// An algorithm, or none; in a byte, for there is one in each connection.
class CongestionChoice {
 public:
  constexpr CongestionChoice() = default;
  constexpr CongestionChoice(CongestionAlgorithm a)  // NOLINT(google-explicit-constructor)
      : value_(static_cast<uint8_t>(a)) {}
  constexpr bool has_value() const { return value_ != kNone; }
  constexpr explicit operator bool() const { return has_value(); }
  constexpr CongestionAlgorithm operator*() const {
    return static_cast<CongestionAlgorithm>(value_);
  }
  constexpr CongestionAlgorithm value_or(CongestionAlgorithm otherwise) const {
    return has_value() ? **this : otherwise;
  }

 private:
  static constexpr uint8_t kNone = UINT8_MAX;
  uint8_t value_ = kNone;
};

// Settings of one connection; a listener hands its own to its children.
struct TcpOptionsSet {
  bool no_delay : 1 = false;     // TCP_NODELAY
  bool cork : 1 = false;         // TCP_CORK
  bool more_coming : 1 = false;  // MSG_MORE, until the next write without it
  bool keepalive : 1 = false;    // SO_KEEPALIVE
  bool linger : 1 = false;       // SO_LINGER
  bool oob_inline : 1 = false;   // SO_OOBINLINE
  uint8_t keepalive_probes = 0;
  uint8_t syn_retries = 0;      // TCP_SYNCNT of an active open; 0: tcp_syn_retries
  uint8_t tos = 0;              // IP_TOS or IPV6_TCLASS, without the ECN bits
  uint8_t hop_limit = 0;        // IP_TTL or IPV6_UNICAST_HOPS; 0: the default
  CongestionChoice congestion;  // TCP_CONGESTION; none: tcp_congestion_control
  uint16_t linger_s = 0;
  uint16_t user_mss = 0;          // TCP_MAXSEG; 0: none
  uint16_t keepalive_time_s = 0;  // 0: the sysctl's
  uint16_t keepalive_intvl_s = 0;
  int16_t linger2_s = 0;              // TCP_LINGER2; 0: tcp_fin_timeout, negative: none
  uint32_t user_timeout_ms = 0;       // TCP_USER_TIMEOUT; 0: by tcp_retries2
  uint32_t receive_buffer_bytes = 0;  // 0: tcp_rmem's default
  uint32_t send_buffer_bytes = 0;     // 0: tcp_wmem's default
  // TCP_NOTSENT_LOWAT: writes are taken while fewer bytes than this are unsent, and one that was
  // not is asked for again (OnWritable) once they are fewer than half. 0: tcp_notsent_lowat.
  uint32_t notsent_lowat_bytes = 0;
  // SO_MAX_PACING_RATE in bytes per second: paces, and no faster than this. Pacer::kNoLimit: paced
  // only by an algorithm that needs it.
  uint32_t max_pacing_rate = Pacer::kNoLimit;
};

// The algorithm of a connection with these options.
inline CongestionAlgorithm CongestionOf(const TcpContext& ctx, const TcpOptionsSet& options) {
  return options.congestion.value_or(ctx.congestion);
}

// What an active open with Fast Open has in its SYN (RFC 7413).
struct FastOpenSyn {
  bool has_option = true;           // false: data without a cookie, by configuration
  FastOpenOption cookie;            // length 0 asks for one; then no data
  uint16_t mss = 0;                 // that the peer told when it gave the cookie; 0: not known
  std::span<const uint8_t> data{};  // copied as far as it fits
};

// What the shard has to do with a connection after a call.
enum class Fate : uint8_t {
  kAlive,
  kTimeWait,  // fill a TIME-WAIT record from it (also an orphan in FIN-WAIT-2), then as kClosed
  kClosed,    // take it out of the demux; free the slot once the owner has let go as well
};

// What made a connection: an active open, or a listener from what it remembered.
enum class Origin : uint8_t { kActive, kRequest, kCookie, kFastOpen };

enum class ShutdownHow : uint8_t { kRead, kWrite, kBoth };

struct IoResult {
  size_t bytes = 0;
  Error error = Error::kNone;  // kNone with bytes == 0 from a read: the peer's FIN, end of stream
};

class TcpConnection {
 public:
  // ---- Birth and death (shard and listener) ----
  // An active open (section 3.10.1): sends the SYN. `slot` is the index in the pool and timer
  // wheel. For a key to sign with there is room in the shard's.
  void OpenActive(TcpContext& ctx, uint32_t slot, const FourTuple& tuple, const Path& path,
                  const TcpOptionsSet& options, const FastOpenSyn* fast_open = nullptr,
                  const Md5Key* md5 = nullptr);
  // A completed handshake: ESTABLISHED from the start. `segment` completed it; process it next by
  // Receive, so that data and FIN on it are taken.
  void OpenPassive(TcpContext& ctx, uint32_t slot, const HandshakeResult& handshake,
                   const TcpOptionsSet& options, const Md5Key* md5 = nullptr);
  // A SYN with a valid Fast Open cookie (RFC 7413 section 4.2.2): SYN-RECEIVED, the SYN's data
  // taken from `syn`, the SYN-ACK sent (with `cookie`, if there is one). Both sides may send from
  // here on.
  void OpenFastOpen(TcpContext& ctx, uint32_t slot, const HandshakeResult& handshake,
                    const TcpOptionsSet& options, Segment& syn, const FastOpenOption* cookie);
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
  // Zero-copy without taking: the next contiguous bytes, until the next call.
  IoResult Peek(TcpContext& ctx, std::span<const uint8_t>* out);
  // Copies the next bytes out and leaves them (MSG_PEEK); an error is told, not taken.
  IoResult PeekCopy(std::span<uint8_t> out) const;
  // Drops the first n bytes of what Peek showed.
  void Discard(TcpContext& ctx, size_t n);
  IoResult Write(TcpContext& ctx, std::span<const uint8_t> data);
  // Zero-copy: `data` stays the caller's and unchanged until `release(context)` is called, once,
  // when the peer has acknowledged it or the connection is gone. All or nothing (kAgain).
  IoResult WriteExternal(TcpContext& ctx, std::span<const uint8_t> data, ReleaseFn release,
                         void* context);
  // MSG_OOB: as Write; the last byte, if all were taken, is urgent (urgent.cc).
  IoResult WriteUrgent(TcpContext& ctx, std::span<const uint8_t> data);
  // MSG_OOB: the urgent byte, once. kAgain: pointed at, not here yet; kInvalid: there is none, it
  // was taken or passed, or it is read in line.
  Error ReadUrgent(uint8_t* byte);
  // SIOCATMARK: the next byte to read is the urgent one, or would be.
  bool at_mark() const { return urgent_.marked && rcv_up_ == copied_seq_; }
  // Bytes that Write would take now; 0 makes kEventWritable due.
  size_t WritableBytes(TcpContext& ctx);
  // What poll() calls writable on Linux, and what ends the wait for kEventWritable: a third of the
  // send buffer is free, and less than half of TCP_NOTSENT_LOWAT unsent.
  bool IsWritable(const TcpContext& ctx) const;
  Error Shutdown(TcpContext& ctx, ShutdownHow how);
  // The owner lets go: FIN, or RST if unread data would be lost (RFC 1122 4.2.2.13) or by
  // SO_LINGER.
  void Close(TcpContext& ctx);
  void Abort(TcpContext& ctx);  // RST, section 3.10.5
  void ApplyOptions(TcpContext& ctx, const TcpOptionsSet& options);
  // TCP_QUICKACK: acknowledge at once from now on (what is owed now goes out), or wait for answers
  // to carry acknowledgments. Until the rhythm of the traffic says otherwise, as on Linux.
  void SetQuickAck(TcpContext& ctx, bool quick);
  bool quick_ack() const { return !interactive_; }
  // The application has it now: events that waited for that are due.
  void OnAccepted(TcpContext& ctx);

  // ---- Looking at it ----
  TcpState state() const { return state_; }
  Fate fate() const { return fate_; }
  const FourTuple& tuple() const { return tuple_; }
  Error error() const { return error_; }
  // What ICMP hinted at since the last acknowledgment (sk_err_soft), once.
  Error TakeSoftError() { return std::exchange(soft_error_, Error::kNone); }
  bool has_owner() const { return has_owner_; }
  uint32_t slot() const { return slot_; }
  const TcpOptionsSet& options() const { return options_; }
  uint32_t readable_bytes() const { return receive_buffer_.size(); }
  uint32_t unacked_bytes() const { return send_buffer_.size(); }
  bool peer_closed() const { return fin_received_; }
  bool end_was_read() const { return fin_read_; }
  bool at_end_of_stream() const { return fin_received_ && receive_buffer_.empty(); }
  // The facts that ss shows of it (info.h).
  TcpInfo Info(const TcpContext& ctx) const;
  // Marks of the shard's lists; see TcpContext.
  uint8_t events = 0;  // EventMask, undelivered
  bool event_queued = false;
  bool output_queued = false;
  bool fast_open_pending = false;  // SYN-RECEIVED by Fast Open: counts at its listener
  bool accepted = false;           // handed to the application; no events before
  bool settled = false;            // its end was filed in the demux
  bool buried = false;             // its slot is freed at the end of the pass
  Origin origin = Origin::kActive;
  uint32_t next_accept = 0;   // accept queue link
  uint32_t listener = 0;      // where it came from, with its generation; 0: active open
  void* owner = nullptr;      // whom events go to
  void* user_data = nullptr;  // the application's own

 private:
  friend struct TimeWaitFacts;
  friend struct test::ConnectionPeek;  // tests/support/connection_peek.h

  static constexpr uint32_t kSendOverhead = 896;  // of Linux's records of what is to be sent, each
  static constexpr uint32_t kInitialWindowSegments = 10;  // RFC 6928
  static constexpr uint32_t kNoLowat = UINT32_MAX;        // of tcp_notsent_lowat
  static constexpr Duration kTimeWaitLength = Duration::Seconds(60);
  static constexpr uint32_t kMinPathMtuV4 = 552;  // as Linux's min_pmtu; RFC 5927 section 7
  static constexpr uint32_t kMinPathMtuV6 = 1280;

  static constexpr uint32_t kNoReassembly = ObjectPool<OutOfOrderQueue>::kNone;

  // What is to leave next, and if nothing, why.
  struct NextSegment {
    uint32_t length = 0;
    uint16_t tso_mss = 0;  // not 0: the port cuts it into segments of so many bytes
    bool fin = false;
    SendLimit limit = SendLimit::kApplication;
    bool send = false;
  };

  // -- input.cc: section 3.10.7 --
  void ReceiveInSynSent(TcpContext& ctx, Segment& s);
  void TakePeerSyn(TcpContext& ctx, const Segment& s);
  void Establish(TcpContext& ctx);
  bool AcceptSequence(TcpContext& ctx, Segment& s);
  bool PawsReject(TcpContext& ctx, const Segment& s);
  bool PassReset(TcpContext& ctx, const Segment& s);
  bool PassFastOpen(TcpContext& ctx, Segment& s) {
    if (state_ == TcpState::kSynReceived && fast_open_) [[unlikely]]
      return PassAsRequest(ctx, s);
    return true;
  }
  bool PassAsRequest(TcpContext& ctx, Segment& s);
  void SendHandshakeAck(TcpContext& ctx);
  bool IsResetBehindFin(const Segment& s) const;
  bool PassAck(TcpContext& ctx, Segment& s);
  void AdvanceStateOnAck(TcpContext& ctx);
  void UpdateTsRecent(TcpContext& ctx, const Segment& s);
  uint32_t OfferedWindow(const Segment& s) const;
  bool UpdatesSendWindow(const Segment& s) const;
  bool UpdateSendWindow(TcpContext& ctx, const Segment& s);
  uint32_t ReceiveWindow() const;  // what the peer may still send beyond rcv_nxt_
  void ReceiveText(TcpContext& ctx, Segment& s);
  void TrimToWindow(TcpContext& ctx, Segment& s);
  void QueueInOrder(TcpContext& ctx, Segment& s);
  bool KeepInOrder(TcpContext& ctx, Segment& s);
  void AdvanceRcvNxt(uint32_t length);
  void DrainReassembly(TcpContext& ctx);
  void QueueOutOfOrder(TcpContext& ctx, Segment& s);
  void InsertOutOfOrder(TcpContext& ctx, Segment& s);
  bool IsPlain(const Segment& s) const;
  bool IsAsPredicted(const Segment& s) const;
  bool ResetsBeyondEnd(TcpContext& ctx, Segment& s);
  void ReceiveFin(TcpContext& ctx);
  void MeasureReceive(TcpContext& ctx, uint32_t length);
  void EnterQuickAck(uint32_t most);
  void EnterQuickAckMode();
  void GrowReceiveWindow(TcpContext& ctx, uint32_t length);
  void NoteDuplicate(TcpContext& ctx, SackBlock duplicate);

  // -- ack.cc --
  void TakeAck(TcpContext& ctx, const Segment& s);
  void TakeAcknowledgment(TcpContext& ctx, const Segment& s, bool window_updated);
  void AdvanceSndUna(TcpContext& ctx, Seq ack);
  static void CountRecovery(TcpContext& ctx, uint32_t events);

  // -- ecn.cc: RFC 3168 --
  uint16_t EcnSetup(const TcpContext& ctx, bool with_ack, bool resent) const;
  void BeginEcn(const TcpContext& ctx, bool in_use);
  void TakeEcnOfSyn(const Segment& s);
  void TakeCwr(const Segment& s);
  void TakeEcnOfData(TcpContext& ctx, const Segment& s);
  void EchoExactly(TcpContext& ctx, bool ce);
  void NoteReductions(std::span<const CongestionSignal> signals);
  uint8_t MarkEcn(bool new_data, uint16_t* flags);

  // -- urgent.cc: RFC 6093 --
  static constexpr size_t kUrgentPointerAt = 18;
  void MarkUrgent(Seq seq, TcpHeader* header);
  void TakeUrgent(TcpContext& ctx, const Segment& s);
  void NoteUrgentMark(TcpContext& ctx, Seq mark);
  void PassMark(TcpContext& ctx);
  size_t UpToMark(TcpContext& ctx, size_t most);

  // -- mtu_probe.cc: RFC 4821 --
  uint32_t PacketOverhead() const;
  void StartMtuSearch(const TcpContext& ctx);
  bool MtuSearchOver(const TcpContext& ctx);
  bool SendMtuProbe(TcpContext& ctx);
  void OnAckOfMtuProbe(TcpContext& ctx);
  uint32_t ForgiveMtuProbe(TcpContext& ctx, uint32_t found);
  void OnPerhapsBlackHole(TcpContext& ctx);

  // -- output.cc --
  void WantOutput(TcpContext& ctx);
  void ScheduleAck(TcpContext& ctx);
  bool AckDueNow(const TcpContext& ctx) const;
  bool HasUnsent() const;
  bool MaySend() const;
  bool HoldsBackSmall() const;
  NextSegment ChooseNext(TcpContext& ctx, uint32_t max_payload, uint32_t at_once) const;
  void SendData(TcpContext& ctx);
  bool SendNew(TcpContext& ctx, const NextSegment& next, bool window_probe = false);
  void NoteDataSent(TcpContext& ctx);
  void EmitSegment(TcpContext& ctx, TxFrame& frame, Seq seq, uint32_t length, uint16_t flags,
                   bool new_data = false, uint16_t tso_mss = 0);
  bool BeginData(TcpContext& ctx, TxFrame* frame, uint32_t length, uint16_t tso_mss);
  void AckSent();
  uint32_t SackBlocks(const TcpContext& ctx, std::span<SackBlock> out) const;
  uint32_t FixedOptionSize() const;
  uint32_t MostSackBlocks() const;
  uint32_t SackOptionSize(const TcpContext& ctx) const;
  void WriteOptions(const TcpContext& ctx, uint32_t length, checksum::SummedWriter& out);
  Seq AcceptableSeq() const;
  void SendBare(TcpContext& ctx, Seq seq, uint16_t flags);
  void SendAck(TcpContext& ctx);
  bool OutOfWindowLimited(TcpContext& ctx, Counter skipped);
  void SendChallengeAck(TcpContext& ctx);
  void SendSynChallenge(TcpContext& ctx);
  void SendDuplicateAck(TcpContext& ctx, const Segment& s, Counter skipped);
  void SendRst(TcpContext& ctx);
  void SendResetFor(TcpContext& ctx, Segment& s);
  uint32_t ComputeWindow(const TcpContext& ctx) const;
  uint16_t AdvertiseWindow(TcpContext& ctx);
  void Retransmit(TcpContext& ctx, bool by_timeout = false);
  bool RetransmitOne(TcpContext& ctx, const Retransmission& r);
  void SendLossProbe(TcpContext& ctx);
  void SendWindowProbe(TcpContext& ctx);
  bool EmitSyn(TcpContext& ctx, bool with_ack, const FastOpenOption* cookie = nullptr,
               bool resent = false, uint32_t length = 0);
  bool ResendSyn(TcpContext& ctx);
  void UpdateMss(TcpContext& ctx);

  // -- fast_open_client.cc --
  void PutIntoSyn(TcpContext& ctx, const FastOpenSyn& syn);
  bool ResendDataOfSyn(TcpContext& ctx);

  // -- tso.cc: large segments --
  uint32_t SegmentsAtOnce(const TcpContext& ctx, uint32_t segment) const;
  uint32_t LargeLength(const TcpContext& ctx, uint32_t segment, uint32_t at_once, uint32_t unsent,
                       uint32_t window) const;
  bool DefersLarge(const TcpContext& ctx, uint32_t segment, uint32_t at_once, uint32_t window,
                   SendLimit* limit) const;
  uint32_t SizeGoal() const;
  void FillLarge(TcpContext& ctx, const TxFrame& frame, uint32_t header_length, Seq seq,
                 uint32_t length);

  // -- timers.cc --
  void ArmTimers(TcpContext& ctx);
  // The Flush at the end of the pass arms them, if there will be one: once for all that came.
  void ArmTimersUnlessFlushed(TcpContext& ctx) {
    if (!output_queued) ArmTimers(ctx);
  }
  void OnSendTimer(TcpContext& ctx);
  void OnPersistTimer(TcpContext& ctx);
  void OnDelayedAckTimer(TcpContext& ctx);
  void OnLifeTimer(TcpContext& ctx);
  void ArmDelayedAck(TcpContext& ctx);
  void ArmPersist(TcpContext& ctx);
  void ArmKeepalive(const TcpContext& ctx);
  void OnWindowAfterProbe(TcpContext& ctx);
  Instant UserDeadline(const TcpContext& ctx) const;
  bool RetriedTooLong(const TcpContext& ctx) const;
  bool OrphanStuck(const TcpContext& ctx) const;
  uint32_t OrphanRetries(const TcpContext& ctx) const;
  static Duration BackoffTime(const TcpContext& ctx, uint32_t retries, Duration least);
  Duration KeepaliveTime(const TcpContext& ctx) const;
  TimerInfo NextTimer(const TcpContext& ctx) const;
  void GiveUp(TcpContext& ctx);

  // -- user.cc --
  void Init(TcpContext& ctx, uint32_t slot, const FourTuple& tuple, const Path& path,
            const TcpOptionsSet& options);
  void TakeHandshake(TcpContext& ctx, uint32_t slot, const HandshakeResult& handshake,
                     const TcpOptionsSet& options, const Md5Key* md5 = nullptr);
  void StartTransfer(TcpContext& ctx);
  void BoundReceiveWindow(const TcpContext& ctx);
  IoResult EmptyRead() const;
  std::optional<IoResult> NothingToRead();
  void AfterRead(TcpContext& ctx);
  void TuneReceiveBuffer(TcpContext& ctx);
  Error WriteError() const;
  void NoteWriteBlocked(TcpContext& ctx);
  void EndWriteBlock(TcpContext& ctx);
  uint32_t NotsentLowat(const TcpContext& ctx) const {
    const uint32_t own = options_.notsent_lowat_bytes;
    return own != 0 ? own : ctx.sysctls.tcp_notsent_lowat;
  }
  uint32_t UnsentBytes() const { return static_cast<uint32_t>(WriteEnd() - snd_nxt_); }
  bool FewUnsent(const TcpContext& ctx) const;
  size_t UnsentRoom(const TcpContext& ctx) const;
  void QueueFin(TcpContext& ctx);
  void Orphan(TcpContext& ctx);
  void EnterFinWait2Orphaned(TcpContext& ctx, Segment* s = nullptr);
  Duration FinTimeout(const TcpContext& ctx) const;
  void LowerPathMtu(TcpContext& ctx, uint32_t mtu);
  void Raise(TcpContext& ctx, uint8_t event);
  void QueueEvents(TcpContext& ctx);
  void Enter(TcpContext& ctx, TcpState state);
  void Die(TcpContext& ctx, Error error);  // -> CLOSED; sends nothing
  void EnterTimeWait(TcpContext& ctx, TcpState substate);
  uint32_t ReceiveBufferLimit(const TcpContext& ctx) const;
  uint32_t FullReceiveSpace(const TcpContext& ctx) const;
  uint32_t SendMemoryLimit(const TcpContext& ctx) const;
  uint32_t SendMemory() const;
  uint32_t SendBufferLimit(const TcpContext& ctx) const;
  uint32_t ReassemblyLimit(const TcpContext& ctx) const;
  bool AdmitReceiveMemory(TcpContext& ctx);
  bool AdmitSendMemory(const TcpContext& ctx) const;
  void ChargeMemory(TcpContext& ctx);
  // What arrived beyond a hole lies in a queue of the shard's, there only while it holds anything.
  bool HasOutOfOrder() const { return out_of_order_ != kNoReassembly; }
  OutOfOrderQueue& OutOfOrder(const TcpContext& ctx) const { return ctx.reassembly[out_of_order_]; }
  void ClearOutOfOrder(TcpContext& ctx);
  uint32_t ReceiveMemory(const TcpContext& ctx) const;

  static RecoveryContext Recovery(const TcpContext& ctx);
  Duration Rto(const TcpContext& ctx) const {
    return control_.recovery().rto(ctx.recovery_settings);
  }
  // The sequence number of the first byte in the send buffer, and of the byte behind its last.
  Seq DataBase() const { return snd_una_ + (syn_unacked_ ? 1 : 0); }
  Seq WriteEnd() const { return DataBase() + send_buffer_.size(); }

  // What both sides agreed to use.
  struct NegotiatedOptions {
    bool timestamps : 1 = false;
    bool sack : 1 = false;
    bool wscale : 1 = false;
    bool dsack : 1 = false;  // whether duplicates may be reported, given SACK (tcp_dsack)
  };

  // -- Name, state --
  FourTuple tuple_;
  Path path_;
  uint32_t slot_ = 0;
  TcpState state_ = TcpState::kClosed;
  TcpState time_wait_substate_ = TcpState::kTimeWait;
  Fate fate_ = Fate::kAlive;
  Error error_ = Error::kNone;
  Error soft_error_ = Error::kNone;  // an ICMP hint, for when the connection times out
  NegotiatedOptions options_in_use_;
  uint8_t snd_wscale_ = 0;
  uint8_t rcv_wscale_ = 0;

  // -- Send sequence space (section 3.3.1) --
  Seq iss_;
  Seq snd_una_;
  Seq snd_nxt_;
  Seq snd_wl1_;
  Seq snd_sml_;              // end of the last segment smaller than the MSS (Minshall)
  uint32_t snd_wnd_ = 0;     // bytes
  uint32_t max_window_ = 0;  // largest snd_wnd_ ever (MAX.SND.WND, RFC 5961)

  // -- Receive sequence space --
  Seq irs_;
  Seq rcv_nxt_;
  Seq rcv_wup_;                        // rcv_nxt_ when last advertised (Last.ACK.sent, RFC 7323)
  Seq copied_seq_;                     // first number the application has not read
  uint32_t rcv_wnd_ = 0;               // bytes, advertised at rcv_wup_
  uint32_t rcv_ssthresh_ = 0;          // the window offered at most now; grows with data
  uint32_t window_clamp_ = 0;          // the window ever offered at most
  uint32_t receive_buffer_limit_ = 0;  // as tuned; 0: not tuned

  // -- Options and sizes --
  uint16_t peer_mss_ = 536;
  uint16_t mss_ = 536;  // payload of a full segment without SACK blocks
  uint16_t advertised_mss_ = 536;
  uint16_t rcv_mss_ = 536;  // estimate of what the peer sends
  uint32_t ts_recent_ = 0;
  uint32_t ts_offset_ = 0;
  uint32_t ts_recent_s_ = 0;  // when ts_recent_ came, in seconds of the shard's clock

  // -- Acknowledging --
  SackBlock dsack_;
  uint16_t ack_timeout_ms_ = 0;   // 0: no data yet
  uint16_t time_wait_ms_ = 0;     // how long the small record that follows lives
  uint8_t quick_acks_ = 0;        // acknowledgments still to be sent at once
  uint8_t probes_out_ = 0;        // unanswered, of the peer's window or life (icsk_probes_out)
  uint8_t persist_backoff_ = 0;   // goes on growing while the peer answers with a closed window
  bool interactive_ : 1 = false;  // answers follow requests: they carry the ACKs
  bool ack_pending_ : 1 = false;
  bool ack_now_ : 1 = false;
  bool has_dsack_ : 1 = false;
  bool out_of_window_acked_ : 1 = false;

  // -- Marks --
  bool has_owner_ : 1 = false;
  bool counted_orphan_ : 1 = false;
  bool syn_unacked_ : 1 = false;
  bool fin_queued_ : 1 = false;    // the application has closed its side
  bool fin_deferred_ : 1 = false;  // ... in SYN-RECEIVED: queued once established
  bool fin_sent_ : 1 = false;
  bool fin_received_ : 1 = false;
  bool fin_read_ : 1 = false;          // the application knows
  bool fin_received_now_ : 1 = false;  // within one call of Receive
  bool shut_read_ : 1 = false;
  bool error_reported_ : 1 = false;
  bool acked_much_ : 1 = false;     // 1 GiB or more: as much as any window
  bool more_coming_ : 1 = false;    // the last write had MSG_MORE
  bool write_blocked_ : 1 = false;  // a Write was cut short: kEventWritable is due
  bool retransmit_due_ : 1 = false;
  bool send_new_first_ : 1 = false;
  bool one_segment_window_ : 1 = false;
  bool passive_ : 1 = false;
  bool fast_open_ : 1 = false;    // may send in SYN-RECEIVED
  bool pacing_wait_ : 1 = false;  // something would leave now, were it not for pacing

  // Explicit congestion notification (ecn.cc). In a byte of its own: the sender asks one question.
  struct EcnState {
    bool in_use : 1 = false;    // both sides agreed; in SYN-SENT: asked for
    bool seen : 1 = false;      // the peer's data came marked as capable of it
    bool echo : 1 = false;      // congestion was experienced: ECE on what we send, until CWR comes
    bool send_cwr : 1 = false;  // the window was reduced: the next new data says so
    bool dctcp : 1 = false;     // RFC 8257: `echo` says exactly which bytes met congestion
  };
  EcnState ecn_;

  // Urgent data (urgent.cc).
  struct UrgentState {
    bool sending : 1 = false;  // up to snd_up_
    bool marked : 1 = false;   // rcv_up_ was not read past yet
    bool arrived : 1 = false;  // urgent_byte_ is here
    bool taken : 1 = false;
  };
  UrgentState urgent_;
  uint8_t urgent_byte_ = 0;
  uint16_t md5_key_ = Md5Keys::kNone;  // of ctx.md5_keys, held; here it fills a gap

  // The search for the path's MTU (mtu_probe.cc). Sizes of IP packets.
  struct MtuSearch {
    uint16_t low = 0;    // gets through; 0: no search
    uint16_t high = 0;   // what is larger does not
    uint16_t probe = 0;  // of the probe that is out; 0: none
    uint16_t since_s = 0;
    Seq probe_seq;  // its first byte
  };
  MtuSearch mtu_;
  Seq snd_up_;  // behind the last urgent byte we sent
  Seq rcv_up_;  // the peer's urgent byte

  // -- Times --
  MilliStamp last_progress_;  // snd_una_ moved, or sending began
  MilliStamp last_data_received_;
  MilliStamp last_data_sent_;
  MilliStamp last_ack_received_;
  MilliStamp last_out_of_window_ack_;
  MilliStamp orphaned_at_;
  // How often snd_una_ has passed iss_, and rcv_nxt_ irs_: the upper part of what info.h counts.
  uint16_t snd_wraps_ = 0;
  uint16_t rcv_wraps_ = 0;
  Instant delayed_ack_deadline_ = Instant::Never();
  Instant persist_deadline_ = Instant::Never();
  Instant life_deadline_ = Instant::Never();
  MilliStamp tune_started_;
  Seq tune_seq_;
  uint32_t tune_space_ = 0;

  // -- Buffers and control --
  uint32_t out_of_order_ = kNoReassembly;  // in ctx.reassembly
  uint32_t charged_ = 0;                   // bytes of tcp_mem
  SendBuffer send_buffer_;
  TcpOptionsSet options_;  // here for its size
  ReceiveBuffer receive_buffer_;
  SendControl control_;
};
static_assert(sizeof(TcpConnection) <= 696);  // all in: tests/unit/shard/memory_test.cc

}  // namespace usher
