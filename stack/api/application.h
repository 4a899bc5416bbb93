// What an embedder implements: the program on top of the stack.
#pragma once

#include "stack/api/acceptor.h"
#include "stack/api/connection.h"

namespace usher {

// Told by a shard, on the thread that polls it and after the burst that caused it, what changed.
// Each event is edge-triggered: it comes again only after something changed again, so read until
// kAgain and write until cut short. A callback may call anything, closing its own connection
// included; after that no more events come for it. One object may serve many listeners; with
// several shards it is called from several threads unless each shard is given its own.
class Application {
 public:
  virtual ~Application() = default;

  // The accept queue has connections: Accept until kAgain. What is not accepted stays queued (and
  // when the queue is full, the listener refuses; see stack/listen/README.md).
  virtual void OnAcceptable(Acceptor acceptor) { (void)acceptor; }
  // An active open succeeded.
  virtual void OnConnected(Connection connection) { (void)connection; }
  // Bytes to read, or the peer's end of stream (a Read of 0 bytes without error).
  virtual void OnReadable(Connection connection) { (void)connection; }
  // The peer has sent, or will send, an urgent byte (SIGURG): see Connection::ReadUrgent.
  virtual void OnUrgent(Connection connection) { (void)connection; }
  // There is room again after a write was cut short.
  virtual void OnWritable(Connection connection) { (void)connection; }
  // The time given to Connection::SetTimer has come; the timer is unset.
  virtual void OnTimer(Connection connection) { (void)connection; }
  // The connection is over: both ways closed (kNone), reset, timed out, refused. Bytes that arrived
  // before can still be read. The handle lives until Close. The default closes it.
  virtual void OnClosed(Connection connection, Error why) {
    (void)why;
    connection.Close();
  }
  // The server will stop: its listeners are closed, and what is left of its connections after a
  // while will be reset (see Runtime). Time to end those that only wait.
  virtual void OnStopping(Shard& shard) { (void)shard; }
};

}  // namespace usher
