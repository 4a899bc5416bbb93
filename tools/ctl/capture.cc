#include "tools/ctl/capture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace usher::ctl {
namespace {

using Json = nlohmann::json;

volatile sig_atomic_t server = -1;  // what the handler shuts down

extern "C" void EndCapture(int) {
  const int error = errno;
  shutdown(server, SHUT_WR);
  errno = error;
}

// SIGINT and SIGTERM ask the server to stop writing, while this lives.
class EndsOnSignals {
 public:
  explicit EndsOnSignals(int descriptor) {
    server = descriptor;
    struct sigaction action = {};
    action.sa_handler = EndCapture;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  ~EndsOnSignals() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }
  EndsOnSignals(const EndsOnSignals&) = delete;
  EndsOnSignals& operator=(const EndsOnSignals&) = delete;

 private:
  struct sigaction interrupt_;
  struct sigaction terminate_;
};

absl::Status ParseNumber(const std::string& option, const std::string& text, uint64_t* out) {
  if (absl::SimpleAtoi(text, out) && *out > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("capture: ", option, " '", text, "': not a number above 0"));
}

}  // namespace

absl::StatusOr<CaptureOptions> ParseCaptureOptions(const std::vector<std::string>& arguments) {
  CaptureOptions options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "-c" || word == "-s") {
      if (i + 1 == arguments.size())
        return absl::InvalidArgumentError(absl::StrCat("capture: ", word, ": no number given"));
      uint64_t* number = word == "-c" ? &options.packets : &options.snaplen;
      if (absl::Status s = ParseNumber(word, arguments[++i], number); !s.ok()) return s;
    } else if (word.size() > 1 && word[0] == '-') {
      return absl::InvalidArgumentError(absl::StrCat("capture: unknown option '", word, "'"));
    } else if (options.file.empty()) {
      options.file = word;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("capture: what is '", word, "'?"));
    }
  }
  if (options.file.empty())
    return absl::InvalidArgumentError("capture: name a file, or - for standard output");
  return options;
}

absl::Status RunCapture(Client& client, const CaptureOptions& options, bool json) {
  const bool to_stdout = options.file == "-";
  if (to_stdout && isatty(STDOUT_FILENO) != 0)
    return absl::InvalidArgumentError("capture: standard output is a terminal; name a file");
  const int fd = to_stdout
                     ? STDOUT_FILENO
                     : open(options.file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return absl::InternalError(absl::StrCat(options.file, ": ", std::strerror(errno)));
  Json request = {{"command", "capture"}};
  if (options.packets != 0) request["packets"] = options.packets;
  if (options.snaplen != 0) request["snaplen"] = options.snaplen;
  Json result = Json::object();
  absl::Status status;
  {
    const EndsOnSignals ends(client.descriptor());
    status = client.AskWithFile(request, fd, [&result](const Json& row) {
      result = row;
      return true;
    });
  }
  if (!to_stdout && close(fd) != 0 && status.ok())
    status = absl::InternalError(absl::StrCat(options.file, ": ", std::strerror(errno)));
  if (!status.ok()) return status;
  const auto count = [&result](const char* key) { return result.value(key, uint64_t{0}); };
  std::fprintf(stderr, "usherctl: %s: %llu packets captured, %llu dropped\n", options.file.c_str(),
               static_cast<unsigned long long>(count("packets")),
               static_cast<unsigned long long>(count("dropped")));
  if (json && !to_stdout) std::printf("%s\n", result.dump().c_str());
  return absl::OkStatus();
}

}  // namespace usher::ctl
