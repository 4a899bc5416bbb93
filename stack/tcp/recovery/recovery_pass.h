// Private to LossRecovery: what the steps of one OnAck share.
#pragma once

#include "stack/tcp/recovery/loss_recovery.h"

namespace usher {

struct LossRecovery::Pass {
  Pass(const RecoveryContext& c, const AckInput& i, AckOutcome& o) : context(c), in(i), out(o) {}

  const RecoveryContext& context;
  const AckInput& in;
  AckOutcome& out;
  Delivery delivery;
  Seq snd_una;     // after this acknowledgment
  Seq prior_fack;  // where the highest SACKed record began before it, else snd_una
  bool una_advanced = false;
  bool data_sacked = false;
  bool dsacking = false;  // a believable D-SACK came
  bool dsack_of_probe = false;
  bool duplicate = false;      // RFC 5681's duplicate acknowledgment
  bool not_duplicate = false;  // carries data, a window change, or acknowledges something
  bool set_timer = false;
  bool retransmit = false;
};

}  // namespace usher
