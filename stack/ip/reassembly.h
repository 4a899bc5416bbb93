// Datagrams put together from fragments, for both families (RFC 791, RFC 8200 section 4.5).
//
// Bounds: so many datagrams in work, so many of them from one source, so many fragments each; 64 KB
// of memory per datagram, taken at start; a fixed time from the first fragment on. When all places
// are taken the oldest goes: under a flood an honest datagram, whose fragments arrive together,
// then still has a chance, which it would not have if the flood could keep the places.
//
// A fragment that overlaps another, or contradicts it, condemns its whole datagram (RFC 5722): the
// place stays taken until its time is over, so that later fragments of it find their death.
#pragma once

#include <cstdint>
#include <vector>

#include "stack/base/counters.h"
#include "stack/base/time.h"
#include "stack/base/zeroed_array.h"
#include "stack/ip/limits.h"
#include "stack/ip/link.h"
#include "stack/wire/address.h"
#include "stack/wire/bytes.h"

namespace usher {

// What a received fragment says of itself.
struct FragmentInfo {
  IpAddress source;
  IpAddress destination;
  uint32_t id = 0;
  uint8_t protocol = 0;  // IPv6: the Fragment header's next header
  uint8_t tos = 0;
  bool more = false;
  uint32_t offset = 0;  // of `data` in the datagram, in bytes
  ByteSpan headers;  // IPv4 header with options; IPv6: all up to the Fragment header, it included
  uint16_t next_header_at = 0;  // IPv6: the byte of `headers` that names the Fragment header
  ByteSpan data;
};

class FragmentReassembly {
 public:
  FragmentReassembly(const NetworkLimits& limits, Counters& counters);

  // Adds a fragment, which is copied. True if it completed its datagram: *whole is then a frame
  // without a handle, in memory that is good until the next Release().
  bool Add(Instant now, const RxFrame& frame, const FragmentInfo& info, RxFrame* whole);

  // The datagrams handed out are done with.
  void Release();

  Instant NextDeadline() const;
  // Gives up what has waited too long. Calls expired(frame) with the first fragment of each, as far
  // as it is there: its sender is to be told (RFC 792, RFC 8200).
  template <class Expired>
  void Advance(Instant now, Expired&& expired) {
    if (in_work_ == 0) return;
    for (Slot& slot : slots_) {
      if (slot.state == State::kFree || slot.state == State::kDone || slot.deadline > now) continue;
      if (slot.state == State::kCollecting) {
        Count(slot, Counter::IpReasmTimeout, Counter::Ip6ReasmTimeout);
        Count(slot, Counter::IpReasmFails, Counter::Ip6ReasmFails);
        if (slot.has_first) expired(FrameOf(slot, slot.first_length));
      }
      Free(slot);
    }
  }

  uint32_t in_work() const { return in_work_; }  // condemned ones included

 private:
  // Link header, and what stands before the data, end at kDataAt.
  static constexpr uint32_t kDataAt = 512;
  static constexpr uint32_t kSlotBytes = kDataAt + 65536;
  static constexpr uint32_t kMaxPacket = 65535;

  enum class State : uint8_t { kFree, kCollecting, kCondemned, kDone };
  struct Piece {
    uint16_t offset;
    uint16_t length;
  };
  struct Slot {
    State state = State::kFree;
    bool v4 = false;
    bool has_first = false;
    bool link_multicast = false;
    uint8_t protocol = 0;
    uint8_t ecn_seen = 0;  // bit n: a fragment with ECN field n
    uint16_t pieces = 0;
    uint16_t link_size = 0;
    uint16_t headers_size = 0;
    uint16_t next_header_at = 0;
    uint16_t first_length = 0;  // data bytes of the first fragment
    uint32_t received = 0;      // data bytes
    uint32_t total = 0;         // data bytes; 0 until the last fragment is there
    uint32_t highest = 0;       // end of the furthest fragment
    uint32_t id = 0;
    uint64_t age = 0;  // place in the order of arrival
    IpAddress source;
    IpAddress destination;
    Instant deadline;
  };

  Slot* Find(const FragmentInfo& info);
  Slot* Take(Instant now, const FragmentInfo& info);
  bool IsPlausible(const FragmentInfo& info) const;
  // What a fragment does to its datagram.
  enum class Fit : uint8_t { kNew, kDuplicate, kContradiction };
  Fit FitOf(const Slot& slot, const FragmentInfo& info) const;
  void Store(Slot& slot, const RxFrame& frame, const FragmentInfo& info);
  bool Complete(Slot& slot, RxFrame* whole);
  void Condemn(Slot& slot);
  void Free(Slot& slot);
  RxFrame FrameOf(const Slot& slot, uint32_t data_length);
  void Count(const Slot& slot, Counter v4, Counter v6) { counters_.Add(slot.v4 ? v4 : v6); }

  uint8_t* DataOf(const Slot& slot) {
    return memory_.data() + static_cast<size_t>(&slot - slots_.data()) * kSlotBytes + kDataAt;
  }
  Piece* PiecesOf(const Slot& slot) {
    return pieces_.data() + static_cast<size_t>(&slot - slots_.data()) * max_pieces_;
  }
  const Piece* PiecesOf(const Slot& slot) const {
    return pieces_.data() + static_cast<size_t>(&slot - slots_.data()) * max_pieces_;
  }

  Counters& counters_;
  uint32_t per_source_;
  uint32_t max_pieces_;
  Duration time4_;
  Duration time6_;
  uint32_t in_work_ = 0;
  uint32_t done_ = 0;
  uint64_t arrivals_ = 0;
  std::vector<Slot> slots_;
  std::vector<Piece> pieces_;
  ZeroedArray<uint8_t> memory_;
};

}  // namespace usher
