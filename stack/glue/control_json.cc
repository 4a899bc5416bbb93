#include "stack/glue/control_json.h"

#include "stack/tcp/congestion/controller.h"

namespace usher {

using Json = nlohmann::json;

Json ToJson(const DropLedger& drops) {
  Json rows = Json::object();
  for (size_t i = 0; i < kDropReasons; ++i) {
    const auto reason = static_cast<DropReason>(i);
    if (drops[reason] != 0) rows[ToString(reason)] = drops[reason];
  }
  return rows;
}

Json ToJson(const ListenerSnapshot& l) {
  const ListenerCounters& c = l.counters;
  Json row = {
      {"id", l.id},
      {"state", "LISTEN"},
      {"local", l.AddressText()},
      {"local_port", l.port},
      {"family", l.address.is_v4() ? 4 : 6},
      {"v6_only", l.v6_only},
      {"reuseport", l.reuseport},
      {"model", ToString(l.model)},
      {"backlog", l.backlog},
      {"recv_q", l.accept_queue},
      {"send_q", l.limits.accept_limit},
      {"half_open", l.half_open},
      {"half_open_capacity", l.limits.half_open_capacity},
      {"young", l.young},
      {"parked", l.parked},
      {"fast_open_pending", l.fast_open_pending},
      {"held_back_by", HeldBackBy::ToString(l.whole.held_back_by)},
      {"counters",
       {{"syns", c.syns},
        {"acks", c.acks},
        {"requests", c.requests},
        {"syn_answered_again", c.syn_answered_again},
        {"completed", c.completed},
        {"completed_by_cookie", c.completed_by_cookie},
        {"completed_fast_open", c.completed_fast_open},
        {"accepted", c.accepted},
        {"migrated_in", c.migrated_in},
        {"listen_overflows", c.listen_overflows},
        {"listen_drops", c.listen_drops},
        {"req_q_full_do_cookies", c.req_q_full_do_cookies},
        {"req_q_full_drop", c.req_q_full_drop},
        {"syncookies_sent", c.syncookies_sent},
        {"syncookies_recv", c.syncookies_recv},
        {"syncookies_failed", c.syncookies_failed},
        {"parked", c.parked}}},
      {"drops", ToJson(c.drops)},
  };
  if (l.shard != ListenerSnapshot::kAllShards) row["shard"] = l.shard;
  return row;
}

namespace {

Json InfoJson(const TcpInfo& i) {
  const std::string_view congestion = CongestionAlgorithmName(i.congestion);
  Json info = {
      {"timestamps", i.timestamps},
      {"sack", i.sack},
      {"ecn", i.ecn},
      {"ecnseen", i.ecn_seen},
      {"congestion", std::string(congestion)},
      {"rto_us", i.rto.us()},
      {"backoff", i.backoff},
      {"mss", i.mss},
      {"pmtu", i.pmtu},
      {"rcvmss", i.rcvmss},
      {"advmss", i.advmss},
      {"cwnd", i.cwnd},
      {"lastsnd_ms", i.last_sent.ms()},
      {"lastrcv_ms", i.last_received.ms()},
      {"lastack_ms", i.last_ack.ms()},
      {"unacked", i.unacked},
      {"retrans", i.retrans},
      {"total_retrans", i.total_retrans},
      {"lost", i.lost},
      {"sacked", i.sacked},
      {"reordering", i.reordering},
      {"reord_seen", i.reordering_seen},
      {"rcv_ssthresh", i.rcv_ssthresh},
      {"notsent", i.not_sent},
      {"snd_wnd", i.snd_wnd},
      {"bytes_sent", i.bytes_sent},
      {"bytes_retrans", i.bytes_retrans},
      {"bytes_acked", i.bytes_acked},
      {"bytes_received", i.bytes_received},
  };
  // What is not known, or not set, is not there.
  if (i.wscale) info["wscale"] = {i.snd_wscale, i.rcv_wscale};
  if (i.rtt != Duration()) {
    info["rtt_us"] = i.rtt.us();
    info["rttvar_us"] = i.rttvar.us();
  }
  if (i.min_rtt != Duration()) info["minrtt_us"] = i.min_rtt.us();
  if (i.ato != Duration()) info["ato_ms"] = i.ato.ms();
  if (i.ssthresh != TcpInfo::kNoSsthresh) info["ssthresh"] = i.ssthresh;
  if (i.pacing_rate != 0) info["pacing_rate"] = i.pacing_rate;
  return info;
}

}  // namespace

Json ToJson(const SocketSnapshot& s, uint32_t shard, bool with_info) {
  Json row = {
      {"state", ToString(s.info.state)},
      {"recv_q", s.info.recv_q},
      {"send_q", s.info.send_q},
      {"local", s.tuple.local.ToString()},
      {"local_port", s.tuple.local_port},
      {"peer", s.tuple.remote.ToString()},
      {"peer_port", s.tuple.remote_port},
      {"family", s.tuple.local.is_v4() ? 4 : 6},
      {"shard", shard},
  };
  if (s.queued) row["queued"] = true;
  if (s.info.timer.kind != TimerKind::kOff) {
    row["timer"] = {{"name", ToString(s.info.timer.kind)},
                    {"ms", s.info.timer.remaining.ms()},
                    {"retransmits", s.info.timer.retransmits}};
  }
  if (with_info && s.kind == SocketSnapshot::Kind::kConnection) row["info"] = InfoJson(s.info);
  return row;
}

Json ToJson(const ShardSnapshot& s) {
  return {{"connections", s.connections},
          {"requests", s.requests},
          {"time_wait", s.time_wait},
          {"orphans", s.orphans},
          {"tcp_memory_bytes", s.tcp_memory_bytes}};
}

}  // namespace usher
