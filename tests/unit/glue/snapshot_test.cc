#include "stack/glue/snapshot.h"

#include <gmock/gmock.h>

#include <set>

#include "tests/unit/glue/control_fixture.h"

namespace usher {
namespace {

using Kind = SocketSnapshot::Kind;

class SnapshotTest : public ControlTest {
 protected:
  std::vector<SocketSnapshot> Walk(uint8_t kinds, uint32_t slots, int* steps = nullptr) {
    std::vector<SocketSnapshot> sockets;
    SocketCursor cursor;
    for (int i = 0; !cursor.done && i < 1000; ++i) {
      const size_t before = sockets.size();
      SnapshotSockets(stack_->shard(0), kinds, slots, &cursor, &sockets);
      EXPECT_LE(sockets.size() - before, slots);
      if (steps != nullptr) ++*steps;
    }
    EXPECT_TRUE(cursor.done);
    return sockets;
  }
};

TEST_F(SnapshotTest, ListenersAreMergedOverShards) {
  Connect(0, 1000);
  Connect(1, 1001);
  SendSyn(1, 1002);
  const std::vector<ListenersSnapshot> shards = {SnapshotListeners(stack_->shard(0)),
                                                 SnapshotListeners(stack_->shard(1))};
  ASSERT_EQ(shards[1].listeners.size(), 1u);
  EXPECT_EQ(shards[1].listeners[0].shard, 1);
  EXPECT_EQ(shards[1].listeners[0].accept_queue, 1u);
  const auto merged = MergeListeners(shards);
  ASSERT_EQ(merged.size(), 1u);
  EXPECT_EQ(merged[0].shard, ListenerSnapshot::kAllShards);
  EXPECT_EQ(merged[0].accept_queue, 2u);
  EXPECT_EQ(merged[0].limits.accept_limit, 5u);
  EXPECT_EQ(merged[0].limits.half_open_capacity, 16u);
  EXPECT_EQ(merged[0].half_open, 1u);
  EXPECT_EQ(merged[0].young, 1u);
  EXPECT_EQ(merged[0].counters.syns, 3u);
  EXPECT_EQ(merged[0].counters.completed, 2u);
}

TEST_F(SnapshotTest, DropsWithoutAListenerAreThere) {
  SendSyn(0, 1000);
  Send(0, 1001, TcpFlags::kAck, 5, 6);
  const ListenersSnapshot all = SnapshotListeners(stack_->shard(0));
  EXPECT_EQ(all.listeners[0].counters.drops[DropReason::kAckUnexpected], 1u);
}

TEST_F(SnapshotTest, AWalkInStepsSeesEachSocketOnce) {
  for (uint16_t port = 1000; port < 1002; ++port) Connect(0, port);
  for (uint16_t port = 2000; port < 2005; ++port) SendSyn(0, port);
  for (const uint32_t slots : {1u, 2u, 3u, 1024u}) {
    SCOPED_TRACE(slots);
    int steps = 0;
    const auto sockets = Walk(0xff, slots, &steps);
    std::set<uint16_t> ports;
    for (const SocketSnapshot& s : sockets) {
      ports.insert(s.tuple.remote_port);
      EXPECT_EQ(s.kind, s.tuple.remote_port < 2000 ? Kind::kConnection : Kind::kRequest);
    }
    EXPECT_EQ(sockets.size(), 7u);
    EXPECT_EQ(ports.size(), 7u);
    EXPECT_GE(steps, 7 / static_cast<int>(slots));
  }
  EXPECT_EQ(Walk(1u << static_cast<unsigned>(Kind::kRequest), 1024).size(), 5u);
  EXPECT_EQ(Walk(1u << static_cast<unsigned>(Kind::kConnection), 2).size(), 2u);
  EXPECT_EQ(Walk(1u << static_cast<unsigned>(Kind::kTimeWait), 1024).size(), 0u);
}

TEST_F(SnapshotTest, ARequestHasItsTimer) {
  SendSyn(0, 1000);
  now_ = now_ + Duration::Millis(300);
  stack_->Poll(0, now_);
  const auto sockets = Walk(0xff, 1024);
  ASSERT_EQ(sockets.size(), 1u);
  EXPECT_EQ(sockets[0].info.state, TcpState::kSynReceived);
  EXPECT_EQ(sockets[0].info.timer.kind, TimerKind::kOn);
  EXPECT_EQ(sockets[0].info.timer.remaining.ms(), 700);
  EXPECT_EQ(sockets[0].info.timer.retransmits, 0);
}

TEST_F(SnapshotTest, AConnectionHasItsFacts) {
  Connect(0, 1000);
  Send(0, 1000, TcpFlags::kAck | TcpFlags::kFin, 1001, 0);  // wrong ACK: ignored
  const auto sockets = Walk(0xff, 1024);
  ASSERT_EQ(sockets.size(), 1u);
  const TcpInfo& info = sockets[0].info;
  EXPECT_TRUE(sockets[0].queued);
  EXPECT_EQ(info.state, TcpState::kEstablished);
  EXPECT_EQ(info.recv_q, 0u);
  EXPECT_EQ(info.send_q, 0u);
  EXPECT_EQ(info.cwnd, 10u);
  EXPECT_EQ(info.mss, 536u);
  EXPECT_EQ(info.pmtu, 1500u);
  EXPECT_EQ(info.ssthresh, TcpInfo::kNoSsthresh);
  EXPECT_FALSE(info.timestamps);
  EXPECT_EQ(info.snd_wnd, 65535u);
}

TEST_F(SnapshotTest, TablesAreCounted) {
  Connect(0, 1000);
  SendSyn(0, 2000);
  const ShardSnapshot s = SnapshotShard(stack_->shard(0));
  EXPECT_EQ(s.connections, 1u);
  EXPECT_EQ(s.requests, 1u);
  EXPECT_EQ(s.time_wait, 0u);
  EXPECT_EQ(SnapshotCounters(stack_->shard(0))[static_cast<size_t>(Counter::TcpPassiveOpens)], 1u);
}

}  // namespace
}  // namespace usher
