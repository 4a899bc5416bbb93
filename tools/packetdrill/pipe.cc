#include "tools/packetdrill/pipe.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <vector>

namespace usher::packetdrill {

std::pair<std::shared_ptr<Pipe>, std::shared_ptr<Pipe>> Pipe::Make(World& world) {
  auto shared = std::make_shared<Shared>();
  return {std::shared_ptr<Pipe>(new Pipe(world, shared, true)),
          std::shared_ptr<Pipe>(new Pipe(world, shared, false))};
}

uint32_t Pipe::Poll() {
  uint32_t mask = 0;
  if (reads_ && !shared_->bytes.empty()) mask |= EPOLLIN | EPOLLRDNORM;
  if (reads_ && !shared_->writer) mask |= EPOLLHUP;
  if (!reads_ && room() != 0) mask |= EPOLLOUT | EPOLLWRNORM;
  if (!reads_ && !shared_->reader) mask |= EPOLLERR;
  return mask;
}

void Pipe::Close(World::Lock&) {
  (reads_ ? shared_->reader : shared_->writer) = false;
  world_.Pump();
}

ssize_t Pipe::Read(World::Lock& lock, const iovec* iov, size_t count) {
  if (!reads_) return -EBADF;
  const auto ready = [this] { return !shared_->bytes.empty() || !shared_->writer; };
  if (!ready() && (nonblocking || !world_.Block(lock, ready, Instant::Never()))) return -EAGAIN;
  ssize_t done = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t n = std::min(iov[i].iov_len, shared_->bytes.size());
    std::copy_n(shared_->bytes.begin(), n, static_cast<uint8_t*>(iov[i].iov_base));
    shared_->bytes.erase(shared_->bytes.begin(),
                         shared_->bytes.begin() + static_cast<std::ptrdiff_t>(n));
    done += static_cast<ssize_t>(n);
  }
  world_.Pump();
  return done;
}

ssize_t Pipe::Write(World::Lock& lock, const iovec* iov, size_t count) {
  if (reads_) return -EBADF;
  ssize_t done = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto* data = static_cast<const uint8_t*>(iov[i].iov_base);
    for (size_t left = iov[i].iov_len; left != 0;) {
      const auto ready = [this] { return room() != 0 || !shared_->reader; };
      if (!ready() && (nonblocking || !world_.Block(lock, ready, Instant::Never())))
        return done != 0 ? done : -EAGAIN;
      if (!shared_->reader) return done != 0 ? done : -EPIPE;
      const size_t n = std::min(left, room());
      shared_->bytes.insert(shared_->bytes.end(), data, data + n);
      data += n;
      left -= n;
      done += static_cast<ssize_t>(n);
    }
  }
  world_.Pump();
  return done;
}

int Pipe::Ioctl(unsigned long request, void* argument) {
  if (request != FIONREAD) return -ENOTTY;
  *static_cast<int*>(argument) = static_cast<int>(readable());
  return 0;
}

ssize_t Splice(World::Lock& lock, File& in, File& out, size_t length, unsigned flags) {
  auto* const from = dynamic_cast<Pipe*>(&in);
  auto* const to = dynamic_cast<Pipe*>(&out);
  if ((from != nullptr && !from->reads()) || (to != nullptr && to->reads())) return -EBADF;
  if (from == nullptr && to == nullptr) return -EINVAL;
  if (length == 0) return 0;
  // No more is taken out than can be put in.
  if (to != nullptr) length = std::min(length, to->room());
  if (from != nullptr && from->readable() != 0) length = std::min(length, from->readable());
  if (length == 0) return -EAGAIN;
  std::vector<uint8_t> bytes(std::min(length, Pipe::kCapacity));
  iovec iov{bytes.data(), bytes.size()};
  const bool was_nonblocking = in.nonblocking;
  in.nonblocking |= (flags & SPLICE_F_NONBLOCK) != 0;
  const ssize_t n = in.Read(lock, &iov, 1);
  in.nonblocking = was_nonblocking;
  if (n <= 0) return n;
  iov.iov_len = static_cast<size_t>(n);
  return out.Write(lock, &iov, 1);
}

}  // namespace usher::packetdrill
