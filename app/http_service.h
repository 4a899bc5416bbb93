// HTTP on a listener: joins the sessions of app/http to the stack's connections.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "app/http/session.h"
#include "app/http/static_site.h"
#include "stack/api/application.h"
#include "stack/base/object_pool.h"

namespace usher {

// One listener's connections on one shard; all calls on that shard's thread. Sessions come from a
// pool of fixed size: no allocation per connection.
class HttpService final : public Application {
 public:
  // `site` may be null; `status` makes the JSON of /status. `max_sessions`: what the shard can have
  // connections.
  HttpService(const StaticSite* site, std::function<std::string()> status, uint32_t max_sessions);

  void OnAcceptable(Acceptor acceptor) override;
  void OnReadable(Connection c) override { Pump(c); }
  void OnWritable(Connection c) override { Pump(c); }
  void OnTimer(Connection c) override;
  void OnClosed(Connection c, Error why) override;
  // Connections at rest are closed, the others once they have their answer.
  void OnStopping(Shard& shard) override;

  // What the sessions take at most, in bytes.
  static uint64_t MemoryNeeded(uint32_t max_sessions);

 private:
  // How long the peer's end of the stream is waited for after ours.
  static constexpr Duration kLingerTime = Duration::Seconds(5);
  // From here on bytes that stay as they are go by reference, below they are copied: a reference
  // costs a record of its own and cannot share a segment's block.
  static constexpr size_t kByReference = 2048;
  static constexpr size_t kLargestReference = size_t{64} << 20;

  struct Session {
    Session(HttpContext* context, Connection c, Instant now) : connection(c), http(context, now) {}
    Connection connection;
    uint32_t index = 0;        // in the pool
    bool input_ended = false;  // the peer has shut its side
    bool lingering = false;    // we have shut ours; what still comes is thrown away
    HttpSession http;
  };

  void Pump(Connection c);
  // True: all output is on its way.
  static bool SendOutput(Session& s);
  // True: something was consumed.
  static bool ReceiveInput(Session& s, Instant now);
  void Linger(Session& s, Instant now);
  void DiscardInput(Session& s);
  void End(Session& s);
  void Reset(Session& s);
  void SetDate(Instant now);

  HttpContext context_;
  ObjectPool<Session> sessions_;
  Instant next_date_;
  bool stopping_ = false;
};

}  // namespace usher
