// What a shard looks like from outside: plain copies, made by the shard itself between two bursts.
//
// Whoever looks posts an errand (Stack::Post) that calls one of these on the shard's thread. The
// copy of sockets is made in steps of bounded work, so that a million connections do not hold the
// shard up; between two steps connections come and go, as they do under Linux's ss.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "stack/base/counters.h"
#include "stack/listen/listener.h"
#include "stack/shard/shard.h"
#include "stack/tcp/info.h"
#include "stack/wire/address.h"

namespace usher {

// A listener: of one shard, or merged from all of them.
struct ListenerSnapshot {
  static constexpr int kAllShards = -1;

  int shard = kAllShards;
  uint32_t id = 0;  // the same on every shard
  IpAddress address;
  uint16_t port = 0;
  bool v6_only = false;
  bool reuseport = false;
  ListenModel model = ListenModel::kLinuxClassic;
  int backlog = 0;       // as asked for
  BacklogLimits limits;  // of the shard's share; of the whole listener once merged
  BacklogLimits whole;
  uint32_t accept_queue = 0;
  uint32_t half_open = 0;
  uint32_t young = 0;
  uint32_t parked = 0;
  uint32_t fast_open_pending = 0;
  ListenerCounters counters;

  // As ss writes it: "0.0.0.0", "*" (both families), "::".
  std::string AddressText() const;
};

// The listeners of one shard, and what has no listener, or none any more.
struct ListenersSnapshot {
  std::vector<ListenerSnapshot> listeners;
  ListenerCounters without_listener;
};
ListenersSnapshot SnapshotListeners(Shard& shard);

// One row for each listener: queues and counters added up over the shards.
std::vector<ListenerSnapshot> MergeListeners(const std::vector<ListenersSnapshot>& shards);

// A connection, a half-open request or a TIME-WAIT record.
struct SocketSnapshot {
  enum class Kind : uint8_t { kRequest, kConnection, kTimeWait };
  Kind kind = Kind::kConnection;
  FourTuple tuple;
  TcpInfo info;         // of requests and TIME-WAIT records: state, queues and timer only
  bool queued = false;  // a connection that no accept() has taken yet
};

// How far a walk over a shard's sockets has come.
struct SocketCursor {
  SocketSnapshot::Kind kind = SocketSnapshot::Kind::kRequest;
  uint32_t next = 0;
  bool done = false;
};

// Appends the sockets among the next `slots` slots to `out` and moves the cursor on. What the
// cursor's kind has in `kinds` (bits 1 << Kind) counts; other kinds are passed over.
void SnapshotSockets(Shard& shard, uint8_t kinds, uint32_t slots, SocketCursor* cursor,
                     std::vector<SocketSnapshot>* out);

// All counters, in the order of Counter. Any thread.
using CounterValues = std::array<uint64_t, kCounterCount>;
CounterValues SnapshotCounters(const Shard& shard);

// How full a shard's tables are.
struct ShardSnapshot {
  uint32_t connections = 0;
  uint32_t requests = 0;
  uint32_t time_wait = 0;
  uint32_t orphans = 0;
  uint64_t tcp_memory_bytes = 0;
};
ShardSnapshot SnapshotShard(Shard& shard);

}  // namespace usher
