// From a segment's 4-tuple to what it belongs to.
#pragma once

#include <cstdint>

#include "stack/base/flow_table.h"
#include "stack/base/random.h"
#include "stack/base/siphash.h"
#include "stack/wire/tuple_hash.h"

namespace usher {

// What the table can find.
enum class FlowKind : uint32_t { kConnection = 0, kRequest = 1, kTimeWait = 2 };

// A kind and the index in its pool, in one word.
class FlowId {
 public:
  static constexpr uint32_t kIndexBits = 30;

  constexpr FlowId() = default;  // none
  constexpr FlowId(FlowKind kind, uint32_t index)
      : value_(static_cast<uint32_t>(kind) << kIndexBits | index) {}
  static constexpr FlowId None() { return FlowId(); }
  static constexpr FlowId FromValue(uint32_t value) { return FlowId(value); }

  constexpr FlowKind kind() const { return static_cast<FlowKind>(value_ >> kIndexBits); }
  constexpr uint32_t index() const { return value_ & ((1u << kIndexBits) - 1); }
  constexpr uint32_t value() const { return value_; }
  friend constexpr bool operator==(FlowId, FlowId) = default;

 private:
  constexpr explicit FlowId(uint32_t value) : value_(value) {}
  uint32_t value_ = FlowTable::kNone;
};

// One table for connections, requests and TIME-WAIT records, so that a segment costs one look-up
// whatever it belongs to. Keyed: which tuples share a bucket cannot be known outside.
class Demux {
 public:
  Demux(uint32_t capacity, RandomSource& random) : table_(capacity), key_(SipKey::From(random)) {}

  // Gives shards that share flows one key. Before the first insertion.
  void set_key(const SipKey& key) { key_ = key; }
  const SipKey& key() const { return key_; }

  uint64_t Hash(const FourTuple& tuple) const { return TableHash(key_, tuple); }
  void Hash(const TupleBatch& tuples, TupleBatch::Hashes& out) const {
    tuples.TableHashes(key_, out);
  }
  // Which of `shards` a flow belongs to where software decides. Spread anew, since the table uses
  // the hash's bits for its buckets.
  static uint32_t HomeOf(uint64_t hash, uint32_t shards) {
    return static_cast<uint32_t>((hash * 0x9e3779b97f4a7c15u >> 32) * shards >> 32);
  }
  void Prefetch(uint64_t hash) const { table_.Prefetch(hash); }

  // `matches(FlowId)` compares the whole tuple.
  template <class Matches>
  FlowId Find(uint64_t hash, Matches&& matches) const {
    return FlowId::FromValue(
        table_.Find(hash, [&](uint32_t value) { return matches(FlowId::FromValue(value)); }));
  }
  // False when the table is full.
  bool Insert(const FourTuple& tuple, FlowId id) { return Insert(Hash(tuple), id); }
  void Erase(const FourTuple& tuple, FlowId id) { Erase(Hash(tuple), id); }
  // The same for a tuple whose Hash is known.
  bool Insert(uint64_t hash, FlowId id) {
    ++version_;
    return table_.Insert(hash, id.value());
  }
  void Erase(uint64_t hash, FlowId id) {
    ++version_;
    table_.Erase(hash, id.value());
  }
  // Changes with every insertion and removal: tells whether what was found is still true.
  uint64_t version() const { return version_; }
  uint32_t size() const { return table_.size(); }

 private:
  FlowTable table_;
  SipKey key_;
  uint64_t version_ = 0;
};

}  // namespace usher
