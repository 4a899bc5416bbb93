// usherctl ss: sockets, in the columns of iproute2's ss.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/ctl/client.h"

namespace usher::ctl {

// Which sockets, and what of them. Letters as those of ss.
struct SsOptions {
  bool listening = false;  // -l; of -l and -a the last given counts, as with ss
  bool all = false;        // -a
  bool numeric = false;    // -n: ports as numbers
  bool info = false;       // -i
  bool timers = false;     // -o
  bool extended = false;   // -e
  bool ipv4 = false;       // -4
  bool ipv6 = false;       // -6
  bool no_header = false;  // -H
};

// InvalidArgument: an option that is not there.
absl::StatusOr<SsOptions> ParseSsOptions(const std::vector<std::string>& arguments);

// Lines up rows and hands them to `print`, line by line. The columns are as wide as the first
// kRowsMeasured rows need, so that a million rows pass through without being kept.
class SsPrinter {
 public:
  static constexpr size_t kRowsMeasured = 4096;

  SsPrinter(const SsOptions& options, std::function<void(const std::string&)> print);
  // `socket`: a row of the server's answer to "listeners" or "sockets".
  void Add(const nlohmann::json& socket);
  // Prints what is still kept. Once, last.
  void Finish();

 private:
  struct Row {
    std::string state, recv_q, send_q, local, local_port, peer, peer_port, extra, info;
  };
  void Measure();
  void Print(const Row& row);

  const SsOptions options_;
  std::function<void(const std::string&)> print_;
  std::vector<Row> rows_;
  bool measured_ = false;
  size_t state_ = 0, recv_q_ = 0, send_q_ = 0, local_ = 0, local_port_ = 0, peer_ = 0,
         peer_port_ = 0;
};

// "timer:(on,1.2sec,3)".
std::string TimerText(const nlohmann::json& timer);
// What ss -i writes below a connection, as far as it is known here.
std::string InfoText(const nlohmann::json& socket);
// What ss -le adds to a listener.
std::string ListenerText(const nlohmann::json& listener);

absl::Status RunSs(Client& client, const SsOptions& options, bool json);

}  // namespace usher::ctl
