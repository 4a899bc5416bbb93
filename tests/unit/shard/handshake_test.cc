// One connection all the way: SYN, accept, data, close, over the memory port.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "stack/wire/arp.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/tcp.h"

namespace usher {
namespace {

constexpr MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress kPeerMac{{2, 0, 0, 0, 0, 2}};
const IpAddress kOurs = IpAddress::V4(0xc6120002);
const IpAddress kPeer = IpAddress::V4(0xc6120001);

struct Echo : Application {
  void OnAcceptable(Acceptor a) override {
    Connection c;
    while (a.Accept(&c) == Error::kNone) ++accepted;
  }
  void OnReadable(Connection c) override {
    uint8_t buffer[4096];
    for (;;) {
      const IoResult r = c.Read(buffer);
      if (r.bytes == 0) {
        if (r.error == Error::kNone) c.Close();
        return;
      }
      c.Write(std::span(buffer, r.bytes));
    }
  }
  int accepted = 0;
};

class HandshakeTest : public testing::Test {
 protected:
  HandshakeTest() : pool_(256), port_(pool_, kOurMac), random_(1) {
    StackOptions options;
    options.max_connections = 64;
    InterfaceConfig config;
    config.addresses = {{kOurs, 15}};
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port_, config}}};
    auto stack = Stack::Create(options, interfaces, random_);
    EXPECT_TRUE(stack.ok()) << stack.status();
    stack_ = *std::move(stack);
    stack_->shard(0).interface(0).SetPermanentNeighbour(now_, kPeer, kPeerMac);
  }

  // Sends a segment from the peer and lets the stack work.
  void Send(uint16_t flags, uint32_t seq, uint32_t ack, std::string_view payload = "",
            const TcpOptions& options = {}) {
    std::vector<uint8_t> f(14 + 20 + 60 + payload.size());
    EthernetHeader{.dst = kOurMac, .src = kPeerMac, .type = EtherType::kIpv4}.Emit(f.data());
    TcpHeader h;
    h.src_port = 40000;
    h.dst_port = 7;
    h.seq = Seq(seq);
    h.ack = Seq(ack);
    h.flags = flags;
    h.window = 65535;
    const size_t header = h.Emit(f.data() + 34, options);
    std::copy(payload.begin(), payload.end(), f.begin() + 34 + header);
    f.resize(34 + header + payload.size());
    Ipv4Header ip;
    ip.src = kPeer;
    ip.dst = kOurs;
    ip.payload_length = static_cast<uint16_t>(f.size() - 34);
    ip.Emit(f.data() + 14);
    FillTcpChecksum(f.data() + 34, f.size() - 34, kPeer, kOurs);
    ASSERT_TRUE(port_.Inject(f));
    Poll();
  }
  void Poll() { stack_->Poll(0, now_); }

  // The oldest segment the stack sent; the buffer keeps it alive.
  std::optional<TcpView> Take() {
    taken_ = port_.TakeSent();
    if (taken_.empty()) return std::nullopt;
    const auto ip = Ipv4View::Parse(std::span(taken_).subspan(14));
    EXPECT_TRUE(ip);
    auto tcp = TcpView::Parse(ip->payload());
    EXPECT_TRUE(tcp && tcp->VerifyChecksum(kOurs, kPeer));
    return tcp;
  }

  Instant now_ = Instant::FromNanos(1'000'000'000);
  HeapPool pool_;
  MemoryPort port_;
  SeededRandom random_;
  std::unique_ptr<Stack> stack_;
  std::vector<uint8_t> taken_;
};

TEST_F(HandshakeTest, EchoAndClose) {
  const uint32_t baseline = pool_.available();
  Echo echo;
  ASSERT_TRUE(stack_->Listen({.address = IpAddress::V4(0), .port = 7, .backlog = 8}, echo).ok());

  TcpOptions syn;
  syn.mss = 1460;
  syn.sack_permitted = true;
  syn.window_scale = 7;
  syn.timestamps = TcpTimestamps{1000, 0};
  Send(TcpFlags::kSyn, 100, 0, "", syn);
  auto s = Take();
  ASSERT_TRUE(s);
  EXPECT_EQ(s->flags(), TcpFlags::kSyn | TcpFlags::kAck);
  EXPECT_EQ(s->ack(), Seq(101));
  EXPECT_EQ(s->window(), 65160);
  const uint32_t iss = s->seq().value();
  const uint32_t tsval = s->options().timestamps->value;

  TcpOptions ts;
  ts.timestamps = TcpTimestamps{1001, tsval};
  Send(TcpFlags::kAck, 101, iss + 1, "", ts);
  EXPECT_EQ(echo.accepted, 1);
  Send(TcpFlags::kAck | TcpFlags::kPsh, 101, iss + 1, "hello", ts);
  s = Take();
  ASSERT_TRUE(s);
  EXPECT_EQ(s->flags(), TcpFlags::kAck | TcpFlags::kPsh);
  EXPECT_EQ(s->ack(), Seq(106));
  EXPECT_EQ(std::string(s->payload().begin(), s->payload().end()), "hello");
  EXPECT_FALSE(Take());

  Send(TcpFlags::kAck | TcpFlags::kFin, 106, iss + 6, "", ts);
  s = Take();
  ASSERT_TRUE(s);
  EXPECT_EQ(s->flags(), TcpFlags::kAck | TcpFlags::kFin);
  EXPECT_EQ(s->ack(), Seq(107));
  Send(TcpFlags::kAck, 107, iss + 7, "", ts);
  EXPECT_FALSE(Take());
  EXPECT_EQ(stack_->shard(0).connection_count(), 0u);
  EXPECT_EQ(pool_.available(), baseline);
}

TEST_F(HandshakeTest, SynToAClosedPortIsReset) {
  Send(TcpFlags::kSyn, 100, 0);
  const auto s = Take();
  ASSERT_TRUE(s);
  EXPECT_EQ(s->flags(), TcpFlags::kRst | TcpFlags::kAck);
  EXPECT_EQ(s->ack(), Seq(101));
}

}  // namespace
}  // namespace usher
