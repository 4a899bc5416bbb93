// One protocol of an interface by itself: its context over a port in memory, without the rest.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stack/ip/context.h"
#include "stack/port/memory_port.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv6.h"

namespace usher::ip_test {

class ContextTest : public ::testing::Test, private NeighbourHost {
 protected:
  void Make(uint32_t buffers = 64, uint16_t vlan = 0) {
    pool_ = std::make_unique<HeapPool>(buffers);
    port_ = std::make_unique<MemoryPort>(*pool_, MacAddress{{2, 0, 0, 0, 0, 1}});
    link_ = std::make_unique<Link>(*port_, uint16_t{1500}, vlan, limits_, counters_);
    context_.reset(new InterfaceContext{0, now_, limits_, *link_, addresses_, neighbours_,
                                        counters_, random_, events_, icmp_rate_});
  }
  void TearDown() override {
    link_.reset();
    port_.reset();
    if (pool_ != nullptr) {
      EXPECT_EQ(pool_->available(), pool_->capacity()) << "buffers leaked";
    }
  }
  static IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }
  void AddPreferred(std::string_view address) {
    addresses_.Add(Ip(address), 64);
    addresses_.v6().back().state = AddressState::kPreferred;
  }
  std::vector<uint8_t> Sent() {
    link_->Flush();
    return port_->TakeSent();
  }
  uint64_t Count(Counter counter) const { return counters_.Get(counter); }

  Instant now_ = Instant::FromNanos(1'000'000'000);
  NetworkLimits limits_;
  Counters counters_;
  SeededRandom random_{7};
  NetworkEventSink events_;
  LocalAddresses addresses_;
  NeighbourCache neighbours_{limits_, SipKey{1, 2}, 3, *this};
  TokenBucket icmp_rate_{1000, 50};
  std::unique_ptr<HeapPool> pool_;
  std::unique_ptr<MemoryPort> port_;
  std::unique_ptr<Link> link_;
  std::unique_ptr<InterfaceContext> context_;

 private:
  void SolicitNeighbour(const IpAddress&, const MacAddress*) override {}
  void SendPending(const TxPacket&, const MacAddress&) override {}
  void DropPending(const TxPacket&, const IpAddress&) override {}
  void NeighbourUnreachable(const IpAddress&) override {}
};

}  // namespace usher::ip_test
