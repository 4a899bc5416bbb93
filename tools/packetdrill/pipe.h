// pipe(2) and splice(2).
#pragma once

#include <cerrno>
#include <deque>
#include <memory>

#include "tools/packetdrill/file.h"

namespace usher::packetdrill {

class Pipe final : public File {
 public:
  static constexpr size_t kCapacity = 65536;

  // The two ends of one pipe.
  static std::pair<std::shared_ptr<Pipe>, std::shared_ptr<Pipe>> Make(World& world);

  bool reads() const { return reads_; }
  size_t readable() const { return shared_->bytes.size(); }
  size_t room() const { return kCapacity - shared_->bytes.size(); }

  uint32_t Poll() override;
  void Close(World::Lock& lock) override;
  ssize_t Read(World::Lock& lock, const iovec* iov, size_t count) override;
  ssize_t Write(World::Lock& lock, const iovec* iov, size_t count) override;
  int Ioctl(unsigned long request, void* argument) override;

 private:
  struct Shared {
    std::deque<uint8_t> bytes;
    bool reader = true;  // that end is open
    bool writer = true;
  };

  Pipe(World& world, std::shared_ptr<Shared> shared, bool reads)
      : world_(world), shared_(std::move(shared)), reads_(reads) {}

  World& world_;
  std::shared_ptr<Shared> shared_;
  const bool reads_;
};

// As splice(2) between a pipe and another file.
ssize_t Splice(World::Lock& lock, File& in, File& out, size_t length, unsigned flags);

}  // namespace usher::packetdrill
