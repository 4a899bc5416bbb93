#include "stack/ip/interface.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "stack/wire/ethernet.h"

namespace usher {

namespace {

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

absl::Status CheckConfig(const InterfaceConfig& config) {
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

uint64_t Draw64(RandomSource& random) {
  std::array<uint8_t, 8> bytes;
  random.Fill(bytes);
  return LoadRaw<uint64_t>(bytes.data());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Interface>> Interface::Create(
    uint8_t index, Port& port, const InterfaceConfig& config, const NetworkLimits& limits,
    Counters& counters, RandomSource& random, NetworkEventSink events) {
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;
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
      context_{index,       Instant(), limits_, link_,  addresses_,
               neighbours_, counters_, random_, events_},
      arp_(context_),
      gateway_(config.gateway),
      gateway6_(config.gateway6),
      mtu6_(link_.mtu()) {
  for (const InterfaceAddress& a : config.addresses) {
    addresses_.Add(a.address, a.prefix_length);
    routes_.AddPrefix(a.address, a.prefix_length);
  }
  if (gateway_) routes_.AddGateway(*gateway_);
  if (gateway6_) routes_.AddGateway(*gateway6_);
}

Interface::~Interface() { neighbours_.Clear(); }

void Interface::Start(Instant now) {
  context_.now = now;
  if (gateway_) neighbours_.Pin(now, *gateway_);
  if (gateway6_) neighbours_.Pin(now, *gateway6_);
  arp_.Start();
}

void Interface::Advance(Instant now) {
  context_.now = now;
  link_.RefillReserve();
  neighbours_.Advance(now);
  arp_.Advance();
  routes_.Advance(now, [this](const IpAddress& router) {
    neighbours_.Unpin(context_.now, router);
    context_.Tell(NetworkEvent::Kind::kRouterLost, router);
  });
}

Instant Interface::NextDeadline() const {
  return std::min({neighbours_.NextDeadline(), arp_.NextDeadline(), routes_.NextDeadline()});
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
  context_.now = now;
  out.tcp_count = 0;
  out.error_count = 0;
  link_.RefillReserve();
  uint64_t bytes = 0;
  for (const Packet& packet : burst) {
    __builtin_prefetch(packet.data, /*write=*/1);
    bytes += packet.length;
  }
  counters_.Add(Counter::UsherRxPackets, burst.size());
  counters_.Add(Counter::UsherRxBytes, bytes);
  for (const Packet& packet : burst)
    if (!ReceiveFrame(packet, out)) link_.Free(packet.handle);
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

void Interface::SolicitNeighbour(const IpAddress& target, const MacAddress* link_address) {
  if (target.is_v4()) arp_.Solicit(target, link_address);
}

void Interface::SendPending(const TxPacket& packet, const MacAddress& link_address) {
  Link::WriteDestination(packet.data, link_address);
  link_.Send(packet);
}

void Interface::DropPending(const TxPacket& packet, const IpAddress& target) {
  counters_.Add(target.is_v4() ? Counter::UsherArpPendingDropped : Counter::UsherNdPendingDropped);
  link_.Free(packet.handle);
}

void Interface::NeighbourUnreachable(const IpAddress& target) {
  if (target == gateway_ || target == gateway6_)
    context_.Tell(NetworkEvent::Kind::kUnreachable, target);
}

}  // namespace usher
