// Two hosts whose applications write and do not read, for hours: both windows are closed, and each
// side asks the other now and then whether it still is.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/sim/host.h"
#include "tests/sim/link.h"

namespace usher::sim {
namespace {

constexpr uint16_t kPort = 80;
constexpr uint64_t kBytes = 2'000'000;  // each way
constexpr Duration kOneWay = Duration::Millis(5);
constexpr Duration kLongestWait = Duration::Seconds(120);  // rto_max

class ZeroWindowTest : public testing::TestWithParam<bool> {  // IPv6?
 protected:
  void Start(const TcpOptionsSet& client_options = {}) {
    LinkFaults faults;
    faults.delay = kOneWay;
    StackOptions options;
    options.max_connections = 16;
    for (size_t i = 0; i < 2; ++i) {
      hosts_[i] = std::make_unique<Host>(static_cast<uint8_t>(i + 1), GetParam(), options, 4096,
                                         uint16_t{1500}, 7 + i);
      links_[i] = std::make_unique<Link>(faults, 11 + i);
    }
    for (size_t i = 0; i < 2; ++i) {
      const Host& other = *hosts_[1 - i];
      hosts_[i]->stack->Start(0, now_);
      hosts_[i]->stack->shard(0).interface(0).SetPermanentNeighbour(now_, other.address, other.mac);
    }
    ASSERT_TRUE(hosts_[1]->stack->Listen({.port = kPort}, *hosts_[1]).ok());
    FlowPlan flow{.id = 1};
    flow.client.bytes = flow.server.bytes = kBytes;
    flow.client.read_pause = flow.server.read_pause = Duration::Seconds(1'000'000);
    flow.client.read_size = flow.server.read_size = UINT32_MAX;
    Connection c;
    ASSERT_EQ(
        hosts_[0]->stack->Connect(0, hosts_[1]->address, kPort, *hosts_[0], &c, client_options),
        Error::kNone);
    hosts_[1]->plans[c.tuple().local_port] = flow;
    hosts_[0]->Begin(c, flow, true);
    RunFor(Duration::Seconds(10));
    for (size_t i = 0; i < 2; ++i) {
      ASSERT_EQ(hosts_[i]->ends.size(), 1u);
      EXPECT_EQ(Window(i), 0u) << "host " << i;
      EXPECT_LT(end(i).sent(), kBytes);
    }
  }
  void TearDown() override {
    for (auto& host : hosts_)
      if (host) host->stack->shard(0).AbortAll();
  }

  void RunFor(Duration d) {
    const Instant end = now_ + d;
    while (now_ < end && !HasFailure()) Step(end);
  }
  void Step(Instant end) {
    const Instant next = std::min({hosts_[0]->NextDeadline(), hosts_[1]->NextDeadline(),
                                   links_[0]->NextArrival(), links_[1]->NextArrival(), end});
    ASSERT_LT(++still_, 10'000) << "time stands still";
    if (next > now_) {
      still_ = 0;
      now_ = next;
    }
    for (size_t i = 0; i < 2; ++i) {
      Host& h = *hosts_[i];
      std::vector<uint8_t> frame;
      while (links_[1 - i]->Take(now_, &frame)) h.port.Inject(frame);
      if (h.NextDeadline() <= now_ || h.port.received_count() > 0) h.Poll(now_);
      while (h.port.sent_count() > 0) links_[i]->Send(h.port.TakeSent(), now_);
    }
  }

  End& end(size_t host) { return *hosts_[host]->ends[0]; }
  uint64_t Count(size_t host, Counter counter) {
    return hosts_[host]->stack->shard(0).counters().Get(counter);
  }
  // That a host may still fill, by what its peer last said.
  uint32_t Window(size_t host) {
    uint32_t window = UINT32_MAX;
    hosts_[host]->stack->shard(0).ForEachConnection([&](TcpConnection& c) {
      const test::ConnectionPeek peek{c};
      window = static_cast<uint32_t>(peek.snd_una() + peek.snd_wnd() - peek.snd_nxt());
    });
    return window;
  }
  // How long until the host has sent another probe.
  Duration UntilProbe(size_t host) {
    const uint64_t before = Count(host, Counter::TcpExtTCPWinProbe);
    const Instant start = now_;
    const Instant end = now_ + kLongestWait * 2;
    while (now_ < end && Count(host, Counter::TcpExtTCPWinProbe) == before && !HasFailure())
      Step(end);
    return now_ - start;
  }

  std::unique_ptr<Host> hosts_[2];  // client, server
  std::unique_ptr<Link> links_[2];  // out of host i
  Instant now_ = Instant::FromNanos(1'000'000'000'000);
  uint32_t still_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Family, ZeroWindowTest, testing::Bool(),
                         [](const auto& i) { return i.param ? "V6" : "V4"; });

TEST_P(ZeroWindowTest, ZeroWindowInBothDirectionsForHours) {
  Start();
  RunFor(Duration::Seconds(600));
  uint64_t probes[2];
  uint64_t resent[2];
  for (size_t i = 0; i < 2; ++i) {
    probes[i] = Count(i, Counter::TcpExtTCPWinProbe);
    resent[i] = Count(i, Counter::TcpRetransSegs);
  }
  const uint64_t sent[2] = {end(0).sent(), end(1).sent()};
  constexpr int64_t kHours = 6;
  RunFor(Duration::Seconds(kHours * 3600));
  for (size_t i = 0; i < 2; ++i) {
    // Backed off as far as it goes, and no farther: each probe is answered, so none is the last.
    EXPECT_NEAR(static_cast<double>(Count(i, Counter::TcpExtTCPWinProbe) - probes[i]),
                static_cast<double>(kHours * 3600) / 120, 2)
        << "host " << i;
    UntilProbe(i);
    // The answer to one begins the wait for the next.
    EXPECT_EQ(UntilProbe(i).us(), (kLongestWait + kOneWay * 2).us()) << "host " << i;
    EXPECT_EQ(end(i).sent(), sent[i]);
    EXPECT_EQ(Count(i, Counter::TcpCurrEstab), 1u);
    EXPECT_EQ(Count(i, Counter::TcpRetransSegs), resent[i]);
  }

  // One reads: what the other waited for hours to send comes within a round trip, while its own
  // window stays closed.
  RunFor(Duration::Seconds(50));  // between two probes
  const auto flows = [this](size_t reader) {
    End& to = end(reader);
    to.Read();
    const uint64_t kept = to.received();  // what lay in its buffer
    EXPECT_GT(kept, 0u);
    RunFor(kOneWay * 2);
    to.Read();
    EXPECT_GT(to.received(), kept) << "nothing came in a round trip, to host " << reader;
  };
  flows(0);
  EXPECT_EQ(end(1).received(), 0u);
  flows(1);

  // And from then on everything, byte for byte.
  for (int i = 0; i < 2000 && !(end(0).eof() && end(1).eof()) && !HasFailure(); ++i) {
    for (size_t host = 0; host < 2; ++host)
      if (!end(host).eof()) end(host).Read();
    RunFor(kOneWay);
  }
  RunFor(Duration::Seconds(300));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(end(i).complete())
        << "host " << i << ": sent " << end(i).sent() << ", received " << end(i).received();
    hosts_[i]->ExpectBaseline();
  }
}

// Who asked for it gives up though the peer answers every probe; nobody else does.
TEST_P(ZeroWindowTest, OnlyAUserTimeoutEndsIt) {
  Start({.user_timeout_ms = 1'800'000});
  for (size_t i = 0; i < 2; ++i) end(i).AllowFailure();
  RunFor(Duration::Seconds(1'750));
  EXPECT_FALSE(end(0).closed());
  RunFor(Duration::Seconds(60));
  EXPECT_EQ(end(0).error(), Error::kTimedOut);
  EXPECT_EQ(Count(0, Counter::TcpExtTCPAbortOnTimeout), 1u);
  // The other learns of it by its next probe.
  EXPECT_EQ(Count(1, Counter::TcpExtTCPAbortOnTimeout), 0u);
  RunFor(kLongestWait);
  EXPECT_EQ(end(1).error(), Error::kConnectionReset);
}

}  // namespace
}  // namespace usher::sim
