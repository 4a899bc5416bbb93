#include "stack/ip/routes.h"

#include <gtest/gtest.h>

#include <string>

#include "stack/base/random.h"

namespace usher {
namespace {

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

// A neighbour's host that sends nothing.
class SilentHost final : public NeighbourHost {
 public:
  void SolicitNeighbour(const IpAddress&, const MacAddress*) override {}
  void SendPending(const TxPacket&, const MacAddress&) override {}
  void DropPending(const TxPacket&, const IpAddress&) override {}
  void NeighbourUnreachable(const IpAddress&) override {}
};

class RoutesTest : public ::testing::Test {
 protected:
  RoutesTest() : neighbours_(limits_, SipKey{1, 2}, 3, host_), routes_(limits_, neighbours_) {}

  // The next hop as "address/length", or "-".
  std::string Hop(std::string_view remote) {
    const auto hop = routes_.Find(now_, Ip(remote));
    return hop ? hop->address.ToString() + "/" + std::to_string(hop->prefix_length) : "-";
  }
  std::vector<IpAddress> Advance() {
    std::vector<IpAddress> lost;
    routes_.Advance(now_, [&](const IpAddress& router) { lost.push_back(router); });
    return lost;
  }
  void Learn(std::string_view prefix, int length, int64_t seconds) {
    routes_.LearnPrefix(now_, Ip(prefix), length, Duration::Seconds(seconds));
  }
  bool LearnRouter(std::string_view router, int64_t seconds) {
    return routes_.LearnRouter(now_, Ip(router), Duration::Seconds(seconds));
  }

  NetworkLimits limits_;
  SilentHost host_;
  NeighbourCache neighbours_;
  Routes routes_;
  Instant now_ = Instant::FromNanos(1'000'000'000);
};

TEST_F(RoutesTest, NothingConfiguredLeadsNowhere) {
  EXPECT_EQ(Hop("198.18.0.1"), "-");
  EXPECT_EQ(Hop("2001:2::1"), "-");
  EXPECT_FALSE(routes_.IsOnLink(now_, Ip("198.18.0.1")));
  EXPECT_EQ(routes_.NextDeadline(), Instant::Never());
  EXPECT_FALSE(routes_.HasGateway6());
}

TEST_F(RoutesTest, LongestPrefixWins) {
  routes_.AddPrefix(Ip("10.0.0.0"), 8);
  routes_.AddPrefix(Ip("10.1.2.3"), 24);  // host bits do not matter
  routes_.AddPrefix(Ip("10.1.0.0"), 16);
  EXPECT_EQ(Hop("10.1.2.9"), "10.1.2.9/24");
  EXPECT_EQ(Hop("10.1.3.9"), "10.1.3.9/16");
  EXPECT_EQ(Hop("10.2.0.1"), "10.2.0.1/8");
  EXPECT_EQ(Hop("11.0.0.1"), "-");
  EXPECT_TRUE(routes_.IsOnLink(now_, Ip("10.255.255.254")));
  EXPECT_FALSE(routes_.IsOnLink(now_, Ip("9.255.255.255")));
}

TEST_F(RoutesTest, PrefixOfAllBitsIsOneHost) {
  routes_.AddPrefix(Ip("10.1.2.3"), 32);
  routes_.AddPrefix(Ip("2001:2::5"), 128);
  EXPECT_EQ(Hop("10.1.2.3"), "10.1.2.3/32");
  EXPECT_EQ(Hop("10.1.2.2"), "-");
  EXPECT_EQ(Hop("2001:2::5"), "2001:2::5/128");
  EXPECT_EQ(Hop("2001:2::4"), "-");
}

TEST_F(RoutesTest, FamiliesDoNotMeet) {
  routes_.AddPrefix(Ip("10.0.0.0"), 8);
  routes_.AddGateway(Ip("10.0.0.1"));
  EXPECT_EQ(Hop("2001:2::1"), "-");
  EXPECT_FALSE(routes_.HasGateway6());
  routes_.AddGateway(Ip("fe80::1"));
  EXPECT_TRUE(routes_.HasGateway6());
  EXPECT_EQ(Hop("2001:2::1"), "fe80::1/0");
  EXPECT_EQ(Hop("8.8.8.8"), "10.0.0.1/0");
}

TEST_F(RoutesTest, GatewayOnlyForWhatIsNotOnTheLink) {
  routes_.AddPrefix(Ip("198.18.0.0"), 15);
  routes_.AddGateway(Ip("198.18.0.1"));
  EXPECT_EQ(Hop("198.19.255.254"), "198.19.255.254/15");
  EXPECT_EQ(Hop("198.20.0.1"), "198.18.0.1/0");
  EXPECT_EQ(Hop("198.18.0.1"), "198.18.0.1/15") << "the gateway is a neighbour itself";
}

TEST_F(RoutesTest, NoRouteForGroupsNowhereAndOurselves) {
  routes_.AddGateway(Ip("10.0.0.1"));
  routes_.AddGateway(Ip("fe80::1"));
  for (const char* remote :
       {"224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "ff02::1", "::", "::1"})
    EXPECT_EQ(Hop(remote), "-") << remote;
}

TEST_F(RoutesTest, LearntPrefixLivesAsLongAsAdvertised) {
  Learn("2001:db8::", 64, 30);
  EXPECT_EQ(Hop("2001:db8::7"), "2001:db8::7/64");
  EXPECT_EQ(routes_.NextDeadline(), now_ + Duration::Seconds(30));
  now_ = now_ + Duration::Seconds(30) - Duration::Nanos(1);
  EXPECT_TRUE(routes_.IsOnLink(now_, Ip("2001:db8::7")));
  now_ = now_ + Duration::Nanos(1);
  EXPECT_EQ(Hop("2001:db8::7"), "-") << "before Advance too";
  EXPECT_TRUE(Advance().empty());
  EXPECT_EQ(routes_.NextDeadline(), Instant::Never());
}

TEST_F(RoutesTest, PrefixAdvertisedAgainIsProlongedOrShortenedOrForgotten) {
  Learn("2001:db8::", 64, 30);
  Learn("2001:db8::", 64, 100);
  EXPECT_EQ(routes_.NextDeadline(), now_ + Duration::Seconds(100));
  Learn("2001:db8::ffff", 64, 10);  // bits beyond the length are to be ignored (RFC 4861 4.6.2)
  EXPECT_EQ(routes_.NextDeadline(), now_ + Duration::Seconds(10));
  Learn("2001:db8::", 64, 0);
  EXPECT_EQ(routes_.NextDeadline(), Instant::Never());
  EXPECT_EQ(Hop("2001:db8::7"), "-");
}

TEST_F(RoutesTest, SamePrefixOfAnotherLengthIsAnother) {
  Learn("2001:db8::", 64, 30);
  Learn("2001:db8::", 48, 40);
  EXPECT_EQ(Hop("2001:db8::7"), "2001:db8::7/64");
  EXPECT_EQ(Hop("2001:db8:0:1::7"), "2001:db8:0:1::7/48");
  Learn("2001:db8::", 64, 0);
  EXPECT_EQ(Hop("2001:db8::7"), "2001:db8::7/48");
}

// All ones is infinity (RFC 4861 section 4.6.2); 136 years will do, if nothing overflows.
TEST_F(RoutesTest, LongestLifetimes) {
  now_ = Instant::FromNanos(int64_t{1} << 60);  // 36 years of running
  Learn("2001:db8::", 64, 0xffffffff);
  EXPECT_TRUE(LearnRouter("fe80::1", 0xffff));
  EXPECT_TRUE(routes_.IsOnLink(now_ + Duration::Seconds(100'000'000), Ip("2001:db8::1")));
}

TEST_F(RoutesTest, LinkLocalGroupAndWholeWorldAreNoPrefixesToLearn) {
  Learn("fe80::", 64, 30);
  Learn("ff02::", 16, 30);
  Learn("::", 0, 30);
  Learn("2001:db8::", -1, 30);
  EXPECT_EQ(routes_.NextDeadline(), Instant::Never());
}

TEST_F(RoutesTest, LearntPrefixesAreBounded) {
  for (uint32_t i = 0; i < 100; ++i) Learn("2001:db8:" + std::to_string(i) + "::", 48, 30 + i);
  EXPECT_TRUE(routes_.IsOnLink(now_, Ip("2001:db8:15::1")));
  EXPECT_FALSE(routes_.IsOnLink(now_, Ip("2001:db8:16::1"))) << "the 17th";
  now_ = now_ + Duration::Seconds(30);
  Advance();
  Learn("2001:db8:99::", 48, 30);
  EXPECT_TRUE(routes_.IsOnLink(now_, Ip("2001:db8:99::1"))) << "a place is free again";
}

TEST_F(RoutesTest, RouterIsNewsOnceAndLostOnce) {
  EXPECT_FALSE(LearnRouter("fe80::1", 0)) << "a stranger that is no router";
  EXPECT_TRUE(LearnRouter("fe80::1", 30));
  EXPECT_FALSE(LearnRouter("fe80::1", 60));
  EXPECT_EQ(Hop("2600::1"), "fe80::1/0");
  now_ = now_ + Duration::Seconds(59);
  EXPECT_TRUE(Advance().empty());
  now_ = now_ + Duration::Seconds(1);
  EXPECT_EQ(Hop("2600::1"), "-");
  EXPECT_EQ(Advance(), std::vector{Ip("fe80::1")});
  EXPECT_TRUE(Advance().empty());
  EXPECT_FALSE(routes_.ForgetRouter(Ip("fe80::1")));
}

TEST_F(RoutesTest, LifetimeOfZeroForgetsAtOnce) {
  EXPECT_TRUE(LearnRouter("fe80::1", 1800));
  EXPECT_TRUE(LearnRouter("fe80::1", 0));
  EXPECT_EQ(Hop("2600::1"), "-");
  EXPECT_TRUE(LearnRouter("fe80::1", 1800));
  EXPECT_TRUE(routes_.ForgetRouter(Ip("fe80::1")));
  EXPECT_EQ(routes_.NextDeadline(), Instant::Never());
}

TEST_F(RoutesTest, SeveralLostAtOnceAreAllTold) {
  for (int i = 1; i <= 8; ++i)
    EXPECT_TRUE(LearnRouter("fe80::" + std::to_string(i), i % 2 == 0 ? 10 : 20));
  EXPECT_FALSE(LearnRouter("fe80::9", 10)) << "no more than default_routers";
  now_ = now_ + Duration::Seconds(10);
  EXPECT_EQ(Advance().size(), 4u);
  EXPECT_NE(Hop("2600::1"), "-") << "four are left";
  now_ = now_ + Duration::Seconds(10);
  EXPECT_EQ(Advance().size(), 4u);
}

TEST_F(RoutesTest, ConfiguredGatewayStandsBeforeLearntRouters) {
  EXPECT_TRUE(LearnRouter("fe80::1", 1800));
  routes_.AddGateway(Ip("fe80::ff"));
  EXPECT_EQ(Hop("2600::1"), "fe80::ff/0");
}

// RFC 4861 section 6.3.6: first those that are or may be reachable, then those of which nothing is
// known, the silent ones last; but never none at all.
TEST_F(RoutesTest, SilentRouterIsTheLastChoice) {
  const MacAddress mac{{2, 0, 0, 0, 0, 9}};
  EXPECT_TRUE(LearnRouter("fe80::1", 1800));
  EXPECT_TRUE(LearnRouter("fe80::2", 1800));
  EXPECT_NE(Hop("2600::1"), "-") << "neither known: any will do";
  neighbours_.OnOffer(now_, Ip("fe80::2"), mac);
  EXPECT_EQ(Hop("2600::1"), "fe80::2/0") << "the other has an address";
  neighbours_.SetPermanent(now_, Ip("fe80::1"), mac);
  EXPECT_EQ(Hop("2600::1"), "fe80::1/0") << "both good: the first";
}

// Against a search of its own: the longest of the prefixes that hold.
TEST_F(RoutesTest, RandomPrefixes) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SeededRandom random(seed);
    Routes routes(limits_, neighbours_);
    std::vector<std::pair<uint32_t, int>> known;
    for (int i = 0; i < 8; ++i) {
      const auto prefix = static_cast<uint32_t>(0x0a000000 + random.Uniform(256));
      const auto length = static_cast<int>(20 + random.Uniform(13));
      known.emplace_back(prefix, length);
      routes.AddPrefix(IpAddress::V4(prefix), length);
    }
    for (uint32_t host = 0x0a000000; host < 0x0a000100; ++host) {
      int best = -1;
      for (const auto& [prefix, length] : known)
        if (((host ^ prefix) >> (32 - length)) == 0) best = std::max(best, length);
      const auto hop = routes.Find(now_, IpAddress::V4(host));
      ASSERT_EQ(hop ? hop->prefix_length : -1, best) << "seed " << seed;
    }
  }
}

TEST_F(RoutesTest, SilentRouterGivesWayToOneNobodyKnows) {
  EXPECT_TRUE(LearnRouter("fe80::1", 1800));
  EXPECT_TRUE(LearnRouter("fe80::2", 1800));
  neighbours_.Queue(now_, neighbours_.FindOrCreate(now_, Ip("fe80::1")), TxPacket{});
  for (int i = 0; i < 5; ++i) {
    now_ = now_ + Duration::Seconds(1);
    neighbours_.Advance(now_);
  }
  ASSERT_EQ(neighbours_.StateOf(now_, Ip("fe80::1")), NeighbourState::kFailed);
  EXPECT_EQ(Hop("2600::1"), "fe80::2/0");
}

TEST_F(RoutesTest, PrefixOfNoLifetimeIsNotLearnt) {
  routes_.LearnPrefix(now_, Ip("2001:db8::"), 64, Duration());
  EXPECT_FALSE(routes_.IsOnLink(now_, Ip("2001:db8::1")));
  EXPECT_EQ(routes_.NextDeadline(), Instant::Never());
}

}  // namespace
}  // namespace usher
