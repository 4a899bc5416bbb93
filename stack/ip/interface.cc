#include "stack/ip/interface.h"

#include <algorithm>
#include <charconv>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "stack/base/check.h"
#include "stack/wire/ethernet.h"

namespace usher {

namespace {

constexpr uint8_t kReassemblyTimeExceeded = 1;  // code, in ICMP and ICMPv6 alike

absl::Status CheckAddress(const InterfaceAddress& a) {
  const int bits = a.address.is_v4() ? 32 : 128;
  const std::string text = absl::StrCat(a.address.ToString(), "/", a.prefix_length);
  if (a.prefix_length < 1 || a.prefix_length > bits)
    return absl::InvalidArgumentError(
        absl::StrCat("address ", text, ": prefix length must be 1 to ", bits));
  if (a.address.is_unspecified() || a.address.is_multicast() || a.address.is_loopback() ||
      a.address.is_broadcast())
    return absl::InvalidArgumentError(absl::StrCat("address ", text, " cannot be a host's"));
  if (a.address.is_v4() && a.prefix_length < 31) {
    const uint32_t host = a.address.v4() & (0xffffffffu >> a.prefix_length);
    if (host == 0 || host == 0xffffffffu >> a.prefix_length)
      return absl::InvalidArgumentError(
          absl::StrCat("address ", text, " names its network or its broadcast"));
  }
  return absl::OkStatus();
}

absl::Status CheckGateway(const InterfaceConfig& config, const IpAddress& gateway, bool v4) {
  if (gateway.is_v4() != v4)
    return absl::InvalidArgumentError(
        absl::StrCat("gateway ", gateway.ToString(), " is of the other family"));
  bool on_link = gateway.is_link_local() && !v4;
  for (const InterfaceAddress& a : config.addresses) {
    if (a.address == gateway)
      return absl::InvalidArgumentError(
          absl::StrCat("gateway ", gateway.ToString(), " is our own address"));
    on_link = on_link || gateway.InPrefix(a.address, a.prefix_length);
  }
  if (!on_link)
    return absl::InvalidArgumentError(
        absl::StrCat("gateway ", gateway.ToString(), " is on none of the interface's prefixes"));
  return absl::OkStatus();
}

// RFC 4291 appendix A: the universal bit turned over, ff:fe in the middle.
IpAddress LinkLocalFor(const MacAddress& mac) {
  const auto& m = mac.bytes;
  return IpAddress::V6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(m[0] ^ 2), m[1], m[2],
                        0xff, 0xfe, m[3], m[4], m[5]});
}

NdpSettings NdpSettingsOf(const InterfaceConfig& config) {
  return {.dad_transmits = config.announce ? config.dad_transmits : 0,
          .accept_ra = config.accept_ra,
          .accept_ra_defrtr = !config.gateway6.has_value()};
}

uint64_t Draw64(RandomSource& random) {
  std::array<uint8_t, 8> bytes;
  random.Fill(bytes);
  return LoadRaw<uint64_t>(bytes.data());
}

}  // namespace

absl::Status CheckInterface(const InterfaceConfig& config) {
  bool has_v6 = false;
  for (const InterfaceAddress& a : config.addresses) {
    if (absl::Status status = CheckAddress(a); !status.ok()) return status;
    has_v6 = has_v6 || !a.address.is_v4();
  }
  if (config.gateway) {
    if (absl::Status status = CheckGateway(config, *config.gateway, true); !status.ok())
      return status;
  }
  if (config.gateway6) {
    if (absl::Status status = CheckGateway(config, *config.gateway6, false); !status.ok())
      return status;
  }
  const uint16_t least = has_v6 ? 1280 : 576;
  if (config.mtu < least || config.mtu > 9216)
    return absl::InvalidArgumentError(
        absl::StrCat("mtu ", config.mtu, " is not between ", least, " and 9216"));
  if (config.vlan > 4094)
    return absl::InvalidArgumentError(absl::StrCat("vlan ", config.vlan, " is above 4094"));
  return absl::OkStatus();
}

std::optional<InterfaceAddress> InterfaceAddress::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = IpAddress::Parse(text.substr(0, slash));
  const std::string_view length = text.substr(slash + 1);
  int bits = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bits);
  if (!address || error != std::errc() || end != length.data() + length.size() || bits < 0 ||
      bits > (address->is_v4() ? 32 : 128))
    return std::nullopt;
  return InterfaceAddress{*address, bits};
}

absl::StatusOr<std::unique_ptr<Interface>> Interface::Create(
    uint8_t index, Port& port, const InterfaceConfig& config, const NetworkLimits& limits,
    Counters& counters, RandomSource& random, NetworkEventSink events) {
  if (absl::Status status = CheckInterface(config); !status.ok()) return status;
  return std::unique_ptr<Interface>(
      new Interface(index, port, config, limits, counters, random, std::move(events)));
}

Interface::Interface(uint8_t index, Port& port, const InterfaceConfig& config,
                     const NetworkLimits& limits, Counters& counters, RandomSource& random,
                     NetworkEventSink events)
    : limits_(limits),
      events_(std::move(events)),
      counters_(counters),
      random_(Draw64(random)),
      link_(port, config.mtu, config.vlan, limits_, counters),
      neighbours_(limits_, SipKey::From(random), random_.Next64(), *this),
      routes_(limits_, neighbours_),
      reassembly_(limits_, counters),
      icmp_rate_(limits.icmp_msgs_per_sec, limits.icmp_msgs_burst),
      context_{index,
               Instant(),
               limits_,
               link_,
               addresses_,
               neighbours_,
               counters_,
               random_,
               events_,
               icmp_rate_,
               /*concerns_all=*/false},
      arp_(context_),
      icmpv4_(context_),
      mld_(context_),
      ndp_(context_, routes_, mld_, NdpSettingsOf(config)),
      icmpv6_(context_, ndp_, mld_),
      announce_(config.announce),
      gateway_(config.gateway),
      gateway6_(config.gateway6) {
  bool v6 = false;
  bool link_local = false;
  for (const InterfaceAddress& a : config.addresses) {
    addresses_.Add(a.address, a.prefix_length);
    routes_.AddPrefix(a.address, a.prefix_length);
    v6 = v6 || !a.address.is_v4();
    link_local = link_local || (a.address.is_link_local() && !a.address.is_v4());
  }
  if (v6) {
    routes_.AddPrefix(*IpAddress::Parse("fe80::"), 64);
    if (!link_local) addresses_.Add(LinkLocalFor(port.mac()), 64);
  }
  if (gateway_) routes_.AddGateway(*gateway_);
  if (gateway6_) routes_.AddGateway(*gateway6_);
}

Interface::~Interface() { neighbours_.Clear(); }

void Interface::Start(Instant now) {
  context_.now = now;
  if (gateway_) neighbours_.Pin(now, *gateway_);
  if (gateway6_) neighbours_.Pin(now, *gateway6_);
  if (announce_) arp_.Start();
  ndp_.Start(announce_);
}

void Interface::AddHostAddress(const IpAddress& address) {
  if (addresses_.Has(address)) return;
  addresses_.Add(address, address.is_v4() ? 32 : 128);
  if (!address.is_v4()) addresses_.v6().back().state = AddressState::kPreferred;
}

void Interface::Advance(Instant now) {
  context_.now = now;
  link_.RefillReserve();
  neighbours_.Advance(now);
  arp_.Advance();
  mld_.Advance();
  ndp_.Advance();
  reassembly_.Advance(now, [this](const RxFrame& first) { ReassemblyExpired(first); });
  routes_.Advance(now, [this](const IpAddress& router) {
    neighbours_.Unpin(context_.now, router);
    if (announce_) context_.Tell(NetworkEvent::Kind::kRouterLost, router);
  });
}

Instant Interface::NextDeadline() const {
  return std::min({neighbours_.NextDeadline(), arp_.NextDeadline(), routes_.NextDeadline(),
                   mld_.NextDeadline(), ndp_.NextDeadline(), reassembly_.NextDeadline()});
}

bool Interface::ChooseSource(const IpAddress& remote, IpAddress* local) const {
  if (remote.is_v4()) {
    if (addresses_.v4().empty()) return false;
    const LocalAddresses::V4* near = addresses_.OnLink4(remote.v4());
    *local = near != nullptr ? near->ip : addresses_.v4().front().ip;
    return true;
  }
  // RFC 6724: the same scope (rule 2), then the longest common prefix (rule 8).
  int best = -1;
  for (const LocalAddresses::V6& a : addresses_.v6()) {
    if (a.state != AddressState::kPreferred || a.address.is_link_local() != remote.is_link_local())
      continue;
    int common = 0;
    while (common < 64 && remote.InPrefix(a.address, common + 1)) ++common;
    if (common <= best) continue;
    best = common;
    *local = a.address;
  }
  return best >= 0;
}

void Interface::Receive(Instant now, std::span<const Packet> burst, Ingress& out) {
  USHER_DCHECK(burst.size() <= kBurstSize);
  context_.now = now;
  out.tcp_count = 0;
  out.error_count = 0;
  link_.RefillReserve();
  reassembly_.Release();
  uint64_t bytes = 0;
  for (const Packet& packet : burst) {
    // Headers with options end in the second line; an answer is written over both.
    __builtin_prefetch(packet.data, /*write=*/1);
    __builtin_prefetch(packet.data + 64, /*write=*/1);
    bytes += packet.length;
  }
  counters_.Add(Counter::UsherRxPackets, burst.size());
  counters_.Add(Counter::UsherRxBytes, bytes);
  for (const Packet& packet : burst) {
    context_.concerns_all = false;
    if (ReceiveFrame(packet, out)) continue;
    if (context_.concerns_all && relay_) [[unlikely]]
      relay_({packet.data, packet.length});
    link_.Free(packet.handle);
  }
}

bool Interface::ReceiveFrame(const Packet& packet, Ingress& out) {
  const auto ethernet = EthernetView::Parse({packet.data, packet.length});
  if (!ethernet) [[unlikely]] {
    counters_.Add(Counter::UsherLinkBadLength);
    return false;
  }
  // A tag with identifier 0 carries only a priority: the frame belongs to the untagged network
  // (IEEE 802.1Q section 6.9.1).
  if (ethernet->vlan_id() != link_.vlan()) [[unlikely]] {
    counters_.Add(Counter::UsherLinkVlanMismatch);
    return false;
  }
  const MacAddress dst = ethernet->dst();
  if (dst != link_.mac() && !dst.is_multicast()) [[unlikely]] {
    counters_.Add(Counter::UsherLinkNotForUs);
    return false;
  }
  if ((packet.data[6] & 1) != 0) [[unlikely]] {  // no frame comes from a group
    counters_.Add(Counter::UsherLinkNotForUs);
    return false;
  }
  const auto header_size = static_cast<uint16_t>(ethernet->header_size());
  const RxFrame frame{packet, packet.data + header_size,
                      static_cast<uint16_t>(packet.length - header_size), dst.is_multicast()};
  switch (ethernet->type()) {
    case EtherType::kIpv4:
      return ReceiveIpv4(frame, out);
    case EtherType::kIpv6:
      return ReceiveIpv6(frame, out);
    case EtherType::kArp:
      return arp_.Receive(frame);
    case EtherType::kVlan:  // a second tag
      counters_.Add(Counter::UsherLinkVlanMismatch);
      return false;
    default:
      counters_.Add(Counter::UsherLinkUnknownEtherType);
      return false;
  }
}

// RFC 792, RFC 8200 section 4.5: the sender is told if its first fragment is there to be quoted.
void Interface::ReassemblyExpired(const RxFrame& first) {
  if (first.l3[0] >> 4 == 4) {
    const auto ip = Ipv4View::Parse({first.l3, first.l3_room});
    USHER_CHECK(ip);  // as it came
    icmpv4_.SendError(first, *ip, CastOfIpv4(ip->dst().v4()) != Cast::kUs,
                      Icmpv4Type::kTimeExceeded, kReassemblyTimeExceeded);
    return;
  }
  const auto ip = Ipv6View::Parse({first.l3, first.l3_room});
  USHER_CHECK(ip);
  if (!first.link_multicast && addresses_.Has6(ip->dst()))
    icmpv6_.SendError(first, *ip, Icmpv6Type::kTimeExceeded, kReassemblyTimeExceeded);
}

void Interface::SolicitNeighbour(const IpAddress& target, const MacAddress* link_address) {
  if (target.is_v4()) {
    arp_.Solicit(target, link_address);
  } else {
    ndp_.Solicit(target, link_address);
  }
}

void Interface::SendPending(const TxPacket& packet, const MacAddress& link_address) {
  Link::WriteDestination(packet.data, link_address);
  link_.Send(packet);
}

void Interface::DropPending(const TxPacket& packet, const IpAddress& target) {
  counters_.Add(target.is_v4() ? Counter::UsherArpPendingDropped : Counter::UsherNdPendingDropped);
  link_.Free(packet);
}

void Interface::NeighbourUnreachable(const IpAddress& target) {
  if (target == gateway_ || target == gateway6_)
    context_.Tell(NetworkEvent::Kind::kUnreachable, target);
}

}  // namespace usher
