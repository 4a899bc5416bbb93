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
