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

// The limit of pending ones is the listener's, not each shard's.
TEST_P(OnAShardTest, FastOpenPlacesAreDealtOut) {
  StackOptions options{.max_connections = 64};
  options.sysctls.tcp_fastopen = 0x202;  // no cookie needed
  Open(3, options, {.port = kPort, .fastopen_qlen = 2});
  uint32_t fast = 0;
  for (uint32_t i = 0; i < 12; ++i) {
    const SentTcp syn_ack = Exchange(i % 3, From(Client(i)).Syn(Seq(1000)).Mss(1460).Data("hello"));
    if (syn_ack.ack == Seq(1006)) ++fast;
  }
  EXPECT_EQ(fast, 2u);
  EXPECT_EQ(Get(0, Counter::TcpExtTCPFastOpenPassive), 1u);
  EXPECT_EQ(Get(1, Counter::TcpExtTCPFastOpenPassive), 1u);
  EXPECT_EQ(Get(2, Counter::TcpExtTCPFastOpenPassive), 0u);
  // And when it is set anew.
  for (uint32_t i = 0; i < 3; ++i) {
    PassiveOpen& p = shard(i).passive_open();
    Handle listener;
    p.ForEachListener([&](Handle h, const Listener&) { listener = h; });
    EXPECT_EQ(p.SetFastOpen(listener, 7), Error::kNone);
    EXPECT_EQ(p.Get(listener)->fast_open_limit, i == 0 ? 3u : 2u);
  }
}

// tcp_fastopen_key: at the start and at run time, with the old one as the backup for a while.
TEST_P(OnAShardTest, FastOpenKeysAreASetting) {
  const std::string name = "net.ipv4.tcp_fastopen_key";
  const std::string old_key = "00010203-04050607-08090a0b-0c0d0e0f";
  const std::string new_key = "10111213-14151617-18191a1b-1c1d1e1f";
  StackOptions options{.max_connections = 64};
  options.sysctls.tcp_fastopen = 2;
  ASSERT_TRUE(SetSysctl(options.sysctls, name, old_key).ok());
  Open(2, options, {.port = kPort, .fastopen_qlen = 100});
  const auto set = [&](const std::string& value) {
    for (uint32_t i = 0; i < 2; ++i) {
      Sysctls s = shard(i).sysctls();
      ASSERT_TRUE(SetSysctl(s, name, value).ok());
      shard(i).ApplySysctls(s);
    }
  };
  uint32_t port = 0;
  const auto with = [&](uint32_t i, const FastOpenOption& cookie) {
    const FourTuple client = Client(kHosts * ++port);
    return Exchange(i, From(client).Syn(Seq(1000)).Mss(1460).FastOpenCookie(cookie).Data("hello"));
  };
  const SentTcp given = with(0, FastOpenOption{});
  ASSERT_TRUE(given.options.fast_open);
  const FastOpenOption cookie = *given.options.fast_open;
  set(new_key + "," + old_key);
  for (uint32_t i = 0; i < 2; ++i) {
    const SentTcp syn_ack = with(i, cookie);
    EXPECT_EQ(syn_ack.ack, Seq(1006)) << "good under the backup";
    ASSERT_TRUE(syn_ack.options.fast_open) << "and a new one is given";
    EXPECT_NE(syn_ack.options.fast_open->cookie, cookie.cookie);
  }
  set(new_key);
  for (uint32_t i = 0; i < 2; ++i) EXPECT_EQ(with(i, cookie).ack, Seq(1001)) << i;
  set(old_key);
  for (uint32_t i = 0; i < 2; ++i) EXPECT_EQ(with(i, cookie).ack, Seq(1006)) << i;
}

// Whoever may have learnt the secret of the cookies has lost it two minutes later; nobody else
// notices.
TEST_P(OnAShardTest, CookieKeysOfAllShardsAreRotated) {
  StackOptions options{.max_connections = 64};
  options.sysctls.tcp_syncookies = 2;
  Open(2, options, {.port = kPort});
  // The cookie of a SYN that each shard gets now, less what the time adds.
  const auto cookies = [&] {
    std::vector<uint32_t> seqs;
    for (uint32_t i = 0; i < 2; ++i)
      seqs.push_back(Exchange(i, From(Client(i)).Syn(Seq(1000)).Mss(1460)).seq.value());
    return seqs;
  };
  const auto before = cookies();
  SeededRandom random(99);
  stack_->RotateCookieKeys(random);
  Poll();
  EXPECT_EQ(cookies(), before) << "a period has one key";
  for (uint32_t i = 0; i < 2; ++i) EXPECT_FALSE(shard(i).passive_open().RotateCookieKey(random));
  now_ = now_ + Duration::Seconds(60);
  for (uint32_t i = 0; i < 2; ++i) {  // the cookie of the old key, under the new one
    Give(i, From(Client(i)).Ack(Seq(1001), Seq(before[i] + 1)));
    Poll();
    EXPECT_EQ(Get(i, Counter::TcpExtSyncookiesRecv), 1u) << i;
  }
  now_ = now_ + Duration::Seconds(60);
  Poll();
  for (uint32_t i = 0; i < 2; ++i) EXPECT_TRUE(shard(i).passive_open().RotateCookieKey(random));
}

}  // namespace
}  // namespace usher::test
