// usherd's configuration: a TOML file and what the command line changes in it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stack/api/stack.h"
#include "stack/glue/runtime.h"

namespace usher {

enum class ServiceKind : uint8_t { kHttp, kEcho, kDiscard, kChargen, kNone };
const char* ToString(ServiceKind kind);  // "http", "echo", ...

struct ListenerConfig {
  ListenSpec spec;
  ServiceKind service = ServiceKind::kNone;
  std::string root;  // http: a folder that exists; empty: none
};

struct ServerConfig {
  RuntimeOptions runtime;
  std::vector<ListenerConfig> listeners;
};

// What the command line changes.
struct ConfigChanges {
  std::vector<std::string> sets;   // "KEY=VALUE": a sysctl, or a dotted key such as interface.0.mtu
  std::optional<std::string> eal;  // takes the place of [eal] args; quotes keep blanks
};

// Reads and checks everything that can be checked without starting. InvalidArgument: one line with
// file, line, key, what is wrong and what would be right.
absl::StatusOr<ServerConfig> LoadConfig(const std::string& file, const ConfigChanges& changes);
// The same for the text of a file; `file` is the name for messages and relative paths.
absl::StatusOr<ServerConfig> ParseConfig(const std::string& text, const std::string& file,
                                         const ConfigChanges& changes);

// Of `known`, the name that a mistyped `name` was most likely meant to be; empty if none is near.
std::string NearestName(const std::string& name, const std::vector<std::string>& known);

}  // namespace usher
