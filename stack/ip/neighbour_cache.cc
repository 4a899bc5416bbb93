#include "stack/ip/neighbour_cache.h"

#include <algorithm>
#include <bit>

#include "stack/base/check.h"
#include "stack/base/short_cuts.h"
#include "stack/wire/bytes.h"

namespace usher {

NeighbourCache::NeighbourCache(const NetworkLimits& limits, SipKey key, uint64_t jitter_seed,
                               NeighbourHost& host)
    : limits_(limits),
      key_(key),
      jitter_(jitter_seed),
      host_(host),
      solicit_rate_(limits.solicits_per_sec, limits.solicits_burst) {
  groups_[kResolving].limit = std::max(1u, limits.neighbours_resolving);
  groups_[kOffered].limit = std::max(1u, limits.neighbours_offered);
  groups_[kConfirmed].limit = std::max(1u, limits.neighbours_confirmed);
  groups_[kPinned].limit = std::max(1u, limits.neighbours_pinned);
  uint32_t capacity = 0;
  for (const GroupList& group : groups_) capacity += group.limit;

  index_bits_ = static_cast<uint32_t>(std::bit_width(capacity));
  index_mask_ = (1u << index_bits_) - 1;
  entries_.resize(index_mask_ + 1);
  for (uint32_t i = capacity; i > 0; --i) {
    entries_[i].hash_next = free_;
    free_ = i;
  }
  pending_.resize(limits.pending_packets + 1);
  for (uint32_t i = limits.pending_packets; i > 0; --i) {
    pending_[i].next = pending_free_;
    pending_free_ = i;
  }
  buckets_.assign(std::bit_ceil(capacity), kNil);
  heap_.reserve(capacity);
  DrawReachableTime();
}

void NeighbourCache::Clear() {
  for (uint32_t i = 1; i < entries_.size(); ++i)
    if (entries_[i].group != kFree) Remove(i);
}

uint32_t NeighbourCache::BucketOf(const IpAddress& address) const {
  const uint8_t* bytes = address.bytes().data();
  const uint64_t hash = SipHash13(key_, LoadRaw<uint64_t>(bytes), LoadRaw<uint64_t>(bytes + 8));
  return static_cast<uint32_t>(hash) & static_cast<uint32_t>(buckets_.size() - 1);
}

uint32_t NeighbourCache::IndexOf(const IpAddress& address) const {
  uint32_t index = buckets_[BucketOf(address)];
  while (index != kNil && entries_[index].address != address) index = entries_[index].hash_next;
  return index;
}

NeighbourCache::Handle NeighbourCache::Find(const IpAddress& address) const {
  return entries_[IndexOf(address)].handle;  // entries_[0] has none
}

NeighbourCache::Handle NeighbourCache::FindOrCreate(Instant now, const IpAddress& address) {
  // Most paths end at one router.
  if (kShortCuts && IsCurrent(last_found_) &&
      entries_[last_found_ & index_mask_].address == address)
    return last_found_;
  uint32_t index = IndexOf(address);
  if (index == kNil) index = Create(now, address, kResolving);
  return last_found_ = entries_[index].handle;
}

bool NeighbourCache::Pin(Instant now, const IpAddress& address) {
  const uint32_t index = IndexOf(address);
  if (index != kNil && entries_[index].pinned) return true;
  if (groups_[kPinned].size == groups_[kPinned].limit) return false;
  if (index == kNil) {
    entries_[Create(now, address, kPinned)].pinned = true;
    return true;
  }
  entries_[index].pinned = true;
  MoveTo(index, kPinned);
  return true;
}

void NeighbourCache::Unpin(Instant now, const IpAddress& address) {
  const uint32_t index = IndexOf(address);
  if (index == kNil || !entries_[index].pinned) return;
  Entry& entry = entries_[index];
  entry.pinned = false;
  entry.used = now;
  const bool known = entry.state != NeighbourState::kNone &&
                     entry.state != NeighbourState::kIncomplete &&
                     entry.state != NeighbourState::kFailed;
  MoveTo(index, !known ? kResolving : entry.was_confirmed ? kConfirmed : kOffered);
}

bool NeighbourCache::SetPermanent(Instant now, const IpAddress& address, const MacAddress& mac) {
  if (!Pin(now, address)) return false;
  const uint32_t index = IndexOf(address);
  entries_[index].mac = mac;
  entries_[index].state = NeighbourState::kPermanent;
  SetDeadline(index, Instant::Never());
  SendAllPending(index);
  return true;
}

uint32_t NeighbourCache::Create(Instant now, const IpAddress& address, Group group) {
  if (groups_[group].size == groups_[group].limit) Remove(groups_[group].oldest);
  const uint32_t index = free_;
  free_ = entries_[index].hash_next;
  const uint32_t generation = entries_[index].generation + 1;
  entries_[index] = Entry{};
  Entry& entry = entries_[index];
  entry.generation = generation;
  entry.handle = generation << index_bits_ | index;
  entry.address = address;
  entry.used = now;
  uint32_t& bucket = buckets_[BucketOf(address)];
  entry.hash_next = bucket;
  bucket = index;
  JoinGroup(index, group);
  ++size_;
  return index;
}

void NeighbourCache::Remove(uint32_t index) {
  Entry& entry = entries_[index];
  DropAllPending(index);
  SetDeadline(index, Instant::Never());
  LeaveGroup(index);
  uint32_t* link = &buckets_[BucketOf(entry.address)];
  while (*link != index) link = &entries_[*link].hash_next;
  *link = entry.hash_next;
  entry.handle = kNoHandle;
  entry.hash_next = free_;
  free_ = index;
  --size_;
}

void NeighbourCache::JoinGroup(uint32_t index, Group group) {
  GroupList& list = groups_[group];
  Entry& entry = entries_[index];
  entry.group = group;
  entry.older = list.newest;
  entry.newer = kNil;
  (list.newest != kNil ? entries_[list.newest].newer : list.oldest) = index;
  list.newest = index;
  ++list.size;
}

void NeighbourCache::LeaveGroup(uint32_t index) {
  Entry& entry = entries_[index];
  GroupList& list = groups_[entry.group];
  (entry.older != kNil ? entries_[entry.older].newer : list.oldest) = entry.newer;
  (entry.newer != kNil ? entries_[entry.newer].older : list.newest) = entry.older;
  --list.size;
  entry.group = kFree;
}

void NeighbourCache::MoveTo(uint32_t index, Group group) {
  if (entries_[index].pinned) group = kPinned;
  if (entries_[index].group == group) return;
  LeaveGroup(index);
  if (groups_[group].size == groups_[group].limit) Remove(groups_[group].oldest);
  JoinGroup(index, group);
}

void NeighbourCache::Touch(Instant now, uint32_t index) {
  const Group group = entries_[index].group;
  entries_[index].used = now;
  if (groups_[group].newest == index) return;
  LeaveGroup(index);
  JoinGroup(index, group);
}

const MacAddress* NeighbourCache::UseSlowly(Instant now, uint32_t index) {
  Entry& entry = entries_[index];
  Touch(now, index);
  switch (entry.state) {
    case NeighbourState::kReachable:
    case NeighbourState::kStale:
      // RFC 4861 section 7.3.3: the first packet after the doubt began gives the transport
      // DELAY_FIRST_PROBE_TIME to remove it.
      entry.state = NeighbourState::kDelay;
      SetDeadline(index, now + kDelayFirstProbe);
      return &entry.mac;
    case NeighbourState::kDelay:
    case NeighbourState::kProbe:
    case NeighbourState::kPermanent:
      return &entry.mac;
    case NeighbourState::kNone:
    case NeighbourState::kIncomplete:
    case NeighbourState::kFailed:
      break;
  }
  return nullptr;
}

void NeighbourCache::Queue(Instant now, Handle handle, const TxPacket& packet) {
  const uint32_t index = handle & index_mask_;
  Entry& entry = entries_[index];
  if (limits_.pending_per_neighbour == 0 || !IsCurrent(handle)) {
    host_.DropPending(packet, entry.address);
    return;
  }
  if (entry.pending_count == limits_.pending_per_neighbour) DropOldestPending(index);
  if (pending_free_ == kNil) {
    host_.DropPending(packet, entry.address);
  } else {
    const uint32_t place = pending_free_;
    pending_free_ = pending_[place].next;
    pending_[place] = {packet, kNil};
    (entry.pending_last != kNil ? pending_[entry.pending_last].next : entry.pending_first) = place;
    entry.pending_last = place;
    ++entry.pending_count;
    ++pending_count_;
  }
  if (entry.state == NeighbourState::kNone || entry.state == NeighbourState::kFailed)
    StartResolving(now, index);
}

TxPacket NeighbourCache::PopPending(uint32_t index) {
  Entry& entry = entries_[index];
  const uint32_t place = entry.pending_first;
  const TxPacket packet = pending_[place].packet;
  entry.pending_first = pending_[place].next;
  if (entry.pending_first == kNil) entry.pending_last = kNil;
  pending_[place].next = pending_free_;
  pending_free_ = place;
  --entry.pending_count;
  --pending_count_;
  return packet;
}

void NeighbourCache::DropOldestPending(uint32_t index) {
  const TxPacket packet = PopPending(index);
  host_.DropPending(packet, entries_[index].address);
}

void NeighbourCache::DropAllPending(uint32_t index) {
  while (entries_[index].pending_count > 0) DropOldestPending(index);
}

void NeighbourCache::SendAllPending(uint32_t index) {
  while (entries_[index].pending_count > 0)
    host_.SendPending(PopPending(index), entries_[index].mac);
}

void NeighbourCache::BecomeReachable(Instant now, uint32_t index) {
  Entry& entry = entries_[index];
  entry.state = NeighbourState::kReachable;
  entry.reachable_until = now + reachable_time_;
  entry.was_confirmed = true;
  SetDeadline(index, Instant::Never());
  MoveTo(index, kConfirmed);
  SendAllPending(index);
  // RFC 4861 section 6.3.2: drawn anew from time to time, so that hosts do not fall into step.
  if (++reachable_draws_ % 1024 == 0) DrawReachableTime();
}

void NeighbourCache::BecomeStale(uint32_t index) {
  Entry& entry = entries_[index];
  entry.state = NeighbourState::kStale;
  SetDeadline(index, Instant::Never());
  MoveTo(index, entry.was_confirmed ? kConfirmed : kOffered);
}

void NeighbourCache::BecomeFailed(uint32_t index) {
  Entry& entry = entries_[index];
  entry.state = NeighbourState::kFailed;
  entry.was_confirmed = false;
  SetDeadline(index, Instant::Never());
  DropAllPending(index);
  MoveTo(index, kResolving);
  host_.NeighbourUnreachable(entries_[index].address);
}

void NeighbourCache::StartResolving(Instant now, uint32_t index) {
  entries_[index].state = NeighbourState::kIncomplete;
  entries_[index].solicits = 0;
  Solicit(now, index);
}

void NeighbourCache::StartProbing(Instant now, uint32_t index, bool all) {
  entries_[index].state = NeighbourState::kProbe;
  entries_[index].solicits = 0;
  entries_[index].probe_all = all;
  Solicit(now, index);
}

void NeighbourCache::Solicit(Instant now, uint32_t index) {
  SetDeadline(index, now + retrans_timer_);
  Entry& entry = entries_[index];
  // Beyond the rate nothing is sent and nothing counted as unanswered; gateways are worth more
  // than the limit.
  if (!entry.pinned && !solicit_rate_.Take(now)) return;
  ++entry.solicits;
  const bool unicast = entry.state == NeighbourState::kProbe && !entry.probe_all;
  host_.SolicitNeighbour(entry.address, unicast ? &entry.mac : nullptr);
}

void NeighbourCache::OnOffer(Instant now, const IpAddress& address, const MacAddress& mac) {
  uint32_t index = IndexOf(address);
  if (index == kNil) {
    index = Create(now, address, kOffered);
    entries_[index].mac = mac;
    entries_[index].state = NeighbourState::kStale;
    return;
  }
  Entry& entry = entries_[index];
  switch (entry.state) {
    case NeighbourState::kPermanent:
      return;
    case NeighbourState::kNone:
    case NeighbourState::kIncomplete:
    case NeighbourState::kFailed:
      entry.mac = mac;
      BecomeStale(index);
      if (entry.pending_count > 0) {
        UseSlowly(now, index);
        SendAllPending(index);
      }
      return;
    case NeighbourState::kReachable:
    case NeighbourState::kStale:
    case NeighbourState::kDelay:
    case NeighbourState::kProbe:
      if (entry.mac == mac) return;
      entry.mac = mac;
      BecomeStale(index);
      return;
  }
}

void NeighbourCache::OnAdvert(Instant now, const IpAddress& address, const Advert& advert) {
  const uint32_t index = IndexOf(address);
  if (index == kNil) return;
  Entry& entry = entries_[index];
  switch (entry.state) {
    case NeighbourState::kNone:
    case NeighbourState::kFailed:  // nothing was asked
    case NeighbourState::kPermanent:
      return;
    case NeighbourState::kIncomplete:
      if (advert.mac == nullptr) return;
      entry.mac = *advert.mac;
      if (advert.solicited) {
        BecomeReachable(now, index);
      } else {
        BecomeStale(index);
        if (entry.pending_count > 0) {
          UseSlowly(now, index);
          SendAllPending(index);
        }
      }
      return;
    case NeighbourState::kReachable:
    case NeighbourState::kStale:
    case NeighbourState::kDelay:
    case NeighbourState::kProbe:
      break;
  }
  const bool moved = advert.mac != nullptr && *advert.mac != entry.mac;
  if (moved && !advert.override_flag) {
    // RFC 4861 section 7.2.5, I: kept, but doubted.
    if (entry.state == NeighbourState::kReachable) BecomeStale(index);
    return;
  }
  if (moved) entry.mac = *advert.mac;
  if (advert.solicited && entry.state == NeighbourState::kProbe) {
    BecomeReachable(now, index);
  } else if (moved) {
    BecomeStale(index);
  }
}

void NeighbourCache::OnHint(Instant now, const IpAddress& address, const MacAddress& mac) {
  const uint32_t index = IndexOf(address);
  if (index == kNil) return;
  const Entry& entry = entries_[index];
  switch (entry.state) {
    case NeighbourState::kReachable:
    case NeighbourState::kStale:
    case NeighbourState::kDelay:
      if (entry.mac != mac) StartProbing(now, index, /*all=*/true);
      return;
    case NeighbourState::kProbe:
      if (entry.mac != mac && !entry.probe_all) StartProbing(now, index, /*all=*/true);
      return;
    case NeighbourState::kNone:
    case NeighbourState::kIncomplete:
    case NeighbourState::kFailed:
    case NeighbourState::kPermanent:
      return;
  }
}

void NeighbourCache::ConfirmReachable(Instant now, Handle handle) {
  if (!IsCurrent(handle)) return;
  const uint32_t index = handle & index_mask_;
  switch (entries_[index].state) {
    case NeighbourState::kReachable:
      entries_[index].reachable_until = now + reachable_time_;
      return;
    case NeighbourState::kStale:
    case NeighbourState::kDelay:
      BecomeReachable(now, index);
      return;
    case NeighbourState::kProbe:
      // With the link address itself in doubt, only an answer settles it.
      if (!entries_[index].probe_all) BecomeReachable(now, index);
      return;
    case NeighbourState::kNone:
    case NeighbourState::kIncomplete:
    case NeighbourState::kFailed:
    case NeighbourState::kPermanent:
      return;
  }
}

void NeighbourCache::set_base_reachable_time(Duration t) {
  base_reachable_time_ = t;
  DrawReachableTime();
}

void NeighbourCache::DrawReachableTime() {
  // RFC 4861 section 10: MIN_RANDOM_FACTOR 0.5 to MAX_RANDOM_FACTOR 1.5.
  const int64_t half_ns = base_reachable_time_.ns() / 2;
  reachable_time_ = Duration::Nanos(
      half_ns +
      static_cast<int64_t>(jitter_.Uniform(static_cast<uint64_t>(base_reachable_time_.ns()) + 1)));
}

void NeighbourCache::Advance(Instant now) {
  while (!heap_.empty() && entries_[heap_[0]].deadline <= now) OnTimer(now, heap_[0]);
}

void NeighbourCache::OnTimer(Instant now, uint32_t index) {
  const Entry& entry = entries_[index];
  if (entry.state == NeighbourState::kDelay) {
    StartProbing(now, index, /*all=*/false);
    return;
  }
  // No other states have a timer.
  USHER_CHECK(entry.state == NeighbourState::kIncomplete || entry.state == NeighbourState::kProbe);
  if (entry.solicits >= kMaxSolicits)
    BecomeFailed(index);
  else
    Solicit(now, index);
}

NeighbourState NeighbourCache::StateOf(Instant now, const IpAddress& address) const {
  const Entry& entry = entries_[IndexOf(address)];
  if (entry.state == NeighbourState::kReachable && now >= entry.reachable_until)
    return NeighbourState::kStale;
  return entry.state;
}

const MacAddress* NeighbourCache::LinkAddressOf(const IpAddress& address) const {
  const Entry& entry = entries_[IndexOf(address)];
  switch (entry.state) {
    case NeighbourState::kNone:
    case NeighbourState::kIncomplete:
    case NeighbourState::kFailed:
      return nullptr;
    default:
      return &entry.mac;
  }
}

void NeighbourCache::SetDeadline(uint32_t index, Instant deadline) {
  Entry& entry = entries_[index];
  entry.deadline = deadline;
  if (deadline == Instant::Never()) {
    if (entry.heap_place == kNotInHeap) return;
    const uint32_t place = entry.heap_place;
    entry.heap_place = kNotInHeap;
    const uint32_t last = heap_.back();
    heap_.pop_back();
    if (last == index) return;
    PlaceInHeap(place, last);
    SiftUp(place);
    SiftDown(entries_[last].heap_place);
    return;
  }
  if (entry.heap_place == kNotInHeap) {
    heap_.push_back(index);
    entry.heap_place = static_cast<uint32_t>(heap_.size() - 1);
  }
  SiftUp(entry.heap_place);
  SiftDown(entry.heap_place);
}

void NeighbourCache::PlaceInHeap(uint32_t place, uint32_t index) {
  heap_[place] = index;
  entries_[index].heap_place = place;
}

void NeighbourCache::SiftUp(uint32_t place) {
  const uint32_t index = heap_[place];
  while (place > 0) {
    const uint32_t parent = (place - 1) / 2;
    if (entries_[heap_[parent]].deadline <= entries_[index].deadline) break;
    PlaceInHeap(place, heap_[parent]);
    place = parent;
  }
  PlaceInHeap(place, index);
}

void NeighbourCache::SiftDown(uint32_t place) {
  const uint32_t index = heap_[place];
  for (;;) {
    uint32_t child = 2 * place + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() &&
        entries_[heap_[child + 1]].deadline < entries_[heap_[child]].deadline)
      ++child;
    if (entries_[index].deadline <= entries_[heap_[child]].deadline) break;
    PlaceInHeap(place, heap_[child]);
    place = child;
  }
  PlaceInHeap(place, index);
}

}  // namespace usher
