#include "stack/ip/ndp.h"

#include <algorithm>

#include "stack/base/check.h"
#include "stack/ip/icmpv6_output.h"

namespace usher {

namespace {

constexpr IpAddress kAllNodes = IpAddress::V6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
constexpr IpAddress kAllRouters =
    IpAddress::V6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2});
constexpr uint8_t kNdpHopLimit = 255;
constexpr uint8_t kNonceOption = 14;  // RFC 3971 section 5.3.2
constexpr uint16_t kMinMtu = 1280;

bool IsHostMac(const MacAddress& mac) { return !mac.is_multicast() && !mac.is_zero(); }

}  // namespace

Ndp::Ndp(InterfaceContext& context, Routes& routes, Mld& mld, const NdpSettings& settings)
    : context_(context),
      routes_(routes),
      mld_(mld),
      settings_(settings),
      mtu_(context.link.mtu()) {}

Duration Ndp::RandomBelow(Duration d) {
  return Duration::Nanos(
      static_cast<int64_t>(context_.random.Uniform(static_cast<uint64_t>(d.ns()))));
}

void Ndp::Start(bool speak) {
  auto& addresses = context_.addresses.v6();
  tests_.assign(addresses.size(), Test{});
  if (addresses.empty()) return;
  for (const LocalAddresses::V6& a : addresses) mld_.Join(a.address);
  speak_ = speak;
  if (speak) mld_.ReportJoins();
  // RFC 4862 section 5.4.2: hosts that start together must not ask together.
  const Instant first = context_.now + RandomBelow(kSolicitDelay);
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (settings_.dad_transmits == 0) {
      BecomePreferred(i);
    } else {
      addresses[i].state = AddressState::kTentative;
      tests_[i].next = first;
    }
  }
}

bool Ndp::Ready() const {
  const auto& addresses = context_.addresses.v6();
  return std::none_of(addresses.begin(), addresses.end(), [](const LocalAddresses::V6& a) {
    return a.state == AddressState::kTentative;
  });
}

Instant Ndp::NextDeadline() const {
  Instant next = next_router_solicit_;
  for (const Test& test : tests_) next = std::min(next, test.next);
  return next;
}

void Ndp::Advance() {
  for (size_t i = 0; i < tests_.size(); ++i)
    if (context_.now >= tests_[i].next) AdvanceTest(i);
  if (context_.now >= next_router_solicit_) SendRouterSolicitation();
}

void Ndp::AdvanceTest(size_t index) {
  if (tests_[index].sent >= settings_.dad_transmits) {
    BecomePreferred(index);
  } else {
    SendTest(index);
  }
}

void Ndp::SendTest(size_t index) {
  Test& test = tests_[index];
  test.next = context_.now + retrans_timer_;
  Icmpv6Draft draft;
  if (!BeginIcmpv6(context_, &draft)) return;  // asked again at the next turn
  ++test.sent;
  context_.random.Fill(test.nonce);
  const IpAddress target = context_.addresses.v6()[index].address;
  const IpAddress group = SolicitedNodeMulticast(target);
  size_t size = NeighborSolicitation{.target = target, .source_mac = {}}.Emit(draft.message);
  draft.message[size] = kNonceOption;
  draft.message[size + 1] = 1;
  std::copy(test.nonce.begin(), test.nonce.end(), draft.message + size + 2);
  size += 8;
  SendIcmpv6(context_, draft, size, {.src = {}, .dst = group, .hop_limit = kNdpHopLimit},
             MulticastMac(group));
}

void Ndp::BecomePreferred(size_t index) {
  LocalAddresses::V6& ours = context_.addresses.v6()[index];
  tests_[index].next = Instant::Never();
  ours.state = AddressState::kPreferred;
  context_.Tell(NetworkEvent::Kind::kAddressReady, ours.address);
  if (speak_) Announce(ours.address);
  if (!ours.address.is_link_local()) return;
  if (speak_) mld_.ReportJoins();  // RFC 3590: the first ones, from ::, were not believed
  if (!settings_.accept_ra || !speak_) return;
  router_solicits_left_ = kSolicits;
  next_router_solicit_ = context_.now + RandomBelow(kSolicitDelay);
}

// RFC 4861 section 7.2.6: who knew the address by another card learns of this one, as by ARP.
void Ndp::Announce(const IpAddress& address) {
  Icmpv6Draft draft;
  if (!BeginIcmpv6(context_, &draft)) return;
  const size_t size = Advertisement(address, false).Emit(draft.message);
  SendIcmpv6(context_, draft, size, {.src = address, .dst = kAllNodes, .hop_limit = kNdpHopLimit},
             MulticastMac(kAllNodes));
}

NeighborAdvertisement Ndp::Advertisement(const IpAddress& target, bool solicited) const {
  return {.target = target,
          .target_mac = context_.link.mac(),
          .router = false,
          .solicited = solicited,
          .override_entry = true};
}

void Ndp::BecomeDuplicate(size_t index, const MacAddress& owner) {
  LocalAddresses::V6& ours = context_.addresses.v6()[index];
  tests_[index].next = Instant::Never();
  ours.state = AddressState::kDuplicate;
  context_.Count(Counter::UsherNdConflicts);
  context_.Tell(NetworkEvent::Kind::kDuplicateAddress, ours.address, owner);
  mld_.Leave(ours.address);
}

void Ndp::SendRouterSolicitation() {
  next_router_solicit_ =
      --router_solicits_left_ > 0 ? context_.now + kSolicitInterval : Instant::Never();
  const IpAddress* source = context_.addresses.LinkLocal6();
  USHER_CHECK(source != nullptr);  // it is what starts the asking, and stays
  Icmpv6Draft draft;
  if (!BeginIcmpv6(context_, &draft)) return;
  const size_t size = RouterSolicitation{.source_mac = context_.link.mac()}.Emit(draft.message);
  SendIcmpv6(context_, draft, size, {.src = *source, .dst = kAllRouters, .hop_limit = kNdpHopLimit},
             MulticastMac(kAllRouters));
}

void Ndp::Solicit(const IpAddress& target, const MacAddress* link_address) {
  // Any usable address of ours will do; one of the same scope first (RFC 4861 section 7.2.2).
  const IpAddress* source = nullptr;
  for (const LocalAddresses::V6& a : context_.addresses.v6()) {
    if (a.state != AddressState::kPreferred) continue;
    if (source == nullptr || a.address.is_link_local() == target.is_link_local())
      source = &a.address;
  }
  Icmpv6Draft draft;
  if (source == nullptr || !BeginIcmpv6(context_, &draft)) return;
  const IpAddress to = link_address != nullptr ? target : SolicitedNodeMulticast(target);
  const size_t size =
      NeighborSolicitation{.target = target, .source_mac = context_.link.mac()}.Emit(draft.message);
  SendIcmpv6(context_, draft, size, {.src = *source, .dst = to, .hop_limit = kNdpHopLimit},
             link_address != nullptr ? *link_address : MulticastMac(to));
}

bool Ndp::Receive(const RxFrame& frame, const Ipv6View& ip, ByteSpan message) {
  switch (message[0]) {
    case Icmpv6Type::kNeighborSolicitation:
      context_.Count(Counter::Icmp6InNeighborSolicits);
      context_.Count(Counter::UsherNdInSolicits);
      return ReceiveSolicitation(frame, ip, message);
    case Icmpv6Type::kNeighborAdvertisement:
      context_.Count(Counter::Icmp6InNeighborAdvertisements);
      context_.Count(Counter::UsherNdInAdverts);
      ReceiveAdvertisement(frame, ip, message);
      return false;
    case Icmpv6Type::kRouterAdvertisement:
      context_.Count(Counter::Icmp6InRouterAdvertisements);
      if (settings_.accept_ra) ReceiveRouterAdvertisement(ip, message);
      return false;
    case Icmpv6Type::kRouterSolicitation:  // for routers
      context_.Count(Counter::Icmp6InRouterSolicits);
      return false;
    default:  // a redirect: whoever is on the link could send one, so it is not heeded
      context_.Count(Counter::Icmp6InRedirects);
      return false;
  }
}

bool Ndp::HasNonce(ByteSpan options, const Nonce& nonce) {
  while (!options.empty()) {
    const size_t size = size_t{options[1]} * 8;
    USHER_CHECK(size != 0 && size <= options.size());  // NeighborSolicitation::Parse saw to it
    if (options[0] == kNonceOption && size == 8 &&
        std::equal(nonce.begin(), nonce.end(), options.begin() + 2))
      return true;
    options = options.subspan(size);
  }
  return false;
}

bool Ndp::ReceiveSolicitation(const RxFrame& frame, const Ipv6View& ip, ByteSpan message) {
  const IpAddress src = ip.src();
  const IpAddress dst = ip.dst();
  const auto solicit = NeighborSolicitation::Parse(message, {src, dst, ip.hop_limit()});
  if (!solicit) {
    context_.Count(Counter::Icmp6InErrors);
    return false;
  }
  LocalAddresses::V6* ours = context_.addresses.Find6(solicit->target);
  if (ours == nullptr || ours->state == AddressState::kDuplicate) return false;
  if (ours->state == AddressState::kTentative) {
    const auto index = static_cast<size_t>(ours - context_.addresses.v6().data());
    // Somebody tests the same address; unless it is our own test, come back round a loop.
    if (src.is_unspecified() &&
        !HasNonce(message.subspan(NeighborSolicitation::kSize), tests_[index].nonce))
      BecomeDuplicate(index, LoadMac(frame.packet.data + 6));
    return false;
  }
  if (src.is_unspecified()) {
    Answer(frame, solicit->target, kAllNodes, MulticastMac(kAllNodes));
    return true;
  }
  MacAddress mac = LoadMac(frame.packet.data + 6);
  if (solicit->source_mac) {
    if (!IsHostMac(*solicit->source_mac)) return false;
    mac = *solicit->source_mac;
    if (routes_.IsOnLink(context_.now, src)) context_.neighbours.OnOffer(context_.now, src, mac);
  }
  Answer(frame, solicit->target, src, mac);
  return true;
}

void Ndp::Answer(const RxFrame& frame, const IpAddress& target, const IpAddress& to,
                 const MacAddress& mac) {
  const Icmpv6Draft draft = ReuseForIcmpv6(frame);
  const size_t size = Advertisement(target, !to.is_multicast()).Emit(draft.message);
  SendIcmpv6(context_, draft, size, {.src = target, .dst = to, .hop_limit = kNdpHopLimit}, mac);
}

void Ndp::ReceiveAdvertisement(const RxFrame& frame, const Ipv6View& ip, ByteSpan message) {
  const IpAddress src = ip.src();
  const IpAddress dst = ip.dst();
  const auto advert = NeighborAdvertisement::Parse(message, {src, dst, ip.hop_limit()});
  if (!advert) {
    context_.Count(Counter::Icmp6InErrors);
    return;
  }
  const MacAddress sender = LoadMac(frame.packet.data + 6);
  if (LocalAddresses::V6* ours = context_.addresses.Find6(advert->target)) {
    if (sender == context_.link.mac()) return;  // our own, come back
    if (ours->state == AddressState::kTentative) {
      BecomeDuplicate(static_cast<size_t>(ours - context_.addresses.v6().data()), sender);
    } else if (ours->state == AddressState::kPreferred) {
      // RFC 4862 section 5.4.4: too late for the test, but worth a line in the log.
      context_.Count(Counter::UsherNdConflicts);
      if (conflict_seen_ && context_.now - conflict_told_ < kConflictInterval) return;
      conflict_seen_ = true;
      conflict_told_ = context_.now;
      context_.Tell(NetworkEvent::Kind::kAddressConflict, advert->target, sender);
    }
    return;
  }
  if (advert->target_mac && !IsHostMac(*advert->target_mac)) return;
  context_.concerns_all = true;
  context_.neighbours.OnAdvert(context_.now, advert->target,
                               {.mac = advert->target_mac ? &*advert->target_mac : nullptr,
                                .solicited = advert->solicited,
                                .override_flag = advert->override_entry});
  // RFC 4861 section 7.2.5: a router that says it is none any more.
  if (!advert->router && routes_.ForgetRouter(advert->target)) {
    context_.neighbours.Unpin(context_.now, advert->target);
    if (speak_) context_.Tell(NetworkEvent::Kind::kRouterLost, advert->target);
  }
}

void Ndp::ReceiveRouterAdvertisement(const Ipv6View& ip, ByteSpan message) {
  const IpAddress src = ip.src();
  const IpAddress dst = ip.dst();
  const auto advert = RouterAdvertisement::Parse(message, {src, dst, ip.hop_limit()});
  if (!advert) {
    context_.Count(Counter::Icmp6InErrors);
    return;
  }
  context_.concerns_all = true;
  const auto& mac = advert->options.source_mac;
  if (mac && IsHostMac(*mac)) context_.neighbours.OnOffer(context_.now, src, *mac);
  HeedRouter(src, *advert);
  for (size_t i = 0; i < advert->options.prefix_count; ++i) {
    const NdpPrefix& p = advert->options.prefixes[i];
    if (p.on_link)
      routes_.LearnPrefix(context_.now, p.prefix, p.length, Duration::Seconds(p.valid_lifetime_s));
  }
  if (advert->hop_limit != 0) hop_limit_ = advert->hop_limit;
  // A forged advertisement must not be able to make us ask without pause, or believe for ever.
  if (advert->retransmit_ms != 0) {
    retrans_timer_ = Duration::Millis(std::clamp(advert->retransmit_ms, 100u, 60'000u));
    context_.neighbours.set_retrans_timer(retrans_timer_);
  }
  if (advert->reachable_ms != 0)
    context_.neighbours.set_base_reachable_time(
        Duration::Millis(std::clamp(advert->reachable_ms, 1'000u, 3'600'000u)));
  if (advert->options.mtu && *advert->options.mtu >= kMinMtu &&
      *advert->options.mtu <= context_.link.mtu())
    mtu_ = static_cast<uint16_t>(*advert->options.mtu);
}

void Ndp::HeedRouter(const IpAddress& router, const RouterAdvertisement& advert) {
  if (!settings_.accept_ra_defrtr) return;
  // RFC 4861 section 6.3.7: answered.
  if (advert.lifetime_s != 0) next_router_solicit_ = Instant::Never();
  if (!routes_.LearnRouter(context_.now, router, Duration::Seconds(advert.lifetime_s))) return;
  if (advert.lifetime_s != 0) {
    context_.neighbours.Pin(context_.now, router);
    if (speak_) context_.Tell(NetworkEvent::Kind::kRouterFound, router);
  } else {
    context_.neighbours.Unpin(context_.now, router);
    if (speak_) context_.Tell(NetworkEvent::Kind::kRouterLost, router);
  }
}

}  // namespace usher
