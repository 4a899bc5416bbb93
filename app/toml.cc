#include "app/toml.h"

#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"

namespace usher {
namespace {

absl::Status BadSet(const std::string& set, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("--set ", set, ": ", what));
}

std::vector<std::string> PathOf(const std::string& key) {
  if (key.starts_with("net.") || key.starts_with("net/")) return {"sysctl", key};
  if (key.starts_with("sysctl.")) return {"sysctl", key.substr(7)};
  std::vector<std::string> path = {""};
  for (const char c : key) {
    if (c == '.')
      path.emplace_back();
    else
      path.back() += c;
  }
  return path;
}

toml::table ValueOf(const std::string& text) {
  try {
    toml::table parsed = toml::parse("v = " + text);
    if (parsed.size() == 1) return parsed;
  } catch (const toml::parse_error&) {
    // A text without quotes.
  }
  return toml::table{{"v", text}};
}

// The place `part` of `node`, made if it is not there; null if there can be none.
toml::node* Step(toml::node* node, const std::string& part, bool list_follows) {
  if (toml::array* array = node->as_array()) {
    size_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    if (error != std::errc() || end != part.data() + part.size() || index > array->size())
      return nullptr;
    if (index == array->size()) array->push_back(toml::table());
    return array->get(index);
  }
  toml::table* table = node->as_table();
  if (table == nullptr) return nullptr;
  if (!table->contains(part)) {
    if (list_follows)
      table->insert(part, toml::array());
    else
      table->insert(part, toml::table());
  }
  return table->get(part);
}

}  // namespace

absl::StatusOr<toml::table> ParseToml(const std::string& text, const std::string& file) {
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& e) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ":", e.source().begin.line, ": ", std::string(e.description())));
  }
}

absl::StatusOr<std::string> SetInToml(const std::string& set, toml::table* root) {
  const size_t equals = set.find('=');
  if (equals == std::string::npos || equals == 0)
    return BadSet(set, "must be KEY=VALUE, such as net.core.somaxconn=128 or interface.0.mtu=1400");
  const std::vector<std::string> path = PathOf(set.substr(0, equals));
  std::string joined;
  for (const std::string& part : path) {
    if (part.empty()) return BadSet(set, "there is an empty name between two dots");
    absl::StrAppend(&joined, joined.empty() ? "" : ".", part);
  }
  const auto is_number = [](const std::string& s) {
    return s.find_first_not_of("0123456789") == std::string::npos;
  };
  toml::node* node = root;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    const bool list_follows = i + 2 < path.size() && is_number(path[i + 1]);
    node = Step(node, path[i], list_follows);
    if (node == nullptr)
      return BadSet(set, absl::StrCat("there is no ", path[i], " in ", path[i == 0 ? 0 : i - 1]));
  }
  toml::table value = ValueOf(set.substr(equals + 1));
  toml::table* const table = node->as_table();
  toml::array* const array = node->as_array();
  size_t index = 0;
  if (array != nullptr && is_number(path.back()))
    std::from_chars(path.back().data(), path.back().data() + path.back().size(), index);
  if (table == nullptr && (array == nullptr || !is_number(path.back()) || index > array->size()))
    return BadSet(set, absl::StrCat("there is no ", path.back(), " to set"));
  value.get("v")->visit([&](auto& v) {
    if (table != nullptr)
      table->insert_or_assign(path.back(), v);
    else if (index == array->size())
      array->push_back(v);
    else
      array->replace(array->cbegin() + static_cast<std::ptrdiff_t>(index), v);
  });
  return joined;
}

absl::StatusOr<std::vector<std::string>> SplitArguments(const std::string& line) {
  std::vector<std::string> out;
  bool inside = false;
  char quote = 0;
  for (const char c : line) {
    if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        out.back() += c;
    } else if (c == ' ' || c == '\t' || c == '\n') {
      inside = false;
    } else {
      if (!inside) out.emplace_back();
      inside = true;
      if (c == '\'' || c == '"')
        quote = c;
      else
        out.back() += c;
    }
  }
  if (quote != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("--eal: a ", std::string(1, quote), " has no end"));
  return out;
}

}  // namespace usher
