// Listeners and their queues: the user's calls, the choice of a listener, and children.
#include "stack/listen/passive_open.h"

#include <algorithm>
#include <bit>

namespace usher {
namespace {

// A listener's id is its slot's index and as much of the generation as fits: half-open requests and
// children may outlive it.
constexpr uint32_t kIndexBits = 12;
constexpr uint32_t kMaxListeners = (1u << kIndexBits) - 1;
uint32_t IdOf(Handle handle) { return (handle.generation >> 1) << kIndexBits | handle.index; }

constexpr uint8_t kMaxSynCount = 127;

bool IsWildcard(const IpAddress& address) { return address.is_unspecified(); }

// Whether two listeners' addresses have any destination in common.
bool Overlap(const IpAddress& a, bool a_v6_only, const IpAddress& b, bool b_v6_only) {
  if (a == b) return true;
  const auto covers = [](const IpAddress& x, bool v6_only, const IpAddress& y) {
    if (!IsWildcard(x)) return false;
    return x.is_v4() ? y.is_v4() : !y.is_v4() || !v6_only;
  };
  return covers(a, a_v6_only, b) || covers(b, b_v6_only, a);
}

uint64_t Seed(RandomSource& random) {
  const SipKey key = SipKey::From(random);
  return key.k0;
}

}  // namespace

PassiveOpen::PassiveOpen(TcpContext& context, ObjectPool<TcpConnection>& connections,
                         const PassiveOpenConfig& config, RandomSource& random)
    : context_(context),
      connections_(connections),
      config_(config),
      group_key_(SipKey::From(random)),
      random_(Seed(random)),
      cookies_(random),
      table_(config.max_requests),
      fast_open_cookies_(random),
      fast_open_resets_(config.max_fast_open_resets),
      saved_syns_(config.max_saved_syns, table_.index_limit(), connections.capacity()),
      parking_(config.max_parked_acks),
      listeners_(std::min(config.max_listeners, kMaxListeners)),
      port_heads_(std::bit_ceil(std::max(64u, config.max_listeners)), kNone) {
  ApplyFastOpenKeys();
}

PassiveOpen::~PassiveOpen() = default;

// ---- The user's calls ----

void PassiveOpen::Limit(Listener& l, int backlog) {
  l.spec.backlog = backlog;
  l.whole = ClampBacklog(l.model, backlog, context_.sysctls.somaxconn,
                         context_.sysctls.tcp_max_syn_backlog);
  SetPlaces(l);
}

BacklogLimits PassiveOpen::LimitsInForce(const Listener& l) const {
  const Sysctls& sysctls = context_.sysctls;
  if (l.model == ListenModel::kBsd || sysctls.tcp_syncookies != 0) return l.whole;
  return WithoutCookies(l.whole, sysctls.tcp_max_syn_backlog);
}

// bind() refuses a name that another listener would answer to as well, unless both are ready to
// share (SO_REUSEPORT).
bool PassiveOpen::Conflicts(const ListenSpec& spec, uint16_t port) const {
  for (uint32_t i = PortHead(port); i != kNone; i = listeners_[i].next) {
    const ListenSpec& other = listeners_[i].spec;
    if (other.port != port || (spec.reuseport && other.reuseport)) continue;
    if (Overlap(spec.address, spec.v6_only, other.address, other.v6_only)) return true;
  }
  return false;
}

uint16_t PassiveOpen::EphemeralPort(const ListenSpec& spec) {
  const auto [low, high] = context_.sysctls.ip_local_port_range;
  const auto count = static_cast<uint32_t>(high - low + 1);
  const auto start = static_cast<uint32_t>(random_.Uniform(count));
  for (uint32_t i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(static_cast<uint32_t>(low) + (start + i) % count);
    if (!Conflicts(spec, port)) return port;
  }
  return 0;
}

Error PassiveOpen::Listen(const ListenSpec& spec, Handle* out) {
  if (spec.syncnt > kMaxSynCount) return Error::kInvalid;
  if (spec.address.is_multicast() && !spec.address.is_v4()) return Error::kInvalid;
  // As Linux: the many that an IPv4 address may stand for may be listened at, though no TCP comes.
  if (!IsWildcard(spec.address) && !spec.address.is_multicast() &&
      !context_.egress.IsLocal(spec.address) && !context_.egress.IsOurBroadcast(spec.address))
    return Error::kAddressNotAvailable;
  uint16_t port = spec.port;
  if (port == 0) port = EphemeralPort(spec);
  if (port == 0 || Conflicts(spec, port)) return Error::kAddressInUse;
  const uint32_t index = listeners_.Allocate();
  if (index == kNone) return Error::kNoBuffers;

  Listener& l = listeners_[index];
  *out = listeners_.HandleOf(index);
  l.spec = spec;
  l.spec.port = port;
  l.model = spec.model.value_or(config_.default_model);
  l.id = IdOf(*out);
  l.defer_accept_retries = DeferAcceptRetries(spec.defer_accept_s);
  Limit(l, spec.backlog);
  LimitFastOpen(l);
  l.next = PortHead(port);
  PortHead(port) = index;
  return Error::kNone;
}

Error PassiveOpen::SetBacklog(Handle listener, int backlog) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  Limit(*l, backlog);
  places_freed_ = true;
  if (l->lease.listener == 0) return Error::kNone;
  ++l->lease.turn;
  l->lease.turn_of = static_cast<uint16_t>(config_.shard_index);
  for (uint32_t i = 0; i < config_.shard_count; ++i) {
    if (i == config_.shard_index) continue;
    Send(PlaceMessage::Kind::kBacklog, i, l->lease.listener, backlog);
    outbox_.back().turn = l->lease.turn;
  }
  return Error::kNone;
}

TcpConnection* PassiveOpen::Accept(Handle listener, Error* error) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) {
    *error = Error::kBadHandle;
    return nullptr;
  }
  TcpConnection* child = l->accept_queue.Pop(connections_);
  *error = child != nullptr ? Error::kNone : Error::kAgain;
  if (child == nullptr) return nullptr;
  child->OnAccepted(context_);
  ++l->counters.accepted;
  places_freed_ = true;
  return child;
}

Error PassiveOpen::SetMd5Rule(Handle listener, const Md5Rule& rule) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  return usher::SetMd5Rule(l->spec.md5, rule) ? Error::kNone : Error::kInvalid;
}

Error PassiveOpen::SetDeferAccept(Handle listener, uint32_t seconds) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  l->spec.defer_accept_s = seconds;
  l->defer_accept_retries = DeferAcceptRetries(seconds);
  return Error::kNone;
}

Error PassiveOpen::SetSynCount(Handle listener, int count) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  if (count < 1 || count > kMaxSynCount) return Error::kInvalid;
  l->spec.syncnt = static_cast<uint8_t>(count);
  return Error::kNone;
}

Error PassiveOpen::SetSaveSyn(Handle listener, bool on) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  l->spec.save_syn = on;
  return Error::kNone;
}

Error PassiveOpen::SetChildOptions(Handle listener, const TcpOptionsSet& options) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  l->spec.options = options;
  return Error::kNone;
}

// ---- Finding a listener ----

// How well `l` fits: the address itself, then the wildcard of its family, then dual stack; 0: not.
int PassiveOpen::Rank(const Listener& l, const IpAddress& local, uint16_t port) const {
  if (l.spec.port != port) return 0;
  if (l.spec.address == local) return 3;
  if (!IsWildcard(l.spec.address)) return 0;
  if (l.spec.address.is_v4() == local.is_v4()) return 2;
  return local.is_v4() && !l.spec.v6_only ? 1 : 0;
}

Listener* PassiveOpen::Find(const FourTuple& tuple) {
  const uint32_t head = PortHead(tuple.local_port);
  if (head == kNone) return nullptr;
  Listener& l = listeners_[head];
  if (l.next != kNone) [[unlikely]]
    return FindAmong(tuple);
  return Rank(l, tuple.local, tuple.local_port) != 0 ? &l : nullptr;
}

// The same where the port's list has more than one.
Listener* PassiveOpen::FindAmong(const FourTuple& tuple) {
  int best = 0;
  uint32_t members = 0;
  uint32_t found = kNone;
  for (uint32_t i = PortHead(tuple.local_port); i != kNone; i = listeners_[i].next) {
    const int rank = Rank(listeners_[i], tuple.local, tuple.local_port);
    if (rank == 0 || rank < best) continue;
    if (rank > best) members = 0;
    best = rank;
    found = i;
    ++members;
  }
  if (found == kNone) return nullptr;
  if (members == 1) return &listeners_[found];
  // SO_REUSEPORT: the same peer and port always meet the same member, and no peer can choose it.
  const auto hash = static_cast<uint32_t>(TableHash(group_key_, tuple));
  uint64_t chosen = static_cast<uint64_t>(hash) * members >> 32;
  for (uint32_t i = PortHead(tuple.local_port);; i = listeners_[i].next) {
    if (Rank(listeners_[i], tuple.local, tuple.local_port) != best) continue;
    if (chosen-- == 0) return &listeners_[i];
  }
}

bool PassiveOpen::HasListener(const IpAddress& local, uint16_t port) const {
  for (uint32_t i = PortHead(port); i != kNone; i = listeners_[i].next)
    if (Rank(listeners_[i], local, port) != 0) return true;
  return false;
}

Listener* PassiveOpen::FromId(uint32_t id) {
  const uint32_t index = id & kMaxListeners;
  if (!listeners_.IsLive(index)) return nullptr;
  Listener& l = listeners_[index];
  return l.id == id ? &l : nullptr;
}

void PassiveOpen::Unlist(Listener& l) {
  const uint32_t index = l.id & kMaxListeners;
  uint32_t* link = &PortHead(l.spec.port);
  while (*link != index) link = &listeners_[*link].next;
  *link = l.next;
  if (!l.ready_queued) return;
  link = &ready_head_;
  uint32_t previous = kNone;
  while (*link != index) {
    previous = *link;
    link = &listeners_[*link].next_ready;
  }
  *link = l.next_ready;
  if (ready_tail_ == index) ready_tail_ = previous;
}

// The rest of the group goes on to look for the cookies that `closed` sent.
void PassiveOpen::BequeathCookies(const Listener& closed) {
  if (!closed.spec.reuseport || !closed.cookies_sent_before) return;
  for (uint32_t i = PortHead(closed.spec.port); i != kNone; i = listeners_[i].next) {
    Listener& l = listeners_[i];
    if (l.spec.port != closed.spec.port || l.spec.address != closed.spec.address) continue;
    if (!l.cookies_sent_before || l.last_cookie < closed.last_cookie)
      l.last_cookie = closed.last_cookie;
    l.cookies_sent_before = true;
  }
}

Listener* PassiveOpen::Heir(const Listener& closed, const FourTuple& tuple) {
  if (!Migrates(closed)) return nullptr;
  Listener* heir = Find(tuple);
  return heir != nullptr && heir->spec.reuseport ? heir : nullptr;
}

// ---- Children ----

TcpConnection* PassiveOpen::MakeChild(Listener& l, const HandshakeResult& handshake,
                                      Origin origin) {
  const Md5Key* const md5 = Md5Of(l, handshake.tuple.remote);
  if (md5 != nullptr && !context_.md5_keys.HasRoomFor(*md5)) return nullptr;
  const uint32_t slot = connections_.Allocate();
  if (slot == kNone) return nullptr;
  TcpConnection& child = connections_[slot];
  child.OpenPassive(context_, slot, handshake, l.spec.options, md5);
  child.origin = origin;
  context_.counters.Add(Counter::TcpPassiveOpens);
  Enqueue(l, child);
  return &child;
}

// `child`, whose listener and all it counted is gone, will never be accepted: what was written down
// as completed was for nothing.
void PassiveOpen::NoteUnaccepted(const TcpConnection& child) {
  if (child.origin == Origin::kCookie)
    --nobody_.completed_by_cookie;
  else if (child.origin == Origin::kFastOpen)
    --nobody_.completed_fast_open;
  else
    --nobody_.completed;
  if (child.origin != Origin::kCookie) nobody_.drops.Add(DropReason::kSynEndedByClose);
  if (child.origin != Origin::kFastOpen) nobody_.drops.Add(DropReason::kAckEndedByClose);
}

void PassiveOpen::Enqueue(Listener& l, TcpConnection& child) {
  child.listener = l.id;
  l.accept_queue.Push(connections_, child.slot());
  ConsiderLease(l);
  if (l.ready_queued) return;
  const uint32_t index = l.id & kMaxListeners;
  l.ready_queued = true;
  l.next_ready = kNone;
  (ready_head_ == kNone ? ready_head_ : listeners_[ready_tail_].next_ready) = index;
  ready_tail_ = index;
}

// ---- Parking ----

bool PassiveOpen::Park(Listener& l, const HandshakeResult& handshake) {
  if (!l.spec.cookie_ack_parking) return false;
  if (!parking_.Add({handshake, l.id, context_.now + SynCookies::kLife})) return false;
  ++l.parked;
  ++l.counters.parked;
  return true;
}

TcpConnection* PassiveOpen::CompleteParked() {
  if (!places_freed_) return nullptr;
  for (uint32_t i = 0; i < parking_.size(); ++i) {
    Listener& l = *FromId(parking_[i].listener);
    if (l.AcceptQueueFull()) continue;
    TcpConnection* child = MakeChild(l, parking_[i].handshake, Origin::kCookie);
    if (child == nullptr) return nullptr;  // no slot: later
    parking_.Remove(i);
    --l.parked;
    ++l.counters.completed_by_cookie;
    return child;
  }
  places_freed_ = false;
  return nullptr;
}

void PassiveOpen::DropParkedOf(Listener& l) {
  for (uint32_t i = parking_.size(); l.parked > 0 && i-- > 0;) {
    if (parking_[i].listener != l.id) continue;
    parking_.Remove(i);
    --l.parked;
    nobody_.drops.Add(DropReason::kAckParkedGone);
  }
}

void PassiveOpen::ExpireParked() {
  while (parking_.size() > 0 && parking_[0].expires <= context_.now)
    Unpark(0, DropReason::kAckParkedGone);
}

Instant PassiveOpen::NextDeadline() const {
  const Instant parked = parking_.size() > 0 ? parking_[0].expires : Instant::Never();
  return std::min(table_.NextDeadline(), parked);
}

}  // namespace usher
