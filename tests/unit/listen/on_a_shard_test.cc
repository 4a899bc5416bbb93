// What listen/ asks of the shard and of the stack around it.
#include "tests/support/sharded_stack.h"

namespace usher::test {
namespace {

class OnAShardTest : public ShardedStackTest {
 protected:
  void Open(uint32_t shards, const StackOptions& options, const ListenSpec& spec) {
    Make(shards, {.rss = true}, options);
    doormen_.resize(shards);
    ASSERT_TRUE(
        stack_->Listen(spec, [this](uint32_t i) -> Application& { return doormen_[i]; }).ok());
  }
  // The only thing that was sent by queue `i` in answer to `frame`.
  SentTcp Exchange(uint32_t i, const Bytes& frame) {
    Give(i, frame);
    Poll();
    const auto sent = Sent(i);
    EXPECT_EQ(sent.size(), 1u);
    return sent.empty() ? SentTcp{} : sent[0];
  }

  std::vector<Doorman> doormen_;
};
USHER_FOR_BOTH_FAMILIES(OnAShardTest);

// Its record is given back, and does not pass to the next connection in the same slot.
TEST_P(OnAShardTest, ASavedSynEndsWithItsConnection) {
  StackOptions options{.max_connections = 64};
  options.passive_open.max_saved_syns = 1;
  Open(1, options, {.port = kPort, .save_syn = true});
  for (uint32_t i = 0; i < 3; ++i) {
    const SentTcp syn_ack = Exchange(0, From(Client(i)).Syn(Seq(1000)).Mss(1460));
    Give(0, From(Client(i)).Ack(Seq(1001), syn_ack.seq + 1));
    Poll();
    Connection c;
    ASSERT_EQ(doormen_[0].acceptor.Accept(&c), Error::kNone);
    const auto saved = shard(0).passive_open().SavedSyn(*shard(0).Find(c.handle()));
    const size_t at = GetParam() == Family::kIpv4 ? 20 : 40;
    ASSERT_GE(saved.size(), at + 20) << i;
    EXPECT_EQ(saved[at] << 8 | saved[at + 1], Client(i).remote_port);
    c.Abort();  // nobody took it
    Poll();
    Forget();
  }
}

// Whichever shard gave it: a client's next connection may come to any other.
TEST_P(OnAShardTest, AFastOpenCookieIsGoodOnEveryShard) {
  StackOptions options{.max_connections = 64};
  options.sysctls.tcp_fastopen = 2;
  Open(3, options, {.port = kPort, .fastopen_qlen = 5});
  const SentTcp given =
      Exchange(0, From(Client(0)).Syn(Seq(1000)).Mss(1460).FastOpenCookie(FastOpenOption{}));
  ASSERT_TRUE(given.options.fast_open);
  for (uint32_t i = 0; i < count(); ++i) {
    const SentTcp syn_ack = Exchange(i, From(Client(kHosts * (i + 1)))
                                            .Syn(Seq(1000))
                                            .Mss(1460)
                                            .FastOpenCookie(*given.options.fast_open)
                                            .Data("hello"));
    EXPECT_EQ(syn_ack.ack, Seq(1006)) << i;
    EXPECT_EQ(Get(i, Counter::TcpExtTCPFastOpenPassive), 1u) << i;
  }
}

}  // namespace
}  // namespace usher::test
