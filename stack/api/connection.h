// A connection in the hands of an application.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "stack/shard/shard.h"

namespace usher {

// A handle: two words, copied freely, owning nothing. It belongs to the shard that made it and is
// used on the thread that polls that shard. It dies with Close or Abort (by any copy of it); every
// call on a dead handle, and on one that never named a connection, answers kBadHandle and does no
// harm. No call blocks.
class Connection {
 public:
  Connection() = default;
  Connection(Shard* shard, Handle handle) : shard_(shard), handle_(handle) {}

  // Copies received bytes out; bytes == 0: end of stream (kNone), nothing there (kAgain), or why
  // the connection ended. Bytes that came before an end are delivered before it.
  IoResult Read(std::span<uint8_t> out) {
    return shard_ != nullptr ? shard_->Read(handle_, out) : kNoConnection;
  }
  // Zero-copy: up to `max` contiguous bytes of one received packet, shared until the slice dies. A
  // slice must die on this thread and before the stack; while it lives, its packet buffer is not
  // available for receiving.
  IoResult ReadSlice(Slice* out, uint32_t max = UINT32_MAX) {
    return shard_ != nullptr ? shard_->ReadSlice(handle_, max, out) : kNoConnection;
  }

  // Zero-copy without taking: *out is the next contiguous bytes, valid until the next call on this
  // connection; empty where Read would give none. Unlike with a slice, what is not discarded still
  // counts as unread and holds the peer back. Discard drops the first n bytes of it.
  IoResult Peek(std::span<const uint8_t>* out) {
    if (shard_ != nullptr) return shard_->Peek(handle_, out);
    *out = {};
    return kNoConnection;
  }
  Error Discard(size_t n) {
    return shard_ != nullptr ? shard_->Discard(handle_, n) : Error::kBadHandle;
  }

  // Copies bytes in; may take fewer than given (then OnWritable follows). Sent at the end of the
  // pass: several writes of one callback share segments.
  IoResult Write(std::span<const uint8_t> data) {
    return shard_ != nullptr ? shard_->Write(handle_, data) : kNoConnection;
  }
  IoResult Write(std::string_view text) {
    return Write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  // Zero-copy: `data` stays the caller's and must not change until release(context) is called,
  // once, on this thread, when the peer has acknowledged it or the connection is gone. All or
  // nothing: kAgain takes nothing, and release will not be called.
  IoResult WriteExternal(std::span<const uint8_t> data, ReleaseFn release, void* context) {
    return shard_ != nullptr ? shard_->WriteExternal(handle_, data, release, context)
                             : kNoConnection;
  }
  // Urgent data (MSG_OOB, RFC 6093): as Write, and the last byte is urgent. The peer's urgent byte
  // is announced by OnUrgent, is not in what Read gives (unless TcpOptionsSet::oob_inline) and is
  // taken once: kAgain if it is not here yet, kInvalid if there is none. No Read goes beyond it in
  // one call: at_mark says that the next one would begin with it.
  IoResult WriteUrgent(std::span<const uint8_t> data) {
    return shard_ != nullptr ? shard_->WriteUrgent(handle_, data) : kNoConnection;
  }
  Error ReadUrgent(uint8_t* byte) {
    return shard_ != nullptr ? shard_->ReadUrgent(handle_, byte) : Error::kBadHandle;
  }
  bool at_mark() const {
    const TcpConnection* c = tcp();
    return c != nullptr && c->at_mark();
  }

  // Bytes that Write would take now. 0: OnWritable will say when there is room.
  size_t writable_bytes() { return shard_ != nullptr ? shard_->WritableBytes(handle_) : 0; }

  // Bytes written that the peer has not acknowledged, sent or not (Linux's SIOCOUTQ without the
  // FIN).
  size_t unacked_bytes() const {
    const TcpConnection* c = tcp();
    return c != nullptr ? c->unacked_bytes() : 0;
  }

  // kWrite: the peer sees the end of the stream behind what was written; reading goes on (half
  // close). kRead: reads say end of stream.
  Error Shutdown(ShutdownHow how) {
    return shard_ != nullptr ? shard_->Shutdown(handle_, how) : Error::kBadHandle;
  }
  // Lets go: what was written is still delivered, unread bytes make it a reset (RFC 2525 2.17).
  Error Close() { return shard_ != nullptr ? shard_->Close(handle_) : Error::kBadHandle; }
  // Resets.
  Error Abort() { return shard_ != nullptr ? shard_->Abort(handle_) : Error::kBadHandle; }

  // Sets the connection's one timer, in place of the one it may have: Application::OnTimer comes in
  // the first pass at or after `deadline` (see Shard::now). Instant::Never() unsets it.
  Error SetTimer(Instant deadline) {
    return shard_ != nullptr ? shard_->SetTimer(handle_, deadline) : Error::kBadHandle;
  }

  // Options; kBadHandle for a dead handle. Units stand in the names of TcpOptionsSet.
  Error SetOptions(const TcpOptionsSet& options) {
    return shard_ != nullptr ? shard_->SetOptions(handle_, options) : Error::kBadHandle;
  }
  TcpOptionsSet options() const {
    const TcpConnection* c = tcp();
    return c != nullptr ? c->options() : TcpOptionsSet{};
  }
  Error SetNoDelay(bool on) {
    TcpOptionsSet o = options();
    o.no_delay = on;
    return SetOptions(o);
  }

  // False once closed by the application.
  bool valid() const { return tcp() != nullptr; }
  explicit operator bool() const { return valid(); }
  TcpState state() const {
    const TcpConnection* c = tcp();
    return c != nullptr ? c->state() : TcpState::kClosed;
  }
  FourTuple tuple() const {
    const TcpConnection* c = tcp();
    return c != nullptr ? c->tuple() : FourTuple{};
  }

  // A pointer of the application's; null at first.
  void* user_data() const {
    const TcpConnection* c = tcp();
    return c != nullptr ? c->user_data : nullptr;
  }
  void set_user_data(void* data) {
    if (TcpConnection* c = tcp()) c->user_data = data;
  }

  Shard& shard() const { return *shard_; }  // of a handle that a shard has made, dead or not
  Handle handle() const { return handle_; }
  friend bool operator==(const Connection&, const Connection&) = default;

 private:
  static constexpr IoResult kNoConnection{0, Error::kBadHandle};

  TcpConnection* tcp() const { return shard_ != nullptr ? shard_->Find(handle_) : nullptr; }

  Shard* shard_ = nullptr;
  Handle handle_;
};

}  // namespace usher
