#include "tools/load/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "stack/port/memory_port.h"

namespace usher::load {
namespace {

constexpr uint16_t kPort = 80;

struct Host {
  Host(const MacAddress& mac, const char* address, uint64_t seed)
      : pool(8192), port(pool, mac), random(seed) {
    InterfaceConfig config;
    config.addresses = {*InterfaceAddress::Parse(address)};
    const std::vector<ShardInterface> ports[] = {{{&port, config}}};
    StackOptions options;
    options.max_connections = 1024;
    options.passive_open.max_requests = 1024;
    options.sysctls.somaxconn = 1024;
    options.sysctls.tcp_wmem = {4096, 16384, 262'144};  // all that is under way fits the pools
    options.sysctls.tcp_max_syn_backlog = 1024;
    stack = *Stack::Create(options, ports, random);
  }
  HeapPool pool;
  MemoryPort port;
  SeededRandom random;
  std::unique_ptr<Stack> stack;
};

// Answers every request with `answer`, by the rules that a test sets.
struct Server : Application {
  void OnAcceptable(Acceptor a) override {
    for (Connection c; a.Accept(&c) == Error::kNone;) {
      ++accepted;
      if (refuse) c.Abort();
    }
  }
  void OnReadable(Connection c) override {
    std::span<const uint8_t> bytes;
    while (c.Peek(&bytes).error == Error::kNone) {
      if (bytes.empty()) return void(c.Close());
      received += bytes.size();
      std::string text(bytes.begin(), bytes.end());
      c.Discard(bytes.size());
      for (size_t at = text.find("\r\n\r\n"); at != std::string::npos;
           at = text.find("\r\n\r\n", at + 1)) {
        ++requests;
        if (mute) continue;
        c.Write(answer);
        if (closes) return void(c.Close());
      }
    }
  }
  std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
  bool closes = false;
  bool refuse = false;
  bool mute = false;
  uint64_t accepted = 0;
  uint64_t requests = 0;
  uint64_t received = 0;
};

class ClientTest : public testing::Test {
 protected:
  ClientTest()
      : client_host_({{2, 0, 0, 0, 0, 1}}, "198.18.0.1/15", 1),
        server_host_({{2, 0, 0, 0, 0, 2}}, "198.18.0.2/15", 2) {
    options_.to = *IpAddress::Parse("198.18.0.2");
    options_.port = kPort;
    options_.connections = 8;
    options_.seconds = Duration::Millis(100);
    options_.warmup = Duration::Millis(10);
    options_.addresses = {"198.18.0.1/15"};
    EXPECT_TRUE(server_host_.stack->Listen({.port = kPort, .backlog = 512}, server_).ok());
  }

  static void Carry(MemoryPort& from, MemoryPort& to) {
    for (auto frame = from.TakeSent(); !frame.empty(); frame = from.TakeSent()) to.Inject(frame);
  }

  // A pass of both sides; a frame takes `step_` to the other side.
  void Step(Client& client) {
    const uint32_t begun = client.BeforePass(now_, work_);
    work_ = begun + client_host_.stack->Poll(0, now_);
    server_host_.stack->Poll(0, now_);
    Carry(client_host_.port, server_host_.port);
    Carry(server_host_.port, client_host_.port);
    now_ = now_ + step_;
  }

  Result Run() {
    client_host_.stack->Start(0, now_);
    server_host_.stack->Start(0, now_);
    Client client(options_, *client_host_.stack, 0, 1);
    const Instant too_late = now_ + Duration::Seconds(20);
    while (!client.done() && now_ < too_late) Step(client);
    EXPECT_TRUE(client.done()) << "does not end";
    EXPECT_EQ(client_host_.stack->shard(0).connection_count(), 0u);
    return client.result();
  }

  Host client_host_;
  Host server_host_;
  Server server_;
  LoadOptions options_;
  Duration step_ = Duration::Micros(20);
  Instant now_ = Instant::FromNanos(1'000'000'000);
  uint32_t work_ = 0;
};

TEST_F(ClientTest, KeptConnectionsAnswerOneRequestAfterTheOther) {
  const Result r = Run();
  EXPECT_EQ(r.connections, 8u);
  EXPECT_EQ(server_.accepted, 8u);
  EXPECT_EQ(r.all_answers, server_.requests);
  EXPECT_EQ(r.all_body_bytes, 5 * r.all_answers);
  EXPECT_EQ(r.failures(), 0u);
  EXPECT_EQ(r.unanswered, 0u);
  EXPECT_EQ(r.latency.count(), r.answers - 8) << "all but those sent in the warm-up";
  // There and back again takes two steps or three.
  EXPECT_GE(r.latency.min(), step_ * 2);
  EXPECT_LE(r.latency.max(), step_ * 3);
  EXPECT_NEAR(static_cast<double>(r.answers), 8.0 * 100'000 / 40, 8.0 * 100'000 / 40 * 0.5);
  EXPECT_EQ(r.cpu.wall, options_.seconds);
}

TEST_F(ClientTest, Pipelining) {
  options_.connections = 2;
  options_.pipeline = 8;
  const Result r = Run();
  EXPECT_EQ(r.connections, 2u);
  EXPECT_EQ(r.all_answers, server_.requests);
  EXPECT_EQ(r.failures(), 0u);
  EXPECT_GT(r.answers, 2u * 8 * 100'000 / 100) << "a round trip is at most 60 us";
}

TEST_F(ClientTest, AConnectionForEachRequest) {
  options_.mode = Mode::kConnections;
  server_.closes = true;
  server_.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
  const Result r = Run();
  EXPECT_EQ(r.connections, server_.accepted);
  EXPECT_EQ(r.all_answers, server_.requests);
  EXPECT_EQ(r.all_answers, r.connections);
  EXPECT_EQ(r.failures(), 0u);
  EXPECT_GT(r.answers, 1000u);
}

TEST_F(ClientTest, AServerThatDoesNotCloseIsClosed) {
  options_.mode = Mode::kConnections;
  const Result r = Run();
  EXPECT_EQ(r.all_answers, r.connections);
  EXPECT_GT(r.answers, 1000u);
  EXPECT_EQ(r.failures(), 0u);
}

TEST_F(ClientTest, OpenLoopKeepsTheRateAskedFor) {
  options_.rate = 10'000;
  const Result r = Run();
  EXPECT_NEAR(static_cast<double>(r.answers), 1000, 2);
  EXPECT_EQ(r.overdue, 0u);
  EXPECT_LE(r.latency.max(), step_ * 4);
}

TEST_F(ClientTest, OpenLoopCountsTheWaitOfWhatIsLate) {
  options_.connections = 1;
  options_.rate = 50'000;  // of which one connection manages a third
  const Result r = Run();
  EXPECT_EQ(r.failures(), 0u);
  EXPECT_GT(r.overdue, 1000u);
  EXPECT_GT(r.latency.max(), Duration::Millis(40)) << "coordinated omission";
}

TEST_F(ClientTest, BulkDown) {
  options_.mode = Mode::kBulk;
  server_.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + std::string(10'000, 'x');
  const Result r = Run();
  EXPECT_EQ(r.failures(), 0u);
  EXPECT_GT(r.body_bytes, 1'000'000u);
  EXPECT_LE(r.body_bytes, r.all_body_bytes);
}

TEST_F(ClientTest, BulkUp) {
  options_.mode = Mode::kBulk;
  options_.up = options_.raw = true;
  const Result r = Run();
  EXPECT_EQ(r.failures(), 0u);
  EXPECT_GT(r.body_bytes, 1'000'000u);
  EXPECT_EQ(r.all_body_bytes, server_.received);
}

TEST_F(ClientTest, AServerThatEndsKeptConnectionsIsConnectedToAgain) {
  server_.closes = true;
  server_.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
  const Result r = Run();
  EXPECT_EQ(r.failures(), 0u);
  EXPECT_EQ(r.connections, server_.accepted);
  EXPECT_GE(r.connections, r.all_answers);
  EXPECT_GT(r.answers, 100u);
}

TEST_F(ClientTest, ResetsAreCountedAndDoNotMakeAStorm) {
  server_.refuse = true;
  const Result r = Run();
  EXPECT_EQ(r.all_answers, 0u);
  EXPECT_GT(r.errors[static_cast<size_t>(Error::kConnectionReset)], 0u);
  EXPECT_LE(server_.accepted, 8 * (5'200 / 10 + 2)) << "more often than every 10 ms";
}

TEST_F(ClientTest, RefusedConnections) {
  options_.port = kPort + 1;
  const Result r = Run();
  EXPECT_EQ(r.connections, 0u);
  EXPECT_GT(r.errors[static_cast<size_t>(Error::kConnectionRefused)], 0u);
}

TEST_F(ClientTest, WhatIsNotHttpIsGivenUp) {
  server_.answer = "SSH-2.0-OpenSSH\r\n";
  const Result r = Run();
  EXPECT_EQ(r.all_answers, 0u);
  EXPECT_GT(r.not_http, 0u);
}

TEST_F(ClientTest, AnswersThatNobodyAskedForAreNotCounted) {
  server_.answer += server_.answer;
  const Result r = Run();
  EXPECT_GT(r.not_http, 0u);
  EXPECT_LE(r.all_answers, server_.requests);
}

TEST_F(ClientTest, OtherThan2xxIsToldApart) {
  server_.answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
  const Result r = Run();
  EXPECT_EQ(r.not_success, r.all_answers);
  EXPECT_GT(r.all_answers, 0u);
}

TEST_F(ClientTest, AnswersCutShort) {
  server_.closes = true;
  server_.answer = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";
  const Result r = Run();
  EXPECT_EQ(r.all_answers, 0u);
  EXPECT_GT(r.cut_short, 0u);
}

TEST_F(ClientTest, ASilentServerIsNotWaitedForLongerThanTheDrain) {
  server_.mute = true;
  const Result r = Run();
  EXPECT_EQ(r.unanswered, 8u);
  EXPECT_EQ(r.all_answers, 0u);
  EXPECT_LE(now_ - Instant::FromNanos(1'000'000'000), options_.warmup + options_.seconds +
                                                          Client::kDrain + Client::kClosing +
                                                          Duration::Millis(10));
}

TEST_F(ClientTest, StopEndsItAtOnce) {
  client_host_.stack->Start(0, now_);
  server_host_.stack->Start(0, now_);
  Client client(options_, *client_host_.stack, 0, 1);
  for (int i = 0; i < 2000; ++i) Step(client);
  client.Stop(now_);
  const uint64_t answers = client.result().all_answers;
  EXPECT_GT(answers, 0u);
  EXPECT_GT(client.result().cpu.wall, Duration());
  EXPECT_LT(client.result().cpu.wall, step_ * 2000);
  const uint64_t requests = server_.requests;
  for (int i = 0; i < 200 && !client.done(); ++i) Step(client);
  EXPECT_TRUE(client.done());
  EXPECT_LE(server_.requests, requests + 8);
}

}  // namespace
}  // namespace usher::load
