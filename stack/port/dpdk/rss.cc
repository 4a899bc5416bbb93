#include "stack/port/dpdk/rss.h"

#include <rte_byteorder.h>
#include <rte_ethdev.h>
#include <rte_thash.h>

#include <array>
#include <utility>

namespace usher {
namespace {

// Appends an address in words of the host's byte order, as rte_softrss wants them.
uint32_t* Put(const IpAddress& a, uint32_t* out) {
  if (a.is_v4()) {
    *out++ = a.v4();
    return out;
  }
  for (size_t i = 0; i < 16; i += 4)
    *out++ = static_cast<uint32_t>(a.bytes()[i]) << 24 |
             static_cast<uint32_t>(a.bytes()[i + 1]) << 16 |
             static_cast<uint32_t>(a.bytes()[i + 2]) << 8 | a.bytes()[i + 3];
  return out;
}

}  // namespace

RssTable::RssTable(std::span<const uint8_t> key, uint64_t hash_types, std::vector<uint16_t> reta)
    : key_(key.begin(), key.end()), hash_types_(hash_types), reta_(std::move(reta)) {}

std::optional<uint16_t> RssTable::QueueOf(const FourTuple& tuple) const {
  const bool v4 = tuple.remote.is_v4();
  const uint64_t ports = v4 ? RTE_ETH_RSS_NONFRAG_IPV4_TCP : RTE_ETH_RSS_NONFRAG_IPV6_TCP;
  const uint64_t addresses = v4 ? RTE_ETH_RSS_IPV4 : RTE_ETH_RSS_IPV6;
  if ((hash_types_ & (ports | addresses)) == 0) return std::nullopt;
  return reta_[HashOf(tuple, (hash_types_ & ports) != 0) & (reta_.size() - 1)];
}

uint32_t RssTable::HashOf(const FourTuple& tuple, bool with_ports) const {
  std::array<uint32_t, 9> words;
  uint32_t* end = Put(tuple.local, Put(tuple.remote, words.data()));
  if (with_ports) *end++ = static_cast<uint32_t>(tuple.remote_port) << 16 | tuple.local_port;
  return rte_softrss(words.data(), static_cast<uint32_t>(end - words.data()), key_.data());
}

}  // namespace usher
