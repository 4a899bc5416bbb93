#include "tools/packetdrill/epoll.h"

#include <cerrno>

namespace usher::packetdrill {
namespace {

constexpr uint32_t kAlways = EPOLLERR | EPOLLHUP;
constexpr uint32_t kModes = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;

Instant DeadlineIn(const World& world, int timeout_ms) {
  return timeout_ms < 0 ? Instant::Never() : world.now() + Duration::Millis(timeout_ms);
}

int Collect(const FileTable& files, pollfd* fds, size_t count) {
  int ready = 0;
  for (size_t i = 0; i < count; ++i) {
    fds[i].revents = 0;
    if (fds[i].fd < 0) continue;
    const auto file = files.Get(fds[i].fd);
    const auto asked = static_cast<uint32_t>(static_cast<uint16_t>(fds[i].events)) | kAlways;
    fds[i].revents = file != nullptr ? static_cast<short>(file->Poll() & asked) : POLLNVAL;
    if (fds[i].revents != 0) ++ready;
  }
  return ready;
}

}  // namespace

int PollFiles(World& world, World::Lock& lock, const FileTable& files, pollfd* fds, size_t count,
              int timeout_ms) {
  int ready = Collect(files, fds, count);
  if (ready != 0 || timeout_ms == 0) return ready;
  world.Block(
      lock, [&] { return Collect(files, fds, count) != 0; }, DeadlineIn(world, timeout_ms));
  return Collect(files, fds, count);
}

int Epoll::Control(int operation, int fd, const std::shared_ptr<File>& file,
                   const epoll_event* event) {
  const auto it = watched_.find(fd);
  const bool known = it != watched_.end() && it->second.file.lock() == file;
  switch (operation) {
    case EPOLL_CTL_ADD:
      if (known) return -EEXIST;
      watched_[fd] = Watched{file, *event, file->edges(event->events), true, true};
      break;
    case EPOLL_CTL_MOD:
      if (!known) return -ENOENT;
      it->second = Watched{file, *event, file->edges(event->events), true, true};
      break;
    case EPOLL_CTL_DEL:
      if (!known) return -ENOENT;
      watched_.erase(it);
      return 0;
    default:
      return -EINVAL;
  }
  world_.Pump();  // somebody may wait for just this
  return 0;
}

uint32_t Epoll::Ready(Watched& w) {
  const auto file = w.file.lock();
  if (file == nullptr || !w.armed) return 0;
  const uint32_t asked = (w.event.events & ~kModes) | kAlways;
  if (const uint64_t edges = file->edges(w.event.events); edges != w.edges_seen) {
    w.edges_seen = edges;
    w.pending = true;
  }
  if ((w.event.events & EPOLLET) != 0 && !w.pending) return 0;
  return file->Poll() & asked;
}

uint32_t Epoll::Poll() {
  for (auto& [fd, w] : watched_)
    if (Ready(w) != 0) return EPOLLIN | EPOLLRDNORM;
  return 0;
}

int Epoll::Collect(epoll_event* events, int most) {
  int count = 0;
  for (auto& [fd, w] : watched_) {
    if (count == most) break;
    const uint32_t ready = Ready(w);
    w.pending = false;
    if (ready == 0) continue;
    events[count].events = ready;
    events[count++].data = w.event.data;
    if ((w.event.events & EPOLLONESHOT) != 0) w.armed = false;
  }
  return count;
}

int Epoll::Wait(World::Lock& lock, epoll_event* events, int most, int timeout_ms) {
  if (most <= 0) return -EINVAL;
  std::erase_if(watched_, [](const auto& entry) { return entry.second.file.expired(); });
  const int count = Collect(events, most);
  if (count != 0 || timeout_ms == 0) return count;
  world_.Block(
      lock, [this] { return Poll() != 0; }, DeadlineIn(world_, timeout_ms));
  return Collect(events, most);
}

}  // namespace usher::packetdrill
