#include "tools/packetdrill/sysctl_reader.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace usher::packetdrill {
namespace {

bool IsOfTheMachine(const std::string& name) {
  return name == "net.ipv4.tcp_mem" || name == "net.ipv4.tcp_max_orphans" ||
         name == "net.ipv4.tcp_max_tw_buckets";
}

bool ReadFile(const std::string& path, std::string* text) {
  std::ifstream file(path);
  if (!file) return false;
  text->assign(std::istreambuf_iterator<char>(file), {});
  return !text->empty();
}

}  // namespace

void ReadSysctls(Sysctls& sysctls, const std::string& root) {
  for (const std::string& name : SysctlNames()) {
    if (IsOfTheMachine(name)) continue;
    std::string path = root + '/';
    std::replace_copy(name.begin(), name.end(), std::back_inserter(path), '.', '/');
    std::string text;
    if (ReadFile(path, &text)) SetSysctl(sysctls, name, text).IgnoreError();
  }
}

}  // namespace usher::packetdrill
