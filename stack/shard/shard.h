// A shard: one core's share of the stack, from its ports to its applications. Shares nothing.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stack/base/counters.h"
#include "stack/base/object_pool.h"
#include "stack/base/random.h"
#include "stack/base/slot_queue.h"
#include "stack/base/sysctl.h"
#include "stack/base/time.h"
#include "stack/base/timer_wheel.h"
#include "stack/ip/egress.h"
#include "stack/ip/interface.h"
#include "stack/listen/passive_open.h"
#include "stack/port/port.h"
#include "stack/shard/demux.h"
#include "stack/shard/frame_ring.h"
#include "stack/shard/mailbox.h"
#include "stack/tcp/connection.h"
#include "stack/tcp/context.h"
#include "stack/tcp/time_wait.h"

namespace usher {

// A port queue pair and what it is configured as.
struct ShardInterface {
  Port* port = nullptr;  // outlives the shard
  InterfaceConfig config;
};

// Sizes and settings of one shard; everything is allocated from them at creation.
struct ShardOptions {
  uint32_t index = 0;  // this shard's number
  uint32_t max_connections = 65536;
  Sysctls sysctls;  // with every 0 that the server resolves resolved; see Resolve
  PassiveOpenConfig passive_open;
  NetworkLimits network;
  NetworkEventSink network_events;
};

// Fills in the settings whose default depends on the tables' sizes (tcp_max_syn_backlog,
// tcp_max_tw_buckets, tcp_max_orphans, tcp_mem), as Linux computes them from its memory.
void ResolveSysctls(Sysctls& sysctls, uint32_t max_connections);

// What a shard tells the application, after the burst that caused it. Calls come from Poll.
class ShardEvents {
 public:
  virtual ~ShardEvents() = default;
  // A listener has connections to accept. `owner`: as given to Listen or Connect.
  virtual void OnAcceptable(Handle listener, void* owner) = 0;
  // `events`: EventMask bits. The connection was accepted or opened by Connect.
  virtual void OnConnectionEvents(Handle connection, uint8_t events, void* owner) = 0;
  // The time given to SetTimer has come.
  virtual void OnConnectionTimer(Handle connection, void* owner) = 0;
};

// All calls come from the one thread that polls it, except mailbox().Post, counters().Get and
// others marked so. Handles die with Close or Abort; a stale handle is told (Error::kBadHandle).
class Shard {
 public:
  static absl::StatusOr<std::unique_ptr<Shard>> Create(const ShardOptions& options,
                                                       std::span<const ShardInterface> interfaces,
                                                       RandomSource& random);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // How much memory the tables of a shard with these options take at most, in bytes.
  static uint64_t MemoryNeeded(const ShardOptions& options);

  void set_events(ShardEvents* events) { events_ = events; }

  // All shards on the same ports, interface by interface, this one among them, in the order of
  // their index: they hand each other what was received by the wrong one (see README.md) and share
  // the places of their listeners. Called once on each, before any is polled; they live as long as
  // any of them is polled.
  void SetSiblings(std::span<Shard* const> all);

  // Announces the addresses on their links (ARP, duplicate address detection). Once, before Poll.
  void Start(Instant now);

  // One pass: receives a burst from each interface, runs due timers, delivers events, sends. `now`
  // never goes back. Returns how many packets came in and timers fired: 0 is an idle pass.
  uint32_t Poll(Instant now);
  // When Poll is to be called again though nothing arrives. Now or earlier: at once.
  Instant NextDeadline() const;

  // ---- Passive open ----
  // `owner` is handed back with the events of the listener and of what is accepted from it.
  Error Listen(const ListenSpec& spec, Handle* listener, void* owner = nullptr);
  Error Accept(Handle listener, Handle* connection);
  Error CloseListener(Handle listener);

  // ---- Active open (section 3.10.1). `local` and `local_port` may be left to the shard. With
  // `md5` every segment is signed (RFC 2385), and there is no Fast Open. ----
  Error Connect(const IpAddress& remote, uint16_t remote_port, const TcpOptionsSet& options,
                Handle* connection, void* owner = nullptr,
                std::optional<IpAddress> local = std::nullopt, uint16_t local_port = 0,
                const FastOpenSyn* fast_open = nullptr, const Md5Key* md5 = nullptr);

  // ---- Connections: the calls of TcpConnection, by handle ----
  IoResult Read(Handle connection, std::span<uint8_t> out);
  IoResult ReadSlice(Handle connection, uint32_t max, Slice* out);
  IoResult Peek(Handle connection, std::span<const uint8_t>* out);
  Error Discard(Handle connection, size_t n);
  IoResult Write(Handle connection, std::span<const uint8_t> data);
  IoResult WriteExternal(Handle connection, std::span<const uint8_t> data, ReleaseFn release,
                         void* context);
  // Urgent data: see TcpConnection.
  IoResult WriteUrgent(Handle connection, std::span<const uint8_t> data);
  Error ReadUrgent(Handle connection, uint8_t* byte);
  // Bytes that Write would take now; 0 makes kEventWritable due.
  size_t WritableBytes(Handle connection);
  Error Shutdown(Handle connection, ShutdownHow how);
  Error Close(Handle connection);
  Error Abort(Handle connection);
  Error SetOptions(Handle connection, const TcpOptionsSet& options);
  Error SetQuickAck(Handle connection, bool quick);
  // The owner's one timer for this connection, in place of the one it may have; Never() unsets it.
  // ShardEvents::OnConnectionTimer follows, unless the connection is closed by the owner before.
  Error SetTimer(Handle connection, Instant deadline);
  // Null for a stale handle. Valid until the next call that may close it.
  TcpConnection* Find(Handle connection);

  // ---- Control (shard's thread; others go by way of the mailbox) ----
  // Resets every connection, those without an owner too.
  void AbortAll();
  // Takes over changed settings; listeners follow as on Linux.
  void ApplySysctls(const Sysctls& sysctls);
  const Sysctls& sysctls() const { return sysctls_; }
  PassiveOpen& passive_open() { return *passive_open_; }
  TimeWaitTable& time_wait() { return time_wait_; }
  Interface& interface(size_t i) { return *interfaces_[i]; }
  size_t interface_count() const { return interfaces_.size(); }
  const TcpContext& context() const { return context_; }
  Instant now() const { return context_.now; }  // of the current pass
  template <class Visit>
  void ForEachConnection(Visit&& visit) {
    connections_.ForEach([&](uint32_t i) { visit(connections_[i]); });
  }
  const ObjectPool<TcpConnection>& connections() const { return connections_; }
  uint32_t connection_count() const { return connections_.size(); }
  // Packet buffers free in the pools of all ports. May be slow.
  uint32_t FreePacketBuffers() const;

  // The loop around Poll counts its sleeps here, and which of them a packet ended.
  void CountSleep(bool cut_short) {
    counters_.Add(Counter::UsherSleeps);
    if (cut_short) counters_.Add(Counter::UsherSleepsCutShort);
  }

  // ---- Any thread ----
  Mailbox& mailbox() { return mailbox_; }
  const Counters& counters() const { return counters_; }
  uint32_t index() const { return index_; }

 private:
  static constexpr uint32_t kTimerBudget = 256;         // timers fired in one pass at most
  static constexpr uint32_t kHotConnectionBytes = 512;  // prefetched of a connection
  static_assert(TupleBatch::kMax >= kBurstSize);

  Shard(const ShardOptions& options, RandomSource& random);

  uint32_t PollInterface(size_t i);
  void ReceiveBurst(size_t i, std::span<const Packet> burst);
  uint32_t ReceiveHandedOver();
  uint32_t ReceiveFrom(FrameRing& inbox);
  void ReceiveRelayed(const FrameRing::Frame& frame);
  FrameRing& InboxOf(uint32_t shard);
  uint32_t HomeOf(const L4Packet& packet, const FourTuple& tuple, uint64_t hash) const;
  bool AnswersComeHere(const FourTuple& tuple, uint64_t hash) const;
  uint32_t Count() const { return static_cast<uint32_t>(siblings_.size()); }
  bool Steer(const L4Packet& packet, const FourTuple& tuple, uint64_t hash);
  void SendPlaceMessages();
  void ProcessSegments();
  uint32_t ParseSegments(std::array<uint64_t, kBurstSize>& hashes);
  void ForeseeRequests(std::span<const FlowId> flows);
  static void FreeBuffer(const L4Packet& packet);
  void Dispatch(Segment& s, uint64_t hash, FlowId flow);
  void ToConnection(TcpConnection& c, Segment& s);
  void ToTimeWait(uint32_t index, Segment& s, uint64_t hash);
  void File(const PassiveOpen::Outcome& outcome, Segment& s, uint64_t hash);
  void CompleteParked();
  void OnIcmpError(const IcmpError& error);
  bool Matches(FlowId id, const FourTuple& tuple) const;
  FlowId Find(const FourTuple& tuple, uint64_t hash) const;
  void PrefetchFlow(FlowId id) const;

  uint32_t RunTimers();
  // Does what a connection's fate asks for. After it the demux is true again.
  void Settle(TcpConnection& c) {
    if (c.fate() != Fate::kAlive || c.fast_open_pending) [[unlikely]]
      SettleChanged(c);
  }
  void SettleChanged(TcpConnection& c);
  void DeliverEvents();
  void FlushOutput();
  void Bury();
  std::optional<uint16_t> EphemeralPort(const IpAddress& local, const IpAddress& remote,
                                        uint16_t remote_port);

  const uint32_t index_;
  Sysctls sysctls_;
  Counters counters_;
  IsnGenerator isn_;
  Egress egress_;
  TcpMemory memory_;
  SendBlockPool send_blocks_;
  SentSegmentPool sent_segments_;
  ObjectPool<OutOfOrderQueue> reassembly_;
  Md5Keys md5_keys_;
  TimerWheel connection_timers_;
  TimerWheel owner_timers_;  // see SetTimer; its memory is touched only if that is called
  ObjectPool<TcpConnection> connections_;
  SlotQueue events_due_;
  SlotQueue output_due_;
  TimeWaitTable time_wait_;
  Demux demux_;
  TcpContext context_;
  std::unique_ptr<PassiveOpen> passive_open_;
  std::vector<std::unique_ptr<Interface>> interfaces_;
  std::vector<Port*> ports_;
  std::vector<void*> listener_owners_;  // by the listener's index
  std::vector<uint32_t> dead_;  // slots to free at the end of the pass; capacity of the pool
  // Of the burst at work; here so that no pass has to clear them.
  std::array<Packet, kBurstSize> burst_;
  Ingress ingress_;
  std::array<Segment, kBurstSize> segments_;
  ShardEvents* events_ = nullptr;
  SipKey port_key_;
  uint32_t next_ephemeral_ = 0;
  Mailbox mailbox_;
  std::vector<Shard*> siblings_;                     // this one too; empty: alone
  std::vector<std::unique_ptr<FrameRing>> inboxes_;  // by sender; none from itself
  bool receiving_handed_over_ = false;
};

}  // namespace usher
