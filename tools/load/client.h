// The clients of one core: rps, cps and bulk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stack/api/application.h"
#include "stack/api/stack.h"
#include "stack/base/slot_queue.h"
#include "tools/load/cpu_meter.h"
#include "tools/load/options.h"
#include "tools/load/pacer.h"
#include "tools/load/response_reader.h"
#include "tools/load/result.h"

namespace usher::load {

// Opens its share of the connections, keeps each of them busy, and counts. Its phases: opening what
// is kept (kOpening at most), warming up, measuring, waiting for what is still under way (kDrain at
// most), closing. All on the thread of its shard.
class Client final : public Application {
 public:
  static constexpr Duration kOpening = Duration::Seconds(5);
  static constexpr Duration kDrain = Duration::Seconds(2);
  static constexpr Duration kClosing = Duration::Seconds(1);
  static constexpr Duration kRetry = Duration::Millis(10);
  static constexpr uint32_t kMostHandshakes = 128;  // at once, while connections are first opened

  // The client of shard `shard` of `shards`; `options` outlives it.
  Client(const LoadOptions& options, Stack& stack, uint32_t shard, uint32_t shards);
  ~Client() override;

  // Before each pass of the stack, from the moment the interface is ready. `work`: what was done
  // since the last call. Returns how much it began itself.
  uint32_t BeforePass(Instant now, uint32_t work);
  Instant NextDeadline() const;
  // Ends early: measures and sends no more, and closes.
  void Stop(Instant now);
  bool done() const { return phase_ == Phase::kDone; }
  const Result& result() const { return result_; }

  void OnConnected(Connection c) override;
  void OnReadable(Connection c) override;
  void OnWritable(Connection c) override;
  void OnClosed(Connection c, Error why) override;

 private:
  enum class Phase : uint8_t { kBegin, kOpening, kWarmup, kMeasure, kDrain, kClosing, kDone };
  enum class State : uint8_t { kClosed, kConnecting, kOpen };

  // One connection after the other.
  struct Session {
    explicit Session(LastHead* last) : reader(last) {}
    ResponseReader reader;
    Connection connection;
    State state = State::kClosed;
    bool queued = false;      // in free_
    uint32_t under_way = 0;   // requests
    uint32_t first = 0;       // place of the oldest in its part of sent_
    size_t unsent_bytes = 0;  // of requests that were due, not yet taken by the connection
    Instant retry_at;
  };

  uint32_t IndexOf(const Session& s) const { return static_cast<uint32_t>(&s - sessions_.data()); }
  Session& SessionOf(Connection c) { return *static_cast<Session*>(c.user_data()); }
  bool kept() const { return options_.mode != Mode::kConnections; }
  // One before the rest: it finds out the server's link address, for which few SYNs can wait.
  bool MayOpen() const {
    if (result_.connections == 0) return handshakes_ == 0;
    return !kept() || handshakes_ < kMostHandshakes;
  }
  bool running() const { return phase_ >= Phase::kOpening && phase_ <= Phase::kMeasure; }

  void Advance(Instant now);
  void CloseAll();
  uint32_t OpenMore(Instant now);
  // Starts what is due on what is free; returns how much.
  uint32_t Pump(Instant now);
  void Free(Session& s);
  void Open(Session& s);
  void Ask(Session& s, Instant due);
  void Send(Session& s);
  void Upload(Session& s);
  void Feed(Session& s);
  // False: the session is over.
  bool TakeBytes(Session& s, std::span<const uint8_t> bytes);
  void TakeAnswer(Session& s);
  void AtEnd(Session& s);
  void CountBytes(uint64_t n);
  // Lets go of the connection; another one follows, at once or after a while.
  void Finish(Session& s, bool failed);

  const LoadOptions& options_;
  Stack& stack_;
  const uint32_t shard_;
  const std::string requests_;  // as many as a connection may have under way
  const std::vector<uint8_t> upload_;
  std::vector<IpAddress> sources_;
  uint32_t next_source_ = 0;
  LastHead last_head_;
  std::vector<Session> sessions_;
  std::vector<Instant> sent_;  // when requests were due, a ring for each session
  SlotQueue free_;             // sessions that could begin something
  SlotQueue closed_;           // kept connections to be opened, oldest first
  uint32_t handshakes_ = 0;
  uint64_t under_way_ = 0;
  Pacer pacer_;
  CpuMeter meter_;
  Phase phase_ = Phase::kBegin;
  Instant phase_ends_ = Instant::Never();
  Instant measured_since_ = Instant::Never();
  bool stopped_ = false;
  Result result_;
};

}  // namespace usher::load
