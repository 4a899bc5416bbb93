// The server: a stack on DPDK with the services of its configuration.
#include <getopt.h>
#include <time.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "app/config.h"
#include "app/http_service.h"
#include "app/log.h"
#include "app/services.h"
#include "app/status.h"
#include "stack/glue/control_plane.h"
#include "stack/glue/runtime.h"

namespace usher {
namespace {

constexpr int kBadConfiguration = 2;
constexpr int kFailed = 1;

constexpr char kUsage[] =
    "usage: usherd --config FILE [--set KEY=VALUE]... [--eal \"ARGS\"]\n"
    "  --config FILE    the configuration; see config/ for examples\n"
    "  --set KEY=VALUE  overrides one value: a sysctl (net.core.somaxconn=128) or a dotted key\n"
    "                   (stack.shards=2, listener.0.backlog=16)\n"
    "  --eal \"ARGS\"     takes the place of [eal] args\n";

struct CommandLine {
  std::string config;
  ConfigChanges changes;
};

// False: the command line is wrong, or only help was wanted; *exit_code says which.
bool ParseCommandLine(int argc, char** argv, CommandLine* out, int* exit_code) {
  const option options[] = {
      {"config", required_argument, nullptr, 'c'}, {"set", required_argument, nullptr, 's'},
      {"eal", required_argument, nullptr, 'e'},    {"help", no_argument, nullptr, 'h'},
      {"version", no_argument, nullptr, 'v'},      {nullptr, 0, nullptr, 0}};
  *exit_code = kBadConfiguration;
  int o;
  while ((o = getopt_long(argc, argv, "", options, nullptr)) != -1) {
    switch (o) {
      case 'c':
        out->config = optarg;
        break;
      case 's':
        out->changes.sets.emplace_back(optarg);
        break;
      case 'e':
        out->changes.eal = optarg;
        break;
      case 'h':
      case 'v':
        *exit_code = 0;
        std::fputs(o == 'h' ? kUsage : "usherd " USHER_VERSION "\n", stdout);
        return false;
      default:
        std::fputs(kUsage, stderr);
        return false;
    }
  }
  if (optind == argc && !out->config.empty()) return true;
  Log(optind < argc ? absl::StrCat("what is '", argv[optind], "'?") : "no --config");
  std::fputs(kUsage, stderr);
  return false;
}

// What the services of all shards take at most, in bytes: any of them may have every connection.
uint64_t ServiceMemory(const ServerConfig& config) {
  uint64_t bytes = 0;
  for (const ListenerConfig& l : config.listeners)
    if (l.service == ServiceKind::kHttp)
      bytes += HttpService::MemoryNeeded(config.runtime.stack.max_connections);
  return bytes;
}

class Server {
 public:
  explicit Server(ServerConfig config) : config_(std::move(config)) {}

  absl::Status Start();
  absl::Status Run();

 private:
  absl::Status LoadSites();
  absl::Status OpenListener(size_t index);
  std::unique_ptr<Application> MakeService(size_t index, uint32_t shard);
  void OpenControl();
  void TellReady();

  ServerConfig config_;
  LimitedLog network_log_;
  std::unique_ptr<Runtime> runtime_;
  std::vector<std::unique_ptr<StaticSite>> sites_;  // by listener; null where there is none
  std::unique_ptr<StatusBoard> status_;
  std::vector<std::unique_ptr<Application>> services_;
  std::unique_ptr<ControlPlane> control_;
};

absl::Status Server::Start() {
  if (absl::Status s = LoadSites(); !s.ok()) return s;
  config_.runtime.stack.network_events = [this](const NetworkEvent& event) {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    network_log_.Write(Instant() + Duration::Seconds(t.tv_sec) + Duration::Nanos(t.tv_nsec),
                       ToString(event));
  };
  config_.runtime.application_bytes = ServiceMemory(config_);
  auto runtime = Runtime::Create(config_.runtime);
  if (!runtime.ok()) return runtime.status();
  runtime_ = *std::move(runtime);
  runtime_->StopOnSignals();
  for (size_t i = 0; i < runtime_->device_count(); ++i) Log(runtime_->DescribeDevice(i));
  for (size_t i = 0; i < config_.listeners.size(); ++i)
    if (absl::Status s = OpenListener(i); !s.ok()) return s;
  std::vector<std::string> names;
  for (const ListenerConfig& l : config_.listeners) names.emplace_back(ToString(l.service));
  status_ =
      std::make_unique<StatusBoard>(&runtime_->stack(), std::move(names), runtime_->clock().Now());
  OpenControl();
  return absl::OkStatus();
}

// A server that cannot be controlled still serves.
void Server::OpenControl() {
  auto control = ControlPlane::Start(runtime_->stack(), [this] { runtime_->Stop(); });
  if (control.ok()) {
    control_ = *std::move(control);
  } else {
    Log(absl::StrCat("no usherctl for this server: ", std::string(control.status().message())));
  }
}

absl::Status Server::LoadSites() {
  StaticSiteOptions options;
  options.mounts = DefaultMounts();
  for (const ListenerConfig& l : config_.listeners) {
    sites_.push_back(nullptr);
    if (l.root.empty()) continue;
    auto site = StaticSite::Load(l.root, options);
    if (!site.ok()) return site.status();
    sites_.back() = *std::move(site);
  }
  return absl::OkStatus();
}

absl::Status Server::OpenListener(size_t index) {
  return runtime_->Listen(config_.listeners[index].spec, [&](uint32_t shard) -> Application& {
    services_.push_back(MakeService(index, shard));
    return *services_.back();
  });
}

std::unique_ptr<Application> Server::MakeService(size_t index, uint32_t shard) {
  switch (config_.listeners[index].service) {
    case ServiceKind::kHttp: {
      const uint32_t shards = runtime_->stack().shard_count();
      return std::make_unique<HttpService>(
          sites_[index].get(), [this, shard] { return status_->Render(shard); },
          (config_.runtime.stack.max_connections + shards - 1) / shards);
    }
    case ServiceKind::kEcho:
      return std::make_unique<EchoService>();
    case ServiceKind::kDiscard:
      return std::make_unique<DiscardService>();
    case ServiceKind::kChargen:
      return std::make_unique<ChargenService>();
    case ServiceKind::kNone:
      break;
  }
  return std::make_unique<NoService>();
}

// "usherd: serving 198.18.0.2 2001:2::2 (port 0, net_tap0): http 80, echo 7"
void Server::TellReady() {
  std::string line = "serving";
  for (const RuntimeInterface& i : config_.runtime.interfaces)
    for (const InterfaceAddress& a : i.config.addresses)
      absl::StrAppend(&line, " ", a.address.ToString());
  const char* separator = " (";
  for (const ListenerConfig& l : config_.listeners) {
    absl::StrAppend(&line, separator, ToString(l.service), " on ",
                    ToString(l.spec.address, l.spec.port));
    separator = ", ";
  }
  Log(absl::StrCat(line, ")"));
}

absl::Status Server::Run() {
  return runtime_->Run([this] { TellReady(); });
}

int Main(int argc, char** argv) {
  CommandLine line;
  int exit_code = 0;
  if (!ParseCommandLine(argc, argv, &line, &exit_code)) return exit_code;
  auto config = LoadConfig(line.config, line.changes);
  if (!config.ok()) {
    Log(std::string(config.status().message()));
    return kBadConfiguration;
  }
  std::signal(SIGPIPE, SIG_IGN);  // virtio-user writes to its vhost side, which may have gone
  Server server(*std::move(config));
  absl::Status status = server.Start();
  if (status.ok()) status = server.Run();
  if (status.ok()) return 0;
  Log(std::string(status.message()));
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
      return kBadConfiguration;  // seen only with the devices before us: no such port
    default:
      return kFailed;
  }
}

}  // namespace
}  // namespace usher

int main(int argc, char** argv) { return usher::Main(argc, argv); }
