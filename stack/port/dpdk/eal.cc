#include "stack/port/dpdk/eal.h"

#include <net/if.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "stack/port/dpdk/eal_log.h"

namespace usher {
namespace {

bool IsOption(std::string_view arg, std::string_view name) {
  return arg.starts_with(name) && (arg.size() == name.size() || arg[name.size()] == '=');
}

bool NamesPci(std::string_view arg) {
  return (arg.starts_with("-a") && !arg.starts_with("--")) || IsOption(arg, "--allow") ||
         IsOption(arg, "--no-pci");
}

// The values of every `--vdev=VALUE` and `--vdev VALUE`.
std::vector<std::string> VdevsOf(std::span<const std::string> args) {
  std::vector<std::string> vdevs;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i].starts_with("--vdev=")) vdevs.push_back(args[i].substr(7));
    if (args[i] == "--vdev" && i + 1 < args.size()) vdevs.push_back(args[i + 1]);
  }
  return vdevs;
}

std::string NameOf(const std::string& vdev) { return vdev.substr(0, vdev.find(',')); }

std::string ArgumentOf(const std::string& vdev, std::string_view key) {
  size_t at = vdev.find(',');
  while (at != std::string::npos) {
    const size_t end = vdev.find(',', at + 1);
    const std::string_view item = std::string_view(vdev).substr(
        at + 1, end == std::string::npos ? std::string::npos : end - at - 1);
    if (item.starts_with(key) && item.size() > key.size() && item[key.size()] == '=')
      return std::string(item.substr(key.size() + 1));
    at = end;
  }
  return "";
}

// True if a network interface of this name is up and has someone behind it.
bool InterfaceIsRunning(const std::string& name) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  ifreq request = {};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  const bool running =
      ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0;
  close(fd);
  return running;
}

// The kernel lets a second process join a TAP as one more queue, and would then share the flows
// out between two servers that know nothing of each other.
absl::Status CheckTapsAreFree(const std::vector<std::string>& vdevs) {
  for (const std::string& vdev : vdevs) {
    if (!vdev.starts_with("net_tap")) continue;
    const std::string interface = ArgumentOf(vdev, "iface");
    if (!interface.empty() && InterfaceIsRunning(interface))
      return absl::AlreadyExistsError(absl::StrCat("network interface ", interface,
                                                   " is in use by another process; choose "
                                                   "another iface= for ",
                                                   NameOf(vdev)));
  }
  return absl::OkStatus();
}

absl::Status ExplainInit(int error, const ScopedEalLog& log) {
  if (log.Contains("Is another primary process running"))
    return absl::AlreadyExistsError(
        "another DPDK process runs with this --file-prefix; give this one another, or --no-shconf");
  if (log.Contains("Cannot get hugepage information") || log.Contains("No free hugepages"))
    return absl::FailedPreconditionError(
        "no free hugepages: reserve some (sysctl vm.nr_hugepages=512) or start with --no-huge");
  if (log.Contains("nvalid 'command line' arguments"))
    return absl::InvalidArgumentError(absl::StrCat("EAL arguments: ", log.Summary()));
  if (log.Contains("failed to parse device") || log.Contains("Unable to parse device"))
    return absl::InvalidArgumentError(
        absl::StrCat("no driver for a device: ", log.LineWith("parse device")));
  const std::string summary = log.Summary();
  return absl::InternalError(absl::StrCat(
      "EAL did not start: ", summary.empty() ? std::string(rte_strerror(error)) : summary));
}

// EAL goes on when a device could not be made; we do not.
absl::Status ExplainMissing(const std::string& vdev, const ScopedEalLog& log) {
  const std::string name = NameOf(vdev);
  const std::string tap = log.LineWith("TUNSETIFF");
  if (name.starts_with("net_tap") && !tap.empty()) {
    if (tap.find("not permitted") != std::string::npos)
      return absl::PermissionDeniedError(
          absl::StrCat(name,
                       ": no permission to make a TAP interface; run as root or with "
                       "CAP_NET_ADMIN"));
    return absl::AlreadyExistsError(
        absl::StrCat(name, ": the interface name is taken (", tap, ")"));
  }
  if (log.Contains("not permitted") || log.Contains("ermission denied"))
    return absl::PermissionDeniedError(absl::StrCat(name, ": ", log.Summary()));
  return absl::InvalidArgumentError(
      absl::StrCat("device ", vdev, " could not be made: ", log.Summary()));
}

absl::Status CheckVdevsExist(const std::vector<std::string>& vdevs, const ScopedEalLog& log) {
  for (const std::string& vdev : vdevs) {
    PortId port;
    if (NameOf(vdev).starts_with("net_") &&
        rte_eth_dev_get_port_by_name(NameOf(vdev).c_str(), &port) != 0)
      return ExplainMissing(vdev, log);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Eal>> Eal::Start(std::span<const std::string> args) {
  static bool started = false;
  if (started) return absl::FailedPreconditionError("EAL starts only once in a process");

  bool pci = false, log_level = false;
  for (const std::string& arg : args) {
    pci |= NamesPci(arg);
    log_level |= IsOption(arg, "--log-level");
  }
  std::vector<std::string> all;
  all.reserve(args.size() + 3);
  all.emplace_back("usher");
  if (!pci) all.emplace_back("--no-pci");
  if (!log_level) all.emplace_back("--log-level=warning");
  all.insert(all.end(), args.begin(), args.end());

  const std::vector<std::string> vdevs = VdevsOf(args);
  if (absl::Status s = CheckTapsAreFree(vdevs); !s.ok()) return s;

  std::unique_ptr<Eal> eal(new Eal(std::move(all)));
  std::vector<char*> argv;
  for (std::string& arg : eal->args_) argv.push_back(arg.data());
  argv.push_back(nullptr);
  started = true;

  ScopedEalLog log;
  const ScopedTapSignalsTaken no_signals;
  eal->initialized_ = rte_eal_init(static_cast<int>(argv.size() - 1), argv.data()) >= 0;
  const absl::Status status =
      eal->initialized_ ? CheckVdevsExist(vdevs, log) : ExplainInit(rte_errno, log);
  if (status.ok()) return eal;
  log.Discard();
  return status;
}

Eal::~Eal() {
  if (initialized_) rte_eal_cleanup();
}

std::vector<Eal::Device> Eal::devices() const {
  std::vector<Device> devices;
  PortId port;
  RTE_ETH_FOREACH_DEV(port) {
    char name[RTE_ETH_NAME_MAX_LEN];
    rte_eth_dev_info info;
    if (rte_eth_dev_get_name_by_port(port, name) == 0 && rte_eth_dev_info_get(port, &info) == 0)
      devices.push_back({port, name, info.driver_name});
  }
  return devices;
}

absl::StatusOr<PortId> Eal::Find(const std::string& number_or_name) const {
  unsigned number = 0;
  const char* end = number_or_name.data() + number_or_name.size();
  const auto [rest, error] = std::from_chars(number_or_name.data(), end, number);
  const bool is_number = error == std::errc() && rest == end;
  std::string known;
  for (const Device& d : devices()) {
    if (is_number ? d.port == number : d.name == number_or_name) return d.port;
    absl::StrAppend(&known, known.empty() ? "" : ", ", d.port, " (", d.name, ")");
  }
  return absl::NotFoundError(
      absl::StrCat("no port ", number_or_name, "; there is ",
                   known.empty() ? "none: name a device in EAL's arguments, such as "
                                   "--vdev=net_tap0,iface=usher0, or -a and a PCI address"
                                 : known));
}

}  // namespace usher
