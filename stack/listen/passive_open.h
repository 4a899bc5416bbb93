// The passive open of one shard: from a SYN to a connection that accept() returns.
//
// PassiveOpen has the listeners, the half-open requests (syn_table.h), the cookies (syn_cookie.h)
// and the accept queues. It knows nothing of the demux: the shard asks it about every segment that
// no connection wants, and files what comes back.
//
//   segment -> demux -+-> connection
//                     +-> request ------> OnRequest --+--> Outcome: file a request, take one out,
//                     +-> nothing found -> OnListen --+             file and feed a child
//                     +-> TIME-WAIT that may be reused -> OnListen with the ISS it prescribes
//
// Read README.md first: it tells the whole story.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "stack/base/object_pool.h"
#include "stack/base/random.h"
#include "stack/base/siphash.h"
#include "stack/base/time.h"
#include "stack/listen/ack_parking.h"
#include "stack/listen/backlog.h"
#include "stack/listen/drop_ledger.h"
#include "stack/listen/fast_open.h"
#include "stack/listen/listener.h"
#include "stack/listen/place_lease.h"
#include "stack/listen/saved_syn.h"
#include "stack/listen/syn_cookie.h"
#include "stack/listen/syn_table.h"
#include "stack/tcp/connection.h"
#include "stack/tcp/context.h"
#include "stack/tcp/segment.h"
#include "stack/tcp/window.h"

namespace usher {

struct PassiveOpenConfig {
  uint32_t max_listeners = 1024;   // at most 4095
  uint32_t max_requests = 65536;   // half-open requests of each family, all listeners together
  uint32_t max_parked_acks = 64;   // see ListenSpec::cookie_ack_parking
  uint32_t max_saved_syns = 1024;  // see ListenSpec::save_syn
  uint32_t max_fast_open_resets = 1024;  // places held after a reset, all listeners together
  ListenModel default_model = ListenModel::kLinuxClassic;
  // This shard's place among those that share each listener's backlog.
  uint32_t shard_index = 0;
  uint32_t shard_count = 1;
};

// All calls from the shard's thread.
class PassiveOpen {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // What the shard has to file, in this order.
  struct Outcome {
    // Take it out of the demux (by TupleOf), then Release(it). With a child: the child has its
    // name.
    uint32_t removed_request = kNone;
    uint32_t new_request = kNone;    // file it under TupleOf
    TcpConnection* child = nullptr;  // file it under its tuple, then, if feed_child, give it the
                                     // segment by Receive: data and FIN on it are taken
    bool feed_child = false;

    bool empty() const {
      return removed_request == kNone && new_request == kNone && child == nullptr;
    }
  };

  // `context` and `connections` are the shard's and outlive this. Keys are drawn from `random`
  // here; it is not kept.
  PassiveOpen(TcpContext& context, ObjectPool<TcpConnection>& connections,
              const PassiveOpenConfig& config, RandomSource& random);
  ~PassiveOpen();
  PassiveOpen(const PassiveOpen&) = delete;
  PassiveOpen& operator=(const PassiveOpen&) = delete;

  // ---- The user's calls ----
  // bind() and listen(). kInvalid: syncnt above 127, or IPv6 multicast. kAddressNotAvailable: not
  // ours.
  // kAddressInUse: another listener has that name (and not both said reuseport), or no ephemeral
  // port is left. kNoBuffers: no listener slot left.
  Error Listen(const ListenSpec& spec, Handle* out);
  // listen() again, for all shards: only the limits move; nothing queued is evicted. kBadHandle.
  Error SetBacklog(Handle listener, int backlog);
  // The oldest connection; null: nothing waits (EAGAIN), or no such listener (EBADF), as *error
  // says. Its `accepted` mark is set. A place came free: see CompleteParked.
  TcpConnection* Accept(Handle listener, Error* error);
  // Ends the listener. Queued children are reset (or go to another listener of the group, by
  // tcp_migrate_req), and on_child(TcpConnection&) is called for each one reset, for the shard to
  // look at its fate. Requests go at their next timer or segment.
  template <class OnChild>
  Error Close(Handle listener, OnChild&& on_child) {
    Listener* l = listeners_.Get(listener);
    if (l == nullptr) return Error::kBadHandle;
    Unlist(*l);
    BequeathCookies(*l);
    GiveUpPlaces(*l);
    DropParkedOf(*l);
    fast_open_resets_.Forget(l->id);
    nobody_.Add(l->counters);
    while (TcpConnection* child = l->accept_queue.Pop(connections_)) {
      if (Listener* heir = Heir(*l, child->tuple())) {
        if (child->fast_open_pending) ++heir->fast_open_pending;
        Enqueue(*heir, *child);
        ++heir->counters.migrated_in;
        context_.counters.Add(Counter::TcpExtTCPMigrateReqSuccess);
        continue;
      }
      if (Migrates(*l)) context_.counters.Add(Counter::TcpExtTCPMigrateReqFailure);
      NoteUnaccepted(*child);
      child->Abort(context_);
      child->Close(context_);
      on_child(*child);
    }
    listeners_.Free(listener.index);
    return Error::kNone;
  }

  // ---- One listener on several shards ----
  // This listener is this shard's part of listener `number` (not 0), which all shards have: its
  // backlog is one for all. Before anything comes for it. kBadHandle.
  Error ShareBacklog(Handle listener, uint32_t number);
  // What the shard has to hand to others, each to OnPlaceMessage there.
  std::span<const PlaceMessage> outbox() const { return outbox_; }
  void ClearOutbox() { outbox_.clear(); }
  void OnPlaceMessage(const PlaceMessage& message);

  // Socket options of a listener at run time: the next SYN sees them. kBadHandle; kInvalid as
  // Linux. On several shards: for each, with the same value.
  Error SetDeferAccept(Handle listener, uint32_t seconds);
  Error SetSynCount(Handle listener, int count);
  Error SetFastOpen(Handle listener, int queue_length);
  Error SetSaveSyn(Handle listener, bool on);
  // kInvalid: an empty key takes away what is there, and nothing was.
  Error SetMd5Rule(Handle listener, const Md5Rule& rule);
  Error SetChildOptions(Handle listener, const TcpOptionsSet& options);

  // TCP_SAVED_SYN: the headers of the SYN that began `child`, network header first. Empty: none.
  std::span<const uint8_t> SavedSyn(const TcpConnection& child) const {
    return saved_syns_.OfConnection(child.slot());
  }
  // When it was read, and when the connection's slot is freed.
  void ForgetSavedSyn(const TcpConnection& child) { saved_syns_.ForgetConnection(child.slot()); }

  // ---- Segments ----
  // Whether a SYN to `local`:`port` would find a listener.
  bool HasListener(const IpAddress& local, uint16_t port) const;
  // Computes the hashes that segments of a burst will need, all at once: `syns` has the tuples of
  // those that are IsRequest(), `acks` those of others that requests have. Segment::foreseen is the
  // tuple's place there. Holds until the burst is done.
  void ForeseeSyns(const TupleBatch& syns);
  void ForeseeAcks(const TupleBatch& acks);
  // A segment that no connection, request or TIME-WAIT record wants; with `time_wait_iss`, a SYN
  // that reuses a TIME-WAIT record's name. Answers it (RST included) or drops it.
  Outcome OnListen(Segment& s, std::optional<Seq> time_wait_iss = std::nullopt);
  // A SYN that a TIME-WAIT record of its name refused: for the ledger.
  void OnTimeWaitRefusal(const Segment& syn);
  // A segment of a half-open request.
  Outcome OnRequest(uint32_t request, Segment& s);
  // Frees the record of a removed request.
  void Release(uint32_t request) {
    if (table_[request].has_saved_syn) saved_syns_.ForgetRequest(request);
    table_.Free(request);
  }
  // A child with the mark fast_open_pending has left SYN-RECEIVED, for ESTABLISHED or any other
  // state: the shard says so after each call that may have done that, before the slot is freed.
  void OnFastOpenEnd(TcpConnection& child);
  // Makes a connection of one parked ACK whose listener has a place now; null if there is none. The
  // shard calls it after the burst and after accepts, until null, and files each.
  TcpConnection* CompleteParked();

  // ---- Time ----
  // SYN-ACK timers. Calls on_removed(request, tuple) for each request that has come to its end, for
  // the shard to take it out of the demux; its record is freed then.
  template <class OnRemoved>
  void Advance(OnRemoved&& on_removed) {
    table_.AdvanceTimers(context_.now, [&](uint32_t request) {
      if (OnTimer(request)) return;
      on_removed(request, table_.TupleOf(request));
      Release(request);
    });
    ExpireParked();
  }
  Instant NextDeadline() const;

  // ---- Demux support ----
  FourTuple TupleOf(uint32_t request) const { return table_.TupleOf(request); }
  bool Matches(uint32_t request, const FourTuple& tuple) const {
    return table_.TupleOf(request) == tuple;
  }
  void Prefetch(uint32_t request) const { table_.Prefetch(request); }

  // ---- Events ----
  // Calls visit(Handle, Listener&) for each listener that got new acceptable connections since the
  // last call. Once a burst.
  template <class Visit>
  void DrainReady(Visit&& visit) {
    while (ready_head_ != kNone) {
      const uint32_t index = ready_head_;
      Listener& l = listeners_[index];
      ready_head_ = l.next_ready;
      l.ready_queued = false;
      visit(listeners_.HandleOf(index), l);
    }
    ready_tail_ = kNone;
  }

  // ---- Looking at it ----
  const Listener* Get(Handle listener) const { return listeners_.Get(listener); }
  // Of the whole listener as the settings are now, for those who show it.
  BacklogLimits LimitsInForce(const Listener& l) const;
  template <class Visit>
  void ForEachListener(Visit&& visit) const {  // visit(Handle, const Listener&)
    listeners_.ForEach([&](uint32_t i) { visit(listeners_.HandleOf(i), listeners_[i]); });
  }
  const SynTable& requests() const { return table_; }
  // What no listener has a part in, and all that closed listeners have counted.
  const ListenerCounters& without_listener() const { return nobody_; }
  // New secret for cookies; those of the old one stay good for their time.
  // False, and nothing done: the last rotation is too young.
  bool RotateCookieKey(RandomSource& random) { return cookies_.Rotate(random, context_.now); }
  bool RotateCookieKey(const SynCookies::Keys& keys) { return cookies_.Rotate(keys, context_.now); }
  // Takes over tcp_fastopen_key, if it is given.
  void ApplyFastOpenKeys();
  // Keys of Fast Open cookies; drawn at random until set.
  void SetFastOpenKeys(const SipKey& primary, const std::optional<SipKey>& backup) {
    fast_open_cookies_.SetKeys(primary, backup);
  }
  // A client comes to any shard with the cookie that another gave to its address.
  void ShareFastOpenKeys(const PassiveOpen& other) {
    fast_open_cookies_ = other.fast_open_cookies_;
  }

 private:
  // What the peer offered that both sides will use.
  struct Offer {
    uint16_t mss = 0;
    bool timestamps = false;
    uint32_t tsval = 0;
    bool sack = false;
    bool ecn = false;
    std::optional<uint8_t> window_scale;
  };

  // Keyed hashes, by Segment::foreseen. Which ones a SYN needs beside the timestamp's depends on
  // the queues as it will find them; they are foreseen to be those that the last SYN needed, and
  // computed one by one where that was wrong.
  struct ForeseenHashes {
    bool by_cookie = false;  // the cookie's are there, else the ISN's
    TupleBatch::Hashes timestamp;
    TupleBatch::Hashes isn;
    TupleBatch::Hashes cookie_h0;
    TupleBatch::Hashes cookie_h1;
    TupleBatch::Hashes ack_timestamp;
  };

  // What a SYN-ACK says of ECN; kMarked: DCTCP, whose packets are all ECT.
  enum class SynAckEcn : uint8_t { kNone, kGranted, kMarked };

  // -- passive_open.cc: listeners, queues, children --
  Listener* Find(const FourTuple& tuple);
  Listener* FindAmong(const FourTuple& tuple);
  int Rank(const Listener& l, const IpAddress& local, uint16_t port) const;
  bool Conflicts(const ListenSpec& spec, uint16_t port) const;
  uint16_t EphemeralPort(const ListenSpec& spec);
  void Unlist(Listener& l);
  Listener* FromId(uint32_t id);
  bool Migrates(const Listener& l) const {
    return l.spec.reuseport && context_.sysctls.tcp_migrate_req != 0;
  }
  void BequeathCookies(const Listener& closed);
  // The listener of the group that takes over from `closed` by tcp_migrate_req; null: none.
  Listener* Heir(const Listener& closed, const FourTuple& tuple);
  uint32_t& PortHead(uint16_t port) { return port_heads_[port & (port_heads_.size() - 1)]; }
  uint32_t PortHead(uint16_t port) const { return port_heads_[port & (port_heads_.size() - 1)]; }
  void Limit(Listener& l, int backlog);
  TcpConnection* MakeChild(Listener& l, const HandshakeResult& handshake, Origin origin);
  void NoteUnaccepted(const TcpConnection& child);
  void Enqueue(Listener& l, TcpConnection& child);
  // Where an ACK of this name is parked; kNone: nowhere.
  uint32_t ParkedAt(const FourTuple& tuple) const {
    return parking_.size() > 0 ? parking_.Find(tuple) : kNone;
  }
  bool Park(Listener& l, const HandshakeResult& handshake);
  void DropParkedOf(Listener& l);
  void ExpireParked();

  // -- place_lease.cc: a backlog shared with other shards --
  void SetPlaces(Listener& l);
  void ConsiderLease(Listener& l) {
    if (l.lease.listener != 0) [[unlikely]]
      AskIfShort(l);
  }
  void AskIfShort(Listener& l);
  void Ask(Listener& l);
  void Send(PlaceMessage::Kind kind, uint32_t to, uint32_t listener, int64_t value);
  Listener* FromLease(uint32_t number);
  void TakePlaces(Listener& l, const PlaceMessage& message);
  void GiveUpPlaces(const Listener& l);

  // -- listen_input.cc: a segment at LISTEN --
  static void CountSegment(ListenerCounters& counters, const Segment& s);
  // `of_request`: a half-open request has the segment's name, and did not want it.
  Outcome AtListener(Listener& l, Segment& s, std::optional<Seq> time_wait_iss,
                     bool of_request = false);
  Outcome OnSyn(Listener& l, Segment& s, std::optional<Seq> time_wait_iss);
  Offer ReadOffer(const Listener& l, const Segment& s) const;
  bool GrantsEcn(const Listener& l, const Segment& syn) const;
  bool InLastQuarter(const Listener& l) const;
  void AnswerByCookie(Listener& l, Segment& s, const Offer& offer, uint16_t mtu);
  Outcome AddRequest(Listener& l, Segment& s, const Offer& offer, uint16_t mtu,
                     std::optional<Seq> time_wait_iss,
                     const std::optional<FastOpenOption>& fast_open);
  void SaveSyn(uint32_t request, const Segment& s);
  void SaveSynOfChild(uint32_t slot, const Segment& s);
  bool CookiesExpected(const Listener& l) const;
  Outcome OnCookieAck(Listener& l, Segment& s, bool of_request);
  bool TakeCookieOptions(const Listener& l, const TcpTimestamps& timestamps, uint32_t offset,
                         HandshakeResult* h) const;
  Outcome CompleteCookie(Listener& l, const HandshakeResult& h, bool of_request);
  void Unpark(uint32_t parked, DropReason reason);
  // The key for a peer of `l`; null: none.
  static const Md5Key* Md5Of(const Listener& l, const IpAddress& peer) {
    return l.spec.md5.empty() ? nullptr : FindMd5Key(l.spec.md5, peer);
  }
  // Whether a segment for `l` is signed as it ought to be; if not it is dropped.
  bool PassSigned(Listener& l, const Segment& s) {
    if (l.spec.md5.empty() && !s.options.md5) [[likely]]
      return true;
    return CheckSigned(l, s);
  }
  bool CheckSigned(Listener& l, const Segment& s);
  Outcome Refuse(Listener& l, DropReason reason);    // drops a SYN or ACK of a listener
  Outcome Overflow(Listener& l, DropReason reason);  // the same, by a full accept queue
  Outcome Reset(Listener& l, DropReason reason, Segment& s);

  // -- fast_open.cc --
  void LimitFastOpen(Listener& l);
  void DealFastOpen(Listener& l);
  bool FastOpenRoom(Listener& l);
  bool JudgeFastOpen(Listener& l, const Segment& s, std::optional<FastOpenOption>* answer);
  TcpConnection* OpenFast(Listener& l, Segment& s, const Offer& offer, uint16_t mtu,
                          std::optional<Seq> time_wait_iss,
                          const std::optional<FastOpenOption>& answer);

  // -- request_input.cc: a segment or a timer of a request --
  Listener* OwnerOf(uint32_t request, const FourTuple& tuple, bool* migrated);
  Outcome AtOwner(Listener& l, uint32_t request, Segment& s, uint32_t owner_before);
  Outcome OnDuplicateSyn(Listener& l, uint32_t request, Segment& s);
  Outcome OnRequestReset(Listener& l, uint32_t request, Segment& s);
  Outcome OnUnacceptable(Listener& l, uint32_t request, Segment& s, DropReason ack_reason);
  Outcome Complete(Listener& l, uint32_t request, Segment& s);
  HandshakeResult ResultOf(const Listener& l, uint32_t request, const Segment& s);
  Outcome End(Listener& l, uint32_t request, DropReason reason);
  void Leave(Listener& l, uint32_t request);
  bool AnswerLimited(Request& r, Counter skipped = Counter::TcpExtTCPACKSkippedSynRecv);
  bool OnTimer(uint32_t request);  // false: the request is at its end
  uint32_t RetriesOf(const Listener& l) const;
  uint32_t RetriesNow(const Listener& l) const;
  Duration TimeoutOf(const Request& r) const;

  // -- syn_ack.cc: what is sent --
  SynAckEcn EcnAnswer(const Listener& l, bool granted) const;
  uint32_t ReceiveBufferOf(const Listener& l) const;
  uint16_t AdvertisedMss(const Listener& l, Family family, uint16_t mtu) const;
  InitialWindow WindowFor(const Listener& l, uint32_t mss, bool wscale_ok) const;
  uint32_t TimestampOffset(const FourTuple& tuple, bool shifted) const;
  // The same by what was foreseen, if it was; likewise what a SYN-ACK's sequence number is made of.
  uint32_t TimestampOffset(const Segment& s, bool shifted) const;
  Seq IsnForSyn(const Segment& syn) const;
  SynCookies::Hashes CookieHashesForSyn(const Segment& syn) const;
  // The round trip that an echo of our timestamp tells (RFC 7323 section 4.1); zero: it tells none.
  Duration EchoRoundTrip(const std::optional<TcpTimestamps>& timestamps, uint32_t offset) const;
  uint32_t Tsval(const Request& r, const FourTuple& tuple) const {
    return TimestampClock(context_.now) + TimestampOffset(tuple, r.timestamps_shifted);
  }
  void CommitSynAck(const Listener& l, TxFrame& frame, const FourTuple& tuple, Seq iss, Seq irs,
                    uint16_t window, const TcpOptions& options, SynAckEcn ecn);
  // `tsval`: what a timestamp is to say, if the request has them.
  void SendSynAck(const Listener& l, TxFrame& frame, uint32_t request, const FourTuple& tuple,
                  uint16_t mss, uint32_t tsval,
                  const std::optional<FastOpenOption>& fast_open = std::nullopt);
  bool ResendSynAck(const Listener& l, uint32_t request, Segment* duplicate);
  void SendRequestAck(const Listener& l, uint32_t request, Segment& s);

  TcpContext& context_;
  ObjectPool<TcpConnection>& connections_;
  const PassiveOpenConfig config_;
  SipKey group_key_;     // chooses among the listeners of a group
  SeededRandom random_;  // ephemeral ports
  SynCookies cookies_;
  bool last_by_cookie_ = false;  // how the last SYN was answered
  ForeseenHashes foreseen_;
  SynTable table_;
  FastOpenCookies fast_open_cookies_;
  FastOpenResets fast_open_resets_;
  SavedSyns saved_syns_;
  AckParking parking_;
  ObjectPool<Listener> listeners_;
  std::vector<uint32_t> port_heads_;  // lists of listeners by port
  uint32_t ready_head_ = kNone;
  uint32_t ready_tail_ = kNone;
  bool places_freed_ = false;  // since CompleteParked last found nothing to do
  ListenerCounters nobody_;
  std::vector<PlaceMessage> outbox_;
};

}  // namespace usher
