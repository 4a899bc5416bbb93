// A stack on DPDK, running: EAL, devices, one shard per core, the clock and the loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stack/api/application.h"
#include "stack/api/stack.h"
#include "stack/glue/clock.h"
#include "stack/glue/idle.h"
#include "stack/glue/pass_hook.h"
#include "stack/ip/interface.h"
#include "stack/port/offloads.h"
#include "stack/wire/address.h"

namespace usher {

class DpdkDevice;
class Eal;
class Sleeper;

struct RuntimeInterface {
  std::string port = "0";                   // DPDK port id, or the device's name: "net_tap0"
  std::vector<std::string> addresses = {};  // "198.18.0.2/15"; beside those in `config`
  InterfaceConfig config = {};
  std::optional<MacAddress> mac = {};  // ours; without it the device's own, or one near it
  OffloadOptions offloads = {};
};

struct RuntimeOptions {
  std::vector<std::string> eal_args;  // as DPDK's own programs take them
  std::vector<RuntimeInterface> interfaces;
  StackOptions stack;
  uint32_t shards = 0;  // 0: one per worker core, or one on the main core if that is alone
  PollMode poll = PollMode::kAdaptive;
  Duration drain = Duration::Seconds(5);  // how long connections have to end after Stop
  uint64_t application_bytes = 0;  // that the applications will take: has to fit beside the stack
};

// One per process (DPDK's EAL starts once). Create, Listen, Run and the destructor are the main
// thread's; the applications are called on the threads of their shards (see Stack).
class Runtime {
 public:
  // Starts EAL, opens the devices with a queue pair per shard, and makes the stack. Packet buffers
  // and tables are sized from max_connections (and tcp_mem, if it is set). Errors are one line that
  // says what to do; memory that does not suffice is told with the figure needed.
  static absl::StatusOr<std::unique_ptr<Runtime>> Create(const RuntimeOptions& options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // As Stack::Listen; the applications are told when the server is about to stop.
  absl::Status Listen(const ListenSpec& spec,
                      absl::AnyInvocable<Application&(uint32_t)> application_of,
                      uint16_t* port = nullptr);
  absl::Status Listen(const ListenSpec& spec, Application& application, uint16_t* port = nullptr) {
    return Listen(
        spec, [&](uint32_t) -> Application& { return application; }, port);
  }

  // `hook` is called between the passes of every shard; it outlives Run. Before Run.
  void SetPassHook(PassHook* hook) { hook_ = hook; }

  // Polls every shard, each on its core, until Stop. `on_ready` is called once, on the thread of
  // shard 0, when every address may be used (IPv6 ones are tested first). After Stop: listeners
  // are closed, connections have the drain time to end, what is left is reset. Once.
  absl::Status Run(absl::AnyInvocable<void()> on_ready = nullptr);

  // Any thread, and signal handlers: sets a flag.
  void Stop() { stop_.store(true, std::memory_order_relaxed); }
  // SIGINT and SIGTERM call Stop from now on.
  void StopOnSignals();
  bool stopping() const { return stop_.load(std::memory_order_relaxed); }

  Stack& stack() { return *stack_; }
  const Clock& clock() const { return clock_; }
  size_t device_count() const { return devices_.size(); }
  const DpdkDevice& device(size_t i) const { return *devices_[i]; }
  // See DpdkDevice::Describe.
  std::string DescribeDevice(size_t i) const;
  // The queue pair of device i that belongs to `shard`, for that shard's thread: for a hook that
  // sends below the stack.
  Port& port(size_t i, uint32_t shard);

 private:
  struct Worker;

  explicit Runtime(const RuntimeOptions& options);
  absl::Status PlaceShards();
  absl::Status OpenDevices();
  absl::Status MakeStack();
  bool WatchPorts(uint32_t i, Sleeper& sleeper);
  void RunShard(uint32_t i);
  bool GoesOn(uint32_t i, Instant now);
  void BeginStop(uint32_t i, Instant now);
  static int RunWorker(void* worker);

  RuntimeOptions options_;
  Clock clock_;
  std::atomic<bool> stop_ = false;
  absl::AnyInvocable<void()> on_ready_;
  PassHook* hook_ = nullptr;
  // In this order: each uses what stands above it.
  std::unique_ptr<Eal> eal_;
  std::vector<std::unique_ptr<DpdkDevice>> devices_;
  std::unique_ptr<Stack> stack_;
  std::vector<std::unique_ptr<Worker>> workers_;  // one per shard
};

}  // namespace usher
