// The stack as an embedder creates it: shards, their listeners and applications.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stack/api/application.h"
#include "stack/shard/shard.h"

namespace usher {

// Settings of a whole stack. Sizes are for all shards together.
struct StackOptions {
  uint32_t max_connections = 65536;
  Sysctls sysctls;
  PassiveOpenConfig passive_open;  // listen model, cookies
  NetworkLimits network;
  NetworkEventSink network_events;
};

// Threads: Create, then Listen, before anything is polled, from one thread. From then on shard i is
// polled by one thread (which may be the same for all), and everything of shard i, handles
// included, is used on that thread. Other threads reach a shard by Post. Destroy after polling has
// ended.
class Stack {
 public:
  // `ports[i]` are the interfaces of shard i, at least one each; they outlive the stack. Errors say
  // what is wrong and, where memory does not suffice, how much is needed.
  static absl::StatusOr<std::unique_ptr<Stack>> Create(
      const StackOptions& options, std::span<const std::vector<ShardInterface>> ports,
      RandomSource& random);
  ~Stack();

  // Opens a listener on every shard: one logical listener, its backlog shared among them. Port 0
  // binds an ephemeral one, the same everywhere; *port tells which. On an error no shard has it.
  // `application_of(i)` gives the application of shard i, which outlives the stack.
  absl::Status Listen(const ListenSpec& spec,
                      absl::AnyInvocable<Application&(uint32_t)> application_of,
                      uint16_t* port = nullptr);
  absl::Status Listen(const ListenSpec& spec, Application& application, uint16_t* port = nullptr) {
    return Listen(
        spec, [&](uint32_t) -> Application& { return application; }, port);
  }

  // An active open on shard i, on its thread; OnConnected or OnClosed tells how it ends. With `md5`
  // its segments are signed (RFC 2385).
  Error Connect(uint32_t i, const IpAddress& remote, uint16_t port, Application& application,
                Connection* connection, const TcpOptionsSet& options = {},
                const Md5Key* md5 = nullptr);

  uint32_t shard_count() const { return static_cast<uint32_t>(workers_.size()); }
  Shard& shard(uint32_t i);

  // Once, before the first Poll of shard i, on its thread.
  void Start(uint32_t i, Instant now) { shard(i).Start(now); }
  // One pass of shard i; see Shard::Poll and Shard::NextDeadline.
  uint32_t Poll(uint32_t i, Instant now) { return shard(i).Poll(now); }
  Instant NextDeadline(uint32_t i) { return shard(i).NextDeadline(); }

  // A new secret for the SYN cookies of every shard, for when the old one may have become known, or
  // from time to time. It makes cookies from the next minute on; those of the old one stay good for
  // their time. A shard whose last rotation is younger than that keeps what it has. Any thread.
  void RotateCookieKeys(RandomSource& random);

  // Runs `errand` on shard i's thread between two bursts. Any thread.
  void Post(uint32_t i, Mailbox::Errand errand) { shard(i).mailbox().Post(std::move(errand)); }

 private:
  class Worker;
  Stack();
  std::vector<std::unique_ptr<Worker>> workers_;
  uint32_t listeners_opened_ = 0;
};

}  // namespace usher
