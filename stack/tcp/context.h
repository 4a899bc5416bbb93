// What a shard lends to its connections. One per shard; everything in it belongs to the shard's
// thread.
#pragma once

#include <cstdint>

#include "stack/base/counters.h"
#include "stack/base/object_pool.h"
#include "stack/base/slot_queue.h"
#include "stack/base/sysctl.h"
#include "stack/base/time.h"
#include "stack/base/timer_wheel.h"
#include "stack/ip/egress.h"
#include "stack/tcp/congestion/controller.h"
#include "stack/tcp/isn.h"
#include "stack/tcp/md5.h"
#include "stack/tcp/memory.h"
#include "stack/tcp/out_of_order_queue.h"
#include "stack/tcp/recovery/rtt.h"
#include "stack/tcp/recovery/sent_queue.h"
#include "stack/tcp/send_buffer.h"

namespace usher {

struct TcpContext {
  FrozenInstant now;  // of the pass
  Egress& egress;
  Counters& counters;
  const Sysctls& sysctls;
  RecoverySettings recovery_settings;                            // made from the sysctls
  CongestionAlgorithm congestion = CongestionAlgorithm::kCubic;  // likewise
  const IsnGenerator& isn;
  TcpMemory& memory;
  SendBlockPool& send_blocks;
  SentSegmentPool& sent_segments;
  ObjectPool<OutOfOrderQueue>& reassembly;  // for connections that have data beyond a hole
  Md5Keys& md5_keys;
  TimerWheel& timers;    // a connection's timer has the index of its slot
  SlotQueue& events;     // connections with undelivered events
  SlotQueue& output;     // connections that owe an ACK or have data to send
  uint32_t orphans = 0;  // connections without an owner, bounded by tcp_max_orphans
};

}  // namespace usher
