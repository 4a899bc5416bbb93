// A listener as one shard has it: what it was asked for, what that came to, and its two queues.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "stack/base/object_pool.h"
#include "stack/base/time.h"
#include "stack/listen/accept_queue.h"
#include "stack/listen/backlog.h"
#include "stack/listen/drop_ledger.h"
#include "stack/listen/place_lease.h"
#include "stack/tcp/connection.h"
#include "stack/wire/address.h"

namespace usher {

// What the user asks for. (The empty initializers let callers name only some fields without a
// warning.)
struct ListenSpec {
  // One of ours; IpAddress::V4(0): all IPv4; ::, the default: all, IPv4 too.
  IpAddress address = {};
  // 0: an ephemeral one. Only listeners hold a port, as with SO_REUSEADDR: connections, and what
  // TIME-WAIT knows of them, do not.
  uint16_t port = 0;
  int backlog = 4096;
  std::optional<ListenModel> model = {};  // none: the configuration's
  bool v6_only = false;                   // IPV6_V6ONLY
  bool reuseport = false;                 // SO_REUSEPORT: listeners that all say so share SYNs
  bool save_syn = false;                  // TCP_SAVE_SYN
  uint32_t defer_accept_s = 0;            // TCP_DEFER_ACCEPT
  uint8_t syncnt = 0;                     // TCP_SYNCNT, 1 to 127; 0: tcp_synack_retries
  uint32_t fastopen_qlen = 0;       // TCP_FASTOPEN: pending Fast Open requests at most; 0: off
  bool cookie_ack_parking = false;  // keep a cookie's ACK while the accept queue is full
  bool strict_cookies = false;      // a cookie's ACK must echo a timestamp we may have sent
  TcpOptionsSet options = {};       // of the children
  Md5Rules md5 = {};                // TCP_MD5SIG: what these peers are sent and send is signed
  void* user_data = nullptr;        // given back with events
};

// How often what happened; names as in counter_list.h.
struct ListenerCounters {
  uint64_t syns = 0;                // SYNs that came for this listener
  uint64_t acks = 0;                // ACKs that came for it or for one of its requests
  uint64_t requests = 0;            // SYNs that entered the SYN table
  uint64_t syn_answered_again = 0;  // duplicate SYNs answered
  uint64_t completed = 0;           // children made from requests
  uint64_t completed_by_cookie = 0;
  uint64_t completed_fast_open = 0;
  uint64_t accepted = 0;     // taken by accept()
  uint64_t migrated_in = 0;  // requests and connections that a closed listener of the group left
  uint64_t listen_overflows = 0;
  uint64_t listen_drops = 0;
  uint64_t req_q_full_do_cookies = 0;
  uint64_t req_q_full_drop = 0;
  uint64_t syncookies_sent = 0;
  uint64_t syncookies_recv = 0;
  uint64_t syncookies_failed = 0;
  uint64_t parked = 0;  // ACKs put into the parking table
  DropLedger drops;

  void Add(const ListenerCounters& c);
};

// Lives in a slot of PassiveOpen's pool.
struct Listener {
  ListenSpec spec;
  ListenModel model = ListenModel::kLinuxClassic;
  BacklogLimits whole;   // of the listener as a whole
  BacklogLimits limits;  // of this shard's part of it
  PlaceLease lease;
  int64_t places = 0;  // of the queue, that this shard has now; see PlacesOf
  uint8_t defer_accept_retries = 0;

  AcceptQueue accept_queue;
  uint32_t half_open = 0;          // requests in the SYN table ("qlen")
  uint32_t young = 0;              // of these, without a SYN-ACK timeout yet
  uint32_t parked = 0;             // in the parking table
  uint32_t fast_open_whole = 0;    // limit of the listener as a whole
  uint32_t fast_open_limit = 0;    // of this shard's part; 0: no Fast Open here
  uint32_t fast_open_pending = 0;  // Fast Open children whose SYN-ACK is not yet acknowledged

  uint32_t id = 0;    // as in requests and children; see PassiveOpen
  uint32_t next = 0;  // in the port's list
  uint32_t next_ready = 0;
  bool ready_queued = false;
  Instant last_cookie;  // when a cookie was last sent; valid if cookies_sent_before
  bool cookies_sent_before = false;
  ListenerCounters counters;

  // The rules of the three models; see listen-semantics in README.md.
  bool AcceptQueueFull() const { return accept_queue.length() >= places; }
  bool HalfOpenFull() const {
    return model == ListenModel::kLinux ? half_open >= places
                                        : half_open >= limits.half_open_capacity;
  }
  bool LogicalQueueFull() const {  // bsd
    return int64_t{half_open} + accept_queue.length() >= places;
  }
  int64_t FreePlaces() const {
    switch (model) {
      case ListenModel::kLinux:
        return places - std::max(half_open, accept_queue.length());
      case ListenModel::kBsd:
        return places - half_open - accept_queue.length();
      case ListenModel::kLinuxClassic:
        break;
    }
    return places - accept_queue.length();
  }
};

}  // namespace usher
