#include "stack/ip/egress.h"

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

bool TcpChecksumGood(const Bytes& frame, size_t link_size, const IpAddress& src,
                     const IpAddress& dst) {
  const size_t at = link_size + (src.is_v4() ? 20 : 40);
  const ByteSpan segment(frame.data() + at, frame.size() - at);
  return checksum::IsIntact(checksum::Sum(
      segment,
      checksum::PseudoHeader(src, dst, IpProtocol::kTcp, static_cast<uint32_t>(segment.size()))));
}

class EgressTest : public IpTest {
 protected:
  const IpAddress local_ = Ip("198.18.0.2");
  const IpAddress peer_ = Ip("198.18.0.1");
};

TEST_F(EgressTest, FirstPacketWaitsForArpThenGoesOut) {
  Make();
  SendTcp(local_, peer_, Pattern(5));
  const Bytes request = Sent();
  ASSERT_EQ(request.size(), 42u);
  const auto arp = ArpPacket::Parse({request.data() + 14, 28});
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->operation, ArpOperation::kRequest);
  EXPECT_EQ(arp->target_ip, peer_);
  EXPECT_EQ(arp->sender_ip, local_);
  EXPECT_EQ(port_->sent_count(), 0u);

  Give(ArpReply(peer_, kPeerMac));
  const Bytes frame = Sent();
  ASSERT_EQ(frame.size(), 14u + 20 + 20 + 5);
  const auto ethernet = EthernetView::Parse(frame);
  EXPECT_EQ(ethernet->dst(), kPeerMac);
  EXPECT_EQ(ethernet->src(), kOurMac);
  const auto ip = Ipv4View::Parse(ethernet->payload());
  ASSERT_TRUE(ip);
  EXPECT_TRUE(ip->VerifyChecksum());
  EXPECT_TRUE(ip->dont_fragment());
  EXPECT_EQ(ip->src(), local_);
  EXPECT_EQ(ip->dst(), peer_);
  EXPECT_TRUE(TcpChecksumGood(frame, 14, local_, peer_));
}

TEST_F(EgressTest, AnswerTurnsTheSegmentRoundInItsOwnBuffer) {
  Make();
  Bytes segment(20);
  WriteTcp(segment.data(), {});
  Give(FromPeer4(Ipv4({.src = peer_, .dst = local_}, segment)));
  ASSERT_EQ(in_.tcp_count, 1u);
  EXPECT_EQ(in_.tcp[0].source, peer_);
  EXPECT_EQ(in_.tcp[0].destination, local_);
  EXPECT_EQ(in_.tcp[0].l4_length, 20u);
  const uint32_t before = pool_->available();
  TxFrame frame;
  ASSERT_TRUE(egress_->BeginReply(in_.tcp[0], &frame));
  EXPECT_EQ(in_.tcp[0].packet.handle, nullptr);
  EXPECT_EQ(pool_->available(), before) << "an answer in place takes no buffer";
  WriteTcp(frame.l4, {});
  egress_->CommitTcp(frame, {.local = local_,
                             .remote = peer_,
                             .header_length = 20,
                             .payload_length = 0,
                             .payload_sum = 0,
                             .header_sum = checksum::Sum({frame.l4, 20})});
  egress_->Flush();
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 54u);
  EXPECT_EQ(EthernetView::Parse(sent)->dst(), kPeerMac);
  EXPECT_EQ(EthernetView::Parse(sent)->src(), kOurMac);
  EXPECT_TRUE(TcpChecksumGood(sent, 14, local_, peer_));
  EXPECT_EQ(port_->sent_count(), 0u);
}

TEST_F(EgressTest, RouteMtuIsThatOfTheWayIfThereIsOne) {
  config_.mtu = 1400;
  Make();
  EXPECT_EQ(egress_->RouteMtu(local_, peer_), 1400);
  EXPECT_EQ(egress_->RouteMtu(local_, Ip("203.0.113.1")), 0);
}

TEST_F(EgressTest, RouteMtuThroughAGatewayIsForAll) {
  config_.mtu = 1400;
  config_.gateway = peer_;
  Make();
  EXPECT_EQ(egress_->RouteMtu(local_, peer_), 1400);
  EXPECT_EQ(egress_->RouteMtu(local_, Ip("203.0.113.1")), 1400);
  EXPECT_EQ(egress_->RouteMtu(local_, Ip("2001:db8::1")), 0);
}

TEST_F(EgressTest, HeaderFieldsAreTheTransports) {
  Make();
  interface_->SetPermanentNeighbour(now_, peer_, kPeerMac);
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, peer_, &path));
  egress_->set_default_ttl(77);
  for (int tos = 0; tos < 256; ++tos) {
    TxFrame frame;
    ASSERT_TRUE(egress_->Begin(path, Family::kIpv4, &frame));
    WriteTcp(frame.l4, Pattern(static_cast<size_t>(tos)));
    egress_->CommitTcp(frame, {.local = local_,
                               .remote = peer_,
                               .header_length = 20,
                               .payload_length = static_cast<uint16_t>(tos),
                               .payload_sum = checksum::Sum(Pattern(static_cast<size_t>(tos))),
                               .tos = static_cast<uint8_t>(tos),
                               .hop_limit = static_cast<uint8_t>(255 - tos)});
    egress_->Flush();
    const Bytes sent = Sent();
    const auto ip = Ipv4View::Parse(ByteSpan(sent).subspan(14));
    ASSERT_TRUE(ip);
    EXPECT_TRUE(ip->VerifyChecksum()) << tos;
    EXPECT_EQ(ip->dscp_ecn(), tos);
    EXPECT_EQ(ip->ttl(), tos == 255 ? 77 : 255 - tos);  // 0 is the default
    EXPECT_EQ(ip->protocol(), IpProtocol::kTcp);
    EXPECT_TRUE(TcpChecksumGood(sent, 14, local_, peer_)) << tos;
  }
}

TEST_F(EgressTest, PortThatSumsFindsThePseudoHeader) {
  capabilities_.tx_flags = kTxTcpChecksum;
  Make();
  interface_->SetPermanentNeighbour(now_, peer_, kPeerMac);
  SendTcp(local_, peer_, Pattern(5));
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 59u);
  const uint32_t pseudo = checksum::PseudoHeader(local_, peer_, IpProtocol::kTcp, 25);
  EXPECT_EQ(LoadRaw<uint16_t>(&sent[34 + 16]), checksum::Fold(pseudo));
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, peer_, &path));
  EXPECT_TRUE(egress_->checksums_by_port(path));
}

TEST_F(EgressTest, LongestPrefixThenGatewayThenNoRoute) {
  config_.gateway = Ip("198.18.0.254");
  Make();
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, Ip("198.19.1.1"), &path));
  EXPECT_TRUE(path.valid);
  EXPECT_EQ(path.mtu, 1500);
  EXPECT_EQ(path.neighbour, interface_->neighbours().Find(Ip("198.19.1.1")));
  ASSERT_TRUE(egress_->FindPath(local_, Ip("8.8.8.8"), &path));
  EXPECT_EQ(path.neighbour, interface_->neighbours().Find(Ip("198.18.0.254")));
  for (const char* nowhere :
       {"198.18.0.2", "224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "2001:db8::1"}) {
    EXPECT_FALSE(egress_->FindPath(local_, Ip(nowhere), &path)) << nowhere;
    EXPECT_FALSE(path.valid);
  }
}

TEST_F(EgressTest, SourceAddresses) {
  config_.addresses.push_back({Ip("10.0.0.2"), 24});
  config_.addresses.push_back({Ip("2001:2::2"), 48});
  config_.addresses.push_back({Ip("2001:db8::2"), 64});
  config_.gateway = Ip("198.18.0.1");
  config_.gateway6 = Ip("2001:2::1");
  config_.dad_transmits = 0;
  Make();
  const std::pair<const char*, const char*> cases[] = {
      {"198.18.9.9", "198.18.0.2"},  {"10.0.0.9", "10.0.0.2"},       {"8.8.8.8", "198.18.0.2"},
      {"2001:2::9", "2001:2::2"},    {"2001:db8::9", "2001:db8::2"}, {"2600::1", "2001:2::2"},
      {"fe80::9", "fe80::ff:fe00:1"}};
  for (const auto& [remote, expected] : cases) {
    IpAddress source;
    ASSERT_TRUE(egress_->FindSource(Ip(remote), &source)) << remote;
    EXPECT_EQ(source, Ip(expected)) << remote;
  }
}

TEST_F(EgressTest, PathOutlivesItsNeighbour) {
  limits_.neighbours_resolving = 1;
  Make();
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, peer_, &path));
  Path other;
  ASSERT_TRUE(egress_->FindPath(local_, Ip("198.18.0.9"), &other));
  ASSERT_FALSE(interface_->neighbours().IsCurrent(path.neighbour));
  SendTcpAlong(path, local_, peer_);
  EXPECT_EQ(ArpPacket::Parse(ByteSpan(Sent()).subspan(14))->target_ip, peer_);
  Give(ArpReply(peer_, kPeerMac));
  EXPECT_EQ(Sent().size(), 54u);
}

TEST_F(EgressTest, WhatThePortDoesNotTakeWaitsUpToABound) {
  limits_.tx_backlog = 64;
  Make();
  interface_->SetPermanentNeighbour(now_, peer_, kPeerMac);
  port_->set_tx_room(10);
  for (uint8_t i = 0; i < 100; ++i) SendTcp(local_, peer_, Bytes{i});
  EXPECT_EQ(port_->sent_count(), 10u);
  EXPECT_EQ(interface_->link().backlog(), 64u);
  EXPECT_EQ(Count(Counter::UsherTxDropped), 26u);
  port_->set_tx_room(UINT32_MAX);
  egress_->Flush();
  ASSERT_EQ(port_->sent_count(), 74u);
  for (uint8_t i = 0; i < 74; ++i) EXPECT_EQ(Sent().back(), i) << "in order";
  EXPECT_EQ(Count(Counter::UsherTxPackets), 75u) << "and one announcement";
}

TEST_F(EgressTest, ControlDrawsOnTheReserve) {
  pool_size_ = 64;
  limits_.control_reserve = 4;
  Make();
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, peer_, &path));
  std::vector<TxFrame> frames;
  TxFrame frame;
  while (egress_->Begin(path, Family::kIpv4, &frame)) frames.push_back(frame);
  EXPECT_EQ(Count(Counter::UsherNoBuffer), 1u);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(egress_->Begin(path, Family::kIpv4, &frame, /*control=*/true)) << i;
    frames.push_back(frame);
  }
  EXPECT_FALSE(egress_->Begin(path, Family::kIpv4, &frame, /*control=*/true));
  for (TxFrame& f : frames) egress_->Cancel(f);
  interface_->Advance(now_);
  EXPECT_EQ(pool_->available(), 60u) << "the reserve is filled again";
}

TEST_F(EgressTest, LongerThanTheMtuIsDropped) {
  Make();
  interface_->SetPermanentNeighbour(now_, peer_, kPeerMac);
  SendTcp(local_, peer_, Pattern(1460));
  EXPECT_EQ(Sent().size(), 1514u);
  SendTcp(local_, peer_, Pattern(1461));
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(Count(Counter::IpFragFails), 1u);
}

TEST_F(EgressTest, PacketsLeaveByTheInterfaceThatHasTheirSource) {
  config_.gateway = Ip("198.18.0.1");
  Make();
  HeapPool pool(64);
  MemoryPort port(pool, Mac(8));
  InterfaceConfig config;
  config.addresses = {{Ip("10.1.0.2"), 16}};
  config.gateway = Ip("10.1.0.1");
  auto second = Interface::Create(1, port, config, limits_, counters_, random_);
  ASSERT_TRUE(second.ok());
  egress_->AddInterface(second->get());
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, Ip("8.8.8.8"), &path));
  EXPECT_EQ(path.interface, 0);
  ASSERT_TRUE(egress_->FindPath(Ip("10.1.0.2"), Ip("8.8.8.8"), &path));
  EXPECT_EQ(path.interface, 1);
  IpAddress source;
  ASSERT_TRUE(egress_->FindSource(Ip("10.1.5.5"), &source));
  EXPECT_EQ(source, Ip("10.1.0.2"));
  EXPECT_TRUE(egress_->IsLocal(Ip("10.1.0.2")));
  EXPECT_FALSE(egress_->IsOurBroadcast(Ip("10.1.0.2")));
  EXPECT_TRUE(egress_->IsOurBroadcast(Ip("255.255.255.255")));
  EXPECT_TRUE(egress_->IsOurBroadcast(Ip("10.1.255.255")));
  EXPECT_TRUE(egress_->IsOurBroadcast(Ip("198.19.255.255")));
  EXPECT_FALSE(egress_->IsOurBroadcast(Ip("10.2.255.255")));
  EXPECT_FALSE(egress_->IsOurBroadcast(Ip("ff02::1")));
}

TEST_F(EgressTest, ProgressConfirmsTheNeighbour) {
  Make();
  Give(ArpRequest(peer_, kPeerMac, local_));
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, peer_, &path));
  SendTcpAlong(path, local_, peer_);
  EXPECT_EQ(interface_->neighbours().StateOf(now_, peer_), NeighbourState::kDelay);
  egress_->ConfirmReachable(path);
  EXPECT_EQ(interface_->neighbours().StateOf(now_, peer_), NeighbourState::kReachable);
}

TEST_F(EgressTest, RouteMtuOnlyLooks) {
  config_.addresses.push_back({Ip("2001:2::2"), 48});
  config_.dad_transmits = 0;
  Make();
  EXPECT_EQ(egress_->RouteMtu(local_, peer_), 1500);
  EXPECT_EQ(egress_->RouteMtu(Ip("2001:2::2"), Ip("2001:2::9")), 1500);
  EXPECT_EQ(egress_->RouteMtu(local_, Ip("8.8.8.8")), 0);
  EXPECT_EQ(interface_->neighbours().size(), 0u);
}

// RFC 9293 MUST-46: many hosts are no peer.
TEST_F(EgressTest, NoPathToTheSubnetsBroadcast) {
  Make();
  Path path;
  EXPECT_FALSE(egress_->FindPath(local_, Ip("198.19.255.255"), &path));
  EXPECT_FALSE(egress_->FindPath(local_, Ip("198.18.0.0"), &path));
  EXPECT_EQ(egress_->RouteMtu(local_, Ip("198.19.255.255")), 0);
}

TEST_F(EgressTest, NoSourceWhileAddressesAreTested) {
  config_.addresses = {{Ip("2001:2::2"), 48}};
  Make();
  IpAddress source;
  EXPECT_FALSE(egress_->FindSource(Ip("2001:2::9"), &source));
  EXPECT_FALSE(egress_->FindSource(peer_, &source)) << "no route";
  EXPECT_FALSE(interface_->ChooseSource(peer_, &source)) << "no address of that family";
  Pass(Duration::Seconds(5));
  ASSERT_TRUE(egress_->FindSource(Ip("2001:2::9"), &source));
  EXPECT_EQ(source, Ip("2001:2::2"));
  DropSent();
}

TEST_F(EgressTest, SourceOfTheLongestPrefixOfAllInterfaces) {
  config_.gateway = Ip("198.18.0.1");
  Make();
  HeapPool pool(64);
  MemoryPort port(pool, Mac(8));
  InterfaceConfig config;
  config.addresses = {{Ip("198.18.7.2"), 24}};
  config.gateway = Ip("198.18.7.1");
  auto second = Interface::Create(1, port, config, limits_, counters_, random_);
  ASSERT_TRUE(second.ok());
  egress_->AddInterface(second->get());
  IpAddress source;
  ASSERT_TRUE(egress_->FindSource(Ip("198.18.7.9"), &source));
  EXPECT_EQ(source, Ip("198.18.7.2"));
  ASSERT_TRUE(egress_->FindSource(Ip("8.8.8.8"), &source));
  EXPECT_EQ(source, local_) << "of equals the first";
}

TEST_F(EgressTest, Ipv6HeaderFieldsAndMtu) {
  const IpAddress local = Ip("2001:2::2"), peer = Ip("2001:2::1");
  config_.addresses = {{local, 48}};
  config_.dad_transmits = 0;
  Make();
  interface_->SetPermanentNeighbour(now_, peer, kPeerMac);
  Path path;
  ASSERT_TRUE(egress_->FindPath(local, peer, &path));
  for (const int limit : {0, 7}) {
    TxFrame frame;
    ASSERT_TRUE(egress_->Begin(path, Family::kIpv6, &frame));
    WriteTcp(frame.l4, {});
    egress_->CommitTcp(frame, {.local = local,
                               .remote = peer,
                               .header_length = 20,
                               .payload_length = 0,
                               .payload_sum = 0,
                               .tos = 0xb9,
                               .hop_limit = static_cast<uint8_t>(limit)});
    egress_->Flush();
    const Bytes sent = Sent();
    const auto ip = Ipv6View::Parse(ByteSpan(sent).subspan(14));
    ASSERT_TRUE(ip);
    EXPECT_EQ(ip->hop_limit(), limit == 0 ? 64 : limit);
    EXPECT_EQ(ip->traffic_class(), 0xb9);
  }
  SendTcpAlong(path, local, peer, Pattern(1440));
  EXPECT_EQ(Sent().size(), 1514u);
  SendTcpAlong(path, local, peer, Pattern(1441));
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(Count(Counter::Ip6FragFails), 1u);
}

// The neighbour was evicted, and meanwhile there is no way to the peer any more.
TEST_F(EgressTest, PacketWithoutARouteAnyMoreIsDropped) {
  limits_.neighbours_resolving = 1;
  Make();
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, peer_, &path));
  Path other;
  ASSERT_TRUE(egress_->FindPath(local_, Ip("198.18.0.9"), &other));
  interface_->AddHostAddress(peer_);  // the peer's address has become ours
  SendTcpAlong(path, local_, peer_);
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(Count(Counter::IpOutNoRoutes), 1u);
}

TEST_F(EgressTest, Ipv6PacketWithoutARouterAnyMoreIsDropped) {
  const IpAddress local = Ip("2001:2::2"), far = Ip("2600::1");
  config_.addresses = {{local, 48}};
  config_.dad_transmits = 0;
  limits_.neighbours_resolving = 1;
  Make();
  // A router with a lifetime of `seconds`, whose link address nobody has told.
  const auto advertise = [&](uint16_t seconds) {
    Bytes message(16);
    message[0] = Icmpv6Type::kRouterAdvertisement;
    Store16(&message[6], seconds);
    FillIcmpv6Checksum(message.data(), message.size(), Ip("fe80::9"), Ip("ff02::1"));
    Give(Ethernet(MulticastMac(Ip("ff02::1")), Mac(9), EtherType::kIpv6,
                  Ipv6({.src = Ip("fe80::9"),
                        .dst = Ip("ff02::1"),
                        .next_header = IpProtocol::kIcmpv6,
                        .hop_limit = 255},
                       message)));
  };
  advertise(1800);
  Path path;
  ASSERT_TRUE(egress_->FindPath(local, far, &path));
  advertise(0);
  EXPECT_FALSE(egress_->FindPath(local, far, &path));
  path.valid = true;
  Path other;
  ASSERT_TRUE(egress_->FindPath(local, Ip("2001:2::9"), &other));
  ASSERT_FALSE(interface_->neighbours().IsCurrent(path.neighbour));
  DropSent();
  SendTcpAlong(path, local, far);
  EXPECT_EQ(port_->sent_count(), 0u);
  EXPECT_EQ(Count(Counter::Ip6OutNoRoutes), 1u);
}

// A large segment takes more buffers, or none.
TEST_F(EgressTest, ExtendAddsBuffersUntilThereIsRoom) {
  pool_size_ = 64;
  limits_.control_reserve = 0;
  Make();
  interface_->SetPermanentNeighbour(now_, peer_, kPeerMac);
  Path path;
  ASSERT_TRUE(egress_->FindPath(local_, peer_, &path));
  EXPECT_EQ(egress_->tso_bytes(path), 0);
  TxFrame frame;
  ASSERT_TRUE(egress_->Begin(path, Family::kIpv4, &frame));
  const uint32_t before = pool_->available();
  ASSERT_TRUE(egress_->Extend(frame, frame.room));
  EXPECT_EQ(pool_->available(), before) << "it fits";
  ASSERT_TRUE(egress_->Extend(frame, frame.room + 2 * kBufferRoom + 1));
  EXPECT_EQ(pool_->available(), before - 3);
  uint32_t bytes = 0;
  for (BufferHeader* h = HeaderOf(frame.packet.handle); h != nullptr; h = h->next)
    bytes += h->payload_length;
  EXPECT_EQ(bytes, 34 + frame.room + 2 * kBufferRoom + 1);
  pool_->Free(TxPacket{.data = frame.packet.data, .handle = frame.packet.handle, .tso_mss = 1460});
  EXPECT_EQ(pool_->available(), before + 1);

  ASSERT_TRUE(egress_->Begin(path, Family::kIpv4, &frame));
  std::vector<void*> held;
  Packet packet;
  while (pool_->available() > 2 && pool_->Allocate(&packet)) held.push_back(packet.handle);
  EXPECT_FALSE(egress_->Extend(frame, frame.room + 2 * kBufferRoom + 1));
  EXPECT_EQ(pool_->available(), 2u) << "what was added is given back";
  EXPECT_EQ(HeaderOf(frame.packet.handle)->next, nullptr);
  egress_->Cancel(frame);
  for (void* handle : held) pool_->Free(handle);
}

}  // namespace
}  // namespace usher::ip_test
