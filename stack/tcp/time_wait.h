// TIME-WAIT (and FIN-WAIT-2 without an owner) as small records: RFC 9293 section 3.3.2 and
// 3.10.7.4, with RFC 1337, RFC 6191 and Linux's rules for a SYN that reuses the pair.
#pragma once

#include <cstdint>
#include <optional>

#include "stack/base/seq.h"
#include "stack/base/time.h"
#include "stack/tcp/context.h"
#include "stack/tcp/segment.h"
#include "stack/tcp/small_records.h"
#include "stack/tcp/types.h"

namespace usher {

class TcpConnection;

// What is left of a connection.
struct TimeWaitCore {
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  Seq snd_nxt;
  Seq rcv_nxt;
  uint32_t rcv_wnd = 0;  // bytes
  uint32_t ts_recent = 0;
  uint32_t ts_recent_s = 0;  // when ts_recent came, in seconds of the shard's clock
  uint32_t ts_offset = 0;
  uint32_t last_answer_ms = 0;  // for tcp_invalid_ratelimit
  Path path;
  uint16_t md5_key = Md5Keys::kNone;  // held
  uint8_t rcv_wscale = 0;
  bool timestamps : 1 = false;
  bool answered : 1 = false;
  bool fin_wait2 : 1 = false;  // the peer's FIN is still to come
};

// The facts a record is made from, and the time it is to live.
struct TimeWaitFacts {
  FourTuple tuple;
  TimeWaitCore core;
  Duration length;
  static TimeWaitFacts From(const TcpConnection& connection);
};

// The records of one shard. Whoever finds a record in the demux gives it the segment.
class TimeWaitTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Room for `capacity` records of either family; memory is touched only when used.
  explicit TimeWaitTable(uint32_t capacity) : records_(capacity) {}
  static size_t BytesFor(uint32_t capacity) {
    return SmallRecords<TimeWaitCore>::BytesFor(capacity);
  }

  // Adds a record; kNone when tcp_max_tw_buckets are there already (TCPTimeWaitOverflow).
  uint32_t Add(TcpContext& ctx, const TimeWaitFacts& facts);
  void Remove(TcpContext& ctx, uint32_t index) {
    ctx.md5_keys.Release(records_[index].md5_key);
    records_.Free(index);
  }

  enum class Verdict : uint8_t {
    kKeep,    // the segment is dealt with
    kRemove,  // dealt with, and the record is at its end
    kNewSyn,  // a SYN that may reuse the pair: remove the record and give the SYN to the listener,
              // with `iss` for the new connection
  };
  struct Outcome {
    Verdict verdict = Verdict::kKeep;
    Seq iss;
  };
  Outcome Receive(TcpContext& ctx, uint32_t index, Segment& s);
  // Says again where the connection ended.
  void Acknowledge(TcpContext& ctx, uint32_t index);

  // Calls expire(index) for each record whose time is over; expire removes it.
  template <class Expire>
  void Advance(Instant now, Expire&& expire) {
    records_.AdvanceTimers(now, expire);
  }
  Instant NextDeadline() const { return records_.NextDeadline(); }

  FourTuple TupleOf(uint32_t index) const { return records_.TupleOf(index); }
  bool Matches(uint32_t index, const FourTuple& tuple) const { return TupleOf(index) == tuple; }
  bool fin_wait2(uint32_t index) const { return records_[index].fin_wait2; }
  Instant deadline(uint32_t index) const { return records_.deadline(index); }
  uint32_t size() const { return records_.size(); }
  void Prefetch(uint32_t index) const { records_.Prefetch(index); }

  template <class Visit>
  void ForEach(Visit&& visit) const {
    records_.ForEach(visit);
  }
  // As SmallRecords::ForEachFrom.
  template <class Visit>
  uint32_t ForEachFrom(uint32_t first, uint32_t count, Visit&& visit) const {
    return records_.ForEachFrom(first, count, visit);
  }

 private:
  Outcome ReceiveInFinWait2(TcpContext& ctx, uint32_t index, Segment& s, bool paws_reject);
  void Answer(TcpContext& ctx, uint32_t index, const Segment& s, Counter skipped);

  SmallRecords<TimeWaitCore> records_;
};

}  // namespace usher
