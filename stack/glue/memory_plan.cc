#include "stack/glue/memory_plan.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "stack/packet/pool.h"
#include "stack/shard/shard.h"
#include "stack/tcp/memory.h"

namespace usher {
namespace {

// An eighth of the pool is never for what waits: it keeps packets coming in and answers going out.
constexpr uint64_t kForWaiting = 7;
constexpr uint64_t kOf = 8;

// One buffer for each connection is plenty, since few have anything waiting at one time; a floor
// for few but fast connections, a ceiling of half a gigabyte.
constexpr uint64_t kLeastBuffers = 16'384;
constexpr uint64_t kMostBuffers = 262'144;

constexpr uint64_t kMebibyte = 1 << 20;

uint64_t TablesOf(const StackOptions& options, uint32_t shards) {
  ShardOptions o;
  o.max_connections = (options.max_connections + shards - 1) / shards;
  o.sysctls = options.sysctls;
  ResolveSysctls(o.sysctls, o.max_connections);
  o.passive_open = options.passive_open;
  o.passive_open.max_requests /= shards;
  return Shard::MemoryNeeded(o) * shards;
}

}  // namespace

MemoryPlan PlanMemory(StackOptions* options, uint32_t shards) {
  options->passive_open.max_requests = std::max(options->max_connections, 4096u);
  auto& tcp_mem = options->sysctls.tcp_mem;
  MemoryPlan plan;
  if (tcp_mem[2] != 0) {
    const uint64_t buffers = tcp_mem[2] / shards * TcpMemory::kPageSize / kBufferRoom;
    plan.held_buffers =
        static_cast<uint32_t>(std::min<uint64_t>(buffers * kOf / kForWaiting + 1, UINT32_MAX / 2));
    return plan;
  }
  const uint64_t each = options->max_connections / shards;
  plan.held_buffers = static_cast<uint32_t>(std::clamp(each, kLeastBuffers, kMostBuffers));
  const uint64_t pages =
      plan.held_buffers * kForWaiting / kOf * kBufferRoom / TcpMemory::kPageSize * shards;
  tcp_mem = {pages / 2, pages * 2 / 3, pages};
  return plan;
}

absl::Status CheckTablesFit(const StackOptions& options, uint32_t shards,
                            uint64_t application_bytes, uint64_t available) {
  const uint64_t needed = TablesOf(options, shards) + application_bytes;
  if (needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("max_connections = ", options.max_connections, " needs ", needed / kMebibyte + 1,
                   " MiB for tables and services beside DPDK's memory, the machine has ",
                   available / kMebibyte, " MiB left: configure fewer connections"));
}

uint64_t AvailableMemory() {
  std::ifstream meminfo("/proc/meminfo");
  std::string name, unit;
  uint64_t kibibytes = 0;
  while (meminfo >> name >> kibibytes) {
    if (name == "MemAvailable:") return kibibytes * 1024;
    std::getline(meminfo, unit);
  }
  return UINT64_MAX;
}

}  // namespace usher
