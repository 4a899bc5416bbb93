// The drop ledger over two shards: each segment is in exactly one place of one of them, whichever
// queue it came by.
#include <map>
#include <set>

#include "tests/support/sharded_stack.h"

namespace usher::test {
namespace {

class ShardedLedgerTest : public ShardedStackTest {
 protected:
  static constexpr uint32_t kShards = 2;
  static constexpr Seq kIsn = Seq(1000);

  void Open() {
    ASSERT_TRUE(stack_
                    ->Listen({.port = kPort, .backlog = 3, .model = ListenModel::kLinux},
                             [this](uint32_t i) -> Application& { return doormen_[i]; })
                    .ok());
    for (uint32_t i = 0; i < kShards; ++i)
      shard(i).passive_open().ForEachListener(
          [&](Handle h, const Listener&) { doormen_[i].acceptor = Acceptor(&shard(i), h); });
    open_.fill(true);
  }
  void Close(uint32_t i) {
    if (!open_[i]) return;
    ASSERT_EQ(doormen_[i].acceptor.Close(), Error::kNone);
    open_[i] = false;
    Poll();
    if (!open_[0] && !open_[1]) Open();
  }

  // Whether what comes for `t` is the business of a connection, or of one that is over.
  bool HasConnection(const FourTuple& t) {
    bool found = false;
    for (uint32_t i = 0; i < kShards; ++i)
      shard(i).ForEachConnection([&](TcpConnection& c) { found |= !c.settled && c.tuple() == t; });
    return found;
  }
  bool InTimeWait(const FourTuple& t) {
    bool found = false;
    for (uint32_t i = 0; i < kShards; ++i)
      shard(i).time_wait().ForEach(
          [&](uint32_t r) { found |= shard(i).time_wait().TupleOf(r) == t; });
    return found;
  }

  void GiveSyn(uint32_t queue, const FourTuple& t) {
    if (!HasConnection(t)) ++syns_in_;
    Exchange(queue, From(t).Syn(kIsn).Mss(1460));
  }
  void GiveAck(uint32_t queue, const FourTuple& t, Seq ack) {
    if (!HasConnection(t) && !InTimeWait(t)) ++acks_in_;
    Exchange(queue, From(t).Ack(kIsn + 1, ack));
  }
  void Exchange(uint32_t queue, const Bytes& frame) {
    Give(queue, frame);
    Poll();
    for (uint32_t i = 0; i < kShards; ++i)
      for (const SentTcp& s : Sent(i))
        if (s.flags == FlagsFromString("SA")) seen_[s.tuple] = s.seq;
  }
  // Accepts, closes, and lets the peer do the same: TIME-WAIT.
  void AcceptAndClose(uint32_t i) {
    Connection c;
    if (!open_[i] || doormen_[i].acceptor.Accept(&c) != Error::kNone) return;
    const FourTuple t = shard(i).Find(c.handle())->tuple();
    EXPECT_EQ(c.Close(), Error::kNone);
    Poll();
    Exchange(i, From(t).Flags("FA").SeqNo(kIsn + 1).AckNo(seen_[t] + 2));
  }

  void CheckBalance() {
    ListenerCounters sum;
    uint64_t half_open = 0;
    uint64_t queued = 0;
    for (uint32_t i = 0; i < kShards; ++i) {
      const PassiveOpen& p = shard(i).passive_open();
      sum.Add(p.without_listener());
      half_open += p.requests().size();
      p.ForEachListener([&](Handle, const Listener& l) {
        sum.Add(l.counters);
        queued += l.accept_queue.length();
      });
    }
    const uint64_t completed = sum.completed + sum.completed_by_cookie;
    EXPECT_EQ(
        half_open + sum.completed + sum.syncookies_sent + sum.syn_answered_again + sum.drops.syns(),
        syns_in_);
    EXPECT_EQ(completed + sum.drops.acks(), acks_in_);
    EXPECT_EQ(completed, sum.accepted + queued);
    for (size_t i = 0; i < kDropReasons; ++i)
      if (sum.drops[static_cast<DropReason>(i)] > 0) rows_.insert(static_cast<DropReason>(i));
  }

  std::array<Doorman, kShards> doormen_;
  std::array<bool, kShards> open_ = {};
  std::map<FourTuple, Seq> seen_;  // the newest SYN-ACK's number
  std::set<DropReason> rows_;
  uint64_t syns_in_ = 0;
  uint64_t acks_in_ = 0;
};

TEST_P(ShardedLedgerTest, EverySegmentIsInExactlyOnePlace) {
  Make(kShards);
  Open();
  SeededRandom random(7);
  const auto draw = [&](uint64_t n) { return static_cast<uint32_t>(random.Uniform(n)); };
  for (uint32_t step = 0; step < 4000 && !HasFailure(); ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    const uint32_t queue = draw(kShards);
    const FourTuple t = Client(draw(40));
    switch (draw(8)) {
      case 0:
      case 1:
        GiveSyn(queue, t);
        break;
      case 2:
      case 3:
        if (seen_.count(t) > 0) GiveAck(queue, t, seen_[t] + 1);
        break;
      case 4:
        GiveAck(queue, t, Seq(draw(UINT32_MAX)));
        break;
      case 5:
        AcceptAndClose(queue);
        break;
      case 6:
        now_ = now_ + Duration::Millis(draw(8000));
        Poll();
        break;
      default: {
        if (draw(8) == 0) Close(queue);
        // From our own address (LAND): the network layer's, and no row.
        const FourTuple land{t.local, t.local, kPort, kPort};
        Exchange(queue, From(land).Syn(kIsn));
      }
    }
    CheckBalance();
  }
  for (const DropReason reason :
       {DropReason::kSynNoListener, DropReason::kSynTimeWait, DropReason::kSynAcceptQueueFull,
        DropReason::kSynEndedByTimeout, DropReason::kSynEndedByClose, DropReason::kAckEndedByClose,
        DropReason::kAckNoListener, DropReason::kAckUnexpected, DropReason::kAckAcceptQueueFull})
    EXPECT_TRUE(rows_.count(reason) > 0) << ToString(reason) << ": the run does not reach it";
  const uint64_t steered = Get(0, Counter::UsherSteered) + Get(1, Counter::UsherSteered);
  EXPECT_GT(steered, 100u);
}

USHER_FOR_BOTH_FAMILIES(ShardedLedgerTest);

}  // namespace
}  // namespace usher::test
