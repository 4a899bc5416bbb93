// The out-of-order queue: segments beyond RCV.NXT, kept in their packet buffers.
//
// Contiguous segments form one range: the buffers are chained, and the first of them is the node of
// a treap ordered by sequence number. A transfer with a few holes is thus a tree of a few nodes,
// and a peer that sends one-byte segments at random (SegmentSmack, CVE-2018-5390) costs O(log n)
// per segment whatever it does: the treap's shape comes from keyed random priorities, which nobody
// outside can steer. Memory is counted as whole buffers, and the bound is the caller's.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "stack/base/seq.h"
#include "stack/packet/pool.h"
#include "stack/wire/tcp_options.h"

namespace usher {

class OutOfOrderQueue {
 public:
  // SACK blocks remembered, most recent first: as many as fit into a header without timestamps.
  static constexpr uint32_t kMaxSackBlocks = 4;

  enum class Outcome : uint8_t {
    kQueued,     // some or all of it is new and kept
    kDuplicate,  // every byte was here already
    kRefused,    // no memory for it, and nothing further out to give up in its place
  };
  struct InsertResult {
    Outcome outcome = Outcome::kQueued;
    bool coalesced = false;  // copied into a neighbour's buffer (TCPRcvCoalesce)
    bool pruned = false;     // buffers at the far end were given up for it (OfoPruned)
    SackBlock duplicate;     // RFC 2883: the first run of bytes that were here already, or empty
  };
  // Buffers in order, linked by `next`; the caller's, one reference each.
  struct Chain {
    BufferHeader* first = nullptr;
    BufferHeader* last = nullptr;
    uint32_t bytes = 0;
    uint32_t buffers = 0;
    bool fin = false;     // the FIN follows
    SackBlock duplicate;  // bytes that had arrived in order as well, or empty (RFC 2883)
  };

  // `seed`: secret, different for each connection.
  explicit OutOfOrderQueue(uint32_t seed) : random_state_(seed | 1) {}
  ~OutOfOrderQueue() { Clear(); }
  OutOfOrderQueue(const OutOfOrderQueue&) = delete;
  OutOfOrderQueue& operator=(const OutOfOrderQueue&) = delete;

  // Takes over `buffer` (refs 1), whose payload, not empty, begins at `seq` inside the window and
  // beyond RCV.NXT. Where it overlaps what is here, existing bytes win, except that ranges it
  // covers whole give way to it. memory_charged() does not grow beyond `max_memory` bytes: if need
  // be buffers at the far end are given up for it, an eighth at a time, but none before it.
  InsertResult Insert(BufferHeader* buffer, Seq seq, uint32_t max_memory);

  // The same for `payload` that lies in `packet`, whose buffer is of `pool` and taken over; a
  // packet without a handle is copied into buffers of `pool` (kRefused if there are not enough).
  InsertResult Insert(const Packet& packet, std::span<const uint8_t> payload, PacketPool& pool,
                      Seq seq, uint32_t max_memory);

  // A FIN at `seq`, beyond RCV.NXT: it takes a number, but no memory. `result` is that of its
  // segment's payload (as made, if there was none), and becomes that of the whole segment.
  void InsertFin(Seq seq, InsertResult* result);

  // Hands over the range that begins at or before rcv_nxt, without the bytes before it; an empty
  // chain if there is none. What is wholly before rcv_nxt is dropped.
  Chain TakeInOrder(Seq rcv_nxt);

  // Gives up buffers from the far end until at least `bytes` of memory, and an eighth of what is
  // held, are free; returns how much. A FIN behind them and SACK blocks follow: the receiver
  // reneges (RFC 2018 section 8).
  uint32_t Prune(uint32_t bytes);

  void Clear();

  // Writes the blocks to report, the one that holds the latest segment first (RFC 2018 section 4);
  // returns how many.
  uint32_t SackBlocks(std::span<SackBlock> out) const;

  bool empty() const { return root_ == nullptr && !has_fin_; }
  uint32_t buffers() const { return buffers_; }
  uint32_t memory_charged() const { return buffers_ * kBufferRoom; }
  // Payload bytes held.
  uint32_t bytes() const { return bytes_; }
  // Whether the farthest of the blocks that SackBlocks() tells ends at `seq`.
  bool EndsAt(Seq seq) const;
  // Tree nodes and chain links looked at so far: what the cost bound is stated and tested in.
  uint32_t visits() const { return visits_; }

 private:
  // The range that begins at or last before `seq`; the first that begins after it. Or null.
  BufferHeader* Floor(Seq seq) const;
  BufferHeader* Above(Seq seq) const;
  BufferHeader* First() const;
  BufferHeader* Last() const;
  void InsertNode(BufferHeader* node);
  void RemoveNode(BufferHeader* node);

  BufferHeader* Place(BufferHeader* buffer, BufferHeader* before, uint32_t max_memory,
                      InsertResult* result);
  void AbsorbFollowing(BufferHeader* range, InsertResult* result);
  uint32_t PruneAfter(Seq seq, uint32_t bytes);
  void TruncateChain(BufferHeader* range, uint32_t keep);
  uint32_t ChainLength(const BufferHeader* range) const;
  void FreeChain(BufferHeader* first);

  void NoteSack(const BufferHeader* range);
  void NoteSack(Seq begin, Seq end);
  void ForgetSacksBefore(Seq seq);
  void ForgetSacksFrom(Seq seq);

  BufferHeader* root_ = nullptr;
  uint32_t buffers_ = 0;
  uint32_t bytes_ = 0;
  uint32_t random_state_;
  bool has_fin_ = false;
  Seq fin_;
  mutable uint32_t visits_ = 0;
  uint32_t sack_count_ = 0;
  std::array<SackBlock, kMaxSackBlocks> sacks_;  // most recent first
};

}  // namespace usher
