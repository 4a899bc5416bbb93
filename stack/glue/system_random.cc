#include "stack/glue/system_random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace usher {

void SystemRandom::Fill(std::span<uint8_t> out) {
  while (!out.empty()) {
    const ssize_t n = getrandom(out.data(), out.size(), 0);
    if (n > 0) {
      out = out.subspan(static_cast<size_t>(n));
    } else if (errno != EINTR) {
      std::perror("usher: no randomness for keys: getrandom");
      std::abort();
    }
  }
}

}  // namespace usher
