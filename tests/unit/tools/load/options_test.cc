#include "tools/load/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace usher::load {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Words = std::vector<std::string>;

Words With(Words more) {
  Words all = {"--eal", "-l 0 --no-pci", "--to", "198.18.0.2:80"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

LoadOptions Parsed(const Words& words) {
  const auto call = ParseCall(words);
  EXPECT_TRUE(call.ok()) << call.status();
  return call.ok() ? call->options : LoadOptions();
}

std::string Refused(const Words& words) {
  const auto call = ParseCall(words);
  EXPECT_TRUE(absl::IsInvalidArgument(call.status())) << call.status();
  std::string why(call.status().message());
  EXPECT_EQ(why.find('\n'), std::string::npos) << "more than one line";
  return why;
}

TEST(OptionsTest, Defaults) {
  const LoadOptions o = Parsed(With({}));
  EXPECT_THAT(o.eal, ElementsAre("-l", "0", "--no-pci"));
  EXPECT_EQ(o.to, *IpAddress::Parse("198.18.0.2"));
  EXPECT_EQ(o.port, 80);
  EXPECT_EQ(o.mode, Mode::kRequests);
  EXPECT_EQ(o.connections, 64u);
  EXPECT_EQ(o.rate, 0);
  EXPECT_EQ(o.seconds, Duration::Seconds(10));
  EXPECT_EQ(o.warmup, Duration::Millis(500));
  EXPECT_THAT(o.addresses, ElementsAre("198.18.0.1/15"));
  EXPECT_FALSE(o.json);
  EXPECT_EQ(o.Request(), "GET / HTTP/1.1\r\nHost: 198.18.0.2\r\n\r\n");
}

TEST(OptionsTest, EveryOption) {
  const LoadOptions o = Parsed({"--eal=--vdev=net_tap0,iface=x -l 1",
                                "--to=[2001:2::2]:8080",
                                "--mode",
                                "rps",
                                "--connections",
                                "1000",
                                "--rate",
                                "1e5",
                                "--seconds",
                                "0.25",
                                "--warmup",
                                "0",
                                "--json",
                                "--address",
                                "2001:2::5/48",
                                "--address",
                                "2001:2::6/48",
                                "--gateway",
                                "2001:2::ff",
                                "--mac",
                                "02:00:00:00:00:09",
                                "--path",
                                "/a?b=c",
                                "--pipeline",
                                "16",
                                "--shards",
                                "2",
                                "--poll"});
  EXPECT_THAT(o.eal, ElementsAre("--vdev=net_tap0,iface=x", "-l", "1"));
  EXPECT_EQ(o.port, 8080);
  EXPECT_EQ(o.connections, 1000u);
  EXPECT_EQ(o.rate, 100'000);
  EXPECT_EQ(o.seconds, Duration::Millis(250));
  EXPECT_EQ(o.warmup, Duration());
  EXPECT_TRUE(o.json);
  EXPECT_TRUE(o.busy_poll);
  EXPECT_THAT(o.addresses, ElementsAre("2001:2::5/48", "2001:2::6/48"));
  EXPECT_EQ(o.gateway, IpAddress::Parse("2001:2::ff"));
  EXPECT_EQ(o.mac, ParseMac("02:00:00:00:00:09"));
  EXPECT_EQ(o.pipeline, 16u);
  EXPECT_EQ(o.shards, 2u);
  EXPECT_EQ(o.Request(), "GET /a?b=c HTTP/1.1\r\nHost: [2001:2::2]:8080\r\n\r\n");
}

TEST(OptionsTest, EachModeHasItsOwn) {
  EXPECT_EQ(Parsed(With({"--mode", "cps"})).Request(),
            "GET / HTTP/1.1\r\nHost: 198.18.0.2\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(Parsed(With({"--mode", "bulk"})).path, "/bytes/1000000000");
  EXPECT_TRUE(Parsed(With({"--mode", "bulk", "--direction", "up"})).raw);
  const LoadOptions flood = Parsed(With({"--mode", "syn-flood"}));
  EXPECT_EQ(flood.warmup, Duration());
  EXPECT_EQ(flood.spoof.address, *IpAddress::Parse("198.19.0.0"));
  EXPECT_EQ(flood.spoof.prefix_length, 16);
  EXPECT_EQ(Parsed(With({"--mode=ack-flood", "--spoof=10.0.0.0/8"})).spoof.prefix_length, 8);
}

TEST(OptionsTest, HelpNeedsNothingElse) {
  const auto call = ParseCall({"--help"});
  ASSERT_TRUE(call.ok());
  EXPECT_TRUE(call->help);
}

TEST(OptionsTest, WhatIsWrongIsTold) {
  EXPECT_THAT(Refused({}), HasSubstr("--eal"));
  EXPECT_THAT(Refused({"--eal", "x"}), HasSubstr("--to"));
  EXPECT_THAT(Refused(With({"--fast"})), HasSubstr("what is '--fast'"));
  EXPECT_THAT(Refused(With({"fast"})), HasSubstr("what is 'fast'"));
  EXPECT_THAT(Refused(With({"--rate"})), HasSubstr("--rate: no value"));
  for (const char* to : {"198.18.0.2", "198.18.0.2:0", "198.18.0.2:65536", "198.18.0.2:8x", "x:80",
                         "2001:2::2:80", "[198.18.0.2]:80", "[2001:2::2]80", ":80", ""})
    EXPECT_THAT(Refused({"--eal", "x", "--to", to}), HasSubstr("ADDR:PORT")) << to;
  for (const char* n : {"0", "-1", "1.5", "1000001", "many", "", " 5"})
    EXPECT_THAT(Refused(With({"--connections", n})), HasSubstr("whole number from 1 to")) << n;
  for (const char* n : {"-1", "nan", "inf", "1e10", "1k", ""})
    EXPECT_THAT(Refused(With({"--rate", n})), HasSubstr("a number from 0 to")) << n;
  for (const char* n : {"0", "-3", "100000", "1s"})
    EXPECT_THAT(Refused(With({"--seconds", n})), HasSubstr("--seconds")) << n;
  EXPECT_THAT(Refused(With({"--mode", "fast"})), HasSubstr("rps, cps, bulk"));
  EXPECT_THAT(Refused(With({"--address", "198.18.0.1"})), HasSubstr("ADDRESS/PREFIX"));
  EXPECT_THAT(Refused(With({"--address", "2001:2::1/48"})), HasSubstr("family"));
  EXPECT_THAT(Refused(With({"--gateway", "2001:2::1"})), HasSubstr("family"));
  EXPECT_THAT(Refused(With({"--mac", "01:00:5e:00:00:01"})), HasSubstr("link address"));
  for (const char* path : {"bytes", "", "/a b", "/a\r\nX: y"})
    EXPECT_THAT(Refused(With({"--path", path})), HasSubstr("a path")) << path;
}

TEST(OptionsTest, WhatDoesNotGoTogetherIsTold) {
  EXPECT_THAT(Refused(With({"--pipeline", "2", "--mode", "cps"})), HasSubstr("--mode rps"));
  EXPECT_THAT(Refused(With({"--direction", "up"})), HasSubstr("--mode bulk"));
  EXPECT_THAT(Refused(With({"--raw"})), HasSubstr("--mode bulk"));
  EXPECT_THAT(Refused(With({"--mode", "bulk", "--rate", "5"})), HasSubstr("--rate"));
  EXPECT_THAT(Refused(With({"--mode", "bulk", "--raw", "--path", "/"})), HasSubstr("--path"));
  EXPECT_THAT(Refused(With({"--spoof", "10.0.0.0/8"})), HasSubstr("floods"));
  EXPECT_THAT(Refused(With({"--to-mac", "02:00:00:00:00:09"})), HasSubstr("floods"));
  EXPECT_THAT(Refused(With({"--mode", "syn-flood", "--spoof", "198.18.0.0/15"})), HasSubstr("own"));
  EXPECT_THAT(Refused({"--eal", "x", "--to", "[::1]:80", "--mode", "syn-flood"}),
              HasSubstr("IPv4 only"));
}

}  // namespace
}  // namespace usher::load
