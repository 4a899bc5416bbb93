// A line of the control socket.
#include <string>

#include "stack/glue/control_commands.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  usher::ParseControlRequest(std::string(reinterpret_cast<const char*>(bytes), size))
      .status()
      .IgnoreError();
  return 0;
}
