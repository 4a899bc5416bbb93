// Plays a script through packetdrill's interface, as packetdrill does: packets on this thread,
// calls that block on a second one.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/script/codec.h"
#include "tests/script/script.h"
#include "tools/packetdrill/interface.h"

namespace usher::script {

enum class FamilyMode : uint8_t { kIpv4, kMapped, kIpv6 };
const char* ToString(FamilyMode mode);  // as in the adapter's v=

// One call of a script, with its script descriptors turned into live ones.
class Calls {
 public:
  Calls(packetdrill_interface& api, FamilyMode mode) : api_(api), mode_(mode) {}

  // Makes the call; an empty string if it did what the script says.
  std::string Make(const Call& call);

  uint16_t bound_port() const { return bound_port_; }
  bool connecting() const { return connecting_; }
  void set_connected() { connecting_ = false; }
  IpAddress local() const;
  IpAddress remote() const;
  // tcp_info of the script's last used connection, as names for assertions.
  std::map<std::string, int64_t> TcpInfo();

 private:
  struct Outcome {
    int64_t result = 0;
    int error = 0;
    std::string wrong;  // about what the call filled in
  };

  std::optional<Outcome> MakeSocketCall(const Call& call);
  std::optional<Outcome> MakeIoCall(const Call& call);
  std::optional<Outcome> MakeOtherCall(const Call& call);
  Outcome Poll(const Call& call);
  Outcome EpollCtl(const Call& call);
  Outcome EpollWait(const Call& call);
  Outcome GetSockOpt(const Call& call);
  Outcome SetSockOpt(const Call& call);
  Outcome Message(const Call& call, bool sends);
  Outcome Done(int64_t result) const;
  int Live(const Value& v) const;
  int LiveArg(const Call& call, size_t i) const;
  int64_t Arg(const Call& call, size_t i, int64_t otherwise = 0) const;
  socklen_t Address(const IpAddress& address, uint16_t port, sockaddr_storage* out) const;

  packetdrill_interface& api_;
  const FamilyMode mode_;
  std::map<int, int> live_;  // script descriptor -> live one
  int last_socket_ = -1;
  uint16_t bound_port_ = 8080;
  bool connecting_ = false;
};

class Player {
 public:
  Player(packetdrill_interface& api, FamilyMode mode, bool verbose);
  ~Player();

  // Linux sets PSH on all of which it made several segments at once.
  void IgnorePush() { push_matters_ = false; }

  // An empty string, or what went wrong where.
  std::string Play(const Script& script);
  // Plays a script without looking at what it expects, prints what was sent and what calls came to,
  // to hold two stacks against each other. `live`: time is real, packets are to be read at once.
  void Record(const Script& script, bool live);

 private:
  struct Blocking {
    const Event* event = nullptr;
    int64_t due_us = 0;
    int64_t ended_us = 0;
    std::string wrong;
  };

  int64_t NowUs();
  void WaitUntil(int64_t script_us);
  std::string PlayEvent(const Event& e, const Script& script);
  std::string Inject(const Packet& p);
  std::string Expect(const Event& e, const Script& script);
  std::string StartBlocking(const Event& e);
  void AwaitBlocked(std::unique_lock<std::mutex>& lock, int looks);
  std::string JoinBlocking(const Script& script);
  std::string CheckTime(const char* what, int64_t due_us, int64_t latest_us, int64_t at_us,
                        const Script& script) const;
  void RecordPacket(std::span<const uint8_t> bytes, long long at_us);
  void ReadUntil(int64_t script_us);
  void Note(int64_t at_us, const std::string& text);
  void CallThread();
  Flow& FlowOf(int connection);

  packetdrill_interface& api_;
  Calls calls_;
  const bool verbose_;
  bool push_matters_ = true;
  int64_t start_us_ = 0;     // live time of the script's 0
  int64_t last_due_us_ = 0;  // script time of the event before
  int64_t due_us_ = 0;
  std::map<int, Flow> flows_;
  bool live_ = false;
  std::vector<const Packet*> expected_;  // of a script that is recorded, in order
  size_t next_expected_ = 0;
  std::vector<std::pair<int64_t, std::string>> notes_;  // of a recording, with their times

  std::mutex mutex_;
  std::condition_variable changed_;
  enum class Stage : uint8_t { kIdle, kQueued, kRunning, kDone, kQuit };
  Stage stage_ = Stage::kIdle;
  Blocking blocking_;
  int thread_id_ = 0;
  std::thread thread_;
};

}  // namespace usher::script
