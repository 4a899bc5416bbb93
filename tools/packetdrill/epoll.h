// poll(2) and epoll(7) over the files of a table.
#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <map>
#include <memory>

#include "tools/packetdrill/file.h"

namespace usher::packetdrill {

// As poll(2).
int PollFiles(World& world, World::Lock& lock, const FileTable& files, pollfd* fds, size_t count,
              int timeout_ms);

class Epoll final : public File {
 public:
  explicit Epoll(World& world) : world_(world) {}

  // As epoll_ctl(2). `file` is what `fd` stands for.
  int Control(int operation, int fd, const std::shared_ptr<File>& file, const epoll_event* event);
  // As epoll_wait(2).
  int Wait(World::Lock& lock, epoll_event* events, int most, int timeout_ms);

  uint32_t Poll() override;
  void Close(World::Lock&) override { watched_.clear(); }
  ssize_t Read(World::Lock&, const iovec*, size_t) override { return -EINVAL; }
  ssize_t Write(World::Lock&, const iovec*, size_t) override { return -EINVAL; }
  int Ioctl(unsigned long, void*) override { return -ENOTTY; }

 private:
  struct Watched {
    std::weak_ptr<File> file;
    epoll_event event{};
    uint64_t edges_seen = 0;
    bool armed = true;    // not yet reported since it was added, changed or re-armed (one shot)
    bool pending = true;  // may be reported (edge-triggered)
  };

  // What is to be reported of `w` now; 0: nothing.
  static uint32_t Ready(Watched& w);
  int Collect(epoll_event* events, int most);

  World& world_;
  std::map<int, Watched> watched_;
};

}  // namespace usher::packetdrill
