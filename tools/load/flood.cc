#include "tools/load/flood.h"

#include <algorithm>
#include <array>

#include "stack/wire/arp.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/tcp.h"

namespace usher::load {
namespace {

constexpr uint64_t kKnown = uint64_t{1} << 48;

// Whom the frames are handed to on the link.
IpAddress NextHop(const LoadOptions& options, const InterfaceAddress& own) {
  const bool on_link = options.to.InPrefix(own.address, own.prefix_length);
  return on_link || !options.gateway ? options.to : *options.gateway;
}

}  // namespace

std::optional<MacAddress> FloodTarget::mac() const {
  const uint64_t word = mac_.load(std::memory_order_relaxed);
  if (word == 0) return std::nullopt;
  MacAddress mac;
  for (size_t i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(word >> (8 * i));
  return mac;
}

void FloodTarget::set_mac(const MacAddress& mac) {
  uint64_t word = kKnown;
  for (size_t i = 0; i < 6; ++i) word |= uint64_t{mac.bytes[i]} << (8 * i);
  mac_.store(word, std::memory_order_relaxed);
}

Flood::Flood(const LoadOptions& options, Port& port, FloodTarget& target, uint32_t shard,
             uint32_t shards, uint64_t seed)
    : options_(options),
      port_(port),
      target_(target),
      asks_(shard == 0),
      rate_(options.rate / shards),
      own_(InterfaceAddress::Parse(options.addresses[0])->address),
      next_hop_(NextHop(options, *InterfaceAddress::Parse(options.addresses[0]))),
      source_mask_(options.spoof.prefix_length >= 32 ? 0
                                                     : UINT32_MAX >> options.spoof.prefix_length),
      random_(seed + shard) {
  if (options.to_mac) target.set_mac(*options.to_mac);
}

uint32_t Flood::BeforePass(Instant now, uint32_t work) {
  if (phase_ == Phase::kMeasure) meter_.OnPass(now, work);
  last_now_ = now;
  const uint32_t received = ReceiveAll();
  if (now >= phase_ends_ || !sending()) Advance(now);
  return received + (sending() ? SendDue(now) : 0);
}

Instant Flood::NextDeadline() const {
  if (!sending()) return std::min(phase_ends_, last_now_ + kAskAgain / 20);
  if (rate_ <= 0) return last_now_;
  const double next_ns = static_cast<double>(sent_ + 1) * 1e9 / rate_;
  return std::min(phase_ends_, sending_since_ + Duration::Nanos(static_cast<int64_t>(next_ns)));
}

void Flood::Stop(Instant now) {
  stopped_ = true;
  while (phase_ < Phase::kLastAnswers) Advance(now);
}

void Flood::Advance(Instant now) {
  switch (phase_) {
    case Phase::kBegin:
      phase_ = Phase::kAsking;
      phase_ends_ = now + kPatience;
      ask_at_ = now;
      [[fallthrough]];
    case Phase::kAsking:
      if (!target_.mac()) return WaitForTarget(now);
      BeginSending(now);
      if (now < phase_ends_) return;
      [[fallthrough]];
    case Phase::kWarmup:
      meter_.Start(now);
      phase_ = Phase::kMeasure;
      phase_ends_ = now + options_.seconds;
      return;
    case Phase::kMeasure:
      result_.cpu = meter_.Stop(now);
      phase_ = Phase::kLastAnswers;
      phase_ends_ = now + kLastAnswers;
      return;
    case Phase::kLastAnswers:
      if (now >= phase_ends_ || stopped_) phase_ = Phase::kDone;
      return;
    case Phase::kDone:
      return;
  }
}

void Flood::BeginSending(Instant now) {
  const FrameTemplate::Addresses addresses = {.src_mac = port_.mac(),
                                              .dst_mac = *target_.mac(),
                                              .dst = options_.to,
                                              .dst_port = options_.port};
  frame_ = options_.mode == Mode::kSynFlood ? FrameTemplate::Syn(addresses)
                                            : FrameTemplate::Ack(addresses);
  sending_since_ = now;
  phase_ = Phase::kWarmup;
  phase_ends_ = now + options_.warmup;
}

void Flood::WaitForTarget(Instant now) {
  if (now >= phase_ends_ || stopped_) {
    result_.unreachable = !stopped_;
    phase_ = Phase::kDone;
    return;
  }
  if (!asks_ || now < ask_at_) return;
  SendArp(ArpOperation::kRequest, MacAddress::Broadcast(), own_, MacAddress(), next_hop_);
  ask_at_ = now + kAskAgain;
}

void Flood::SendArp(uint16_t operation, const MacAddress& dst, const IpAddress& sender,
                    const MacAddress& target_mac, const IpAddress& target) {
  Packet p;
  if (!port_.pool().Allocate(&p)) return;
  const size_t header =
      EthernetHeader{.dst = dst, .src = port_.mac(), .type = EtherType::kArp}.Emit(p.data);
  const ArpPacket arp = {operation, port_.mac(), sender, target_mac, target};
  const auto size = static_cast<uint16_t>(header + arp.Emit(p.data + header));
  const TxPacket out = {.data = p.data, .handle = p.handle, .length = size};
  if (port_.TxBurst({&out, 1}) == 0) port_.pool().Free(p.handle);
}

// ---- What comes ----

uint32_t Flood::ReceiveAll() {
  std::array<Packet, kBurstSize> burst;
  uint32_t all = 0;
  for (uint32_t i = 0; i < kMostBursts; ++i) {
    const uint32_t n = port_.RxBurst(burst);
    for (const Packet& p : std::span(burst).first(n)) {
      Receive(p);
      port_.pool().Free(p.handle);
    }
    all += n;
    if (n < burst.size()) break;
  }
  return all;
}

void Flood::Receive(const Packet& packet) {
  const auto frame = EthernetView::Parse({packet.data, packet.length});
  if (!frame) return;
  if (frame->type() == EtherType::kArp) return HearArp(frame->payload());
  if (frame->type() != EtherType::kIpv4) return;
  const auto ip = Ipv4View::Parse(frame->payload());
  if (!ip || ip->src() != options_.to || ip->protocol() != IpProtocol::kTcp || ip->is_fragment())
    return;
  const auto tcp = TcpView::Parse(ip->payload());
  if (!tcp || tcp->src_port() != options_.port) return;
  if (phase_ == Phase::kMeasure) ++result_.answers;
  if (tcp->has(TcpFlags::kRst)) {
    ++result_.resets;
  } else if (tcp->has(TcpFlags::kSyn)) {
    ++result_.syn_acks;
  } else {
    ++result_.other_answers;
  }
}

void Flood::HearArp(ByteSpan payload) {
  const auto arp = ArpPacket::Parse(payload);
  if (!arp) return;
  if (arp->sender_ip == next_hop_ && !arp->sender_mac.is_zero() && !arp->sender_mac.is_multicast())
    target_.set_mac(arp->sender_mac);
  const bool ours = arp->target_ip == own_ ||
                    arp->target_ip.InPrefix(options_.spoof.address, options_.spoof.prefix_length);
  if (arp->operation == ArpOperation::kRequest && ours)
    SendArp(ArpOperation::kReply, arp->sender_mac, arp->target_ip, arp->sender_mac, arp->sender_ip);
}

// ---- What goes ----

uint32_t Flood::SendDue(Instant now) {
  uint64_t due = uint64_t{kMostBursts} * kBurstSize;
  if (rate_ > 0) {
    const auto until_now =
        static_cast<uint64_t>(static_cast<double>((now - sending_since_).ns()) * rate_ / 1e9);
    due = until_now > sent_ ? std::min(due, until_now - sent_) : 0;
  }
  uint32_t taken = 0;
  while (taken < due) {
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(due - taken, kBurstSize));
    const uint32_t n = SendBurst(count);
    taken += n;
    if (n < count) {
      port_.Reclaim();
      break;
    }
  }
  sent_ += taken;
  result_.all_frames += taken;
  if (phase_ == Phase::kMeasure) result_.frames += taken;
  return taken;
}

uint32_t Flood::SendBurst(uint32_t count) {
  std::array<TxPacket, kBurstSize> burst;
  const uint32_t network = options_.spoof.address.v4() & ~source_mask_;
  uint32_t made = 0;
  for (Packet p; made < count && port_.pool().Allocate(&p); ++made) {
    const uint64_t a = random_.Next64();
    const uint64_t b = random_.Next64();
    frame_->Write(p.data, network | (static_cast<uint32_t>(a) & source_mask_),
                  static_cast<uint16_t>(1024 + (a >> 32) % 64512), static_cast<uint32_t>(b),
                  options_.mode == Mode::kAckFlood ? static_cast<uint32_t>(b >> 32) : 0);
    burst[made] = {
        .data = p.data, .handle = p.handle, .length = static_cast<uint16_t>(frame_->size())};
  }
  const uint32_t taken = made == 0 ? 0 : port_.TxBurst(std::span(burst).first(made));
  for (uint32_t i = taken; i < made; ++i) port_.pool().Free(burst[i].handle);
  if (phase_ == Phase::kMeasure) result_.refused += made - taken;
  return taken;
}

}  // namespace usher::load
