// A script as read: events in the order they are to happen.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace usher::script {

// When an event is to happen. Times in microseconds.
struct When {
  enum class Kind : uint8_t { kAt, kAfter, kAny };
  Kind kind = Kind::kAt;
  int64_t time_us = 0;               // since the start, or since the event before (kAfter)
  std::optional<int64_t> latest_us;  // t1~t2: any time between
  std::optional<int64_t> end_us;     // t1...t2: a call that blocks until t2
};

struct Option {
  enum class Kind : uint8_t {
    kEol,
    kNop,
    kMss,
    kWscale,
    kSackOk,
    kSack,
    kTimestamps,
    kFastOpen,
    kFastOpenExperimental,
    kMd5,
    kRaw
  };
  Kind kind = Kind::kNop;
  uint32_t value = 0;                                 // of mss, wscale, TS val
  uint32_t echo = 0;                                  // of TS
  std::vector<std::pair<uint32_t, uint32_t>> blocks;  // of sack
  std::vector<uint8_t> bytes;                         // Fast Open cookie, key, raw option
};

struct Packet {
  bool inbound = false;
  int connection = 1;
  bool icmp = false;
  // TCP; of an ICMP error, the segment it is about.
  uint8_t flags = 0;
  bool ecn_flags = false;
  uint32_t seq = 0;
  uint32_t length = 0;
  std::optional<uint32_t> ack;
  std::optional<uint16_t> window;
  uint16_t urgent = 0;
  bool any_options = true;  // none were written: not looked at
  std::vector<Option> options;
  std::optional<uint8_t> ecn;  // of the IP header
  std::optional<uint8_t> ttl;
  std::string icmp_type, icmp_code;
  uint32_t mtu = 0;
};

// An argument or a result of a call.
struct Value {
  enum class Kind : uint8_t { kNumber, kText, kAny, kList, kStruct };
  Kind kind = Kind::kAny;
  int64_t number = 0;
  std::string text;
  std::vector<Value> list;
  struct Named;
  std::vector<Named> fields;  // of a struct

  const Value* Field(const std::string& name) const;
  int64_t NumberOr(int64_t otherwise) const { return kind == Kind::kNumber ? number : otherwise; }
};

struct Value::Named {
  std::string name;
  Value value;
};

struct Call {
  std::string name;
  std::vector<Value> arguments;
  Value result;
  int error = 0;  // errno that is expected
};

struct Event {
  int line = 0;
  When when;
  enum class Kind : uint8_t { kPacket, kCall, kAssert } kind = Kind::kPacket;
  Packet packet;
  Call call;
  std::string code;  // between %{ and }%
};

struct Script {
  std::string flags;  // for the adapter: mtu=...
  int64_t tolerance_us = 4000;
  std::map<std::string, std::string> sysctls;
  std::vector<std::string> families;  // empty: all
  std::vector<Event> events;
};

// Reads a script; on an error returns false and says where and what.
bool Parse(const std::string& text, Script* script, std::string* error);

// The value of an assert expression over names; false, with the reason, if it does not hold.
bool Check(const std::string& code, const std::map<std::string, int64_t>& names,
           std::string* error);

// The number behind a symbol of the system's headers ("O_NONBLOCK", "EAGAIN", ...).
std::optional<int64_t> Symbol(const std::string& name);

}  // namespace usher::script
