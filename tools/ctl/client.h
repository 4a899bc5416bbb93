// The client's end of the control socket; stack/glue/README.md has the protocol.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace usher::ctl {

// A server that runs, as seen from the directories that EAL makes.
struct Instance {
  std::string name;    // EAL's --file-prefix
  std::string socket;  // path
};

// The directories in which EAL of this user, and for root of all users, makes its own.
std::vector<std::string> RuntimeDirectories();
// The servers whose socket below one of `directories` answers.
std::vector<Instance> FindInstances(const std::vector<std::string>& directories);

// A connection to a server. One question at a time.
class Client {
 public:
  // `name`: the instance; empty: the only one that runs. NotFound: none, or none of that name.
  // FailedPrecondition: several, the message names them. PermissionDenied: somebody else's.
  static absl::StatusOr<Client> Connect(const std::string& name);
  // The server at that path.
  static absl::StatusOr<Client> Open(const Instance& instance);
  Client(Client&& other) noexcept;
  Client& operator=(Client&&) = delete;
  ~Client();

  // Sends `request` and calls row() for each row of the answer; row() may return false to hear no
  // more, then the client is of no further use. The server's refusal comes back with its code;
  // Unavailable: it went away.
  absl::Status Ask(const nlohmann::json& request,
                   const std::function<bool(const nlohmann::json&)>& row);
  // All rows of the answer.
  absl::StatusOr<std::vector<nlohmann::json>> Ask(const nlohmann::json& request);
  // As Ask; `file` goes along with the request, and stays the caller's.
  absl::Status AskWithFile(const nlohmann::json& request, int file,
                           const std::function<bool(const nlohmann::json&)>& row);
  // For a handler of signals: shutdown(descriptor(), SHUT_WR) tells the server that it was enough.
  int descriptor() const { return fd_; }
  // Waits until the server has gone; false after `limit_s`.
  bool WaitForEnd(int limit_s);

  const std::string& instance() const { return instance_.name; }

 private:
  Client(Instance instance, int fd) : instance_(std::move(instance)), fd_(fd) {}
  bool ReadLine(std::string* line);
  absl::Status ReadAnswer(const std::function<bool(const nlohmann::json&)>& row);

  Instance instance_;
  int fd_;
  std::string input_;
  size_t read_ = 0;  // of input_
};

}  // namespace usher::ctl
