#include "tools/ctl/top.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace usher::ctl {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::Le;
using testing::SizeIs;

TEST(TopTest, NumbersStayShort) {
  EXPECT_EQ(ShortNumber(0), "0");
  EXPECT_EQ(ShortNumber(2.04), "2.0");
  EXPECT_EQ(ShortNumber(99.94), "99.9");
  EXPECT_EQ(ShortNumber(99.96), "100");
  EXPECT_EQ(ShortNumber(999.4), "999");
  EXPECT_EQ(ShortNumber(999.6), "1.00k");
  EXPECT_EQ(ShortNumber(12'345), "12.3k");
  EXPECT_EQ(ShortNumber(14'880'000), "14.9M");
  for (double v = 0.01; v < 1e14; v *= 1.01) EXPECT_LE(ShortNumber(v).size(), 5u) << v;
}

TEST(TopTest, BarsShowEvenLittleAndNeverTooMuch) {
  EXPECT_EQ(Bar(0, 10, 12), "[..........]");
  EXPECT_EQ(Bar(1, 1000, 12), "[#.........]");
  EXPECT_EQ(Bar(5, 10, 12), "[#####.....]");
  EXPECT_EQ(Bar(999, 1000, 12), "[#########.]");
  EXPECT_EQ(Bar(10, 10, 12), "[##########]");
  EXPECT_EQ(Bar(11, 10, 12), "[##########]");
  EXPECT_EQ(Bar(0, 0, 12), "[..........]");
  EXPECT_EQ(Bar(1, 0, 12), "[##########]");
}

TEST(TopTest, Options) {
  EXPECT_EQ(ParseTopOptions({})->count, 0);
  const auto options = ParseTopOptions({"-d", "0.5", "-n", "3"});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->interval_s, 0.5);
  EXPECT_EQ(options->count, 3);
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {"-d"}, {"-d", "0"}, {"-d", "x"}, {"-n", "-1"}, {"-n", "1x"}, {"-q"}, {"-d", "nan"}})
    EXPECT_FALSE(ParseTopOptions(wrong).ok());
}

class TopFrameTest : public testing::Test {
 protected:
  // Two shards with a listener; `n` scales what has been counted.
  static TopSample Sample(uint64_t n, double time_s) {
    const Json status = {{"instance", "a-rather-long-name-of-an-instance"},
                         {"pid", 4194304},
                         {"uptime_ms", 360'000'000},
                         {"shards", 2}};
    Json listener = {
        {"local", "2001:2:3:4:5:6:7:8"},        {"local_port", 65535}, {"half_open", 16},
        {"half_open_capacity", 65536},          {"recv_q", 1025},      {"send_q", 1024},
        {"held_back_by", "tcp_max_syn_backlog"}};
    std::vector<Json> per_shard, counters;
    for (int i = 0; i < 2; ++i) {
      Json row = listener;
      row["shard"] = i;
      row["counters"] = {{"syns", 100 * n}, {"accepted", 50 * n}};
      row["drops"] = {{"syn-half-open-full", 10 * n}};
      per_shard.push_back(row);
      per_shard.push_back({{"shard", i},
                           {"load", {{"connections", 500000}, {"requests", 16}, {"time_wait", 3}}},
                           {"without_listener", {{"ack-no-listener", 1}}}});
      Json pairs = Json::array();
      pairs.push_back(Json::array({"TcpExtSyncookiesSent", 20 * n}));
      pairs.push_back(Json::array({"UsherRxPackets", 1000 * n}));
      counters.push_back({{"shard", i}, {"counters", pairs}});
    }
    TopSample sample = ParseTopSample(status, {listener}, per_shard, counters);
    sample.time_s = time_s;
    return sample;
  }
};

TEST_F(TopFrameTest, FitsInto80Columns) {
  const auto lines = TopFrame(Sample(1'000'000'000, 11), Sample(0, 10), 80, false);
  EXPECT_THAT(lines, Each(SizeIs(Le(80u))));
}

TEST_F(TopFrameTest, ShowsRatesQueuesAndReasons) {
  const auto lines = TopFrame(Sample(3, 12), Sample(1, 10), 80, false);
  EXPECT_THAT(lines, Contains("per second: SYNs 200  accepts 100  cookies 40.0  drops 20.0  "
                              "retrans 0"));
  EXPECT_THAT(
      lines, Contains(AllOf(HasSubstr("[#.........] 16/65536"), HasSubstr("[##########] 1025/1024"),
                            HasSubstr("syn_backlog"))));
  EXPECT_THAT(lines, Contains("    1   500000        16      1025      100      20.0     10.0"
                              "   1.00k       0"));
  EXPECT_THAT(lines, Contains("syn-half-open-full               60     20.0  10.0 10.0"));
  EXPECT_THAT(lines, Contains("ack-no-listener                   2        0  0 0"));
}

TEST_F(TopFrameTest, WithoutASampleBeforeThereAreNoRates) {
  const TopSample now = Sample(3, 12);
  EXPECT_THAT(TopFrame(now, now, 80, false),
              Contains("per second: SYNs 0  accepts 0  cookies 0  drops 0  retrans 0"));
}

TEST_F(TopFrameTest, ColourOnlyWhereItIsSeen) {
  const std::string escape = "\033[";
  EXPECT_THAT(TopFrame(Sample(1, 1), Sample(0, 0), 80, false),
              Each(testing::Not(HasSubstr(escape))));
  EXPECT_THAT(TopFrame(Sample(1, 1), Sample(0, 0), 80, true), Contains(HasSubstr("\033[31m[###")));
}

}  // namespace
}  // namespace usher::ctl
