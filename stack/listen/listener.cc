#include "stack/listen/listener.h"

namespace usher {

void ListenerCounters::Add(const ListenerCounters& c) {
  syns += c.syns;
  acks += c.acks;
  requests += c.requests;
  syn_answered_again += c.syn_answered_again;
  completed += c.completed;
  completed_by_cookie += c.completed_by_cookie;
  completed_fast_open += c.completed_fast_open;
  accepted += c.accepted;
  migrated_in += c.migrated_in;
  listen_overflows += c.listen_overflows;
  listen_drops += c.listen_drops;
  req_q_full_do_cookies += c.req_q_full_do_cookies;
  req_q_full_drop += c.req_q_full_drop;
  syncookies_sent += c.syncookies_sent;
  syncookies_recv += c.syncookies_recv;
  syncookies_failed += c.syncookies_failed;
  parked += c.parked;
  drops.Add(c.drops);
}

}  // namespace usher
