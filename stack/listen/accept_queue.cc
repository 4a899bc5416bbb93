#include "stack/listen/accept_queue.h"

#include "stack/tcp/connection.h"

namespace usher {

void AcceptQueue::Push(ObjectPool<TcpConnection>& connections, uint32_t slot) {
  if (length_ == 0)
    head_ = slot;
  else
    connections[tail_].next_accept = slot;
  tail_ = slot;
  ++length_;
}

TcpConnection* AcceptQueue::Pop(ObjectPool<TcpConnection>& connections) {
  if (length_ == 0) return nullptr;
  TcpConnection& c = connections[head_];
  head_ = c.next_accept;
  --length_;
  return &c;
}

}  // namespace usher
