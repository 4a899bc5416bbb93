#include "app/config.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "app/toml.h"
#include "stack/base/sysctl.h"

namespace usher {
namespace {

constexpr int kServiceKinds = 5;
constexpr const char* kServiceNames[kServiceKinds] = {"http", "echo", "discard", "chargen", "none"};

// Collects the first error; knows where a value came from.
class Errors {
 public:
  explicit Errors(std::string file) : file_(std::move(file)) {}

  // `where` may be null: something is missing from the file.
  void Add(const toml::node* where, const std::string& key, const std::string& what) {
    if (!status_.ok()) return;
    const auto set = sets_.find(key);
    std::string place = file_;
    if (set != sets_.end()) {
      place = absl::StrCat("--set ", set->second);
    } else if (where != nullptr && where->source().begin.line != 0) {
      absl::StrAppend(&place, ":", where->source().begin.line);
    }
    status_ = absl::InvalidArgumentError(absl::StrCat(place, ": ", key, ": ", what));
  }
  // `key` has its value from the command line, not from the file.
  void NoteSet(const std::string& key, const std::string& text) { sets_[key] = text; }

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  std::string file_;
  std::map<std::string, std::string> sets_;
  absl::Status status_;
};

// One table, read key by key. What nobody has asked for in the end is an error.
class Section {
 public:
  Section(Errors* errors, const toml::table& table, std::string path)
      : errors_(errors), table_(table), path_(std::move(path)) {}

  const toml::node* Take(const char* key) {
    known_.emplace_back(key);
    return table_.get(key);
  }

  void Boolean(const char* key, bool* out) {
    const toml::node* node = Take(key);
    if (node == nullptr) return;
    if (const auto value = node->value_exact<bool>())
      *out = *value;
    else
      Bad(node, key, "must be true or false");
  }

  template <class T>
  void Integer(const char* key, int64_t min, int64_t max, T* out) {
    const toml::node* node = Take(key);
    if (node == nullptr) return;
    const auto value = node->value_exact<int64_t>();
    if (value && *value >= min && *value <= max)
      *out = static_cast<T>(*value);
    else
      Bad(node, key, absl::StrCat("must be a whole number from ", min, " to ", max));
  }

  // False if it is not there, or wrong.
  bool Text(const char* key, std::string* out) {
    const toml::node* node = Take(key);
    if (node == nullptr) return false;
    const auto value = node->value_exact<std::string>();
    if (!value) Bad(node, key, "must be a text in quotes");
    if (value) *out = *value;
    return value.has_value();
  }

  // A text that is one of `names`: *out is its number. False if it is not there, or wrong.
  bool Choice(const char* key, std::span<const char* const> names, int* out) {
    std::string text;
    if (!Text(key, &text)) return false;
    std::string allowed;
    for (size_t i = 0; i < names.size(); ++i) {
      if (text == names[i]) {
        *out = static_cast<int>(i);
        return true;
      }
      absl::StrAppend(&allowed, i == 0 ? "" : ", ", names[i]);
    }
    Bad(table_.get(key), key, absl::StrCat("'", text, "' is none of ", allowed));
    return false;
  }

  // Calls each(text, node) for the texts of an array.
  template <class Each>
  void Texts(const char* key, Each&& each) {
    const toml::node* node = Take(key);
    if (node == nullptr) return;
    const toml::array* array = node->as_array();
    if (array == nullptr) return Bad(node, key, "must be a list of texts: [\"...\", \"...\"]");
    for (const toml::node& element : *array) {
      const auto text = element.value_exact<std::string>();
      if (!text) return Bad(&element, key, "must be a list of texts: [\"...\", \"...\"]");
      each(*text, element);
    }
  }

  void Bad(const toml::node* node, const char* key, const std::string& what) {
    errors_->Add(node, absl::StrCat(path_, ".", key), what);
  }
  void Missing(const char* key, const std::string& right) {
    errors_->Add(&table_, absl::StrCat(path_, ".", key), absl::StrCat("missing; write ", right));
  }

  void RefuseUnknown() {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
      const std::string meant = NearestName(name, known_);
      std::string what = "no such key";
      if (!meant.empty()) {
        absl::StrAppend(&what, "; did you mean ", meant, "?");
      } else {
        absl::StrAppend(&what, "; there are");
        for (const std::string& k : known_) absl::StrAppend(&what, " ", k);
      }
      return Bad(&node, name.c_str(), what);
    }
  }

 private:
  Errors* errors_;
  const toml::table& table_;
  const std::string path_;
  std::vector<std::string> known_;
};

const ListenModel kModels[] = {ListenModel::kLinuxClassic, ListenModel::kLinux, ListenModel::kBsd};
constexpr const char* kModelNames[] = {"linux-classic", "linux", "bsd"};
// In the order of CongestionAlgorithm.
constexpr const char* kCongestionNames[] = {"reno", "cubic", "dctcp", "bbr"};
constexpr const char* kChecksumNames[] = {"auto", "stack", "port"};
constexpr ChecksumPolicy kChecksumPolicies[] = {ChecksumPolicy::kAuto, ChecksumPolicy::kStack,
                                                ChecksumPolicy::kPort};
constexpr const char* kPollNames[] = {"poll", "adaptive"};
const PollMode kPollModes[] = {PollMode::kPoll, PollMode::kAdaptive};

// Settings of [stack] that listeners take over unless they have their own.
struct ListenDefaults {
  bool strict_cookies = false;
  bool cookie_ack_parking = false;
};

class Loader {
 public:
  Loader(toml::table root, const std::string& file, Errors* errors)
      : root_(std::move(root)), file_(file), errors_(errors) {}

  void Load(ServerConfig* out) {
    LoadEal(out);
    LoadStack(out);
    LoadSysctls(out);
    LoadTables("interface", "[[interface]] with addresses = [\"198.18.0.2/15\"]",
               [&](const toml::table& t, const std::string& path) { LoadInterface(t, path, out); });
    LoadTables("listener", "[[listener]] with port and service",
               [&](const toml::table& t, const std::string& path) { LoadListener(t, path, out); });
    const std::vector<std::string> sections = {"eal", "stack", "sysctl", "interface", "listener"};
    for (const auto& [key, node] : root_) {
      const std::string name(key.str());
      if (std::find(sections.begin(), sections.end(), name) != sections.end()) continue;
      const std::string meant = NearestName(name, sections);
      errors_->Add(&node, name,
                   absl::StrCat("no such section; ", meant.empty() ? "there are " : "did you mean ",
                                meant.empty() ? "eal, stack, sysctl, interface, listener" : meant,
                                meant.empty() ? "" : "?"));
    }
  }

 private:
  // Null if there is no such section.
  const toml::table* Table(const char* name) {
    const toml::node* node = root_.get(name);
    if (node == nullptr) return nullptr;
    if (!node->is_table())
      errors_->Add(node, name, absl::StrCat("must be a section: [", name, "]"));
    return node->as_table();
  }

  template <class Each>
  void LoadTables(const char* name, const char* example, Each&& each) {
    const toml::node* node = root_.get(name);
    if (node == nullptr) return errors_->Add(nullptr, name, absl::StrCat("missing; add ", example));
    const toml::array* array = node->as_array();
    if (array == nullptr || array->empty() || !array->is_homogeneous<toml::table>())
      return errors_->Add(node, name, absl::StrCat("must be ", example));
    for (size_t i = 0; i < array->size(); ++i)
      each(*array->get_as<toml::table>(i), absl::StrCat(name, ".", i));
  }

  void LoadEal(ServerConfig* out) {
    const toml::table* table = Table("eal");
    if (table == nullptr) return;
    Section s(errors_, *table, "eal");
    s.Texts("args", [&](const std::string& text, const toml::node&) {
      out->runtime.eal_args.push_back(text);
    });
    s.RefuseUnknown();
  }

  void LoadStack(ServerConfig* out) {
    const toml::table* table = Table("stack");
    if (table == nullptr) return;
    Section s(errors_, *table, "stack");
    StackOptions& stack = out->runtime.stack;
    s.Integer("shards", 0, 128, &out->runtime.shards);
    s.Integer("max_connections", 16, 16'777'216, &stack.max_connections);
    s.Boolean("strict_cookies", &defaults_.strict_cookies);
    s.Boolean("cookie_ack_parking", &defaults_.cookie_ack_parking);
    int choice = 0;
    if (s.Choice("listen_model", kModelNames, &choice))
      stack.passive_open.default_model = kModels[choice];
    if (s.Choice("poll", kPollNames, &choice)) out->runtime.poll = kPollModes[choice];
    int64_t drain_s = out->runtime.drain.seconds();
    s.Integer("drain_s", 0, 3600, &drain_s);
    out->runtime.drain = Duration::Seconds(drain_s);
    s.RefuseUnknown();
  }

  void LoadSysctls(ServerConfig* out) {
    const toml::table* table = Table("sysctl");
    if (table == nullptr) return;
    for (const auto& [key, node] : *table) {
      const std::string name(key.str());
      const std::string path = absl::StrCat("sysctl.", name);
      if (node.is_table()) {
        errors_->Add(&node, path, "dots must be in quotes: \"net.core.somaxconn\" = 4096");
        return;
      }
      const std::string text = SysctlText(node, path);
      absl::Status status = SetSysctl(out->runtime.stack.sysctls, name, text);
      if (status.ok() && text.empty())  // not even Linux's sysctl(8) takes that for a value
        status = absl::InvalidArgumentError("has no value");
      if (status.ok()) continue;
      std::string what(status.message());
      if (what.starts_with(name + ": ")) what.erase(0, name.size() + 2);
      const std::string meant = status.code() == absl::StatusCode::kNotFound
                                    ? NearestName(name, SysctlNames())
                                    : std::string();
      if (!meant.empty() && meant != name) absl::StrAppend(&what, "; did you mean ", meant, "?");
      errors_->Add(&node, path, what);
    }
  }

  // As sysctl(8) would write it: several numbers with blanks between.
  std::string SysctlText(const toml::node& node, const std::string& path) {
    if (const auto number = node.value_exact<int64_t>()) return absl::StrCat(*number);
    if (const auto text = node.value_exact<std::string>()) return *text;
    std::string numbers;
    if (const toml::array* array = node.as_array()) {
      for (const toml::node& element : *array) {
        if (const auto number = element.value_exact<int64_t>())
          absl::StrAppend(&numbers, numbers.empty() ? "" : " ", *number);
      }
    }
    if (numbers.empty()) errors_->Add(&node, path, "must be a number, a text or a list of numbers");
    return numbers;
  }

  void LoadInterface(const toml::table& table, const std::string& path, ServerConfig* out) {
    Section s(errors_, table, path);
    RuntimeInterface interface;
    LoadPort(s, &interface);
    for (const RuntimeInterface& other : out->runtime.interfaces)
      if (other.port == interface.port)
        s.Bad(table.get("port"), "port",
              absl::StrCat(interface.port, " is another interface's already"));
    InterfaceConfig& config = interface.config;
    s.Texts("addresses", [&](const std::string& text, const toml::node& node) {
      const auto address = InterfaceAddress::Parse(text);
      if (!address)
        return s.Bad(&node, "addresses",
                     absl::StrCat("'", text, "' is no ADDRESS/PREFIX, such as 198.18.0.2/15"));
      InterfaceConfig alone;
      alone.addresses = {*address};
      if (const absl::Status ok = CheckInterface(alone); !ok.ok())
        s.Bad(&node, "addresses", std::string(ok.message()));
      config.addresses.push_back(*address);
    });
    if (config.addresses.empty()) s.Missing("addresses", "addresses = [\"198.18.0.2/15\"]");
    LoadGateway(s, "gateway", config, &InterfaceConfig::gateway, &config.gateway, table);
    LoadGateway(s, "gateway6", config, &InterfaceConfig::gateway6, &config.gateway6, table);
    const bool has_v6 = std::any_of(config.addresses.begin(), config.addresses.end(),
                                    [](const auto& a) { return !a.address.is_v4(); });
    s.Integer("mtu", has_v6 ? 1280 : 576, kMaxMtu, &config.mtu);
    s.Integer("vlan", 0, 4094, &config.vlan);
    std::string mac;
    if (s.Text("mac", &mac)) {
      interface.mac = ParseMac(mac);
      if (!interface.mac || interface.mac->is_multicast() || interface.mac->is_zero())
        s.Bad(table.get("mac"), "mac",
              absl::StrCat("'", mac, "' is no address of one station, such as 02:00:00:00:00:02"));
    }
    LoadOffloads(s, &interface.offloads);
    s.RefuseUnknown();
    out->runtime.interfaces.push_back(std::move(interface));
  }

  void LoadOffloads(Section& s, OffloadOptions* offloads) {
    int choice = 0;
    if (s.Choice("rx_checksum", kChecksumNames, &choice))
      offloads->rx_checksum = kChecksumPolicies[choice];
    if (s.Choice("tx_checksum", kChecksumNames, &choice))
      offloads->tx_checksum = kChecksumPolicies[choice];
    s.Boolean("tso", &offloads->tso);
  }

  void LoadPort(Section& s, RuntimeInterface* interface) {
    const toml::node* port = s.Take("port");
    if (port == nullptr) return;
    const auto number = port->value_exact<int64_t>();
    const auto name = port->value_exact<std::string>();
    if (number && *number >= 0 && *number < 1024)
      interface->port = absl::StrCat(*number);
    else if (name && !name->empty())
      interface->port = *name;
    else
      s.Bad(port, "port", "must be a DPDK port id or a device's name: 0 or \"net_tap0\"");
  }

  void LoadGateway(Section& s, const char* key, const InterfaceConfig& config,
                   std::optional<IpAddress> InterfaceConfig::*member, std::optional<IpAddress>* out,
                   const toml::table& table) {
    std::string text;
    if (!s.Text(key, &text)) return;
    *out = IpAddress::Parse(text);
    if (!*out) return s.Bad(table.get(key), key, absl::StrCat("'", text, "' is no address"));
    InterfaceConfig alone;
    alone.addresses = config.addresses;
    alone.*member = *out;
    if (const absl::Status ok = CheckInterface(alone); !ok.ok())
      s.Bad(table.get(key), key,
            absl::StrCat(std::string(ok.message()),
                         "; name a router that this interface reaches without one"));
  }

  void LoadListener(const toml::table& table, const std::string& path, ServerConfig* out) {
    Section s(errors_, table, path);
    ListenerConfig listener;
    ListenSpec& spec = listener.spec;
    spec.strict_cookies = defaults_.strict_cookies;
    spec.cookie_ack_parking = defaults_.cookie_ack_parking;
    std::string text;
    if (s.Text("address", &text)) {
      const auto address = IpAddress::Parse(text);
      if (!address)
        s.Bad(table.get("address"), "address",
              absl::StrCat("'", text, "' is no address; write one of ours, \"0.0.0.0\" or \"::\""));
      else
        spec.address = *address;
    }
    CheckIsOurs(s, spec.address, table.get("address"), out->runtime.interfaces);
    s.Integer("port", 1, 65535, &spec.port);
    if (table.get("port") == nullptr) s.Missing("port", "port = 80");
    s.Integer("backlog", INT32_MIN, INT32_MAX, &spec.backlog);
    int choice = 0;
    if (s.Choice("listen_model", kModelNames, &choice)) spec.model = kModels[choice];
    s.Boolean("strict_cookies", &spec.strict_cookies);
    s.Boolean("cookie_ack_parking", &spec.cookie_ack_parking);
    s.Boolean("reuseport", &spec.reuseport);
    s.Boolean("v6_only", &spec.v6_only);
    s.Integer("defer_accept_s", 0, INT32_MAX, &spec.defer_accept_s);
    s.Integer("fastopen", 0, INT32_MAX, &spec.fastopen_qlen);
    if (s.Choice("congestion", kCongestionNames, &choice))
      spec.options.congestion = static_cast<CongestionAlgorithm>(choice);
    s.Integer("max_pacing_rate", 1, UINT32_MAX, &spec.options.max_pacing_rate);
    LoadMd5(s, &spec.md5);
    if (s.Choice("service", kServiceNames, &choice))
      listener.service = static_cast<ServiceKind>(choice);
    else if (table.get("service") == nullptr)
      s.Missing("service", "service = \"http\" (or echo, discard, chargen, none)");
    if (s.Text("root", &text)) LoadRoot(s, text, table.get("root"), &listener);
    s.RefuseUnknown();
    CheckPortIsFree(s, listener, table, *out);
    out->listeners.push_back(std::move(listener));
  }

  static void LoadMd5(Section& s, Md5Rules* rules) {
    s.Texts("md5", [&](const std::string& text, const toml::node& node) {
      const size_t blank = text.find(' ');
      const auto peers = InterfaceAddress::Parse(text.substr(0, blank));
      const std::string key = blank == std::string::npos ? "" : text.substr(blank + 1);
      if (!peers || key.empty() || key.size() > Md5Key::kMaxSize)
        return s.Bad(&node, "md5",
                     absl::StrCat("must be the peers, a blank and a key of at most ",
                                  Md5Key::kMaxSize, " bytes: \"198.18.0.0/15 secret\""));
      const auto* const bytes = reinterpret_cast<const uint8_t*>(key.data());
      SetMd5Rule(*rules, {peers->address, static_cast<uint8_t>(peers->prefix_length),
                          Md5Key::From({bytes, key.size()})});
    });
  }

  void CheckIsOurs(Section& s, const IpAddress& address, const toml::node* node,
                   const std::vector<RuntimeInterface>& interfaces) {
    if (address.is_unspecified() || address.is_link_local()) return;
    std::string ours;
    for (const RuntimeInterface& i : interfaces) {
      for (const InterfaceAddress& a : i.config.addresses) {
        if (a.address == address) return;
        absl::StrAppend(&ours, a.address.ToString(), ", ");
      }
    }
    s.Bad(node, "address",
          absl::StrCat(address.ToString(), " is no interface's address; there are ", ours,
                       "\"0.0.0.0\" and \"::\""));
  }

  // Where a relative root starts: here, or beside the configuration, or one up from there, so that
  // the files of config/ work from wherever usherd is started.
  void LoadRoot(Section& s, const std::string& root, const toml::node* node,
                ListenerConfig* listener) {
    namespace fs = std::filesystem;
    if (listener->service != ServiceKind::kHttp)
      return s.Bad(node, "root", "only service = \"http\" has files");
    const fs::path beside = fs::path(file_).parent_path();
    for (const fs::path& place : {fs::path(root), beside / root, beside / ".." / root}) {
      std::error_code error;
      if (!fs::is_directory(place, error)) continue;
      listener->root = place.lexically_normal().string();
      return;
    }
    s.Bad(node, "root",
          absl::StrCat("no folder '", root,
                       "' from here, nor beside the configuration; name one, "
                       "or leave root out to serve no files"));
  }

  static bool Overlap(const ListenSpec& a, const ListenSpec& b) {
    if (a.port != b.port) return false;
    const auto takes = [](const ListenSpec& wild, const IpAddress& address) {
      if (!wild.address.is_unspecified()) return wild.address == address;
      if (wild.address.is_v4()) return address.is_v4();
      return !wild.v6_only || !address.is_v4();
    };
    return takes(a, b.address) || takes(b, a.address);
  }

  void CheckPortIsFree(Section& s, const ListenerConfig& listener, const toml::table& table,
                       const ServerConfig& out) {
    for (size_t i = 0; i < out.listeners.size(); ++i) {
      const ListenSpec& other = out.listeners[i].spec;
      if (!Overlap(listener.spec, other) || (listener.spec.reuseport && other.reuseport)) continue;
      s.Bad(table.get("port"), "port",
            absl::StrCat(ToString(listener.spec.address, listener.spec.port),
                         " is taken by listener.", i, " (", ToString(other.address, other.port),
                         "); choose another port, or reuseport = true in both"));
    }
  }

  static constexpr int64_t kMaxMtu = 2030;  // a frame with its VLAN tag fits one buffer

  const toml::table root_;
  const std::string& file_;
  Errors* errors_;
  ListenDefaults defaults_;
};

size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

const char* ToString(ServiceKind kind) { return kServiceNames[static_cast<int>(kind)]; }

std::string NearestName(const std::string& name, const std::vector<std::string>& known) {
  std::string nearest;
  size_t least = std::max<size_t>(name.size() / 3, 2) + 1;
  for (const std::string& k : known) {
    if (name.size() >= 3 && k.starts_with(name)) return k;
    if (k.size() > name.size() && k.ends_with("." + name)) return k;
    const size_t distance = Distance(name, k);
    if (distance < least && distance < name.size()) {
      least = distance;
      nearest = k;
    }
  }
  return nearest;
}

absl::StatusOr<ServerConfig> ParseConfig(const std::string& text, const std::string& file,
                                         const ConfigChanges& changes) {
  auto root = ParseToml(text, file);
  if (!root.ok()) return root.status();
  Errors errors(file);
  for (const std::string& set : changes.sets) {
    const auto key = SetInToml(set, &*root);
    if (!key.ok()) return key.status();
    errors.NoteSet(*key, set);
  }
  ServerConfig config;
  Loader(*std::move(root), file, &errors).Load(&config);
  if (!errors.ok()) return errors.status();
  if (changes.eal) {
    auto args = SplitArguments(*changes.eal);
    if (!args.ok()) return args.status();
    config.runtime.eal_args = *std::move(args);
  }
  return config;
}

absl::StatusOr<ServerConfig> LoadConfig(const std::string& file, const ConfigChanges& changes) {
  std::ifstream in(file);
  std::stringstream text;
  if (!in || !(text << in.rdbuf()))
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": cannot be read; --config names a TOML file, see config/"));
  return ParseConfig(text.str(), file, changes);
}

}  // namespace usher
