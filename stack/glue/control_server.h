// The control socket of a server: how usherctl reaches it. README.md has the protocol.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stack/glue/control_commands.h"

namespace usher {

struct CaptureResult {
  uint64_t packets = 0;
  uint64_t dropped = 0;  // came faster than they were written
};

struct ControlOptions {
  std::string directory;  // where usher.sock is made: EAL's runtime directory
  std::string instance;   // EAL's --file-prefix
  // Asks the program to end; called from a thread of the server's, must not block.
  std::function<void()> on_shutdown;
  // Writes what the ports receive and send to `fd`, as pcapng, until ended() or the limits say so,
  // and tells how much that was; may be empty. Called from a thread of the server's.
  std::function<absl::Status(const CaptureLimits& limits, int fd,
                             const std::function<bool()>& ended, CaptureResult* result)>
      capture;
  // Called first on each of the server's threads; may be empty. For moving it off the shards'
  // cores.
  std::function<void()> on_thread_start;
};

// Listens on a Unix socket that only this user (and root) can open, checks the caller's user id all
// the same, and answers each client on a thread of its own: a slow reader holds up nobody and is
// dropped after kSendLimit without progress; what waits for it is bounded. Shards are asked by
// errands only. Must end before the stack does.
class ControlServer {
 public:
  static constexpr int kMaxClients = 16;
  static constexpr int kSendLimitSeconds = 10;
  static constexpr size_t kMaxRequestBytes = 65536;

  // AlreadyExists: another server of that name runs. InvalidArgument: the path is too long for a
  // socket. Internal: as the system says.
  static absl::StatusOr<std::unique_ptr<ControlServer>> Start(Stack& stack, ControlOptions options);
  // Ends the threads and removes the socket.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  const std::string& path() const { return path_; }
  ControlCommands& commands() { return commands_; }

 private:
  struct Client {
    int fd = -1;
    int file = -1;  // that came with a request (SCM_RIGHTS)
    std::atomic<bool> done = false;
    std::thread thread;
  };

  ControlServer(Stack& stack, ControlOptions options);
  absl::Status Listen();
  absl::Status Bind();
  void Run();
  void Admit(int fd);
  void Reap(bool all);
  void Serve(Client& client);
  ssize_t Receive(Client& client, char* buffer, size_t size);
  void Answer(Client& client, const std::string& line);
  absl::Status Capture(Client& client, const CaptureLimits& limits);

  const ControlOptions options_;
  std::string path_;
  std::atomic<bool> stop_ = false;
  ControlCommands commands_;
  int listen_fd_ = -1;
  int stop_fd_ = -1;
  bool bound_ = false;
  std::list<Client> clients_;  // of the listening thread
  std::thread thread_;
};

}  // namespace usher
