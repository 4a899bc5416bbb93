// usherctl capture: the frames of a server's ports, for Wireshark and its like.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/ctl/client.h"

namespace usher::ctl {

// capture [-c PACKETS] [-s SNAPLEN] FILE
struct CaptureOptions {
  std::string file;      // "-": standard output
  uint64_t packets = 0;  // 0: until interrupted
  uint64_t snaplen = 0;  // 0: whole frames
};
// InvalidArgument says what is wrong.
absl::StatusOr<CaptureOptions> ParseCaptureOptions(const std::vector<std::string>& arguments);

// Writes what the server's ports receive and send, as pcapng, until the count is reached or SIGINT
// or SIGTERM comes; then says on standard error how much that was. The server does the writing.
absl::Status RunCapture(Client& client, const CaptureOptions& options, bool json);

}  // namespace usher::ctl
