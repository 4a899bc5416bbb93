#include "stack/ip/reassembly.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "stack/wire/checksum.h"
#include "stack/wire/ip_protocol.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"

namespace usher {

namespace {

constexpr uint16_t kFragmentHeader = 8;  // of IPv6
constexpr uint8_t kNotEct = 1 << 0;
constexpr uint8_t kCe = 1 << 3;

// What the first fragment must hold, so that no filter on the way can be fooled about the ports
// (RFC 1858, RFC 3128, RFC 7112).
uint32_t LeastFirst(uint8_t protocol) {
  switch (protocol) {
    case IpProtocol::kTcp:
      return 20;
    case IpProtocol::kUdp:
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6:
      return 8;
    default:
      return 1;
  }
}

}  // namespace

FragmentReassembly::FragmentReassembly(const NetworkLimits& limits, Counters& counters)
    : counters_(counters),
      per_source_(std::max(1u, limits.reassembly_per_source)),
      max_pieces_(std::clamp(limits.fragments_per_datagram, 2u, 8192u)),
      time4_(limits.ipfrag_time),
      time6_(limits.ip6frag_time),
      slots_(std::max(1u, limits.reassembly_datagrams)),
      pieces_(slots_.size() * max_pieces_),
      memory_(slots_.size() * kSlotBytes) {}

void FragmentReassembly::Release() {
  if (done_ == 0) return;
  for (Slot& slot : slots_)
    if (slot.state == State::kDone) Free(slot);
  done_ = 0;
}

void FragmentReassembly::Free(Slot& slot) {
  slot.state = State::kFree;
  --in_work_;
}

void FragmentReassembly::Condemn(Slot& slot) {
  Count(slot, Counter::IpReasmFails, Counter::Ip6ReasmFails);
  slot.state = State::kCondemned;
}

Instant FragmentReassembly::NextDeadline() const {
  Instant next = Instant::Never();
  if (in_work_ == 0) return next;
  for (const Slot& slot : slots_)
    if (slot.state == State::kCollecting || slot.state == State::kCondemned)
      next = std::min(next, slot.deadline);
  return next;
}

FragmentReassembly::Slot* FragmentReassembly::Find(const FragmentInfo& info) {
  if (in_work_ == 0) return nullptr;
  for (Slot& slot : slots_) {
    if ((slot.state == State::kCollecting || slot.state == State::kCondemned) &&
        slot.id == info.id && slot.source == info.source && slot.destination == info.destination &&
        // RFC 791 tells datagrams apart by protocol too, RFC 8200 does not.
        (!slot.v4 || slot.protocol == info.protocol))
      return &slot;
  }
  return nullptr;
}

// A place for a new datagram; null only if all are handed out in this very burst.
FragmentReassembly::Slot* FragmentReassembly::Take(Instant now, const FragmentInfo& info) {
  Slot* place = nullptr;
  Slot* oldest = nullptr;
  Slot* oldest_of_source = nullptr;
  uint32_t of_source = 0;
  for (Slot& slot : slots_) {
    if (slot.state == State::kDone) continue;
    if (slot.state == State::kFree) {
      if (place == nullptr) place = &slot;
      continue;
    }
    if (oldest == nullptr || slot.age < oldest->age) oldest = &slot;
    if (slot.source != info.source) continue;
    ++of_source;
    if (oldest_of_source == nullptr || slot.age < oldest_of_source->age) oldest_of_source = &slot;
  }
  Slot* victim = of_source >= per_source_ ? oldest_of_source : place == nullptr ? oldest : nullptr;
  if (victim != nullptr) {
    if (victim->state == State::kCollecting)
      Count(*victim, Counter::IpReasmFails, Counter::Ip6ReasmFails);
    Free(*victim);
    place = victim;
  }
  if (place == nullptr) return nullptr;
  *place = Slot{};
  place->state = State::kCollecting;
  place->v4 = info.source.is_v4();
  place->protocol = info.protocol;
  place->id = info.id;
  place->source = info.source;
  place->destination = info.destination;
  place->age = ++arrivals_;
  place->deadline = now + (place->v4 ? time4_ : time6_);
  ++in_work_;
  return place;
}

bool FragmentReassembly::IsPlausible(const FragmentInfo& info) const {
  const auto length = static_cast<uint32_t>(info.data.size());
  if (length == 0) return false;
  if (info.more && length % 8 != 0) return false;
  // The longest packet is 65,535 bytes with its IPv4 header, or without its IPv6 one.
  const auto headers = static_cast<uint32_t>(info.headers.size());
  if (headers > kDataAt - EthernetView::kHeaderSize - EthernetView::kTagSize) return false;
  const uint32_t uncounted = info.source.is_v4() ? 0 : Ipv6View::kHeaderSize + kFragmentHeader;
  if (headers - uncounted + info.offset + length > kMaxPacket) return false;
  if (info.offset == 0) return length >= LeastFirst(info.protocol);
  return info.offset >= LeastFirst(info.protocol);
}

FragmentReassembly::Fit FragmentReassembly::FitOf(const Slot& slot,
                                                  const FragmentInfo& info) const {
  const uint32_t begin = info.offset;
  const auto end = static_cast<uint32_t>(begin + info.data.size());
  const Piece* pieces = PiecesOf(slot);
  for (uint16_t i = 0; i < slot.pieces; ++i) {
    const uint32_t other_begin = pieces[i].offset;
    const uint32_t other_end = other_begin + pieces[i].length;
    if (begin == other_begin && end == other_end) return Fit::kDuplicate;
    if (begin < other_end && other_begin < end) return Fit::kContradiction;
  }
  if (slot.total != 0 && (end > slot.total || !info.more)) return Fit::kContradiction;
  if (!info.more && end < slot.highest) return Fit::kContradiction;
  if (slot.pieces == max_pieces_) return Fit::kContradiction;
  return Fit::kNew;
}

void FragmentReassembly::Store(Slot& slot, const RxFrame& frame, const FragmentInfo& info) {
  uint8_t* data = DataOf(slot);
  const auto length = static_cast<uint16_t>(info.data.size());
  std::memcpy(data + info.offset, info.data.data(), length);
  PiecesOf(slot)[slot.pieces++] = {static_cast<uint16_t>(info.offset), length};
  slot.received += length;
  slot.highest = std::max(slot.highest, info.offset + length);
  if (!info.more) slot.total = info.offset + length;
  slot.ecn_seen |= static_cast<uint8_t>(1 << (info.tos & 3));
  slot.link_multicast |= frame.link_multicast;
  if (info.offset != 0) return;
  slot.has_first = true;
  slot.first_length = length;
  slot.protocol = info.protocol;
  slot.next_header_at = info.next_header_at;
  slot.headers_size = static_cast<uint16_t>(info.headers.size());
  slot.link_size = static_cast<uint16_t>(frame.l3 - frame.packet.data);
  uint8_t* headers = data - slot.headers_size;
  std::memcpy(headers, info.headers.data(), slot.headers_size);
  std::memcpy(headers - slot.link_size, frame.packet.data, slot.link_size);
}

RxFrame FragmentReassembly::FrameOf(const Slot& slot, uint32_t data_length) {
  RxFrame frame;
  frame.l3 = DataOf(slot) - slot.headers_size;
  frame.l3_room = slot.headers_size + data_length;
  frame.packet.data = frame.l3 - slot.link_size;
  frame.packet.length = static_cast<uint16_t>(
      std::min<uint32_t>(frame.l3_room + uint32_t{slot.link_size}, UINT16_MAX));
  frame.packet.flags = kRxIpChecksumGood;
  frame.link_multicast = slot.link_multicast;
  return frame;
}

bool FragmentReassembly::Complete(Slot& slot, RxFrame* whole) {
  const bool ce = (slot.ecn_seen & kCe) != 0;
  // RFC 3168 section 5.3, and as Linux does: mixed with Not-ECT nothing is believed.
  const bool mixed = (slot.ecn_seen & kNotEct) != 0 && slot.ecn_seen != kNotEct;
  const uint32_t headers =
      slot.headers_size - (slot.v4 ? 0 : Ipv6View::kHeaderSize + kFragmentHeader);
  const uint32_t total = headers + slot.total;  // as the length field counts
  if (mixed || total > kMaxPacket) {
    Condemn(slot);
    return false;
  }
  uint8_t* ip = DataOf(slot) - slot.headers_size;
  if (slot.v4) {
    if (ce) ip[1] |= 3;
    Store16(ip + 2, static_cast<uint16_t>(total));
    Store16(ip + 6, 0);
    Store16(ip + 10, 0);
    Store16(ip + 10, checksum::Finish(checksum::Sum({ip, slot.headers_size})));
  } else {
    if (ce) ip[1] |= 3 << 4;
    Store16(ip + 4, static_cast<uint16_t>(total));
    ip[slot.next_header_at] = slot.protocol;
    // The Fragment header goes: what stands before it moves up.
    slot.headers_size -= kFragmentHeader;
    uint8_t* frame = ip - slot.link_size;
    std::memmove(frame + kFragmentHeader, frame, slot.link_size + slot.headers_size);
  }
  *whole = FrameOf(slot, slot.total);
  slot.state = State::kDone;
  ++done_;
  Count(slot, Counter::IpReasmOKs, Counter::Ip6ReasmOKs);
  return true;
}

bool FragmentReassembly::Add(Instant now, const RxFrame& frame, const FragmentInfo& info,
                             RxFrame* whole) {
  const bool v4 = info.source.is_v4();
  counters_.Add(v4 ? Counter::IpReasmReqds : Counter::Ip6ReasmReqds);
  Slot* slot = Find(info);
  if (slot != nullptr && slot->state == State::kCondemned) return false;
  const bool plausible = IsPlausible(info);
  if (slot == nullptr && plausible) slot = Take(now, info);
  if (slot == nullptr) {
    counters_.Add(v4 ? Counter::IpReasmFails : Counter::Ip6ReasmFails);
    return false;
  }
  const Fit fit = plausible ? FitOf(*slot, info) : Fit::kContradiction;
  if (fit == Fit::kDuplicate) return false;
  if (fit == Fit::kContradiction) {
    if (v4 && plausible) counters_.Add(Counter::IpExtReasmOverlaps);
    Condemn(*slot);
    return false;
  }
  Store(*slot, frame, info);
  if (slot->total == 0 || slot->received != slot->total) return false;
  return Complete(*slot, whole);
}

}  // namespace usher
