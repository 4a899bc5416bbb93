// RACK-TLP (RFC 8985): loss told by time.
//
// Counting duplicate acknowledgments asks the wrong question. "Were three later segments
// delivered?" has no answer for the last two segments of a response, gives a false one when the
// network reorders by four, and none at all for a retransmission that is lost in its turn: nothing
// later in sequence space tells about it. RACK (Recent ACKnowledgment) asks instead "was
// something *sent* later already delivered, and a fair time ago?". Every transmission, a
// retransmission too, has its own time, so the rule needs no special case:
//
//   a segment is lost when  sent_at + rack.rtt + reo_wnd  has passed
//   and some segment sent after it (later time, or same time and higher end) was delivered.
//
// rack.rtt is the round trip of the newest delivery, so the sum says when an acknowledgment of
// the segment was due; reo_wnd is the grace for a network that reorders. It is nothing while no
// reordering was ever seen and either recovery is under way or as many segments as duplicate
// acknowledgments of old are SACKed (so RACK is no slower than RFC 6675); otherwise it is
// min_rtt/4, times a factor that grows by one each round trip in which a DSACK tells that a
// retransmission was needless, held for 16 recoveries, never above srtt. What is not yet due has a
// timer (REO).
//
// Because only *sent later* counts, the work per acknowledgment is to walk the time order from its
// old end: what is lost leaves it (to come back at its young end when sent again), and the first
// not yet due ends the walk. The work is that of the losses found, not of the window.
//
// A delivery can be of the first transmission of something sent twice, and would then pretend a
// very small rtt; a sample below min_rtt from a retransmitted segment is no evidence
// (RFC 8985 6.2 step 2).
//
// RACK needs an acknowledgment to start from, and the tail of a flight may be lost whole. So TLP
// (Tail Loss Probe) sends, after about two round trips of silence, one more segment: new data if
// there is some, else the last one again. Its acknowledgment or SACK starts RACK, where otherwise
// the retransmission timeout would have closed the window to one segment. When the probe was a
// retransmission and repaired the only loss, the cwnd must still be reduced once: this shows when
// an acknowledgment passes the probe without a DSACK or a pure duplicate that says both copies
// came.
#pragma once

#include <cstdint>
#include <optional>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/recovery/micros.h"
#include "stack/tcp/recovery/rtt.h"
#include "stack/tcp/recovery/sent_queue.h"

namespace usher {

// RACK's state of one connection. Changes nothing but the marks in the queue.
class Rack {
 public:
  // What the reordering window depends on, RFC 8985 section 6.2 step 4.
  struct Conditions {
    bool reordering_seen = false;
    bool in_recovery = false;  // Recovery or Loss
    uint32_t sacked_segments = 0;
    uint32_t duplicate_threshold = 3;
    Duration min_rtt;
    Duration srtt;
  };

  struct Detection {
    uint32_t lost_bytes = 0;            // newly marked, losses of retransmissions included
    uint32_t lost_retransmissions = 0;  // segments
    std::optional<Duration> wait;       // until the rest of what is suspect is due
  };

  // Takes in the newest delivery of an acknowledgment (Delivery::newest_...), steps 1 to 3.
  void Advance(Micros sent_at, Seq end, Micros now);
  // After an undo: what was unmarked is to be looked at again.
  void ForceDetection() { advanced_ = true; }
  bool ShouldDetect() const { return advanced_; }
  // Marks what is lost, step 5.
  Detection DetectLoss(SentSegmentPool& pool, SentQueue& queue, Micros now,
                       const RecoverySettings& settings, const Conditions& conditions);
  // Whether record i, by RACK's clock alone, is overdue (used at a timeout, without grace).
  bool IsOverdue(const SentSegment& segment, Micros now) const;

  Duration ReorderWindow(const RecoverySettings& settings, const Conditions& conditions) const;
  void OnDsack() { dsack_seen_ = true; }
  // Widens the window at most once per round trip; `sample_prior_delivered` of the rate sample.
  void UpdateReorderWindow(const RecoverySettings& settings, bool has_sample,
                           uint32_t sample_prior_delivered, uint32_t delivered);
  // A recovery ended without an undo: one of the 16 during which the factor is held.
  void OnRecoveryEnd();
  // A recovery was undone by DSACK: hold the factor longer.
  void OnDsackUndo();
  uint8_t reorder_window_steps() const { return reo_wnd_steps_; }

 private:
  static constexpr uint8_t kPersistRecoveries = 16;
  Micros sent_at_;  // of the newest transmission known delivered
  uint32_t rtt_us_ = 0;
  Seq end_seq_;
  uint32_t last_delivered_ = 0;  // the factor last grew when this much was delivered
  uint8_t reo_wnd_steps_ = 1;
  uint8_t reo_wnd_persist_ = 0;
  bool dsack_seen_ = false;
  bool advanced_ = false;
  bool started_ = false;
};

// How long of silence to wait before a probe (RFC 8985 section 7.2): two round trips, and when one
// segment only is out, its delayed acknowledgment's time; at least 10 ms.
Duration ProbeTimeout(const RttEstimator& rtt, const RecoverySettings& settings,
                      uint32_t segments_out);

}  // namespace usher
