// What usher-load is asked to do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stack/base/time.h"
#include "stack/ip/interface.h"
#include "stack/wire/address.h"

namespace usher::load {

enum class Mode : uint8_t {
  kRequests,     // rps: requests on connections that are kept
  kConnections,  // cps: a connection for each request
  kBulk,         // bulk: as many bytes as will go
  kSynFlood,     // below TCP, from here on: frames from templates, made-up sources
  kAckFlood,
};
const char* ToString(Mode mode);  // as on the command line
inline bool IsFlood(Mode mode) { return mode == Mode::kSynFlood || mode == Mode::kAckFlood; }

struct LoadOptions {
  std::vector<std::string> eal;
  IpAddress to;
  uint16_t port = 0;
  Mode mode = Mode::kRequests;
  uint32_t connections = 64;
  double rate = 0;  // per second, of all cores together; 0: as fast as it goes
  Duration seconds = Duration::Seconds(10);
  Duration warmup = Duration::Millis(500);
  bool json = false;
  std::vector<std::string> addresses;  // ours, with prefix
  std::optional<IpAddress> gateway;
  std::optional<MacAddress> mac;
  std::string path = "/";
  uint32_t pipeline = 1;  // most requests under way on one connection
  bool up = false;        // bulk: to the server (discard), not from it
  bool raw = false;       // bulk: not by HTTP: the server talks unasked (chargen), or is talked to
  InterfaceAddress spoof;
  std::optional<MacAddress> to_mac;  // floods: where the frames go on the link; else asked by ARP
  uint32_t shards = 0;               // as of RuntimeOptions
  bool busy_poll = false;

  // What is sent on a connection for one answer.
  std::string Request() const;
};

// One of several exclusive outcomes of reading a command line.
struct Call {
  bool help = false;  // nothing else counts then
  LoadOptions options;
};

// `words`: the command line without the program's name. InvalidArgument: one line that says which
// word is wrong and what would be right.
absl::StatusOr<Call> ParseCall(const std::vector<std::string>& words);

extern const char kUsage[];

}  // namespace usher::load
