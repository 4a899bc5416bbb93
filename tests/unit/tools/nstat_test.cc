#include "tools/ctl/nstat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace usher::ctl {

static bool operator==(const NstatRow& a, const NstatRow& b) {
  return a.name == b.name && a.value == b.value && a.rate == b.rate;
}
static void PrintTo(const NstatRow& row, std::ostream* out) {
  *out << row.name << ' ' << row.value << ' ' << row.rate;
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

NstatSample Sample(uint64_t segments, uint64_t resets, uint64_t established, int64_t seconds,
                   const char* server = "1-1") {
  return {server,
          seconds * 1'000'000'000,
          {{"TcpInSegs", segments, false},
           {"TcpOutRsts", resets, false},
           {"TcpCurrEstab", established, true}}};
}

std::vector<NstatRow> Rows(const std::vector<std::string>& arguments, const NstatSample& now,
                           const std::optional<NstatSample>& before) {
  const auto options = ParseNstatOptions(arguments);
  EXPECT_TRUE(options.ok()) << options.status();
  return NstatRows(*options, now, before);
}

TEST(NstatTest, TheFirstCallShowsValues) {
  EXPECT_THAT(Rows({}, Sample(10, 0, 2, 100), std::nullopt),
              ElementsAre(NstatRow{"TcpInSegs", 10, 0}, NstatRow{"TcpCurrEstab", 2, 0}));
}

TEST(NstatTest, LaterCallsShowWhatCameSinceAndTheRate) {
  EXPECT_THAT(Rows({}, Sample(30, 5, 1, 104), Sample(10, 5, 2, 100)),
              ElementsAre(NstatRow{"TcpInSegs", 20, 5}, NstatRow{"TcpCurrEstab", 1, 0}));
}

TEST(NstatTest, AbsoluteValuesKeepTheRate) {
  EXPECT_THAT(Rows({"-a"}, Sample(30, 5, 0, 104), Sample(10, 5, 2, 100)),
              ElementsAre(NstatRow{"TcpInSegs", 30, 5}, NstatRow{"TcpOutRsts", 5, 0}));
}

TEST(NstatTest, ZerosOnRequest) {
  EXPECT_THAT(Rows({"-z"}, Sample(10, 5, 0, 104), Sample(10, 5, 2, 100)),
              ElementsAre(NstatRow{"TcpInSegs", 0, 0}, NstatRow{"TcpOutRsts", 0, 0},
                          NstatRow{"TcpCurrEstab", 0, 0}));
}

TEST(NstatTest, AServerStartedAnewCountsFromZero) {
  EXPECT_THAT(Rows({"TcpIn*"}, Sample(7, 0, 0, 104, "1-2"), Sample(10, 5, 2, 100)),
              ElementsAre(NstatRow{"TcpInSegs", 7, 0}));
}

TEST(NstatTest, NamesArePatterns) {
  EXPECT_THAT(Rows({"*Rsts"}, Sample(1, 2, 3, 1), std::nullopt),
              ElementsAre(NstatRow{"TcpOutRsts", 2, 0}));
  EXPECT_THAT(Rows({"Nonsense"}, Sample(1, 2, 3, 1), std::nullopt), IsEmpty());
}

TEST(NstatTest, Options) {
  const auto all = ParseNstatOptions({"-az", "-sn", "Tcp*"});
  ASSERT_TRUE(all.ok());
  EXPECT_TRUE(all->absolute && all->zeros && all->no_update && all->no_output);
  EXPECT_THAT(all->patterns, ElementsAre("Tcp*"));
  EXPECT_FALSE(ParseNstatOptions({"-x"}).ok());
  EXPECT_FALSE(ParseNstatOptions({"-"}).ok());
}

TEST(NstatTest, HistoryComesBack) {
  const auto back = ParseHistory(FormatHistory(Sample(10, 0, 2, 100)));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->server, "1-1");
  EXPECT_EQ(back->time_ns, 100'000'000'000);
  EXPECT_THAT(Rows({"-z"}, Sample(10, 0, 2, 104), back),
              ElementsAre(NstatRow{"TcpInSegs", 0, 0}, NstatRow{"TcpOutRsts", 0, 0},
                          NstatRow{"TcpCurrEstab", 2, 0}));
  for (const char* wrong : {"", "{}", "x", "[1]", R"({"server":1,"time_ns":2,"values":{}})"})
    EXPECT_FALSE(ParseHistory(wrong)) << wrong;
}

}  // namespace
}  // namespace usher::ctl
