#include "app/http/session.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "app/http/target.h"

namespace usher {
namespace {

// A composed head, with room for the longest fields it can have.
constexpr size_t kMaxHead = 512;
// What the body decoder and the chunks of an echoed body may add to the bytes they carry.
constexpr size_t kEchoOverhead = 64;
constexpr size_t kEchoWorthwhile = 256;
constexpr size_t kMaxPiecesPerReply = 6;
constexpr uint32_t kMaxBlankBytes = 16;
constexpr uint32_t kMaxMethod = 32;
constexpr uint64_t kMaxBytesRoute = uint64_t{1} << 40;

std::string_view AsText(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// `word` in lower case.
bool EqualsNoCase(std::string_view s, std::string_view word) {
  if (s.size() != word.size()) return false;
  for (size_t i = 0; i < s.size(); ++i) {
    if (Lower(s[i]) != word[i]) return false;
  }
  return true;
}

std::string_view TrimRight(std::string_view s) {
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool IsAlnum(char c) { return (c >= '0' && c <= '9') || (Lower(c) >= 'a' && Lower(c) <= 'z'); }

bool IsTokenChar(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return IsAlnum(c) || kOthers.find(c) != std::string_view::npos;
}

// What may stand in a Host field (RFC 9110 section 7.2): uri-host with an optional port.
bool IsHostChar(char c) {
  constexpr std::string_view kOthers = "-._~%!$&'()*+,;=:[]";
  return IsAlnum(c) || kOthers.find(c) != std::string_view::npos;
}

// The methods of RFC 9110 and RFC 5789; the rest of what http_parser knows is not recognised here.
bool IsKnownMethod(unsigned method) {
  switch (method) {
    case HTTP_GET:
    case HTTP_HEAD:
    case HTTP_POST:
    case HTTP_PUT:
    case HTTP_DELETE:
    case HTTP_OPTIONS:
    case HTTP_TRACE:
    case HTTP_PATCH:
      return true;
    default:
      return false;
  }
}

// Digits only; 0 or the status to refuse them with.
int ParseNumber(std::string_view digits, uint64_t largest, uint64_t* number) {
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, *number);
  if (stop != end || error == std::errc::invalid_argument) return 404;
  return error == std::errc() && *number <= largest ? 0 : 400;
}

// Appends to a buffer known to be large enough.
char* Append(char* out, std::string_view text) {
  std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

}  // namespace

HttpContext::HttpContext(const StaticSite* site, std::function<std::string()> status,
                         const HttpLimits& limits)
    : site_(site), status_(std::move(status)), limits_(limits) {
  // Made now, so that no request has to.
  ErrorReply(404);
  ReadOnlyReply();
  PostOnlyReply();
  PatternBlock();
}

void HttpContext::set_date(std::string_view date) {
  constexpr std::string_view kName = "Date: ";
  date_size_ = 0;
  if (date.empty() || date.size() > date_line_.size() - kName.size() - 2) return;
  char* out = Append(date_line_.data(), kName);
  out = Append(Append(out, date), "\r\n");
  date_size_ = static_cast<uint32_t>(out - date_line_.data());
}

const HttpContext::RecentHead* HttpContext::FindRecent(std::span<const uint8_t> in) const {
  for (const RecentHead& recent : recent_) {
    // A head ends with its empty line, so that no head is the beginning of another.
    if (recent.size != 0 && recent.size <= in.size() &&
        std::memcmp(recent.bytes.data(), in.data(), recent.size) == 0) {
      return &recent;
    }
  }
  return nullptr;
}

void HttpContext::Remember(std::span<const uint8_t> head, const HttpRequest& request) {
  RecentHead& recent = recent_[next_recent_];
  if (head.empty() || head.size() > recent.bytes.size()) return;
  next_recent_ = (next_recent_ + 1) % recent_.size();
  recent.size = head.size();
  recent.request = request;
  std::memcpy(recent.bytes.data(), head.data(), head.size());
}

HttpSession::HttpSession(HttpContext* context, Instant now)
    : context_(context), deadline_(now + context->limits_.idle_time) {}

template <int (HttpSession::*kMember)(std::string_view)>
int HttpSession::Forward(http_parser* parser, const char* at, size_t size) {
  return (static_cast<HttpSession*>(parser->data)->*kMember)({at, size});
}

const http_parser_settings& HttpSession::ParserSettings() {
  static const http_parser_settings settings = [] {
    http_parser_settings s;
    http_parser_settings_init(&s);
    s.on_url = &Forward<&HttpSession::OnUrl>;
    s.on_header_field = &Forward<&HttpSession::OnField>;
    s.on_header_value = &Forward<&HttpSession::OnValue>;
    s.on_headers_complete = [](http_parser* parser) {
      static_cast<HttpSession*>(parser->data)->request_.head_complete = true;
      return 1;  // the body is not the parser's
    };
    return s;
  }();
  return settings;
}

// ---- Reading ----

size_t HttpSession::Consume(std::span<const uint8_t> in, Instant now) {
  size_t used = 0;
  while (used < in.size()) {
    if (closing_) return in.size();
    const std::span<const uint8_t> rest = in.subspan(used);
    switch (phase_) {
      case Phase::kIdle:
        if (!RoomForReply()) return used;
        used += ConsumeIdle(rest, now);
        break;
      case Phase::kHead:
        if (!RoomForReply()) return used;
        used += ConsumeHead(rest, now);
        break;
      case Phase::kBadMethod:
        used += ConsumeBadMethod(rest);
        break;
      case Phase::kBody: {
        const size_t taken = ConsumeBody(rest, now);
        if (taken == 0) return used;
        used += taken;
        break;
      }
      case Phase::kDelay:
        return used;
    }
  }
  return used;
}

bool HttpSession::RoomForReply() const {
  return output_.pieces_free() >= kMaxPiecesPerReply && output_.owned_free() >= 2 * kMaxHead &&
         !output_.string_pending();
}

size_t HttpSession::ConsumeIdle(std::span<const uint8_t> in, Instant now) {
  // RFC 9112 section 2.2: empty lines before a request line are passed over.
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '\r' && in[i] != '\n') {
      if (const size_t recent = ConsumeRecent(in.subspan(i), now); recent > 0) return i + recent;
      BeginRequest(now);
      return i;
    }
    if (++blank_bytes_ > kMaxBlankBytes) {
      request_ = Request();
      Fail(400);
      return i;
    }
  }
  return in.size();
}

// Answers a request whose head was seen before; 0 if it was not.
size_t HttpSession::ConsumeRecent(std::span<const uint8_t> in, Instant now) {
  const HttpContext::RecentHead* const recent = context_->FindRecent(in);
  if (recent == nullptr) return 0;
  blank_bytes_ = 0;
  request_ = recent->request;
  Answer(now);
  return recent->size;
}

void HttpSession::BeginRequest(Instant now) {
  http_parser_init(&parser_, HTTP_REQUEST);
  parser_.data = this;
  request_ = Request();
  phase_ = Phase::kHead;
  line_ = Line::kInside;
  blank_bytes_ = 0;
  deadline_ = now + context_->limits_.head_time;
}

// Returns how many bytes of `in` belong to the head. Stops where a line begins with white space
// (obs-fold, RFC 9112 section 5.2) and at a CR without LF (section 2.2): the parser would take
// them, others would not.
size_t HttpSession::ScanHead(std::span<const uint8_t> in) {
  size_t i = 0;
  while (i < in.size()) {
    const uint8_t c = in[i];
    switch (line_) {
      case Line::kInside: {
        const void* lf = std::memchr(in.data() + i, '\n', in.size() - i);
        const size_t end = lf == nullptr
                               ? in.size()
                               : static_cast<size_t>(static_cast<const uint8_t*>(lf) - in.data());
        if (const void* cr = std::memchr(in.data() + i, '\r', end - i); cr != nullptr) {
          i = static_cast<size_t>(static_cast<const uint8_t*>(cr) - in.data()) + 1;
          line_ = Line::kCr;
        } else {
          if (lf == nullptr) return in.size();
          i = end + 1;
          line_ = Line::kStart;
        }
        break;
      }
      case Line::kCr:
        line_ = c == '\n' ? Line::kStart : Line::kBad;
        if (line_ == Line::kBad) return i;
        ++i;
        break;
      case Line::kStart:
        if (c == '\n') {
          line_ = Line::kEnd;
          return i + 1;
        }
        line_ = c == '\r' ? Line::kStartCr : c == ' ' || c == '\t' ? Line::kBad : Line::kInside;
        if (line_ == Line::kBad) return i;
        ++i;
        break;
      case Line::kStartCr:
        line_ = c == '\n' ? Line::kEnd : Line::kBad;
        return line_ == Line::kEnd ? i + 1 : i;
      case Line::kEnd:
      case Line::kBad:
        return i;
    }
  }
  return i;
}

size_t HttpSession::ConsumeHead(std::span<const uint8_t> in, Instant now) {
  const size_t limit = context_->limits_.head_bytes - request_.head_bytes;
  const size_t size = ScanHead(in.first(std::min(in.size(), limit)));
  const size_t parsed = http_parser_execute(&parser_, &ParserSettings(),
                                            reinterpret_cast<const char*>(in.data()), size);
  const http_errno error = HTTP_PARSER_ERRNO(&parser_);
  if (error == HPE_INVALID_METHOD) {
    request_.method_bytes = request_.head_bytes + static_cast<uint32_t>(parsed);
    phase_ = Phase::kBadMethod;
    return parsed;
  }
  request_.head_bytes += static_cast<uint32_t>(size);
  const bool at_end = line_ == Line::kEnd;
  if (error != HPE_OK) {
    Fail(request_.fail_status != 0 ? request_.fail_status : 400);
  } else if (line_ == Line::kBad || at_end != request_.head_complete) {
    Fail(400);
  } else if (at_end) {
    // Only a head that came in one piece can be remembered as it stands.
    EndHead(request_.head_bytes == size ? in.first(size) : std::span<const uint8_t>(), now);
  } else if (request_.head_bytes == context_->limits_.head_bytes) {
    Fail(431);
  }
  return size;
}

size_t HttpSession::ConsumeBadMethod(std::span<const uint8_t> in) {
  size_t i = 0;
  for (; i < in.size(); ++i) {
    const char c = static_cast<char>(in[i]);
    const bool end = c == ' ' && request_.method_bytes > 0;
    if (end || request_.method_bytes == kMaxMethod) {
      Fail(501);
      return i;
    }
    if (!IsTokenChar(c)) {
      Fail(400);
      return i;
    }
    ++request_.method_bytes;
  }
  return i;
}

size_t HttpSession::ConsumeBody(std::span<const uint8_t> in, Instant now) {
  const bool echo = request_.route == Route::kEcho;
  if (echo) {
    const size_t room = output_.owned_free();
    if (room < kEchoWorthwhile || output_.pieces_free() < 2) return 0;
    in = in.first(std::min(in.size(), room - kEchoOverhead));
  }
  deadline_ = now + context_->limits_.idle_time;
  size_t used = 0;
  while (used < in.size()) {
    const BodyDecoder::Step step = body_.Next(in.subspan(used));
    used += step.consumed;
    if (step.state == BodyDecoder::State::kBad) {
      echo ? Break() : Fail(400);
      return used;
    }
    if (echo) {
      EchoData(step.data);
    } else if ((request_.unwanted_bytes += step.data.size()) >
               context_->limits_.unwanted_body_bytes) {
      Fail(413);
      return used;
    }
    if (step.state == BodyDecoder::State::kDone) {
      Answer(now);
      return used;
    }
  }
  return used;
}

void HttpSession::FinishInput() {
  input_finished_ = true;
  if (phase_ == Phase::kDelay) return;
  if (phase_ == Phase::kBody && request_.route == Route::kEcho) Break();
  closing_ = true;
}

Instant HttpSession::next_deadline() const { return closing_ ? Instant::Never() : deadline_; }

void HttpSession::OnTime(Instant now, bool delivered) {
  if (closing_ || now < deadline_) return;
  if (phase_ == Phase::kDelay) {
    std::array<char, 64> text;
    char* out = Append(text.data(), "Answered after ");
    out = std::to_chars(out, text.data() + text.size(), request_.number).ptr;
    out = Append(out, " ms\n");
    ReplyText({text.data(), static_cast<size_t>(out - text.data())});
    EndReply(now);
  } else if (!output_.empty() || !delivered) {
    // It is the path or the client's reading that is slow, which TCP has its own limits for.
    deadline_ = now + context_->limits_.idle_time;
  } else if (phase_ == Phase::kIdle) {
    closing_ = true;
  } else if (phase_ == Phase::kBody && request_.route == Route::kEcho) {
    Break();
  } else {
    Fail(408);
  }
}

// ---- What the parser reports ----

int HttpSession::StopParser(int status) {
  request_.fail_status = status;
  return -1;
}

int HttpSession::OnUrl(std::string_view part) {
  if (request_.target_bytes < target_.size()) {
    const size_t n = std::min(part.size(), target_.size() - request_.target_bytes);
    std::memcpy(target_.data() + request_.target_bytes, part.data(), n);
  }
  request_.target_bytes += static_cast<uint32_t>(part.size());
  return request_.target_bytes > context_->limits_.target_bytes ? StopParser(414) : 0;
}

int HttpSession::OnField(std::string_view part) {
  if (request_.in_value) {
    if (const int stop = EndField(); stop != 0) return stop;
  }
  // The parser's lenient build allows "Name : value" (RFC 9112 section 5.1 does not).
  if (part.find(' ') != std::string_view::npos) return StopParser(400);
  if (request_.name_bytes < name_.size()) {
    const size_t n = std::min(part.size(), name_.size() - request_.name_bytes);
    std::memcpy(name_.data() + request_.name_bytes, part.data(), n);
  }
  request_.name_bytes += static_cast<uint32_t>(part.size());
  return 0;
}

int HttpSession::OnValue(std::string_view part) {
  if (!request_.in_value) {
    request_.in_value = true;
    request_.value_bytes = 0;
    const std::string_view name(name_.data(), std::min<size_t>(request_.name_bytes, name_.size()));
    request_.name_bytes = 0;
    request_.field = EqualsNoCase(name, "host")                ? Field::kHost
                     : EqualsNoCase(name, "expect")            ? Field::kExpect
                     : EqualsNoCase(name, "if-none-match")     ? Field::kIfNoneMatch
                     : EqualsNoCase(name, "transfer-encoding") ? Field::kTransferEncoding
                                                               : Field::kOther;
  }
  unsigned control = 0;
  for (const char c : part) {
    const unsigned char u = static_cast<unsigned char>(c);
    control |= static_cast<unsigned>((u < 0x20 && u != '\t') || u == 0x7f);
  }
  if (control != 0) return StopParser(400);
  if (request_.field == Field::kOther) return 0;
  if (request_.field == Field::kHost) {
    for (const char c : part) {
      const bool space = c == ' ' || c == '\t';
      if (!space && (request_.host_ended || !IsHostChar(c))) return StopParser(400);
      request_.host_ended |= space;
    }
    return 0;
  }
  const bool match = request_.field == Field::kIfNoneMatch;
  const std::span<char> buffer = match ? std::span<char>(match_) : std::span<char>(value_);
  uint32_t& bytes = match ? request_.match_bytes : request_.value_bytes;
  if (bytes < buffer.size()) {
    std::memcpy(buffer.data() + bytes, part.data(), std::min(part.size(), buffer.size() - bytes));
  }
  bytes += static_cast<uint32_t>(part.size());
  return 0;
}

int HttpSession::EndField() {
  request_.in_value = false;
  std::string_view value;
  if (request_.value_bytes <= value_.size()) {
    value = TrimRight({value_.data(), request_.value_bytes});
  }
  switch (request_.field) {
    case Field::kHost:
      if (++request_.hosts > 1) return StopParser(400);
      break;
    case Field::kExpect:
      (EqualsNoCase(value, "100-continue") ? request_.expects_continue : request_.expects_other) =
          true;
      break;
    case Field::kTransferEncoding:
      if (++request_.transfer_encodings > 1) return StopParser(400);
      request_.chunked = EqualsNoCase(value, "chunked");
      break;
    case Field::kIfNoneMatch:
    case Field::kOther:
      break;
  }
  return 0;
}

// ---- Judging the request ----

int HttpSession::CheckHead() const {
  if (!IsKnownMethod(parser_.method)) return 501;
  if (parser_.http_major != 1) return 505;
  if (request_.hosts == 0 && !request_.version_1_0) return 400;
  if (request_.transfer_encodings > 0) {
    // RFC 9112 section 6.1: both lengths at once, or a coding in HTTP/1.0, is how smuggling begins.
    if (request_.version_1_0 || (parser_.flags & F_CONTENTLENGTH) != 0) return 400;
    if ((parser_.flags & F_CHUNKED) == 0) return 400;
    if (!request_.chunked) return 501;
  }
  return request_.expects_other && !request_.version_1_0 ? 417 : 0;
}

int HttpSession::ChooseLabRoute(std::string_view path, bool* found) {
  const auto number_after = [&](std::string_view prefix, Route route, uint64_t largest) {
    request_.route = route;
    return ParseNumber(path.substr(prefix.size()), largest, &request_.number);
  };
  *found = true;
  if (path.starts_with("/bytes/")) return number_after("/bytes/", Route::kBytes, kMaxBytesRoute);
  if (path.starts_with("/delay/")) {
    return number_after("/delay/", Route::kDelay,
                        static_cast<uint64_t>(context_->limits_.longest_delay.ms()));
  }
  if (path == "/status" && context_->status_ != nullptr) {
    request_.route = Route::kStatus;
  } else if (path == "/echo") {
    request_.route = Route::kEcho;
  } else if (path == "/close") {
    static const PrebuiltReply reply(200, "Content-Type: text/plain\r\n", "Closing.\n");
    request_.reply = &reply;
    request_.keep_alive = false;
  } else {
    *found = false;
  }
  return 0;
}

int HttpSession::ChooseRoute() {
  std::array<char, 512> decoded;
  std::string_view path;
  const std::string_view raw(target_.data(),
                             std::min<size_t>(request_.target_bytes, target_.size()));
  switch (ParseTarget(raw, request_.target_bytes <= target_.size(), decoded, &path)) {
    case TargetResult::kBad:
      return 400;
    case TargetResult::kUnknown:
      request_.reply = &ErrorReply(404);
      return 0;
    case TargetResult::kOk:
      break;
  }
  bool found = false;
  if (const int status = ChooseLabRoute(path, &found); status != 0) {
    request_.route = Route::kReply;
    request_.reply = &ErrorReply(status);
    return 0;
  }
  if (!found && context_->site_ != nullptr) {
    const StaticFile* const file = context_->site_->Find(path);
    found = file != nullptr;
    if (found) request_.reply = NotModified(*file) ? &file->not_modified : &file->reply;
  }
  const bool reads = parser_.method == HTTP_GET || parser_.method == HTTP_HEAD;
  const bool echo = request_.route == Route::kEcho;
  if (!found || (echo ? parser_.method != HTTP_POST : !reads)) {
    request_.route = Route::kReply;
    request_.reply = !found ? &ErrorReply(404) : echo ? &PostOnlyReply() : &ReadOnlyReply();
  }
  return 0;
}

bool HttpSession::NotModified(const StaticFile& file) const {
  if (request_.match_bytes == 0 || request_.match_bytes > match_.size()) return false;
  const std::string_view match = TrimRight({match_.data(), request_.match_bytes});
  if (file.etag.empty()) return false;
  return match == "*" || match.find(file.etag) != std::string_view::npos;
}

void HttpSession::EndHead(std::span<const uint8_t> head, Instant now) {
  request_.version_1_0 = parser_.http_major == 1 && parser_.http_minor == 0;
  request_.keep_alive =
      http_should_keep_alive(&parser_) != 0 && (parser_.flags & F_CONNECTION_CLOSE) == 0;
  request_.head_only = parser_.method == HTTP_HEAD;
  if (request_.in_value && EndField() != 0) return Fail(request_.fail_status);
  if (const int status = CheckHead(); status != 0) return Fail(status);
  if (const int status = ChooseRoute(); status != 0) return Fail(status);

  const bool sized = (parser_.flags & F_CONTENTLENGTH) != 0;
  const bool has_body = request_.chunked || (sized && parser_.content_length > 0);
  if (request_.route == Route::kEcho) BeginEcho(has_body);
  if (!has_body) {
    if (request_.route != Route::kEcho) context_->Remember(head, request_);
    return Answer(now);
  }
  if (request_.route != Route::kEcho) {
    if (request_.expects_continue && !request_.version_1_0) {
      // The body may come or not (RFC 9110 section 10.1.1): nothing after it could be trusted.
      request_.keep_alive = false;
      return Answer(now);
    }
    if (sized && parser_.content_length > context_->limits_.unwanted_body_bytes) return Fail(413);
  }
  request_.chunked ? body_.StartChunked() : body_.StartLength(parser_.content_length);
  phase_ = Phase::kBody;
  deadline_ = now + context_->limits_.idle_time;
}

// ---- Answering ----

void HttpSession::Answer(Instant now) {
  std::array<char, 64> framing;
  switch (request_.route) {
    case Route::kReply:
      Reply(*request_.reply);
      break;
    case Route::kBytes: {
      char* out = Append(framing.data(), "Content-Length: ");
      out = std::to_chars(out, framing.data() + framing.size(), request_.number).ptr;
      out = Append(out, "\r\n");
      ReplyHead("application/octet-stream",
                {framing.data(), static_cast<size_t>(out - framing.data())});
      if (!request_.head_only) output_.PushPattern(request_.number);
      break;
    }
    case Route::kStatus:
      ReplyStatus();
      break;
    case Route::kEcho:
      if (request_.chunked) output_.PushOwned("0\r\n\r\n");
      break;
    case Route::kDelay:
      phase_ = Phase::kDelay;
      deadline_ = now + Duration::Millis(static_cast<int64_t>(request_.number));
      return;
  }
  EndReply(now);
}

void HttpSession::EndReply(Instant now) {
  phase_ = Phase::kIdle;
  deadline_ = now + context_->limits_.idle_time;
  if (!request_.keep_alive || input_finished_) closing_ = true;
}

std::string_view HttpSession::PerRequestFields(std::span<char> scratch) const {
  char* out = Append(scratch.data(), {context_->date_line_.data(), context_->date_size_});
  if (!request_.keep_alive) {
    out = Append(out, "Connection: close\r\n");
  } else if (request_.version_1_0) {
    out = Append(out, "Connection: keep-alive\r\n");
  }
  return {scratch.data(), static_cast<size_t>(out - scratch.data())};
}

void HttpSession::Reply(const PrebuiltReply& reply) {
  std::array<char, 128> scratch;
  const std::string_view fields = PerRequestFields(scratch);
  if (fields.empty()) {
    output_.PushImmutable(request_.head_only ? reply.head() : reply.whole());
    return;
  }
  output_.PushImmutable(reply.before_split());
  output_.PushOwned(fields);
  output_.PushImmutable(request_.head_only ? reply.rest_of_head() : reply.after_split());
}

void HttpSession::ReplyHead(std::string_view type, std::string_view framing) {
  std::array<char, 128> scratch;
  std::array<char, kMaxHead> head;
  char* out = Append(head.data(), StatusLine(200));
  out = Append(out, PerRequestFields(scratch));
  out = Append(Append(Append(out, "Content-Type: "), type), "\r\n");
  out = Append(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
  out = Append(Append(out, framing), "\r\n");
  output_.PushOwned({head.data(), static_cast<size_t>(out - head.data())});
}

void HttpSession::ReplyText(std::string_view body) {
  std::array<char, 64> framing;
  char* out = Append(framing.data(), "Content-Length: ");
  out = std::to_chars(out, framing.data() + framing.size(), body.size()).ptr;
  out = Append(out, "\r\n");
  ReplyHead("text/plain", {framing.data(), static_cast<size_t>(out - framing.data())});
  if (!request_.head_only) output_.PushOwned(body);
}

void HttpSession::ReplyStatus() {
  std::string json = context_->status_();
  ReplyHead("application/json", "Content-Length: " + std::to_string(json.size()) + "\r\n");
  if (!request_.head_only) output_.PushString(std::move(json));
}

void HttpSession::BeginEcho(bool has_body) {
  if (request_.expects_continue && has_body && !request_.version_1_0) {
    output_.PushImmutable("HTTP/1.1 100 Continue\r\n\r\n");
  }
  if (request_.chunked) {
    ReplyHead("application/octet-stream", "Transfer-Encoding: chunked\r\n");
    return;
  }
  std::array<char, 64> framing;
  char* out = Append(framing.data(), "Content-Length: ");
  out = std::to_chars(out, framing.data() + framing.size(),
                      has_body ? parser_.content_length : uint64_t{0})
            .ptr;
  out = Append(out, "\r\n");
  ReplyHead("application/octet-stream",
            {framing.data(), static_cast<size_t>(out - framing.data())});
}

void HttpSession::EchoData(std::span<const uint8_t> data) {
  if (data.empty()) return;
  if (!request_.chunked) return output_.PushOwned(AsText(data));
  std::array<char, 24> size;
  char* out = std::to_chars(size.data(), size.data() + size.size(), data.size(), 16).ptr;
  out = Append(out, "\r\n");
  output_.PushOwned({size.data(), static_cast<size_t>(out - size.data())});
  output_.PushOwned(AsText(data));
  output_.PushOwned("\r\n");
}

void HttpSession::Fail(int status) {
  if (phase_ == Phase::kHead) request_.head_only = parser_.method == HTTP_HEAD;
  request_.keep_alive = false;
  Reply(ErrorReply(status));
  closing_ = true;
}

void HttpSession::Break() {
  broken_ = true;
  closing_ = true;
}

}  // namespace usher
