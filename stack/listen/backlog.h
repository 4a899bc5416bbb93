// What a backlog comes to: the clamping rules of the three listen models, as pure functions.
//
//                     given           somaxconn                 tcp_max_syn_backlog
//   listen(backlog) ----+---- min -------+--- accept queue limit
//                       |                |
//                       +----------------+---- min of three -----------+--- half-open capacity
//
// The right-hand side is the trap the literature warns of: the smallest of the three holds the
// listener back, and raising either of the others changes nothing. BacklogLimits says which.
#pragma once

#include <cstdint>
#include <string>

namespace usher {

enum class ListenModel : uint8_t {
  kLinuxClassic,  // Linux 2.6 to 4.3: a SYN table of its own size, a power of two
  kLinux,         // Linux 4.10 and later: half-open requests counted against the accept queue limit
  kBsd,           // 4.4BSD: one logical queue for half-open and completed
};
const char* ToString(ListenModel model);  // "linux-classic", "linux", "bsd"

// Which of the three numbers hold a listener back, as bits: raising all of them helps, raising any
// others does not. Several where they are equal.
struct HeldBackBy {
  enum Bit : uint8_t { kBacklog = 1, kSomaxconn = 2, kMaxSynBacklog = 4 };
  static constexpr Bit kAll[] = {kBacklog, kSomaxconn, kMaxSynBacklog};
  // "backlog", "somaxconn", "tcp_max_syn_backlog", with commas between several.
  static std::string ToString(uint8_t bits);
};

struct BacklogLimits {
  // Completed connections: full when length > accept_limit, so that accept_limit + 1 fit. bsd: full
  // when half-open + completed > 3 * accept_limit / 2.
  uint32_t accept_limit = 0;
  // Half-open requests: the number from which a SYN finds the table full. bsd: as many as the
  // logical queue takes while it holds nothing else.
  uint32_t half_open_capacity = 0;
  uint8_t held_back_by = HeldBackBy::kBacklog;
};

// What listen(backlog) means under `model`. Backlog and max_syn_backlog are compared as unsigned,
// so that a negative backlog becomes somaxconn (bsd: 0), and a negative max_syn_backlog holds
// nothing back. somaxconn >= 0, as sysctl ensures.
BacklogLimits ClampBacklog(ListenModel model, int backlog, int somaxconn, int max_syn_backlog);

// What holds with tcp_syncookies = 0, but for bsd: the last quarter of max_syn_backlog is kept for
// peers known to be alive, of which this stack knows none, so no more requests than that are added
// (and none at all where max_syn_backlog is below -1).
BacklogLimits WithoutCookies(BacklogLimits limits, int max_syn_backlog);

// How many places of its queue a listener has: completed connections (bsd: half-open ones too;
// linux: each of the two). Full when so many are taken.
uint32_t PlacesOf(ListenModel model, const BacklogLimits& whole);

// Of `places` as many as shard `index` of `count` has to begin with: dealt out evenly, so that a
// listener with fewer places than shards leaves some shards none until they lease one.
uint32_t DealtPlaces(uint32_t places, uint32_t index, uint32_t count);

// The number of SYN-ACK retransmissions that TCP_DEFER_ACCEPT's seconds stand for, and back.
// Timeouts are taken to grow to 120 s whatever tcp_rto_max_ms says, as on Linux.
uint8_t DeferAcceptRetries(uint32_t seconds);
uint32_t DeferAcceptSeconds(uint8_t retries);

}  // namespace usher
