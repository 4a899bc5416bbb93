// The control plane and its telemetry over a running EAL, in one program: EAL starts once. The
// stack itself is over ports in memory.
#include "stack/glue/control_plane.h"

#include <gmock/gmock.h>
#include <rte_eal.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "stack/port/dpdk/eal.h"
#include "tests/unit/glue/control_fixture.h"
#include "tools/ctl/client.h"

namespace usher {
namespace {

using Json = nlohmann::json;

// DPDK telemetry's end of the line: a socket of packets, a greeting, then question and answer.
class TelemetryClient {
 public:
  TelemetryClient() : fd_(socket(AF_UNIX, SOCK_SEQPACKET, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string path = absl::StrCat(rte_eal_get_runtime_dir(), "/dpdk_telemetry.v2");
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0)
        << path << ": " << std::strerror(errno);
    most_ = Json::parse(Receive())["max_output_len"];
  }
  ~TelemetryClient() { close(fd_); }

  // The answer behind the command's own name.
  Json Ask(const std::string& question) {
    EXPECT_EQ(send(fd_, question.data(), question.size(), 0),
              static_cast<ssize_t>(question.size()));
    const std::string text = Receive();
    EXPECT_LE(text.size(), most_);
    const Json answer = Json::parse(text, nullptr, false);
    EXPECT_FALSE(answer.is_discarded()) << question << ": cut off: " << text.substr(0, 200);
    return answer[question.substr(0, question.find(','))];
  }
  size_t last_size() const { return last_size_; }

 private:
  std::string Receive() {
    std::string text(65536, '\0');
    const ssize_t n = recv(fd_, text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    last_size_ = text.size();
    return text;
  }

  int fd_;
  size_t most_ = 0;
  size_t last_size_ = 0;
};

class ControlPlaneTest : public ControlTest {
 protected:
  static void SetUpTestSuite() {
    const std::string prefix = absl::StrCat("usher-unit-", getpid());
    auto eal = Eal::Start(
        std::vector<std::string>{"--no-huge", "--no-shconf", "-m", "32", "--file-prefix", prefix});
    ASSERT_TRUE(eal.ok()) << eal.status();
    eal_ = eal->release();
    prefix_ = prefix;
  }
  static void TearDownTestSuite() {
    const std::string directory = rte_eal_get_runtime_dir();
    delete eal_;
    std::filesystem::remove_all(directory);
  }
  void TearDown() override {
    plane_.reset();
    ControlTest::TearDown();
  }
  void Start() {
    auto plane = ControlPlane::Start(*stack_, [this] { shutdown_ = true; });
    ASSERT_TRUE(plane.ok()) << plane.status();
    plane_ = *std::move(plane);
  }
  static std::string Path() { return absl::StrCat(rte_eal_get_runtime_dir(), "/usher.sock"); }

  static inline Eal* eal_ = nullptr;
  static inline std::string prefix_;
  std::atomic<bool> shutdown_ = false;
  std::unique_ptr<ControlPlane> plane_;
};

TEST_F(ControlPlaneTest, SocketStandsInEalsDirectoryForItsOwnerOnly) {
  Start();
  struct stat info = {};
  ASSERT_EQ(stat(Path().c_str(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(rte_eal_get_runtime_dir(), &info), 0);
  EXPECT_EQ(info.st_mode & 0077, 0u) << "nobody else gets as far as the socket";
  auto client = ctl::Client::Open({prefix_, Path()});
  ASSERT_TRUE(client.ok()) << client.status();
  const auto rows = client->Ask(Json{{"command", "status"}});
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0]["instance"], prefix_) << "EAL's --file-prefix names the server";
  plane_.reset();
  EXPECT_NE(access(Path().c_str(), F_OK), 0) << "gone with the control plane";
}

TEST_F(ControlPlaneTest, OneOfThemAtATime) {
  Start();
  EXPECT_EQ(ControlPlane::Start(*stack_, [] {}).status().code(), absl::StatusCode::kAlreadyExists);
  plane_.reset();
  Start();
}

TEST_F(ControlPlaneTest, ShutdownIsPassedOn) {
  Start();
  auto client = ctl::Client::Open({prefix_, Path()});
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(client->Ask(Json{{"command", "shutdown"}}).ok());
  plane_.reset();  // joins its threads
  EXPECT_TRUE(shutdown_);
}

TEST_F(ControlPlaneTest, TelemetryIsListedWithHelp) {
  Start();
  TelemetryClient client;
  const Json all = client.Ask("/");
  for (const char* command : {"/usher/listeners", "/usher/connections", "/usher/counters",
                              "/usher/drops", "/usher/sysctl"}) {
    EXPECT_NE(std::find(all.begin(), all.end(), command), all.end()) << command;
    EXPECT_FALSE(client.Ask(absl::StrCat("/help,", command)).is_null()) << command;
  }
}

TEST_F(ControlPlaneTest, TelemetryShowsListenersConnectionsAndDrops) {
  Connect(0, 1000);
  Connect(1, 1001);
  Send(0, 1002, TcpFlags::kAck, 5, 6);  // to nobody
  StartPolling();
  Start();
  TelemetryClient client;
  const Json listeners = client.Ask("/usher/listeners");
  EXPECT_EQ(listeners["local"], Json::array({"0.0.0.0:80"}));
  EXPECT_EQ(listeners["recv_q"], Json::array({2}));
  EXPECT_EQ(listeners["send_q"], Json::array({5}));
  EXPECT_EQ(listeners["held_back_by"], Json::array({"backlog"}));
  const Json connections = client.Ask("/usher/connections");
  EXPECT_EQ(connections["state"], Json::array({"ESTAB", "ESTAB"}));
  EXPECT_EQ(connections["peer"], Json::array({"198.18.0.1:1000", "198.18.0.1:1001"}));
  EXPECT_EQ(connections["shard"], Json::array({0, 1}));
  EXPECT_EQ(client.Ask("/usher/connections,1")["peer"], Json::array({"198.18.0.1:1001"}));
  EXPECT_EQ(client.Ask("/usher/connections,2")["peer"], Json::array());
  const Json drops = client.Ask("/usher/drops");
  EXPECT_EQ(drops["reason"], Json::array({"ack-unexpected"}));
  EXPECT_EQ(drops["count"], Json::array({1}));
}

TEST_F(ControlPlaneTest, TelemetryShowsCountersAndSettings) {
  Connect(0, 1000);
  StartPolling();
  Start();
  TelemetryClient client;
  const Json counters = client.Ask("/usher/counters");
  EXPECT_EQ(counters["TcpPassiveOpens"], 1);
  EXPECT_FALSE(counters.contains("TcpActiveOpens")) << "zero";
  EXPECT_EQ(client.Ask("/usher/counters,TcpActiveOpens"), (Json{{"TcpActiveOpens", 0}}));
  EXPECT_TRUE(client.Ask("/usher/counters,Nonsense").empty());
  const Json settings = client.Ask("/usher/sysctl");
  EXPECT_EQ(settings.size(), SysctlNames().size());
  for (const char* name : {"net.core.somaxconn", "net/core/somaxconn"})
    EXPECT_EQ(client.Ask(absl::StrCat("/usher/sysctl,", name)),
              (Json{{"net/core/somaxconn", "4096"}}));
  EXPECT_TRUE(client.Ask("/usher/sysctl,net.core.nonsense").empty());
}

// DPDK cuts what is longer than 16 KiB, and 512 entries an array: a reply says as many rows as fit,
// all columns of them, and the rest is to be had by passing over the first.
TEST_F(ControlPlaneTest, RepliesStayWithinTelemetrysBounds) {
  std::vector<Handle> listeners;
  stack_->shard(0).passive_open().ForEachListener(
      [&](Handle h, const Listener&) { listeners.push_back(h); });
  ASSERT_EQ(stack_->shard(0).passive_open().SetBacklog(listeners.at(0), 2000), Error::kNone);
  constexpr uint16_t kConnections = 700;
  for (uint16_t i = 0; i < kConnections; ++i) Connect(0, static_cast<uint16_t>(20000 + i));
  const size_t connected = stack_->shard(0).connection_count();
  ASSERT_GT(connected, 512u);
  StartPolling();
  Start();
  TelemetryClient client;
  size_t seen = 0;
  for (int replies = 0; seen < connected && replies < 100; ++replies) {
    const Json rows = client.Ask(absl::StrCat("/usher/connections,", seen));
    EXPECT_LE(client.last_size(), 16384u);
    ASSERT_FALSE(rows["state"].empty());
    EXPECT_LE(rows["state"].size(), 512u);
    for (const auto& [column, values] : rows.items())
      EXPECT_EQ(values.size(), rows["state"].size()) << column;
    seen += rows["state"].size();
  }
  EXPECT_EQ(seen, connected);
}

// Commands cannot be taken back: without a stack they answer that there is nothing to say.
TEST_F(ControlPlaneTest, TelemetryWithoutAStackAnswersNothing) {
  Start();
  plane_.reset();
  TelemetryClient client;
  for (const char* command : {"/usher/listeners", "/usher/connections", "/usher/counters",
                              "/usher/drops", "/usher/sysctl"})
    EXPECT_TRUE(client.Ask(command).is_null()) << command;
}

// The threads of the control plane take no time from the shards' cores, where there are others.
TEST_F(ControlPlaneTest, MainThreadStaysWhereItIs) {
  cpu_set_t before, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  Start();
  ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

}  // namespace
}  // namespace usher
