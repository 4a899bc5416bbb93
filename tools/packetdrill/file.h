// What a descriptor stands for, and the table of them.
#pragma once

#include <sys/epoll.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <map>
#include <memory>

#include "tools/packetdrill/world.h"

namespace usher::packetdrill {

// All calls with the world's lock held. Results are as of system calls, with -errno for errors.
class File {
 public:
  virtual ~File() = default;

  // Ready now: EPOLL* bits (those of poll are the same).
  virtual uint32_t Poll() = 0;
  // The descriptor is gone. May block (SO_LINGER).
  virtual void Close(World::Lock& lock) = 0;
  virtual ssize_t Read(World::Lock& lock, const iovec* iov, size_t count) = 0;
  virtual ssize_t Write(World::Lock& lock, const iovec* iov, size_t count) = 0;
  virtual int Ioctl(unsigned long request, void* argument) = 0;

  // How often something happened that wakes those who wait for any of `events`: edges, in epoll's
  // words.
  uint64_t edges(uint32_t events) const {
    return ((events & EPOLLOUT) != 0 ? out_edges_ : 0) +
           ((events & ~EPOLLOUT) != 0 ? in_edges_ : 0);
  }

  bool nonblocking = false;

 protected:
  void InEdge() { ++in_edges_; }
  void OutEdge() { ++out_edges_; }
  void Edge() {
    InEdge();
    OutEdge();
  }

 private:
  uint64_t in_edges_ = 0;
  uint64_t out_edges_ = 0;
};

// Descriptors, lowest free number first.
class FileTable {
 public:
  static constexpr int kFirst = 3;

  int Add(std::shared_ptr<File> file) {
    int fd = kFirst;
    while (files_.count(fd) != 0) ++fd;
    files_.emplace(fd, std::move(file));
    return fd;
  }
  // Null: no such descriptor.
  std::shared_ptr<File> Get(int fd) const {
    const auto it = files_.find(fd);
    return it != files_.end() ? it->second : nullptr;
  }
  std::shared_ptr<File> Remove(int fd) {
    std::shared_ptr<File> file = Get(fd);
    files_.erase(fd);
    return file;
  }

 private:
  std::map<int, std::shared_ptr<File>> files_;
};

}  // namespace usher::packetdrill
