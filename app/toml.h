// TOML as usherd uses it: parsing with plain errors, and changing single values.
#pragma once

#include <toml++/toml.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace usher {

// InvalidArgument: "FILE:LINE: what".
absl::StatusOr<toml::table> ParseToml(const std::string& text, const std::string& file);

// Applies "KEY=VALUE" and returns the path of what was set. KEY is a sysctl's name ("net....") or
// a dotted path, in which a number is a place in a list (the one behind the last adds to it). VALUE
// is TOML if it can be read as such, else a text.
absl::StatusOr<std::string> SetInToml(const std::string& set, toml::table* root);

// Splits a command line at blanks; '...' and "..." keep them.
absl::StatusOr<std::vector<std::string>> SplitArguments(const std::string& line);

}  // namespace usher
