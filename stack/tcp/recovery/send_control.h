// Everything that decides what may be sent when: loss detection, PRR and congestion control, put
// together for the connection. LossRecovery finds, CongestionController sizes, this carries the
// signals from one to the other and nothing else.
//
// How the connection uses it:
//   sending:   BeforeSending(); for each segment: SendBudget() >= its length (a bare FIN, a probe
//              and a zero window probe are exempt; never cut a segment to fit the budget),
//              OnSent(), emit; AfterSending().
//   an ACK:    OnAck() before snd_una moves; then, if outcome.retransmit and not send_new_first,
//              the retransmissions; then new data (with send_new_first: new data, then ask
//              NextRetransmission all the same: it knows whether to fall back).
//   resending: while NextRetransmission() gives one: emit it, OnRetransmitted().
//   the timer: after every entry point run the one timer that timer()/timer_deadline() say; when it
//              fires OnTimer(), then do its action.
#pragma once

#include <cstdint>
#include <optional>

#include "stack/tcp/congestion/controller.h"
#include "stack/tcp/congestion/pacer.h"
#include "stack/tcp/recovery/loss_recovery.h"
#include "stack/tcp/recovery/prr.h"

namespace usher {

// What held sending back at the end of a pass.
enum class SendLimit : uint8_t {
  kApplication,  // nothing more to send
  kWindow,       // the peer's window, Nagle, or a full transmit queue
  kCongestion,   // cwnd
  kPacing,       // its time has not come: see pacing_deadline
};

// Per connection; not thread-safe; needs Configure before use and Clear before its end.
class SendControl {
 public:
  SendControl() = default;

  // Before the first OnSent. initial_window_bytes: RFC 6928, 10 * mss.
  void Configure(const RecoverySettings& settings, CongestionAlgorithm algorithm, uint32_t mss,
                 uint32_t initial_window_bytes, bool sack_permitted);
  // What a SYN-ACK told an active open.
  void Reconfigure(const RecoverySettings& settings, uint32_t mss, uint32_t initial_window_bytes,
                   bool sack_permitted);
  void set_mss(uint32_t mss);
  // Another algorithm from now on, with the window as it is.
  void ChangeAlgorithm(const RecoveryContext& context, CongestionAlgorithm algorithm);
  // SO_MAX_PACING_RATE in bytes per second: turns pacing on, and bounds it; Pacer::kNoLimit: only
  // an algorithm that needs it is paced.
  void SetMaxPacingRate(const RecoveryContext& context, uint32_t bytes_per_second);
  // After set_mss because the path is narrower: marks what is too long for it; true if anything is
  // to be sent again now.
  bool ResendTooLong(const RecoveryContext& context);

  // See LossRecovery::ResendAll.
  bool ResendAll(const RecoveryContext& context) { return recovery_.ResendAll(context); }

  // See LossRecovery::ForgiveMtuProbe.
  bool ForgiveMtuProbe(const RecoveryContext& context, Seq probe);

  // First in a pass that has new data: restarts from the initial window after an idle time
  // (RFC 5681 4.1; `slow_start_after_idle` is the sysctl).
  void BeforeSending(const RecoveryContext& context, bool slow_start_after_idle);
  bool OnSent(const RecoveryContext& context, Seq seq, uint32_t length, uint8_t flags);
  // What OnSent was told of last has PSH, and will have it when it is sent again.
  void MarkPushed(const RecoveryContext& context) {
    context.pool[recovery_.queue().tail()].pushed = true;
  }
  // Last in a pass. `sent_new`: OnSent was called in it.
  void AfterSending(const RecoveryContext& context, SendLimit limit, bool sent_new);
  // Whether it is time for a segment, new or old. Always, if the connection is not paced.
  bool MaySendNow(const RecoveryContext& context) const {
    return !pacer_.active() || pacer_.MaySend(context.now, recovery_.mss());
  }
  // When MaySendNow will have said no: come again.
  Instant pacing_deadline() const { return pacer_.full_at(); }
  MilliStamp last_sent() const { return last_sent_; }
  bool paced() const { return pacer_.active(); }
  // Bytes that cwnd (or PRR) lets out now, new data and retransmissions alike.
  uint32_t SendBudget(const RecoveryContext& context) const;

  AckOutcome OnAck(const RecoveryContext& context, const AckInput& input);
  // Nothing is out, and nothing is waited for: OnAck of what acknowledges nothing new would neither
  // change anything nor find anything.
  bool AtRest() const {
    return recovery_.AtRest() && !prr_.active() && !pacer_.active() && !congestion_.model_based() &&
           congestion_.dctcp() == nullptr;
  }
  TimerOutcome OnTimer(const RecoveryContext& context);

  // What to send again now, as far as the budget goes, of max_length at most, in whole segments of
  // `segment` bytes; nullopt: nothing, or no budget.
  std::optional<Retransmission> NextRetransmission(const RecoveryContext& context,
                                                   uint32_t max_length, uint32_t segment);
  std::optional<Retransmission> NextRetransmission(const RecoveryContext& context,
                                                   uint32_t max_length) {
    return NextRetransmission(context, max_length, recovery_.mss());
  }
  uint32_t OnRetransmitted(const RecoveryContext& context, SegmentIndex index);
  std::optional<Retransmission> ProbeSegment(const RecoveryContext& context) {
    return recovery_.ProbeSegment(context);
  }
  uint32_t OnProbeSent(const RecoveryContext& context, SegmentIndex resent) {
    if (pacer_.active() && resent != kNoSegment)
      pacer_.OnSent(context.now, context.pool[resent].length);
    return recovery_.OnProbeSent(context, resent);
  }
  // Payload bytes that went out again, in all and modulo 2^32.
  void CountResent(uint32_t bytes) { bytes_resent_ += bytes; }
  uint32_t bytes_resent() const { return bytes_resent_; }
  void OnProbeFailed(const RecoveryContext& context) { recovery_.OnProbeFailed(context); }
  void OnHandshakeRtt(const RecoveryContext& context, Duration rtt, Seq snd_una, Seq snd_nxt) {
    recovery_.OnHandshakeRtt(context, rtt, snd_una, snd_nxt);
  }
  // Data begins: see RttEstimator.
  void OnHandshakeEnd() { recovery_.OnHandshakeEnd(); }
  void RetryTimerSoon(const RecoveryContext& context,
                      Duration at_most = LossRecovery::kResourceProbeInterval) {
    recovery_.RetryTimerSoon(context, at_most);
  }
  void Clear(const RecoveryContext& context) { recovery_.Clear(context); }

  SendTimer timer() const { return recovery_.timer(); }
  Instant timer_deadline() const { return recovery_.timer_deadline(); }
  const LossRecovery& recovery() const { return recovery_; }
  const CongestionController& congestion() const { return congestion_; }
  // Bytes per second, UINT64_MAX before a round trip is known and without a limit.
  uint64_t pacing_rate(const RecoveryContext& context) const;

 private:
  void Apply(const RecoveryContext& context, std::span<const CongestionSignal> signals);
  void OnModelAck(const RecoveryContext& context, const AckOutcome& outcome);
  void Pace(const RecoveryContext& context);
  void Reduce(const RecoveryContext& context, uint32_t delivered_bytes, uint32_t lost_bytes,
              bool snd_una_advanced);

  LossRecovery recovery_;
  CongestionController congestion_;
  Pacer pacer_;
  Prr prr_;
  uint32_t initial_window_ = 0;
  MilliStamp last_sent_;
  uint32_t bytes_resent_ = 0;
};

}  // namespace usher
