#include "app/http/target.h"

namespace usher {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// `prefix` in lower case.
bool StartsWithNoCase(std::string_view s, std::string_view prefix) {
  if (s.size() < prefix.size()) return false;
  for (size_t i = 0; i < prefix.size(); ++i) {
    const char c = s[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c) != prefix[i]) return false;
  }
  return true;
}

bool HasDotSegment(std::string_view path) {
  size_t at = 0;
  while ((at = path.find("/.", at)) != std::string_view::npos) {
    size_t end = at + 2;
    if (end < path.size() && path[end] == '.') ++end;
    if (end == path.size() || path[end] == '/') return true;
    ++at;
  }
  return false;
}

// Decodes `path` into `scratch`, which is at least as long; false on a bad escape or one that
// stands for a character no file name here may have.
bool Decode(std::string_view path, std::span<char> scratch, std::string_view* decoded) {
  size_t n = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    char c = path[i];
    if (c == '%') {
      if (path.size() - i < 3) return false;
      const int high = HexValue(path[i + 1]);
      const int low = HexValue(path[i + 2]);
      if (high < 0 || low < 0) return false;
      c = static_cast<char>(high * 16 + low);
      // An escaped slash or backslash would name another path after decoding than before.
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '/' || c == '\\') return false;
      i += 2;
    }
    scratch[n++] = c;
  }
  *decoded = std::string_view(scratch.data(), n);
  return true;
}

}  // namespace

TargetResult ParseTarget(std::string_view raw, bool whole, std::span<char> scratch,
                         std::string_view* path) {
  bool escaped = false;
  for (const char c : raw) {
    const unsigned char u = static_cast<unsigned char>(c);
    // The parser's lenient build lets these through; a fragment is never sent (RFC 9110 7.1).
    if (u <= 0x20 || u >= 0x7f || c == '#' || c == '\\') return TargetResult::kBad;
    escaped |= c == '%';
  }
  const bool http = StartsWithNoCase(raw, "http://");
  if (http || StartsWithNoCase(raw, "https://")) {
    raw.remove_prefix(http ? 7 : 8);
    const size_t end = raw.find_first_of("/?");
    if (end == 0 || raw.empty()) return TargetResult::kBad;
    if (end == std::string_view::npos || raw[end] == '?') {
      *path = "/";
      return TargetResult::kOk;
    }
    raw.remove_prefix(end);
  }
  if (raw.empty() || raw[0] != '/') return TargetResult::kBad;
  const size_t query = raw.find('?');
  if (query == std::string_view::npos && !whole) return TargetResult::kUnknown;
  *path = raw.substr(0, query);
  if (escaped && !Decode(*path, scratch, path)) return TargetResult::kBad;
  return HasDotSegment(*path) ? TargetResult::kBad : TargetResult::kOk;
}

}  // namespace usher
