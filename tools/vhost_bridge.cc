// usher-vhost-bridge: the vhost side of a virtio-user port, forwarding to a TAP (or any two
// devices of DPDK that its EAL arguments name). tools/serve --port-kind virtio starts it.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "stack/glue/bridge.h"

namespace {

std::atomic<bool> g_stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);

int Usage() {
  fprintf(stderr,
          "usage: usher-vhost-bridge --eal \"ARGS\"\n"
          "Forwards between the two devices named in the EAL arguments, until SIGTERM.\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::string(argv[1]) != "--eal") return Usage();
  std::vector<std::string> args;
  std::istringstream words(argv[2]);
  for (std::string word; words >> word;) args.push_back(word);

  const auto bridge = usher::Bridge::Create(args);
  if (!bridge.ok()) {
    fprintf(stderr, "usher-vhost-bridge: %s\n", std::string(bridge.status().message()).c_str());
    return 1;
  }
  for (const int s : {SIGINT, SIGTERM}) std::signal(s, [](int) { g_stop = true; });
  fprintf(stderr, "usher-vhost-bridge: forwarding\n");
  (*bridge)->Run(g_stop);
  fprintf(stderr, "usher-vhost-bridge: %llu frames forwarded, %llu lost\n",
          static_cast<unsigned long long>((*bridge)->forwarded()),
          static_cast<unsigned long long>((*bridge)->lost()));
  return 0;
}
