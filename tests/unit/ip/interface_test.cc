#include "stack/ip/interface.h"

#include <gmock/gmock.h>

#include "tests/unit/ip/ip_fixture.h"

namespace usher::ip_test {
namespace {

class InterfaceTest : public IpTest {
 protected:
  std::string Refusal() {
    HeapPool pool(64);
    MemoryPort port(pool, kOurMac);
    return Interface::Create(0, port, config_, limits_, counters_, random_).status().ToString();
  }
};

TEST_F(InterfaceTest, BadConfigurationIsRefusedWithItsReason) {
  using ::testing::HasSubstr;
  config_.addresses = {{Ip("198.18.0.2"), 33}};
  EXPECT_THAT(Refusal(), HasSubstr("prefix length must be 1 to 32"));
  config_.addresses = {{Ip("198.18.0.2"), 0}};
  EXPECT_THAT(Refusal(), HasSubstr("prefix length"));
  config_.addresses = {{Ip("224.0.0.1"), 24}};
  EXPECT_THAT(Refusal(), HasSubstr("cannot be a host's"));
  config_.addresses = {{Ip("198.19.255.255"), 15}};
  EXPECT_THAT(Refusal(), HasSubstr("broadcast"));
  config_.addresses = {{Ip("198.18.0.2"), 15}};
  config_.gateway = Ip("10.0.0.1");
  EXPECT_THAT(Refusal(), HasSubstr("on none of the interface's prefixes"));
  config_.gateway = Ip("198.18.0.2");
  EXPECT_THAT(Refusal(), HasSubstr("our own"));
  config_.gateway = Ip("2001:2::1");
  EXPECT_THAT(Refusal(), HasSubstr("other family"));
  config_.gateway.reset();
  config_.mtu = 500;
  EXPECT_THAT(Refusal(), HasSubstr("mtu 500"));
  config_.mtu = 1500;
  config_.vlan = 4095;
  EXPECT_THAT(Refusal(), HasSubstr("vlan 4095"));
  config_.vlan = 0;
  EXPECT_EQ(Refusal(), "OK");
  for (const char* nobody : {"0.0.0.0", "127.0.0.1", "255.255.255.255"}) {
    config_.addresses = {{Ip(nobody), 24}};
    EXPECT_THAT(Refusal(), HasSubstr("cannot be a host's")) << nobody;
  }
  for (const char* nobody : {"::", "::1", "ff02::1"}) {
    config_.addresses = {{Ip(nobody), 64}};
    EXPECT_THAT(Refusal(), HasSubstr("cannot be a host's")) << nobody;
  }
  config_.addresses = {{Ip("198.18.0.0"), 15}};
  EXPECT_THAT(Refusal(), HasSubstr("names its network"));
  config_.addresses = {{Ip("198.18.0.0"), 31}};  // RFC 3021: both are hosts
  EXPECT_EQ(Refusal(), "OK");
  config_.addresses = {{Ip("2001:2::2"), 129}};
  EXPECT_THAT(Refusal(), HasSubstr("prefix length must be 1 to 128"));
  config_.addresses = {{Ip("2001:2::2"), 48}};
  config_.gateway6 = Ip("2001:3::1");
  EXPECT_THAT(Refusal(), HasSubstr("on none of the interface's prefixes"));
  config_.gateway6 = Ip("198.18.0.1");
  EXPECT_THAT(Refusal(), HasSubstr("other family"));
  config_.gateway6 = Ip("fe80::1");  // on every link
  EXPECT_EQ(Refusal(), "OK");
  config_.mtu = 1279;
  EXPECT_THAT(Refusal(), HasSubstr("mtu 1279 is not between 1280 and 9216"));
  config_.mtu = 9217;
  EXPECT_THAT(Refusal(), HasSubstr("mtu 9217"));
  // An IPv4 link-local address is on one link like any other.
  config_ = {};
  config_.addresses = {{Ip("198.18.0.2"), 15}};
  config_.gateway = Ip("169.254.0.1");
  EXPECT_THAT(Refusal(), HasSubstr("on none of the interface's prefixes"));
}

TEST(InterfaceAddress, TextIsAddressSlashLength) {
  const auto parsed = InterfaceAddress::Parse("198.18.0.2/15");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->address, Ip("198.18.0.2"));
  EXPECT_EQ(parsed->prefix_length, 15);
  EXPECT_EQ(InterfaceAddress::Parse("2001:2::2/128")->prefix_length, 128);
  EXPECT_EQ(InterfaceAddress::Parse("10.0.0.1/0")->prefix_length, 0);  // CheckInterface refuses it
  for (const char* wrong :
       {"", "198.18.0.2", "198.18.0.2/", "198.18.0.2/33", "198.18.0.2/-1", "198.18.0.2/15x",
        "198.18.0.2/ 15", "198.18.0/15", "2001:2::2/129", "/15", "198.18.0.2/99999999999"})
    EXPECT_FALSE(InterfaceAddress::Parse(wrong)) << wrong;
}

// For links on which nobody else could have it: usable at once, alone, and not announced.
TEST_F(InterfaceTest, HostAddressIsUsableAtOnce) {
  config_.addresses = {{Ip("2001:2::2"), 48}};
  Make();
  Pass(Duration::Seconds(30));
  DropSent();
  interface_->AddHostAddress(Ip("203.0.113.7"));
  interface_->AddHostAddress(Ip("2001:db8::7"));
  interface_->AddHostAddress(Ip("2001:db8::7"));
  EXPECT_TRUE(egress_->IsLocal(Ip("203.0.113.7")));
  EXPECT_TRUE(egress_->IsLocal(Ip("2001:db8::7")));
  EXPECT_EQ(interface_->addresses().v4().size(), 1u);
  EXPECT_EQ(interface_->addresses().v6().size(), 3u) << "with the link-local one; none twice";
  Pass(Duration::Seconds(30));
  EXPECT_EQ(port_->sent_count(), 0u);
  Path path;
  EXPECT_FALSE(egress_->FindPath(Ip("203.0.113.7"), Ip("203.0.113.8"), &path));
}

TEST_F(InterfaceTest, ConfiguredLinkLocalAddressTakesThePlaceOfTheMadeOne) {
  config_.addresses = {{Ip("2001:2::2"), 48}, {Ip("fe80::5"), 64}, {Ip("169.254.0.5"), 16}};
  config_.dad_transmits = 0;
  Make();
  EXPECT_TRUE(egress_->IsLocal(Ip("fe80::5")));
  EXPECT_FALSE(egress_->IsLocal(Ip("fe80::ff:fe00:1")));
  IpAddress source;
  ASSERT_TRUE(egress_->FindSource(Ip("fe80::9"), &source));
  EXPECT_EQ(source, Ip("fe80::5"));
  DropSent();
}

TEST_F(InterfaceTest, FramesThatConcernAllShardsAreRelayed) {
  Make();
  std::vector<Bytes> relayed;
  interface_->set_relay([&](ByteSpan frame) { relayed.emplace_back(frame.begin(), frame.end()); });
  Give(FromPeer4(Ipv4({.src = Ip("198.18.0.1"), .dst = Ip("198.18.0.2"), .protocol = 1}, {})));
  EXPECT_TRUE(relayed.empty());
  const Bytes answer = ArpReply(Ip("198.18.0.1"), kPeerMac);
  Give(answer);
  ASSERT_EQ(relayed.size(), 1u);
  EXPECT_TRUE(std::equal(answer.begin(), answer.end(), relayed[0].begin()));
}

TEST_F(InterfaceTest, SilentIpv6GatewayIsToldOtherNeighboursAreNot) {
  config_.addresses = {{Ip("2001:2::2"), 48}};
  config_.gateway6 = Ip("2001:2::1");
  config_.dad_transmits = 0;
  Make();
  events_.clear();
  SendTcp(Ip("2001:2::2"), Ip("2001:2::77"));
  Pass(Duration::Seconds(4));
  EXPECT_TRUE(events_.empty());
  EXPECT_EQ(Count(Counter::UsherNdPendingDropped), 1u);
  SendTcp(Ip("2001:2::2"), Ip("2600::1"));
  Pass(Duration::Seconds(4));
  ASSERT_EQ(events_.size(), 1u);
  EXPECT_EQ(ToString(events_[0]), "interface 0: 2001:2::1 does not answer");
  DropSent();
}

TEST_F(InterfaceTest, MtuIsWhatThePortCanCarry) {
  config_.mtu = 9000;
  config_.vlan = 7;
  Make();
  EXPECT_EQ(interface_->mtu(Family::kIpv4), 1514 - 18);
}

TEST_F(InterfaceTest, SilentGatewayIsTold) {
  config_.gateway = Ip("198.18.0.1");
  Make();
  SendTcp(Ip("198.18.0.2"), Ip("8.8.8.8"));
  Pass(Duration::Seconds(3));
  ASSERT_EQ(events_.size(), 1u);
  EXPECT_EQ(ToString(events_[0]), "interface 0: 198.18.0.1 does not answer");
  EXPECT_EQ(Count(Counter::UsherArpPendingDropped), 1u);
}

TEST_F(InterfaceTest, PoolRunsDryInAFloodAndRecovers) {
  pool_size_ = 64;
  Make();
  std::vector<void*> held;
  Packet packet;
  while (pool_->Allocate(&packet)) held.push_back(packet.handle);
  EXPECT_FALSE(port_->Inject(ArpRequest(Ip("198.18.0.1"), kPeerMac, Ip("198.18.0.2"))));
  Path path;
  ASSERT_TRUE(egress_->FindPath(Ip("198.18.0.2"), Ip("198.18.0.1"), &path));
  TxFrame frame;
  EXPECT_FALSE(egress_->Begin(path, Family::kIpv4, &frame));
  for (void* handle : held) pool_->Free(handle);
  Give(ArpRequest(Ip("198.18.0.1"), kPeerMac, Ip("198.18.0.2")));
  EXPECT_EQ(port_->sent_count(), 1u);
}

// Frames of random bytes behind a plausible start.
TEST_F(InterfaceTest, Noise) {
  config_.addresses.push_back({Ip("2001:2::2"), 48});
  config_.dad_transmits = 0;
  Make();
  const uint32_t before = pool_->available();
  for (uint64_t seed = 1; seed <= 20'000; ++seed) {
    SeededRandom random(seed);
    Bytes frame(14 + random.Uniform(200));
    random.Fill(frame);
    StoreMac(frame.data(), random.Uniform(8) == 0 ? MacAddress::Broadcast() : kOurMac);
    frame[6] &= 0xfe;
    constexpr uint16_t kTypes[] = {EtherType::kIpv4, EtherType::kIpv6, EtherType::kArp};
    Store16(&frame[12], kTypes[random.Uniform(3)]);
    if (frame.size() > 54) {
      const bool v4 = Load16(&frame[12]) == EtherType::kIpv4;
      if (v4) {
        frame[14] = static_cast<uint8_t>(0x45 + random.Uniform(3));
        Store16(&frame[16], static_cast<uint16_t>(frame.size() - 14));
        StoreIpv4(&frame[30], Ip("198.18.0.2"));
        if (random.Uniform(2) == 0) Store16(&frame[20], 0);
        frame[23] = static_cast<uint8_t>(random.Uniform(20));
      } else if (Load16(&frame[12]) == EtherType::kIpv6) {
        frame[14] = 0x60;
        Store16(&frame[18], static_cast<uint16_t>(frame.size() - 54));
        StoreIpv6(&frame[38], Ip("2001:2::2"));
        constexpr uint8_t kNext[] = {0, 6, 17, 43, 44, 58, 60, 132};
        frame[20] = kNext[random.Uniform(8)];
      }
    }
    Give(frame, kRxIpChecksumGood);
    DropSent();
  }
  Pass(Duration::Seconds(200));
  DropSent();
  FreeIngress();
  EXPECT_EQ(pool_->available(), before);
}

}  // namespace
}  // namespace usher::ip_test
