// When the shard has no reassembly queue left: data beyond a hole is dropped, counted, told to the
// peer, and taken once a queue is free again.
#include <vector>

#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

class ReassemblyPoolTest : public PassiveOpenTest {
 protected:
  // Ten bytes of `client`'s, `offset` after its SYN.
  SentTcp SendAt(const SentTcp& syn_ack, uint32_t offset) {
    return Exchange(FinalAck(syn_ack).SeqNo(syn_ack.ack + offset).Data("0123456789"));
  }
};

TEST_P(ReassemblyPoolTest, ExhaustionDropsDataBeyondAHole) {
  Listen({.backlog = 100});
  const uint32_t queues = reassembly_.capacity();
  std::vector<SentTcp> syn_acks;
  for (uint32_t i = 0; i <= queues; ++i) syn_acks.push_back(Handshake(Client(i)));
  for (uint32_t i = 0; i < queues; ++i)
    EXPECT_EQ(SendAt(syn_acks[i], 10).options.sack_count, 1u) << i;
  EXPECT_EQ(reassembly_.size(), queues);
  EXPECT_EQ(Count(Counter::TcpExtTCPOFODrop), 0u);

  const SentTcp refused = SendAt(syn_acks[queues], 10);
  EXPECT_EQ(refused.options.sack_count, 0u);
  EXPECT_EQ(refused.ack, syn_acks[queues].ack);
  EXPECT_EQ(Count(Counter::TcpExtTCPOFODrop), 1u);

  EXPECT_EQ(SendAt(syn_acks[0], 0).ack, syn_acks[0].ack + 20);  // its hole closes
  EXPECT_EQ(reassembly_.size(), queues - 1);
  EXPECT_EQ(SendAt(syn_acks[queues], 10).options.sack_count, 1u);
  EXPECT_EQ(reassembly_.size(), queues);
}

USHER_FOR_BOTH_FAMILIES(ReassemblyPoolTest);

}  // namespace
}  // namespace usher::test
