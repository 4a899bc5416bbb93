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
                             .payload_sum = 0});
  egress_->Flush();
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 54u);
  EXPECT_EQ(EthernetView::Parse(sent)->dst(), kPeerMac);
  EXPECT_EQ(EthernetView::Parse(sent)->src(), kOurMac);
  EXPECT_TRUE(TcpChecksumGood(sent, 14, local_, peer_));
  EXPECT_EQ(port_->sent_count(), 0u);
}

}  // namespace
}  // namespace usher::ip_test
