#include "stack/glue/runtime.h"

#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "stack/glue/memory_plan.h"
#include "stack/glue/sleeper.h"
#include "stack/glue/system_random.h"
#include "stack/port/dpdk/dpdk_device.h"
#include "stack/port/dpdk/eal.h"

namespace usher {
namespace {

std::atomic<Runtime*> stopped_by_signals = nullptr;
static_assert(std::atomic<Runtime*>::is_always_lock_free);

void OnSignal(int) {
  if (Runtime* runtime = stopped_by_signals.load(std::memory_order_relaxed)) runtime->Stop();
}

void Sleep(Duration d) {
  const timespec t = {.tv_sec = d.seconds(), .tv_nsec = d.ns() % 1'000'000'000};
  nanosleep(&t, nullptr);
}

absl::Status ParseAddress(const std::string& text, InterfaceConfig* config) {
  const auto parsed = InterfaceAddress::Parse(text);
  if (!parsed)
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no ADDRESS/PREFIX, such as 198.18.0.2/15"));
  config->addresses.push_back(*parsed);
  return absl::OkStatus();
}

// Queue pairs the driver can be asked for; 1 if it does not say.
uint32_t MostQueuePairs(PortId port) {
  rte_eth_dev_info info;
  if (rte_eth_dev_info_get(port, &info) != 0) return 1;
  return std::max<uint32_t>(1, std::min(info.max_rx_queues, info.max_tx_queues));
}

}  // namespace

// A shard's core, and how far its end has come. Used on that core while it runs.
struct Runtime::Worker {
  Runtime* runtime;
  uint32_t shard;
  unsigned lcore;
  std::vector<Application*> applications;  // of this shard, each once
  bool stopping = false;
  Instant drained_by;
};

Runtime::Runtime(const RuntimeOptions& options) : options_(options) {}

Runtime::~Runtime() {
  Runtime* self = this;
  stopped_by_signals.compare_exchange_strong(self, nullptr);
}

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Create(const RuntimeOptions& options) {
  if (options.interfaces.empty()) return absl::InvalidArgumentError("no interface is configured");
  std::unique_ptr<Runtime> runtime(new Runtime(options));
  for (RuntimeInterface& i : runtime->options_.interfaces)
    for (const std::string& text : i.addresses)
      if (absl::Status s = ParseAddress(text, &i.config); !s.ok()) return s;
  auto eal = Eal::Start(options.eal_args);
  if (!eal.ok()) return eal.status();
  runtime->eal_ = *std::move(eal);
  if (absl::Status s = runtime->PlaceShards(); !s.ok()) return s;
  if (absl::Status s = runtime->OpenDevices(); !s.ok()) return s;
  if (absl::Status s = runtime->MakeStack(); !s.ok()) return s;
  return runtime;
}

// Decides how many shards there are and which core each has.
absl::Status Runtime::PlaceShards() {
  std::vector<unsigned> lcores;
  unsigned lcore;
  RTE_LCORE_FOREACH_WORKER(lcore) lcores.push_back(lcore);
  if (lcores.empty()) lcores.push_back(rte_get_main_lcore());
  uint32_t count = options_.shards;
  if (count > lcores.size())
    return absl::InvalidArgumentError(absl::StrCat(
        count, " shards need ", count, " worker cores, EAL has ", rte_lcore_count() - 1,
        ": name more cores (-l 0-", count, ") or fewer shards"));
  if (count == 0) {
    count = static_cast<uint32_t>(lcores.size());
    for (const RuntimeInterface& i : options_.interfaces) {
      const auto port = eal_->Find(i.port);
      if (!port.ok()) return port.status();
      count = std::min(count, MostQueuePairs(*port));
    }
  }
  for (uint32_t i = 0; i < count; ++i)
    workers_.push_back(std::make_unique<Worker>(
        Worker{.runtime = this, .shard = i, .lcore = lcores[i], .applications = {}}));
  return absl::OkStatus();
}

absl::Status Runtime::OpenDevices() {
  const auto shards = static_cast<uint32_t>(workers_.size());
  const MemoryPlan plan = PlanMemory(&options_.stack, shards);
  for (const RuntimeInterface& i : options_.interfaces) {
    const auto port = eal_->Find(i.port);
    if (!port.ok()) return port.status();
    DpdkDeviceConfig config;
    config.queue_pairs = static_cast<uint16_t>(shards);
    config.mtu = i.config.mtu;
    config.vlan = i.config.vlan;
    config.held_buffers = plan.held_buffers;
    config.mac = i.mac;
    config.offloads = i.offloads;
    config.rx_interrupts = options_.poll == PollMode::kAdaptive;
    auto device = DpdkDevice::Open(*port, config);
    if (!device.ok()) return device.status();
    devices_.push_back(*std::move(device));
  }
  return absl::OkStatus();
}

absl::Status Runtime::MakeStack() {
  const auto shards = static_cast<uint32_t>(workers_.size());
  if (absl::Status s =
          CheckTablesFit(options_.stack, shards, options_.application_bytes, AvailableMemory());
      !s.ok())
    return s;
  std::vector<std::vector<ShardInterface>> ports(shards);
  for (uint32_t s = 0; s < shards; ++s) {
    for (size_t i = 0; i < devices_.size(); ++i) {
      ShardInterface interface = {&devices_[i]->queue(static_cast<uint16_t>(s)),
                                  options_.interfaces[i].config};
      interface.config.announce = s == 0;
      ports[s].push_back(std::move(interface));
    }
  }
  SystemRandom random;
  auto stack = Stack::Create(options_.stack, ports, random);
  if (!stack.ok()) return stack.status();
  stack_ = *std::move(stack);
  return absl::OkStatus();
}

absl::Status Runtime::Listen(const ListenSpec& spec,
                             absl::AnyInvocable<Application&(uint32_t)> application_of,
                             uint16_t* port) {
  return stack_->Listen(
      spec,
      [&](uint32_t i) -> Application& {
        Application& application = application_of(i);
        std::vector<Application*>& known = workers_[i]->applications;
        if (std::find(known.begin(), known.end(), &application) == known.end())
          known.push_back(&application);
        return application;
      },
      port);
}

Port& Runtime::port(size_t i, uint32_t shard) {
  return devices_[i]->queue(static_cast<uint16_t>(shard));
}

std::string Runtime::DescribeDevice(size_t i) const { return devices_[i]->Describe(); }

absl::Status Runtime::Run(absl::AnyInvocable<void()> on_ready) {
  on_ready_ = std::move(on_ready);
  if (workers_[0]->lcore == rte_get_main_lcore()) {
    RunShard(0);
    return absl::OkStatus();
  }
  for (auto& worker : workers_) {
    if (int e = rte_eal_remote_launch(RunWorker, worker.get(), worker->lcore); e != 0) {
      Stop();
      rte_eal_mp_wait_lcore();
      return absl::InternalError(absl::StrCat("core ", worker->lcore, " did not start"));
    }
  }
  // rte_eal_wait_lcore would spin; this core may be the one the clients need.
  constexpr Duration kLookAgain = Duration::Millis(50);
  const auto runs = [](const auto& w) { return rte_eal_get_lcore_state(w->lcore) == RUNNING; };
  while (std::any_of(workers_.begin(), workers_.end(), runs)) Sleep(kLookAgain);
  rte_eal_mp_wait_lcore();
  return absl::OkStatus();
}

int Runtime::RunWorker(void* worker) {
  const auto& w = *static_cast<Worker*>(worker);
  w.runtime->RunShard(w.shard);
  return 0;
}

// Whether what comes to shard i ends its sleep: not what a sibling hands it.
bool Runtime::WatchPorts(uint32_t i, Sleeper& sleeper) {
  bool all = workers_.size() == 1;
  for (auto& device : devices_)
    all &= device->rx_interrupts() && sleeper.Watch(device->port(), static_cast<uint16_t>(i));
  return all;
}

void Runtime::RunShard(uint32_t i) {
  prctl(PR_SET_TIMERSLACK, 1000ul);  // ns; else every sleep lasts 50 us longer
  Stack& stack = *stack_;
  Shard& shard = stack.shard(i);
  Sleeper sleeper;
  IdlePolicy idle(options_.poll, WatchPorts(i, sleeper));
  bool ready = i != 0;
  const bool polls_stack = hook_ == nullptr || !hook_->owns_ports();
  Instant now = clock_.Now();
  stack.Start(i, now);
  uint32_t work = 0;
  do {
    const uint32_t hook_work = hook_ != nullptr ? hook_->BeforePass(i, now, work) : 0;
    work = (polls_stack ? stack.Poll(i, now) : 0) + hook_work;
    if (!ready) [[unlikely]] {
      ready = true;
      for (size_t n = 0; n < shard.interface_count(); ++n) ready &= shard.interface(n).Ready();
      if (ready && on_ready_) on_ready_();
    }
    if (idle.wants_deadline(work)) {
      Instant deadline = stack.NextDeadline(i);
      if (hook_ != nullptr) deadline = std::min(deadline, hook_->NextDeadline(i));
      const Duration rest = idle.AfterPass(work, now, deadline);
      if (rest > Duration() && !sleeper.Arm()) {
        for (auto& device : devices_) device->queue(static_cast<uint16_t>(i)).Reclaim();
        shard.CountSleep(sleeper.Sleep(rest));
      }
    } else {
      idle.AfterPass(work, now, now);
      sleeper.Disarm();
    }
    now = std::max(now, clock_.Now());
  } while (GoesOn(i, now));
  stack.Poll(i, now);  // sends what the end has caused
}

bool Runtime::GoesOn(uint32_t i, Instant now) {
  if (!stopping()) [[likely]]
    return true;
  Worker& worker = *workers_[i];
  if (!worker.stopping) {
    BeginStop(i, now);
    return true;
  }
  Shard& shard = stack_->shard(i);
  if (shard.connection_count() == 0) return false;
  if (now < worker.drained_by) return true;
  shard.AbortAll();
  return false;
}

void Runtime::BeginStop(uint32_t i, Instant now) {
  Worker& worker = *workers_[i];
  Shard& shard = stack_->shard(i);
  worker.stopping = true;
  worker.drained_by = now + options_.drain;
  std::vector<Handle> listeners;
  shard.passive_open().ForEachListener(
      [&](Handle handle, const Listener&) { listeners.push_back(handle); });
  for (const Handle listener : listeners) shard.CloseListener(listener);
  for (Application* application : worker.applications) application->OnStopping(shard);
}

void Runtime::StopOnSignals() {
  stopped_by_signals.store(this, std::memory_order_relaxed);
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace usher
