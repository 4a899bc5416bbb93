// Completed connections that wait for accept(): a FIFO through TcpConnection::next_accept.
#pragma once

#include <cstdint>

#include "stack/base/object_pool.h"

namespace usher {

class TcpConnection;

// Holds slots of the shard's connection pool; a queued connection must not leave its slot. A child
// that is reset while queued stays, and accept() returns it (its first read says ECONNRESET).
class AcceptQueue {
 public:
  void Push(ObjectPool<TcpConnection>& connections, uint32_t slot);
  // The oldest, null if there is none.
  TcpConnection* Pop(ObjectPool<TcpConnection>& connections);

  uint32_t length() const { return length_; }
  bool empty() const { return length_ == 0; }

 private:
  uint32_t head_ = 0;  // meaningful only if length_ > 0
  uint32_t tail_ = 0;
  uint32_t length_ = 0;
};

}  // namespace usher
