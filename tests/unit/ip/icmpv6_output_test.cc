#include "stack/ip/icmpv6_output.h"

#include <algorithm>

#include "stack/wire/mld.h"
#include "tests/unit/ip/context_fixture.h"

namespace usher::ip_test {
namespace {

using Icmpv6OutputTest = ContextTest;

constexpr MacAddress kPeerMac{{2, 0, 0, 0, 0, 2}};

TEST_F(Icmpv6OutputTest, HeadersAreWrittenAroundTheMessage) {
  Make();
  Icmpv6Draft draft;
  ASSERT_TRUE(BeginIcmpv6(*context_, &draft));
  std::fill_n(draft.message, 33, uint8_t{0});  // an odd size
  draft.message[0] = Icmpv6Type::kEchoReply;
  draft.message[32] = 0xab;
  SendIcmpv6(*context_, draft, 33, {.src = Ip("fe80::1"), .dst = Ip("fe80::2"), .hop_limit = 64},
             kPeerMac);
  const auto sent = Sent();
  ASSERT_EQ(sent.size(), 14u + 40 + 33);
  const auto ethernet = EthernetView::Parse(sent);
  EXPECT_EQ(ethernet->dst(), kPeerMac);
  EXPECT_EQ(ethernet->src(), port_->mac());
  EXPECT_EQ(ethernet->type(), EtherType::kIpv6);
  const auto ip = Ipv6View::Parse(ethernet->payload());
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->payload_length(), 33);
  EXPECT_EQ(ip->next_header(), IpProtocol::kIcmpv6);
  EXPECT_EQ(ip->hop_limit(), 64);
  EXPECT_TRUE(Icmpv6View::Parse(ip->payload())->VerifyChecksum(Ip("fe80::1"), Ip("fe80::2")));
  EXPECT_EQ(Count(Counter::Icmp6OutEchoReplies), 1u);
  EXPECT_EQ(Count(Counter::Ip6OutTransmits), 1u);
  EXPECT_EQ(Count(Counter::Ip6OutMcastPkts), 0u);
}

TEST_F(Icmpv6OutputTest, ExtensionHeaderBeforeTheMessageIsHopByHop) {
  Make(64, 9);
  Icmpv6Draft draft;
  ASSERT_TRUE(BeginIcmpv6(*context_, &draft, 8));
  EXPECT_EQ(draft.message, draft.l3 + 40 + 8);
  MldHopByHop::Emit(draft.message - 8);
  std::fill_n(draft.message, 8, uint8_t{0});
  draft.message[0] = Icmpv6Type::kMldv2Report;
  SendIcmpv6(*context_, draft, 8, {.src = {}, .dst = Ip("ff02::16"), .hop_limit = 1},
             MulticastMac(Ip("ff02::16")));
  const auto sent = Sent();
  ASSERT_EQ(sent.size(), 18u + 40 + 8 + 8) << "the tag is there";
  EXPECT_EQ(EthernetView::Parse(sent)->vlan_id(), 9);
  const auto ip = Ipv6View::Parse({sent.data() + 18, sent.size() - 18});
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->next_header(), IpProtocol::kHopByHop);
  const auto walk = Ipv6Extensions::Walk(*ip);
  EXPECT_EQ(walk.protocol, IpProtocol::kIcmpv6);
  EXPECT_TRUE(walk.router_alert);
  EXPECT_EQ(Count(Counter::Ip6OutMcastPkts), 1u);
}

TEST_F(Icmpv6OutputTest, BuffersComeFromTheReserveThenNotAtAll) {
  limits_.control_reserve = 1;
  Make(8);
  std::vector<Icmpv6Draft> drafts;
  Icmpv6Draft draft;
  while (BeginIcmpv6(*context_, &draft)) drafts.push_back(draft);
  EXPECT_EQ(drafts.size(), 8u) << "all, the reserve included";
  EXPECT_EQ(Count(Counter::UsherNoBuffer), 1u);
  for (const Icmpv6Draft& d : drafts) link_->Free(d.packet.handle);
}

TEST_F(Icmpv6OutputTest, FrameOfTheAskerIsUsedForTheAnswer) {
  Make();
  Packet packet;
  ASSERT_TRUE(link_->Allocate(&packet));
  packet.length = 14 + 40 + 32;
  const RxFrame frame{packet, packet.data + 14, 72, false};
  const Icmpv6Draft draft = ReuseForIcmpv6(frame);
  EXPECT_EQ(draft.packet.handle, packet.handle);
  EXPECT_EQ(draft.l3, packet.data + 14);
  EXPECT_EQ(draft.message, packet.data + 54);
  EXPECT_EQ(draft.before, 0);
  link_->Free(packet.handle);
}

TEST_F(Icmpv6OutputTest, EveryTypeWeSendHasItsCounter) {
  Make();
  const struct {
    uint8_t type;
    Counter counter;
  } kTypes[] = {{1, Counter::Icmp6OutDestUnreachs},
                {3, Counter::Icmp6OutTimeExcds},
                {4, Counter::Icmp6OutParmProblems},
                {129, Counter::Icmp6OutEchoReplies},
                {131, Counter::Icmp6OutGroupMembResponses},
                {133, Counter::Icmp6OutRouterSolicits},
                {135, Counter::Icmp6OutNeighborSolicits},
                {135, Counter::UsherNdOutSolicits},
                {136, Counter::Icmp6OutNeighborAdvertisements},
                {136, Counter::UsherNdOutAdverts},
                {143, Counter::Icmp6OutMLDv2Reports}};
  uint64_t messages = 0;
  for (const auto& t : kTypes) {
    const uint64_t before = Count(t.counter);
    CountIcmpv6Out(*context_, t.type);
    EXPECT_EQ(Count(t.counter), before + 1) << int{t.type};
    EXPECT_EQ(Count(Counter::Icmp6OutMsgs), ++messages);
  }
  // One without a counter of its own counts as a message and as nothing else.
  uint64_t before = 0, after = 0;
  for (const auto& t : kTypes) before += Count(t.counter);
  CountIcmpv6Out(*context_, 200);
  for (const auto& t : kTypes) after += Count(t.counter);
  EXPECT_EQ(after, before);
  EXPECT_EQ(Count(Counter::Icmp6OutMsgs), ++messages);
}

}  // namespace
}  // namespace usher::ip_test
