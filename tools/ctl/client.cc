#include "tools/ctl/client.h"

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace usher::ctl {
namespace {

using Json = nlohmann::json;

std::vector<std::string> EntriesOf(const std::string& directory) {
  std::vector<std::string> names;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

// A connected socket, or -1 with errno set.
int ConnectTo(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

std::string ListOf(const std::vector<Instance>& instances) {
  std::string text;
  for (const Instance& i : instances) absl::StrAppend(&text, text.empty() ? "" : ", ", i.name);
  return text;
}

absl::StatusCode CodeOf(const std::string& name) {
  for (int code = 0; code <= 16; ++code) {
    const auto status = static_cast<absl::StatusCode>(code);
    if (absl::StatusCodeToString(status) == name) return status;
  }
  return absl::StatusCode::kUnknown;
}

}  // namespace

std::vector<std::string> RuntimeDirectories() {
  std::vector<std::string> found;
  const auto add = [&found](const std::string& directory) {
    if (std::find(found.begin(), found.end(), directory) == found.end()) found.push_back(directory);
  };
  for (const char* variable : {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"})
    if (const char* value = std::getenv(variable)) add(absl::StrCat(value, "/dpdk"));
  add("/var/run/dpdk");
  add("/tmp/dpdk");
  if (geteuid() == 0)
    for (const std::string& user : EntriesOf("/run/user"))
      add(absl::StrCat("/run/user/", user, "/dpdk"));
  return found;
}

std::vector<Instance> FindInstances(const std::vector<std::string>& directories) {
  std::vector<Instance> found;
  for (const std::string& directory : directories) {
    for (const std::string& name : EntriesOf(directory)) {
      const std::string path = absl::StrCat(directory, "/", name, "/usher.sock");
      const int fd = ConnectTo(path);
      if (fd < 0 && errno != EACCES) continue;  // no socket, or one left by a server that died
      if (fd < 0 && access(path.c_str(), F_OK) != 0) continue;  // hidden: of somebody else
      if (fd >= 0) close(fd);
      found.push_back({name, path});
    }
  }
  return found;
}

absl::StatusOr<Client> Client::Connect(const std::string& name) {
  const std::vector<Instance> all = FindInstances(RuntimeDirectories());
  if (!name.empty()) {
    for (const Instance& i : all)
      if (i.name == name) return Open(i);
    return absl::NotFoundError(absl::StrCat(
        "no server called '", name, "' runs",
        all.empty() ? std::string(geteuid() == 0 ? "" : " (one of root's is seen by root only)")
                    : absl::StrCat("; there is: ", ListOf(all))));
  }
  if (all.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "no server runs", geteuid() == 0 ? "" : " (one of root's is seen by root only)"));
  }
  if (all.size() > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("several servers run, choose one with --instance: ", ListOf(all)));
  }
  return Open(all.front());
}

absl::StatusOr<Client> Client::Open(const Instance& instance) {
  const int fd = ConnectTo(instance.socket);
  if (fd >= 0) return Client(instance, fd);
  const std::string what = absl::StrCat(instance.socket, ": ", std::strerror(errno));
  if (errno != EACCES) return absl::UnavailableError(what);
  return absl::PermissionDeniedError(
      absl::StrCat(what, "; only root and the server's own user may control it"));
}

Client::Client(Client&& other) noexcept
    : instance_(std::move(other.instance_)),
      fd_(std::exchange(other.fd_, -1)),
      input_(std::move(other.input_)),
      read_(other.read_) {}

Client::~Client() {
  if (fd_ >= 0) close(fd_);
}

bool Client::ReadLine(std::string* line) {
  for (;;) {
    const size_t end = input_.find('\n', read_);
    if (end != std::string::npos) {
      line->assign(input_, read_, end - read_);
      read_ = end + 1;
      return true;
    }
    input_.erase(0, read_);
    read_ = 0;
    char buffer[65536];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    input_.append(buffer, static_cast<size_t>(n));
  }
}

absl::Status Client::Ask(const Json& request, const std::function<bool(const Json&)>& row) {
  const std::string question = request.dump() + '\n';
  // What the server says before it hangs up (a refusal) is worth more than that this fails.
  (void)!send(fd_, question.data(), question.size(), MSG_NOSIGNAL);
  return ReadAnswer(row);
}

absl::Status Client::AskWithFile(const Json& request, int file,
                                 const std::function<bool(const Json&)>& row) {
  std::string question = request.dump() + '\n';
  iovec bytes = {question.data(), question.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &file, sizeof(int));
  if (sendmsg(fd_, &message, MSG_NOSIGNAL) < 0)
    return absl::UnavailableError(absl::StrCat("the server: ", std::strerror(errno)));
  return ReadAnswer(row);
}

absl::Status Client::ReadAnswer(const std::function<bool(const Json&)>& row) {
  std::string line;
  while (ReadLine(&line)) {
    const Json answer = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!answer.is_object()) return absl::InternalError("the server's answer is no JSON object");
    if (answer.contains("end")) return absl::OkStatus();
    if (answer.contains("error"))
      return absl::Status(CodeOf(answer.value("code", "")), answer.value("error", ""));
    if (!row(answer)) return absl::OkStatus();
  }
  return absl::UnavailableError("the server hung up");
}

absl::StatusOr<std::vector<Json>> Client::Ask(const Json& request) {
  std::vector<Json> rows;
  const absl::Status status = Ask(request, [&rows](const Json& row) {
    rows.push_back(row);
    return true;
  });
  if (!status.ok()) return status;
  return rows;
}

bool Client::WaitForEnd(int limit_s) {
  pollfd wait = {fd_, POLLIN, 0};
  char byte;
  return poll(&wait, 1, limit_s * 1000) == 1 && recv(fd_, &byte, 1, 0) <= 0;
}

}  // namespace usher::ctl
