// The rows of the control socket: what a snapshot looks like as JSON. README.md lists the keys.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "stack/glue/snapshot.h"

namespace usher {

nlohmann::json ToJson(const ListenerSnapshot& listener);
nlohmann::json ToJson(const SocketSnapshot& socket, uint32_t shard, bool with_info);
nlohmann::json ToJson(const ShardSnapshot& shard);
// The rows of a ledger that are not zero: {"syn-no-listener": 3}.
nlohmann::json ToJson(const DropLedger& drops);

}  // namespace usher
