#include "stack/glue/control_server.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "tests/unit/glue/control_fixture.h"
#include "tools/ctl/client.h"

namespace usher {
namespace {

using ctl::Client;
using ctl::FindInstances;
using Json = nlohmann::json;
using testing::HasSubstr;

class ControlServerTest : public ControlTest {
 protected:
  void SetUp() override {
    ControlTest::SetUp();
    char name[] = "/tmp/usher-control-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    base_ = name;
  }
  void TearDown() override {
    server_.reset();
    ControlTest::TearDown();
    for (const std::string& instance : instances_) {
      unlink((base_ + "/" + instance + "/usher.sock").c_str());
      rmdir((base_ + "/" + instance).c_str());
    }
    EXPECT_EQ(rmdir(base_.c_str()), 0);
  }

  absl::StatusOr<std::unique_ptr<ControlServer>> Start(const std::string& instance) {
    mkdir((base_ + "/" + instance).c_str(), 0700);
    instances_.push_back(instance);
    ControlOptions options;
    options.directory = base_ + "/" + instance;
    options.instance = instance;
    options.on_shutdown = [this] { shutdown_.set_value(); };
    options.capture = capture_;
    return ControlServer::Start(*stack_, std::move(options));
  }
  void Serve() {
    auto server = Start("one");
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  Client Open() {
    auto client = Client::Open({"one", server_->path()});
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  std::string base_;
  std::vector<std::string> instances_;
  std::promise<void> shutdown_;
  decltype(ControlOptions::capture) capture_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, AnswersSeveralQuestionsOnOneConnection) {
  Connect(0, 1000);
  StartPolling();
  Serve();
  Client client = Open();
  const auto listeners = client.Ask(Json{{"command", "listeners"}});
  ASSERT_TRUE(listeners.ok()) << listeners.status();
  EXPECT_EQ(listeners->size(), 1u);
  const auto sockets = client.Ask(Json{{"command", "sockets"}, {"connections", true}});
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_EQ(sockets->size(), 1u);
}

TEST_F(ControlServerTest, ARefusalLeavesTheConnectionUsable) {
  StartPolling();
  Serve();
  Client client = Open();
  EXPECT_EQ(client.Ask(Json{{"command", "reboot"}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(client.Ask(Json{{"command", "sysctl-get"}, {"name", "x"}}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_TRUE(client.Ask(Json{{"command", "status"}}).ok());
}

TEST_F(ControlServerTest, OnlyTheOwnerCanOpenTheSocket) {
  Serve();
  struct stat info = {};
  ASSERT_EQ(stat(server_->path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(ControlServerTest, AStaleSocketIsReplacedALivingOneIsNot) {
  Serve();
  const auto second = Start("one");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--file-prefix"));
  // What a killed server leaves.
  const std::string path = server_->path();
  const std::string kept = path + ".kept";
  ASSERT_EQ(link(path.c_str(), kept.c_str()), 0);
  server_.reset();
  ASSERT_EQ(rename(kept.c_str(), path.c_str()), 0);
  Serve();
  EXPECT_TRUE(Open().Ask(Json{{"command", "status"}}).ok());
}

TEST_F(ControlServerTest, TheSocketGoesWithTheServer) {
  Serve();
  const std::string path = server_->path();
  server_.reset();
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST_F(ControlServerTest, InstancesAreFound) {
  Serve();
  auto other = Start("two");
  ASSERT_TRUE(other.ok()) << other.status();
  std::vector<std::string> names;
  for (const ctl::Instance& i : FindInstances({base_, base_ + "/none"})) names.push_back(i.name);
  EXPECT_THAT(names, testing::ElementsAre("one", "two"));
}

TEST_F(ControlServerTest, ShutdownIsPassedOn) {
  Serve();
  Client client = Open();
  EXPECT_TRUE(client.Ask(Json{{"command", "shutdown"}}).ok());
  shutdown_.get_future().wait();
  server_.reset();
  EXPECT_TRUE(client.WaitForEnd(5));
}

TEST_F(ControlServerTest, ACaptureGetsTheCallersFile) {
  std::promise<void> begun;
  capture_ = [&begun](const CaptureLimits& limits, int fd, const std::function<bool()>& ended,
                      CaptureResult* result) {
    EXPECT_EQ(limits.snaplen, 96u);
    EXPECT_EQ(write(fd, "frames", 6), 6);
    begun.set_value();
    while (!ended()) usleep(1000);
    *result = {.packets = 3, .dropped = 1};
    return absl::OkStatus();
  };
  Serve();
  Client client = Open();
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  // As usherctl's handler of Ctrl-C does.
  std::thread interrupt([&] {
    begun.get_future().wait();
    shutdown(client.descriptor(), SHUT_WR);
  });
  std::vector<Json> rows;
  const absl::Status status =
      client.AskWithFile(Json{{"command", "capture"}, {"snaplen", 96}}, pipe_fds[1],
                         [&rows](const Json& row) { return rows.push_back(row), true; });
  interrupt.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(rows, testing::ElementsAre(Json{{"packets", 3}, {"dropped", 1}}));
  close(pipe_fds[1]);
  char bytes[16];
  EXPECT_EQ(read(pipe_fds[0], bytes, sizeof(bytes)), 6);  // and then its end: nobody else has it
  EXPECT_EQ(read(pipe_fds[0], bytes, sizeof(bytes)), 0);
  close(pipe_fds[0]);
}

TEST_F(ControlServerTest, ACaptureNeedsAFileAndPorts) {
  Serve();
  EXPECT_EQ(Open().Ask(Json{{"command", "capture"}}).status().code(),
            absl::StatusCode::kUnimplemented);
  server_.reset();
  capture_ = [](auto&&...) { return absl::OkStatus(); };
  Serve();
  Client client = Open();
  EXPECT_EQ(client.Ask(Json{{"command", "capture"}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(client.Ask(Json{{"command", "status"}}).ok());
}

TEST_F(ControlServerTest, TooManyClientsAreRefusedAndPlacesComeFree) {
  Serve();
  {
    std::vector<Client> clients;
    for (int i = 0; i < ControlServer::kMaxClients; ++i) {
      clients.push_back(Open());
      ASSERT_TRUE(clients.back().Ask(Json{{"command", "status"}}).ok());
    }
    EXPECT_EQ(Open().Ask(Json{{"command", "status"}}).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
  // The threads of those who left end when they notice.
  while (!Open().Ask(Json{{"command", "status"}}).ok()) std::this_thread::yield();
}

// A client that does not read holds up neither the shards nor the others.
TEST_F(ControlServerTest, ASlowReaderHoldsUpNobody) {
  for (uint16_t port = 1000; port < 1003; ++port) Connect(0, port);
  StartPolling();
  Serve();
  Client slow = Open();
  int rows = 0;
  std::promise<void> go;
  std::thread reader([&] {
    const auto status = slow.Ask(
        Json{{"command", "sockets"}, {"connections", true}, {"info", true}}, [&](const Json&) {
          if (++rows == 1) go.get_future().wait();
          return true;
        });
    EXPECT_TRUE(status.ok()) << status;
  });
  EXPECT_TRUE(Open().Ask(Json{{"command", "listeners"}}).ok());
  go.set_value();
  reader.join();
  EXPECT_EQ(rows, 3);
}

TEST_F(ControlServerTest, EndsWhileAClientWaitsForASilentShard) {
  Serve();  // nobody polls
  Client client = Open();
  std::thread asker([&] { EXPECT_FALSE(client.Ask(Json{{"command", "listeners"}}).ok()); });
  server_.reset();
  asker.join();
}

}  // namespace
}  // namespace usher
