// Who on the link has which address, and whether they still answer: the states of RFC 4861 section
// 7.3.2, used for ARP as well.
//
//   kNone --packet to send--> kIncomplete --answer--> kReachable --time--> kStale
//                                  | no answer            ^                  | packet to send
//                                  v                      | answer           v
//                               kFailed <--no answer-- kProbe <--time--- kDelay
//
// Bounds. Each entry belongs to one of four groups, each with its own limit and its own order of
// last use; a full group evicts its own oldest. So a flood of requests for addresses that do not
// exist, or of requests from made-up ones, cannot push out a neighbour that has once answered us.
// Gateways and configured neighbours are pinned: never evicted.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "stack/base/siphash.h"
#include "stack/base/time.h"
#include "stack/ip/limits.h"
#include "stack/ip/token_bucket.h"
#include "stack/packet/burst.h"
#include "stack/wire/address.h"

namespace usher {

enum class NeighbourState : uint8_t {
  kNone,        // known by name only; nothing sent yet
  kIncomplete,  // asked, not answered
  kReachable,
  kStale,  // used to answer; will be asked when used
  kDelay,  // used while stale: the transport has some seconds to confirm it
  kProbe,  // being asked directly
  kFailed,
  kPermanent,  // configured
};

// What the cache needs from the interface. Called on the slow path only.
class NeighbourHost {
 public:
  // Asks for `target`: by unicast to `*link_address`, or of everybody if that is null.
  virtual void SolicitNeighbour(const IpAddress& target, const MacAddress* link_address) = 0;
  // Sends a packet that has waited; its link header lacks only the destination.
  virtual void SendPending(const TxPacket& packet, const MacAddress& link_address) = 0;
  // Gives up a packet that has waited, or found no place to wait, for `target`.
  virtual void DropPending(const TxPacket& packet, const IpAddress& target) = 0;
  // `target` has not answered.
  virtual void NeighbourUnreachable(const IpAddress& target) = 0;

 protected:
  ~NeighbourHost() = default;
};

class NeighbourCache {
 public:
  using Handle = uint32_t;
  static constexpr Handle kNoHandle = 0;

  NeighbourCache(const NetworkLimits& limits, SipKey key, uint64_t jitter_seed,
                 NeighbourHost& host);
  // Waiting packets go back by DropPending.
  void Clear();

  // The entry of `address`, or kNoHandle.
  Handle Find(const IpAddress& address) const;
  // The same, made if there is none. Never fails.
  Handle FindOrCreate(Instant now, const IpAddress& address);
  // Keeps the entry from being evicted until unpinned. False if no more can be pinned.
  bool Pin(Instant now, const IpAddress& address);
  void Unpin(Instant now, const IpAddress& address);
  // A configured link address: needs no answer and heeds none. False if no more can be pinned.
  bool SetPermanent(Instant now, const IpAddress& address, const MacAddress& mac);

  // The link address to send to now, or null: Queue() the packet, or find the path anew if not
  // IsCurrent(). Marks the entry as used. The pointer holds until the next call.
  const MacAddress* Use(Instant now, Handle handle) {
    const uint32_t index = handle & index_mask_;
    if (handle == kNoHandle || entries_[index].handle != handle) return nullptr;
    Entry& entry = entries_[index];
    if (entry.state == NeighbourState::kReachable && now < entry.reachable_until) [[likely]] {
      if (now - entry.used >= kTouchInterval) Touch(now, index);
      return &entry.mac;
    }
    return UseSlowly(now, index);
  }
  bool IsCurrent(Handle handle) const {
    return handle != kNoHandle && entries_[handle & index_mask_].handle == handle;
  }
  // Lets `packet` wait for the link address; asks for it if that is not under way. The oldest
  // packet waiting for the same neighbour makes room (RFC 4861 section 7.2.2).
  void Queue(Instant now, Handle handle, const TxPacket& packet);

  // A neighbour asked for one of our addresses and gave its own (ARP request; NS, RS or RA with a
  // source link-layer address): creates or updates (RFC 4861 section 7.2.3).
  void OnOffer(Instant now, const IpAddress& address, const MacAddress& mac);

  // A neighbour advertisement, or an ARP reply (solicited, override). Never creates. Whether it was
  // really solicited is for the state to say: only kIncomplete and kProbe have asked.
  struct Advert {
    const MacAddress* mac = nullptr;  // null if it was left out (RFC 4861 section 7.2.4)
    bool solicited = false;
    bool override_flag = false;
  };
  void OnAdvert(Instant now, const IpAddress& address, const Advert& advert);

  // Unasked-for news that `address` has moved to `mac` (gratuitous ARP): believed only if the
  // address, asked at once, says so.
  void OnHint(Instant now, const IpAddress& address, const MacAddress& mac);

  // The transport made progress with this neighbour (RFC 4861 section 7.3.1).
  void ConfirmReachable(Instant now, Handle handle);

  // From router advertisements; apply to both families' probes of this link.
  void set_base_reachable_time(Duration t);
  void set_retrans_timer(Duration t) { retrans_timer_ = t; }

  Instant NextDeadline() const {
    return heap_.empty() ? Instant::Never() : entries_[heap_[0]].deadline;
  }
  void Advance(Instant now);

  // For tests and telemetry.
  NeighbourState StateOf(Instant now, const IpAddress& address) const;
  const MacAddress* LinkAddressOf(const IpAddress& address) const;
  uint32_t size() const { return size_; }
  uint32_t pending() const { return pending_count_; }
  uint32_t capacity() const { return static_cast<uint32_t>(entries_.size()) - 1; }

 private:
  enum Group : uint8_t { kResolving, kOffered, kConfirmed, kPinned, kGroups, kFree = kGroups };
  static constexpr uint32_t kNil = 0;  // entries_[0] is never used, so 0 can end every list
  static constexpr Duration kTouchInterval = Duration::Seconds(1);
  static constexpr Duration kDelayFirstProbe = Duration::Seconds(5);
  static constexpr uint8_t kMaxSolicits = 3;  // MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT

  struct Entry {
    Instant reachable_until;
    Instant used;
    Handle handle = kNoHandle;  // index and generation
    MacAddress mac;
    NeighbourState state = NeighbourState::kNone;
    Group group = kFree;
    IpAddress address;
    Instant deadline = Instant::Never();
    uint32_t generation = 0;
    uint32_t hash_next = kNil;
    uint32_t older = kNil, newer = kNil;  // in the group, by last use
    uint32_t heap_place = kNotInHeap;
    uint32_t pending_first = kNil, pending_last = kNil;
    uint8_t pending_count = 0;
    uint8_t solicits = 0;
    bool probe_all = false;  // kProbe asks everybody: the old link address is in doubt
    bool pinned = false;
    bool was_confirmed = false;  // where an unpinned entry belongs
  };
  struct Pending {
    TxPacket packet;
    uint32_t next = kNil;
  };
  struct GroupList {
    uint32_t oldest = kNil, newest = kNil;
    uint32_t size = 0, limit = 0;
  };
  static constexpr uint32_t kNotInHeap = UINT32_MAX;

  uint32_t BucketOf(const IpAddress& address) const;
  uint32_t IndexOf(const IpAddress& address) const;
  uint32_t Create(Instant now, const IpAddress& address, Group group);
  void Remove(uint32_t index);
  void JoinGroup(uint32_t index, Group group);
  void LeaveGroup(uint32_t index);
  void MoveTo(uint32_t index, Group group);
  void Touch(Instant now, uint32_t index);
  const MacAddress* UseSlowly(Instant now, uint32_t index);

  void BecomeReachable(Instant now, uint32_t index);
  void BecomeStale(uint32_t index);
  void BecomeFailed(uint32_t index);
  void StartResolving(Instant now, uint32_t index);
  void StartProbing(Instant now, uint32_t index, bool all);
  void Solicit(Instant now, uint32_t index);
  void OnTimer(Instant now, uint32_t index);

  void DropAllPending(uint32_t index);
  void DropOldestPending(uint32_t index);
  void SendAllPending(uint32_t index);
  TxPacket PopPending(uint32_t index);

  void SetDeadline(uint32_t index, Instant deadline);
  void SiftUp(uint32_t place);
  void SiftDown(uint32_t place);
  void PlaceInHeap(uint32_t place, uint32_t index);
  void DrawReachableTime();

  const NetworkLimits limits_;
  SipKey key_;
  SeededRandom jitter_;
  NeighbourHost& host_;
  TokenBucket solicit_rate_;
  Duration base_reachable_time_ = Duration::Seconds(30);
  Duration reachable_time_;
  Duration retrans_timer_ = Duration::Seconds(1);
  uint32_t reachable_draws_ = 0;

  uint32_t index_mask_;
  uint32_t index_bits_;
  uint32_t size_ = 0;
  uint32_t pending_count_ = 0;
  uint32_t free_ = kNil;
  Handle last_found_ = kNoHandle;  // by FindOrCreate
  uint32_t pending_free_ = kNil;
  std::array<GroupList, kGroups> groups_;
  std::vector<Entry> entries_;
  std::vector<Pending> pending_;
  std::vector<uint32_t> buckets_;
  std::vector<uint32_t> heap_;  // indices of entries with a deadline, soonest first
};

}  // namespace usher
