// What LossRecovery believes of SACK options: RFC 2018, D-SACK (RFC 2883), and which blocks are
// refused because no honest receiver of this connection could have sent them.
#include <algorithm>
#include <array>

#include "stack/tcp/recovery/recovery_pass.h"

namespace usher {
namespace {

constexpr size_t kMostBlocks = 4;

}  // namespace

// As Linux's tcp_is_sackblock_valid. A block must lie within what is outstanding, above SND.UNA; a
// D-SACK may also lie below it, back to where the retransmissions that it may undo began.
bool LossRecovery::IsValidSack(const Pass& pass, SeqRange block, bool is_dsack) const {
  if (block.end > pass.in.snd_nxt || block.begin >= block.end) return false;
  if (block.begin >= pass.in.snd_nxt) return false;
  if (block.begin > pass.snd_una) return true;
  if (!is_dsack || !has_undo_marker_) return false;
  if (block.end > pass.snd_una) return false;
  if (block.begin >= undo_marker_) return true;
  if (block.end <= undo_marker_) return false;
  return block.begin >= block.end - pass.in.max_window;
}

// True when the first block is a D-SACK (RFC 2883 section 4): below the acknowledgment, or within
// the second block. One that cannot be true is counted, and then a block like any other.
bool LossRecovery::TakeDsack(Pass& pass) {
  const std::span<const SeqRange> sack = pass.in.sack;
  const SeqRange block = sack[0];
  uint32_t event = 0;
  if (block.begin < pass.in.ack) {
    event = RecoveryEvent::kDsackReceived;
  } else if (sack.size() > 1 && block.end <= sack[1].end && block.begin >= sack[1].begin) {
    event = RecoveryEvent::kDsackOfoReceived;
  } else {
    return false;
  }
  pass.out.events |= event;
  const int32_t length = block.end - block.begin;
  if (length <= 0 || static_cast<uint32_t>(length) > pass.in.max_window) {
    pass.out.events |= RecoveryEvent::kDsackIgnoredDubious;
    return false;
  }
  const uint32_t segments = (static_cast<uint32_t>(length) + mss_ - 1) / mss_;
  if (tlp_out_ && static_cast<uint32_t>(length) <= mss_ && tlp_high_seq_ == block.end) {
    pass.dsack_of_probe = true;
  }
  // More duplicates than were ever sent again: the network duplicates (or the peer lies), and
  // nothing follows from it (RFC 3708 section 3).
  dsack_segments_ += segments;
  if (dsack_segments_ > segments_resent_) {
    dsack_segments_ = segments_resent_;
    pass.dsack_of_probe = false;
    pass.out.events |= RecoveryEvent::kDsackIgnoredDubious;
    return false;
  }
  pass.out.dsack_segments = segments;
  pass.dsacking = true;
  // RACK's window answers reordering; without any seen, or for a probe (a timer's doing, not
  // RACK's), a needless retransmission says nothing about it.
  if (reordering_seen_ && !pass.dsack_of_probe) rack_.OnDsack();
  if (has_undo_marker_ && undo_retrans_ > 0 && block.end > undo_marker_) {
    bool counts = block.end <= pass.in.snd_una;
    if (!counts && IsValidSack(pass, block, true)) {
      const SegmentIndex i = queue_.Find(pass.context.pool, block.begin);
      counts = i != kNoSegment && pass.context.pool[i].Has(SentSegment::kEverRetransmitted);
    }
    if (counts)
      undo_retrans_ = std::max<int32_t>(0, undo_retrans_ - static_cast<int32_t>(segments));
  }
  return true;
}

void LossRecovery::TakeSacks(Pass& pass) {
  if (pass.in.sack.empty() || !sack_permitted_) return;
  // Too old to tell anything (as Linux: more than a window behind).
  if (pass.in.ack < pass.in.snd_una - pass.in.max_window) return;
  const bool first_is_dsack = TakeDsack(pass);
  if (queue_.empty()) return;

  std::array<SeqRange, kMostBlocks> blocks;
  size_t count = 0;
  for (size_t n = 0; n < std::min(pass.in.sack.size(), kMostBlocks); ++n) {
    const SeqRange block = pass.in.sack[n];
    const bool is_dsack = n == 0 && first_is_dsack;
    if (!IsValidSack(pass, block, is_dsack)) {
      if (is_dsack) {
        pass.out.events |=
            has_undo_marker_ ? RecoveryEvent::kDsackIgnoredOld : RecoveryEvent::kDsackIgnoredNoUndo;
      } else if (pass.in.ack == pass.snd_una || block.end > pass.snd_una) {
        // What an overtaken acknowledgment still says of data acknowledged since is no fault.
        pass.out.events |= RecoveryEvent::kSackDiscarded;
      }
      continue;
    }
    if (block.end <= pass.snd_una) continue;
    // In order of sequence, so that what one block reveals of reordering is judged by those before.
    size_t at = count++;
    for (; at > 0 && block.begin < blocks[at - 1].begin; --at) blocks[at] = blocks[at - 1];
    blocks[at] = block;
  }
  for (size_t n = 0; n < count; ++n) {
    queue_.Sack(pass.context.pool, blocks[n], mss_, pass.delivery);
  }
  if (pass.delivery.sacked_bytes > 0) pass.data_sacked = true;
}

}  // namespace usher
