// usherctl: looks at a running usherd and steers it, by its control socket.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/ctl/capture.h"
#include "tools/ctl/client.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/nstat.h"
#include "tools/ctl/ss.h"
#include "tools/ctl/top.h"

namespace usher::ctl {
namespace {

constexpr char kHelp[] =
    R"(usage: usherctl [--instance NAME] [--json] COMMAND [...]
  ss [-latnioe46H]             sockets, in the columns of ss; -le: what holds a listener back
  nstat [-azsn] [PATTERN...]   counters since the last call; -a since the server's start
  sysctl -a | NAME... | NAME=VALUE...
  drops                        every SYN and ACK that was not served, by listener, shard, reason
  capture [-c PACKETS] [-s BYTES] FILE
                               what the ports receive and send, as pcapng, until Ctrl-C; - is stdout
  top [-d SECONDS] [-n COUNT]  listeners with their queues, live; q quits
  shutdown                     ends the server
The server is the one whose EAL --file-prefix is NAME; without --instance the only one that runs.
)";

struct Call {
  std::string instance;
  bool json = false;
  bool help = false;
  std::string command;
  std::vector<std::string> arguments;  // of the command
};

// --instance, --json and --help may stand anywhere.
absl::StatusOr<Call> ParseCall(const std::vector<std::string>& words) {
  Call call;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::string with_value = "--instance=";
    if (word == "--json") {
      call.json = true;
    } else if (word == "--help" || word == "-h") {
      call.help = true;
    } else if (word == "--instance") {
      if (i + 1 == words.size()) return absl::InvalidArgumentError("--instance: no name given");
      call.instance = words[++i];
    } else if (word.compare(0, with_value.size(), with_value) == 0) {
      call.instance = word.substr(with_value.size());
    } else if (call.command.empty()) {
      call.command = word;
    } else {
      call.arguments.push_back(word);
    }
  }
  return call;
}

absl::Status Run(const Call& call) {
  // What can be seen to be wrong without a server is said first.
  SsOptions ss;
  NstatOptions nstat;
  TopOptions top;
  CaptureOptions capture;
  if (call.command == "ss") {
    const auto parsed = ParseSsOptions(call.arguments);
    if (!parsed.ok()) return parsed.status();
    ss = *parsed;
  } else if (call.command == "nstat") {
    const auto parsed = ParseNstatOptions(call.arguments);
    if (!parsed.ok()) return parsed.status();
    nstat = *parsed;
  } else if (call.command == "top") {
    const auto parsed = ParseTopOptions(call.arguments);
    if (!parsed.ok()) return parsed.status();
    top = *parsed;
  } else if (call.command == "capture") {
    const auto parsed = ParseCaptureOptions(call.arguments);
    if (!parsed.ok()) return parsed.status();
    capture = *parsed;
  } else if (call.command != "sysctl" && call.command != "drops" && call.command != "shutdown") {
    return absl::InvalidArgumentError(call.command.empty()
                                          ? "no command given (usherctl --help lists them)"
                                          : "unknown command '" + call.command +
                                                "' (usherctl --help lists them)");
  }
  auto client = Client::Connect(call.instance);
  if (!client.ok()) return client.status();
  if (call.command == "ss") return RunSs(*client, ss, call.json);
  if (call.command == "nstat") return RunNstat(*client, nstat, call.json);
  if (call.command == "top") return RunTop(*client, top, call.json);
  if (call.command == "capture") return RunCapture(*client, capture, call.json);
  if (call.command == "sysctl") return RunSysctl(*client, call.arguments, call.json);
  if (call.command == "drops") return RunDrops(*client, call.arguments, call.json);
  return RunShutdown(*client, call.arguments, call.json);
}

// 2: the call was wrong; 1: it failed.
int Main(const std::vector<std::string>& words) {
  const auto call = ParseCall(words);
  if (call.ok() && call->help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  absl::Status status = call.status();
  if (call.ok()) {
    try {
      status = Run(*call);
    } catch (const nlohmann::json::exception& e) {
      status =
          absl::InternalError(std::string("the server's answer is not understood: ") + e.what());
    }
  }
  if (std::fflush(stdout) != 0) return 1;
  if (status.ok()) return 0;
  std::fprintf(stderr, "usherctl: %s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

}  // namespace
}  // namespace usher::ctl

int main(int argc, char** argv) {
  return usher::ctl::Main(std::vector<std::string>(argv + 1, argv + argc));
}
