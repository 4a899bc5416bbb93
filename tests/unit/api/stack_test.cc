// A stack of two shards, joined by a wire: each is the other's peer.
#include "stack/api/stack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "stack/port/memory_port.h"
#include "tests/support/family.h"

namespace usher {
namespace {

using ::testing::HasSubstr;

// Sends back what it reads, and closes after the peer.
struct Echo : Application {
  void OnAcceptable(Acceptor a) override {
    Connection c;
    while (a.Accept(&c) == Error::kNone) accepted.push_back(c);
  }
  void OnReadable(Connection c) override {
    uint8_t buffer[512];
    for (;;) {
      const IoResult r = c.Read(buffer);
      if (r.bytes == 0) {
        if (r.error == Error::kNone) c.Close();
        return;
      }
      c.Write(std::span(buffer, r.bytes));
    }
  }
  std::vector<Connection> accepted;
};

// Says something when it is connected, and remembers the answer.
struct Client : Application {
  void OnConnected(Connection c) override {
    ++connected;
    c.Write("hello");
    c.Shutdown(ShutdownHow::kWrite);
  }
  void OnReadable(Connection c) override {
    uint8_t buffer[512];
    while (const size_t n = c.Read(buffer).bytes) got.append(buffer, buffer + n);
  }
  void OnClosed(Connection c, Error error) override {
    ++closed;
    why = error;
    c.Close();
  }
  int connected = 0, closed = 0;
  Error why = Error::kAgain;
  std::string got;
};

class StackTest : public ::testing::TestWithParam<Family> {
 protected:
  static IpAddress AddressOf(uint32_t i) {
    return GetParam() == Family::kIpv6 ? *IpAddress::Parse("2001:2::" + std::to_string(1 + i))
                                       : IpAddress::V4(0xc6120001 + i);
  }

  void SetUp() override {
    options_.max_connections = 32;
    for (uint8_t i = 0; i < 2; ++i) {
      pools_.push_back(std::make_unique<HeapPool>(256));
      ports_.push_back(std::make_unique<MemoryPort>(*pools_[i], MacAddress{{2, 0, 0, 0, 0, i}},
                                                    PortCapabilities{.rss = true}));
    }
    Make();
  }
  void Make() {
    stack_.reset();
    auto made = Stack::Create(options_, Interfaces(), random_);
    ASSERT_TRUE(made.ok()) << made.status();
    stack_ = *std::move(made);
    for (uint32_t i = 0; i < 2; ++i) stack_->Start(i, now_);
  }
  std::vector<std::vector<ShardInterface>> Interfaces() {
    std::vector<std::vector<ShardInterface>> all(2);
    for (uint32_t i = 0; i < 2; ++i) {
      InterfaceConfig config;
      config.addresses = {{AddressOf(i), AddressOf(i).is_v4() ? 15 : 48}};
      config.dad_transmits = 0;
      all[i] = {{ports_[i].get(), config}};
    }
    return all;
  }
  // Polls both shards and carries frames, for a second of virtual time.
  void Run() {
    for (int ms = 0; ms < 1000; ++ms) {
      for (uint32_t i = 0; i < 2; ++i) stack_->Poll(i, now_);
      for (uint32_t i = 0; i < 2; ++i)
        while (ports_[i]->sent_count() > 0) ports_[1 - i]->Inject(ports_[i]->TakeSent());
      now_ = now_ + Duration::Millis(1);
    }
  }

  StackOptions options_;
  Instant now_ = Instant::FromNanos(1'000'000'000'000);
  SeededRandom random_{7};
  std::vector<std::unique_ptr<HeapPool>> pools_;
  std::vector<std::unique_ptr<MemoryPort>> ports_;
  std::unique_ptr<Stack> stack_;
};

TEST_P(StackTest, EveryShardAcceptsConnectsAndEchoes) {
  Echo servers[2];
  Client clients[2];
  ASSERT_TRUE(
      stack_->Listen({.port = 7}, [&](uint32_t i) -> Application& { return servers[i]; }).ok());
  for (uint32_t i = 0; i < 2; ++i) {
    Connection c;
    ASSERT_EQ(stack_->Connect(i, AddressOf(1 - i), 7, clients[i], &c), Error::kNone);
    EXPECT_EQ(&c.shard(), &stack_->shard(i));
    EXPECT_EQ(c.state(), TcpState::kSynSent);
  }
  Run();
  for (uint32_t i = 0; i < 2; ++i) {
    EXPECT_EQ(clients[i].connected, 1);
    EXPECT_EQ(clients[i].got, "hello");
    EXPECT_EQ(clients[i].closed, 1);
    EXPECT_EQ(clients[i].why, Error::kNone);
    ASSERT_EQ(servers[i].accepted.size(), 1u) << "each shard's own application";
    EXPECT_EQ(&servers[i].accepted[0].shard(), &stack_->shard(i));
    EXPECT_EQ(stack_->shard(i).connection_count(), 0u);
  }
}

TEST_P(StackTest, AnEphemeralPortIsTheSameEverywhere) {
  Echo server;
  Client clients[2];
  uint16_t port = 0;
  ASSERT_TRUE(stack_->Listen({.port = 0}, server, &port).ok());
  ASSERT_NE(port, 0);
  Connection c;
  for (uint32_t i = 0; i < 2; ++i)
    ASSERT_EQ(stack_->Connect(i, AddressOf(1 - i), port, clients[i], &c), Error::kNone);
  Run();
  EXPECT_EQ(server.accepted.size(), 2u);
}

TEST_P(StackTest, ListenIsForAllShardsOrNone) {
  Echo server;
  Handle in_the_way, listener;
  ASSERT_EQ(stack_->shard(1).Listen({.port = 80}, &in_the_way), Error::kNone);
  const absl::Status status = stack_->Listen({.port = 80}, server);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("80"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(ToString(Error::kAddressInUse)));
  EXPECT_EQ(stack_->shard(0).Listen({.port = 80}, &listener), Error::kNone)
      << "the first shard's part was left open";
}

TEST_P(StackTest, ConnectSaysWhyNot) {
  Client client;
  Connection c;
  EXPECT_EQ(stack_->Connect(0,
                            GetParam() == Family::kIpv6 ? *IpAddress::Parse("2001:db8::8")
                                                        : IpAddress::V4(0x08080808),
                            80, client, &c),
            Error::kNetworkUnreachable);
  EXPECT_EQ(stack_->Connect(0, AddressOf(1), 0, client, &c), Error::kInvalid);
  EXPECT_EQ(c, Connection()) << "touched though nothing was opened";
  ASSERT_EQ(stack_->Connect(0, AddressOf(1), 80, client, &c), Error::kNone);
  Run();
  EXPECT_EQ(client.why, Error::kConnectionRefused);
  EXPECT_EQ(client.connected, 0);
}

TEST_P(StackTest, SizesAreSharedAmongTheShards) {
  options_.max_connections = 5;
  options_.sysctls.tcp_max_orphans = 7;
  options_.sysctls.tcp_max_tw_buckets = 8;
  options_.sysctls.tcp_mem = {10, 20, 31};
  Make();
  for (uint32_t i = 0; i < 2; ++i) {
    Shard& s = stack_->shard(i);
    EXPECT_EQ(s.index(), i);
    EXPECT_EQ(s.connections().capacity(), 3u);
    EXPECT_EQ(s.sysctls().tcp_max_orphans, 4);
    EXPECT_EQ(s.sysctls().tcp_max_tw_buckets, 4);
    EXPECT_EQ(s.sysctls().tcp_mem[2], 16u);
  }
}

// As on Linux, where nothing tests the range: no limit, and none.
TEST_P(StackTest, SizesBelowZeroAreNoSizes) {
  options_.max_connections = 8;
  options_.sysctls.tcp_max_orphans = -5;
  options_.sysctls.tcp_max_tw_buckets = -1;
  options_.sysctls.tcp_max_syn_backlog = -1;
  Make();
  for (uint32_t i = 0; i < 2; ++i) {
    Shard& s = stack_->shard(i);
    EXPECT_EQ(s.sysctls().tcp_max_orphans, -5);
    EXPECT_EQ(s.sysctls().tcp_max_tw_buckets, -1);
    EXPECT_EQ(s.sysctls().tcp_max_syn_backlog, -1);
  }
  Echo server;
  EXPECT_TRUE(stack_->Listen({.port = 7}, server).ok());
}

TEST_P(StackTest, ThereIsNoStackWithoutShardsOrShardWithoutInterface) {
  EXPECT_EQ(Stack::Create(options_, {}, random_).status().code(),
            absl::StatusCode::kInvalidArgument);
  auto interfaces = Interfaces();
  interfaces[1].clear();
  EXPECT_EQ(Stack::Create(options_, interfaces, random_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(StackTest, APostedErrandRunsInItsShardsNextPass) {
  Run();
  std::vector<uint32_t> ran;
  std::thread([&] { stack_->Post(1, [&](Shard& s) { ran.push_back(s.index()); }); }).join();
  EXPECT_LE(stack_->NextDeadline(1), now_) << "the shard would sleep over it";
  stack_->Poll(0, now_);
  EXPECT_TRUE(ran.empty());
  stack_->Poll(1, now_);
  EXPECT_EQ(ran, std::vector<uint32_t>{1});
  stack_->Poll(1, now_);
  EXPECT_EQ(ran.size(), 1u);
}

// What an errand writes leaves in the same pass.
TEST_P(StackTest, AnErrandMayUseConnections) {
  Client client;
  Echo server;
  ASSERT_TRUE(stack_->Listen({.port = 7}, server).ok());
  stack_->Post(0, [&](Shard&) {
    Connection c;
    EXPECT_EQ(stack_->Connect(0, AddressOf(1), 7, client, &c), Error::kNone);
  });
  Run();
  EXPECT_EQ(client.got, "hello");
}

USHER_FOR_BOTH_FAMILIES(StackTest);

}  // namespace
}  // namespace usher
