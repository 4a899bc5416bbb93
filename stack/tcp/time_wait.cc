#include "stack/tcp/time_wait.h"

#include "stack/tcp/connection.h"
#include "stack/tcp/paws.h"
#include "stack/tcp/reset.h"

namespace usher {
namespace {

constexpr Duration kTimeWaitLength = Duration::Seconds(60);

// RFC 7323 section 5.2.
bool PawsReject(const TimeWaitCore& r, const Segment& s, Instant now) {
  return r.timestamps && s.options.timestamps &&
         PawsRejects(s.options.timestamps->value, r.ts_recent, SecondsOf(now) - r.ts_recent_s,
                     s.Has(TcpFlags::kRst));
}

void TakeTimestamp(TimeWaitCore& r, const Segment& s, Instant now) {
  if (!r.timestamps || !s.options.timestamps) return;
  r.ts_recent = s.options.timestamps->value;
  r.ts_recent_s = SecondsOf(now);
}

}  // namespace

TimeWaitFacts TimeWaitFacts::From(const TcpConnection& c) {
  TimeWaitFacts f;
  f.tuple = c.tuple_;
  f.length = Duration::Millis(c.time_wait_ms_);
  f.core.local_port = c.tuple_.local_port;
  f.core.remote_port = c.tuple_.remote_port;
  f.core.snd_nxt = c.snd_nxt_;
  f.core.rcv_nxt = c.rcv_nxt_;
  f.core.rcv_wnd = c.ReceiveWindow();
  f.core.ts_recent = c.ts_recent_;
  f.core.ts_recent_s = c.ts_recent_s_;
  f.core.ts_offset = c.ts_offset_;
  f.core.path = c.path_;
  f.core.md5_key = c.md5_key_;
  f.core.rcv_wscale = c.rcv_wscale_;
  f.core.timestamps = c.options_in_use_.timestamps;
  f.core.fin_wait2 = c.time_wait_substate_ == TcpState::kFinWait2;
  return f;
}

uint32_t TimeWaitTable::Add(TcpContext& ctx, const TimeWaitFacts& facts) {
  uint32_t index = kNone;
  if (size() < static_cast<uint32_t>(ctx.sysctls.tcp_max_tw_buckets))
    index = records_.Allocate(facts.tuple);
  if (index == kNone) {
    ctx.counters.Add(Counter::TcpExtTCPTimeWaitOverflow);
    return kNone;
  }
  records_[index] = facts.core;
  ctx.md5_keys.Hold(facts.core.md5_key);
  records_.SetTimer(index, ctx.now + facts.length);
  ctx.counters.Add(Counter::TcpExtTW);
  return index;
}

// The pair is over for us; the peer's FIN, or its repetition, is still to be acknowledged.
TimeWaitTable::Outcome TimeWaitTable::Receive(TcpContext& ctx, uint32_t index, Segment& s) {
  TimeWaitCore& r = records_[index];
  if ((r.md5_key != Md5Keys::kNone || s.options.md5) &&
      !PassSignature(ctx.counters, ctx.md5_keys.Find(r.md5_key), s)) [[unlikely]]
    return {};
  const bool paws_reject = PawsReject(r, s, ctx.now);
  if (r.fin_wait2) return ReceiveInFinWait2(ctx, index, s, paws_reject);

  const bool rst = s.Has(TcpFlags::kRst);
  if (!paws_reject && s.seq == r.rcv_nxt && (s.Length() == 0 || rst)) {
    // RFC 1337: whether a reset may assassinate the record is the administrator's choice.
    if (rst && ctx.sysctls.tcp_rfc1337 == 0) return {Verdict::kRemove, {}};
    if (!rst) records_.SetTimer(index, ctx.now + kTimeWaitLength);
    TakeTimestamp(r, s, ctx.now);
    return {};
  }
  // RFC 6191, and RFC 9293 section 3.6.1: a SYN beyond what was received, or with a newer
  // timestamp.
  const bool newer_stamp = r.timestamps && s.options.timestamps &&
                           static_cast<int32_t>(r.ts_recent - s.options.timestamps->value) < 0;
  if (s.Has(TcpFlags::kSyn) && !rst && !s.Has(TcpFlags::kAck) && !paws_reject &&
      (s.seq > r.rcv_nxt || newer_stamp)) {
    Seq iss = r.snd_nxt + 65537;
    if (iss.value() == 0) iss += 1;  // zero would mean: none given
    return {Verdict::kNewSyn, iss};
  }
  if (paws_reject) ctx.counters.Add(Counter::TcpExtPAWSTimewait);
  if (rst) return {};
  if (paws_reject || s.Has(TcpFlags::kAck)) records_.SetTimer(index, ctx.now + kTimeWaitLength);
  Answer(ctx, index, s, Counter::TcpExtTCPACKSkippedTimeWait);
  return {};
}

TimeWaitTable::Outcome TimeWaitTable::ReceiveInFinWait2(TcpContext& ctx, uint32_t index, Segment& s,
                                                        bool paws_reject) {
  TimeWaitCore& r = records_[index];
  const Seq end = s.EndSeq();
  const bool in_window =
      s.seq == r.rcv_nxt || (s.seq == end ? s.seq > r.rcv_nxt && s.seq <= r.rcv_nxt + r.rcv_wnd
                                          : end > r.rcv_nxt && s.seq < r.rcv_nxt + r.rcv_wnd);
  if (paws_reject || !in_window) {
    Answer(ctx, index, s, Counter::TcpExtTCPACKSkippedFinWait2);
    return {};
  }
  if (s.Has(TcpFlags::kRst)) return {Verdict::kRemove, {}};
  if (s.Has(TcpFlags::kSyn) && s.seq >= r.rcv_nxt) {
    SendReset(ctx.egress, ctx.counters, s, ctx.md5_keys.Find(r.md5_key));
    return {Verdict::kRemove, {}};
  }
  if (!s.Has(TcpFlags::kAck) || end <= r.rcv_nxt || s.Length() == 0) return {};
  // Data that nobody will read, or a FIN beyond a hole: reset (RFC 1122 section 4.2.2.13).
  if (!s.Has(TcpFlags::kFin) || end != r.rcv_nxt + 1) {
    SendReset(ctx.egress, ctx.counters, s, ctx.md5_keys.Find(r.md5_key));
    return {Verdict::kRemove, {}};
  }
  r.fin_wait2 = false;
  r.rcv_nxt = end;
  TakeTimestamp(r, s, ctx.now);
  records_.SetTimer(index, ctx.now + kTimeWaitLength);
  Answer(ctx, index, s, Counter::TcpExtTCPACKSkippedTimeWait);
  return {};
}

// Acknowledges where the connection ended: data and FIN always, for the peer waits for it; what
// might be the other half of an ACK loop at most once per tcp_invalid_ratelimit.
void TimeWaitTable::Answer(TcpContext& ctx, uint32_t index, const Segment& s, Counter skipped) {
  TimeWaitCore& r = records_[index];
  if (s.Length() == 0 || s.Has(TcpFlags::kSyn)) {
    const auto now_ms = static_cast<uint32_t>(ctx.now.ms());
    if (r.answered &&
        now_ms - r.last_answer_ms < static_cast<uint32_t>(ctx.sysctls.tcp_invalid_ratelimit)) {
      ctx.counters.Add(skipped);
      return;
    }
    r.answered = true;
    r.last_answer_ms = now_ms;
  }
  Acknowledge(ctx, index);
}

void TimeWaitTable::Acknowledge(TcpContext& ctx, uint32_t index) {
  const TimeWaitCore& r = records_[index];
  const FourTuple tuple = TupleOf(index);
  TxFrame frame;
  if (!ctx.egress.Begin(r.path, tuple.remote.family(), &frame, /*control=*/true)) return;
  TcpHeader h;
  h.src_port = tuple.local_port;
  h.dst_port = tuple.remote_port;
  h.seq = r.snd_nxt;
  h.ack = r.rcv_nxt;
  h.flags = TcpFlags::kAck;
  h.window = static_cast<uint16_t>(r.rcv_wnd >> r.rcv_wscale);
  checksum::SummedWriter options(frame.l4 + TcpHeader::kSize);
  const Md5Key* const md5 = ctx.md5_keys.Find(r.md5_key);
  if (md5 != nullptr) [[unlikely]]
    EmitMd5Room(options);
  if (r.timestamps)
    EmitTimestampsOnly(options, {TimestampClock(ctx.now) + r.ts_offset, r.ts_recent});
  const auto header_length = static_cast<uint16_t>(TcpHeader::kSize + options.size());
  uint32_t sum = checksum::Add(h.Emit(frame.l4, options.size()), options.sum());
  if (md5 != nullptr) [[unlikely]] {
    SignSegment(*md5, tuple, frame.l4, header_length, 0);
    sum = 0;
  }
  ctx.egress.CommitTcp(frame, {.local = tuple.local,
                               .remote = tuple.remote,
                               .header_length = header_length,
                               .payload_length = 0,
                               .payload_sum = 0,
                               .header_sum = sum});
  ctx.counters.Add(Counter::TcpOutSegs);
}

}  // namespace usher
