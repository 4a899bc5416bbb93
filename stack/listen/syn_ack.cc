// What the passive open sends: SYN-ACKs, first, again and as cookies.
#include <algorithm>

#include "stack/listen/passive_open.h"
#include "stack/tcp/window.h"
#include "stack/wire/ecn.h"

namespace usher {

uint32_t PassiveOpen::ReceiveBufferOf(const Listener& l) const {
  return l.spec.options.receive_buffer_bytes != 0
             ? l.spec.options.receive_buffer_bytes
             : static_cast<uint32_t>(context_.sysctls.tcp_rmem[1]);
}

uint16_t PassiveOpen::AdvertisedMss(const Listener& l, Family family, uint16_t mtu) const {
  const auto mss = static_cast<uint16_t>(mtu - (family == Family::kIpv4 ? 40 : 60));
  return l.spec.options.user_mss != 0 ? std::min(mss, l.spec.options.user_mss) : mss;
}

uint32_t PassiveOpen::TimestampOffset(const FourTuple& tuple, bool shifted) const {
  return shifted ? context_.isn.TimestampOffset(tuple) : 0;
}

void PassiveOpen::ForeseeSyns(const TupleBatch& syns) {
  foreseen_.by_cookie = last_by_cookie_;
  context_.isn.TimestampHashes(syns, foreseen_.timestamp);
  if (last_by_cookie_)
    cookies_.HashesOf(syns, context_.now, foreseen_.cookie_h0, foreseen_.cookie_h1);
  else
    context_.isn.IsnHashes(syns, foreseen_.isn);
}

void PassiveOpen::ForeseeAcks(const TupleBatch& acks) {
  context_.isn.TimestampHashes(acks, foreseen_.ack_timestamp);
}

uint32_t PassiveOpen::TimestampOffset(const Segment& s, bool shifted) const {
  if (s.foreseen == Segment::kNotForeseen) return TimestampOffset(s.tuple, shifted);
  const auto& hashes = s.IsRequest() ? foreseen_.timestamp : foreseen_.ack_timestamp;
  return shifted ? static_cast<uint32_t>(hashes[s.foreseen]) : 0;
}

Seq PassiveOpen::IsnForSyn(const Segment& syn) const {
  if (syn.foreseen == Segment::kNotForeseen || foreseen_.by_cookie)
    return context_.isn.Next(syn.tuple, context_.now);
  return IsnGenerator::FromHash(foreseen_.isn[syn.foreseen], context_.now);
}

SynCookies::Hashes PassiveOpen::CookieHashesForSyn(const Segment& syn) const {
  if (syn.foreseen == Segment::kNotForeseen || !foreseen_.by_cookie)
    return cookies_.HashesOf(syn.tuple, context_.now);
  return {static_cast<uint32_t>(foreseen_.cookie_h0[syn.foreseen]),
          static_cast<uint32_t>(foreseen_.cookie_h1[syn.foreseen])};
}

InitialWindow PassiveOpen::WindowFor(const Listener& l, uint32_t mss, bool wscale_ok) const {
  return SelectInitialWindow(context_.sysctls, ReceiveBufferOf(l), mss, wscale_ok,
                             l.spec.options.receive_buffer_bytes != 0);
}

void PassiveOpen::CommitSynAck(const Listener& l, TxFrame& frame, const FourTuple& tuple, Seq iss,
                               Seq irs, uint16_t window, const TcpOptions& options, SynAckEcn ecn) {
  TcpHeader h;
  h.src_port = tuple.local_port;
  h.dst_port = tuple.remote_port;
  h.seq = iss;
  h.ack = irs + 1;
  h.flags = TcpFlags::kSyn | TcpFlags::kAck | (ecn != SynAckEcn::kNone ? TcpFlags::kEce : 0);
  h.window = window;
  uint32_t sum;
  const size_t size = h.Emit(frame.l4, options, &sum);
  if (options.md5) [[unlikely]] {
    SignSegment(*Md5Of(l, tuple.remote), tuple, frame.l4, static_cast<uint16_t>(size), 0);
    sum = 0;
  }
  context_.egress.CommitTcp(
      frame, {.local = tuple.local,
              .remote = tuple.remote,
              .header_length = static_cast<uint16_t>(size),
              .payload_length = 0,
              .payload_sum = 0,
              .tos = static_cast<uint8_t>(
                  l.spec.options.tos |
                  (ecn == SynAckEcn::kMarked ? static_cast<uint8_t>(Ecn::kEct0) : uint8_t{0})),
              .hop_limit = l.spec.options.hop_limit,
              .header_sum = sum});
  context_.counters.Add(Counter::TcpOutSegs);
}

PassiveOpen::SynAckEcn PassiveOpen::EcnAnswer(const Listener& l, bool granted) const {
  if (!granted) return SynAckEcn::kNone;
  return NeedsEcn(CongestionOf(context_, l.spec.options)) ? SynAckEcn::kMarked
                                                          : SynAckEcn::kGranted;
}

void PassiveOpen::SendSynAck(const Listener& l, TxFrame& frame, uint32_t request,
                             const FourTuple& tuple, uint16_t mss, uint32_t tsval,
                             const std::optional<FastOpenOption>& fast_open) {
  Request& r = table_[request];
  TcpOptions options;
  options.md5 = Md5Of(l, tuple.remote) != nullptr;
  options.mss = mss;
  options.sack_permitted = r.sack_ok;
  if (r.wscale_ok) options.window_scale = static_cast<uint8_t>(r.rcv_wscale);
  if (r.timestamps_ok) {
    if (r.first_tsval == 0) {
      if (tsval == 0) tsval = UINT32_MAX;  // 0 says that none was sent yet
      r.first_tsval = tsval;
    }
    r.last_tsval = tsval;
    options.timestamps = TcpTimestamps{tsval, r.ts_recent};
  }
  options.fast_open = fast_open;
  CommitSynAck(l, frame, tuple, r.iss, r.irs, r.rcv_wnd, options, EcnAnswer(l, r.ecn_ok));
}

// Again, for a duplicate SYN (turned round in its buffer) or by the timer. False: no buffer.
bool PassiveOpen::ResendSynAck(const Listener& l, uint32_t request, Segment* duplicate) {
  Request& r = table_[request];
  const FourTuple tuple = table_.TupleOf(request);
  if (!r.path.valid && !context_.egress.FindPath(tuple.local, tuple.remote, &r.path)) return false;
  TxFrame frame;
  if (duplicate != nullptr) {
    if (!context_.egress.BeginReply(*duplicate->packet, &frame)) return false;
  } else if (!context_.egress.Begin(r.path, tuple.remote.family(), &frame, true)) {
    return false;
  }
  SendSynAck(l, frame, request, tuple, AdvertisedMss(l, tuple.remote.family(), r.path.mtu),
             Tsval(r, tuple));
  if (r.num_retrans < UINT8_MAX) ++r.num_retrans;
  context_.counters.Add(Counter::TcpRetransSegs);
  context_.counters.Add(Counter::TcpExtTCPSynRetrans);
  return true;
}

// The ACK for a segment that cannot be right, saying where the handshake stands.
void PassiveOpen::SendRequestAck(const Listener& l, uint32_t request, Segment& s) {
  const Request& r = table_[request];
  TxFrame frame;
  if (!context_.egress.BeginReply(*s.packet, &frame)) return;
  TcpHeader h;
  h.src_port = s.tuple.local_port;
  h.dst_port = s.tuple.remote_port;
  h.seq = r.iss + 1;
  h.ack = r.irs + 1;
  h.flags = TcpFlags::kAck;
  h.window = static_cast<uint16_t>(r.rcv_wnd >> r.rcv_wscale);
  TcpOptions options;
  const Md5Key* const md5 = Md5Of(l, s.tuple.remote);
  options.md5 = md5 != nullptr;
  if (r.ts_recent != 0) options.timestamps = TcpTimestamps{Tsval(r, s.tuple), r.ts_recent};
  const size_t size = h.Emit(frame.l4, options);
  if (md5 != nullptr) [[unlikely]]
    SignSegment(*md5, s.tuple, frame.l4, static_cast<uint16_t>(size), 0);
  context_.egress.CommitTcp(frame, {.local = s.tuple.local,
                                    .remote = s.tuple.remote,
                                    .header_length = static_cast<uint16_t>(size),
                                    .payload_length = 0,
                                    .payload_sum = 0});
  context_.counters.Add(Counter::TcpOutSegs);
}

}  // namespace usher
