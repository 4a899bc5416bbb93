// The settings of the stack, under Linux's names and with Linux's units, ranges and defaults.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace usher {

// tcp_fastopen_key: the words of 128-bit keys. Cookies of the backup are good as well.
struct FastOpenKeys {
  using Key = std::array<uint32_t, 4>;
  Key primary = {};
  std::optional<Key> backup;

  bool given() const { return primary != Key{}; }  // else they are drawn at random
  friend bool operator==(const FastOpenKeys&, const FastOpenKeys&) = default;
};

// One member per setting, read directly by the code that it steers. A member is called as the last
// part of its name; where a setting lists several numbers, the index is given.
//
// Defaults are those of a new network namespace on Linux 6.x, except where Linux computes them from
// the machine's memory: 0 here means that the server has not resolved them yet.
struct Sysctls {
  // net.core
  int32_t somaxconn = 4096;      // upper bound of every listener's backlog
  int32_t rmem_max = 4'194'304;  // bytes; a window scale is chosen for this much at least

  // net.ipv4: listening
  // 0: the server takes max(128, connections / 128). Below 0: the largest there is as the bound of
  // a SYN table; without cookies next to none.
  int32_t tcp_max_syn_backlog = 0;
  int32_t tcp_syncookies = 1;  // 0 never, 1 when half-open is full, 2 always
  int32_t tcp_synack_retries = 5;
  int32_t tcp_abort_on_overflow = 0;
  int32_t tcp_migrate_req = 0;
  int32_t tcp_fastopen = 1;  // bits: 1 client, 2 server, 0x200 without cookie, 0x400 all listeners
  FastOpenKeys tcp_fastopen_key;
  int32_t tcp_max_tw_buckets =
      0;  // 0: the server takes max_connections; below 0: no limit but that

  // net.ipv4: retries and timers
  int32_t tcp_syn_retries = 6;
  int32_t tcp_syn_linear_timeouts = 4;
  int32_t tcp_retries1 = 3;
  int32_t tcp_retries2 = 15;
  int32_t tcp_orphan_retries = 0;     // 0: 8
  int32_t tcp_max_orphans = 0;        // 0: the server takes max_connections / 2; below 0: none
  int32_t tcp_fin_timeout = 60;       // seconds in FIN-WAIT-2 without an owner, if above 3.5 RTO
  int32_t tcp_keepalive_time = 7200;  // seconds; below 0: a time that does not come
  int32_t tcp_keepalive_intvl = 75;   // likewise
  int32_t tcp_keepalive_probes = 9;
  int32_t tcp_rto_min_us = 200'000;
  int32_t tcp_rto_max_ms = 120'000;
  int32_t tcp_tw_reuse = 2;  // 0 no, 1 for active opens, 2 for those over loopback
  int32_t tcp_rfc1337 = 0;

  // net.ipv4: options and segments
  int32_t tcp_timestamps = 1;  // 0 off, 1 with a random offset per connection, 2 without
  int32_t tcp_window_scaling = 1;
  int32_t tcp_sack = 1;
  int32_t tcp_dsack = 1;
  int32_t tcp_ecn = 2;  // 0 off, 1 asked for and granted, 2 granted only
  int32_t tcp_ecn_fallback = 1;
  int32_t tcp_mtu_probing = 0;  // 0 off, 1 after a black hole, 2 always
  int32_t tcp_base_mss = 1024;
  int32_t tcp_mtu_probe_floor = 48;
  int32_t tcp_probe_threshold = 8;   // bytes of search range that are not worth a probe
  int32_t tcp_probe_interval = 600;  // seconds after which a search is made anew
  int32_t tcp_min_snd_mss = 48;

  // net.ipv4: loss recovery and congestion control
  std::string tcp_congestion_control = "cubic";
  int32_t tcp_reordering = 3;
  int32_t tcp_max_reordering = 300;
  int32_t tcp_recovery = 1;       // bits: 1 RACK, 2 static reordering window, 4 no DUPACK threshold
  int32_t tcp_early_retrans = 3;  // 0 no tail loss probe, 3 or 4 with it
  int32_t tcp_frto = 2;           // 0 off, otherwise on
  int32_t tcp_slow_start_after_idle = 1;
  int32_t tcp_pacing_ss_ratio = 200;  // per cent of the delivery rate in slow start
  int32_t tcp_pacing_ca_ratio = 120;  // per cent after it
  int32_t tcp_autocorking = 1;
  int32_t tcp_min_tso_segs = 2;  // of a large segment that the port cuts
  int32_t tcp_tso_rtt_log =
      9;                   // its size grows with shorter round trips: by 2^-(RTT in us >> this)
  int32_t tcp_stdurg = 0;  // 1: the urgent pointer points at the urgent byte, not behind it

  // net.ipv4: buffers
  std::array<uint64_t, 3> tcp_mem = {0, 0, 0};  // pages of 4096; 0: resolved by the server
  // Bytes: min, default, max.
  std::array<int32_t, 3> tcp_rmem = {4096, 131'072, 33'554'432};
  std::array<int32_t, 3> tcp_wmem = {4096, 16'384, 4'194'304};
  uint32_t tcp_notsent_lowat = std::numeric_limits<uint32_t>::max();
  int32_t tcp_moderate_rcvbuf = 1;
  int32_t tcp_adv_win_scale = 1;
  int32_t tcp_app_win = 31;
  int32_t tcp_workaround_signed_windows = 0;

  // net.ipv4: answers to bad segments
  int32_t tcp_invalid_ratelimit = 500;  // milliseconds between two such ACKs
  int32_t tcp_challenge_ack_limit = std::numeric_limits<int32_t>::max();  // per second

  // net.ipv4: the network layer
  std::array<int32_t, 2> ip_local_port_range = {32'768, 60'999};  // both included
  int32_t ip_default_ttl = 64;
  int32_t ipfrag_time = 30;  // seconds that fragments wait for the rest
  int32_t icmp_echo_ignore_all = 0;
  int32_t icmp_echo_ignore_broadcasts = 1;
  int32_t icmp_ratelimit = 1000;     // milliseconds between two errors to one destination
  int32_t icmp_msgs_per_sec = 1000;  // errors to all destinations together
  int32_t icmp_msgs_burst = 50;
};

// Sets the setting called `name` ("net.ipv4.tcp_sack"; slashes for dots do as well) as writing
// `value` to its file in /proc/sys does on Linux: numbers, decimal, octal (010) or 0x..., blanks
// between several; of a list the last ones may be left out and stay; what follows the last one
// after a blank is not looked at; nothing at all changes nothing. Keys as "0-1-2-3" in hex, the
// backup after a comma. NotFound: no such name, or (ENOENT on Linux too) no such congestion
// control. InvalidArgument: not such a value; the message gives the allowed range. Then nothing is
// changed, where Linux may have changed the first of several numbers.
absl::Status SetSysctl(Sysctls& sysctls, const std::string& name, const std::string& value);

// The value as sysctl(8) prints it, several numbers with tabs between. NotFound: no such name.
absl::StatusOr<std::string> GetSysctl(const Sysctls& sysctls, const std::string& name);

// Every name, with dots, in alphabetical order.
std::vector<std::string> SysctlNames();

}  // namespace usher
