// A handshake from SYN to accept(), and what the user's calls say.
#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;

TEST_F(PassiveOpenTest, HandshakeMakesAConnectionThatAcceptReturns) {
  const Handle listener = Listen({.backlog = 5});
  const FourTuple client = Client();
  const SentTcp syn_ack = Exchange(LinuxSyn(client, Seq(1000), 5000));
  EXPECT_THAT(syn_ack, AllOf(HasFlags("SA"), Acks(Seq(1001)), HasMss(1460), HasSackPermitted(),
                             EchoesTimestamp(5000), HasWindowScale(7), HasWindow(65160)));
  EXPECT_EQ(syn_ack.tuple, client);
  EXPECT_EQ(syn_ack.to, kPeerMac);
  EXPECT_EQ(L(listener).half_open, 1u);
  EXPECT_EQ(Accept(listener), nullptr);

  GiveSilently(FinalAck(syn_ack));
  EXPECT_EQ(L(listener).half_open, 0u);
  EXPECT_EQ(L(listener).accept_queue.length(), 1u);
  EXPECT_EQ(ready_events_, 1u);
  EXPECT_EQ(Count(Counter::TcpPassiveOpens), 1u);
  TcpConnection* child = Accept(listener);
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->tuple(), client);
  EXPECT_EQ(child->state(), TcpState::kEstablished);
  EXPECT_TRUE(child->accepted);
  EXPECT_EQ(Accept(listener), nullptr);
}

}  // namespace
}  // namespace usher::test
