#include "tools/ctl/nstat.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace usher::ctl {
namespace {

using Json = nlohmann::json;

int64_t WallClockNanos() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

bool Matches(const NstatOptions& options, const std::string& name) {
  if (options.patterns.empty()) return true;
  return std::any_of(options.patterns.begin(), options.patterns.end(),
                     [&name](const std::string& p) {
                       return fnmatch(p.c_str(), name.c_str(), FNM_CASEFOLD) == 0;
                     });
}

std::string HistoryPath(const std::string& instance) {
  if (const char* path = std::getenv("USHER_NSTAT_HISTORY")) return path;
  return absl::StrCat("/tmp/.usher-nstat.u", geteuid(), ".", instance);
}

// The file of the last call, locked so that two calls do not mix.
class HistoryFile {
 public:
  explicit HistoryFile(std::string path) : path_(std::move(path)) {}
  ~HistoryFile() {
    if (fd_ >= 0) close(fd_);
  }
  HistoryFile(const HistoryFile&) = delete;
  HistoryFile& operator=(const HistoryFile&) = delete;

  // /tmp is everybody's: a link, or a file of somebody else's, is refused.
  absl::Status Open() {
    fd_ = open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd_ < 0) return Failure(std::strerror(errno));
    struct stat info = {};
    if (fstat(fd_, &info) != 0) return Failure(std::strerror(errno));
    if (!S_ISREG(info.st_mode) || info.st_uid != geteuid())
      return Failure("not a file of this user; set USHER_NSTAT_HISTORY to another");
    if (flock(fd_, LOCK_EX) != 0) return Failure(std::strerror(errno));
    return absl::OkStatus();
  }

  std::string Read() const {
    std::string text;
    char buffer[16384];
    for (ssize_t n; (n = pread(fd_, buffer, sizeof(buffer), static_cast<off_t>(text.size()))) > 0;)
      text.append(buffer, static_cast<size_t>(n));
    return text;
  }

  absl::Status Write(const std::string& text) {
    if (ftruncate(fd_, 0) != 0 ||
        pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
      return Failure(std::strerror(errno));
    return absl::OkStatus();
  }

 private:
  absl::Status Failure(const std::string& why) const {
    return absl::FailedPreconditionError(absl::StrCat(path_, ": ", why));
  }

  std::string path_;
  int fd_ = -1;
};

absl::StatusOr<NstatSample> Sample(Client& client) {
  const auto status = client.Ask(Json{{"command", "status"}});
  if (!status.ok()) return status.status();
  const auto rows = client.Ask(Json{{"command", "counters"}});
  if (!rows.ok()) return rows.status();
  if (status->size() != 1 || rows->size() != 1 || !rows->front().contains("counters"))
    return absl::InternalError("the server's answer is not understood");
  NstatSample sample;
  sample.server = absl::StrCat(status->front().value("pid", 0), "-",
                               status->front().value("started_ns", int64_t{0}));
  sample.time_ns = WallClockNanos();
  for (const Json& c : rows->front()["counters"])
    sample.values.push_back({c[0].get<std::string>(), c[1].get<uint64_t>(), c.size() > 2});
  return sample;
}

}  // namespace

absl::StatusOr<NstatOptions> ParseNstatOptions(const std::vector<std::string>& arguments) {
  NstatOptions options;
  for (const std::string& argument : arguments) {
    if (argument.empty() || argument[0] != '-') {
      options.patterns.push_back(argument);
      continue;
    }
    if (argument.size() == 1) return absl::InvalidArgumentError("nstat: what is '-'?");
    for (const char letter : argument.substr(1)) {
      switch (letter) {
        case 'a':
          options.absolute = true;
          break;
        case 'z':
          options.zeros = true;
          break;
        case 's':
          options.no_update = true;
          break;
        case 'n':
          options.no_output = true;
          break;
        default:
          return absl::InvalidArgumentError(absl::StrCat("nstat: unknown option ", argument));
      }
    }
  }
  return options;
}

std::vector<NstatRow> NstatRows(const NstatOptions& options, const NstatSample& now,
                                const std::optional<NstatSample>& before) {
  std::map<std::string, uint64_t> old;
  double seconds = 0;
  if (before && before->server == now.server) {
    for (const NstatSample::Value& v : before->values) old[v.name] = v.value;
    seconds = static_cast<double>(now.time_ns - before->time_ns) / 1e9;
  }
  std::vector<NstatRow> rows;
  for (const NstatSample::Value& v : now.values) {
    if (!Matches(options, v.name)) continue;
    const auto found = old.find(v.name);
    const uint64_t grown = v.gauge || found == old.end() ? 0 : v.value - found->second;
    NstatRow row{v.name, v.value, 0};
    if (!options.absolute && !v.gauge && found != old.end()) row.value = grown;
    if (seconds > 0) row.rate = static_cast<double>(grown) / seconds;
    if (row.value != 0 || options.zeros) rows.push_back(row);
  }
  return rows;
}

std::string FormatHistory(const NstatSample& sample) {
  Json values = Json::object();
  for (const NstatSample::Value& v : sample.values) values[v.name] = v.value;
  return Json{{"server", sample.server}, {"time_ns", sample.time_ns}, {"values", values}}.dump() +
         '\n';
}

std::optional<NstatSample> ParseHistory(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("server") || !json["server"].is_string() ||
      !json.contains("time_ns") || !json["time_ns"].is_number_integer() ||
      !json.contains("values") || !json["values"].is_object())
    return std::nullopt;
  NstatSample sample;
  sample.server = json["server"].get<std::string>();
  sample.time_ns = json["time_ns"].get<int64_t>();
  for (const auto& [name, value] : json["values"].items())
    if (value.is_number_unsigned()) sample.values.push_back({name, value.get<uint64_t>(), false});
  return sample;
}

absl::Status RunNstat(Client& client, const NstatOptions& options, bool json) {
  HistoryFile history(HistoryPath(client.instance()));
  if (absl::Status s = history.Open(); !s.ok()) return s;
  const auto now = Sample(client);
  if (!now.ok()) return now.status();
  const std::vector<NstatRow> rows = NstatRows(options, *now, ParseHistory(history.Read()));
  if (!options.no_update)
    if (absl::Status s = history.Write(FormatHistory(*now)); !s.ok()) return s;
  if (options.no_output) return absl::OkStatus();
  if (json) {
    nlohmann::ordered_json values = nlohmann::ordered_json::object();
    for (const NstatRow& row : rows) values[row.name] = row.value;
    std::puts(nlohmann::ordered_json{{"usher", values}}.dump().c_str());
    return absl::OkStatus();
  }
  std::puts("#usher");
  for (const NstatRow& row : rows)
    std::fputs(absl::StrFormat("%-31s %-18d %3.1f\n", row.name, row.value, row.rate).c_str(),
               stdout);
  return absl::OkStatus();
}

}  // namespace usher::ctl
