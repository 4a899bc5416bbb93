// usher-load: loads a server, by the stack itself or below it, and says what came back.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "stack/glue/runtime.h"
#include "tools/load/client.h"
#include "tools/load/flood.h"
#include "tools/load/options.h"
#include "tools/load/report.h"

namespace usher::load {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongCall = 2;
// Slots beside those of the connections at work, for the ones that are ending.
constexpr uint32_t kSpareConnections = 4096;
constexpr Duration kLinkPatience = Duration::Seconds(10);

// Drives the generator of each core from the passes of its shard, and ends the run when all have
// done their part.
class Driver final : public PassHook {
 public:
  Driver(const LoadOptions& options, Runtime& runtime) : options_(options), runtime_(runtime) {
    const uint32_t shards = runtime.stack().shard_count();
    for (uint32_t i = 0; i < shards; ++i) {
      auto core = std::make_unique<Core>();
      if (IsFlood(options.mode)) {
        core->flood = std::make_unique<Flood>(options, runtime.port(0, i), target_, i, shards,
                                              static_cast<uint64_t>(runtime.clock().Now().ns()));
      } else {
        core->client = std::make_unique<Client>(options, runtime.stack(), i, shards);
      }
      cores_.push_back(std::move(core));
    }
    running_ = shards;
  }

  uint32_t BeforePass(uint32_t shard, Instant now, uint32_t work) override {
    Core& core = *cores_[shard];
    if (core.done) return 0;
    if (!core.ready && !BecomesReady(core, shard, now)) return 0;
    if (runtime_.stopping()) {
      interrupted_ = true;
      core.Stop(now);
    }
    const uint32_t begun = core.BeforePass(now, work);
    if (core.is_done()) {
      core.done = true;
      if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) runtime_.Stop();
    }
    return begun;
  }
  Instant NextDeadline(uint32_t shard) const override {
    const Core& core = *cores_[shard];
    if (core.done) return Instant::Never();
    if (!core.ready) return core.look_again;
    return core.flood ? core.flood->NextDeadline() : core.client->NextDeadline();
  }
  bool owns_ports() const override { return IsFlood(options_.mode); }

  std::vector<Result> Results() const {
    std::vector<Result> results;
    for (const auto& core : cores_)
      results.push_back(core->flood ? core->flood->result() : core->client->result());
    return results;
  }
  bool no_link() const { return no_link_; }
  // Ended from outside, by a signal.
  bool interrupted() const { return interrupted_; }

 private:
  struct alignas(64) Core {
    std::unique_ptr<Client> client;  // this
    std::unique_ptr<Flood> flood;    // or that
    bool ready = false;
    bool done = false;
    Instant look_again;
    Instant ready_by = Instant::Never();

    uint32_t BeforePass(Instant now, uint32_t work) {
      return flood ? flood->BeforePass(now, work) : client->BeforePass(now, work);
    }
    void Stop(Instant now) { flood ? flood->Stop(now) : client->Stop(now); }
    bool is_done() const { return flood ? flood->done() : client->done(); }
  };

  // The link must be up and the addresses tested.
  bool BecomesReady(Core& core, uint32_t shard, Instant now) {
    constexpr Duration kLookAgain = Duration::Millis(10);
    if (now < core.look_again) return false;
    core.look_again = now + kLookAgain;
    if (core.ready_by == Instant::Never()) core.ready_by = now + kLinkPatience;
    const bool link = runtime_.port(0, shard).LinkUp();
    core.ready = link && runtime_.stack().shard(shard).interface(0).Ready();
    if (runtime_.stopping()) interrupted_ = true;
    if (!core.ready && (now >= core.ready_by || runtime_.stopping())) {
      if (!runtime_.stopping()) no_link_ = true;
      core.done = true;
      runtime_.Stop();
    }
    return core.ready;
  }

  const LoadOptions& options_;
  Runtime& runtime_;
  FloodTarget target_;
  std::vector<std::unique_ptr<Core>> cores_;
  std::atomic<uint32_t> running_ = 0;
  std::atomic<bool> no_link_ = false;
  std::atomic<bool> interrupted_ = false;
};

RuntimeOptions ToRuntime(const LoadOptions& options) {
  RuntimeOptions runtime;
  runtime.eal_args = options.eal;
  RuntimeInterface interface;
  interface.addresses = options.addresses;
  interface.mac = options.mac;
  if (options.gateway && options.gateway->is_v4()) interface.config.gateway = options.gateway;
  if (options.gateway && !options.gateway->is_v4()) interface.config.gateway6 = options.gateway;
  runtime.interfaces = {interface};
  runtime.shards = options.shards;
  runtime.poll = options.busy_poll ? PollMode::kPoll : PollMode::kAdaptive;
  runtime.stack.max_connections =
      kSpareConnections + (IsFlood(options.mode) ? 0 : 2 * options.connections);
  runtime.stack.sysctls.ip_local_port_range = {1024, 65535};
  runtime.drain = Client::kClosing;
  return runtime;
}

int Fail(const std::string& why, int code) {
  std::fprintf(stderr, "usher-load: %s\n", why.c_str());
  return code;
}

int Main(const std::vector<std::string>& words) {
  const auto call = ParseCall(words);
  if (!call.ok()) return Fail(std::string(call.status().message()), kWrongCall);
  if (call->help) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  const LoadOptions& options = call->options;
  std::signal(SIGPIPE, SIG_IGN);  // virtio-user writes to its vhost side, which may have gone
  auto runtime = Runtime::Create(ToRuntime(options));
  if (!runtime.ok()) {
    const bool wrong = absl::IsInvalidArgument(runtime.status()) ||
                       absl::IsNotFound(runtime.status()) || absl::IsOutOfRange(runtime.status());
    return Fail(std::string(runtime.status().message()), wrong ? kWrongCall : kFailed);
  }
  Driver driver(options, **runtime);
  (*runtime)->SetPassHook(&driver);
  (*runtime)->StopOnSignals();
  if (absl::Status s = (*runtime)->Run(); !s.ok()) return Fail(std::string(s.message()), kFailed);
  if (driver.no_link()) return Fail("the device has no link", kFailed);
  const std::vector<Result> results = driver.Results();
  const std::string report = options.json ? JsonReport(options, results, driver.interrupted())
                                          : TextReport(options, results, driver.interrupted());
  std::fputs(report.c_str(), stdout);
  if (std::fflush(stdout) != 0) return Fail("the report could not be written", kFailed);
  const std::string failure = driver.interrupted() ? "" : Failure(options, results);
  return failure.empty() ? 0 : Fail(failure, kFailed);
}

}  // namespace
}  // namespace usher::load

int main(int argc, char** argv) {
  return usher::load::Main(std::vector<std::string>(argv + 1, argv + argc));
}
