#include "app/http/reply.h"

#include <array>

namespace usher {
namespace {

struct Status {
  int code;
  std::string_view line;
};

#define USHER_STATUS(code, words) \
  { code, "HTTP/1.1 " #code " " words "\r\nServer: usher\r\n" }

constexpr Status kStatuses[] = {
    USHER_STATUS(200, "OK"),
    USHER_STATUS(301, "Moved Permanently"),
    USHER_STATUS(304, "Not Modified"),
    USHER_STATUS(400, "Bad Request"),
    USHER_STATUS(404, "Not Found"),
    USHER_STATUS(405, "Method Not Allowed"),
    USHER_STATUS(408, "Request Timeout"),
    USHER_STATUS(413, "Content Too Large"),
    USHER_STATUS(414, "URI Too Long"),
    USHER_STATUS(417, "Expectation Failed"),
    USHER_STATUS(431, "Request Header Fields Too Large"),
    USHER_STATUS(500, "Internal Server Error"),
    USHER_STATUS(501, "Not Implemented"),
    USHER_STATUS(505, "HTTP Version Not Supported"),
};
#undef USHER_STATUS

constexpr size_t kStatusCount = sizeof(kStatuses) / sizeof(kStatuses[0]);

// A status outside the table is a mistake of this program; it reads as 500.
size_t IndexOf(int status) {
  size_t internal_error = 0;
  for (size_t i = 0; i < kStatusCount; ++i) {
    if (kStatuses[i].code == status) return i;
    if (kStatuses[i].code == 500) internal_error = i;
  }
  return internal_error;
}

PrebuiltReply MakeError(int status, std::string_view fields) {
  std::string body = std::to_string(status);
  body.append(" ").append(ReasonPhrase(status)).append("\n");
  return PrebuiltReply(status, std::string("Content-Type: text/plain\r\n").append(fields), body);
}

std::array<PrebuiltReply, kStatusCount> MakeErrors() {
  std::array<PrebuiltReply, kStatusCount> replies;
  for (size_t i = 0; i < kStatusCount; ++i) replies[i] = MakeError(kStatuses[i].code, "");
  return replies;
}

}  // namespace

std::string_view StatusLine(int status) { return kStatuses[IndexOf(status)].line; }

std::string_view ReasonPhrase(int status) {
  constexpr size_t kBefore = sizeof("HTTP/1.1 200 ") - 1;
  const std::string_view line = StatusLine(status);
  return line.substr(kBefore, line.find('\r') - kBefore);
}

PrebuiltReply::PrebuiltReply(int status, std::string_view fields, std::string_view body)
    : status_(status) {
  const std::string_view line = StatusLine(status);
  block_.reserve(line.size() + fields.size() + body.size() + 48);
  block_.append(line);
  split_ = block_.size();
  block_.append(fields);
  if (status != 204 && status != 304) {
    block_.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  }
  block_.append("\r\n");
  head_size_ = block_.size();
  block_.append(body);
}

const PrebuiltReply& ErrorReply(int status) {
  static const std::array<PrebuiltReply, kStatusCount> replies = MakeErrors();
  return replies[IndexOf(status)];
}

const PrebuiltReply& ReadOnlyReply() {
  static const PrebuiltReply reply = MakeError(405, "Allow: GET, HEAD\r\n");
  return reply;
}

const PrebuiltReply& PostOnlyReply() {
  static const PrebuiltReply reply = MakeError(405, "Allow: POST\r\n");
  return reply;
}

}  // namespace usher
