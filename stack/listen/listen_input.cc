// A segment at LISTEN (RFC 9293 section 3.10.7.2), and where nobody listens (3.10.7.1).
#include <algorithm>

#include "stack/listen/passive_open.h"
#include "stack/tcp/reset.h"
#include "stack/tcp/window.h"
#include "stack/wire/ecn.h"
#include "stack/wire/ethernet.h"

namespace usher {
namespace {

// What a peer that says nothing is taken to accept: RFC 9293 section 3.7.1.
constexpr uint16_t kDefaultMssV4 = 536;
constexpr uint16_t kDefaultMssV6 = 1220;

// The headers of `s`, network header first; empty: it was put together from fragments.
std::span<const uint8_t> HeadersOf(const Segment& s) {
  const L4Packet& packet = *s.packet;
  const auto ethernet = EthernetView::Parse({packet.packet.data, packet.packet.length});
  const uint8_t* const begin = packet.packet.data + (ethernet ? ethernet->header_size() : 0);
  const uint8_t* const end = s.payload;
  if (!ethernet || end <= begin || end - begin > packet.packet.length) return {};
  return {begin, static_cast<size_t>(end - begin)};
}

bool IsAck(const Segment& s) { return s.Has(TcpFlags::kAck) && !s.Has(TcpFlags::kRst); }

}  // namespace

// ---- Ends ----

// As Linux's tcp_listendrop.
PassiveOpen::Outcome PassiveOpen::Refuse(Listener& l, DropReason reason) {
  l.counters.drops.Add(reason);
  ++l.counters.listen_drops;
  context_.counters.Add(Counter::TcpExtListenDrops);
  return {};
}

PassiveOpen::Outcome PassiveOpen::Overflow(Listener& l, DropReason reason) {
  ++l.counters.listen_overflows;
  context_.counters.Add(Counter::TcpExtListenOverflows);
  ConsiderLease(l);
  return Refuse(l, reason);
}

PassiveOpen::Outcome PassiveOpen::Reset(Listener& l, DropReason reason, Segment& s) {
  l.counters.drops.Add(reason);
  SendReset(context_.egress, context_.counters, s, Md5Of(l, s.tuple.remote));
  return {};
}

bool PassiveOpen::CheckSigned(Listener& l, const Segment& s) {
  if (PassSignature(context_.counters, Md5Of(l, s.tuple.remote), s)) return true;
  if (s.IsRequest()) l.counters.drops.Add(DropReason::kSynSignature);
  if (IsAck(s)) l.counters.drops.Add(DropReason::kAckSignature);
  return false;
}

void PassiveOpen::CountSegment(ListenerCounters& counters, const Segment& s) {
  if (s.IsRequest()) ++counters.syns;
  if (IsAck(s)) ++counters.acks;
}

PassiveOpen::Outcome PassiveOpen::OnListen(Segment& s, std::optional<Seq> time_wait_iss) {
  Listener* l = Find(s.tuple);
  if (l != nullptr) {
    CountSegment(l->counters, s);
    if (!PassSigned(*l, s)) return {};
    if (s.IsRequest() && !s.Has(TcpFlags::kFin)) [[likely]]
      return OnSyn(*l, s, time_wait_iss);
    return AtListener(*l, s, time_wait_iss);
  }
  CountSegment(nobody_, s);
  if (s.IsRequest()) nobody_.drops.Add(DropReason::kSynNoListener);
  if (IsAck(s)) nobody_.drops.Add(DropReason::kAckNoListener);
  SendReset(context_.egress, context_.counters, s);
  return {};
}

void PassiveOpen::OnTimeWaitRefusal(const Segment& syn) {
  Listener* l = Find(syn.tuple);
  ListenerCounters& counters = l != nullptr ? l->counters : nobody_;
  CountSegment(counters, syn);
  counters.drops.Add(DropReason::kSynTimeWait);
}

// Cookies are looked for first: an ACK that completes a handshake nobody remembers comes here too.
PassiveOpen::Outcome PassiveOpen::AtListener(Listener& l, Segment& s,
                                             std::optional<Seq> time_wait_iss, bool of_request) {
  if (s.Has(TcpFlags::kRst)) {
    const uint32_t parked = ParkedAt(s.tuple);
    if (parked != kNone && s.seq == parking_[parked].handshake.irs + 1)
      Unpark(parked, DropReason::kAckParkedGone);
    return {};
  }
  if (s.Has(TcpFlags::kAck)) {
    if (s.Has(TcpFlags::kSyn)) return Reset(l, DropReason::kAckWithSyn, s);
    return OnCookieAck(l, s, of_request);
  }
  if (!s.Has(TcpFlags::kSyn)) return {};
  if (s.Has(TcpFlags::kFin)) {
    l.counters.drops.Add(DropReason::kSynBadFlags);
    return {};
  }
  return OnSyn(l, s, time_wait_iss);
}

// ---- SYN ----

PassiveOpen::Offer PassiveOpen::ReadOffer(const Listener& l, const Segment& s) const {
  const Sysctls& sysctls = context_.sysctls;
  Offer offer;
  offer.mss = s.tuple.remote.is_v4() ? kDefaultMssV4 : kDefaultMssV6;
  if (s.options.mss) {
    offer.mss = *s.options.mss;
    if (l.spec.options.user_mss != 0) offer.mss = std::min(offer.mss, l.spec.options.user_mss);
  }
  if (sysctls.tcp_timestamps != 0 && s.options.timestamps) {
    offer.timestamps = true;
    offer.tsval = s.options.timestamps->value;
  }
  offer.sack = sysctls.tcp_sack != 0 && s.options.sack_permitted;
  if (sysctls.tcp_window_scaling != 0) offer.window_scale = s.options.window_scale;
  offer.ecn = GrantsEcn(l, s);
  return offer;
}

// RFC 3168 section 6.1.1. A SYN that is itself marked ECT was meddled with on its way, unless its
// sender knows newer rules (RFC 9768, told by the third flag; as Linux, by any flag that is newer
// than these rules) or DCTCP is spoken here.
bool PassiveOpen::GrantsEcn(const Listener& l, const Segment& syn) const {
  constexpr uint16_t kSetup = TcpFlags::kEce | TcpFlags::kCwr;
  if ((syn.flags & kSetup) != kSetup) return false;
  if (NeedsEcn(CongestionOf(context_, l.spec.options))) return true;
  if (context_.sysctls.tcp_ecn == 0) return false;
  constexpr uint8_t kUnknown = 0x0f;  // AE and the three bits that are still reserved
  return EcnOf(syn.packet->tos) == Ecn::kNotEct || (syn.packet->l4[12] & kUnknown) != 0;
}

// The order of these questions is what a client of an overloaded Linux server sees; see README.md.
PassiveOpen::Outcome PassiveOpen::OnSyn(Listener& l, Segment& s, std::optional<Seq> time_wait_iss) {
  const Sysctls& sysctls = context_.sysctls;
  if (s.packet->to_multicast) return Refuse(l, DropReason::kSynNotUnicast);
  const bool bsd = l.model == ListenModel::kBsd;
  bool by_cookie = false;
  if (bsd) {
    if (l.LogicalQueueFull()) return Overflow(l, DropReason::kSynQueueFull);
  } else {
    if (!time_wait_iss && (sysctls.tcp_syncookies == 2 || l.HalfOpenFull())) {
      if (sysctls.tcp_syncookies == 0) {
        ++l.counters.req_q_full_drop;
        context_.counters.Add(Counter::TcpExtTCPReqQFullDrop);
        return Refuse(l, DropReason::kSynHalfOpenFull);
      }
      by_cookie = true;
      ++l.counters.req_q_full_do_cookies;
      context_.counters.Add(Counter::TcpExtTCPReqQFullDoCookies);
    }
    // Classic: as long as the table holds old requests only, one more may try its luck.
    if (l.AcceptQueueFull() && (l.model == ListenModel::kLinux || l.young > 1))
      return Overflow(l, DropReason::kSynAcceptQueueFull);
  }
  const uint16_t mtu = context_.egress.RouteMtu(s.tuple.local, s.tuple.remote);
  if (mtu == 0) return Refuse(l, DropReason::kSynNoRoute);
  if (!bsd && !time_wait_iss && sysctls.tcp_syncookies == 0 && InLastQuarter(l))
    return Refuse(l, DropReason::kSynLastQuarter);

  // A client that begins anew has given up what is parked.
  if (const uint32_t parked = ParkedAt(s.tuple); parked != kNone)
    Unpark(parked, DropReason::kAckParkedGone);
  Offer offer = ReadOffer(l, s);
  if (!by_cookie) {
    std::optional<FastOpenOption> fast_open;
    const bool is_signed = Md5Of(l, s.tuple.remote) != nullptr;
    // Beside a signature there is no room for SACK blocks and timestamps, nor for Fast Open's
    // cookie.
    if (is_signed && offer.sack) [[unlikely]] {
      offer.timestamps = false;
      offer.tsval = 0;
    }
    if (!is_signed && JudgeFastOpen(l, s, &fast_open)) {
      TcpConnection* child = OpenFast(l, s, offer, mtu, time_wait_iss, fast_open);
      if (child != nullptr) return {.child = child};
    }
    return AddRequest(l, s, offer, mtu, time_wait_iss, fast_open);
  }
  if (l.spec.strict_cookies && !offer.timestamps) return Refuse(l, DropReason::kSynNoTimestamp);
  AnswerByCookie(l, s, offer, mtu);
  return {};
}

// Without cookies the last quarter of tcp_max_syn_backlog is kept for peers that have proved to be
// alive. This stack remembers no peers, so all are strangers.
bool PassiveOpen::InLastQuarter(const Listener& l) const {
  const int64_t most = context_.sysctls.tcp_max_syn_backlog;
  const int64_t used = static_cast<int64_t>(l.half_open) * config_.shard_count;
  return most - used < most >> 2;
}

// A SYN-ACK that holds all we would have to remember. The packet that brought the SYN takes it
// back; no memory is taken and no table written.
void PassiveOpen::AnswerByCookie(Listener& l, Segment& s, const Offer& offer, uint16_t mtu) {
  last_by_cookie_ = true;
  const SynCookies::Cookie cookie = SynCookies::Make(CookieHashesForSyn(s), s.tuple.remote.is_v4(),
                                                     s.seq, offer.mss, context_.now);
  l.last_cookie = context_.now;
  l.cookies_sent_before = true;
  ConsiderLease(l);
  ++l.counters.syncookies_sent;
  context_.counters.Add(Counter::TcpExtSyncookiesSent);

  TcpOptions options;
  options.md5 = Md5Of(l, s.tuple.remote) != nullptr;
  options.mss = AdvertisedMss(l, s.tuple.remote.family(), mtu);
  bool wscale_ok = false;
  if (offer.timestamps) {
    wscale_ok = offer.window_scale.has_value();
    options.sack_permitted = offer.sack;
    const CookieOptions carried{
        .window_scale = offer.window_scale, .sack = offer.sack, .ecn = offer.ecn};
    options.timestamps = TcpTimestamps{carried.PutInto(TimestampClock(context_.now)) +
                                           TimestampOffset(s, context_.sysctls.tcp_timestamps == 1),
                                       offer.tsval};
  }
  const InitialWindow window = WindowFor(
      l, *options.mss - (offer.timestamps ? uint32_t{kTimestampsOnlySize} : 0), wscale_ok);
  if (wscale_ok) options.window_scale = window.wscale;
  TxFrame frame;
  if (!context_.egress.BeginReply(*s.packet, &frame)) return;
  CommitSynAck(l, frame, s.tuple, cookie.iss, s.seq, window.on_syn(), options,
               EcnAnswer(l, offer.timestamps && offer.ecn));
}

PassiveOpen::Outcome PassiveOpen::AddRequest(Listener& l, Segment& s, const Offer& offer,
                                             uint16_t mtu, std::optional<Seq> time_wait_iss,
                                             const std::optional<FastOpenOption>& fast_open) {
  const uint32_t index = table_.Allocate(s.tuple);
  if (index == kNone) return Refuse(l, DropReason::kSynNoRecord);
  last_by_cookie_ = false;
  Request& r = table_[index];
  r.listener = l.id;
  r.reuseport = l.spec.reuseport;
  r.irs = s.seq;
  r.iss = time_wait_iss ? *time_wait_iss : IsnForSyn(s);
  r.peer_mss = offer.mss;
  r.timestamps_ok = offer.timestamps;
  r.timestamps_shifted = context_.sysctls.tcp_timestamps == 1;
  r.ts_recent = offer.tsval;
  r.sack_ok = offer.sack;
  r.ecn_ok = offer.ecn;
  r.wscale_ok = offer.window_scale.has_value();
  r.snd_wscale = offer.window_scale.value_or(0);
  const uint16_t mss = AdvertisedMss(l, s.tuple.remote.family(), mtu);
  const InitialWindow window =
      WindowFor(l, mss - (offer.timestamps ? uint32_t{kTimestampsOnlySize} : 0), r.wscale_ok);
  r.rcv_wnd = window.on_syn();
  r.rcv_wscale = window.wscale;
  r.syn_ack_sent_us = static_cast<uint32_t>(context_.now.us());
  ++l.half_open;
  ConsiderLease(l);
  ++l.young;
  ++l.counters.requests;
  table_.SetTimer(index, context_.now + TimeoutOf(r));
  if (l.spec.save_syn) SaveSyn(index, s);
  TxFrame frame;  // without a buffer the timer sends it
  if (context_.egress.BeginReply(*s.packet, &frame))
    SendSynAck(
        l, frame, index, s.tuple, mss,
        TimestampClock(context_.now) + TimestampOffset(s, context_.sysctls.tcp_timestamps == 1),
        fast_open);
  return {.new_request = index};
}

void PassiveOpen::SaveSyn(uint32_t request, const Segment& s) {
  const auto headers = HeadersOf(s);
  if (headers.empty()) return;
  saved_syns_.Save(request, headers);
  table_[request].has_saved_syn = true;
}

void PassiveOpen::SaveSynOfChild(uint32_t slot, const Segment& s) {
  if (const auto headers = HeadersOf(s); !headers.empty())
    saved_syns_.SaveOfConnection(slot, headers);
}

// ---- ACK of a cookie ----

// Whether a cookie may be on its way back: only then an ACK is worth a hash. The members of a group
// answer for each other, since one may have been added or closed meanwhile.
bool PassiveOpen::CookiesExpected(const Listener& l) const {
  const auto sent_lately = [this](const Listener& x) {
    return x.cookies_sent_before && context_.now - x.last_cookie <= SynCookies::kLife;
  };
  if (context_.sysctls.tcp_syncookies == 0) return false;
  if (sent_lately(l)) return true;
  if (!l.spec.reuseport) return false;
  for (uint32_t i = PortHead(l.spec.port); i != kNone; i = listeners_[i].next) {
    const Listener& other = listeners_[i];
    if (other.spec.port == l.spec.port && other.spec.address == l.spec.address &&
        other.spec.reuseport && sent_lately(other))
      return true;
  }
  return false;
}

PassiveOpen::Outcome PassiveOpen::OnCookieAck(Listener& l, Segment& s, bool of_request) {
  if (!CookiesExpected(l)) return Reset(l, DropReason::kAckUnexpected, s);
  const Sysctls& sysctls = context_.sysctls;
  const uint32_t offset = TimestampOffset(s.tuple, sysctls.tcp_timestamps == 1);
  const auto& timestamps = s.options.timestamps;
  const SynCookies::Verdict verdict = cookies_.Check(s.tuple, s.seq, s.ack, context_.now);
  if (verdict.mss == 0 || (l.spec.strict_cookies &&
                           !(timestamps && SynCookies::EchoFits(timestamps->echo - offset,
                                                                verdict.count, context_.now)))) {
    ++l.counters.syncookies_failed;
    context_.counters.Add(Counter::TcpExtSyncookiesFailed);
    return Reset(l, DropReason::kAckCookieFailed, s);
  }
  ++l.counters.syncookies_recv;
  context_.counters.Add(Counter::TcpExtSyncookiesRecv);

  HandshakeResult h;
  if (timestamps && !TakeCookieOptions(l, *timestamps, offset, &h))
    return Reset(l, DropReason::kAckCookieOptions, s);
  h.tuple = s.tuple;
  if (!context_.egress.FindPath(s.tuple.local, s.tuple.remote, &h.path))
    return Refuse(l, DropReason::kAckNoRoute);
  h.iss = s.ack - 1;
  h.irs = s.seq - 1;
  h.peer_mss = verdict.mss;
  h.window = s.window;
  const uint16_t mss = AdvertisedMss(l, s.tuple.remote.family(), h.path.mtu);
  const InitialWindow offered =
      WindowFor(l, mss - (h.timestamps_ok ? uint32_t{kTimestampsOnlySize} : 0), h.wscale_ok);
  h.window_clamp = offered.window_clamp;
  h.rcv_wscale = offered.wscale;
  // As Linux (cookie_v4_check), in whole segments of the cookie's MSS, though the SYN-ACK offered
  // whole segments of ours. DEVIATION(RFC 9293 3.8.6): that may be less, by less than a segment of
  // a window of tens: no client's first flight comes near it.
  h.rcv_wnd = WindowFor(l, verdict.mss, h.wscale_ok).rcv_wnd;
  h.syn_ack_sent = context_.now;
  if (h.timestamps_ok) h.handshake_rtt = EchoRoundTrip(s.options.timestamps, h.ts_offset);
  return CompleteCookie(l, h, of_request);
}

// What TSval carried of the SYN's options. False: it claims what this side would not have granted.
bool PassiveOpen::TakeCookieOptions(const Listener& l, const TcpTimestamps& timestamps,
                                    uint32_t offset, HandshakeResult* h) const {
  const Sysctls& sysctls = context_.sysctls;
  if (sysctls.tcp_timestamps == 0) return true;  // then they were not offered: ignored
  // An echo of 0 comes from a peer that has nothing to echo, and carries no options.
  const uint32_t clock = timestamps.echo != 0 ? timestamps.echo - offset : 0;
  const CookieOptions options = CookieOptions::TakeFrom(clock);
  h->timestamps_ok = true;
  h->ts_recent = timestamps.value;
  h->ts_offset = offset;
  h->sack_ok = options.sack;
  h->ecn_ok =
      options.ecn && (sysctls.tcp_ecn != 0 || NeedsEcn(CongestionOf(context_, l.spec.options)));
  h->wscale_ok = options.window_scale.has_value();
  h->snd_wscale = std::min<uint8_t>(options.window_scale.value_or(0), TcpOptions::kMaxWindowScale);
  return (!h->sack_ok || sysctls.tcp_sack != 0) &&
         (!h->wscale_ok || sysctls.tcp_window_scaling != 0);
}

PassiveOpen::Outcome PassiveOpen::CompleteCookie(Listener& l, const HandshakeResult& h,
                                                 bool of_request) {
  const uint32_t parked = ParkedAt(h.tuple);
  if (l.AcceptQueueFull()) {
    if (parked != kNone) {
      l.counters.drops.Add(DropReason::kAckParkedAgain);
      return {};
    }
    return Park(l, h) ? Outcome{} : Overflow(l, DropReason::kAckCookieQueueFull);
  }
  if (of_request) {  // the name is taken by a later SYN; Linux notices when the child is made
    context_.counters.Add(Counter::TcpPassiveOpens);
    l.counters.drops.Add(DropReason::kAckCookieOfRequest);
    return {};
  }
  TcpConnection* child = MakeChild(l, h, Origin::kCookie);
  if (child == nullptr) return Refuse(l, DropReason::kAckNoConnection);
  // The ACK that was parked is not needed.
  if (parked != kNone) Unpark(parked, DropReason::kAckParkedAgain);
  ++l.counters.completed_by_cookie;
  return {.child = child, .feed_child = true};
}

// Takes an ACK out of the parking table. The listener that parked it may be another member of the
// group than the one that its tuple meets now: members come and go.
void PassiveOpen::Unpark(uint32_t parked, DropReason reason) {
  Listener& l = *FromId(parking_[parked].listener);
  parking_.Remove(parked);
  --l.parked;
  l.counters.drops.Add(reason);
}

}  // namespace usher
