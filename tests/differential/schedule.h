// A schedule: what clients, the application and the administrator do to one listener, step by step.
// It is made from a seed, and played in the same way to the kernel and to usher.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace usher::differential {

// What a number of a segment is counted from. The client's ISN is fixed by the schedule, the
// server's is learned from its SYN-ACK.
enum class SeqBase : uint8_t { kIsn, kNext };
enum class AckBase : uint8_t { kNone, kIsn, kNext, kPrevious };
enum class TsValue : uint8_t { kNone, kNow, kOld };
enum class TsEcho : uint8_t { kLast, kFirst, kZero, kBelow, kAbove };
// The Fast Open option: asks for a cookie, has the one that the server gave this client last (or,
// if it gave none, asks), or has one that it never gave.
enum class FastOpen : uint8_t { kNone, kRequest, kGiven, kWrong, kShort };

struct SegmentStep {
  uint8_t client = 0;
  uint16_t flags = 0;  // TcpFlags
  SeqBase seq_base = SeqBase::kNext;
  int32_t seq_delta = 0;
  AckBase ack_base = AckBase::kNone;
  int32_t ack_delta = 0;
  uint16_t window = 65535;
  bool fresh = false;  // a SYN that begins a new incarnation: its number becomes the client's ISN
  bool to_broadcast = false;
  uint16_t length = 0;  // payload bytes
  // Options; 0 or false: absent. `layout` varies order and padding.
  uint16_t mss = 0;
  int8_t window_scale = -1;
  bool sack = false;
  TsValue ts = TsValue::kNone;
  TsEcho echo = TsEcho::kLast;
  FastOpen fast_open = FastOpen::kNone;
  bool experimental = false;  // the Fast Open option's form of before RFC 7413
  uint8_t layout = 0;
};

enum class StepKind : uint8_t {
  kSysctl,
  kListen,
  kBacklog,
  kCloseListener,
  kSegment,
  kAccept,
  kAcceptAll,  // of all listeners, until none has any more
  kRead,
  kClose,
  kShutdown,
  kWrite,
  kWait,
};

struct Step {
  StepKind kind = StepKind::kAccept;
  std::string name;      // kSysctl
  std::string value;     // kSysctl
  int backlog = 0;       // kListen, kBacklog
  uint32_t defer_s = 0;  // kListen: TCP_DEFER_ACCEPT
  uint8_t syncnt = 0;    // kListen: TCP_SYNCNT
  // kListen: SO_REUSEPORT; further listeners of such a group may be there beside the first.
  bool reuseport = false;
  bool save_syn = false;   // kListen: TCP_SAVE_SYN
  int fastopen_qlen = -1;  // kListen: TCP_FASTOPEN; -1: not asked for
  uint8_t client = 0;      // kRead, kClose, kShutdown, kWrite: of its newest accepted connection
  uint32_t bytes = 0;      // kWrite
  uint32_t wait_ms = 0;    // kWait
  SegmentStep segment;     // kSegment
};

// A step that is not a wait takes this long in virtual time; really less.
inline constexpr double kStepMs = 0.25;
// So much longer after a FIN, until an acknowledgment that is due in the next tick has come.
inline constexpr double kFinMs = 12;

struct Schedule {
  uint64_t seed = 0;
  bool ipv6 = false;
  std::string profile;  // which of the generator's plans it follows
  std::vector<Step> steps;

  // One in so many lasts two minutes, all others 16.5 s at most; none of the seeds 1 to 500.
  static constexpr uint64_t kLongEvery = 1000;
  bool is_long() const { return seed % kLongEvery == 0; }
};

std::string ToString(const Step& step);
// All steps, one a line, with their numbers.
std::string ToString(const Schedule& schedule);

// The schedule of that seed; the same one wherever and whenever it is asked for.
Schedule Generate(uint64_t seed);

// Only the steps whose numbers are in `kept`, in order.
Schedule Keep(const Schedule& schedule, const std::vector<size_t>& kept);
// "0-3,7" and back. Empty on a malformed list.
std::vector<size_t> ParseStepList(const std::string& text);
std::string StepListToString(const std::vector<size_t>& kept);

}  // namespace usher::differential
