// Loss detection of one connection: which data is lost, when a recovery begins, ends or proves
// needless, and which timer is wanted. It knows nothing of congestion windows: what congestion
// control must hear stands in order in AckOutcome::signals, and SendControl (send_control.h) hands
// it on.
//
// States are Linux's: Open; Disorder (something SACKed, nothing known lost); Cwr (reduction without
// loss: ECN or a probe's loss); Recovery (fast); Loss (after a retransmission timeout).
// With SACK, loss is told by RACK-TLP (RFC 8985); without, by duplicate acknowledgments (RFC 5681,
// RFC 6582). A needless recovery is undone by timestamps (Eifel, RFC 3522, 4015), by D-SACK
// (RFC 2883, 3708) or by F-RTO (RFC 5682).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/recovery/micros.h"
#include "stack/tcp/recovery/rack_tlp.h"
#include "stack/tcp/recovery/rate_sample.h"
#include "stack/tcp/recovery/rtt.h"
#include "stack/tcp/recovery/sent_queue.h"

namespace usher {

// What every entry point is given beside its own arguments.
struct RecoveryContext {
  FrozenInstant now;
  SentSegmentPool& pool;
  const RecoverySettings& settings;
  bool linear_timeout = false;  // a timeout now does not back off (tcp_syn_linear_timeouts)
};

enum class RecoveryState : uint8_t { kOpen, kDisorder, kCwr, kRecovery, kLoss };

// The one timer of the sender: exactly one kind runs at a time, as in Linux.
enum class SendTimer : uint8_t { kNone, kRetransmit, kLossProbe, kReorder };

// What happened, as bits; the connection counts each under the name behind it.
struct RecoveryEvent {
  enum Bit : uint32_t {
    kSackRecovery = 1u << 0,          // TCPSackRecovery
    kRenoRecovery = 1u << 1,          // TCPRenoRecovery
    kSackReneging = 1u << 2,          // TCPSACKReneging
    kSackReordering = 1u << 3,        // TCPSACKReorder
    kRenoReordering = 1u << 4,        // TCPRenoReorder
    kTimestampReordering = 1u << 5,   // TCPTSReorder
    kFullUndo = 1u << 6,              // TCPFullUndo
    kPartialUndo = 1u << 7,           // TCPPartialUndo
    kDsackUndo = 1u << 8,             // TCPDSACKUndo
    kLossUndo = 1u << 9,              // TCPLossUndo
    kSpuriousRto = 1u << 10,          // TCPSpuriousRTOs
    kLossProbe = 1u << 12,            // TCPLossProbes
    kLossProbeRecovery = 1u << 13,    // TCPLossProbeRecovery
    kTimeout = 1u << 14,              // TCPTimeouts
    kDsackReceived = 1u << 15,        // TCPDSACKRecv
    kDsackOfoReceived = 1u << 16,     // TCPDSACKOfoRecv (D-SACK above SND.UNA)
    kSackDiscarded = 1u << 17,        // TCPSACKDiscard
    kDsackIgnoredOld = 1u << 18,      // TCPDSACKIgnoredOld
    kDsackIgnoredNoUndo = 1u << 19,   // TCPDSACKIgnoredNoUndo
    kRenoFailure = 1u << 20,          // TCPRenoFailures: timeout in Disorder without SACK
    kSackFailure = 1u << 21,          // TCPSackFailures: timeout in Disorder with SACK
    kRenoRecoveryFailure = 1u << 22,  // TCPRenoRecoveryFail: timeout in Recovery without SACK
    kSackRecoveryFailure = 1u << 23,  // TCPSackRecoveryFail
    kLossFailure = 1u << 24,          // TCPLossFailures: timeout in Loss
    kFastRetransmit = 1u << 25,       // TCPFastRetrans (a retransmission in Recovery or Cwr)
    kSlowStartRetransmit = 1u << 26,  // TCPSlowStartRetrans (in Loss)
    kEnteredRecovery = 1u << 27,      // not counted: a fast recovery began ...
    kLeftRecovery = 1u << 28,         // ... or ended
    kDsackIgnoredDubious = 1u << 29,  // TCPDSACKIgnoredDubious
  };
};

// For congestion control, in the order it happened.
enum class CongestionSignal : uint8_t {
  kReduce,         // loss: new ssthresh, PRR begins
  kReduceForMark,  // the same for ECN
  kLossAfterMark,  // loss while a reduction for ECN is under way: no new one, but known
  kEndReduction,   // PRR ends: cwnd becomes ssthresh
  kUndo,           // the last reduction was needless: back to what was before
  kTimeout,        // retransmission timeout: new ssthresh, cwnd to one segment over the pipe
  kRepeatTimeout,  // another in the same window: cwnd alone
};

struct CongestionSignals {
  std::array<CongestionSignal, 6> list{};
  uint8_t count = 0;
  void Add(CongestionSignal s) {
    if (count < list.size()) list[count++] = s;
  }
  std::span<const CongestionSignal> view() const { return {list.data(), count}; }
};

// One acceptable acknowledgment: snd_una <= ack <= snd_nxt, or a duplicate or older one with SACK.
struct AckInput {
  Seq ack;
  Seq snd_una;  // before this acknowledgment
  Seq snd_nxt;
  std::span<const SeqRange>
      sack;               // as received; the first may be a D-SACK; empty if not negotiated
  bool has_data = false;  // the segment carried data, SYN or FIN
  // It is the newest word on the window, be that the same as before; what is not, and acknowledges
  // nothing, is a duplicate. RFC 5681 section 2 asks whether the window is another; Linux, and so
  // this, takes the first acknowledgment behind data of the peer's for no duplicate.
  bool window_updated = false;
  bool ece = false;  // ECN-Echo, with ECN negotiated
  // The one timeout there was is to have no consequence: a Fast Open child's SYN-ACK was sent
  // again.
  bool timeout_is_void = false;
  // The timestamp echo, when timestamps are in use, as a value of our clock: Instant::ms() modulo
  // 2^32, without the offset added per connection. Absent on segments without the option.
  std::optional<uint32_t> ts_echo_ms;
  uint32_t max_window = 0;    // the largest window the peer ever offered, for old D-SACKs
  bool can_send_new = false;  // unsent data and window for it (F-RTO step 2b)
};

struct AckOutcome {
  uint32_t acked_bytes = 0;      // by the cumulative acknowledgment
  uint32_t sacked_bytes = 0;     // newly SACKed
  uint32_t delivered_bytes = 0;  // both, none twice; with Reno's emulated SACKs
  uint32_t delivered_segments = 0;
  uint32_t lost_bytes = 0;            // newly marked lost
  uint32_t dsack_segments = 0;        // that came twice, by a D-SACK that may be true
  uint32_t lost_retransmissions = 0;  // segments
  uint32_t prior_in_flight_bytes = 0;
  bool snd_una_advanced = false;
  bool in_reduction = false;    // Cwr or Recovery now: PRR sets the cwnd
  bool may_raise_cwnd = false;  // this acknowledgment may grow it
  bool retransmit = false;      // lost data waits to be sent: call NextRetransmission
  bool send_new_first = false;  // F-RTO step 2b: send new data, not retransmissions
  std::optional<Duration> rtt;  // a sample, taken into the estimator already
  uint32_t events = 0;          // RecoveryEvent bits
  CongestionSignals signals;
  RateSample rate;
};

struct TimerOutcome {
  enum class Action : uint8_t {
    kNone,
    kRetransmit,  // Loss or Recovery: send what NextRetransmission gives, within the budget
    kProbe,       // send one new segment even beyond cwnd, or else what ProbeSegment gives
  };
  Action action = Action::kNone;
  uint32_t lost_bytes = 0;
  uint32_t lost_retransmissions = 0;  // segments
  uint32_t events = 0;
  CongestionSignals signals;
};

// One retransmission to make: resend [seq, seq + length); then call OnRetransmitted(index).
struct Retransmission {
  SegmentIndex index = kNoSegment;
  Seq seq;
  uint32_t length = 0;  // in sequence space
  bool syn = false;
  bool fin = false;
  bool push = false;
};

// Per connection; not thread-safe. Owns the sent queue and the round-trip estimator.
class LossRecovery {
 public:
  LossRecovery() = default;
  LossRecovery(const LossRecovery&) = delete;
  LossRecovery& operator=(const LossRecovery&) = delete;

  // What the handshake agreed on; mss of what is sent (without options). Before the first OnSent,
  // or again when the handshake is done (active open: the SYN is recorded before SACK is known).
  void Configure(const RecoverySettings& settings, uint32_t mss, bool sack_permitted);
  // Path MTU or options changed the size of what is sent.
  void set_mss(uint32_t mss) { mss_ = mss; }
  // After the path turned out narrower (RFC 1191 section 6.5): what is longer than mss() never got
  // through and is to be sent again in pieces, at once and without a reduction. True if there is
  // such.
  bool ResendTooLong(const RecoveryContext& context);
  // The same for all that is out: a peer that took a SYN without its data.
  bool ResendAll(const RecoveryContext& context);

  // After a recovery began: if nothing is lost but the record that begins with `probe`, and that is
  // first, its size was the reason (RFC 4821 section 7.7): it is still to be sent again, in pieces,
  // but there is nothing to recover from. True: so it is; take the reduction back.
  bool ForgiveMtuProbe(const RecoveryContext& context, Seq probe);

  // New data, SYN or FIN at snd_nxt is leaving. Call before handing it to egress; false when
  // the pool refuses, then do not send. flags: SentSegment::kSyn, kFin.
  bool OnSent(const RecoveryContext& context, Seq seq, uint32_t length, uint8_t flags);
  // The application has no more to send although cwnd would allow (for the delivery rate).
  void OnAppLimited(const RecoveryContext& context);
  // After a pass that sent new data: arms the loss probe.
  void OnSendPassEnd(const RecoveryContext& context);
  // Record `index` was sent again. Returns RecoveryEvent bits.
  uint32_t OnRetransmitted(const RecoveryContext& context, SegmentIndex index);
  AckOutcome OnAck(const RecoveryContext& context, const AckInput& input);
  // The timer that timer() named fired. Does nothing when its deadline is not reached.
  TimerOutcome OnTimer(const RecoveryContext& context);
  // What is out is to be sent again within `at_most`: nothing could be resent now (no buffer), or
  // it is known to be lost.
  static constexpr Duration kResourceProbeInterval = Duration::Millis(500);  // as Linux
  void RetryTimerSoon(const RecoveryContext& context, Duration at_most = kResourceProbeInterval);

  // The next lost data, of max_length at most (a FIN may ride on top), in whole segments of
  // `segment` bytes unless that is more; or none.
  std::optional<Retransmission> NextRetransmission(const RecoveryContext& context,
                                                   uint32_t max_length, uint32_t segment);
  std::optional<Retransmission> NextRetransmission(const RecoveryContext& context,
                                                   uint32_t max_length) {
    return NextRetransmission(context, max_length, mss_);
  }
  // The last segment, for a probe without new data. To be followed by OnProbeSent or OnProbeFailed.
  std::optional<Retransmission> ProbeSegment(const RecoveryContext& context);
  // A probe left: what ProbeSegment gave (`resent`; instead of OnRetransmitted), or new data
  // (kNoSegment; after OnSent). Returns RecoveryEvent bits.
  uint32_t OnProbeSent(const RecoveryContext& context, SegmentIndex resent);
  // Neither could be sent: the retransmission timeout takes over.
  void OnProbeFailed(const RecoveryContext& context);
  // A round trip measured by the handshake (RFC 6298 2.2).
  void OnHandshakeRtt(const RecoveryContext& context, Duration rtt, Seq snd_una, Seq snd_nxt);
  void OnHandshakeEnd() { rtt_.OnHandshakeEnd(); }
  // Gives the records back; the connection is over or was reset.
  void Clear(const RecoveryContext& context);

  // The timer to run, and when it fires (Instant::Never() with kNone).
  SendTimer timer() const { return timer_; }
  Instant timer_deadline() const { return timer_deadline_; }

  RecoveryState state() const { return state_; }
  bool in_reduction() const {
    return state_ == RecoveryState::kCwr || state_ == RecoveryState::kRecovery;
  }
  bool sack_permitted() const { return sack_permitted_; }
  const SentQueue& queue() const { return queue_; }
  // See SendControl::AtRest.
  bool AtRest() const {
    return queue_.empty() && timer_ == SendTimer::kNone && !tlp_out_ && !frto_wants_new_;
  }
  const RttEstimator& rtt() const { return rtt_; }
  const Rack& rack() const { return rack_; }
  uint32_t mss() const { return mss_; }
  uint32_t in_flight_bytes(const SentSegmentPool& pool) const;
  // SACKed, or without SACK the duplicate acknowledgments that stand for it (tcpi_sacked).
  uint32_t sacked_segments() const;
  uint32_t reordering() const { return reordering_; }
  bool reordering_seen() const { return reordering_seen_; }
  bool has_sent() const { return has_sent_; }
  uint32_t delivered_bytes() const { return delivered_; }  // modulo 2^32
  // Retransmission timeouts in a row without progress (tcpi_retransmits, RFC 9293 R1 and R2).
  uint8_t timeouts() const { return timeouts_; }
  // Segments sent again, in all (tcpi_total_retrans).
  uint32_t segments_resent() const { return segments_resent_; }
  // When the oldest data that is still unacknowledged began to be retransmitted, if it did; with it
  // the connection limits the total time (RFC 9293 3.8.3, TCP_USER_TIMEOUT).
  bool retransmitting() const { return has_retrans_stamp_; }
  Duration rto(const RecoverySettings& settings) const { return rtt_.rto(settings); }

 private:
  struct Pass;  // the running state of one OnAck

  // SACK blocks (sack_input.cc).
  void TakeSacks(Pass& pass);
  bool TakeDsack(Pass& pass);
  bool IsValidSack(const Pass& pass, SeqRange block, bool is_dsack) const;
  // One acknowledgment, step by step (loss_recovery.cc).
  bool TakeWhole(const RecoveryContext& context, const AckInput& in, AckOutcome& out);
  void TakeCumulativeAck(Pass& pass);
  void TakeRtt(Pass& pass);
  void TakeProbeAck(Pass& pass);
  void TakeRate(Micros now, const DeliveredSegment* newest, AckOutcome& out);
  void Decide(Pass& pass);
  bool LeaveState(Pass& pass);
  void DecideInRecovery(Pass& pass);
  void DecideInLoss(Pass& pass);
  void DecideOtherwise(Pass& pass);
  bool ProcessFrto(Pass& pass, bool recovered);
  void DetectLoss(Pass& pass);
  void DetectLossWithoutSack(Pass& pass);
  bool CheckReneging(Pass& pass);
  // State.
  void EnterRecovery(const RecoveryContext& context, Seq snd_nxt, bool ece, uint32_t& events,
                     CongestionSignals& signals);
  void EnterCwr(Seq snd_nxt, CongestionSignals& signals);
  void BeginReduction(Seq snd_nxt, CongestionSignal reduce, CongestionSignals& signals);
  void EndReduction(CongestionSignals& signals);
  void TryToOpen(Pass& pass);
  void TryKeepOpen(const RecoveryContext& context, Seq snd_nxt);
  void MarkOutstandingLost(const RecoveryContext& context, TimerOutcome& outcome);
  void EnterPlainLoss(const SentSegmentPool& pool);
  bool AnyRetransmissionDone(const SentSegmentPool& pool) const;
  Seq SndNxt(const SentSegmentPool& pool) const { return pool[queue_.tail()].end(); }
  Rack::Conditions RackConditions() const;
  // Undo.
  void BeginUndo(const SentSegmentPool& pool);
  bool MayUndo(const Pass& pass) const;
  bool EchoPredatesRetransmission(const Pass& pass) const;
  void Undo(const RecoveryContext& context, bool unmark_lost, CongestionSignals& signals);
  bool MustHoldState(const Pass& pass);
  bool TryUndoRecovery(Pass& pass);
  bool TryUndoLoss(Pass& pass, bool by_frto);
  bool TryUndoPartial(Pass& pass);
  bool TryUndoDsack(Pass& pass);
  // Reordering, and duplicate acknowledgments standing for SACKs.
  void NoteReordering(Pass& pass, Seq low, Seq high, uint32_t event);
  void AddRenoSack(Pass& pass);
  void RemoveRenoSacks(Pass& pass);
  void CheckRenoReordering(Pass& pass, uint32_t more);
  // Timers (loss_timers.cc).
  void SetTimer(SendTimer timer, Instant deadline) {
    timer_ = timer;
    timer_deadline_ = deadline;
  }
  void ArmRetransmit(const RecoveryContext& context);
  void ArmReorder(const RecoveryContext& context, Duration wait);
  bool ArmProbe(const RecoveryContext& context, bool advancing_rto);
  Instant RetransmitDeadline(const RecoveryContext& context) const;
  void OnRetransmitTimeout(const RecoveryContext& context, TimerOutcome& outcome);
  void OnReorderTimeout(const RecoveryContext& context, TimerOutcome& outcome);
  void StampDeliveryState(SentSegment& segment) const;
  static Retransmission Describe(const SentSegmentPool& pool, SegmentIndex i);

  SentQueue queue_;
  RttEstimator rtt_;
  Rack rack_;
  Instant timer_deadline_ = Instant::Never();
  Seq high_seq_;     // snd_nxt when the state was entered
  Seq undo_marker_;  // snd_una when what may be undone began
  int32_t undo_retrans_ = 0;
  uint32_t retrans_stamp_ms_ = 0;  // when the first retransmission of this episode left
  Seq tlp_high_seq_;
  uint32_t delivered_ = 0;
  Micros delivered_at_;
  Micros first_sent_at_;
  uint32_t app_limited_until_ = 0;  // of `delivered`; 0: not limited
  uint32_t segments_resent_ = 0;    // in all; bounds what D-SACKs may claim
  uint32_t dsack_segments_ = 0;     // in all
  uint32_t mss_ = 536;
  uint16_t reordering_ = 3;
  uint16_t reno_sacked_ = 0;
  uint8_t timeouts_ = 0;
  SendTimer timer_ : 4 = SendTimer::kNone;
  RecoveryState state_ : 4 = RecoveryState::kOpen;
  bool sack_permitted_ : 1 = false;
  bool has_undo_marker_ : 1 = false;
  bool undo_cwnd_allowed_ : 1 = false;
  bool has_retrans_stamp_ : 1 = false;
  bool frto_ : 1 = false;
  bool frto_wants_new_ : 1 = false;
  bool tlp_out_ : 1 = false;
  bool tlp_retrans_ : 1 = false;
  bool reordering_seen_ : 1 = false;
  bool has_sent_ : 1 = false;
};

}  // namespace usher
