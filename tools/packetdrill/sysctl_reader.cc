#include "tools/packetdrill/sysctl_reader.h"

#include <algorithm>
#include <array>
#include <cstdio>
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

// One key as Linux writes it, four words with dashes; its words are the key's bytes as they lie in
// memory.
bool ParseKey(const std::string& text, SipKey* key) {
  std::array<unsigned, 4> words{};
  if (std::sscanf(text.c_str(), "%8x-%8x-%8x-%8x", &words[0], &words[1], &words[2], &words[3]) != 4)
    return false;
  key->k0 = words[0] | uint64_t{words[1]} << 32;
  key->k1 = words[2] | uint64_t{words[3]} << 32;
  return key->k0 != 0 || key->k1 != 0;
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

void ReadFastOpenKeys(PassiveOpen& passive_open, const std::string& root) {
  std::string text;
  if (!ReadFile(root + "/net/ipv4/tcp_fastopen_key", &text)) return;
  SipKey primary;
  SipKey backup;
  if (!ParseKey(text, &primary)) return;
  const size_t comma = text.find(',');
  const bool two = comma != std::string::npos && ParseKey(text.substr(comma + 1), &backup);
  passive_open.SetFastOpenKeys(primary, two ? std::optional<SipKey>(backup) : std::nullopt);
}

}  // namespace usher::packetdrill
