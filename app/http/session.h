// An HTTP/1.x server's side of one connection, as a machine from bytes to bytes. It knows neither
// sockets nor clocks: whoever owns the connection moves bytes in and out and says what time it is.
#pragma once

#include <http_parser.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "app/http/body_decoder.h"
#include "app/http/output_queue.h"
#include "app/http/static_site.h"
#include "stack/base/time.h"

namespace usher {

// Bounds on what a client may send or keep waiting for.
struct HttpLimits {
  uint32_t head_bytes = 16384;   // request line and fields: 431 beyond
  uint32_t target_bytes = 8000;  // 414 beyond (RFC 9112 section 3 asks for 8,000 at least)
  uint64_t unwanted_body_bytes = uint64_t{1} << 20;  // read and thrown away: 413 beyond
  Duration head_time = Duration::Seconds(30);        // from a request's first byte: 408 after
  Duration idle_time = Duration::Seconds(75);        // between requests, or within a body
  Duration longest_delay = Duration::Seconds(3600);  // of /delay/MS: 400 beyond
};

// What is known of the request at hand; for HttpSession alone.
struct HttpRequest {
  enum class Route : uint8_t { kReply, kBytes, kDelay, kStatus, kEcho };
  enum class Field : uint8_t { kOther, kHost, kIfNoneMatch, kExpect, kTransferEncoding };

  Route route = Route::kReply;
  Field field = Field::kOther;  // whose value is coming in
  bool head_complete = false;
  bool keep_alive = false;
  bool version_1_0 = false;
  bool head_only = false;  // HEAD
  bool chunked = false;
  bool expects_continue = false;
  bool expects_other = false;
  bool in_value = false;
  bool host_ended = false;  // white space came after it
  int fail_status = 0;      // why a callback stopped the parser
  uint32_t head_bytes = 0;
  uint32_t method_bytes = 0;
  uint32_t target_bytes = 0;  // target_ holds the beginning, likewise for the next three
  uint32_t name_bytes = 0;
  uint32_t value_bytes = 0;
  uint32_t match_bytes = 0;
  uint32_t hosts = 0;
  uint32_t transfer_encodings = 0;
  uint64_t unwanted_bytes = 0;  // of the body, thrown away
  uint64_t number = 0;          // N of /bytes/N, MS of /delay/MS
  const PrebuiltReply* reply = nullptr;
};

// What all sessions of one listener on one shard share. Outlives them; used by one thread.
class HttpContext {
 public:
  // `site` may be null (lab routes only) and must outlive the context. `status` makes the JSON of
  // /status; without it the route is 404.
  HttpContext(const StaticSite* site, std::function<std::string()> status)
      : HttpContext(site, std::move(status), HttpLimits()) {}
  HttpContext(const StaticSite* site, std::function<std::string()> status,
              const HttpLimits& limits);

  // The time for the Date field, in the form of RFC 9110 section 5.6.7 ("Sun, 06 Nov 1994 08:49:37
  // GMT"); empty, as at first, for none. The owner sets it once a second.
  void set_date(std::string_view date);

 private:
  friend class HttpSession;

  // A head that was judged before. Most clients send the same few heads again and again, byte for
  // byte, and what a head asks for depends on nothing else: so one comparison can replace parsing.
  struct RecentHead {
    size_t size = 0;
    HttpRequest request;
    std::array<uint8_t, 384> bytes;
  };
  const RecentHead* FindRecent(std::span<const uint8_t> in) const;
  void Remember(std::span<const uint8_t> head, const HttpRequest& request);

  const StaticSite* site_;
  std::function<std::string()> status_;
  HttpLimits limits_;
  uint32_t date_size_ = 0;
  std::array<char, 64> date_line_;  // the whole field with its CRLF
  std::array<RecentHead, 4> recent_;
  size_t next_recent_ = 0;
};

// One connection. No allocation after construction, except while /status is answered.
//
// The owner's loop: Consume what has arrived, send Output, ConsumeOutput what was taken; whenever
// output was taken, Consume again what Consume left over. Call OnTime when next_deadline() has
// come. Once wants_close(), shut the connection down for sending, and go on reading (Consume throws
// it away) until the peer closes or some seconds have passed, lest a reset overtake the answer.
class HttpSession {
 public:
  HttpSession(HttpContext* context, Instant now);
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  // Takes bytes from the front of `in`, in whatever pieces they come; returns how many. Fewer than
  // all means that the answer to what was taken must go out (or /delay must pass) first.
  size_t Consume(std::span<const uint8_t> in, Instant now);
  // The peer will send no more: what it asked for is answered, then the session wants to close.
  void FinishInput();
  // Lets delayed answers go and gives up on clients that keep the server waiting. `delivered`: what
  // was taken as output has reached the client.
  void OnTime(Instant now, bool delivered = true);

  // The next run of bytes to send; empty if there is none now. Valid until the next call that is
  // not const, or longer if `immutable` is set.
  OutputPiece Output() const { return output_.Front(); }
  // The same for many runs at once; returns how many.
  size_t Output(std::span<OutputPiece> pieces) const { return output_.Gather(pieces); }
  // Says that the first `n` bytes of the output have been taken.
  void ConsumeOutput(uint64_t n) { output_.Consume(n); }
  uint64_t output_size() const { return output_.size(); }

  // Everything has been answered and taken, and the connection shall end.
  bool wants_close() const { return closing_ && output_.empty(); }
  // Between requests: nothing has been asked for that is not answered and taken.
  bool at_rest() const { return phase_ == Phase::kIdle && blank_bytes_ == 0 && output_.empty(); }
  // Only a reset will do: the answer that is on its way cannot be completed.
  bool broken() const { return broken_; }
  // When to call OnTime; Instant::Never() if only bytes matter.
  Instant next_deadline() const;

 private:
  using Request = HttpRequest;
  using Route = HttpRequest::Route;
  using Field = HttpRequest::Field;
  enum class Phase : uint8_t {
    kIdle,       // between requests
    kHead,       // within a request line or fields
    kBadMethod,  // the parser gave up on the method: is it a word at all?
    kBody,
    kDelay,
  };
  // Where the scan for the end of the head stands.
  enum class Line : uint8_t { kInside, kCr, kStart, kStartCr, kEnd, kBad };

  static const http_parser_settings& ParserSettings();
  template <int (HttpSession::*kMember)(std::string_view)>
  static int Forward(http_parser* parser, const char* at, size_t size);

  // Reading. Each takes bytes from the front of `in` and returns how many.
  size_t ConsumeIdle(std::span<const uint8_t> in, Instant now);
  size_t ConsumeHead(std::span<const uint8_t> in, Instant now);
  size_t ConsumeBadMethod(std::span<const uint8_t> in);
  size_t ConsumeBody(std::span<const uint8_t> in, Instant now);
  size_t ScanHead(std::span<const uint8_t> in);
  bool RoomForReply() const;
  void BeginRequest(Instant now);
  void EndHead(std::span<const uint8_t> head, Instant now);
  size_t ConsumeRecent(std::span<const uint8_t> in, Instant now);

  // What the parser reports; non-zero stops it.
  int OnUrl(std::string_view part);
  int OnField(std::string_view part);
  int OnValue(std::string_view part);
  int EndField();
  int StopParser(int status);

  // Judging the request; 0, or the status to refuse it with.
  int CheckHead() const;
  int ChooseRoute();
  int ChooseLabRoute(std::string_view path, bool* found);
  bool NotModified(const StaticFile& file) const;

  // Answering.
  void Answer(Instant now);
  void EndReply(Instant now);
  void Reply(const PrebuiltReply& reply);
  void ReplyHead(std::string_view type, std::string_view framing);
  void ReplyText(std::string_view body);
  void ReplyStatus();
  void BeginEcho(bool has_body);
  void EchoData(std::span<const uint8_t> data);
  void Fail(int status);
  void Break();
  // Date and Connection, as far as this answer has them.
  std::string_view PerRequestFields(std::span<char> scratch) const;

  HttpContext* context_;
  Phase phase_ = Phase::kIdle;
  Line line_ = Line::kInside;
  bool closing_ = false;  // nothing more is read
  bool broken_ = false;
  bool input_finished_ = false;
  uint32_t blank_bytes_ = 0;  // line ends before a request line
  Instant deadline_;
  Request request_;
  http_parser parser_;
  BodyDecoder body_;
  OutputQueue output_;

  std::array<char, 24> name_;
  std::array<char, 32> value_;
  std::array<char, 128> match_;  // If-None-Match
  std::array<char, 512> target_;
};

}  // namespace usher
