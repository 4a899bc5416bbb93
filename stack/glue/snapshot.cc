#include "stack/glue/snapshot.h"

#include <algorithm>

namespace usher {
namespace {

constexpr uint8_t Bit(SocketSnapshot::Kind kind) {
  return static_cast<uint8_t>(1u << static_cast<unsigned>(kind));
}

ListenerSnapshot Copy(Shard& shard, Handle handle, const Listener& l) {
  ListenerSnapshot s;
  s.shard = static_cast<int>(shard.index());
  s.id = handle.index;
  s.address = l.spec.address;
  s.port = l.spec.port;
  s.v6_only = l.spec.v6_only;
  s.reuseport = l.spec.reuseport;
  s.model = l.model;
  s.backlog = l.spec.backlog;
  s.limits = l.limits;
  s.whole = shard.passive_open().LimitsInForce(l);
  s.accept_queue = l.accept_queue.length();
  s.half_open = l.half_open;
  s.young = l.young;
  s.parked = l.parked;
  s.fast_open_pending = l.fast_open_pending;
  s.counters = l.counters;
  return s;
}

uint32_t VisitRequests(Shard& shard, uint32_t first, uint32_t slots,
                       std::vector<SocketSnapshot>* out) {
  const SynTable& table = shard.passive_open().requests();
  const Instant now = shard.context().now;
  return table.ForEachFrom(first, slots, [&](uint32_t i) {
    SocketSnapshot& s = out->emplace_back();
    s.kind = SocketSnapshot::Kind::kRequest;
    s.tuple = table.TupleOf(i);
    s.info.state = TcpState::kSynReceived;
    s.info.timer = {TimerKind::kOn, std::max(table.deadline(i) - now, Duration()),
                    table[i].num_retrans};
  });
}

uint32_t VisitConnections(Shard& shard, uint32_t first, uint32_t slots,
                          std::vector<SocketSnapshot>* out) {
  const ObjectPool<TcpConnection>& connections = shard.connections();
  return connections.ForEachFrom(first, slots, [&](uint32_t i) {
    const TcpConnection& c = connections[i];
    if (c.fate() != Fate::kAlive || c.state() == TcpState::kClosed) return;
    SocketSnapshot& s = out->emplace_back();
    s.kind = SocketSnapshot::Kind::kConnection;
    s.tuple = c.tuple();
    s.info = c.Info(shard.context());
    s.queued = !c.accepted;
  });
}

uint32_t VisitTimeWait(Shard& shard, uint32_t first, uint32_t slots,
                       std::vector<SocketSnapshot>* out) {
  const TimeWaitTable& table = shard.time_wait();
  const Instant now = shard.context().now;
  return table.ForEachFrom(first, slots, [&](uint32_t i) {
    SocketSnapshot& s = out->emplace_back();
    s.kind = SocketSnapshot::Kind::kTimeWait;
    s.tuple = table.TupleOf(i);
    s.info.state = table.fin_wait2(i) ? TcpState::kFinWait2 : TcpState::kTimeWait;
    s.info.timer = {TimerKind::kTimeWait, std::max(table.deadline(i) - now, Duration()), 0};
  });
}

}  // namespace

std::string ListenerSnapshot::AddressText() const {
  if (address == IpAddress() && !v6_only) return "*";
  return address.ToString();
}

ListenersSnapshot SnapshotListeners(Shard& shard) {
  ListenersSnapshot all;
  shard.passive_open().ForEachListener(
      [&](Handle handle, const Listener& l) { all.listeners.push_back(Copy(shard, handle, l)); });
  all.without_listener = shard.passive_open().without_listener();
  return all;
}

std::vector<ListenerSnapshot> MergeListeners(const std::vector<ListenersSnapshot>& shards) {
  std::vector<ListenerSnapshot> merged;
  for (const ListenersSnapshot& shard : shards) {
    for (const ListenerSnapshot& l : shard.listeners) {
      const auto same = [&l](const ListenerSnapshot& m) {
        return m.id == l.id && m.address == l.address && m.port == l.port;
      };
      const auto found = std::find_if(merged.begin(), merged.end(), same);
      if (found == merged.end()) {
        ListenerSnapshot& m = merged.emplace_back(l);
        m.shard = ListenerSnapshot::kAllShards;
        m.limits = l.whole;
        continue;
      }
      found->accept_queue += l.accept_queue;
      found->half_open += l.half_open;
      found->young += l.young;
      found->parked += l.parked;
      found->fast_open_pending += l.fast_open_pending;
      found->counters.Add(l.counters);
    }
  }
  return merged;
}

void SnapshotSockets(Shard& shard, uint8_t kinds, uint32_t slots, SocketCursor* cursor,
                     std::vector<SocketSnapshot>* out) {
  using Kind = SocketSnapshot::Kind;
  constexpr uint32_t kEnd = UINT32_MAX;
  while (!cursor->done) {
    uint32_t next = kEnd;
    const bool wanted = (kinds & Bit(cursor->kind)) != 0;
    switch (cursor->kind) {
      case Kind::kRequest:
        if (wanted) next = VisitRequests(shard, cursor->next, slots, out);
        break;
      case Kind::kConnection:
        if (wanted) next = VisitConnections(shard, cursor->next, slots, out);
        break;
      case Kind::kTimeWait:
        if (wanted) next = VisitTimeWait(shard, cursor->next, slots, out);
        break;
    }
    if (next != kEnd) {
      cursor->next = next;
      return;
    }
    cursor->next = 0;
    cursor->done = cursor->kind == Kind::kTimeWait;
    if (!cursor->done) cursor->kind = static_cast<Kind>(static_cast<uint8_t>(cursor->kind) + 1);
    if (wanted) return;
  }
}

CounterValues SnapshotCounters(const Shard& shard) {
  CounterValues values;
  for (size_t i = 0; i < kCounterCount; ++i)
    values[i] = shard.counters().Get(static_cast<Counter>(i));
  return values;
}

ShardSnapshot SnapshotShard(Shard& shard) {
  ShardSnapshot s;
  s.connections = shard.connection_count();
  s.requests = shard.passive_open().requests().size();
  s.time_wait = shard.time_wait().size();
  s.orphans = shard.context().orphans;
  s.tcp_memory_bytes = shard.context().memory.charged_bytes();
  return s;
}

}  // namespace usher
