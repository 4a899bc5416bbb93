// Replies whose bytes are known beforehand: built once, sent by reference ever after.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace usher {

// The status line and the Server field that every reply begins with, e.g.
// "HTTP/1.1 200 OK\r\nServer: usher\r\n"; `status` must be one that this server sends.
std::string_view StatusLine(int status);

// The words for a status, e.g. "Not Found".
std::string_view ReasonPhrase(int status);

// A whole response in one block: head, then body. What differs from request to request (Date,
// Connection) is inserted at `split`, right after the Server field, by whoever queues it.
class PrebuiltReply {
 public:
  PrebuiltReply() = default;
  // `fields` are header lines, each ended by CRLF; Content-Length is added unless the status has no
  // body by definition (204, 304).
  PrebuiltReply(int status, std::string_view fields, std::string_view body);

  int status() const { return status_; }
  // Up to where per-request fields go.
  std::string_view before_split() const { return std::string_view(block_).substr(0, split_); }
  // The rest of the head, the empty line included; and with the body behind it.
  std::string_view rest_of_head() const {
    return std::string_view(block_).substr(split_, head_size_ - split_);
  }
  std::string_view after_split() const { return std::string_view(block_).substr(split_); }
  std::string_view head() const { return std::string_view(block_).substr(0, head_size_); }
  std::string_view whole() const { return block_; }

 private:
  std::string block_;
  size_t split_ = 0;
  size_t head_size_ = 0;
  int status_ = 0;
};

// The reply for an error status: one line of plain text.
const PrebuiltReply& ErrorReply(int status);
// 405 for what can only be read (Allow: GET, HEAD), and for what can only be posted to.
const PrebuiltReply& ReadOnlyReply();
const PrebuiltReply& PostOnlyReply();

}  // namespace usher
