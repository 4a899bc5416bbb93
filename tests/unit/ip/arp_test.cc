#include "stack/ip/arp.h"

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

class ArpTest : public IpTest {};

TEST_F(ArpTest, RequestIsAnsweredInPlace) {
  Make();
  Give(ArpRequest(Ip("198.18.0.1"), kPeerMac, Ip("198.18.0.2")));
  const Bytes sent = Sent();
  ASSERT_EQ(sent.size(), 42u);
  EXPECT_EQ(EthernetView::Parse(sent)->dst(), kPeerMac);
  EXPECT_EQ(EthernetView::Parse(sent)->src(), kOurMac);
  const auto arp = ArpPacket::Parse({sent.data() + 14, 28});
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->operation, ArpOperation::kReply);
  EXPECT_EQ(arp->sender_mac, kOurMac);
  EXPECT_EQ(arp->sender_ip, Ip("198.18.0.2"));
  EXPECT_EQ(arp->target_mac, kPeerMac);
  EXPECT_EQ(arp->target_ip, Ip("198.18.0.1"));
}

}  // namespace
}  // namespace usher::ip_test
