// How a port with receive side scaling chooses a queue, computed as the port does.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "stack/wire/address.h"

namespace usher {

// The hash key and the table of a started port. Immutable.
class RssTable {
 public:
  // `hash_types`: RTE_ETH_RSS_ bits the port was configured with. `reta`: queue by the hash's low
  // bits; its size is a power of two. The key has at least 40 bytes.
  RssTable(std::span<const uint8_t> key, uint64_t hash_types, std::vector<uint16_t> reta);

  // The queue of the peer's segments. None: of this family nothing is hashed.
  std::optional<uint16_t> QueueOf(const FourTuple& tuple) const;
  // The Toeplitz hash of them, as the port puts it into the buffer.
  uint32_t HashOf(const FourTuple& tuple, bool with_ports) const;

 private:
  std::vector<uint8_t> key_;
  uint64_t hash_types_;
  std::vector<uint16_t> reta_;
};

}  // namespace usher
