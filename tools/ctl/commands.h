// The small commands of usherctl.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/ctl/client.h"

namespace usher::ctl {

// "[::]:80", "*:80", "0.0.0.0:80" of a listener's row.
std::string ListenerName(const nlohmann::json& listener);

// sysctl [-a | NAME... | NAME=VALUE...]
absl::Status RunSysctl(Client& client, const std::vector<std::string>& arguments, bool json);
// drops
absl::Status RunDrops(Client& client, const std::vector<std::string>& arguments, bool json);
// shutdown: returns once the server has gone.
absl::Status RunShutdown(Client& client, const std::vector<std::string>& arguments, bool json);

}  // namespace usher::ctl
