// Fast Open of active opens, RFC 7413 section 4.1 and 4.2: data in the SYN, under a cookie that the
// caller has of an earlier connection.
#include <algorithm>

#include "stack/tcp/connection.h"

namespace usher {

// Takes as much of the data as the SYN holds into the send buffer, and records it behind the SYN,
// which has been recorded.
void TcpConnection::PutIntoSyn(TcpContext& ctx, const FastOpenSyn& syn) {
  // All options are the SYN's; those of later segments, which mss_ leaves out, are among them.
  const uint32_t whole = mss_ + FixedOptionSize();
  const uint32_t most = whole - std::min<uint32_t>(whole, TcpOptions::kMaxSize);
  const auto n = static_cast<uint32_t>(std::min<size_t>(syn.data.size(), most));
  if (n == 0) return;
  const auto taken =
      static_cast<uint32_t>(send_buffer_.Append(ctx.send_blocks, syn.data.first(n), n));
  ChargeMemory(ctx);
  if (taken == 0 || !control_.OnSent(Recovery(ctx), snd_nxt_, taken, 0)) return;
  snd_nxt_ += taken;
  control_.MarkPushed(Recovery(ctx));
}

// The SYN-ACK has come: data of the SYN that it does not acknowledge is sent again at once, which
// is no sign of congestion. True if there is some.
bool TcpConnection::ResendDataOfSyn(TcpContext& ctx) {
  if (snd_una_ == snd_nxt_) {
    ctx.counters.Add(Counter::TcpExtTCPFastOpenActive);
    return false;
  }
  ctx.counters.Add(Counter::TcpExtTCPFastOpenActiveFail);
  if (!control_.ResendAll(Recovery(ctx))) return false;
  retransmit_due_ = true;
  WantOutput(ctx);
  return true;
}

}  // namespace usher
