#include "tools/packetdrill/flags.h"

#include <charconv>

namespace usher::packetdrill {
namespace {

constexpr uint16_t kLeastMtu = 1280;  // what IPv6 asks of every link
constexpr uint16_t kMostMtu = 2000;   // what a packet buffer holds

template <class T>
void ReadNumber(std::string_view text, T least, T most, T* out) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= least && value <= most)
    *out = value;
}

}  // namespace

Flags Flags::Parse(std::string_view text) {
  Flags flags;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = item.substr(0, equals);
    const std::string_view value = item.substr(equals + 1);
    if (key == "mtu") ReadNumber<uint16_t>(value, kLeastMtu, kMostMtu, &flags.mtu);
    if (key == "seed") ReadNumber<uint64_t>(value, 0, UINT64_MAX, &flags.seed);
    if (key == "still") flags.still = value == "1";
    if (key == "tso" && (value == "0" || value == "1")) flags.tso = value == "1";
    if (key == "sysctl_root") flags.sysctl_root = value;
    if (key == "listen_model") {
      for (const ListenModel m :
           {ListenModel::kLinuxClassic, ListenModel::kLinux, ListenModel::kBsd})
        if (value == ToString(m)) flags.listen_model = m;
    }
  }
  return flags;
}

}  // namespace usher::packetdrill
