// Congestion control of whole stacks over a link of limited rate, in virtual time: how much of the
// link is used, and how long a queue it costs.
#include <gtest/gtest.h>

#include <memory>
#include <ostream>

#include "tests/sim/host.h"
#include "tests/sim/link.h"

namespace usher::sim {
namespace {

constexpr uint16_t kPort = 80;

struct Plan {
  const char* algorithm = "cubic";
  bool v6 = false;
  int ecn = 2;
  uint64_t bytes_per_second = 1'250'000;
  Duration one_way = Duration::Millis(10);
  uint32_t queue_bytes = 200'000;
  uint32_t mark_bytes = 0;
  uint32_t loss = 0;  // of 1000
  uint32_t flows = 1;
  uint32_t max_pacing_rate = Pacer::kNoLimit;
};

// The client sends without end through the bottleneck.
class Bottleneck {
 public:
  explicit Bottleneck(const Plan& plan) : plan_(plan) {
    LinkFaults out;
    out.bytes_per_second = plan.bytes_per_second;
    out.queue_bytes = plan.queue_bytes;
    out.mark_bytes = plan.mark_bytes;
    out.delay = plan.one_way;
    out.loss = plan.loss;
    LinkFaults back;
    back.delay = plan.one_way;
    StackOptions options;
    options.max_connections = 16;
    options.sysctls.tcp_congestion_control = plan.algorithm;
    options.sysctls.tcp_ecn = plan.ecn;
    options.sysctls.tcp_rmem = {4096, 2'000'000, 4'000'000};  // the path is to be the limit
    for (int i = 0; i < 2; ++i) {
      hosts_[i] = std::make_unique<Host>(static_cast<uint8_t>(i + 1), plan.v6, options, 16'384,
                                         uint16_t{1500}, uint64_t{7} + static_cast<uint64_t>(i));
      links_[i] =
          std::make_unique<Link>(i == 0 ? out : back, uint64_t{11} + static_cast<uint64_t>(i));
    }
    for (int i = 0; i < 2; ++i) {
      Host& other = *hosts_[1 - i];
      hosts_[i]->stack->Start(0, now_);
      hosts_[i]->stack->shard(0).interface(0).SetPermanentNeighbour(now_, other.address, other.mac);
    }
    EXPECT_TRUE(hosts_[1]->stack->Listen({.port = kPort}, *hosts_[1]).ok());
    for (uint32_t i = 0; i < plan.flows; ++i) Open(i + 1);
  }
  ~Bottleneck() {
    for (auto& host : hosts_) host->stack->shard(0).AbortAll();
  }

  void RunFor(Duration d) {
    const Instant end = now_ + d;
    while (now_ < end && !testing::Test::HasFailure()) Step(end);
  }
  // What the server's applications have read, all flows together.
  uint64_t received() const {
    uint64_t sum = 0;
    for (const auto& end : hosts_[1]->ends) sum += end->received();
    return sum;
  }
  // The share of the link that payload had during the time that `run` took.
  double UseDuring(Duration d) {
    link().ForgetQueue();
    const uint64_t before = received();
    RunFor(d);
    const double seconds = static_cast<double>(d.ms()) / 1000;
    return static_cast<double>(received() - before) / seconds /
           static_cast<double>(plan_.bytes_per_second);
  }
  Link& link() { return *links_[0]; }
  uint64_t Count(Counter counter) const {
    return hosts_[0]->stack->shard(0).counters().Get(counter);
  }

 private:
  void Open(uint32_t id) {
    FlowPlan flow;
    flow.id = id;
    flow.client.bytes = uint64_t{1} << 40;
    flow.client.write_size = 65'536;
    TcpOptionsSet options;
    options.max_pacing_rate = plan_.max_pacing_rate;
    Connection c;
    ASSERT_EQ(hosts_[0]->stack->Connect(0, hosts_[1]->address, kPort, *hosts_[0], &c, options),
              Error::kNone);
    hosts_[1]->plans[c.tuple().local_port] = flow;
    hosts_[0]->Begin(c, flow, true);
  }

  void Step(Instant end) {
    const Instant next = std::min({hosts_[0]->NextDeadline(), hosts_[1]->NextDeadline(),
                                   links_[0]->NextArrival(), links_[1]->NextArrival(), end});
    ASSERT_LT(++still_, 100'000) << "time stands still";
    if (next > now_) {
      still_ = 0;
      now_ = next;
    }
    for (int i = 0; i < 2; ++i) {
      Host& h = *hosts_[i];
      std::vector<uint8_t> frame;
      while (links_[1 - i]->Take(now_, &frame)) h.port.Inject(frame);
      if (h.NextDeadline() <= now_ || h.port.received_count() > 0) h.Poll(now_);
      while (h.port.sent_count() > 0) links_[i]->Send(h.port.TakeSent(), now_);
    }
  }

  const Plan plan_;
  std::unique_ptr<Host> hosts_[2];  // client, server
  std::unique_ptr<Link> links_[2];  // out of host i
  Instant now_ = Instant::FromNanos(1'000'000'000'000);
  uint32_t still_ = 0;
};

class BottleneckTest : public testing::TestWithParam<bool> {};  // IPv6?
INSTANTIATE_TEST_SUITE_P(Family, BottleneckTest, testing::Bool(),
                         [](const auto& i) { return i.param ? "V6" : "V4"; });

// The measure for all that follows: without marks the queue fills to its end, again and again.
TEST_P(BottleneckTest, CubicFillsTheQueueAndLoses) {
  Bottleneck b({.v6 = GetParam()});
  b.RunFor(Duration::Seconds(10));
  EXPECT_GT(b.UseDuring(Duration::Seconds(20)), 0.9);
  EXPECT_GT(b.link().most_waiting_bytes(), 150'000u);
  EXPECT_GT(b.link().lost(), 0u);
}

TEST_P(BottleneckTest, WithMarksNothingIsLost) {
  for (const char* algorithm : {"reno", "cubic"}) {
    SCOPED_TRACE(algorithm);
    Bottleneck b({.algorithm = algorithm, .v6 = GetParam(), .ecn = 1, .mark_bytes = 40'000});
    b.RunFor(Duration::Seconds(5));
    const uint64_t resent = b.Count(Counter::TcpRetransSegs);
    EXPECT_GT(b.UseDuring(Duration::Seconds(10)), 0.9);
    EXPECT_EQ(b.Count(Counter::TcpRetransSegs), resent);
    EXPECT_GT(b.link().marked(), 0u);
    EXPECT_GT(b.Count(Counter::TcpExtTCPDeliveredCE), 0u);
    EXPECT_LT(b.link().most_waiting_bytes(), 100'000u);
  }
}

// A marking threshold of a fifth of the path's product is enough for the whole rate.
TEST_P(BottleneckTest, DctcpKeepsTheQueueAtTheThreshold) {
  Bottleneck b({.algorithm = "dctcp",
                .v6 = GetParam(),
                .bytes_per_second = 12'500'000,
                .one_way = Duration::Millis(1),
                .mark_bytes = 15'000});
  b.RunFor(Duration::Seconds(2));
  const uint64_t resent = b.Count(Counter::TcpRetransSegs);
  EXPECT_GT(b.UseDuring(Duration::Seconds(3)), 0.93);
  EXPECT_LT(b.link().mean_waiting_bytes(), 25'000u);
  EXPECT_LT(b.link().most_waiting_bytes(), 50'000u);
  EXPECT_EQ(b.Count(Counter::TcpRetransSegs), resent);
}

TEST_P(BottleneckTest, BbrFillsTheLinkAndNotTheQueue) {
  Bottleneck b({.algorithm = "bbr", .v6 = GetParam()});
  b.RunFor(Duration::Seconds(5));
  EXPECT_GT(b.UseDuring(Duration::Seconds(20)), 0.88);
  EXPECT_LT(b.link().mean_waiting_bytes(), 12'500u) << "half the path's product";
  EXPECT_LT(b.link().most_waiting_bytes(), 50'000u);
}

TEST_P(BottleneckTest, BbrDoesNotTakeLossForCongestion) {
  Plan plan{.algorithm = "bbr", .v6 = GetParam(), .loss = 10};
  Bottleneck bbr(plan);
  bbr.RunFor(Duration::Seconds(5));
  const double use = bbr.UseDuring(Duration::Seconds(10));
  EXPECT_GT(use, 0.8);
  plan.algorithm = "cubic";
  Bottleneck cubic(plan);
  cubic.RunFor(Duration::Seconds(5));
  EXPECT_LT(cubic.UseDuring(Duration::Seconds(10)), use);
}

TEST_P(BottleneckTest, TwoBbrFlowsShare) {
  Bottleneck b({.algorithm = "bbr", .v6 = GetParam(), .flows = 2});
  b.RunFor(Duration::Seconds(20));
  EXPECT_GT(b.UseDuring(Duration::Seconds(20)), 0.88);
  EXPECT_LT(b.link().mean_waiting_bytes(), 60'000u);
}

// SO_MAX_PACING_RATE at half the link's rate: no queue at all, and neither more nor less.
TEST_P(BottleneckTest, ALimitOfPacingIsKept) {
  for (const char* algorithm : {"cubic", "bbr"}) {
    SCOPED_TRACE(algorithm);
    Bottleneck b({.algorithm = algorithm, .v6 = GetParam(), .max_pacing_rate = 625'000});
    b.RunFor(Duration::Seconds(5));
    EXPECT_NEAR(b.UseDuring(Duration::Seconds(10)), 0.5, 0.02);
    EXPECT_LT(b.link().most_waiting_bytes(), 5'000u);
  }
}

}  // namespace
}  // namespace usher::sim
