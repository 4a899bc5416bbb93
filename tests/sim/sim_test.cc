// Two shards over a bad link in virtual time. Everything follows from the seed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "tests/sim/host.h"
#include "tests/sim/link.h"
#include "tests/support/pcapng.h"
#include "tests/support/segment_builder.h"

namespace usher::sim {
namespace {

constexpr uint16_t kPort = 80;

class Simulation {
 public:
  // With a `capture` every frame sent is written to it, interface 0 the client's, 1 the server's.
  explicit Simulation(uint64_t seed, test::PcapngFile* capture = nullptr)
      : capture_(capture), random_(seed * 0x9e3779b97f4a7c15u + 1) {
    const bool v6 = Chance(500);
    const bool tight = Chance(150);  // few packet buffers
    const auto mtu = static_cast<uint16_t>(Pick({1500, 1500, 1500, 1280, 1400}));
    const LinkFaults faults = RandomFaults();
    // A slow link loses too: what its queue has no room for.
    const bool orderly = faults.loss + faults.duplication + faults.reordering + faults.corruption +
                             faults.bytes_per_second ==
                         0;
    for (int i = 0; i < 2; ++i) {
      StackOptions options = RandomOptions(orderly);
      // As glue/memory_plan.h has it: what tcp_mem lets be held leaves buffers to receive with.
      if (tight) options.sysctls.tcp_mem = {24, 36, 48};
      hosts_[i] = std::make_unique<Host>(static_cast<uint8_t>(i + 1), v6, options,
                                         tight ? 192 : 4096, mtu, random_.Next64());
      links_[i] = std::make_unique<Link>(faults, random_.Next64());
    }
    for (int i = 0; i < 2; ++i) {
      Host& h = *hosts_[i];
      const Host& other = *hosts_[1 - i];
      h.stack->Start(0, now_);
      h.stack->shard(0).interface(0).SetPermanentNeighbour(now_, other.address, other.mac);
    }
    EXPECT_TRUE(
        hosts_[1]->stack->Listen({.port = kPort, .options = ListenerOptions()}, *hosts_[1]).ok());
    quiet_at_ = now_ + Duration::Seconds(static_cast<int64_t>(20 + random_.Uniform(100)));
    const auto flows = static_cast<uint32_t>(1 + random_.Uniform(4));
    for (uint32_t i = 0; i < flows; ++i) Open(i + 1);
  }

  void Run() {
    const Instant limit = now_ + Duration::Seconds(3600);
    // What is captured has failed before, and is wanted to the end.
    const auto failed = [this] { return capture_ == nullptr && testing::Test::HasFailure(); };
    while (!Over() && now_ < limit && !failed() && Step()) continue;
    if (failed()) return;
    for (auto& host : hosts_) {
      EXPECT_EQ(host->ends.size(), hosts_[0]->ends.size());
      for (const auto& end : host->ends)
        EXPECT_TRUE(end->complete())
            << (host == hosts_[0] ? "client" : "server") << " of flow " << end->id() << ": sent "
            << end->sent() << ", received " << end->received();
    }
    // TIME-WAIT and what else ends by itself.
    const Instant end = now_ + Duration::Seconds(300);
    while (now_ < end && NextEvent() <= end && Step()) continue;
    for (auto& host : hosts_) host->ExpectBaseline();
  }

  // Of all that was sent, and when.
  uint64_t digest() const { return digest_; }

 private:
  bool Chance(uint32_t per_mille) { return random_.Uniform(1000) < per_mille; }
  uint32_t Pick(std::initializer_list<uint32_t> values) {
    return values.begin()[random_.Uniform(values.size())];
  }

  LinkFaults RandomFaults() {
    LinkFaults f;
    f.loss = Pick({0, 0, 5, 20, 50, 100, 200, 300});
    f.duplication = Pick({0, 0, 10, 100});
    f.reordering = Pick({0, 0, 20, 200, 500});
    f.corruption = Pick({0, 0, 0, 10});
    f.reorder_delay = Duration::Micros(Pick({100, 1000, 5000, 50000}));
    f.delay = Duration::Micros(Pick({10, 500, 5000, 50000}));
    f.jitter = Duration::Micros(Pick({0, 100, 10000}));
    f.bytes_per_second = Pick({0, 0, 125'000, 1'250'000, 12'500'000});
    f.queue_bytes = Pick({20'000, 100'000, 1'000'000});
    return f;
  }

  StackOptions RandomOptions(bool orderly) {
    StackOptions o;
    o.max_connections = 32;
    o.passive_open.max_requests = 64;
    Sysctls& s = o.sysctls;
    s.tcp_mem = {4096, 6144, 8192};  // pages: more than all flows can fill
    s.tcp_sack = Chance(750);
    s.tcp_dsack = Chance(800);
    s.tcp_timestamps = Chance(750);
    s.tcp_window_scaling = Chance(750);
    if (Chance(300)) s.tcp_rmem = {4096, static_cast<int32_t>(Pick({8192, 16384, 65536})), 262144};
    if (Chance(300)) s.tcp_frto = 0;
    if (Chance(300)) s.tcp_early_retrans = 0;
    s.tcp_moderate_rcvbuf = Chance(700);
    // A cookie holds no state: its ACK lost before data, or doubled after the end, is no fault.
    s.tcp_syncookies = orderly ? 2 : 1;
    s.tcp_retries2 = 100;  // no giving up in a bad hour
    s.tcp_orphan_retries = 100;
    s.tcp_syn_retries = 60;
    s.tcp_synack_retries = 60;
    return o;
  }

  TcpOptionsSet ListenerOptions() {
    TcpOptionsSet o;
    o.no_delay = Chance(500);
    o.keepalive = Chance(200);
    o.keepalive_time_s = 5;
    if (Chance(200)) o.receive_buffer_bytes = Pick({4096, 20000, 500000});
    if (Chance(200)) o.send_buffer_bytes = Pick({5000, 100000, 1000000});
    if (Chance(100)) o.user_mss = static_cast<uint16_t>(Pick({100, 536, 1000}));
    return o;
  }

  EndPlan RandomEnd() {
    EndPlan p;
    p.bytes = Pick({0, 1, 100, 1460, 10'000, 100'000, 300'000});
    p.write_size = Pick({1, 100, 1500, 10'000, 100'000});
    if (p.bytes > 20'000 && p.write_size < 100) p.write_size = 100;
    p.external = Chance(300);
    p.slices = Chance(300);
    if (Chance(250)) {
      p.read_pause = Duration::Millis(Pick({1, 20, 300, 2000}));
      p.read_size = Pick({1000, 5000, 20'000});
      if (p.read_pause >= Duration::Millis(300)) p.read_size = 100'000;
    }
    return p;
  }

  void Open(uint32_t id) {
    FlowPlan plan{id, RandomEnd(), RandomEnd()};
    Connection c;
    ASSERT_EQ(
        hosts_[0]->stack->Connect(0, hosts_[1]->address, kPort, *hosts_[0], &c, ListenerOptions()),
        Error::kNone);
    hosts_[1]->plans[c.tuple().local_port] = plan;
    hosts_[0]->Begin(c, plan, true);
  }

  bool Over() const {
    for (const auto& host : hosts_) {
      if (host->ends.size() != hosts_[0]->ends.size()) return false;
      for (const auto& end : host->ends)
        if (!end->closed()) return false;
    }
    return true;
  }

  Instant NextEvent() {
    return std::min({hosts_[0]->NextDeadline(), hosts_[1]->NextDeadline(), links_[0]->NextArrival(),
                     links_[1]->NextArrival()});
  }

  // False, and a failure, if time does not go on.
  bool Step() {
    const Instant next = NextEvent();
    EXPECT_NE(next, Instant::Never()) << "nothing will ever happen again";
    if (next == Instant::Never()) return false;
    if (next <= now_) {
      EXPECT_LT(++still_, 10'000u) << "time stands still";
      if (still_ >= 10'000) return false;
    } else {
      still_ = 0;
      now_ = next;
    }
    if (now_ >= quiet_at_) {  // the network comes to its senses
      quiet_at_ = Instant::Never();
      for (auto& link : links_) link->set_faults({});
    }
    for (int i = 0; i < 2; ++i) {
      Host& h = *hosts_[i];
      std::vector<uint8_t> frame;
      while (links_[1 - i]->Take(now_, &frame)) h.port.Inject(frame);
      if (h.NextDeadline() <= now_ || h.port.received_count() > 0) h.Poll(now_);
      while (h.port.sent_count() > 0) {
        frame = h.port.TakeSent();
        Note(static_cast<uint32_t>(i), frame);
        links_[i]->Send(std::move(frame), now_);
      }
    }
    return true;
  }

  void Note(uint32_t host, const std::vector<uint8_t>& frame) {
    if (trace_) Trace(static_cast<int>(host), frame);
    if (capture_ != nullptr) capture_->Write(host, now_, frame);
    const uint64_t sum = checksum::Sum(frame);
    digest_ = (digest_ ^ (sum << 32) ^ static_cast<uint64_t>(now_.ns()) ^ host) * 0x100000001b3u;
  }

  // USHER_SIM_TRACE=1 in the environment prints every segment sent.
  void Trace(int host, const std::vector<uint8_t>& frame) const {
    if (const auto s = test::ParseSent(frame))
      std::cerr << now_.us() - 1'000'000'000 << (host == 0 ? " C " : " S ") << *s << "\n";
  }

  test::PcapngFile* capture_;
  uint64_t digest_ = 0xcbf29ce484222325u;
  const bool trace_ = std::getenv("USHER_SIM_TRACE") != nullptr;
  SeededRandom random_;
  std::unique_ptr<Host> hosts_[2];  // client, server
  std::unique_ptr<Link> links_[2];  // out of host i
  Instant now_ = Instant::FromNanos(1'000'000'000'000);
  Instant quiet_at_;
  uint32_t still_ = 0;
};

// USHER_SIM_SEEDS in the environment: how many.
uint64_t SeedsEnd() {
  const char* seeds = std::getenv("USHER_SIM_SEEDS");
  return (seeds != nullptr ? std::strtoull(seeds, nullptr, 10) : 1000) + 1;
}

class SimulationTest : public testing::TestWithParam<uint64_t> {};

TEST_P(SimulationTest, EveryByteArrivesAndNothingIsLeft) {
  const std::string seed = std::to_string(GetParam());
  SCOPED_TRACE("to reproduce: USHER_SIM_SEEDS=" + seed + " tests/sim/sim-test --gtest_filter='*/" +
               std::to_string(GetParam() - 1) + "'");
  Simulation(GetParam()).Run();
  if (!HasFailure()) return;
  const std::string file = "sim-" + seed + ".pcapng";
  test::PcapngFile capture(file, {"client", "server"});
  Simulation(GetParam(), &capture).Run();
  std::cerr << "the run is captured in " << std::filesystem::absolute(file).string() << "\n";
}

TEST(DeterminismTest, ASeedGivesTheSameBytesAtTheSameTimes) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation first(seed), second(seed);
    first.Run();
    second.Run();
    EXPECT_EQ(first.digest(), second.digest()) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SimulationTest, testing::Range<uint64_t>(1, SeedsEnd()));

}  // namespace
}  // namespace usher::sim
