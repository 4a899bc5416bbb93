// What a schedule is played to: the kernel, or usher.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "stack/base/sysctl.h"
#include "tests/differential/client.h"
#include "tests/differential/schedule.h"

namespace usher::differential {

struct SentPacket {
  double at_ms = 0;  // since the schedule began
  Bytes bytes;       // IP header first
};

// What one side shows of its sockets.
struct SocketTable {
  bool listening = false;
  uint32_t accept_queue = 0;  // of all listeners together
  uint32_t accept_limit = 0;
  std::vector<std::string> rows;  // "c3 SYN-RECV timeouts 1", sorted
};

using CounterValues = std::map<std::string, uint64_t>;

// Settings that a schedule may change, and those that both sides must start with alike.
inline constexpr const char* kSharedSysctls[] = {
    "net.core.somaxconn",
    "net.core.rmem_max",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_dsack",
    "net.ipv4.tcp_rfc1337",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_invalid_ratelimit",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_rto_min_us",
    "net.ipv4.tcp_min_snd_mss",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.ip_default_ttl",
};

inline constexpr char kFastOpenKeySysctl[] = "net.ipv4.tcp_fastopen_key";
// The one that both begin with, and another.
inline constexpr const char* kFastOpenKeys[] = {"00010203-04050607-08090a0b-0c0d0e0f",
                                                "10111213-14151617-18191a1b-1c1d1e1f"};

// Calls give 0 or an errno. `client` stands for the newest connection accepted from it; ENOENT:
// there is none.
class Subject {
 public:
  virtual ~Subject() = default;

  virtual void SetSysctl(const std::string& name, const std::string& value) = 0;
  // A listener more, by the step's fields. The calls below are for the oldest that is still there.
  virtual int Listen(const Step& step) = 0;
  virtual int SetBacklog(int backlog) = 0;
  virtual int CloseListener() = 0;
  virtual int Accept(uint8_t* client) = 0;
  // TCP_SAVED_SYN, read once; empty: none.
  virtual Bytes SavedSyn(uint8_t client) = 0;
  // Puts the oldest listener behind the others.
  virtual void RotateListeners() = 0;
  virtual int Read(uint8_t client, Bytes* bytes) = 0;
  virtual int Write(uint8_t client, uint32_t bytes) = 0;
  virtual int Shutdown(uint8_t client) = 0;
  virtual int Close(uint8_t client) = 0;

  virtual void Inject(const Bytes& packet) = 0;
  // What was sent since the last call.
  virtual std::vector<SentPacket> TakeSent() = 0;
  // Lets time pass until `ms` after the beginning.
  virtual void SleepUntil(double ms) = 0;
  // How late it is, against the schedule, in ms: 0 in virtual time.
  virtual double LateBy(double ms) = 0;

  virtual SocketTable Sockets() = 0;
  virtual CounterValues Counters() = 0;
};

// What both sides begin with alike.
struct Beginning {
  std::map<std::string, std::string> sysctls;  // the values of kSharedSysctls
  // What the clock shows then. A cookie's timestamp holds options in place of its low six bits, so
  // the round trip that its echo tells depends on what those bits were.
  int64_t clock_ns = 0;
};

// The kernel, in the network namespace that this process makes for itself: once per process. How it
// began is left in *beginning.
std::unique_ptr<Subject> MakeKernel(const Schedule& schedule, Beginning* beginning);
// usher, in virtual time, with listen_model = linux.
std::unique_ptr<Subject> MakeUsher(const Schedule& schedule, const Beginning& beginning);

}  // namespace usher::differential
