#include "stack/glue/control_plane.h"

#include <pthread.h>
#include <rte_eal.h>
#include <rte_lcore.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "stack/glue/packet_capture.h"
#include "stack/glue/shard_query.h"

namespace usher {
namespace {

constexpr auto kCapturePause = std::chrono::milliseconds(5);

// Moves the calling thread to the cores that no lcore has, so that it takes no time from a shard;
// where there is no such core it stays.
void LeaveLcores() {
  rte_cpuset_t cores;
  CPU_ZERO(&cores);
  const int64_t count = sysconf(_SC_NPROCESSORS_ONLN);
  for (int i = 0; i < count && i < CPU_SETSIZE; ++i) CPU_SET(i, &cores);
  unsigned lcore;
  RTE_LCORE_FOREACH(lcore) {
    const rte_cpuset_t taken = rte_lcore_cpuset(lcore);
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &taken)) CPU_CLR(i, &cores);
  }
  if (CPU_COUNT(&cores) != 0) pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
}

// Waits until every shard has been between two passes; false: not all of them are polled any more.
bool PassOfEveryShard(Stack& stack) {
  const std::atomic<bool> never = false;
  for (uint32_t i = 0; i < stack.shard_count(); ++i)
    if (!AskShard(stack, i, never, [](Shard&) { return true; })) return false;
  return true;
}

absl::Status Capture(Stack& stack, const CaptureLimits& limits, int fd,
                     const std::function<bool()>& ended, CaptureResult* result) {
  auto capture = PacketCapture::Start(limits.snaplen, fd);
  if (!capture.ok()) return capture.status();
  absl::Status status;
  const auto drain = [&] {
    const auto written = (*capture)->Drain(limits.packets - result->packets);
    if (written.ok())
      result->packets += *written;
    else
      status = written.status();
    return written.ok() && *written != 0;
  };
  while (status.ok() && result->packets < limits.packets && !ended())
    if (!drain()) std::this_thread::sleep_for(kCapturePause);
  (*capture)->Stop();
  const bool quiet = PassOfEveryShard(stack);
  while (status.ok() && drain()) continue;
  result->dropped = (*capture)->dropped();
  if (!quiet) (void)capture->release();  // a thread may still be in a callback: what it uses stays
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ControlPlane>> ControlPlane::Start(
    Stack& stack, std::function<void()> on_shutdown) {
  ControlOptions options;
  options.directory = rte_eal_get_runtime_dir();  // .../dpdk/PREFIX
  options.instance = options.directory.substr(options.directory.rfind('/') + 1);
  options.on_shutdown = std::move(on_shutdown);
  options.on_thread_start = LeaveLcores;
  options.capture = [&stack](const CaptureLimits& limits, int fd,
                             const std::function<bool()>& ended, CaptureResult* result) {
    return Capture(stack, limits, fd, ended, result);
  };
  auto server = ControlServer::Start(stack, std::move(options));
  if (!server.ok()) return server.status();
  std::unique_ptr<ControlPlane> plane(new ControlPlane());
  plane->server_ = *std::move(server);
  auto telemetry = Telemetry::Start(plane->server_->commands());
  if (!telemetry.ok()) return telemetry.status();
  plane->telemetry_ = *std::move(telemetry);
  return plane;
}

}  // namespace usher
