#include "stack/glue/control_server.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace usher {
namespace {

constexpr size_t kSendChunk = 32768;

absl::Status SystemError(const std::string& what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

bool SendAll(int fd, const std::string& text) {
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t n = send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;  // gone, or too slow
    sent += static_cast<size_t>(n);
  }
  return true;
}

std::string ErrorLine(const absl::Status& status) {
  const nlohmann::json row = {{"error", std::string(status.message())},
                              {"code", absl::StatusCodeToString(status.code())}};
  return row.dump() + '\n';
}

bool MayControl(int fd) {
  ucred peer = {};
  socklen_t length = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         (peer.uid == 0 || peer.uid == geteuid());
}

// Threads started while this lives take no signals: those are for the program's own thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Start(Stack& stack,
                                                                    ControlOptions options) {
  std::unique_ptr<ControlServer> server(new ControlServer(stack, std::move(options)));
  if (absl::Status s = server->Listen(); !s.ok()) return s;
  const SignalsBlocked blocked;
  server->thread_ = std::thread([s = server.get()] { s->Run(); });
  return server;
}

ControlServer::ControlServer(Stack& stack, ControlOptions options)
    : options_(std::move(options)),
      path_(options_.directory + "/usher.sock"),
      commands_(stack, options_.instance, stop_) {}

ControlServer::~ControlServer() {
  stop_ = true;
  if (thread_.joinable()) {
    const uint64_t one = 1;
    if (write(stop_fd_, &one, sizeof(one)) == sizeof(one)) thread_.join();
  }
  if (listen_fd_ >= 0) close(listen_fd_);
  if (stop_fd_ >= 0) close(stop_fd_);
  if (bound_) unlink(path_.c_str());
}

absl::Status ControlServer::Listen() {
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  listen_fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (stop_fd_ < 0 || listen_fd_ < 0) return SystemError("control socket");
  // Before bind, so that there is no moment in which others could connect.
  if (fchmod(listen_fd_, S_IRUSR | S_IWUSR) != 0) return SystemError("control socket");
  if (absl::Status s = Bind(); !s.ok()) return s;
  bound_ = true;
  if (listen(listen_fd_, kMaxClients) != 0) return SystemError(path_);
  return absl::OkStatus();
}

absl::Status ControlServer::Bind() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof(address.sun_path))
    return absl::InvalidArgumentError(absl::StrCat(path_, ": too long for a socket's name"));
  std::memcpy(address.sun_path, path_.c_str(), path_.size());
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  if (bind(listen_fd_, name, sizeof(address)) == 0) return absl::OkStatus();
  if (errno != EADDRINUSE) return SystemError(path_);
  // Somebody's socket: of a server that runs, or left by one that was killed.
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return SystemError("control socket");
  const bool alive = connect(probe, name, sizeof(address)) == 0 || errno != ECONNREFUSED;
  close(probe);
  if (alive) {
    return absl::AlreadyExistsError(absl::StrCat("another server called '", options_.instance,
                                                 "' runs; give this one a --file-prefix"));
  }
  unlink(path_.c_str());
  if (bind(listen_fd_, name, sizeof(address)) != 0) return SystemError(path_);
  return absl::OkStatus();
}

void ControlServer::Run() {
  if (options_.on_thread_start) options_.on_thread_start();
  pthread_setname_np(pthread_self(), "usher-control");
  while (!stop_) {
    pollfd fds[] = {{listen_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    Reap(/*all=*/false);
    if ((fds[0].revents & POLLIN) == 0) continue;
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) Admit(fd);
  }
  Reap(/*all=*/true);
}

void ControlServer::Admit(int fd) {
  absl::Status refusal;
  if (!MayControl(fd)) {
    refusal = absl::PermissionDeniedError("only root and the server's own user may control it");
  } else if (clients_.size() >= kMaxClients) {
    refusal =
        absl::ResourceExhaustedError(absl::StrCat(kMaxClients, " clients are connected already"));
  }
  if (!refusal.ok()) {
    SendAll(fd, ErrorLine(refusal));
    close(fd);
    return;
  }
  const timeval limit = {.tv_sec = kSendLimitSeconds, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  Client& client = clients_.emplace_back();
  client.fd = fd;
  client.thread = std::thread([this, &client] { Serve(client); });
}

// Takes back the threads that have ended; with `all`, ends them first.
void ControlServer::Reap(bool all) {
  for (auto it = clients_.begin(); it != clients_.end();) {
    if (all) shutdown(it->fd, SHUT_RDWR);
    if (all || it->done) {
      it->thread.join();
      close(it->fd);
      if (it->file >= 0) close(it->file);
      it = clients_.erase(it);
    } else {
      ++it;
    }
  }
}

void ControlServer::Serve(Client& client) {
  if (options_.on_thread_start) options_.on_thread_start();
  std::string input;
  char buffer[4096];
  while (!stop_) {
    const ssize_t n = Receive(client, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    input.append(buffer, static_cast<size_t>(n));
    for (size_t end; (end = input.find('\n')) != std::string::npos && !stop_;) {
      Answer(client, input.substr(0, end));
      input.erase(0, end + 1);
    }
    if (input.size() > kMaxRequestBytes) break;
  }
  shutdown(client.fd, SHUT_RDWR);
  client.done = true;
}

// As recv; a descriptor that comes along becomes the client's file.
ssize_t ControlServer::Receive(Client& client, char* buffer, size_t size) {
  iovec bytes = {buffer, size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t n = recvmsg(client.fd, &message, MSG_CMSG_CLOEXEC);
  const cmsghdr* header = n < 0 ? nullptr : CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    if (client.file >= 0) close(client.file);
    std::memcpy(&client.file, CMSG_DATA(header), sizeof(int));
  }
  return n;
}

// Ends when the client says no more: it shuts its side down, or is gone.
absl::Status ControlServer::Capture(Client& client, const CaptureLimits& limits) {
  if (!options_.capture) return absl::UnimplementedError("capture: this server has no DPDK ports");
  if (client.file < 0) return absl::InvalidArgumentError("capture: no file came with the request");
  const auto ended = [this, &client] {
    pollfd hears = {client.fd, POLLRDHUP, 0};
    return stop_ || (poll(&hears, 1, 0) == 1 && hears.revents != 0);
  };
  CaptureResult result;
  absl::Status status = options_.capture(limits, client.file, ended, &result);
  close(std::exchange(client.file, -1));
  const nlohmann::json row = {{"packets", result.packets}, {"dropped", result.dropped}};
  if (status.ok()) SendAll(client.fd, row.dump() + '\n');
  return status;
}

void ControlServer::Answer(Client& client, const std::string& line) {
  const int fd = client.fd;
  const auto request = ParseControlRequest(line);
  if (!request.ok()) {
    SendAll(fd, ErrorLine(request.status()));
    return;
  }
  const std::string end = "{\"end\":true}\n";
  if (request->command == ControlRequest::Command::kShutdown) {
    SendAll(fd, end);
    if (options_.on_shutdown) options_.on_shutdown();
    return;
  }
  if (request->command == ControlRequest::Command::kCapture) {
    const absl::Status status = Capture(client, request->capture);
    SendAll(fd, status.ok() ? end : ErrorLine(status));
    return;
  }
  std::string output;
  bool connected = true;
  const absl::Status status = commands_.Run(*request, [&](const nlohmann::json& row) {
    output += row.dump();
    output += '\n';
    if (output.size() < kSendChunk) return true;
    connected = SendAll(fd, output);
    output.clear();
    return connected;
  });
  if (!connected) {
    shutdown(fd, SHUT_RDWR);
    return;
  }
  output += status.ok() ? end : ErrorLine(status);
  if (!SendAll(fd, output)) shutdown(fd, SHUT_RDWR);
}

}  // namespace usher
