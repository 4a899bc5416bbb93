#include "stack/port/dpdk/dpdk_pool.h"

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace usher {
namespace {

static_assert(sizeof(rte_mbuf) == kDriverHeaderSize);
static_assert(RTE_PKTMBUF_HEADROOM == kBufferHeadroom);
static_assert(kBufferHeaderSize % RTE_MBUF_PRIV_ALIGN == 0);

// Buffers kept per lcore, which takes the traffic with the drivers, who come in bursts of 32 or 64.
uint32_t CacheSizeFor(uint32_t count) { return std::min(256u, count / 2); }

constexpr uint32_t kElementSize = sizeof(rte_mbuf) + kBufferHeaderSize + kBufferRoom;

bool MayCrossPages() {
  // Without hugepages a page is smaller than two buffers: keeping each inside one would waste
  // 40 percent. Where bus addresses are virtual ones they are contiguous across pages anyway.
  return rte_eal_iova_mode() == RTE_IOVA_VA;
}

// A mempool that may cross pages notes no bus addresses at all, but a device needs them.
void SetBusAddress(rte_mempool*, void*, void* object, unsigned) {
  auto* mbuf = static_cast<rte_mbuf*>(object);
  rte_mbuf_iova_set(mbuf, reinterpret_cast<uintptr_t>(mbuf->buf_addr));
}

rte_mempool* MakeMempool(const std::string& name, uint32_t count, int socket) {
  rte_mempool* mempool = rte_mempool_create_empty(
      name.c_str(), count, kElementSize, CacheSizeFor(count), sizeof(rte_pktmbuf_pool_private),
      socket, MayCrossPages() ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0);
  if (mempool == nullptr) return nullptr;
  rte_pktmbuf_pool_private layout = {};
  layout.mbuf_data_room_size = kBufferRoom;
  layout.mbuf_priv_size = kBufferHeaderSize;
  rte_pktmbuf_pool_init(mempool, &layout);
  // Last in, first out: a driver frees hundreds at once, more than the cache keeps, and a ring
  // would then go round all buffers there are, the cold ones too. Where a DPDK was built without
  // it, the ring that the pool has by default serves.
  (void)rte_mempool_set_ops_byname(mempool, "stack", nullptr);
  const int populated = rte_mempool_populate_default(mempool);
  if (populated < 0) {
    rte_mempool_free(mempool);
    rte_errno = -populated;
    return nullptr;
  }
  rte_mempool_obj_iter(mempool, rte_pktmbuf_init, nullptr);
  if (MayCrossPages()) rte_mempool_obj_iter(mempool, SetBusAddress, nullptr);
  return mempool;
}

uint64_t FreeMemory(int socket) {
  rte_malloc_socket_stats stats;
  if (rte_malloc_get_socket_stats(socket < 0 ? 0 : socket, &stats) != 0) return 0;
  return stats.heap_freesz_bytes;
}

constexpr uint64_t kMebibyte = 1 << 20;

}  // namespace

uint32_t DpdkPool::BytesPerBuffer() {
  const uint32_t flags = MayCrossPages() ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0;
  return rte_mempool_calc_obj_size(kElementSize, flags, nullptr) + sizeof(void*);
}

absl::StatusOr<std::unique_ptr<DpdkPool>> DpdkPool::Create(const std::string& name, uint32_t count,
                                                           int socket) {
  const uint64_t free_before = FreeMemory(socket);
  rte_mempool* mempool = MakeMempool(name, count, socket);
  if (mempool == nullptr && rte_errno == EEXIST)
    return absl::AlreadyExistsError(absl::StrCat("a pool named ", name, " exists"));
  if (mempool == nullptr && rte_errno == ENOMEM) {
    const uint64_t needed = uint64_t{count} * BytesPerBuffer();
    std::string left;  // with hugepages more is taken from the kernel as needed
    if (!rte_eal_has_hugepages())
      left = absl::StrCat(", DPDK has ", free_before / kMebibyte, " MiB left");
    return absl::ResourceExhaustedError(
        absl::StrCat(count, " packet buffers need ", needed / kMebibyte + 1, " MiB", left,
                     ": give it more (-m or hugepages) or configure fewer connections"));
  }
  if (mempool == nullptr)
    return absl::InternalError(absl::StrCat("pool ", name, ": ", rte_strerror(rte_errno)));

  std::unique_ptr<DpdkPool> pool(new DpdkPool(mempool, count));
  void* first = nullptr;
  if (rte_mempool_get(mempool, &first) != 0) return absl::InternalError("empty mempool");
  const bool as_laid_out = static_cast<rte_mbuf*>(first)->buf_addr == RoomOf(first);
  rte_mempool_put(mempool, first);
  pool->FlushCache();
  if (!as_laid_out) return absl::InternalError("this DPDK lays out mbufs in another way");
  return pool;
}

DpdkPool::~DpdkPool() {
  ReturnCached();
  // A driver that passes buffers on (net_ring) may hold some still; they stay EAL's until its end.
  if (rte_mempool_full(mempool_)) rte_mempool_free(mempool_);
}

void DpdkPool::FlushCache() {
  rte_mempool_cache* cache = rte_mempool_default_cache(mempool_, rte_lcore_id());
  if (cache != nullptr) rte_mempool_cache_flush(cache, mempool_);
}

uint32_t DpdkPool::DriverAllocate(std::span<void*> out) {
  if (rte_mempool_get_bulk(mempool_, out.data(), out.size()) == 0) [[likely]]
    return static_cast<uint32_t>(out.size());
  uint32_t n = 0;
  while (n < out.size() && rte_mempool_get(mempool_, &out[n]) == 0) ++n;
  return n;
}

void DpdkPool::DriverFree(std::span<void* const> handles) {
  rte_mempool_put_bulk(mempool_, handles.data(), handles.size());
}

uint32_t DpdkPool::DriverAvailable() const { return rte_mempool_avail_count(mempool_); }

}  // namespace usher
