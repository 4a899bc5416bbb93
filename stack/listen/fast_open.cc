// Fast Open: cookies, and a SYN that may have one.
#include "stack/listen/fast_open.h"

#include <algorithm>
#include <array>

#include "stack/listen/passive_open.h"

namespace usher {
namespace {

// Of the SYN's two addresses as they stand in its header, so that usher and Linux machines with one
// key know each other's cookies.
std::array<uint8_t, FastOpenCookies::kSize> CookieOf(const SipKey& key, const IpAddress& local,
                                                     const IpAddress& remote) {
  std::array<uint8_t, 32> addresses;
  const size_t size = remote.is_v4() ? 4 : 16;
  if (remote.is_v4()) {
    StoreIpv4(addresses.data(), remote);
    StoreIpv4(addresses.data() + size, local);
  } else {
    StoreIpv6(addresses.data(), remote);
    StoreIpv6(addresses.data() + size, local);
  }
  const uint64_t hash = SipHash24(key, std::span(addresses).first(2 * size));
  std::array<uint8_t, FastOpenCookies::kSize> cookie;
  for (size_t i = 0; i < cookie.size(); ++i) cookie[i] = static_cast<uint8_t>(hash >> (8 * i));
  return cookie;
}

}  // namespace

FastOpenOption FastOpenCookies::Make(const IpAddress& local, const IpAddress& remote,
                                     bool experimental) const {
  FastOpenOption option;
  option.length = kSize;
  option.experimental = experimental;
  std::ranges::copy(CookieOf(primary_, local, remote), option.cookie.begin());
  return option;
}

FastOpenCookies::Match FastOpenCookies::Check(const IpAddress& local, const IpAddress& remote,
                                              const FastOpenOption& option) const {
  if (option.length != kSize) return Match::kNone;
  const auto is_of = [&](const SipKey& key) {
    return std::ranges::equal(option.bytes(), CookieOf(key, local, remote));
  };
  if (is_of(primary_)) return Match::kPrimary;
  if (backup_ && is_of(*backup_)) return Match::kBackup;
  return Match::kNone;
}

void PassiveOpen::ApplyFastOpenKeys() {
  const FastOpenKeys& keys = context_.sysctls.tcp_fastopen_key;
  if (!keys.given()) return;
  const auto key = [](const FastOpenKeys::Key& k) {
    return SipKey{k[0] | uint64_t{k[1]} << 32, k[2] | uint64_t{k[3]} << 32};
  };
  SetFastOpenKeys(key(keys.primary),
                  keys.backup ? std::optional<SipKey>(key(*keys.backup)) : std::nullopt);
}

Error PassiveOpen::SetFastOpen(Handle listener, int queue_length) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  if (queue_length < 0) return Error::kInvalid;
  l->spec.fastopen_qlen = static_cast<uint32_t>(queue_length);
  l->fast_open_whole =
      std::min(l->spec.fastopen_qlen, static_cast<uint32_t>(context_.sysctls.somaxconn));
  DealFastOpen(*l);
  return Error::kNone;
}

// As many pending as asked for, within somaxconn; with the bit for all listeners, the backlog's
// worth without asking. What was so once stays: listen() again changes nothing (as Linux).
void PassiveOpen::LimitFastOpen(Listener& l) {
  const Sysctls& sysctls = context_.sysctls;
  l.fast_open_whole = std::min(l.spec.fastopen_qlen, static_cast<uint32_t>(sysctls.somaxconn));
  constexpr int kAll = FastOpenBits::kServer | FastOpenBits::kAllListeners;
  if (l.fast_open_whole == 0 && (sysctls.tcp_fastopen & kAll) == kAll)
    l.fast_open_whole = l.whole.accept_limit;
  DealFastOpen(l);
}

// The limit is one for all shards. Places are dealt out, and not lent: what a shard has none for is
// a handshake like any other.
void PassiveOpen::DealFastOpen(Listener& l) {
  const bool shared = l.lease.listener != 0;
  l.fast_open_limit = DealtPlaces(l.fast_open_whole, shared ? config_.shard_index : 0,
                                  shared ? config_.shard_count : 1);
}

bool PassiveOpen::FastOpenRoom(Listener& l) {
  if (l.fast_open_limit == 0) return false;
  if (l.fast_open_pending < l.fast_open_limit) return true;
  if (fast_open_resets_.TakeExpired(l.id, context_.now)) {
    --l.fast_open_pending;
    return true;
  }
  context_.counters.Add(Counter::TcpExtTCPFastOpenListenOverflow);
  return false;
}

// What the SYN says about Fast Open, and what the SYN-ACK is to answer. True: the connection may
// begin with this SYN.
bool PassiveOpen::JudgeFastOpen(Listener& l, const Segment& s,
                                std::optional<FastOpenOption>* answer) {
  const auto& option = s.options.fast_open;
  const int bits = context_.sysctls.tcp_fastopen;
  if (option && option->length == 0) context_.counters.Add(Counter::TcpExtTCPFastOpenCookieReqd);
  if ((bits & FastOpenBits::kServer) == 0 || (!option && s.payload_length == 0) || !FastOpenRoom(l))
    return false;
  if ((bits & FastOpenBits::kNoCookieNeeded) != 0) return true;
  if (!option) return false;
  using Match = FastOpenCookies::Match;
  Match match = Match::kNone;
  if (option->length != 0) match = fast_open_cookies_.Check(s.tuple.local, s.tuple.remote, *option);
  if (match != Match::kPrimary)
    *answer = fast_open_cookies_.Make(s.tuple.local, s.tuple.remote, option->experimental);
  if (match == Match::kBackup) context_.counters.Add(Counter::TcpExtTCPFastOpenPassiveAltKey);
  if (match == Match::kNone && option->length != 0)
    context_.counters.Add(Counter::TcpExtTCPFastOpenPassiveFail);
  return match != Match::kNone;
}

// The connection begins at the SYN, and enters the accept queue with it. Null: no slot for it.
TcpConnection* PassiveOpen::OpenFast(Listener& l, Segment& s, const Offer& offer, uint16_t mtu,
                                     std::optional<Seq> time_wait_iss,
                                     const std::optional<FastOpenOption>& answer) {
  HandshakeResult h;
  h.tuple = s.tuple;
  if (!context_.egress.FindPath(s.tuple.local, s.tuple.remote, &h.path)) return nullptr;
  h.iss = time_wait_iss ? *time_wait_iss : IsnForSyn(s);
  h.irs = s.seq;
  h.peer_mss = offer.mss;
  h.window = s.window;
  const uint16_t mss = AdvertisedMss(l, s.tuple.remote.family(), mtu);
  h.wscale_ok = offer.window_scale.has_value();
  const InitialWindow window =
      WindowFor(l, mss - (offer.timestamps ? uint32_t{kTimestampsOnlySize} : 0), h.wscale_ok);
  h.rcv_wnd = window.rcv_wnd;
  h.window_clamp = window.window_clamp;
  h.snd_wscale = offer.window_scale.value_or(0);
  h.rcv_wscale = window.wscale;
  h.timestamps_ok = offer.timestamps;
  h.sack_ok = offer.sack;
  h.ecn_ok = offer.ecn;
  h.ts_recent = offer.tsval;
  h.ts_offset = TimestampOffset(s, context_.sysctls.tcp_timestamps == 1);
  h.syn_ack_sent = context_.now;

  const uint32_t slot = connections_.Allocate();
  if (slot == kNone) {
    context_.counters.Add(Counter::TcpExtTCPFastOpenPassiveFail);
    return nullptr;
  }
  TcpConnection& child = connections_[slot];
  child.fast_open_pending = true;
  TcpOptionsSet options = l.spec.options;
  if (l.spec.syncnt != 0) options.syn_retries = l.spec.syncnt;
  if (l.spec.save_syn) SaveSynOfChild(slot, s);  // before its packet becomes the answer
  child.OpenFastOpen(context_, slot, h, options, s, answer ? &*answer : nullptr);
  child.origin = Origin::kFastOpen;
  context_.counters.Add(Counter::TcpPassiveOpens);
  context_.counters.Add(Counter::TcpExtTCPFastOpenPassive);
  ++l.fast_open_pending;
  ++l.counters.completed_fast_open;
  Enqueue(l, child);
  return &child;
}

void PassiveOpen::OnFastOpenEnd(TcpConnection& child) {
  child.fast_open_pending = false;
  Listener* l = FromId(child.listener);
  if (l == nullptr) return;
  const bool reset = child.state() == TcpState::kClosed &&
                     child.error() == Error::kConnectionReset;  // RST in SYN-RECEIVED
  // While it waits to be accepted it has a place in that queue, too, which is bound enough.
  if (reset && child.accepted && fast_open_resets_.Hold(l->id, context_.now)) return;
  --l->fast_open_pending;
}

}  // namespace usher
