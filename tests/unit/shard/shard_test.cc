// stack/shard/shard.h: what its size, its settings and its end are. How segments find their way is
// in handshake_test.cc and demux_test.cc.
#include "stack/shard/shard.h"

#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

// ---- ResolveSysctls ----

TEST(ResolveSysctlsTest, DefaultsFollowTheTables) {
  struct {
    uint32_t connections;
    int32_t syn_backlog, tw_buckets, orphans;
  } const kCases[] = {{1, 128, 1, 1},
                      {2, 128, 2, 1},
                      {16'384, 128, 16'384, 8192},
                      {65'536, 512, 65'536, 32'768},
                      {1'048'576, 8192, 1'048'576, 524'288}};
  for (const auto& c : kCases) {
    Sysctls s;
    ResolveSysctls(s, c.connections);
    EXPECT_EQ(s.tcp_max_syn_backlog, c.syn_backlog) << c.connections;
    EXPECT_EQ(s.tcp_max_tw_buckets, c.tw_buckets) << c.connections;
    EXPECT_EQ(s.tcp_max_orphans, c.orphans) << c.connections;
    EXPECT_GE(s.tcp_mem[2], 1024u) << c.connections;
    EXPECT_LT(s.tcp_mem[0], s.tcp_mem[1]);
    EXPECT_LT(s.tcp_mem[1], s.tcp_mem[2]);
  }
}

TEST(ResolveSysctlsTest, WhatIsSetStays) {
  Sysctls s;
  s.tcp_max_syn_backlog = 5;
  s.tcp_max_tw_buckets = 6;
  s.tcp_max_orphans = 7;
  s.tcp_mem = {8, 9, 10};
  ResolveSysctls(s, 100'000);
  EXPECT_EQ(s.tcp_max_syn_backlog, 5);
  EXPECT_EQ(s.tcp_max_tw_buckets, 6);
  EXPECT_EQ(s.tcp_max_orphans, 7);
  EXPECT_EQ(s.tcp_mem, (std::array<uint64_t, 3>{8, 9, 10}));
}

TEST(ResolveSysctlsTest, ResolvedTwiceIsResolvedOnce) {
  Sysctls once, twice;
  ResolveSysctls(once, 1000);
  ResolveSysctls(twice, 1000);
  ResolveSysctls(twice, 1'000'000);
  EXPECT_EQ(once.tcp_max_syn_backlog, twice.tcp_max_syn_backlog);
  EXPECT_EQ(once.tcp_max_tw_buckets, twice.tcp_max_tw_buckets);
  EXPECT_EQ(once.tcp_mem, twice.tcp_mem);
}

TEST(ResolveSysctlsTest, LargestTablesDoNotOverflow) {
  Sysctls s;
  ResolveSysctls(s, UINT32_MAX);
  EXPECT_GT(s.tcp_max_syn_backlog, 0);
  EXPECT_GT(s.tcp_max_tw_buckets, 0);
  EXPECT_GT(s.tcp_max_orphans, 0);
  EXPECT_GT(s.tcp_mem[2], s.tcp_mem[1]);
}

// ---- MemoryNeeded ----

ShardOptions Sized(uint32_t connections, uint32_t requests) {
  ShardOptions o;
  o.max_connections = connections;
  o.passive_open.max_requests = requests;
  ResolveSysctls(o.sysctls, connections);
  return o;
}

TEST(MemoryNeededTest, GrowsWithEachTable) {
  const uint64_t base = Shard::MemoryNeeded(Sized(1000, 1000));
  EXPECT_GT(Shard::MemoryNeeded(Sized(2000, 1000)), base + 1000 * sizeof(TcpConnection));
  EXPECT_GT(Shard::MemoryNeeded(Sized(1000, 2000)), base + 1000 * (64 + 128) - 4096);
  ShardOptions more_time_wait = Sized(1000, 1000);
  more_time_wait.sysctls.tcp_max_tw_buckets += 10'000;
  EXPECT_GT(Shard::MemoryNeeded(more_time_wait), base + uint64_t{10'000} * 64);
}

TEST(MemoryNeededTest, IsNeitherNothingNorBeyondReason) {
  const uint64_t least = Shard::MemoryNeeded(Sized(1, 1));
  EXPECT_GT(least, sizeof(Shard));
  const uint64_t million = Shard::MemoryNeeded(Sized(1'000'000, 1'000'000));
  EXPECT_GT(million, uint64_t{1'000'000} * sizeof(TcpConnection));
  EXPECT_LT(million, uint64_t{16} << 30);
  // 64 bits all the way.
  EXPECT_GT(Shard::MemoryNeeded(Sized(16'777'216, 16'777'216)),
            uint64_t{16'777'216} * (sizeof(TcpConnection) + 64 + 128));
}

TEST(ShardCreateTest, NeedsAnInterface) {
  SeededRandom random(1);
  const auto shard = Shard::Create(Sized(16, 16), {}, random);
  EXPECT_EQ(shard.status().code(), absl::StatusCode::kInvalidArgument);
}

// ---- AbortAll ----

class ShardTest : public ConnectionTest {
 protected:
  // One more connection, from the next port.
  Connection OpenNext() {
    ++tuple_.remote_port;
    return Open();
  }
};
USHER_FOR_BOTH_FAMILIES(ShardTest);

TEST_P(ShardTest, AbortAllResetsWhateverState) {
  Connection established = Open();
  established.Write(std::string(2000, 'x'));  // in flight
  TakeAfterPoll();
  Connection half_closed = OpenNext();
  half_closed.Shutdown(ShutdownHow::kWrite);
  TakeAfterPoll();
  Connection close_wait = OpenNext();
  Give(Flags("FA").SeqNo(peer_nxt_).AckNo(our_nxt_));
  Connection orphan = OpenNext();
  orphan.Write("rest");
  orphan.Close();
  TakeAfterPoll();
  app_.accept = false;  // one that nobody has accepted
  ++tuple_.remote_port;
  Give(SynOf(Seq(peer_isn_)));
  const auto syn_ack = TakeSent();
  ASSERT_EQ(syn_ack.size(), 1u);
  Give(From(tuple_).Ack(P(0), syn_ack[0].seq + 1));
  TakeSent();
  ASSERT_EQ(shard().connection_count(), 5u);

  shard().AbortAll();
  const auto sent = TakeAfterPoll();
  EXPECT_EQ(sent.size(), 5u);
  for (const SentTcp& s : sent)
    EXPECT_TRUE(s.flags & TcpFlags::kRst) << ::testing::PrintToString(s);
  EXPECT_FALSE(established.valid());
  EXPECT_FALSE(half_closed.valid());
  EXPECT_FALSE(close_wait.valid());
  EXPECT_EQ(close_wait.Close(), Error::kBadHandle);
}

TEST_P(ShardTest, AbortAllOfNothingIsNothing) {
  Make();
  shard().AbortAll();
  EXPECT_TRUE(TakeAfterPoll().empty());
  ExpectNothingLeft();
}

TEST_P(ShardTest, AfterAbortAllTheShardGoesOn) {
  Connection c = Open();
  shard().AbortAll();
  TakeAfterPoll();
  ExpectNothingLeft();
  EXPECT_FALSE(c.valid());
  c = OpenNext();
  Give(Ack().Data("again"));
  EXPECT_EQ(Read(c), "again");
}

// ---- ApplySysctls ----

TEST_P(ShardTest, SettingsAreTakenOverAtOnce) {
  Make();
  Sysctls s = shard().sysctls();
  s.tcp_rto_min_us = 900'000;
  s.tcp_mem = {100, 200, 300};
  shard().ApplySysctls(s);
  EXPECT_EQ(shard().context().recovery_settings.rto_min, Duration::Millis(900));
  EXPECT_EQ(shard().sysctls().tcp_mem[2], 300u);
  Connection c = Open();
  c.Write("x");
  TakeAfterPoll();
  EXPECT_GE(UntilSent(Duration::Seconds(5)), Duration::Millis(900));
}

TEST_P(ShardTest, FreePacketBuffersCountsAPoolOnce) {
  Make();
  EXPECT_EQ(shard().FreePacketBuffers(), pool_->available());
}

}  // namespace
}  // namespace usher::test
