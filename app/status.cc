#include "app/status.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "stack/base/counters.h"

namespace usher {
namespace {

using nlohmann::json;

constexpr std::pair<TcpState, const char*> kStates[] = {
    {TcpState::kEstablished, "established"}, {TcpState::kFinWait1, "fin_wait_1"},
    {TcpState::kFinWait2, "fin_wait_2"},     {TcpState::kCloseWait, "close_wait"},
    {TcpState::kClosing, "closing"},         {TcpState::kLastAck, "last_ack"},
};

void AddTo(json& object, const char* key, uint64_t n) {
  object[key] = object.value(key, uint64_t{0}) + n;
}

void AppendDrops(json& drops, const std::string& listener, uint32_t shard,
                 const DropLedger& ledger) {
  for (size_t r = 0; r < kDropReasons; ++r) {
    const auto reason = static_cast<DropReason>(r);
    if (ledger[reason] != 0)
      drops.push_back({{"listener", listener},
                       {"shard", shard},
                       {"reason", ToString(reason)},
                       {"count", ledger[reason]}});
  }
}

json SumCounters(Stack& stack) {
  json counters;
  for (size_t c = 0; c < kCounterCount; ++c) {
    const auto counter = static_cast<Counter>(c);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < stack.shard_count(); ++i)
      sum += stack.shard(i).counters().Get(counter);
    counters[CounterName(counter)] = sum;
  }
  return counters;
}

}  // namespace

StatusBoard::StatusBoard(Stack* stack, std::vector<std::string> services, Instant started)
    : stack_(stack), services_(std::move(services)), started_(started) {
  for (uint32_t i = 0; i < stack->shard_count(); ++i) {
    slots_.push_back(std::make_unique<Slot>());
    Look(stack->shard(i), &slots_[i]->tables);
  }
}

void StatusBoard::Look(Shard& shard, ShardTables* out) {
  out->listeners.clear();
  const PassiveOpen& passive = shard.passive_open();
  passive.ForEachListener([out, &passive](Handle, const Listener& l) {
    out->listeners.push_back({.spec = l.spec,
                              .model = l.model,
                              .limits = passive.LimitsInForce(l),
                              .accept_queue = l.accept_queue.length(),
                              .half_open = l.half_open,
                              .young = l.young,
                              .counters = l.counters});
  });
  out->without_listener = passive.without_listener().drops;
  out->time_wait = shard.time_wait().size();
  out->connections = shard.connection_count();
  out->packet_buffers_free = shard.FreePacketBuffers();
  out->send_blocks_free = shard.context().send_blocks.available_blocks();
  out->sent_segments_used = shard.context().sent_segments.in_use();
  out->tcp_memory_bytes = shard.context().memory.charged_bytes();
  out->states = {};
  out->states_known = shard.connection_count() <= kCountable;
  if (!out->states_known) return;
  shard.ForEachConnection(
      [out](const TcpConnection& c) { ++out->states[static_cast<size_t>(c.state())]; });
}

void StatusBoard::Refresh(uint32_t index) {
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = *slots_[i];
    if (i == index) {
      const std::lock_guard lock(slot.mutex);
      Look(stack_->shard(i), &slot.tables);
    } else if (!slot.asked.exchange(true)) {
      stack_->Post(i, [&slot](Shard& shard) {
        const std::lock_guard lock(slot.mutex);
        Look(shard, &slot.tables);
        slot.asked.store(false);
      });
    }
  }
}

// Rows of one listener stand at one place in every shard's tables.
void StatusBoard::AddListeners(const ShardTables& tables, json* rows) const {
  for (size_t i = 0; i < tables.listeners.size(); ++i) {
    const ShardTables::Row& l = tables.listeners[i];
    if (rows->size() == i) {
      rows->push_back({{"address", l.spec.address.ToString()},
                       {"port", l.spec.port},
                       {"model", ToString(l.model)},
                       {"backlog", l.spec.backlog},
                       {"accept_queue_limit", l.limits.accept_limit},
                       {"half_open_capacity", l.limits.half_open_capacity},
                       {"limited_by", HeldBackBy::ToString(l.limits.held_back_by)}});
      if (i < services_.size()) rows->back()["service"] = services_[i];
    }
    json& row = (*rows)[i];
    const ListenerCounters& c = l.counters;
    AddTo(row, "accept_queue", l.accept_queue);
    AddTo(row, "half_open", l.half_open);
    AddTo(row, "young", l.young);
    AddTo(row, "completed", c.completed + c.completed_by_cookie + c.completed_fast_open);
    AddTo(row, "accepted", c.accepted);
    AddTo(row, "cookies_sent", c.syncookies_sent);
    AddTo(row, "cookies_received", c.syncookies_recv);
    AddTo(row, "cookies_failed", c.syncookies_failed);
    AddTo(row, "listen_overflows", c.listen_overflows);
    AddTo(row, "listen_drops", c.listen_drops);
  }
}

std::string StatusBoard::Render(uint32_t index) {
  Refresh(index);
  json listeners = json::array(), drops = json::array(), connections = json::object();
  json pools = json::array();
  bool states_known = true;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    const std::lock_guard lock(slots_[i]->mutex);
    const ShardTables& tables = slots_[i]->tables;
    AddListeners(tables, &listeners);
    for (const ShardTables::Row& l : tables.listeners)
      AppendDrops(drops, ToString(l.spec.address, l.spec.port), i, l.counters.drops);
    AppendDrops(drops, "-", i, tables.without_listener);
    for (const ShardTables::Row& l : tables.listeners)
      AddTo(connections, "syn_received", l.half_open);
    AddTo(connections, "time_wait", tables.time_wait);
    states_known &= tables.states_known;
    pools.push_back({{"shard", i},
                     {"connections", tables.connections},
                     {"packet_buffers_free", tables.packet_buffers_free},
                     {"send_blocks_free", tables.send_blocks_free},
                     {"sent_segments_used", tables.sent_segments_used},
                     {"tcp_memory_bytes", tables.tcp_memory_bytes}});
  }
  for (const auto& [state, name] : kStates) {
    for (const auto& slot : slots_) {
      const std::lock_guard lock(slot->mutex);
      if (states_known) AddTo(connections, name, slot->tables.states[static_cast<size_t>(state)]);
    }
  }
  const Duration up = stack_->shard(index).now() - started_;
  return json({{"version", USHER_VERSION},
               {"uptime_s", static_cast<double>(up.us()) / 1e6},
               {"shards", slots_.size()},
               {"listeners", listeners},
               {"connections", connections},
               {"counters", SumCounters(*stack_)},
               {"drops", drops},
               {"pools", pools}})
      .dump();
}

}  // namespace usher
