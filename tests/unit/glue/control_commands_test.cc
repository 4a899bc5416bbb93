#include "stack/glue/control_commands.h"

#include <gmock/gmock.h>

#include "tests/unit/glue/control_fixture.h"

namespace usher {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

TEST(ParseControlRequestTest, TakesWhatIsRight) {
  const auto request =
      ParseControlRequest(R"({"command":"sockets","requests":true,"time_wait":true,"info":true})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->command, ControlRequest::Command::kSockets);
  EXPECT_EQ(request->socket_kinds, 0b101);
  EXPECT_TRUE(request->info);
  EXPECT_FALSE(request->per_shard);
  const auto set =
      ParseControlRequest(R"({"command":"sysctl-set","name":"net.core.somaxconn","value":"9"})");
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set->name, "net.core.somaxconn");
  EXPECT_EQ(set->value, "9");
}

TEST(ParseControlRequestTest, CaptureHasLimits) {
  const auto whole = ParseControlRequest(R"({"command":"capture"})");
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->command, ControlRequest::Command::kCapture);
  EXPECT_EQ(whole->capture.snaplen, CaptureLimits::kLongestFrame);
  EXPECT_EQ(whole->capture.packets, UINT64_MAX);
  const auto some = ParseControlRequest(R"({"command":"capture","snaplen":96,"packets":10})");
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->capture.snaplen, 96u);
  EXPECT_EQ(some->capture.packets, 10u);
}

TEST(ParseControlRequestTest, RefusesWhatIsWrong) {
  for (const char* line :
       {"", "x", "[]", "1", "{", R"({"command":5})", R"({"command":"reboot"})", R"({})",
        R"({"command":"sockets","info":1})", R"({"command":"sockets","requests":"yes"})",
        R"({"command":"sysctl-set"})", R"({"command":"sysctl-get","name":7})", "\xff\xfe",
        R"({"command":"status","per_shard":null})", R"({"command":"capture","snaplen":63})",
        R"({"command":"capture","snaplen":9217})", R"({"command":"capture","packets":0})",
        R"({"command":"capture","packets":-1})", R"({"command":"capture","packets":"1"})"}) {
    SCOPED_TRACE(line);
    EXPECT_EQ(ParseControlRequest(line).status().code(), absl::StatusCode::kInvalidArgument);
  }
  // Nested as deep as a request may be long: no recursion without a bound.
  EXPECT_FALSE(ParseControlRequest(std::string(65536, '[')).ok());
}

class ControlCommandsTest : public ControlTest {
 protected:
  std::vector<Json> Ask(const std::string& line, absl::StatusCode code = absl::StatusCode::kOk) {
    std::vector<Json> rows;
    const auto request = ParseControlRequest(line);
    EXPECT_TRUE(request.ok()) << request.status();
    status_ = commands_->Run(*request, [&rows](const Json& row) {
      rows.push_back(row);
      return true;
    });
    EXPECT_EQ(status_.code(), code) << status_;
    return rows;
  }

  void SetUp() override {
    ControlTest::SetUp();
    commands_ = std::make_unique<ControlCommands>(*stack_, "test", stop_);
  }

  std::atomic<bool> stop_ = false;
  absl::Status status_;
  std::unique_ptr<ControlCommands> commands_;
};

TEST_F(ControlCommandsTest, Status) {
  const auto rows = Ask(R"({"command":"status"})");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["instance"], "test");
  EXPECT_EQ(rows[0]["shards"], 2);
}

TEST_F(ControlCommandsTest, ListenersWholeAndPerShard) {
  Connect(1, 1000);
  StartPolling();
  const auto whole = Ask(R"({"command":"listeners"})");
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_EQ(whole[0]["local"], "0.0.0.0");
  EXPECT_EQ(whole[0]["recv_q"], 1);
  EXPECT_EQ(whole[0]["send_q"], 5);
  EXPECT_EQ(whole[0]["held_back_by"], "backlog");
  EXPECT_FALSE(whole[0].contains("shard"));
  const auto each = Ask(R"({"command":"listeners","per_shard":true})");
  ASSERT_EQ(each.size(), 4u);
  EXPECT_EQ(each[0]["recv_q"], 0);
  EXPECT_EQ(each[1]["load"]["connections"], 0);
  EXPECT_EQ(each[2]["recv_q"], 1);
  EXPECT_EQ(each[3]["load"]["connections"], 1);
  EXPECT_TRUE(each[3]["without_listener"].is_object());
}

TEST_F(ControlCommandsTest, SocketsOfAllShards) {
  Connect(0, 1000);
  Connect(1, 1001);
  SendSyn(1, 1002);
  StartPolling();
  const auto rows = Ask(R"({"command":"sockets","requests":true,"connections":true,"info":true})");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["state"], "ESTAB");
  EXPECT_EQ(rows[0]["peer_port"], 1000);
  EXPECT_EQ(rows[0]["shard"], 0);
  EXPECT_EQ(rows[0]["queued"], true);
  EXPECT_EQ(rows[0]["info"]["cwnd"], 10);
  EXPECT_EQ(rows[1]["state"], "SYN-RECV");
  EXPECT_EQ(rows[1]["timer"]["name"], "on");
  EXPECT_FALSE(rows[1].contains("info"));
  EXPECT_EQ(rows[2]["shard"], 1);
}

TEST_F(ControlCommandsTest, SinkThatHasEnoughEndsIt) {
  for (uint16_t port = 1000; port < 1003; ++port) Connect(0, port);
  StartPolling();
  int rows = 0;
  ControlRequest request;
  request.command = ControlRequest::Command::kSockets;
  request.socket_kinds = 0xff;
  EXPECT_TRUE(commands_->Run(request, [&rows](const Json&) { return ++rows < 2; }).ok());
  EXPECT_EQ(rows, 2);
}

TEST_F(ControlCommandsTest, CountersInOrderWithGaugesMarked) {
  Connect(0, 1000);
  Connect(1, 1001);
  const auto rows = Ask(R"({"command":"counters"})");
  ASSERT_EQ(rows.size(), 1u);
  ASSERT_EQ(rows[0]["counters"].size(), kCounterCount);
  EXPECT_EQ(rows[0]["counters"][0][0], "IpInReceives");
  for (const Json& c : rows[0]["counters"]) {
    if (c[0] == "TcpPassiveOpens") {
      EXPECT_EQ(c[1], 2);
    }
    EXPECT_EQ(c.size(), c[0] == "TcpCurrEstab" ? 3u : 2u) << c;
  }
  EXPECT_EQ(Ask(R"({"command":"counters","per_shard":true})").size(), 2u);
}

TEST_F(ControlCommandsTest, SysctlsAreReadAndSetOnEveryShard) {
  StartPolling();
  EXPECT_EQ(Ask(R"({"command":"sysctl-get"})").size(), SysctlNames().size());
  const auto one = Ask(R"({"command":"sysctl-get","name":"net.core.somaxconn"})");
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0]["value"], "4096");
  const auto set = Ask(R"({"command":"sysctl-set","name":"net.core.somaxconn","value":"77"})");
  ASSERT_EQ(set.size(), 1u);
  EXPECT_EQ(set[0]["value"], "77");
  StopPolling();
  EXPECT_EQ(stack_->shard(0).sysctls().somaxconn, 77);
  EXPECT_EQ(stack_->shard(1).sysctls().somaxconn, 77);
}

TEST_F(ControlCommandsTest, FastOpenKeysAreSetOnEveryShard) {
  StartPolling();
  const auto set = Ask(
      R"({"command":"sysctl-set","name":"net.ipv4.tcp_fastopen_key","value":"1-2-3-4,5-6-7-8"})");
  ASSERT_EQ(set.size(), 1u);
  EXPECT_EQ(set[0]["value"],
            "00000001-00000002-00000003-00000004,00000005-00000006-00000007-00000008");
  Ask(R"({"command":"sysctl-set","name":"net.ipv4.tcp_fastopen_key","value":"1-2-3"})",
      absl::StatusCode::kInvalidArgument);
  StopPolling();
  for (uint32_t i = 0; i < 2; ++i) {
    const FastOpenKeys& keys = stack_->shard(i).sysctls().tcp_fastopen_key;
    EXPECT_EQ(keys.primary[3], 4u);
    EXPECT_TRUE(keys.backup);
  }
}

TEST_F(ControlCommandsTest, BadSysctlsAreRefused) {
  StartPolling();
  Ask(R"({"command":"sysctl-get","name":"net.nonsense"})", absl::StatusCode::kNotFound);
  Ask(R"({"command":"sysctl-set","name":"net.nonsense","value":"1"})", absl::StatusCode::kNotFound);
  Ask(R"({"command":"sysctl-set","name":"net.core.somaxconn","value":"-1"})",
      absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status_.message()), HasSubstr("net.core.somaxconn"));
}

TEST_F(ControlCommandsTest, StoppedWhileAShardIsSilent) {
  stop_ = true;  // and nobody polls
  Ask(R"({"command":"listeners"})", absl::StatusCode::kUnavailable);
  Ask(R"({"command":"sysctl-get"})", absl::StatusCode::kUnavailable);
  StartPolling();  // the errands left behind do no harm
}

}  // namespace
}  // namespace usher
