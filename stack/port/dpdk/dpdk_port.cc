#include "stack/port/dpdk/dpdk_port.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace usher {
namespace {

constexpr uint32_t kPrefetchAhead = 4;
constexpr uint16_t kShortestFrame = RTE_ETHER_HDR_LEN;

// The answer to each combination of TxFlag bits.
constexpr std::array<uint64_t, 8> kTxOffloads = [] {
  std::array<uint64_t, 8> offloads{};
  for (uint32_t flags = 1; flags < offloads.size(); ++flags) {
    if ((flags & (kTxIpChecksum | kTxTcpChecksum)) == 0) continue;
    offloads[flags] |= (flags & kTxIpv4) != 0 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
    if ((flags & kTxIpv4) != 0 && (flags & kTxIpChecksum) != 0)
      offloads[flags] |= RTE_MBUF_F_TX_IP_CKSUM;
    if ((flags & kTxTcpChecksum) != 0) offloads[flags] |= RTE_MBUF_F_TX_TCP_CKSUM;
  }
  return offloads;
}();
static_assert((kTxIpv4 | kTxIpChecksum | kTxTcpChecksum) == kTxOffloads.size() - 1);

// The bits that make a received mbuf more than plain bytes of its own.
constexpr uint64_t kNotOwnMemory = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
constexpr uint64_t kRxFacts =
    RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_RSS_HASH;

// Good is also NONE: the field holds no sum, but the data is known to be right (of virtio's
// neighbour on the same machine, say). UNKNOWN and BAD leave the check to software.
bool Good(uint64_t verdict, uint64_t good, uint64_t none) {
  return verdict == good || verdict == none;
}

uint16_t RxFlagsOf(uint64_t offloads) {
  if ((offloads & kRxFacts) == 0) return 0;
  uint16_t flags = 0;
  if (Good(offloads & RTE_MBUF_F_RX_IP_CKSUM_MASK, RTE_MBUF_F_RX_IP_CKSUM_GOOD,
           RTE_MBUF_F_RX_IP_CKSUM_NONE))
    flags |= kRxIpChecksumGood;
  if (Good(offloads & RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_GOOD,
           RTE_MBUF_F_RX_L4_CKSUM_NONE))
    flags |= kRxL4ChecksumGood;
  if ((offloads & RTE_MBUF_F_RX_RSS_HASH) != 0) flags |= kRxFlowHash;
  return flags;
}

void Increment(std::atomic<uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// The buffers of a large segment, as a chain of mbufs. What has passed through a chain is no more
// as a pool's buffers must be; drivers that send chains put that right when they free them.
rte_mbuf* PrepareLarge(const TxPacket& packet, bool sums_ipv4) {
  rte_mbuf* head = nullptr;
  rte_mbuf* last = nullptr;
  uint16_t count = 0;
  ForEachBuffer(packet, [&](BufferHeader& h) {
    auto* mbuf = static_cast<rte_mbuf*>(HandleOf(&h));
    mbuf->data_off = static_cast<uint16_t>(h.payload - RoomOf(mbuf));
    mbuf->data_len = h.payload_length;
    mbuf->next = nullptr;
    mbuf->nb_segs = 1;
    (last != nullptr ? last->next : head) = mbuf;
    last = mbuf;
    ++count;
  });
  head->nb_segs = count;
  head->pkt_len = packet.length;
  const uint64_t ipv4 = RTE_MBUF_F_TX_IPV4 | (sums_ipv4 ? RTE_MBUF_F_TX_IP_CKSUM : 0);
  const uint64_t ip = (packet.flags & kTxIpv4) != 0 ? ipv4 : RTE_MBUF_F_TX_IPV6;
  head->ol_flags = ip | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  head->tx_offload = rte_mbuf_tx_offload(packet.l2_length, packet.l3_length, packet.l4_length,
                                         packet.tso_mss, 0, 0, 0);
  return head;
}

// What was not sent becomes as a pool's buffers must be.
void Unchain(const TxPacket& packet) {
  if (packet.tso_mss == 0) [[likely]]
    return;
  ForEachBuffer(packet, [](BufferHeader& h) {
    auto* mbuf = static_cast<rte_mbuf*>(HandleOf(&h));
    mbuf->next = nullptr;
    mbuf->nb_segs = 1;
  });
}

// Fills the driver's fields of a buffer whose reference count, segment count and successor are as
// they must be at all times (see DpdkPool).
rte_mbuf* Prepare(const TxPacket& packet, bool sums_ipv4) {
  if (packet.tso_mss != 0) [[unlikely]]
    return PrepareLarge(packet, sums_ipv4);
  auto* mbuf = static_cast<rte_mbuf*>(packet.handle);
  mbuf->data_off = static_cast<uint16_t>(packet.data - RoomOf(packet.handle));
  mbuf->data_len = packet.length;
  mbuf->pkt_len = packet.length;
  mbuf->ol_flags = kTxOffloads[packet.flags & (kTxOffloads.size() - 1)];
  // The second cache line is only touched for those who will read it.
  if (mbuf->ol_flags != 0)
    mbuf->tx_offload =
        rte_mbuf_tx_offload(packet.l2_length, packet.l3_length, packet.l4_length, 0, 0, 0, 0);
  return mbuf;
}

}  // namespace

uint32_t DpdkPort::RxBurst(std::span<Packet> out) {
  if (!running_.load(std::memory_order_acquire)) [[unlikely]]
    return 0;
  std::array<rte_mbuf*, kBurstSize> mbufs;
  const auto wanted = static_cast<uint16_t>(std::min<size_t>(out.size(), kBurstSize));
  const uint32_t received = rte_eth_rx_burst(port_, queue_, mbufs.data(), wanted);

  const rte_mempool* mempool = dpdk_pool_.mempool();
  uint32_t n = 0;
  for (uint32_t i = 0; i < std::min(received, kPrefetchAhead); ++i)
    rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
  for (uint32_t i = 0; i < received; ++i) {
    if (i + kPrefetchAhead < received)
      rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + kPrefetchAhead], void*));
    rte_mbuf* mbuf = mbufs[i];
    const bool ours =
        mbuf->nb_segs == 1 && mbuf->pool == mempool && (mbuf->ol_flags & kNotOwnMemory) == 0;
    if (ours) [[likely]]
      Accept(mbuf, &out[n++]);
    else
      n += CopyIn(mbuf, &out[n]) ? 1 : 0;
  }
  return n;
}

inline void DpdkPort::Accept(rte_mbuf* mbuf, Packet* out) {
  out->data = rte_pktmbuf_mtod(mbuf, uint8_t*);
  out->handle = mbuf;
  out->flow_hash = mbuf->hash.rss;
  out->length = mbuf->data_len;
  out->flags = RxFlagsOf(mbuf->ol_flags);
}

bool DpdkPort::CopyIn(rte_mbuf* mbuf, Packet* out) {
  const uint32_t length = mbuf->pkt_len;
  if (length > kBufferRoom - kBufferHeadroom || !pool().Allocate(out)) {
    rte_pktmbuf_free(mbuf);
    Increment(rx_dropped_);
    return false;
  }
  const void* whole = rte_pktmbuf_read(mbuf, 0, length, out->data);
  if (whole != out->data) std::memcpy(out->data, whole, length);
  out->flow_hash = mbuf->hash.rss;
  out->length = static_cast<uint16_t>(length);
  out->flags = RxFlagsOf(mbuf->ol_flags);
  rte_pktmbuf_free(mbuf);
  Increment(rx_copied_);
  return true;
}

uint32_t DpdkPort::TxBurst(std::span<const TxPacket> packets) {
  if (!running_.load(std::memory_order_acquire)) [[unlikely]]
    return 0;
  uint32_t taken = 0;
  while (taken < packets.size()) {
    std::array<rte_mbuf*, kBurstSize> mbufs;
    const std::span<const TxPacket> rest = packets.subspan(taken);
    const auto n = static_cast<uint16_t>(std::min<size_t>(rest.size(), kBurstSize));
    bool large = false;
    for (uint32_t i = 0; i < n; ++i) {
      if (i + kPrefetchAhead < n) __builtin_prefetch(rest[i + kPrefetchAhead].handle, 1);
      mbufs[i] = Prepare(rest[i], sums_ipv4_);
      large |= rest[i].tso_mss != 0;
    }
    // What drivers want in the checksum fields of a large segment differs.
    const uint16_t fit = large ? rte_eth_tx_prepare(port_, queue_, mbufs.data(), n) : n;
    const uint32_t sent = fit == 0 ? 0 : rte_eth_tx_burst(port_, queue_, mbufs.data(), fit);
    taken += sent;
    if (sent == n) continue;
    for (const TxPacket& p : rest.subspan(sent, n - sent)) Unchain(p);
    const uint32_t refused = RefuseUnsendable(rest.subspan(sent), sent == fit && fit < n);
    if (refused == 0) break;
    taken += refused;
  }
  return taken;
}

// Drivers stop at such a frame, and would again, so that nothing behind it would ever leave.
uint32_t DpdkPort::RefuseUnsendable(std::span<const TxPacket> rest, bool first) {
  uint32_t n = 0;
  while (n < rest.size() && ((first && n == 0) || rest[n].length < kShortestFrame ||
                             (rest[n].tso_mss == 0 && rest[n].length > capabilities().max_frame))) {
    pool().Free(rest[n++]);
    Increment(tx_refused_);
  }
  return n;
}

void DpdkPort::Reclaim() {
  if (!can_reclaim_ || !running_.load(std::memory_order_acquire)) return;
  can_reclaim_ = rte_eth_tx_done_cleanup(port_, queue_, 0) != -ENOTSUP;
}

bool DpdkPort::LinkUp() const {
  rte_eth_link link;
  return running_.load(std::memory_order_acquire) && rte_eth_link_get_nowait(port_, &link) == 0 &&
         link.link_status == RTE_ETH_LINK_UP;
}

DpdkPort::Counts DpdkPort::counts() const {
  return {.rx_copied = rx_copied_.load(std::memory_order_relaxed),
          .rx_dropped = rx_dropped_.load(std::memory_order_relaxed),
          .tx_refused = tx_refused_.load(std::memory_order_relaxed)};
}

}  // namespace usher
