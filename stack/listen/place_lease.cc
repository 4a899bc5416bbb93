// PassiveOpen's part in sharing a backlog; see place_lease.h.
#include "stack/listen/place_lease.h"

#include <algorithm>

#include "stack/listen/passive_open.h"

namespace usher {

Error PassiveOpen::ShareBacklog(Handle listener, uint32_t number) {
  Listener* l = listeners_.Get(listener);
  if (l == nullptr) return Error::kBadHandle;
  l->lease.listener = number;
  l->lease.asked = static_cast<uint16_t>(config_.shard_index);
  SetPlaces(*l);
  DealFastOpen(*l);
  return Error::kNone;
}

// What this shard's part of the limits is, after the whole or the lease has changed.
void PassiveOpen::SetPlaces(Listener& l) {
  const bool shared = l.lease.listener != 0;
  const uint32_t index = shared ? config_.shard_index : 0;
  const uint32_t count = shared ? config_.shard_count : 1;
  l.limits = l.whole;
  l.places = DealtPlaces(PlacesOf(l.model, l.whole), index, count) + l.lease.leased;
  if (count == 1) return;
  const auto places = static_cast<uint32_t>(std::max<int64_t>(l.places, 0));
  l.limits.accept_limit = std::max(places, 1u) - 1;
  l.limits.half_open_capacity =
      l.model == ListenModel::kLinuxClassic
          ? std::max(1u, DealtPlaces(l.whole.half_open_capacity, index, count))
          : places;
}

// Asks before the last place is taken, so that under a rising load nobody is turned away for a
// place that lies idle on another shard.
void PassiveOpen::AskIfShort(Listener& l) {
  PlaceLease& lease = l.lease;
  const int64_t reserve = PlacesOf(l.model, l.whole) / (8 * config_.shard_count);
  if (lease.left_to_ask != 0 || l.FreePlaces() > reserve || context_.now < lease.ask_again) return;
  lease.left_to_ask = static_cast<uint16_t>(config_.shard_count - 1);
  Ask(l);
}

void PassiveOpen::Ask(Listener& l) {
  PlaceLease& lease = l.lease;
  lease.asked = static_cast<uint16_t>((lease.asked + 1) % config_.shard_count);
  if (lease.asked == config_.shard_index)
    lease.asked = static_cast<uint16_t>((lease.asked + 1) % config_.shard_count);
  const uint32_t wanted = PlacesOf(l.model, l.whole) / (2 * config_.shard_count) + 1;
  Send(PlaceMessage::Kind::kAsk, lease.asked, lease.listener, wanted);
}

void PassiveOpen::Send(PlaceMessage::Kind kind, uint32_t to, uint32_t listener, int64_t value) {
  outbox_.push_back({.kind = kind,
                     .from = static_cast<uint16_t>(config_.shard_index),
                     .to = static_cast<uint16_t>(to),
                     .listener = listener,
                     .value = static_cast<int32_t>(value)});
}

Listener* PassiveOpen::FromLease(uint32_t number) {
  Listener* found = nullptr;
  listeners_.ForEach([&](uint32_t i) {
    if (listeners_[i].lease.listener == number) found = &listeners_[i];
  });
  return found;
}

void PassiveOpen::OnPlaceMessage(const PlaceMessage& m) {
  Listener* l = FromLease(m.listener);
  switch (m.kind) {
    case PlaceMessage::Kind::kAsk: {
      const int64_t given =
          l == nullptr ? 0 : std::clamp<int64_t>((l->FreePlaces() + 1) / 2, 0, m.value);
      if (given != 0) {
        l->lease.leased -= given;
        SetPlaces(*l);
      }
      Send(PlaceMessage::Kind::kGive, m.from, m.listener, given);
      return;
    }
    case PlaceMessage::Kind::kGive:
    case PlaceMessage::Kind::kReturned:
      if (l != nullptr) {
        TakePlaces(*l, m);
      } else if (m.kind == PlaceMessage::Kind::kGive && m.value != 0) {
        Send(PlaceMessage::Kind::kReturned, m.from, m.listener, m.value);
      }
      return;
    case PlaceMessage::Kind::kBacklog:
      if (l == nullptr || !l->lease.IsNewer(m)) return;
      l->lease.turn = m.turn;
      l->lease.turn_of = m.from;
      Limit(*l, m.value);
      places_freed_ = true;
      return;
  }
}

void PassiveOpen::TakePlaces(Listener& l, const PlaceMessage& m) {
  PlaceLease& lease = l.lease;
  l.lease.leased += m.value;
  SetPlaces(l);
  places_freed_ = true;
  if (m.from != lease.asked || lease.left_to_ask == 0) return;  // unasked: its listener was closed
  if (m.value != 0) {
    lease.left_to_ask = 0;
  } else if (--lease.left_to_ask != 0) {
    Ask(l);
  } else {
    lease.ask_again = context_.now + PlaceLease::kAskAgain;
  }
}

// The listener is closed: the other shards' parts of it go on with all places.
void PassiveOpen::GiveUpPlaces(const Listener& l) {
  if (l.lease.listener == 0 || l.places <= 0) return;
  const uint32_t to = (config_.shard_index + 1) % config_.shard_count;
  Send(PlaceMessage::Kind::kGive, to, l.lease.listener, l.places);
}

}  // namespace usher
