// stack/glue/control_json.cc: the rows, key by key, as glue/README.md lists them.
#include "stack/glue/control_json.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace usher {
namespace {

using Json = nlohmann::json;

std::set<std::string> Keys(const Json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

ListenerSnapshot Listener() {
  ListenerSnapshot l;
  l.id = 7;
  l.address = IpAddress::V4(0xc6120002);
  l.port = 80;
  l.model = ListenModel::kBsd;
  l.backlog = -1;
  l.limits.accept_limit = 128;
  l.limits.half_open_capacity = 256;
  l.whole.held_back_by = HeldBackBy::kSomaxconn;
  l.accept_queue = 3;
  l.half_open = 4;
  l.young = 2;
  l.parked = 1;
  l.fast_open_pending = 5;
  return l;
}

TEST(ControlJson, Listener) {
  const Json row = ToJson(Listener());
  EXPECT_EQ(Keys(row),
            (std::set<std::string>{"id", "state", "local", "local_port", "family", "v6_only",
                                   "reuseport", "model", "backlog", "recv_q", "send_q", "half_open",
                                   "half_open_capacity", "young", "parked", "fast_open_pending",
                                   "held_back_by", "counters", "drops"}));
  EXPECT_EQ(row["state"], "LISTEN");
  EXPECT_EQ(row["local"], "198.18.0.2");
  EXPECT_EQ(row["local_port"], 80);
  EXPECT_EQ(row["family"], 4);
  EXPECT_EQ(row["model"], "bsd");
  EXPECT_EQ(row["backlog"], -1) << "as it was asked for";
  EXPECT_EQ(row["recv_q"], 3);
  EXPECT_EQ(row["send_q"], 128);
  EXPECT_EQ(row["half_open"], 4);
  EXPECT_EQ(row["half_open_capacity"], 256);
  EXPECT_EQ(row["young"], 2);
  EXPECT_EQ(row["held_back_by"], "somaxconn");
  EXPECT_TRUE(row["drops"].empty());
}

TEST(ControlJson, ListenerOfOneShardNamesIt) {
  ListenerSnapshot l = Listener();
  l.shard = 3;
  EXPECT_EQ(ToJson(l)["shard"], 3);
}

TEST(ControlJson, ListenerOfBothFamilies) {
  ListenerSnapshot l = Listener();
  l.address = IpAddress();
  Json row = ToJson(l);
  EXPECT_EQ(row["local"], "*");
  EXPECT_EQ(row["family"], 6);
  l.v6_only = true;
  row = ToJson(l);
  EXPECT_EQ(row["local"], "::");
  EXPECT_EQ(row["v6_only"], true);
  l.address = IpAddress::V4(0);
  EXPECT_EQ(ToJson(l)["local"], "0.0.0.0");
}

TEST(ControlJson, EveryListenerCounterIsThere) {
  ListenerSnapshot l = Listener();
  ListenerCounters& c = l.counters;
  uint64_t n = 1;
  for (uint64_t* counter :
       {&c.syns, &c.acks, &c.requests, &c.syn_answered_again, &c.completed, &c.completed_by_cookie,
        &c.completed_fast_open, &c.accepted, &c.migrated_in, &c.listen_overflows, &c.listen_drops,
        &c.req_q_full_do_cookies, &c.req_q_full_drop, &c.syncookies_sent, &c.syncookies_recv,
        &c.syncookies_failed, &c.parked})
    *counter = UINT64_MAX - n++;
  const Json counters = ToJson(l)["counters"];
  EXPECT_EQ(counters.size(), n - 1);
  EXPECT_EQ(counters["syns"], UINT64_MAX - 1) << "64 bits, unsigned";
  EXPECT_EQ(counters["parked"], UINT64_MAX - (n - 1));
  std::set<uint64_t> values;
  for (const auto& [key, value] : counters.items()) values.insert(value.get<uint64_t>());
  EXPECT_EQ(values.size(), n - 1) << "each from a field of its own";
}

TEST(ControlJson, LedgerShowsTheRowsThatAreNotZero) {
  DropLedger drops;
  EXPECT_EQ(ToJson(drops), Json::object());
  drops.Add(DropReason::kSynNoListener, 3);
  drops.Add(DropReason::kAckParkedGone);
  EXPECT_EQ(ToJson(drops), (Json{{"syn-no-listener", 3}, {"ack-parked-gone", 1}}));
  for (size_t i = 0; i < kDropReasons; ++i) drops.Add(static_cast<DropReason>(i));
  EXPECT_EQ(ToJson(drops).size(), kDropReasons);
}

SocketSnapshot Socket() {
  SocketSnapshot s;
  s.tuple = {*IpAddress::Parse("2001:2::2"), *IpAddress::Parse("2001:2::1"), 80, 40000};
  s.info.state = TcpState::kEstablished;
  s.info.recv_q = 10;
  s.info.send_q = 20;
  return s;
}

TEST(ControlJson, SocketWithoutInfo) {
  const Json row = ToJson(Socket(), 2, false);
  EXPECT_EQ(Keys(row), (std::set<std::string>{"state", "recv_q", "send_q", "local", "local_port",
                                              "peer", "peer_port", "family", "shard"}));
  EXPECT_EQ(row["state"], "ESTAB");
  EXPECT_EQ(row["recv_q"], 10);
  EXPECT_EQ(row["send_q"], 20);
  EXPECT_EQ(row["local"], "2001:2::2");
  EXPECT_EQ(row["local_port"], 80);
  EXPECT_EQ(row["peer"], "2001:2::1");
  EXPECT_EQ(row["peer_port"], 40000);
  EXPECT_EQ(row["family"], 6);
  EXPECT_EQ(row["shard"], 2);
}

TEST(ControlJson, TimerAndQueuedOnlyWhereThereAreAny) {
  SocketSnapshot s = Socket();
  s.queued = true;
  s.info.timer = {TimerKind::kPersist, Duration::Micros(1'999'999), 3};
  const Json row = ToJson(s, 0, false);
  EXPECT_EQ(row["queued"], true);
  EXPECT_EQ(row["timer"], (Json{{"name", "persist"}, {"ms", 1999}, {"retransmits", 3}}));
}

TEST(ControlJson, InfoOfConnectionsOnly) {
  SocketSnapshot s = Socket();
  EXPECT_TRUE(ToJson(s, 0, true).contains("info"));
  s.kind = SocketSnapshot::Kind::kRequest;
  EXPECT_FALSE(ToJson(s, 0, true).contains("info"));
  s.kind = SocketSnapshot::Kind::kTimeWait;
  EXPECT_FALSE(ToJson(s, 0, true).contains("info"));
}

TEST(ControlJson, WhatIsNotKnownIsNotThere) {
  const Json info = ToJson(Socket(), 0, true)["info"];
  for (const char* key :
       {"wscale", "rtt_us", "rttvar_us", "minrtt_us", "ato_ms", "ssthresh", "pacing_rate"})
    EXPECT_FALSE(info.contains(key)) << key;
  SocketSnapshot s = Socket();
  s.info.wscale = true;
  s.info.snd_wscale = 7;
  s.info.rcv_wscale = 14;
  s.info.rtt = Duration::Micros(1500);
  s.info.rttvar = Duration::Micros(750);
  s.info.min_rtt = Duration::Micros(1200);
  s.info.ato = Duration::Millis(40);
  s.info.ssthresh = 22;
  s.info.pacing_rate = uint64_t{1} << 40;
  s.info.bytes_sent = (uint64_t{1} << 48) + 1;
  s.info.bytes_retrans = 3;
  s.info.bytes_acked = uint64_t{1} << 48;
  s.info.bytes_received = UINT64_MAX;
  const Json full = ToJson(s, 0, true)["info"];
  EXPECT_EQ(full["wscale"], (Json{7, 14}));
  EXPECT_EQ(full["rtt_us"], 1500);
  EXPECT_EQ(full["rttvar_us"], 750);
  EXPECT_EQ(full["minrtt_us"], 1200);
  EXPECT_EQ(full["ato_ms"], 40);
  EXPECT_EQ(full["ssthresh"], 22);
  EXPECT_EQ(full["pacing_rate"], uint64_t{1} << 40);
  EXPECT_EQ(full["bytes_sent"], (uint64_t{1} << 48) + 1);
  EXPECT_EQ(full["bytes_retrans"], 3);
  EXPECT_EQ(full["bytes_acked"], uint64_t{1} << 48);
  EXPECT_EQ(full["bytes_received"], UINT64_MAX);
}

TEST(ControlJson, Shard) {
  const Json row = ToJson(ShardSnapshot{1, 2, 3, 4, uint64_t{5} << 32});
  EXPECT_EQ(row, (Json{{"connections", 1},
                       {"requests", 2},
                       {"time_wait", 3},
                       {"orphans", 4},
                       {"tcp_memory_bytes", uint64_t{5} << 32}}));
}

}  // namespace
}  // namespace usher
