// Which writes with MSG_ZEROCOPY are done: the notifications of a socket's error queue.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <deque>

namespace usher::packetdrill {

// Offsets count from the first byte ever written. Nothing is really sent without a copy here, and
// as over Linux's TUN device the notifications say so; it is when and how they come that counts.
class ZeroCopyLog {
 public:
  // A call wrote up to `end`.
  void OnWritten(uint64_t end) { pending_.push_back({next_++, end}); }
  bool waiting() const { return !pending_.empty(); }
  // The peer has all up to `acked`. True if that completes a call.
  bool OnAcked(uint64_t acked);
  // Notifications to be read. Completions in a row are one until it is read.
  bool empty() const { return done_.empty(); }
  // Reads one into `message`, as Linux's IP_RECVERR or IPV6_RECVERR. Not when empty.
  void Take(int domain, msghdr* message);

 private:
  struct Pending {
    uint32_t id;
    uint64_t end;
  };
  struct Range {
    uint32_t first, last;
  };
  uint32_t next_ = 0;
  std::deque<Pending> pending_;
  std::deque<Range> done_;
};

}  // namespace usher::packetdrill
