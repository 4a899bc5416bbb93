#include "stack/shard/shard.h"

#include <algorithm>
#include <array>
#include <bit>

#include "absl/strings/str_cat.h"

namespace usher {
namespace {

// Blocks of unacknowledged bytes, 2 KiB each: with a floor for few but fast connections, and no
// more than tcp_mem, where it is given, would let be filled; beyond it each connection may still
// have one (the least of tcp_wmem).
uint32_t SendBlocksFor(uint32_t max_connections, const Sysctls& sysctls) {
  const uint32_t blocks = std::max(32768u, std::min(2 * max_connections, 1u << 20));
  const uint64_t most = 2 * sysctls.tcp_mem[2];
  return most == 0 ? blocks
                   : static_cast<uint32_t>(std::min<uint64_t>(blocks, most + max_connections));
}

// Records of segments in flight: a connection at rest has none, so a few per connection do.
uint32_t SentSegmentsFor(uint32_t max_connections, const Sysctls& sysctls) {
  return std::max(2 * SendBlocksFor(max_connections, sysctls),
                  std::min(2 * max_connections, 4u << 20));
}

// Connections that may have data beyond a hole at once; that of others is dropped (TCPOFODrop).
uint32_t ReassembliesFor(uint32_t max_connections) {
  return std::min(max_connections, std::max(4096u, max_connections / 8));
}

constexpr uint32_t kExternalPieces = 65536;

// Frames on their way from one shard to another at most. Less where there are many shards, so that
// the rings of each take about 3 MiB.
uint32_t RingSize(uint32_t shards) { return std::clamp(std::bit_floor(2048 / shards), 64u, 256u); }

// Below 0 tcp_max_tw_buckets is no limit; the table still has one.
uint32_t TimeWaitRecordsFor(const ShardOptions& o) {
  const int32_t most = o.sysctls.tcp_max_tw_buckets;
  return most < 0 ? o.max_connections : static_cast<uint32_t>(most);
}

uint32_t FlowsFor(const ShardOptions& o) {
  return o.max_connections + o.passive_open.max_requests + 2 * TimeWaitRecordsFor(o);
}

RecoverySettings RecoveryFrom(const Sysctls& s) {
  RecoverySettings r;
  r.rto_min = Duration::Micros(s.tcp_rto_min_us);
  r.rto_max = Duration::Millis(s.tcp_rto_max_ms);
  r.reordering = static_cast<uint32_t>(s.tcp_reordering);
  r.max_reordering = static_cast<uint32_t>(s.tcp_max_reordering);
  r.loss_probe = s.tcp_early_retrans == 3 || s.tcp_early_retrans == 4;
  r.frto = s.tcp_frto != 0;
  r.static_reorder_window = (s.tcp_recovery & 2) != 0;
  r.no_duplicate_threshold = (s.tcp_recovery & 4) != 0;
  r.pacing_ss_percent = static_cast<uint32_t>(s.tcp_pacing_ss_ratio);
  r.pacing_ca_percent = static_cast<uint32_t>(s.tcp_pacing_ca_ratio);
  return r;
}

CongestionAlgorithm CongestionFrom(const Sysctls& s) {
  return ParseCongestionAlgorithm(s.tcp_congestion_control).value_or(CongestionAlgorithm::kCubic);
}

}  // namespace

void ResolveSysctls(Sysctls& s, uint32_t max_connections) {
  const auto n = static_cast<int32_t>(std::min<uint32_t>(max_connections, 1u << 29));
  if (s.tcp_max_syn_backlog == 0) s.tcp_max_syn_backlog = std::max(128, n / 128);
  if (s.tcp_max_tw_buckets == 0) s.tcp_max_tw_buckets = n;
  if (s.tcp_max_orphans == 0) s.tcp_max_orphans = std::max(n / 2, 1);
  if (s.tcp_mem[2] == 0) {
    const uint64_t blocks = SendBlocksFor(max_connections, s);
    const uint64_t pages = std::max<uint64_t>(blocks, 1024);  // twice the blocks' own pages
    s.tcp_mem = {pages / 2, pages * 2 / 3, pages};
  }
}

uint64_t Shard::MemoryNeeded(const ShardOptions& o) {
  return ObjectPool<TcpConnection>::BytesFor(o.max_connections) +
         ObjectPool<OutOfOrderQueue>::BytesFor(ReassembliesFor(o.max_connections)) +
         2 * TimerWheel::BytesFor(o.max_connections) + 2 * SlotQueue::BytesFor(o.max_connections) +
         TimeWaitTable::BytesFor(TimeWaitRecordsFor(o)) +
         SendBlockPool::BytesFor(SendBlocksFor(o.max_connections, o.sysctls), kExternalPieces) +
         size_t{SentSegmentsFor(o.max_connections, o.sysctls)} * sizeof(SentSegment) +
         Md5Keys::BytesFor() + SynTable::BytesFor(o.passive_open.max_requests) +
         FlowTable::BytesFor(FlowsFor(o)) + sizeof(Shard);
}

Shard::Shard(const ShardOptions& o, RandomSource& random)
    : index_(o.index),
      sysctls_(o.sysctls),
      isn_(random),
      egress_(counters_),
      memory_(o.sysctls.tcp_mem, counters_),
      send_blocks_(SendBlocksFor(o.max_connections, o.sysctls), kExternalPieces),
      sent_segments_(SentSegmentsFor(o.max_connections, o.sysctls)),
      reassembly_(ReassembliesFor(o.max_connections)),
      connection_timers_(o.max_connections),
      owner_timers_(o.max_connections),
      connections_(o.max_connections),
      events_due_(o.max_connections),
      output_due_(o.max_connections),
      time_wait_(TimeWaitRecordsFor(o)),
      demux_(FlowsFor(o), random),
      context_{.now = Instant(),
               .egress = egress_,
               .counters = counters_,
               .sysctls = sysctls_,
               .recovery_settings = RecoveryFrom(o.sysctls),
               .congestion = CongestionFrom(o.sysctls),
               .isn = isn_,
               .memory = memory_,
               .send_blocks = send_blocks_,
               .sent_segments = sent_segments_,
               .reassembly = reassembly_,
               .md5_keys = md5_keys_,
               .timers = connection_timers_,
               .events = events_due_,
               .output = output_due_},
      passive_open_(std::make_unique<PassiveOpen>(context_, connections_, o.passive_open, random)),
      port_key_(SipKey::From(random)) {
  egress_.set_default_ttl(o.sysctls.ip_default_ttl);
  dead_.reserve(o.max_connections);
}

Shard::~Shard() {
  connections_.ForEach([this](uint32_t i) {
    connections_[i].Destroy(context_);
    connections_.Free(i);
  });
  send_blocks_.releases().Run();
}

absl::StatusOr<std::unique_ptr<Shard>> Shard::Create(const ShardOptions& options,
                                                     std::span<const ShardInterface> interfaces,
                                                     RandomSource& random) {
  if (interfaces.empty()) return absl::InvalidArgumentError("a shard needs an interface");
  std::unique_ptr<Shard> shard(new Shard(options, random));
  for (size_t i = 0; i < interfaces.size(); ++i) {
    auto interface =
        Interface::Create(static_cast<uint8_t>(i), *interfaces[i].port, interfaces[i].config,
                          options.network, shard->counters_, random, options.network_events);
    if (!interface.ok()) return interface.status();
    shard->egress_.AddInterface(interface->get());
    shard->interfaces_.push_back(*std::move(interface));
    shard->ports_.push_back(interfaces[i].port);
  }
  return shard;
}

void Shard::Start(Instant now) {
  context_.now = now;
  for (auto& interface : interfaces_) interface->Start(now);
  egress_.Flush();
}

uint32_t Shard::FreePacketBuffers() const {
  uint32_t free = 0;
  for (size_t i = 0; i < ports_.size(); ++i) {
    const PacketPool* pool = &ports_[i]->pool();
    const bool counted = std::any_of(ports_.begin(), ports_.begin() + static_cast<ptrdiff_t>(i),
                                     [pool](Port* p) { return &p->pool() == pool; });
    if (!counted) free += pool->available();
  }
  return free;
}

uint32_t Shard::Poll(Instant now) {
  context_.now = now;
  uint32_t work = 0;
  for (size_t i = 0; i < interfaces_.size(); ++i) work += PollInterface(i);
  if (!inboxes_.empty()) work += ReceiveHandedOver();
  work += RunTimers();
  if (mailbox_.pending()) mailbox_.Run(*this);
  DeliverEvents();
  CompleteParked();
  if (!passive_open_->outbox().empty()) [[unlikely]]
    SendPlaceMessages();
  FlushOutput();
  egress_.Flush();
  Bury();
  return work;
}

uint32_t Shard::PollInterface(size_t i) {
  const uint32_t count = ports_[i]->RxBurst(burst_);
  if (count != 0) ReceiveBurst(i, std::span(burst_).first(count));
  return count;
}

void Shard::ReceiveBurst(size_t i, std::span<const Packet> burst) {
  interfaces_[i]->Receive(context_.now, burst, ingress_);
  ProcessSegments();
  for (uint32_t e = 0; e < ingress_.error_count; ++e) OnIcmpError(ingress_.errors[e]);
}

// ---- Siblings ----

void Shard::SetSiblings(std::span<Shard* const> all) {
  const auto count = static_cast<uint32_t>(all.size());
  if (count <= 1) return;
  siblings_.assign(all.begin(), all.end());
  demux_.set_key(all[0]->demux_.key());
  for (uint32_t i = 0; i < count; ++i)
    inboxes_.push_back(i == index_ ? nullptr : std::make_unique<FrameRing>(RingSize(count)));
  for (size_t i = 0; i < interfaces_.size(); ++i) {
    interfaces_[i]->set_relay([this, i](std::span<const uint8_t> frame) {
      if (receiving_handed_over_) return;
      for (uint32_t s = 0; s < siblings_.size(); ++s)
        if (s != index_ && !InboxOf(s).Post(static_cast<uint8_t>(i), frame))
          counters_.Add(Counter::UsherRelayDropped);
    });
  }
}

// The ring from this shard to a sibling.
FrameRing& Shard::InboxOf(uint32_t shard) { return *siblings_[shard]->inboxes_[index_]; }

// The shard that a flow belongs to: the port's choice, where it spreads flows by a hash of its own,
// else ours. A datagram from fragments came by a queue that has nothing to do with its ports.
uint32_t Shard::HomeOf(const L4Packet& packet, const FourTuple& tuple, uint64_t hash) const {
  const Port& port = *ports_[packet.interface];
  if (!port.capabilities().rss) return Demux::HomeOf(hash, Count());
  return packet.packet.handle != nullptr ? index_ : port.QueueOf(tuple).value_or(index_);
}

// True: the segment is for another shard, and on its way there or lost.
bool Shard::Steer(const L4Packet& packet, const FourTuple& tuple, uint64_t hash) {
  const uint32_t home = HomeOf(packet, tuple, hash);
  if (home == index_) [[likely]]
    return false;
  const bool posted = InboxOf(home).Post(packet);
  counters_.Add(posted ? Counter::UsherSteered : Counter::UsherSteerDropped);
  return true;
}

// A burst from each of them at most: a flood to a sibling must not hold this shard up.
uint32_t Shard::ReceiveHandedOver() {
  uint32_t count = 0;
  receiving_handed_over_ = true;
  for (auto& inbox : inboxes_)
    if (inbox != nullptr && inbox->size() != 0) count += ReceiveFrom(*inbox);
  receiving_handed_over_ = false;
  return count;
}

uint32_t Shard::ReceiveFrom(FrameRing& inbox) {
  const uint32_t count = std::min(inbox.size(), kBurstSize);
  ingress_.tcp_count = 0;
  for (uint32_t n = 0; n < count; ++n) {
    FrameRing::Frame& frame = inbox[n];
    if (!frame.is_segment) continue;
    frame.segment.pool = &ports_[frame.interface]->pool();
    ingress_.tcp[ingress_.tcp_count++] = frame.segment;
  }
  counters_.Add(Counter::UsherHandedOverIn, count);
  ProcessSegments();
  for (uint32_t n = 0; n < count; ++n)
    if (!inbox[n].is_segment) ReceiveRelayed(inbox[n]);
  inbox.Pop(count);
  return count;
}

void Shard::ReceiveRelayed(const FrameRing::Frame& frame) {
  Packet packet;
  if (!ports_[frame.interface]->pool().Allocate(&packet)) {
    counters_.Add(Counter::UsherNoBuffer);
    return;
  }
  const std::span<const uint8_t> bytes = frame.bytes();
  std::copy(bytes.begin(), bytes.end(), packet.data);
  packet.length = static_cast<uint16_t>(bytes.size());
  ReceiveBurst(frame.interface, {&packet, 1});
}

void Shard::SendPlaceMessages() {
  for (const PlaceMessage& m : passive_open_->outbox())
    siblings_[m.to]->mailbox_.Post(
        [m](Shard& sibling) { sibling.passive_open_->OnPlaceMessage(m); });
  passive_open_->ClearOutbox();
}

// ---- Segments ----

// Passes over the burst, so that the memory each needs is on its way while the others are worked
// on, and that hashes are computed many at a time: parse; hash; find; process.
void Shard::ProcessSegments() {
  std::array<uint64_t, kBurstSize> hashes;
  std::array<FlowId, kBurstSize> flows;
  const uint32_t count = ParseSegments(hashes);
  for (uint32_t i = 0; i < count; ++i) {
    flows[i] = Find(segments_[i].tuple, hashes[i]);
    if (flows[i] != FlowId::None()) PrefetchFlow(flows[i]);
  }
  ForeseeRequests(std::span(flows).first(count));
  const uint64_t version = demux_.version();
  for (uint32_t i = 0; i < count; ++i) {
    Segment& s = segments_[i];
    // What an earlier segment of the burst filed or removed is looked up again.
    const FlowId flow = demux_.version() == version ? flows[i] : Find(s.tuple, hashes[i]);
    Dispatch(s, hashes[i], flow);
    FreeBuffer(*s.packet);
  }
}

// Fills segments_ and their hashes with what is well-formed and this shard's; returns how many.
uint32_t Shard::ParseSegments(std::array<uint64_t, kBurstSize>& hashes) {
  TupleBatch tuples;
  std::array<uint32_t, kBurstSize> places;
  uint32_t parsed = 0;
  for (uint32_t i = 0; i < ingress_.tcp_count; ++i) {
    Segment& s = segments_[parsed];
    if (Segment::Parse(ingress_.tcp[i], counters_, &s))
      places[parsed++] = tuples.Add(s.tuple);
    else
      FreeBuffer(ingress_.tcp[i]);
  }
  TupleBatch::Hashes by_place;
  demux_.Hash(tuples, by_place);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < parsed; ++i) {
    const L4Packet& packet = *segments_[i].packet;
    const uint64_t hash = by_place[places[i]];
    if (!siblings_.empty() && !packet.handed_over && Steer(packet, segments_[i].tuple, hash)) {
      FreeBuffer(packet);
      continue;
    }
    demux_.Prefetch(hash);
    hashes[kept] = hash;
    if (kept != i) segments_[kept] = segments_[i];
    ++kept;
  }
  return kept;
}

void Shard::FreeBuffer(const L4Packet& packet) {
  if (packet.packet.handle != nullptr) packet.pool->Free(packet.packet.handle);
}

// What asks for a connection will most likely be answered by a listener, and what has a request
// completes it.
void Shard::ForeseeRequests(std::span<const FlowId> flows) {
  TupleBatch syns;
  TupleBatch acks;
  for (uint32_t i = 0; i < flows.size(); ++i) {
    Segment& s = segments_[i];
    if (flows[i] == FlowId::None() ? !s.IsRequest() : flows[i].kind() != FlowKind::kRequest)
      continue;
    s.foreseen = (s.IsRequest() ? syns : acks).Add(s.tuple);
  }
  if (!syns.empty()) passive_open_->ForeseeSyns(syns);
  if (!acks.empty()) passive_open_->ForeseeAcks(acks);
}

FlowId Shard::Find(const FourTuple& tuple, uint64_t hash) const {
  return demux_.Find(hash, [&](FlowId id) { return Matches(id, tuple); });
}

bool Shard::Matches(FlowId id, const FourTuple& tuple) const {
  switch (id.kind()) {
    case FlowKind::kConnection:
      return connections_[id.index()].tuple() == tuple;
    case FlowKind::kRequest:
      return passive_open_->Matches(id.index(), tuple);
    case FlowKind::kTimeWait:
      return time_wait_.Matches(id.index(), tuple);
  }
  return false;
}

void Shard::PrefetchFlow(FlowId id) const {
  switch (id.kind()) {
    case FlowKind::kConnection:
      connections_.Prefetch(id.index(), kHotConnectionBytes);
      break;
    case FlowKind::kRequest:
      passive_open_->Prefetch(id.index());
      break;
    case FlowKind::kTimeWait:
      time_wait_.Prefetch(id.index());
      break;
  }
}

void Shard::Dispatch(Segment& s, uint64_t hash, FlowId flow) {
  if (flow == FlowId::None()) {
    const PassiveOpen::Outcome outcome = passive_open_->OnListen(s, std::nullopt);
    if (!outcome.empty()) File(outcome, s, hash);  // a cookie leaves nothing
    return;
  }
  switch (flow.kind()) {
    case FlowKind::kConnection:
      ToConnection(connections_[flow.index()], s);
      break;
    case FlowKind::kRequest:
      File(passive_open_->OnRequest(flow.index(), s), s, hash);
      break;
    case FlowKind::kTimeWait:
      ToTimeWait(flow.index(), s, hash);
      break;
  }
}

void Shard::ToConnection(TcpConnection& c, Segment& s) {
  c.Receive(context_, s);
  Settle(c);
}

void Shard::ToTimeWait(uint32_t index, Segment& s, uint64_t hash) {
  const TimeWaitTable::Outcome outcome = time_wait_.Receive(context_, index, s);
  const bool new_syn = outcome.verdict == TimeWaitTable::Verdict::kNewSyn;
  const bool unwanted = new_syn && !passive_open_->HasListener(s.tuple.local, s.tuple.local_port);
  if (s.IsRequest() && (!new_syn || unwanted)) passive_open_->OnTimeWaitRefusal(s);
  if (outcome.verdict == TimeWaitTable::Verdict::kKeep) return;
  if (unwanted) {
    time_wait_.Acknowledge(context_, index);  // nobody to reuse the pair for
    return;
  }
  demux_.Erase(hash, FlowId(FlowKind::kTimeWait, index));
  time_wait_.Remove(context_, index);
  if (new_syn) File(passive_open_->OnListen(s, outcome.iss), s, hash);
}

// Brings the demux up to what a listener made of a segment. Whatever it is, it has the segment's
// name, and `hash` is that name's.
void Shard::File(const PassiveOpen::Outcome& outcome, Segment& s, uint64_t hash) {
  if (outcome.removed_request != PassiveOpen::kNone) {
    demux_.Erase(hash, FlowId(FlowKind::kRequest, outcome.removed_request));
    passive_open_->Release(outcome.removed_request);
  }
  if (outcome.new_request != PassiveOpen::kNone)
    demux_.Insert(hash, FlowId(FlowKind::kRequest, outcome.new_request));
  if (outcome.child == nullptr) return;
  TcpConnection& child = *outcome.child;
  demux_.Insert(hash, FlowId(FlowKind::kConnection, child.slot()));
  if (outcome.feed_child) child.Receive(context_, s);
  Settle(child);
}

// Connections whose verified ACK waited for a place in the accept queue.
void Shard::CompleteParked() {
  while (TcpConnection* child = passive_open_->CompleteParked())
    demux_.Insert(child->tuple(), FlowId(FlowKind::kConnection, child->slot()));
}

// Whether what the peer sends to this tuple reaches this shard. All interfaces of a flow's kind of
// port agree on that, or else the first to receive it hands it over.
bool Shard::AnswersComeHere(const FourTuple& tuple, uint64_t hash) const {
  if (siblings_.empty()) return true;
  const Port& port = *ports_[0];
  if (!port.capabilities().rss) return Demux::HomeOf(hash, Count()) == index_;
  return port.QueueOf(tuple).value_or(index_) == index_;
}

void Shard::OnIcmpError(const IcmpError& error) {
  const FlowId flow = Find(error.tuple, demux_.Hash(error.tuple));
  if (flow == FlowId::None() || flow.kind() != FlowKind::kConnection) return;
  TcpConnection& c = connections_[flow.index()];
  c.OnIcmpError(context_, error);
  Settle(c);
}

uint32_t Shard::RunTimers() {
  const Instant now = context_.now;
  uint32_t fired = connection_timers_.Advance(now, kTimerBudget, [this](uint32_t slot) {
    TcpConnection& c = connections_[slot];
    c.OnTimer(context_);
    Settle(c);
  });
  time_wait_.Advance(now, [this](uint32_t index) {
    demux_.Erase(time_wait_.TupleOf(index), FlowId(FlowKind::kTimeWait, index));
    time_wait_.Remove(context_, index);
  });
  passive_open_->Advance([this](uint32_t request, const FourTuple& tuple) {
    demux_.Erase(tuple, FlowId(FlowKind::kRequest, request));
  });
  for (auto& interface : interfaces_)
    if (interface->NextDeadline() <= now) interface->Advance(now);
  return fired;
}

void Shard::SettleChanged(TcpConnection& c) {
  if (c.fast_open_pending && c.state() != TcpState::kSynReceived) passive_open_->OnFastOpenEnd(c);
  if (c.fate() == Fate::kAlive) return;
  if (!c.settled) {
    c.settled = true;
    demux_.Erase(c.tuple(), FlowId(FlowKind::kConnection, c.slot()));
    if (c.fate() == Fate::kTimeWait) {
      const uint32_t index = time_wait_.Add(context_, TimeWaitFacts::From(c));
      if (index != TimeWaitTable::kNone &&
          !demux_.Insert(c.tuple(), FlowId(FlowKind::kTimeWait, index)))
        time_wait_.Remove(context_, index);
    }
  }
  if (!c.has_owner() && !c.buried) {
    c.buried = true;  // freed at the end of the pass: lists of this pass may still name it
    dead_.push_back(c.slot());
  }
}

void Shard::DeliverEvents() {
  passive_open_->DrainReady([this](Handle listener, const Listener&) {
    if (events_ != nullptr) events_->OnAcceptable(listener, listener_owners_[listener.index]);
  });
  while (!events_due_.empty()) {
    TcpConnection& c = connections_[events_due_.Pop()];
    c.event_queued = false;
    const uint8_t events = c.events;
    c.events = 0;
    if (events != 0 && c.has_owner() && events_ != nullptr)
      events_->OnConnectionEvents(connections_.HandleOf(c.slot()), events, c.owner);
  }
  owner_timers_.Advance(context_.now, kTimerBudget, [this](uint32_t slot) {
    TcpConnection& c = connections_[slot];
    if (c.has_owner()) events_->OnConnectionTimer(connections_.HandleOf(slot), c.owner);
  });
  if (!send_blocks_.releases().empty()) send_blocks_.releases().Run();
}

void Shard::FlushOutput() {
  while (!output_due_.empty()) {
    TcpConnection& c = connections_[output_due_.Pop()];
    c.output_queued = false;
    c.Flush(context_);
    Settle(c);
  }
}

// What was queued after its queue was emptied, by a timer's callback say, waits for the next pass.
void Shard::Bury() {
  std::erase_if(dead_, [this](uint32_t slot) {
    TcpConnection& c = connections_[slot];
    if (c.event_queued || c.output_queued) return false;
    c.Destroy(context_);
    owner_timers_.Cancel(slot);
    passive_open_->ForgetSavedSyn(c);
    connections_.Free(slot);
    return true;
  });
}

Instant Shard::NextDeadline() const {
  if (!events_due_.empty() || !output_due_.empty() || mailbox_.pending()) return context_.now;
  Instant first = std::min({connection_timers_.NextDeadline(), owner_timers_.NextDeadline(),
                            time_wait_.NextDeadline(), passive_open_->NextDeadline()});
  for (const auto& interface : interfaces_) {
    // What a call between two passes sends: a SYN, a window that opens, a reset.
    if (interface->wants_flush()) return context_.now;
    first = std::min(first, interface->NextDeadline());
  }
  return first;
}

// ---- Passive open ----

Error Shard::Listen(const ListenSpec& spec, Handle* listener, void* owner) {
  if (const Error e = passive_open_->Listen(spec, listener); e != Error::kNone) return e;
  if (listener->index >= listener_owners_.size()) listener_owners_.resize(listener->index + 1);
  listener_owners_[listener->index] = owner;
  return Error::kNone;
}

Error Shard::Accept(Handle listener, Handle* connection) {
  Error error = Error::kNone;
  TcpConnection* c = passive_open_->Accept(listener, &error);
  if (c == nullptr) return error;
  *connection = connections_.HandleOf(c->slot());
  c->owner = listener_owners_[listener.index];
  return Error::kNone;
}

Error Shard::CloseListener(Handle listener) {
  return passive_open_->Close(listener, [this](TcpConnection& child) { Settle(child); });
}

// ---- Active open ----

// RFC 6056 algorithm 3: a keyed offset per destination, so that ports are neither guessed nor soon
// reused, and a counter.
std::optional<uint16_t> Shard::EphemeralPort(const IpAddress& local, const IpAddress& remote,
                                             uint16_t remote_port) {
  const auto low = static_cast<uint32_t>(sysctls_.ip_local_port_range[0]);
  const uint32_t count = static_cast<uint32_t>(sysctls_.ip_local_port_range[1]) - low + 1;
  FourTuple t{local, remote, 0, remote_port};
  const auto offset = static_cast<uint32_t>(WireHash(port_key_, t));
  for (uint32_t i = 0; i < count; ++i) {
    t.local_port = static_cast<uint16_t>(low + (offset + next_ephemeral_++) % count);
    const uint64_t hash = demux_.Hash(t);
    if (Find(t, hash) == FlowId::None() && AnswersComeHere(t, hash)) return t.local_port;
  }
  return std::nullopt;
}

Error Shard::Connect(const IpAddress& remote, uint16_t remote_port, const TcpOptionsSet& options,
                     Handle* connection, void* owner, std::optional<IpAddress> local,
                     uint16_t local_port, const FastOpenSyn* fast_open, const Md5Key* md5) {
  if (remote_port == 0 || remote.is_multicast() || remote.is_unspecified()) return Error::kInvalid;
  FourTuple t;
  t.remote = remote;
  t.remote_port = remote_port;
  if (local) {
    if (!egress_.IsLocal(*local)) return Error::kAddressNotAvailable;
    t.local = *local;
  } else if (!egress_.FindSource(remote, &t.local)) {
    return Error::kNetworkUnreachable;
  }
  Path path;
  if (!egress_.FindPath(t.local, remote, &path)) return Error::kNetworkUnreachable;
  if (local_port == 0) {
    const auto chosen = EphemeralPort(t.local, remote, remote_port);
    if (!chosen) return Error::kAddressNotAvailable;
    local_port = *chosen;
  }
  t.local_port = local_port;
  if (Find(t, demux_.Hash(t)) != FlowId::None()) return Error::kAddressInUse;
  if (md5 != nullptr && !md5_keys_.HasRoomFor(*md5)) return Error::kNoBuffers;
  const uint32_t slot = connections_.Allocate();
  if (slot == ObjectPool<TcpConnection>::kNone) return Error::kNoBuffers;
  TcpConnection& c = connections_[slot];
  c.OpenActive(context_, slot, t, path, options, fast_open, md5);
  c.owner = owner;
  c.OnAccepted(context_);
  demux_.Insert(t, FlowId(FlowKind::kConnection, slot));
  *connection = connections_.HandleOf(slot);
  Settle(c);
  return Error::kNone;
}

// ---- Connections ----

TcpConnection* Shard::Find(Handle connection) {
  TcpConnection* c = connections_.Get(connection);
  return c != nullptr && c->has_owner() ? c : nullptr;
}

IoResult Shard::Read(Handle connection, std::span<uint8_t> out) {
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->Read(context_, out) : IoResult{0, Error::kBadHandle};
}

IoResult Shard::ReadSlice(Handle connection, uint32_t max, Slice* out) {
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->ReadSlice(context_, max, out) : IoResult{0, Error::kBadHandle};
}

IoResult Shard::Peek(Handle connection, std::span<const uint8_t>* out) {
  *out = {};
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->Peek(context_, out) : IoResult{0, Error::kBadHandle};
}

Error Shard::Discard(Handle connection, size_t n) {
  TcpConnection* c = Find(connection);
  if (c == nullptr) return Error::kBadHandle;
  c->Discard(context_, n);
  return Error::kNone;
}

IoResult Shard::Write(Handle connection, std::span<const uint8_t> data) {
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->Write(context_, data) : IoResult{0, Error::kBadHandle};
}

IoResult Shard::WriteExternal(Handle connection, std::span<const uint8_t> data, ReleaseFn release,
                              void* context) {
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->WriteExternal(context_, data, release, context)
                      : IoResult{0, Error::kBadHandle};
}

IoResult Shard::WriteUrgent(Handle connection, std::span<const uint8_t> data) {
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->WriteUrgent(context_, data) : IoResult{0, Error::kBadHandle};
}

Error Shard::ReadUrgent(Handle connection, uint8_t* byte) {
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->ReadUrgent(byte) : Error::kBadHandle;
}

size_t Shard::WritableBytes(Handle connection) {
  TcpConnection* c = Find(connection);
  return c != nullptr ? c->WritableBytes(context_) : 0;
}

Error Shard::Shutdown(Handle connection, ShutdownHow how) {
  TcpConnection* c = Find(connection);
  if (c == nullptr) return Error::kBadHandle;
  const Error e = c->Shutdown(context_, how);
  Settle(*c);
  return e;
}

Error Shard::Close(Handle connection) {
  TcpConnection* c = Find(connection);
  if (c == nullptr) return Error::kBadHandle;
  c->Close(context_);
  Settle(*c);
  return Error::kNone;
}

Error Shard::Abort(Handle connection) {
  TcpConnection* c = Find(connection);
  if (c == nullptr) return Error::kBadHandle;
  c->Abort(context_);
  c->Close(context_);
  Settle(*c);
  return Error::kNone;
}

Error Shard::SetOptions(Handle connection, const TcpOptionsSet& options) {
  TcpConnection* c = Find(connection);
  if (c == nullptr) return Error::kBadHandle;
  c->ApplyOptions(context_, options);
  return Error::kNone;
}

Error Shard::SetQuickAck(Handle connection, bool quick) {
  TcpConnection* c = Find(connection);
  if (c == nullptr) return Error::kBadHandle;
  c->SetQuickAck(context_, quick);
  return Error::kNone;
}

Error Shard::SetTimer(Handle connection, Instant deadline) {
  TcpConnection* c = Find(connection);
  if (c == nullptr) return Error::kBadHandle;
  owner_timers_.Set(c->slot(), deadline);
  return Error::kNone;
}

void Shard::AbortAll() {
  connections_.ForEach([this](uint32_t slot) {
    TcpConnection& c = connections_[slot];
    c.Abort(context_);
    c.Close(context_);
    Settle(c);
  });
}

void Shard::ApplySysctls(const Sysctls& sysctls) {
  const bool new_keys = sysctls.tcp_fastopen_key != sysctls_.tcp_fastopen_key;
  sysctls_ = sysctls;
  if (new_keys) passive_open_->ApplyFastOpenKeys();
  context_.recovery_settings = RecoveryFrom(sysctls_);
  context_.congestion = CongestionFrom(sysctls_);
  memory_.SetLimits(sysctls_.tcp_mem);
  egress_.set_default_ttl(sysctls_.ip_default_ttl);
}

}  // namespace usher
