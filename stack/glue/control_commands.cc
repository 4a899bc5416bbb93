#include "stack/glue/control_commands.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "stack/glue/control_json.h"
#include "stack/glue/shard_query.h"

namespace usher {
namespace {

using Json = nlohmann::json;

absl::Status NoAnswer(uint32_t shard) {
  return absl::UnavailableError(absl::StrCat("shard ", shard, " does not answer"));
}

// The string at `key`, empty if there is none.
absl::StatusOr<std::string> Text(const Json& request, const char* key) {
  const auto found = request.find(key);
  if (found == request.end()) return std::string();
  if (!found->is_string()) return absl::InvalidArgumentError(absl::StrCat(key, ": not a string"));
  return found->get<std::string>();
}

absl::StatusOr<bool> Flag(const Json& request, const char* key) {
  const auto found = request.find(key);
  if (found == request.end()) return false;
  if (!found->is_boolean())
    return absl::InvalidArgumentError(absl::StrCat(key, ": not true or false"));
  return found->get<bool>();
}

absl::StatusOr<ControlRequest::Command> ParseCommand(const std::string& name) {
  using Command = ControlRequest::Command;
  static constexpr std::pair<const char*, Command> kCommands[] = {
      {"status", Command::kStatus},        {"listeners", Command::kListeners},
      {"sockets", Command::kSockets},      {"counters", Command::kCounters},
      {"sysctl-get", Command::kSysctlGet}, {"sysctl-set", Command::kSysctlSet},
      {"capture", Command::kCapture},      {"shutdown", Command::kShutdown},
  };
  for (const auto& [known, command] : kCommands)
    if (name == known) return command;
  return absl::InvalidArgumentError(absl::StrCat("unknown command '", name, "'"));
}

// The number at `key`, as it was if there is none.
template <class Number>
absl::Status TakeNumber(const Json& request, const char* key, Number least, Number most,
                        Number* out) {
  const auto found = request.find(key);
  if (found == request.end()) return absl::OkStatus();
  if (!found->is_number_unsigned() || found->get<uint64_t>() < least ||
      found->get<uint64_t>() > most)
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": not a number from ", least, " to ", most));
  *out = found->get<Number>();
  return absl::OkStatus();
}

absl::Status ParseCapture(const Json& request, CaptureLimits* out) {
  absl::Status status =
      TakeNumber<uint32_t>(request, "snaplen", 64, CaptureLimits::kLongestFrame, &out->snaplen);
  if (status.ok()) status = TakeNumber<uint64_t>(request, "packets", 1, UINT64_MAX, &out->packets);
  return status;
}

absl::Status ParseSocketKinds(const Json& request, ControlRequest* out) {
  using Kind = SocketSnapshot::Kind;
  static constexpr std::pair<const char*, Kind> kKinds[] = {
      {"requests", Kind::kRequest},
      {"connections", Kind::kConnection},
      {"time_wait", Kind::kTimeWait},
  };
  for (const auto& [key, kind] : kKinds) {
    const auto wanted = Flag(request, key);
    if (!wanted.ok()) return wanted.status();
    if (*wanted) out->socket_kinds |= static_cast<uint8_t>(1u << static_cast<unsigned>(kind));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ControlRequest> ParseControlRequest(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("a request is a JSON object on a line");
  const auto name = Text(json, "command");
  if (!name.ok()) return name.status();
  const auto command = ParseCommand(*name);
  if (!command.ok()) return command.status();
  ControlRequest request;
  request.command = *command;
  const auto per_shard = Flag(json, "per_shard");
  if (!per_shard.ok()) return per_shard.status();
  request.per_shard = *per_shard;
  const auto info = Flag(json, "info");
  if (!info.ok()) return info.status();
  request.info = *info;
  if (absl::Status s = ParseSocketKinds(json, &request); !s.ok()) return s;
  if (absl::Status s = ParseCapture(json, &request.capture); !s.ok()) return s;
  const auto setting = Text(json, "name");
  if (!setting.ok()) return setting.status();
  request.name = *setting;
  const auto value = Text(json, "value");
  if (!value.ok()) return value.status();
  request.value = *value;
  if (request.command == ControlRequest::Command::kSysctlSet && request.name.empty())
    return absl::InvalidArgumentError("sysctl-set: no name given");
  return request;
}

ControlCommands::ControlCommands(Stack& stack, std::string instance, const std::atomic<bool>& stop)
    : stack_(stack), instance_(std::move(instance)), stop_(stop) {}

absl::Status ControlCommands::Run(const ControlRequest& request, RowSink sink) {
  using Command = ControlRequest::Command;
  switch (request.command) {
    case Command::kStatus:
      sink(Status());
      return absl::OkStatus();
    case Command::kListeners:
      return RunListeners(request.per_shard, sink);
    case Command::kSockets:
      return RunSockets(request, sink);
    case Command::kCounters:
      return RunCounters(request.per_shard, sink);
    case Command::kSysctlGet:
      return RunSysctlGet(request.name, sink);
    case Command::kSysctlSet:
      return RunSysctlSet(request.name, request.value, sink);
    case Command::kCapture:
    case Command::kShutdown:
      break;
  }
  return absl::InvalidArgumentError("not a question");
}

// The process and the time it started name one life of a server: counters of two lives must not be
// subtracted.
Json ControlCommands::Status() {
  const auto uptime = std::chrono::steady_clock::now() - started_;
  Json row = {{"instance", instance_},
              {"pid", getpid()},
              {"started_ns", started_.time_since_epoch().count()},
              {"uptime_ms", std::chrono::duration_cast<std::chrono::milliseconds>(uptime).count()},
              {"shards", stack_.shard_count()}};
  return row;
}

absl::StatusOr<std::vector<ListenersSnapshot>> ControlCommands::Listeners() {
  std::vector<ListenersSnapshot> all;
  for (uint32_t i = 0; i < stack_.shard_count(); ++i) {
    auto one = AskShard(stack_, i, stop_, SnapshotListeners);
    if (!one) return NoAnswer(i);
    all.push_back(*std::move(one));
  }
  return all;
}

absl::Status ControlCommands::Sockets(
    uint8_t kinds, absl::AnyInvocable<bool(const SocketSnapshot&, uint32_t)> visit) {
  struct Step {
    SocketCursor cursor;
    std::vector<SocketSnapshot> sockets;
  };
  for (uint32_t i = 0; i < stack_.shard_count(); ++i) {
    Step step;
    while (!step.cursor.done) {
      // The room is made here, so that the shard does not spend its time on it.
      step.sockets.clear();
      step.sockets.reserve(kSlotsPerErrand);
      auto next = AskShard(stack_, i, stop_, [kinds, step = std::move(step)](Shard& s) mutable {
        SnapshotSockets(s, kinds, kSlotsPerErrand, &step.cursor, &step.sockets);
        return std::move(step);
      });
      if (!next) return NoAnswer(i);
      step = *std::move(next);
      for (const SocketSnapshot& s : step.sockets)
        if (!visit(s, i)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

CounterValues ControlCommands::Counters() const {
  CounterValues sum = {};
  for (uint32_t i = 0; i < stack_.shard_count(); ++i) {
    const CounterValues one = SnapshotCounters(stack_.shard(i));
    for (size_t c = 0; c < kCounterCount; ++c) sum[c] += one[c];
  }
  return sum;
}

absl::StatusOr<Sysctls> ControlCommands::Settings() {
  auto settings = AskShard(stack_, 0, stop_, [](Shard& s) { return s.sysctls(); });
  if (!settings) return NoAnswer(0);
  return *std::move(settings);
}

absl::Status ControlCommands::RunListeners(bool per_shard, RowSink& sink) {
  const auto shards = Listeners();
  if (!shards.ok()) return shards.status();
  if (per_shard) {
    for (uint32_t i = 0; i < shards->size(); ++i) {
      for (const ListenerSnapshot& l : (*shards)[i].listeners)
        if (!sink(ToJson(l))) return absl::OkStatus();
      auto load = AskShard(stack_, i, stop_, SnapshotShard);
      if (!load) return NoAnswer(i);
      if (!sink({{"shard", i},
                 {"load", ToJson(*load)},
                 {"without_listener", ToJson((*shards)[i].without_listener.drops)}}))
        break;
    }
    return absl::OkStatus();
  }
  for (const ListenerSnapshot& l : MergeListeners(*shards))
    if (!sink(ToJson(l))) break;
  return absl::OkStatus();
}

absl::Status ControlCommands::RunSockets(const ControlRequest& request, RowSink& sink) {
  return Sockets(request.socket_kinds, [&](const SocketSnapshot& socket, uint32_t shard) {
    return sink(ToJson(socket, shard, request.info));
  });
}

absl::Status ControlCommands::RunCounters(bool per_shard, RowSink& sink) {
  const auto row = [](const CounterValues& values) {
    // An array of pairs, to keep the order of nstat.
    Json list = Json::array();
    for (size_t c = 0; c < kCounterCount; ++c) {
      const auto counter = static_cast<Counter>(c);
      Json& pair = list.emplace_back(Json::array({CounterName(counter), values[c]}));
      if (IsGauge(counter)) pair.push_back("gauge");
    }
    return list;
  };
  if (!per_shard) {
    sink({{"counters", row(Counters())}});
    return absl::OkStatus();
  }
  for (uint32_t i = 0; i < stack_.shard_count(); ++i)
    if (!sink({{"shard", i}, {"counters", row(SnapshotCounters(stack_.shard(i)))}})) break;
  return absl::OkStatus();
}

absl::Status ControlCommands::RunSysctlGet(const std::string& name, RowSink& sink) {
  const auto settings = Settings();
  if (!settings.ok()) return settings.status();
  for (const std::string& each : name.empty() ? SysctlNames() : std::vector<std::string>{name}) {
    const auto value = GetSysctl(*settings, each);
    if (!value.ok()) return value.status();
    if (!sink({{"name", each}, {"value", *value}})) break;
  }
  return absl::OkStatus();
}

absl::Status ControlCommands::RunSysctlSet(const std::string& name, const std::string& value,
                                           RowSink& sink) {
  for (uint32_t i = 0; i < stack_.shard_count(); ++i) {
    const auto done = AskShard(stack_, i, stop_, [name, value](Shard& shard) {
      Sysctls changed = shard.sysctls();
      absl::Status status = SetSysctl(changed, name, value);
      if (status.ok()) shard.ApplySysctls(changed);
      return status;
    });
    if (!done) return NoAnswer(i);
    if (!done->ok()) return *done;
  }
  return RunSysctlGet(name, sink);
}

}  // namespace usher
