// A client in miniature for tests of the HTTP session: feeds bytes in chosen pieces, collects what
// comes back, and cuts it into responses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/http/session.h"
#include "app/http/static_site.h"

namespace usher {

inline std::span<const uint8_t> Bytes(std::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

// A folder that vanishes with the test.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "usher-site-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }
  void Write(std::string_view name, std::string_view content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

struct Response {
  int status = 0;
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;
  bool operator==(const Response&) const = default;
};

// Cuts `stream` into responses; `head_only` says "HEAD" where a final
// response has no body. Empty if the
// stream is no row of whole responses.
inline std::optional<std::vector<Response>> CutResponses(
    std::string_view stream, const std::vector<std::string>& head_only = {}) {
  std::vector<Response> responses;
  size_t finals = 0;
  while (!stream.empty()) {
    const size_t end = stream.find("\r\n\r\n");
    if (end == stream.npos || !stream.starts_with("HTTP/1.1 ")) return std::nullopt;
    Response r;
    r.status = std::atoi(std::string(stream.substr(9, 3)).c_str());
    std::string_view lines = stream.substr(0, end + 2);
    stream.remove_prefix(end + 4);
    lines.remove_prefix(lines.find("\r\n") + 2);
    while (!lines.empty()) {
      const std::string_view line = lines.substr(0, lines.find("\r\n"));
      lines.remove_prefix(line.size() + 2);
      const size_t colon = line.find(": ");
      if (colon == line.npos) return std::nullopt;
      std::string name(line.substr(0, colon));
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      r.fields[name] = std::string(line.substr(colon + 2));
    }
    const bool final = r.status >= 200;
    const bool head = final && finals < head_only.size() && head_only[finals] == "HEAD";
    if (final) ++finals;
    if (head || !final || r.status == 304) {
      responses.push_back(r);
      continue;
    }
    if (r.fields.contains("content-length")) {
      const size_t length = std::strtoull(r.fields["content-length"].c_str(), nullptr, 10);
      if (length > stream.size()) return std::nullopt;
      r.body = std::string(stream.substr(0, length));
      stream.remove_prefix(length);
    } else {
      while (true) {
        const size_t crlf = stream.find("\r\n");
        if (crlf == stream.npos) return std::nullopt;
        const size_t size = std::strtoull(std::string(stream.substr(0, crlf)).c_str(), nullptr, 16);
        if (stream.size() < crlf + 4 + size) return std::nullopt;
        r.body.append(stream.substr(crlf + 2, size));
        stream.remove_prefix(crlf + 2 + size);
        if (!stream.starts_with("\r\n")) return std::nullopt;
        stream.remove_prefix(2);
        if (size == 0) break;
      }
    }
    responses.push_back(r);
  }
  return responses;
}

// Drives one session. `input_piece` and `output_piece` say how many bytes go in and out at a time.
struct HttpClient {
  explicit HttpClient(HttpContext* context) : session(context, now) {}

  using Size = std::function<size_t()>;

  void Take(size_t at_most) {
    while (at_most > 0) {
      const OutputPiece piece = session.Output();
      if (piece.bytes.empty()) return;
      const size_t n = std::min(at_most, piece.bytes.size());
      received.append(reinterpret_cast<const char*>(piece.bytes.data()), n);
      session.ConsumeOutput(n);
      at_most -= n;
    }
  }

  void Send(std::string_view request, const Size& input_piece, const Size& output_piece) {
    size_t sent = 0;
    while (sent < request.size()) {
      const size_t n = std::min(input_piece(), request.size() - sent);
      size_t used = 0;
      while (used < n) {
        const size_t took = session.Consume(Bytes(request.substr(sent + used, n - used)), now);
        used += took;
        if (took == 0 && session.Output().bytes.empty()) {
          // Only /delay holds a session up without output.
          now = session.next_deadline();
          session.OnTime(now);
        }
        Take(output_piece());
      }
      sent += n;
    }
    // Far less than any limit of patience: only a short /delay ends.
    session.OnTime(now + Duration::Millis(100));
    while (session.output_size() > 0) Take(output_piece());
  }

  void Send(std::string_view request) {
    const Size all = [] { return SIZE_MAX; };
    Send(request, all, all);
  }

  Instant now = Instant::FromNanos(1'000'000'000);
  HttpSession session;
  std::string received;
};

}  // namespace usher
