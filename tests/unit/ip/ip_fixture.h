// An interface over a port in memory, in virtual time, and the frames to talk to it with.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include "stack/ip/egress.h"
#include "stack/ip/interface.h"
#include "stack/port/memory_port.h"
#include "stack/wire/arp.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/icmpv4.h"
#include "stack/wire/icmpv6.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"

namespace usher::ip_test {

using Bytes = std::vector<uint8_t>;

inline IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }
inline MacAddress Mac(uint8_t last) { return {{0x02, 0, 0, 0, 0, last}}; }

inline const MacAddress kOurMac = Mac(1);
inline const MacAddress kPeerMac = Mac(2);

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Bytes Ethernet(const MacAddress& dst, const MacAddress& src, uint16_t type,
                      const Bytes& payload, uint16_t vlan = 0) {
  const EthernetHeader header{.dst = dst, .src = src, .type = type, .vlan_id = vlan};
  Bytes frame(header.size());
  header.Emit(frame.data());
  return frame + payload;
}

inline Bytes Arp(const ArpPacket& arp) {
  Bytes bytes(ArpPacket::kSize);
  arp.Emit(bytes.data());
  return bytes;
}

inline Bytes Ipv4(Ipv4Header header, const Bytes& payload) {
  header.payload_length = static_cast<uint16_t>(payload.size());
  Bytes bytes(Ipv4Header::kSize);
  header.Emit(bytes.data());
  return bytes + payload;
}

inline Bytes Ipv6(Ipv6Header header, const Bytes& payload) {
  header.payload_length = static_cast<uint16_t>(payload.size());
  Bytes bytes(Ipv6Header::kSize);
  header.Emit(bytes.data());
  return bytes + payload;
}

// `size` bytes 0, 1, 2, ...
inline Bytes Pattern(size_t size) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 256);
  return bytes;
}

class IpTest : public ::testing::Test {
 protected:
  IpTest() { config_.addresses = {{Ip("198.18.0.2"), 15}}; }

  void TearDown() override {
    if (interface_ == nullptr) return;
    FreeIngress();
    interface_.reset();
    port_.reset();
    EXPECT_EQ(pool_->available(), pool_->capacity()) << "buffers leaked";
  }

  // Makes interface and egress from config_, limits_ and capabilities_; starts; forgets what that
  // sent.
  void Make() {
    pool_ = std::make_unique<HeapPool>(pool_size_);
    port_ = std::make_unique<MemoryPort>(*pool_, kOurMac, capabilities_);
    auto made = Interface::Create(0, *port_, config_, limits_, counters_, random_,
                                  [this](const NetworkEvent& event) { events_.push_back(event); });
    ASSERT_TRUE(made.ok()) << made.status();
    interface_ = *std::move(made);
    egress_ = std::make_unique<Egress>(counters_);
    egress_->AddInterface(interface_.get());
    interface_->Start(now_);
    DropSent();
  }

  // One burst of what was injected, received at now_; former segments in in_ are freed.
  void Poll() {
    FreeIngress();
    std::array<Packet, kBurstSize> burst;
    const uint32_t n = port_->RxBurst(burst);
    interface_->Receive(now_, {burst.data(), n}, in_);
    interface_->Flush();
  }
  void Give(const Bytes& frame, uint16_t flags = 0) {
    ASSERT_TRUE(port_->Inject(frame, flags));
    Poll();
  }
  void FreeIngress() {
    for (uint32_t i = 0; i < in_.tcp_count; ++i)
      if (in_.tcp[i].packet.handle != nullptr) pool_->Free(in_.tcp[i].packet.handle);
    in_.tcp_count = 0;
    in_.error_count = 0;
  }

  // Moves time on in the steps that the interface asks for.
  void Pass(Duration d) {
    const Instant end = now_ + d;
    while (interface_->NextDeadline() <= end) {
      now_ = std::max(now_, interface_->NextDeadline());
      interface_->Advance(now_);
      interface_->Flush();
    }
    now_ = end;
  }

  Bytes Sent() { return port_->TakeSent(); }
  void DropSent() {
    interface_->Flush();
    while (port_->sent_count() > 0) port_->TakeSent();
  }
  uint64_t Count(Counter counter) const { return counters_.Get(counter); }

  // What a neighbour sends us.
  Bytes ArpRequest(const IpAddress& from, const MacAddress& mac, const IpAddress& target) {
    return Ethernet(MacAddress::Broadcast(), mac, EtherType::kArp,
                    Arp({.operation = ArpOperation::kRequest,
                         .sender_mac = mac,
                         .sender_ip = from,
                         .target_mac = {},
                         .target_ip = target}));
  }
  Bytes ArpReply(const IpAddress& from, const MacAddress& mac) {
    return Ethernet(kOurMac, mac, EtherType::kArp,
                    Arp({.operation = ArpOperation::kReply,
                         .sender_mac = mac,
                         .sender_ip = from,
                         .target_mac = kOurMac,
                         .target_ip = Ip("198.18.0.2")}));
  }
  Bytes FromPeer4(const Bytes& packet) {
    return Ethernet(kOurMac, kPeerMac, EtherType::kIpv4, packet);
  }
  Bytes FromPeer6(const Bytes& packet) {
    return Ethernet(kOurMac, kPeerMac, EtherType::kIpv6, packet);
  }

  // A TCP header of 20 bytes is written by the transport; here its bytes only have to arrive.
  void SendTcp(const IpAddress& local, const IpAddress& remote, const Bytes& payload = {}) {
    Path path;
    ASSERT_TRUE(egress_->FindPath(local, remote, &path));
    SendTcpAlong(path, local, remote, payload);
  }
  void SendTcpAlong(const Path& path, const IpAddress& local, const IpAddress& remote,
                    const Bytes& payload = {}) {
    TxFrame frame;
    ASSERT_TRUE(egress_->Begin(path, remote.family(), &frame));
    WriteTcp(frame.l4, payload);
    egress_->CommitTcp(frame, {.local = local,
                               .remote = remote,
                               .header_length = 20,
                               .payload_length = static_cast<uint16_t>(payload.size()),
                               .payload_sum = checksum::Sum(payload)});
    egress_->Flush();
  }
  static void WriteTcp(uint8_t* l4, const Bytes& payload) {
    std::memset(l4, 0, 20);
    Store16(l4, 80);
    Store16(l4 + 2, 40000);
    l4[12] = 5 << 4;
    std::copy(payload.begin(), payload.end(), l4 + 20);
  }

  uint32_t pool_size_ = 512;
  InterfaceConfig config_;
  NetworkLimits limits_;
  PortCapabilities capabilities_;
  Counters counters_;
  SeededRandom random_{1};
  Instant now_ = Instant::FromNanos(1'000'000'000'000);
  std::vector<NetworkEvent> events_;
  std::unique_ptr<HeapPool> pool_;
  std::unique_ptr<MemoryPort> port_;
  std::unique_ptr<Interface> interface_;
  std::unique_ptr<Egress> egress_;
  Ingress in_;
};

}  // namespace usher::ip_test
