// One connection all the way: SYN, accept, data, close, over the memory port.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/support/family.h"
#include "tests/support/segment_builder.h"

namespace usher::test {
namespace {

using ::testing::AllOf;

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

class HandshakeTest : public testing::TestWithParam<Family> {
 protected:
  HandshakeTest() : pool_(256), port_(pool_, kOurMac), random_(1) {
    StackOptions options;
    options.max_connections = 64;
    InterfaceConfig config;
    config.addresses = {{peer_.local, v6_ ? 48 : 15}};
    config.dad_transmits = 0;
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port_, config}}};
    auto stack = Stack::Create(options, interfaces, random_);
    EXPECT_TRUE(stack.ok()) << stack.status();
    stack_ = *std::move(stack);
    stack_->Start(0, now_);
    stack_->shard(0).interface(0).SetPermanentNeighbour(now_, peer_.remote, kPeerMac);
    stack_->Poll(0, now_);
    while (port_.sent_count() > 0) port_.TakeSent();  // the network layer's own beginnings
  }

  // Gives a segment of the peer, lets the stack work, and returns what it sent.
  std::vector<SentTcp> Send(const SegmentBuilder& segment) {
    EXPECT_TRUE(port_.Inject(segment.Frame()));
    stack_->Poll(0, now_);
    std::vector<SentTcp> all;
    while (port_.sent_count() > 0)
      if (const auto s = ParseSent(port_.TakeSent())) all.push_back(*s);
    return all;
  }
  SentTcp Exchange(const SegmentBuilder& segment) {
    const auto sent = Send(segment);
    EXPECT_EQ(sent.size(), 1u);
    return sent.empty() ? SentTcp() : sent[0];
  }

  const bool v6_ = GetParam() == Family::kIpv6;
  const FourTuple peer_{Ip(v6_ ? "2001:2::2" : "198.18.0.2"), Ip(v6_ ? "2001:2::1" : "198.18.0.1"),
                        7, 40000};
  Instant now_ = Instant::FromNanos(1'000'000'000);
  HeapPool pool_;
  MemoryPort port_;
  SeededRandom random_;
  std::unique_ptr<Stack> stack_;
};

TEST_P(HandshakeTest, EchoAndClose) {
  const uint32_t baseline = pool_.available();
  Echo echo;
  const IpAddress any = v6_ ? IpAddress() : IpAddress::V4(0);
  ASSERT_TRUE(stack_->Listen({.address = any, .port = 7, .backlog = 8}, echo).ok());
  const SentTcp syn_ack = Exchange(
      From(peer_).Syn(Seq(100)).Mss(1460).SackPermitted().WindowScale(7).Timestamps(1000, 0));
  EXPECT_THAT(syn_ack,
              AllOf(HasFlags("SA"), Acks(Seq(101)), HasWindow(v6_ ? 45 * 1428 : 45 * 1448)));
  const Seq iss = syn_ack.seq;
  const auto segment = [&](const char* flags, uint32_t seq, uint32_t acked) {
    return From(peer_)
        .Flags(flags)
        .SeqNo(Seq(seq))
        .AckNo(iss + acked)
        .Timestamps(1001, syn_ack.tsval());
  };
  EXPECT_THAT(Send(segment("A", 101, 1)), testing::IsEmpty());
  EXPECT_EQ(echo.accepted, 1);
  EXPECT_THAT(Exchange(segment("AP", 101, 1).Data("hello")),
              AllOf(HasFlags("AP"), Acks(Seq(106)), HasPayload("hello")));
  EXPECT_THAT(Exchange(segment("AF", 106, 6)), AllOf(HasFlags("AF"), Acks(Seq(107))));
  EXPECT_THAT(Send(segment("A", 107, 7)), testing::IsEmpty());
  EXPECT_EQ(stack_->shard(0).connection_count(), 0u);
  EXPECT_EQ(pool_.available(), baseline);
}

TEST_P(HandshakeTest, SynToAClosedPortIsReset) {
  EXPECT_THAT(Exchange(From(peer_).Syn(Seq(100))), AllOf(HasFlags("RA"), Acks(Seq(101))));
}

USHER_FOR_BOTH_FAMILIES(HandshakeTest);

}  // namespace
}  // namespace usher::test
