// stack/listen/syn_ack.cc: what the passive open sends. Which of a SYN's options are answered is in
// listen_input_test.cc, when SYN-ACKs go out again in request_input_test.cc.
#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::Not;

class SynAckTest : public PassiveOpenTest {
 protected:
  SentTcp AnswerTo(const TcpOptionsSet& options, const Bytes& syn) {
    ListenSpec spec{.backlog = 100};
    spec.options = options;
    spec.port = next_port_;
    Listen(spec);
    return Exchange(syn);
  }
  FourTuple NextClient() { return Client(++clients_, next_port_); }

  uint16_t next_port_ = 80;
  uint32_t clients_ = 0;
};

TEST_P(SynAckTest, AcknowledgesTheSynAtTheEndOfTheNumbers) {
  Listen({.backlog = 100});
  for (const uint32_t isn : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu}) {
    const SentTcp syn_ack = Exchange(LinuxSyn(NextClient(), Seq(isn)));
    EXPECT_THAT(syn_ack, AllOf(HasFlags("SA"), Acks(Seq(isn) + 1))) << isn;
    EXPECT_TRUE(syn_ack.payload.empty());
  }
}

TEST_P(SynAckTest, UserMssOnlyLowers) {
  EXPECT_THAT(AnswerTo({.user_mss = 500}, LinuxSyn(NextClient())), HasMss(500));
  ++next_port_;
  EXPECT_THAT(AnswerTo({.user_mss = 9000}, LinuxSyn(NextClient())), HasMss(OurMss()));
  ++next_port_;
  EXPECT_THAT(AnswerTo({}, LinuxSyn(NextClient())), HasMss(OurMss()));
}

// RFC 7323 section 2.2: the window in a SYN-ACK is never scaled, so it ends at 65,535.
TEST_P(SynAckTest, WindowIsTheReceiveBuffersAndNotScaled) {
  for (const uint32_t bytes : {4096u, 16384u, 65536u, 1u << 20, 1u << 26}) {
    const SentTcp syn_ack = AnswerTo({.receive_buffer_bytes = bytes}, LinuxSyn(NextClient()));
    EXPECT_LE(syn_ack.window, bytes) << bytes;
    EXPECT_GE(syn_ack.window, std::min(bytes / 4, 10u * 1448)) << bytes;
    ASSERT_TRUE(syn_ack.options.window_scale);
    EXPECT_LE(*syn_ack.options.window_scale, 14);
    ++next_port_;
  }
}

TEST_P(SynAckTest, SentAgainWithTheSameNumbersAndALaterTimestamp) {
  Listen({.backlog = 100});
  const FourTuple client = NextClient();
  const SentTcp first = Exchange(LinuxSyn(client, Seq(1000), 5000));
  DropSent();
  Pass(Duration::Seconds(1));
  const auto again = TakeAll();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_THAT(again[0], AllOf(HasFlags("SA"), HasSeq(first.seq), Acks(first.ack), HasMss(OurMss()),
                              HasWindow(first.window), HasWindowScale(7), HasSackPermitted(),
                              EchoesTimestamp(5000)));
  EXPECT_EQ(again[0].tsval() - first.tsval(), 1000u);
  EXPECT_EQ(again[0].to, kPeerMac);
}

TEST_P(SynAckTest, EveryConnectionHasTimestampsOfItsOwn) {
  Listen({.backlog = 100});
  const uint32_t a = Exchange(LinuxSyn(NextClient())).tsval();
  const uint32_t b = Exchange(LinuxSyn(NextClient())).tsval();
  EXPECT_NE(a, b) << "the offset is keyed by the tuple";
  sysctls_.tcp_timestamps = 2;  // Linux: without offset
  const uint32_t c = Exchange(LinuxSyn(NextClient())).tsval();
  const uint32_t d = Exchange(LinuxSyn(NextClient())).tsval();
  EXPECT_EQ(c, d);
}

// As on Linux, a SYN-ACK that cannot be sent again ends the request; nothing of it is left.
TEST_P(SynAckTest, WithoutABufferForTheNextTheRequestEnds) {
  const Handle listener = Listen({.backlog = 100});
  Give(LinuxSyn(NextClient()));
  DropSent();
  std::vector<void*> held;
  Packet packet;
  while (interface_->link().AllocateControl(&packet)) held.push_back(packet.handle);
  now_ = now_ + Duration::Seconds(1);
  Tick();
  EXPECT_EQ(port_.sent_count(), 0u);
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(L(listener).half_open, 0u);
  EXPECT_EQ(L(listener).young, 0u);
  for (void* handle : held) pool_.Free(handle);
}

// The ACK for what cannot be right says where the handshake stands, with a scaled window.
TEST_P(SynAckTest, AckOfARequestStandsWhereTheHandshakeStands) {
  Listen({.backlog = 100});
  const FourTuple client = NextClient();
  const SentTcp syn_ack = Exchange(LinuxSyn(client));
  const SentTcp ack = Exchange(
      From(client).Ack(Seq(0x40000000), syn_ack.seq + 1).Timestamps(5001, syn_ack.tsval()));
  EXPECT_THAT(ack, AllOf(HasFlags("A"), HasSeq(syn_ack.seq + 1), Acks(Seq(1001)),
                         HasWindow(syn_ack.window >> 7), EchoesTimestamp(5000)));
}

TEST_P(SynAckTest, OutSegsAreCounted) {
  Listen({.backlog = 100});
  const uint64_t before = Count(Counter::TcpOutSegs);
  const FourTuple client = NextClient();
  Exchange(LinuxSyn(client));
  EXPECT_EQ(Count(Counter::TcpOutSegs), before + 1);
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 0u);
  Exchange(LinuxSyn(client));
  EXPECT_EQ(Count(Counter::TcpOutSegs), before + 2);
  EXPECT_EQ(Count(Counter::TcpRetransSegs), 1u);
}

USHER_FOR_BOTH_FAMILIES(SynAckTest);

}  // namespace
}  // namespace usher::test
