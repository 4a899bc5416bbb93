// A listener in the hands of an application.
#pragma once

#include "stack/api/connection.h"

namespace usher {

// A handle, as Connection: belongs to its shard and that shard's thread, dies with Close; calls on
// a dead one, and on one that never named a listener, answer kBadHandle.
class Acceptor {
 public:
  Acceptor() = default;
  Acceptor(Shard* shard, Handle handle) : shard_(shard), handle_(handle) {}

  // The oldest completed connection (FIFO); kAgain when there is none. One that was reset while it
  // waited is still handed over: its first read says why (as Linux).
  Error Accept(Connection* connection) {
    if (shard_ == nullptr) return Error::kBadHandle;
    Handle handle;
    const Error e = shard_->Accept(handle_, &handle);
    if (e == Error::kNone) *connection = Connection(shard_, handle);
    return e;
  }
  // listen() again: moves the limit of the accept queue; nothing queued is evicted.
  Error SetBacklog(int backlog) {
    return shard_ != nullptr ? shard_->passive_open().SetBacklog(handle_, backlog)
                             : Error::kBadHandle;
  }
  // TCP_MD5SIG_EXT: signs what goes to the peers in `rule` from now on (stack/tcp/md5.h), on this
  // shard; connections that are there keep the key they have. See PassiveOpen::SetMd5Rule.
  Error SetMd5Rule(const Md5Rule& rule) {
    return shard_ != nullptr ? shard_->passive_open().SetMd5Rule(handle_, rule) : Error::kBadHandle;
  }
  // Queued connections are reset; requests go with their next segment or timer.
  Error Close() { return shard_ != nullptr ? shard_->CloseListener(handle_) : Error::kBadHandle; }

  Shard& shard() const { return *shard_; }  // of a handle that a shard has made, dead or not
  Handle handle() const { return handle_; }
  friend bool operator==(const Acceptor&, const Acceptor&) = default;

 private:
  Shard* shard_ = nullptr;
  Handle handle_;
};

}  // namespace usher
