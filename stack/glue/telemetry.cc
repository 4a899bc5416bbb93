#include "stack/glue/telemetry.h"

#include <rte_telemetry.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "stack/glue/snapshot.h"

namespace usher {
namespace {

constexpr size_t kMaxRows = RTE_TEL_MAX_ARRAY_ENTRIES;
// A reply that comes near DPDK's 16 KiB would lose columns.
constexpr size_t kMaxBytes = 14'000;

// DPDK's callbacks carry no pointer of ours, and commands cannot be taken back.
std::mutex current_mutex;
ControlCommands* current = nullptr;  // null: no stack runs
bool registered = false;

// Runs `fill` on the stack there is.
template <class Fill>
int WithCommands(Fill&& fill) {
  const std::lock_guard lock(current_mutex);
  return current != nullptr && fill(*current) ? 0 : -1;
}

// Rows as telemetry can say them: an object of arrays, one for each column. (It has no arrays of
// objects.)
class Table {
 public:
  struct Cell {
    Cell(const char* t) : text(t) {}         // NOLINT(google-explicit-constructor): lists of cells
    Cell(const std::string& t) : text(t) {}  // NOLINT(google-explicit-constructor)
    Cell(uint64_t n) : number(n), numeric(true) {}  // NOLINT(google-explicit-constructor)
    std::string text;
    uint64_t number = 0;
    bool numeric = false;
  };

  explicit Table(std::vector<const char*> columns) : columns_(std::move(columns)) {}

  // False: it is full, the row is left out.
  bool Add(std::vector<Cell> row) {
    for (const Cell& cell : row)
      bytes_ += (cell.numeric ? absl::StrCat(cell.number).size() : cell.text.size() + 2) + 2;
    if (rows_.size() == kMaxRows || bytes_ > kMaxBytes) return false;
    rows_.push_back(std::move(row));
    return true;
  }

  void WriteTo(rte_tel_data* d) const {
    rte_tel_data_start_dict(d);
    for (size_t c = 0; c < columns_.size(); ++c) {
      rte_tel_data* column = rte_tel_data_alloc();
      if (column == nullptr) return;
      const bool numeric = !rows_.empty() && rows_[0][c].numeric;
      rte_tel_data_start_array(column, numeric ? RTE_TEL_U64_VAL : RTE_TEL_STRING_VAL);
      for (const std::vector<Cell>& row : rows_) {
        if (numeric) {
          rte_tel_data_add_array_u64(column, row[c].number);
        } else {
          rte_tel_data_add_array_string(column, row[c].text.c_str());
        }
      }
      if (rte_tel_data_add_dict_container(d, columns_[c], column, 0) != 0)
        rte_tel_data_free(column);
    }
  }

 private:
  const std::vector<const char*> columns_;
  std::vector<std::vector<Cell>> rows_;
  size_t bytes_ = 0;
};

std::string Name(const ListenerSnapshot& l) {
  const std::string address = l.AddressText();
  const bool brackets = address.find(':') != std::string::npos;
  return brackets ? absl::StrCat("[", address, "]:", l.port) : absl::StrCat(address, ":", l.port);
}

int AnswerListeners(const char*, const char*, rte_tel_data* d) {
  return WithCommands([d](ControlCommands& commands) {
    const auto shards = commands.Listeners();
    if (!shards.ok()) return false;
    Table table({"local", "model", "recv_q", "send_q", "half_open", "half_open_capacity", "young",
                 "held_back_by", "accepted", "syncookies_sent", "listen_overflows",
                 "listen_drops"});
    for (const ListenerSnapshot& l : MergeListeners(*shards)) {
      if (!table.Add({Name(l), ToString(l.model), l.accept_queue, l.limits.accept_limit,
                      l.half_open, l.limits.half_open_capacity, l.young,
                      HeldBackBy::ToString(l.whole.held_back_by), l.counters.accepted,
                      l.counters.syncookies_sent, l.counters.listen_overflows,
                      l.counters.listen_drops}))
        break;
    }
    table.WriteTo(d);
    return true;
  });
}

// "/usher/connections,N" passes over the first N.
int AnswerConnections(const char*, const char* params, rte_tel_data* d) {
  const long skip = params != nullptr ? std::strtol(params, nullptr, 10) : 0;
  return WithCommands([d, skip](ControlCommands& commands) {
    Table table({"state", "recv_q", "send_q", "local", "peer", "shard"});
    long seen = 0;
    const absl::Status status =
        commands.Sockets(0xff, [&](const SocketSnapshot& s, uint32_t shard) {
          return seen++ < skip || table.Add({ToString(s.info.state), s.info.recv_q, s.info.send_q,
                                             ToString(s.tuple.local, s.tuple.local_port),
                                             ToString(s.tuple.remote, s.tuple.remote_port), shard});
        });
    table.WriteTo(d);
    return status.ok();
  });
}

// The counters that are not zero, or the one named: "/usher/counters,TcpInSegs".
int AnswerCounters(const char*, const char* params, rte_tel_data* d) {
  return WithCommands([d, params](ControlCommands& commands) {
    const CounterValues values = commands.Counters();
    rte_tel_data_start_dict(d);
    for (size_t i = 0; i < kCounterCount; ++i) {
      const char* name = CounterName(static_cast<Counter>(i));
      if (params != nullptr ? std::strcmp(params, name) == 0 : values[i] != 0)
        rte_tel_data_add_dict_u64(d, name, values[i]);
    }
    return true;
  });
}

void AddDrops(Table& table, const std::string& listener, uint64_t shard, const DropLedger& drops) {
  for (size_t i = 0; i < kDropReasons; ++i) {
    const auto reason = static_cast<DropReason>(i);
    if (drops[reason] != 0) table.Add({listener, shard, ToString(reason), drops[reason]});
  }
}

int AnswerDrops(const char*, const char*, rte_tel_data* d) {
  return WithCommands([d](ControlCommands& commands) {
    const auto shards = commands.Listeners();
    if (!shards.ok()) return false;
    Table table({"listener", "shard", "reason", "count"});
    for (uint32_t i = 0; i < shards->size(); ++i) {
      AddDrops(table, "-", i, (*shards)[i].without_listener.drops);
      for (const ListenerSnapshot& l : (*shards)[i].listeners)
        AddDrops(table, Name(l), i, l.counters.drops);
    }
    table.WriteTo(d);
    return true;
  });
}

// Names have slashes for dots: telemetry takes no dot in a name. As a parameter either will do.
int AnswerSysctl(const char*, const char* params, rte_tel_data* d) {
  return WithCommands([d, params](ControlCommands& commands) {
    const auto settings = commands.Settings();
    if (!settings.ok()) return false;
    std::string wanted = params != nullptr ? params : "";
    std::replace(wanted.begin(), wanted.end(), '.', '/');
    rte_tel_data_start_dict(d);
    for (const std::string& name : SysctlNames()) {
      std::string key = name;
      std::replace(key.begin(), key.end(), '.', '/');
      if (wanted.empty() || key == wanted)
        rte_tel_data_add_dict_string(d, key.c_str(), GetSysctl(*settings, name)->c_str());
    }
    return true;
  });
}

struct Command {
  const char* name;
  telemetry_cb answer;
  const char* help;
};
constexpr Command kCommands[] = {
    {"/usher/listeners", AnswerListeners, "Listeners with their two queues. No parameters"},
    {"/usher/connections", AnswerConnections,
     "The first 512 connections, as many as fit. Parameter: how many to pass over"},
    {"/usher/counters", AnswerCounters, "Counters that are not zero. Parameter: name of one"},
    {"/usher/drops", AnswerDrops, "SYNs and ACKs not served, by listener, shard and reason"},
    {"/usher/sysctl", AnswerSysctl, "Settings. Parameter: name of one"},
};

}  // namespace

absl::StatusOr<std::unique_ptr<Telemetry>> Telemetry::Start(ControlCommands& commands) {
  const std::lock_guard lock(current_mutex);
  if (current != nullptr) return absl::AlreadyExistsError("telemetry answers for a stack already");
  if (!registered) {
    for (const Command& c : kCommands)
      if (rte_telemetry_register_cmd(c.name, c.answer, c.help) != 0)
        return absl::InternalError(absl::StrCat("telemetry refuses ", c.name));
    registered = true;
  }
  current = &commands;
  return std::unique_ptr<Telemetry>(new Telemetry());
}

Telemetry::~Telemetry() {
  const std::lock_guard lock(current_mutex);
  current = nullptr;
}

}  // namespace usher
