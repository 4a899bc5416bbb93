// The drop ledger balances: over random runs every SYN and every ACK is in exactly one place.
#include <set>

#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

class LedgerTest : public PassiveOpenTest {
 protected:
  // Random clients do random things to random listeners for `steps` steps.
  void Run(uint64_t seed, uint32_t steps) {
    SeededRandom random(seed);
    const auto one_in = [&](uint64_t n) { return random.Uniform(n) == 0; };
    constexpr ListenModel kModels[] = {ListenModel::kLinuxClassic, ListenModel::kLinux,
                                       ListenModel::kBsd};
    std::vector<Handle> listeners;
    std::map<FourTuple, SentTcp> last;     // the newest SYN-ACK each client has seen
    std::map<FourTuple, SentTcp> earlier;  // and the one before
    for (uint32_t step = 0; step < steps; ++step) {
      if (listeners.empty() || (listeners.size() < 3 && one_in(50))) {
        ListenSpec spec;
        spec.port = static_cast<uint16_t>(80 + random.Uniform(2));
        spec.backlog = static_cast<int>(random.Uniform(6));
        spec.model = kModels[random.Uniform(3)];
        spec.reuseport = true;
        spec.defer_accept_s = one_in(4) ? 3 : 0;
        spec.cookie_ack_parking = one_in(2);
        spec.strict_cookies = one_in(4);
        Handle handle;
        if (passive_->Listen(spec, &handle) == Error::kNone) listeners.push_back(handle);
      }
      if (one_in(40)) {
        sysctls_.tcp_syncookies = static_cast<int32_t>(random.Uniform(3));
        sysctls_.tcp_abort_on_overflow = one_in(3);
        sysctls_.tcp_migrate_req = one_in(2);
        sysctls_.tcp_max_syn_backlog = one_in(2) ? 8 : 8192;
        sysctls_.tcp_fastopen = one_in(4) ? 0x602 : 1;
      }
      // One draw per statement: every compiler is to make the same run.
      const auto host = static_cast<uint32_t>(random.Uniform(40));
      const FourTuple client = Client(host, static_cast<uint16_t>(80 + random.Uniform(3)));
      SegmentBuilder segment = From(client);
      const SentTcp& seen = last[client];
      switch (random.Uniform(10)) {
        case 0:
        case 1:
        case 2:
          segment = one_in(4) ? PlainSyn(client) : LinuxSyn(client, Seq(one_in(8) ? 2000 : 1000));
          if (one_in(4)) segment.Data("early");
          break;
        case 3:
        case 4:
        case 5:
          if (seen.flags == 0) continue;
          segment = FinalAck(one_in(4) && earlier[client].flags != 0 ? earlier[client] : seen);
          if (one_in(3)) segment.Data("GET /");
          break;
        case 6:
          if (seen.flags != 0 && one_in(2)) {
            const auto tsval = 4999 + static_cast<uint32_t>(random.Uniform(3));
            segment = FinalAck(seen).Timestamps(tsval, seen.tsval() + one_in(2));
            break;
          }
          segment.Ack(Seq(1001 + static_cast<uint32_t>(random.Uniform(3))), seen.seq + 2);
          break;
        case 7:
          segment.FlagBits(static_cast<uint16_t>(random.Uniform(512)))
              .SeqNo(Seq(1000 + static_cast<uint32_t>(random.Uniform(3))))
              .AckNo(seen.seq + 1);
          break;
        case 8:
          Pass(Duration::Millis(static_cast<int64_t>(random.Uniform(3000))));
          continue;
        default: {
          const size_t i = random.Uniform(listeners.size());
          if (one_in(12)) {
            CloseListener(listeners[i]);
            listeners.erase(listeners.begin() + static_cast<ptrdiff_t>(i));
          } else if (one_in(2)) {
            Accept(listeners[i]);
          } else {
            passive_->SetBacklog(listeners[i], static_cast<int>(random.Uniform(8)));
            EndPass();
          }
          continue;
        }
      }
      DropSent();
      for (int times = one_in(10) ? 2 : 1; times > 0; --times) {  // networks repeat packets
        // The demux gives what is of a child to the child: not the ledger's business.
        if (children_.count(client) == 0) CountIn(segment);
        Give(segment);
      }
      for (const SentTcp& s : TakeAll())
        if (s.flags == FlagsFromString("SA")) earlier[s.tuple] = std::exchange(last[s.tuple], s);
      CheckBalance(listeners);
      if (HasFailure()) {
        ADD_FAILURE() << "seed " << seed << " step " << step;
        return;
      }
      if (children_.size() > 300) ForgetChildren();
    }
  }

  void CountIn(const Bytes& frame) {
    const auto tcp = TcpView::Parse(ByteSpan(frame).subspan(v6_ ? 54 : 34));
    const uint16_t flags = tcp->flags();
    if ((flags & TcpFlags::kRst) != 0) return;
    if ((flags & TcpFlags::kAck) != 0)
      ++acks_in_;
    else if ((flags & TcpFlags::kSyn) != 0)
      ++syns_in_;
  }

  void NoteRows(const DropLedger& drops) {
    for (size_t i = 0; i < kDropReasons; ++i)
      if (drops[static_cast<DropReason>(i)] > 0) rows_seen_.insert(static_cast<DropReason>(i));
  }
  void ForgetChildren() {
    for (auto& [tuple, child] : children_)
      if (child->accepted) Forgotten(child);
    std::erase_if(children_, [](const auto& entry) { return entry.second == nullptr; });
  }
  void Forgotten(TcpConnection*& child) {
    child->Abort(*context_);
    child->Destroy(*context_);
    connections_->Free(child->slot());
    child = nullptr;
  }

  void CheckBalance(const std::vector<Handle>& listeners) {
    ListenerCounters sum = passive_->without_listener();
    uint64_t queued = 0;
    uint64_t parked = 0;
    for (const Handle h : listeners) {
      const Listener& l = L(h);
      sum.Add(l.counters);
      queued += l.accept_queue.length();
      parked += l.parked;
    }
    NoteRows(sum.drops);
    const uint64_t handshakes = sum.completed + sum.completed_by_cookie;
    EXPECT_EQ(passive_->requests().size() + sum.completed + sum.completed_fast_open +
                  sum.syncookies_sent + sum.syn_answered_again + sum.drops.syns(),
              syns_in_);
    EXPECT_EQ(handshakes + parked + sum.drops.acks(), acks_in_);
    EXPECT_EQ(handshakes + sum.completed_fast_open, sum.accepted + queued);
    EXPECT_EQ(sum.listen_drops, Count(Counter::TcpExtListenDrops) - drops_before_);
  }

  uint64_t syns_in_ = 0;
  uint64_t acks_in_ = 0;
  uint64_t drops_before_ = 0;
  std::set<DropReason> rows_seen_;
};

TEST_P(LedgerTest, EverySegmentIsInExactlyOnePlace) {
  for (uint64_t seed = 1; seed <= 20 && !HasFailure(); ++seed) {
    Make();
    syns_in_ = acks_in_ = 0;
    drops_before_ = Count(Counter::TcpExtListenDrops);
    Run(seed, 1500);
  }
  // The runs are of use only as far as they reach. What they cannot reach has tests of its own.
  const std::set<DropReason> elsewhere = {
      DropReason::kSynNotUnicast,    DropReason::kSynNoRecord,     DropReason::kSynNoRoute,
      DropReason::kAckCookieOptions, DropReason::kAckNoConnection, DropReason::kAckNoRoute,
      DropReason::kSynEndedByCookie, DropReason::kSynTimeWait,     DropReason::kSynSignature,
      DropReason::kAckSignature};
  for (size_t i = 0; i < kDropReasons; ++i) {
    const auto reason = static_cast<DropReason>(i);
    EXPECT_TRUE(rows_seen_.count(reason) + elsewhere.count(reason) > 0) << ToString(reason);
  }
}

TEST(DropLedgerTest, RowsAreNamedAndSummed) {
  DropLedger ledger;
  std::set<std::string> names;
  for (size_t i = 0; i < kDropReasons; ++i) {
    const auto reason = static_cast<DropReason>(i);
    ledger.Add(reason);
    names.insert(ToString(reason));
    const std::string prefix = i < kFirstAckReason ? "syn-" : "ack-";
    EXPECT_EQ(std::string(ToString(reason)).substr(0, 4), prefix);
  }
  EXPECT_EQ(names.size(), kDropReasons);
  EXPECT_EQ(ledger.syns(), kFirstAckReason);
  EXPECT_EQ(ledger.acks(), kDropReasons - kFirstAckReason);
}

USHER_FOR_BOTH_FAMILIES(LedgerTest);

}  // namespace
}  // namespace usher::test
