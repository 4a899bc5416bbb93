#include "tools/load/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace usher::load {

const char kUsage[] =
    "usage: usher-load --eal \"ARGS\" --to ADDR:PORT [--mode MODE] [OPTION]...\n"
    "  --eal \"ARGS\"          DPDK's arguments; name one device (--vdev) and the cores (-l)\n"
    "  --to ADDR:PORT        the server: 198.18.0.2:80, [2001:2::2]:80\n"
    "  --mode MODE           rps: requests on kept connections (default)\n"
    "                        cps: a connection for each request, closed by the server\n"
    "                        bulk: as many bytes as will go\n"
    "                        syn-flood, ack-flood: frames from made-up sources (IPv4)\n"
    "  --connections N       at once, over all cores (default 64)\n"
    "  --rate R              a second, over all cores: requests, connections or frames, sent when\n"
    "                        they are due and timed from then; without it as fast as it goes\n"
    "  --seconds S           how long is measured (default 10)\n"
    "  --warmup S            how long before that is not (default 0.5; floods 0)\n"
    "  --json                the result as JSON\n"
    "  --address ADDR/LEN    ours; again for more (default 198.18.0.1/15 or 2001:2::1/48)\n"
    "  --gateway ADDR        the router, if the server is not on the link\n"
    "  --mac MAC             our link address (default: the device's)\n"
    "  --path PATH           what is asked for (default /; bulk /bytes/1000000000)\n"
    "  --pipeline N          rps: most requests under way on a connection (default 1)\n"
    "  --direction down|up   bulk: from the server, or to its discard service (default down)\n"
    "  --raw                 bulk: ask for nothing, take what comes (chargen)\n"
    "  --spoof ADDR/LEN      floods: where the sources are taken from (default 198.19.0.0/16)\n"
    "  --to-mac MAC          floods: the server's link address, which is then not asked for\n"
    "  --shards N            cores that work (default: every worker core of EAL)\n"
    "  --poll                never sleep\n";

namespace {

constexpr uint32_t kMostConnections = 1'000'000;
constexpr double kMostSeconds = 86'400;
constexpr double kMostRate = 1e9;
constexpr uint32_t kMostPipeline = 64;
constexpr uint32_t kMostShards = 64;

absl::Status Wrong(const std::string& option, const std::string& value, const std::string& right) {
  std::string shown = value;
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' '; }, '?');
  return absl::InvalidArgumentError(absl::StrCat(option, ": '", shown, "' is not ", right));
}

absl::Status ReadNumber(const std::string& option, const std::string& value, double least,
                        double most, double* out) {
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || !std::isfinite(number) ||
      number < least || number > most)
    return Wrong(option, value, absl::StrCat("a number from ", least, " to ", most));
  *out = number;
  return absl::OkStatus();
}

absl::Status ReadCount(const std::string& option, const std::string& value, uint32_t least,
                       uint32_t most, uint32_t* out) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < least || number > most)
    return Wrong(option, value, absl::StrCat("a whole number from ", least, " to ", most));
  *out = number;
  return absl::OkStatus();
}

absl::Status ReadSeconds(const std::string& option, const std::string& value, double least,
                         Duration* out) {
  double seconds = 0;
  if (absl::Status s = ReadNumber(option, value, least, kMostSeconds, &seconds); !s.ok()) return s;
  *out = Duration::Nanos(static_cast<int64_t>(seconds * 1e9));
  return absl::OkStatus();
}

absl::Status ReadTo(const std::string& option, const std::string& value, LoadOptions* out) {
  const std::string right = "ADDR:PORT, such as 198.18.0.2:80 or [2001:2::2]:80";
  const size_t colon = value.rfind(':');
  if (colon == std::string::npos) return Wrong(option, value, right);
  std::string host = value.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::Parse(host);
  uint32_t port = 0;
  if (!address || address->is_v4() == bracketed ||
      !ReadCount(option, value.substr(colon + 1), 1, 65535, &port).ok())
    return Wrong(option, value, right);
  out->to = *address;
  out->port = static_cast<uint16_t>(port);
  return absl::OkStatus();
}

absl::Status ReadMode(const std::string& option, const std::string& value, LoadOptions* out) {
  for (const Mode mode :
       {Mode::kRequests, Mode::kConnections, Mode::kBulk, Mode::kSynFlood, Mode::kAckFlood}) {
    if (value == ToString(mode)) {
      out->mode = mode;
      return absl::OkStatus();
    }
  }
  return Wrong(option, value, "rps, cps, bulk, syn-flood or ack-flood");
}

absl::Status ReadDirection(const std::string& option, const std::string& value, LoadOptions* out) {
  if (value != "up" && value != "down") return Wrong(option, value, "down or up");
  out->up = value == "up";
  return absl::OkStatus();
}

absl::Status ReadPath(const std::string& option, const std::string& value, LoadOptions* out) {
  bool clean = !value.empty() && value[0] == '/';
  for (const char c : value) clean = clean && c > ' ' && c < 127;
  if (!clean) return Wrong(option, value, "a path, such as /bytes/438");
  out->path = value;
  return absl::OkStatus();
}

absl::Status ReadAddress(const std::string& option, const std::string& value,
                         std::optional<InterfaceAddress>* out) {
  *out = InterfaceAddress::Parse(value);
  if (!*out) return Wrong(option, value, "ADDRESS/PREFIX, such as 198.18.0.1/15");
  return absl::OkStatus();
}

// An option that stands for itself. False: there is none of that name.
bool ReadFlag(const std::string& option, Call* out) {
  if (option == "--json") {
    out->options.json = true;
  } else if (option == "--raw") {
    out->options.raw = true;
  } else if (option == "--poll") {
    out->options.busy_poll = true;
  } else if (option == "--help" || option == "-h") {
    out->help = true;
  } else {
    return false;
  }
  return true;
}

// What only matters to the reading itself.
struct Given {
  bool path = false;
  bool warmup = false;
  bool spoof = false;
};

absl::Status ReadMac(const std::string& option, const std::string& value,
                     std::optional<MacAddress>* out) {
  *out = ParseMac(value);
  const bool good = *out && !(*out)->is_multicast() && !(*out)->is_zero();
  return good ? absl::OkStatus() : Wrong(option, value, "a link address (02:00:00:00:00:01)");
}

absl::Status ReadOption(const std::string& option, const std::string& value, LoadOptions* out,
                        Given* given) {
  std::optional<InterfaceAddress> address;
  if (option == "--eal") {
    std::istringstream words(value);
    out->eal.clear();
    for (std::string word; words >> word;) out->eal.push_back(word);
    return absl::OkStatus();
  }
  if (option == "--to") return ReadTo(option, value, out);
  if (option == "--mode") return ReadMode(option, value, out);
  if (option == "--connections")
    return ReadCount(option, value, 1, kMostConnections, &out->connections);
  if (option == "--rate") return ReadNumber(option, value, 0, kMostRate, &out->rate);
  if (option == "--seconds") return ReadSeconds(option, value, 0.001, &out->seconds);
  if (option == "--warmup") {
    given->warmup = true;
    return ReadSeconds(option, value, 0, &out->warmup);
  }
  if (option == "--address") {
    out->addresses.push_back(value);
    return ReadAddress(option, value, &address);
  }
  if (option == "--gateway") {
    out->gateway = IpAddress::Parse(value);
    return out->gateway ? absl::OkStatus() : Wrong(option, value, "an address");
  }
  if (option == "--mac") return ReadMac(option, value, &out->mac);
  if (option == "--to-mac") return ReadMac(option, value, &out->to_mac);
  if (option == "--path") {
    given->path = true;
    return ReadPath(option, value, out);
  }
  if (option == "--pipeline") return ReadCount(option, value, 1, kMostPipeline, &out->pipeline);
  if (option == "--direction") return ReadDirection(option, value, out);
  if (option == "--spoof") {
    given->spoof = true;
    absl::Status s = ReadAddress(option, value, &address);
    if (s.ok()) out->spoof = *address;
    return s;
  }
  if (option == "--shards") return ReadCount(option, value, 1, kMostShards, &out->shards);
  return absl::InvalidArgumentError(absl::StrCat(option, " takes no value"));
}

// True for what the usage lists.
bool IsOption(const std::string& option) {
  return option.compare(0, 2, "--") == 0 &&
         std::string(kUsage).find("\n  " + option + " ") != std::string::npos;
}

// Of what was read, what does not go together; fills in what was left out.
absl::Status Complete(LoadOptions* out, const Given& given) {
  if (out->eal.empty()) return absl::InvalidArgumentError("no --eal: which device is to be used?");
  if (out->port == 0) return absl::InvalidArgumentError("no --to: which server is to be loaded?");
  const bool v4 = out->to.is_v4();
  if (out->addresses.empty()) out->addresses.emplace_back(v4 ? "198.18.0.1/15" : "2001:2::1/48");
  for (const std::string& a : out->addresses) {
    if (InterfaceAddress::Parse(a)->address.is_v4() != v4)
      return absl::InvalidArgumentError(
          absl::StrCat("--address ", a, " is not of the server's family"));
  }
  if (out->gateway && out->gateway->is_v4() != v4)
    return absl::InvalidArgumentError("--gateway is not of the server's family");
  const bool bulk = out->mode == Mode::kBulk;
  if ((out->up || out->raw) && !bulk)
    return absl::InvalidArgumentError("--direction and --raw are for --mode bulk");
  if (out->up) out->raw = true;
  if (bulk && out->rate != 0) return absl::InvalidArgumentError("--mode bulk knows no --rate");
  if (out->pipeline != 1 && out->mode != Mode::kRequests)
    return absl::InvalidArgumentError("--pipeline is for --mode rps");
  if (given.path && (IsFlood(out->mode) || out->raw))
    return absl::InvalidArgumentError("--path: nothing is asked for in this mode");
  if (bulk && !given.path) out->path = "/bytes/1000000000";
  if (!IsFlood(out->mode)) {
    if (given.spoof || out->to_mac)
      return absl::InvalidArgumentError("--spoof and --to-mac are for the floods");
    return absl::OkStatus();
  }
  if (!v4) return absl::InvalidArgumentError("floods are IPv4 only");
  if (!given.spoof) out->spoof = *InterfaceAddress::Parse("198.19.0.0/16");
  if (!out->spoof.address.is_v4()) return absl::InvalidArgumentError("--spoof must be IPv4");
  if (out->to.InPrefix(out->spoof.address, out->spoof.prefix_length))
    return absl::InvalidArgumentError("--spoof covers the server's own address");
  if (!given.warmup) out->warmup = Duration();
  return absl::OkStatus();
}

}  // namespace

const char* ToString(Mode mode) {
  switch (mode) {
    case Mode::kRequests:
      return "rps";
    case Mode::kConnections:
      return "cps";
    case Mode::kBulk:
      return "bulk";
    case Mode::kSynFlood:
      return "syn-flood";
    case Mode::kAckFlood:
      break;
  }
  return "ack-flood";
}

std::string LoadOptions::Request() const {
  const std::string host =
      port == 80 ? (to.is_v4() ? to.ToString() : absl::StrCat("[", to.ToString(), "]"))
                 : usher::ToString(to, port);
  return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: ", host,
                      mode == Mode::kConnections ? "\r\nConnection: close" : "", "\r\n\r\n");
}

absl::StatusOr<Call> ParseCall(const std::vector<std::string>& words) {
  Call call;
  Given given;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string option = words[i];
    if (ReadFlag(option, &call)) continue;
    const size_t equals = option.find('=');
    const bool joined = equals != std::string::npos;
    std::string value = joined ? option.substr(equals + 1) : "";
    if (joined) option.resize(equals);
    if (!IsOption(option))
      return absl::InvalidArgumentError(
          absl::StrCat("what is '", words[i], "'? (usher-load --help lists the options)"));
    if (!joined && i + 1 == words.size())
      return absl::InvalidArgumentError(absl::StrCat(option, ": no value given"));
    if (!joined) value = words[++i];
    if (absl::Status s = ReadOption(option, value, &call.options, &given); !s.ok()) return s;
  }
  if (call.help) return call;
  if (absl::Status s = Complete(&call.options, given); !s.ok()) return s;
  return call;
}

}  // namespace usher::load
