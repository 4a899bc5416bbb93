#include "stack/tcp/out_of_order_queue.h"

#include <algorithm>

#include "stack/base/check.h"
#include "stack/packet/slice.h"
#include "stack/tcp/held.h"

namespace usher {

namespace {

Seq Begin(const BufferHeader* buffer) { return Seq(buffer->seq); }
Seq End(const BufferHeader* range) { return Seq(range->chain_end); }
std::span<const uint8_t> Payload(const BufferHeader* buffer) {
  return {buffer->payload, buffer->payload_length};
}

void TrimFront(BufferHeader* buffer, uint32_t n) {
  buffer->payload += n;
  buffer->payload_length = static_cast<uint16_t>(buffer->payload_length - n);
  buffer->seq += n;
}
void TrimBack(BufferHeader* buffer, uint32_t n) {
  buffer->payload_length = static_cast<uint16_t>(buffer->payload_length - n);
}

// Only the first run of repeated bytes is reported: RFC 2883 section 4, step (4).
void NoteDuplicate(Seq begin, Seq end, SackBlock* duplicate) {
  if (duplicate->begin == duplicate->end) *duplicate = {begin, end};
}

}  // namespace

// The tree -------------------------------------------------------------------------------------

BufferHeader* OutOfOrderQueue::Floor(Seq seq) const {
  BufferHeader* best = nullptr;
  for (BufferHeader* n = root_; n != nullptr; ++visits_) {
    if (Begin(n) <= seq) {
      best = n;
      n = n->right;
    } else {
      n = n->left;
    }
  }
  return best;
}

BufferHeader* OutOfOrderQueue::Above(Seq seq) const {
  BufferHeader* best = nullptr;
  for (BufferHeader* n = root_; n != nullptr; ++visits_) {
    if (Begin(n) > seq) {
      best = n;
      n = n->left;
    } else {
      n = n->right;
    }
  }
  return best;
}

BufferHeader* OutOfOrderQueue::First() const {
  BufferHeader* n = root_;
  for (; n->left != nullptr; ++visits_) n = n->left;
  return n;
}

BufferHeader* OutOfOrderQueue::Last() const {
  BufferHeader* n = root_;
  for (; n->right != nullptr; ++visits_) n = n->right;
  return n;
}

void OutOfOrderQueue::InsertNode(BufferHeader* node) {
  random_state_ ^= random_state_ << 13;  // xorshift32 (Marsaglia 2003); never 0
  random_state_ ^= random_state_ >> 17;
  random_state_ ^= random_state_ << 5;
  node->priority = static_cast<uint16_t>(random_state_ >> 16);

  BufferHeader** link = &root_;
  while (*link != nullptr && (*link)->priority >= node->priority) {
    link = Begin(node) < Begin(*link) ? &(*link)->left : &(*link)->right;
    ++visits_;
  }
  // The rest of this path is split along the new node's sequence number.
  BufferHeader* rest = *link;
  *link = node;
  BufferHeader** before = &node->left;
  BufferHeader** after = &node->right;
  for (; rest != nullptr; ++visits_) {
    if (Begin(rest) < Begin(node)) {
      *before = rest;
      before = &rest->right;
      rest = rest->right;
    } else {
      *after = rest;
      after = &rest->left;
      rest = rest->left;
    }
  }
  *before = nullptr;
  *after = nullptr;
}

void OutOfOrderQueue::RemoveNode(BufferHeader* node) {
  BufferHeader** link = &root_;
  for (; *link != node; ++visits_) {
    link = Begin(node) < Begin(*link) ? &(*link)->left : &(*link)->right;
  }
  BufferHeader* before = node->left;
  BufferHeader* after = node->right;
  for (; before != nullptr && after != nullptr; ++visits_) {
    if (before->priority >= after->priority) {
      *link = before;
      link = &before->right;
      before = before->right;
    } else {
      *link = after;
      link = &after->left;
      after = after->left;
    }
  }
  *link = before != nullptr ? before : after;
}

// Insertion ------------------------------------------------------------------------------------

OutOfOrderQueue::InsertResult OutOfOrderQueue::Insert(BufferHeader* buffer, Seq seq,
                                                      uint32_t max_memory) {
  USHER_DCHECK(buffer->refs == 1 && buffer->payload_length != 0);
  InsertResult result;
  buffer->seq = seq.value();
  buffer->next = nullptr;
  const Seq end = seq + buffer->payload_length;

  BufferHeader* before = Floor(seq);
  if (before != nullptr && end <= End(before)) {
    result.outcome = Outcome::kDuplicate;
    result.duplicate = {seq, end};
    NoteSack(before);
    Slice::Unref(buffer);
    return result;
  }
  if (before != nullptr && seq < End(before)) {
    NoteDuplicate(seq, End(before), &result.duplicate);
    TrimFront(buffer, static_cast<uint32_t>(End(before) - seq));
  }
  BufferHeader* range = Place(buffer, before, max_memory, &result);
  if (range == nullptr) {
    result.outcome = Outcome::kRefused;
    Slice::Unref(buffer);
    return result;
  }
  AbsorbFollowing(range, &result);
  NoteSack(range);
  return result;
}

void OutOfOrderQueue::InsertFin(Seq seq, InsertResult* result) {
  const BufferHeader* before = Floor(seq);
  const bool in_data = before != nullptr && seq < End(before);  // the peer contradicts itself
  if (in_data || (has_fin_ && fin_ == seq)) {
    if (result->duplicate.end == seq && result->duplicate.begin != seq)
      result->duplicate.end = seq + 1;
    else
      NoteDuplicate(seq, seq + 1, &result->duplicate);
  } else {
    has_fin_ = true;
    fin_ = seq;
  }
  if (before != nullptr && seq <= End(before))
    NoteSack(before);
  else
    NoteSack(seq, seq + 1);
}

// Makes the bytes of `buffer` part of the range `before`, if they follow it, of the next range, if
// they run up to it and have room in its first buffer, or a range of their own; returns that range,
// or null, with nothing done, if the memory for it is not there.
BufferHeader* OutOfOrderQueue::Place(BufferHeader* buffer, BufferHeader* before,
                                     uint32_t max_memory, InsertResult* result) {
  const Seq seq = Begin(buffer);
  const uint32_t length = buffer->payload_length;
  const bool follows = before != nullptr && seq == End(before);
  const size_t copied = memory_charged() + kBufferRoom > max_memory ? kBufferRoom : kCoalesceMax;
  if (follows && CopyBehind(before->last, Payload(buffer), copied)) {
    before->chain_end += length;
    bytes_ += length;
    result->coalesced = true;
    Slice::Unref(buffer);
    return before;
  }
  BufferHeader* next = follows ? nullptr : Above(seq);
  if (next != nullptr && seq + length == Begin(next) && CopyBefore(next, Payload(buffer), copied)) {
    bytes_ += length;
    result->coalesced = true;
    Slice::Unref(buffer);
    return next;
  }

  if (memory_charged() + kBufferRoom > max_memory) {
    // What is nearer to RCV.NXT is worth more: it will be delivered sooner.
    result->pruned = PruneAfter(seq, memory_charged() + kBufferRoom - max_memory) != 0;
    if (memory_charged() + kBufferRoom > max_memory) return nullptr;
  }
  ++buffers_;
  bytes_ += length;
  if (follows) {
    before->last->next = buffer;
    before->last = buffer;
    before->chain_end += length;
    return before;
  }
  buffer->last = buffer;
  buffer->chain_end = (seq + length).value();
  InsertNode(buffer);
  return buffer;
}

// Joins to `range`, whose last bytes are new, the ranges that these reach.
void OutOfOrderQueue::AbsorbFollowing(BufferHeader* range, InsertResult* result) {
  for (;;) {
    BufferHeader* next = Above(Begin(range));
    if (next == nullptr || Begin(next) > End(range)) return;
    RemoveNode(next);
    if (End(next) <= End(range)) {
      // The new segment is one buffer, and its payload has to stay in one piece.
      NoteDuplicate(Begin(next), End(next), &result->duplicate);
      FreeChain(next);
      continue;
    }
    const auto overlap = static_cast<uint32_t>(End(range) - Begin(next));
    if (overlap != 0) {
      NoteDuplicate(Begin(next), End(range), &result->duplicate);
      TrimBack(range->last, overlap);
      bytes_ -= overlap;
    }
    range->chain_end = next->chain_end;
    BufferHeader* last = next->last;
    BufferHeader* rest = next->next;
    if (CopyBehind(range->last, Payload(next))) {
      result->coalesced = true;
      Slice::Unref(next);
      --buffers_;
      next = rest;
      if (next == nullptr) return;
    }
    range->last->next = next;
    range->last = last;
    return;  // ranges do not touch each other: nothing more is reached
  }
}

OutOfOrderQueue::InsertResult OutOfOrderQueue::Insert(const Packet& packet,
                                                      std::span<const uint8_t> payload,
                                                      PacketPool& pool, Seq seq,
                                                      uint32_t max_memory) {
  BufferHeader* buffer = HoldPayload(packet, payload, pool);
  if (buffer == nullptr) return {.outcome = Outcome::kRefused};
  InsertResult all;
  for (bool first = true; buffer != nullptr; first = false) {
    BufferHeader* next = buffer->next;
    const uint32_t length = buffer->payload_length;
    const InsertResult one = Insert(buffer, seq, max_memory);
    if (first || one.outcome == Outcome::kQueued) all.outcome = one.outcome;
    all.coalesced |= one.coalesced;
    all.pruned |= one.pruned;
    NoteDuplicate(one.duplicate.begin, one.duplicate.end, &all.duplicate);
    seq += length;
    buffer = next;
  }
  return all;
}

// Removal --------------------------------------------------------------------------------------

OutOfOrderQueue::Chain OutOfOrderQueue::TakeInOrder(Seq rcv_nxt) {
  Chain chain;
  while (root_ != nullptr) {
    BufferHeader* range = First();
    if (Begin(range) > rcv_nxt) break;
    RemoveNode(range);
    if (Begin(range) < rcv_nxt) {
      NoteDuplicate(Begin(range), Min(End(range), rcv_nxt), &chain.duplicate);
    }
    if (End(range) <= rcv_nxt) {
      FreeChain(range);
      continue;
    }
    BufferHeader* last = range->last;
    const Seq end = End(range);
    while (auto old = static_cast<uint32_t>(rcv_nxt - Begin(range))) {
      const uint32_t n = std::min<uint32_t>(old, range->payload_length);
      bytes_ -= n;
      TrimFront(range, n);
      if (range->payload_length != 0) break;
      BufferHeader* rest = range->next;
      Slice::Unref(range);
      --buffers_;
      range = rest;
    }
    chain.first = range;
    chain.last = last;
    chain.bytes = static_cast<uint32_t>(end - rcv_nxt);
    // Counting touches every buffer; where this was the only range, the number is known.
    chain.buffers = root_ == nullptr ? buffers_ : ChainLength(range);
    buffers_ -= chain.buffers;
    bytes_ -= chain.bytes;
    break;
  }
  const Seq next = rcv_nxt + chain.bytes;
  if (has_fin_ && fin_ <= next) {
    has_fin_ = false;
    chain.fin = fin_ == next;
  }
  ForgetSacksBefore(next);
  return chain;
}

uint32_t OutOfOrderQueue::ChainLength(const BufferHeader* range) const {
  uint32_t length = 0;
  for (; range != nullptr; range = range->next) ++length;
  visits_ += length;
  return length;
}

void OutOfOrderQueue::FreeChain(BufferHeader* first) {
  while (first != nullptr) {
    BufferHeader* next = first->next;
    bytes_ -= first->payload_length;
    --buffers_;
    ++visits_;
    Slice::Unref(first);
    first = next;
  }
}

// Frees all but the first `keep` > 0 buffers of a range.
void OutOfOrderQueue::TruncateChain(BufferHeader* range, uint32_t keep) {
  BufferHeader* last = range;
  for (visits_ += keep; keep > 1; --keep) last = last->next;
  FreeChain(last->next);
  last->next = nullptr;
  range->last = last;
  range->chain_end = last->seq + last->payload_length;
}

// Prune, but only of ranges that begin after `seq`.
uint32_t OutOfOrderQueue::PruneAfter(Seq seq, uint32_t bytes) {
  // An eighth at least, because finding the place in a chain costs a walk along all of it.
  bytes = std::max(bytes, memory_charged() / 8);
  const uint32_t before = buffers_;
  const uint32_t goal = bytes / kBufferRoom + (bytes % kBufferRoom != 0 ? 1 : 0);
  while (root_ != nullptr && before - buffers_ < goal) {
    BufferHeader* range = Last();
    if (Begin(range) <= seq) break;
    const uint32_t length = ChainLength(range);
    const uint32_t surplus = goal - (before - buffers_);
    if (surplus < length) {
      TruncateChain(range, length - surplus);
      ForgetSacksFrom(End(range));
      break;
    }
    ForgetSacksFrom(Begin(range));
    RemoveNode(range);
    FreeChain(range);
  }
  return (before - buffers_) * kBufferRoom;
}

uint32_t OutOfOrderQueue::Prune(uint32_t bytes) {
  return root_ == nullptr ? 0 : PruneAfter(Begin(First()) - 1, bytes);
}

void OutOfOrderQueue::Clear() {
  // Rotates left children up until there are none: no stack, and linear.
  while (root_ != nullptr) {
    BufferHeader* left = root_->left;
    if (left != nullptr) {
      root_->left = left->right;
      left->right = root_;
      root_ = left;
      continue;
    }
    BufferHeader* right = root_->right;
    FreeChain(root_);
    root_ = right;
  }
  sack_count_ = 0;
  has_fin_ = false;
}

// SACK -----------------------------------------------------------------------------------------

uint32_t OutOfOrderQueue::SackBlocks(std::span<SackBlock> out) const {
  const auto n = static_cast<uint32_t>(std::min<size_t>(out.size(), sack_count_));
  std::copy_n(sacks_.begin(), n, out.begin());
  return n;
}

bool OutOfOrderQueue::EndsAt(Seq seq) const {
  if (sack_count_ == 0) return false;
  Seq end = sacks_[0].end;
  for (uint32_t i = 1; i < sack_count_; ++i) end = Max(end, sacks_[i].end);
  return seq == end;
}

void OutOfOrderQueue::NoteSack(const BufferHeader* range) {
  const Seq end = End(range);
  NoteSack(Begin(range), has_fin_ && fin_ == end ? end + 1 : end);
}

// Remembers a range as the most recent; what is part of it now, or touches it (a FIN that data of a
// contradictory peer follows), is not told twice.
void OutOfOrderQueue::NoteSack(Seq begin, Seq end) {
  std::array<SackBlock, kMaxSackBlocks> noted;
  uint32_t count = 1;
  for (uint32_t i = 0; i < sack_count_; ++i) {
    const SackBlock& old = sacks_[i];
    if (old.begin <= end && old.end >= begin) {
      begin = Min(begin, old.begin);
      end = Max(end, old.end);
    } else if (count < kMaxSackBlocks) {
      noted[count++] = old;
    }
  }
  noted[0] = {begin, end};
  sacks_ = noted;
  sack_count_ = count;
}

// RCV.NXT has moved to `seq`.
void OutOfOrderQueue::ForgetSacksBefore(Seq seq) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < sack_count_; ++i) {
    if (sacks_[i].begin > seq) sacks_[count++] = sacks_[i];
  }
  sack_count_ = count;
}

// Bytes from `seq` on were given up; and so is a FIN there.
void OutOfOrderQueue::ForgetSacksFrom(Seq seq) {
  if (has_fin_ && fin_ >= seq) has_fin_ = false;
  uint32_t count = 0;
  for (uint32_t i = 0; i < sack_count_; ++i) {
    if (sacks_[i].begin >= seq) continue;
    sacks_[count] = sacks_[i];
    sacks_[count].end = Min(sacks_[i].end, seq);
    ++count;
  }
  sack_count_ = count;
}

}  // namespace usher
