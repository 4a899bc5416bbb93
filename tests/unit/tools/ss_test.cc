#include "tools/ctl/ss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>

namespace usher::ctl {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;

Json Socket(const char* state, const char* local, int local_port, const char* peer, int peer_port,
            int recv_q = 0, int send_q = 0) {
  return {{"state", state},         {"recv_q", recv_q}, {"send_q", send_q},
          {"local", local},         {"peer", peer},     {"local_port", local_port},
          {"peer_port", peer_port}, {"family", 4},      {"shard", 0}};
}

Json Listener(const char* local, int port, int family, int recv_q, int send_q) {
  return {{"state", "LISTEN"},
          {"local", local},
          {"local_port", port},
          {"family", family},
          {"v6_only", std::string(local) == "::"},
          {"recv_q", recv_q},
          {"send_q", send_q},
          {"half_open", 3},
          {"half_open_capacity", 16},
          {"young", 2},
          {"held_back_by", "somaxconn"},
          {"model", "linux-classic"},
          {"counters",
           {{"syncookies_sent", 7},
            {"syncookies_recv", 5},
            {"syncookies_failed", 1},
            {"accepted", 9},
            {"listen_overflows", 4},
            {"listen_drops", 6}}}};
}

std::vector<std::string> Print(const std::vector<std::string>& arguments,
                               const std::vector<Json>& sockets) {
  std::vector<std::string> lines;
  const auto options = ParseSsOptions(arguments);
  EXPECT_TRUE(options.ok()) << options.status();
  SsPrinter printer(*options, [&lines](const std::string& line) { lines.push_back(line); });
  for (const Json& s : sockets) printer.Add(s);
  printer.Finish();
  return lines;
}

TEST(SsOptionsTest, LettersMayBeTogetherOrApart) {
  const auto together = ParseSsOptions({"-ltnie"});
  ASSERT_TRUE(together.ok());
  EXPECT_TRUE(together->listening && together->numeric && together->info && together->extended);
  EXPECT_FALSE(together->all || together->timers);
  const auto apart = ParseSsOptions({"-a", "--options", "-4", "--no-header"});
  ASSERT_TRUE(apart.ok());
  EXPECT_TRUE(apart->all && apart->timers && apart->ipv4 && apart->no_header);
}

TEST(SsOptionsTest, TheLastOfListeningAndAllCounts) {
  EXPECT_TRUE(ParseSsOptions({"-la"})->all);
  EXPECT_FALSE(ParseSsOptions({"-la"})->listening);
  EXPECT_TRUE(ParseSsOptions({"-al"})->listening);
  EXPECT_FALSE(ParseSsOptions({"-al"})->all);
}

TEST(SsOptionsTest, WhatIsNotThereIsRefused) {
  for (const char* wrong : {"-x", "-lx", "--nonsense", "state", "-", "--", ""})
    EXPECT_EQ(ParseSsOptions({wrong}).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
}

// The rows that iproute2 6.1 prints for the same sockets, without its column for processes.
TEST(SsPrinterTest, ColumnsAreThoseOfSs) {
  EXPECT_THAT(Print({"-ltn"}, {Listener("0.0.0.0", 8080, 4, 5, 5), Listener("*", 8081, 6, 0, 5),
                               Listener("::", 8082, 6, 0, 5), Listener("2001:2::2", 80, 6, 0, 5)}),
              ElementsAre("State  Recv-Q Send-Q Local Address:Port Peer Address:Port",
                          "LISTEN 5      5            0.0.0.0:8080      0.0.0.0:*",
                          "LISTEN 0      5                  *:8081            *:*",
                          "LISTEN 0      5               [::]:8082         [::]:*",
                          "LISTEN 0      5        [2001:2::2]:80           [::]:*"));
}

TEST(SsPrinterTest, ColumnsAreAsWideAsTheirWidestRow) {
  EXPECT_THAT(Print({"-tanH"}, {Socket("FIN-WAIT-2", "127.0.0.1", 56170, "127.0.0.1", 8080),
                                Socket("ESTAB", "127.0.0.1", 80, "127.0.0.1", 56176, 99000, 12)}),
              ElementsAre("FIN-WAIT-2 0     0  127.0.0.1:56170 127.0.0.1:8080",
                          "ESTAB      99000 12 127.0.0.1:80    127.0.0.1:56176"));
}

TEST(SsPrinterTest, PortsHaveNamesUnlessNumeric) {
  // The least of systems knows no names of services (/etc/services).
  const servent* known = getservbyport(htons(80), "tcp");
  const std::string name = known != nullptr ? known->s_name : "80";
  EXPECT_THAT(Print({"-H"}, {Socket("ESTAB", "10.0.0.1", 80, "10.0.0.2", 40999)}),
              ElementsAre("ESTAB 0 0 10.0.0.1:" + name + " 10.0.0.2:40999"));
}

TEST(SsPrinterTest, ExtendedListenersSayWhatHoldsThemBack) {
  EXPECT_THAT(Print({"-lenH"}, {Listener("0.0.0.0", 80, 4, 6, 5)}),
              ElementsAre("LISTEN 6 5 0.0.0.0:80 0.0.0.0:* half-open:3/16 young:2 cookies:7/5/1 "
                          "held-back-by:somaxconn model:linux-classic accepted:9 overflows:4 "
                          "drops:6"));
}

TEST(SsPrinterTest, TimersAndShards) {
  Json request = Socket("SYN-RECV", "10.0.0.1", 80, "10.0.0.2", 40000);
  request["timer"] = {{"name", "on"}, {"ms", 768}, {"retransmits", 1}};
  Json queued = Socket("ESTAB", "10.0.0.1", 80, "10.0.0.2", 40001);
  queued["queued"] = true;
  EXPECT_THAT(Print({"-anoeH"}, {request, queued}),
              ElementsAre("SYN-RECV 0 0 10.0.0.1:80 10.0.0.2:40000 timer:(on,768ms,1) shard:0",
                          "ESTAB    0 0 10.0.0.1:80 10.0.0.2:40001 shard:0 queued"));
  EXPECT_THAT(Print({"-anH"}, {request}), ElementsAre("SYN-RECV 0 0 10.0.0.1:80 10.0.0.2:40000"));
}

TEST(SsPrinterTest, RowsBeyondTheMeasuredOnesPassThrough) {
  SsOptions options;
  options.numeric = true;
  size_t lines = 0;
  SsPrinter printer(options, [&lines](const std::string&) { ++lines; });
  for (size_t i = 0; i < SsPrinter::kRowsMeasured - 1; ++i)
    printer.Add(Socket("ESTAB", "10.0.0.1", 80, "10.0.0.2", 1));
  EXPECT_EQ(lines, 0u);
  printer.Add(Socket("ESTAB", "10.0.0.1", 80, "10.0.0.2", 1));
  EXPECT_EQ(lines, SsPrinter::kRowsMeasured + 1);
  printer.Add(Socket("ESTAB", "10.0.0.1", 80, "10.0.0.2", 1));
  EXPECT_EQ(lines, SsPrinter::kRowsMeasured + 2);
  printer.Finish();
  EXPECT_EQ(lines, SsPrinter::kRowsMeasured + 2);
}

TEST(SsTest, TimersAreWrittenAsSsDoes) {
  const auto text = [](uint64_t ms) {
    return TimerText({{"name", "keepalive"}, {"ms", ms}, {"retransmits", 0}});
  };
  EXPECT_EQ(text(0), "timer:(keepalive,0ms,0)");
  EXPECT_EQ(text(999), "timer:(keepalive,999ms,0)");
  EXPECT_EQ(text(1000), "timer:(keepalive,1sec,0)");
  EXPECT_EQ(text(1299), "timer:(keepalive,1.2sec,0)");
  EXPECT_EQ(text(9999), "timer:(keepalive,9.9sec,0)");
  EXPECT_EQ(text(12345), "timer:(keepalive,12sec,0)");
  EXPECT_EQ(text(59999), "timer:(keepalive,59sec,0)");
  EXPECT_EQ(text(60000), "timer:(keepalive,1min,0)");
  EXPECT_EQ(text(62500), "timer:(keepalive,1min2sec,0)");
  EXPECT_EQ(text(7'199'000), "timer:(keepalive,119min,0)");
}

TEST(SsTest, InfoIsWrittenInTheOrderOfSsWithoutWhatIsNotKnown) {
  const Json info = {{"timestamps", true},    {"sack", true},
                     {"congestion", "cubic"}, {"wscale", {7, 10}},
                     {"rto_us", 200090},      {"rtt_us", 90},
                     {"rttvar_us", 45},       {"minrtt_us", 60},
                     {"ato_ms", 40},          {"mss", 1448},
                     {"pmtu", 1500},          {"rcvmss", 536},
                     {"advmss", 1460},        {"cwnd", 10},
                     {"ssthresh", 7},         {"lastsnd_ms", 12},
                     {"lastrcv_ms", 0},       {"pacing_rate", 1000},
                     {"unacked", 2},          {"retrans", 1},
                     {"total_retrans", 3},    {"reordering", 3},
                     {"rcv_ssthresh", 65160}, {"snd_wnd", 64512},
                     {"bytes_sent", 5000},    {"bytes_retrans", 1448},
                     {"bytes_acked", 3552},   {"bytes_received", uint64_t{1} << 33}};
  EXPECT_EQ(InfoText({{"info", info}}),
            " ts sack cubic wscale:7,10 rto:200 rtt:0.09/0.045 ato:40 mss:1448 pmtu:1500 "
            "rcvmss:536 advmss:1460 cwnd:10 ssthresh:7 bytes_sent:5000 bytes_retrans:1448 "
            "bytes_acked:3552 bytes_received:8589934592 send 1287111111bps lastsnd:12 "
            "pacing_rate 8000bps unacked:2 retrans:1/3 rcv_ssthresh:65160 minrtt:0.06 "
            "snd_wnd:64512");
  EXPECT_EQ(InfoText(Json::object()), "");
}

}  // namespace
}  // namespace usher::ctl
