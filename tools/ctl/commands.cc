#include "tools/ctl/commands.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace usher::ctl {
namespace {

using Json = nlohmann::json;

constexpr int kShutdownLimitSeconds = 60;

absl::Status NoArguments(const char* command, const std::vector<std::string>& arguments) {
  if (arguments.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(command, ": what is '", arguments.front(), "'?"));
}

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// Names with dots, however they were given.
std::string Dotted(std::string name) {
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
}

}  // namespace

std::string ListenerName(const Json& listener) {
  const std::string address = listener.value("local", "?");
  const bool brackets = address.find(':') != std::string::npos;
  return absl::StrCat(brackets ? "[" : "", address, brackets ? "]:" : ":",
                      listener.value("local_port", 0));
}

absl::Status RunSysctl(Client& client, const std::vector<std::string>& arguments, bool json) {
  if (arguments.empty())
    return absl::InvalidArgumentError("sysctl: name a setting, or -a for all of them");
  Json values = Json::object();
  const auto take = [&](const Json& row) {
    const std::string name = row.value("name", "?");
    const std::string value = row.value("value", "");
    if (json) {
      values[name] = value;
    } else {
      Print(absl::StrCat(name, " = ", value, "\n"));
    }
    return true;
  };
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    Json request = {{"command", "sysctl-get"}};
    if (equals != std::string::npos) {
      if (equals + 1 == argument.size())
        return absl::InvalidArgumentError(absl::StrCat("sysctl: '", argument, "' has no value"));
      request["command"] = "sysctl-set";
      request["name"] = Dotted(argument.substr(0, equals));
      request["value"] = argument.substr(equals + 1);
    } else if (argument != "-a") {
      if (argument.empty() || argument[0] == '-')
        return absl::InvalidArgumentError(absl::StrCat("sysctl: unknown option '", argument, "'"));
      request["name"] = Dotted(argument);
    }
    absl::Status status = client.Ask(request, take);
    // A name that is not there is a wrong call, as a wrong value is.
    if (absl::IsNotFound(status)) return absl::InvalidArgumentError(std::string(status.message()));
    if (!status.ok()) return status;
  }
  if (json) Print(values.dump() + '\n');
  return absl::OkStatus();
}

absl::Status RunDrops(Client& client, const std::vector<std::string>& arguments, bool json) {
  if (absl::Status s = NoArguments("drops", arguments); !s.ok()) return s;
  const auto answer = client.Ask(Json{{"command", "listeners"}, {"per_shard", true}});
  if (!answer.ok()) return answer.status();
  struct Row {
    std::string listener;
    int shard;
    std::string reason;
    uint64_t count;
  };
  std::vector<Row> rows;
  for (const Json& from : *answer) {
    const bool nobody = from.contains("without_listener");
    const Json& drops = from[nobody ? "without_listener" : "drops"];
    for (const auto& [reason, count] : drops.items()) {
      rows.push_back({nobody ? "-" : ListenerName(from), from.value("shard", 0), reason,
                      count.get<uint64_t>()});
    }
  }
  if (json) {
    Json list = Json::array();
    for (const Row& r : rows) {
      list.push_back(
          {{"listener", r.listener}, {"shard", r.shard}, {"reason", r.reason}, {"count", r.count}});
    }
    Print(list.dump() + '\n');
    return absl::OkStatus();
  }
  size_t width = sizeof("Listener") - 1;
  for (const Row& r : rows) width = std::max(width, r.listener.size());
  const auto columns = static_cast<int>(width);
  Print(absl::StrFormat("%-*s Shard %-24s %12s\n", columns, "Listener", "Reason", "Count"));
  for (const Row& r : rows)
    Print(
        absl::StrFormat("%-*s %5d %-24s %12d\n", columns, r.listener, r.shard, r.reason, r.count));
  return absl::OkStatus();
}

absl::Status RunShutdown(Client& client, const std::vector<std::string>& arguments, bool json) {
  if (absl::Status s = NoArguments("shutdown", arguments); !s.ok()) return s;
  const auto answer = client.Ask(Json{{"command", "shutdown"}});
  if (!answer.ok()) return answer.status();
  if (!client.WaitForEnd(kShutdownLimitSeconds)) {
    return absl::DeadlineExceededError(
        absl::StrCat("the server still runs after ", kShutdownLimitSeconds, " s"));
  }
  if (json) Print("{\"shutdown\":true}\n");
  return absl::OkStatus();
}

}  // namespace usher::ctl
