// The request target (RFC 9112 section 3.2), checked and percent-decoded.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace usher {

// What ParseTarget found.
enum class TargetResult {
  kOk,
  kBad,      // not a target, or one that must not be served: answer 400
  kUnknown,  // well formed, but longer than any path here: answer 404
};

// Finds the path of `raw` (origin form or absolute form; the query is cut off) and decodes it.
// `path` begins with '/' and has neither "." nor ".." segments nor control characters; it refers
// to `raw` or, if anything had to be decoded, to `scratch`. `whole` is false when `raw` is only the
// beginning of a longer target.
TargetResult ParseTarget(std::string_view raw, bool whole, std::span<char> scratch,
                         std::string_view* path);

}  // namespace usher
