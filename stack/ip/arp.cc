#include "stack/ip/arp.h"

#include "stack/base/check.h"

namespace usher {

void Arp::Start() {
  if (context_.addresses.v4().empty()) return;
  announcements_left_ = kAnnouncements;
  AnnounceAll();
}

void Arp::Advance() {
  if (context_.now >= next_announcement_) AnnounceAll();
}

void Arp::AnnounceAll() {
  for (const LocalAddresses::V4& ours : context_.addresses.v4()) Announce(ours.ip);
  --announcements_left_;
  next_announcement_ =
      announcements_left_ > 0 ? context_.now + kAnnounceInterval : Instant::Never();
}

void Arp::Announce(const IpAddress& address) {
  context_.Count(Counter::UsherArpOutRequests);
  Send({.operation = ArpOperation::kRequest,
        .sender_mac = context_.link.mac(),
        .sender_ip = address,
        .target_mac = {},
        .target_ip = address},
       MacAddress::Broadcast());
}

void Arp::Solicit(const IpAddress& target, const MacAddress* link_address) {
  const LocalAddresses::V4* ours = context_.addresses.OnLink4(target.v4());
  USHER_CHECK(ours != nullptr);  // there is no other route to a next hop (routes.h)
  context_.Count(Counter::UsherArpOutRequests);
  Send({.operation = ArpOperation::kRequest,
        .sender_mac = context_.link.mac(),
        .sender_ip = ours->ip,
        .target_mac = {},
        .target_ip = target},
       link_address != nullptr ? *link_address : MacAddress::Broadcast());
}

void Arp::Send(const ArpPacket& arp, const MacAddress& dst) {
  Packet packet;
  if (!context_.link.AllocateControl(&packet)) return;
  context_.link.WriteHeader(packet.data, dst, EtherType::kArp);
  const size_t size =
      context_.link.header_size() + arp.Emit(packet.data + context_.link.header_size());
  context_.link.Send(
      {.data = packet.data, .handle = packet.handle, .length = static_cast<uint16_t>(size)});
}

bool Arp::Receive(const RxFrame& frame) {
  const auto arp = ArpPacket::Parse({frame.l3, frame.l3_room});
  if (!arp) {
    context_.Count(Counter::UsherLinkBadLength);
    return false;
  }
  // Nobody's link address is a group (RFC 1812 section 3.3.2).
  if (arp->sender_mac.is_multicast() || arp->sender_mac.is_zero()) return false;
  const bool is_request = arp->operation == ArpOperation::kRequest;
  const bool is_reply = arp->operation == ArpOperation::kReply;
  if (is_request) context_.Count(Counter::UsherArpInRequests);
  if (is_reply) context_.Count(Counter::UsherArpInReplies);

  if (LocalAddresses::V4* ours = context_.addresses.Find4(arp->sender_ip.v4())) {
    if (arp->sender_mac != context_.link.mac()) OnConflict(*ours, *arp);
    return false;
  }
  if (arp->sender_ip.is_multicast() || arp->sender_ip.is_broadcast() ||
      arp->sender_ip.is_loopback())
    return false;
  if (is_request) return ReceiveRequest(frame, *arp);
  if (is_reply) ReceiveReply(*arp);
  return false;
}

bool Arp::ReceiveRequest(const RxFrame& frame, const ArpPacket& arp) {
  NeighbourCache& neighbours = context_.neighbours;
  const bool on_link = context_.addresses.OnLink4(arp.sender_ip.v4()) != nullptr;
  if (!context_.addresses.Has4(arp.target_ip.v4())) {
    if (arp.sender_ip == arp.target_ip) {
      context_.concerns_all = true;
      neighbours.OnHint(context_.now, arp.sender_ip, arp.sender_mac);
    }
    return false;
  }
  // 0.0.0.0 is a probe (RFC 5227 section 2.1.1): answered, but there is nothing to learn.
  if (on_link && !arp.sender_ip.is_unspecified())
    neighbours.OnOffer(context_.now, arp.sender_ip, arp.sender_mac);

  const ArpPacket reply{.operation = ArpOperation::kReply,
                        .sender_mac = context_.link.mac(),
                        .sender_ip = arp.target_ip,
                        .target_mac = arp.sender_mac,
                        .target_ip = arp.sender_ip};
  context_.link.TurnRound(frame.packet.data);
  reply.Emit(frame.l3);
  const auto length = static_cast<uint16_t>(frame.l3 - frame.packet.data + ArpPacket::kSize);
  context_.link.Send({.data = frame.packet.data, .handle = frame.packet.handle, .length = length});
  context_.Count(Counter::UsherArpOutReplies);
  return true;
}

void Arp::ReceiveReply(const ArpPacket& arp) {
  context_.concerns_all = true;
  NeighbourCache& neighbours = context_.neighbours;
  const NeighbourState state = neighbours.StateOf(context_.now, arp.sender_ip);
  const bool asked = state == NeighbourState::kIncomplete || state == NeighbourState::kProbe;
  if (asked && context_.addresses.Has4(arp.target_ip.v4())) {
    neighbours.OnAdvert(context_.now, arp.sender_ip,
                        {.mac = &arp.sender_mac, .solicited = true, .override_flag = true});
  } else {
    neighbours.OnHint(context_.now, arp.sender_ip, arp.sender_mac);
  }
}

void Arp::OnConflict(LocalAddresses::V4& ours, const ArpPacket& arp) {
  context_.Count(Counter::UsherArpConflicts);
  // RFC 5227 section 2.4(c): a server keeps its address, says so, and does not fight: one
  // announcement per DEFEND_INTERVAL.
  if (ours.conflict && context_.now - ours.defended < kDefendInterval) return;
  ours.conflict = true;
  ours.defended = context_.now;
  context_.Tell(NetworkEvent::Kind::kAddressConflict, ours.ip, arp.sender_mac);
  Announce(ours.ip);
}

}  // namespace usher
