// What may fail, fails: every allocation in turn; and the data path allocates nothing itself.
#include <cstdlib>
#include <new>

#include "tests/support/connection_fixture.h"

namespace {
bool g_counting = false;
uint64_t g_allocations = 0;
}  // namespace

// Not inlined, or GCC takes the pair of new and free for a mistake.
[[gnu::noinline]] void* operator new(size_t size) {
  if (g_counting) ++g_allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace usher::test {
namespace {

class FaultsTest : public ConnectionTest {
 protected:
  // A server that answers any request with 6000 bytes.
  void MakeServer() {
    Make(96);
    app_.on_readable = [this](Connection c) {
      while (!Read(c).empty()) c.Write(std::string(6000, 'a'));
      if (last_error_ == Error::kNone) c.Close();
    };
    app_.on_closed = [](Connection c) { c.Close(); };
  }
};
USHER_FOR_BOTH_FAMILIES(FaultsTest);

// Takes all packet buffers but n away before each step, gives them back, and goes on.
TEST_P(FaultsTest, PacketBuffersRunOutAtEveryPoint) {
  for (uint32_t left = 1; left < 24; ++left) {
    SCOPED_TRACE(left);
    stack_.reset();
    port_.reset();
    app_ = RecordingApplication();
    MakeServer();
    const uint32_t baseline = pool_->available();  // the interface keeps a reserve
    Open();
    std::vector<Packet> taken;
    Packet p;
    while (pool_->available() > left && pool_->Allocate(&p)) taken.push_back(p);
    Give(Ack().Data("request"));
    for (int i = 0; i < 30; ++i) {
      AdvanceBy(Duration::Millis(50));
      TakeSent();
    }
    for (const Packet& t : taken) pool_->Free(t.handle);
    // The buffers are back: the session ends as if nothing had been.
    std::string got;
    Give(Ack(0).SeqNo(P(0)).Data("request"));
    for (int i = 0; i < 200 && got.size() < 6000; ++i) {
      AdvanceBy(Duration::Millis(100));
      for (const SentTcp& s : TakeSent())
        if (s.seq == O(static_cast<int64_t>(got.size()))) got += s.payload;
      Give(Ack(static_cast<int64_t>(got.size())));
    }
    EXPECT_EQ(got, std::string(6000, 'a'));
    Give(Flags("R").SeqNo(P(7)));
    Poll();
    ExpectNothingLeft();
    TakeSent();
    EXPECT_EQ(pool_->available(), baseline);
    if (HasFailure()) return;
  }
}

TEST_P(FaultsTest, WithoutAConnectionSlotTheHandshakeWaits) {
  options_.max_connections = 1;
  Make();
  Connection a = Open();
  tuple_.remote_port = kPeerPort + 1;
  Give(SynOf(Seq(peer_isn_)));
  for (const SentTcp& s : TakeSent()) EXPECT_EQ(s.flags & TcpFlags::kFin, 0);
  a.Abort();
  Poll();
  AdvanceBy(Duration::Seconds(70));
  TakeSent();
  tuple_.remote_port = kPeerPort + 2;
  EXPECT_TRUE(Open().valid());
}

TEST_P(FaultsTest, SentRecordsRunOut) {
  Connection c = Open();
  auto& pool = const_cast<SentSegmentPool&>(shard().context().sent_segments);
  SentQueue hog;
  Seq at;
  while (hog.Append(pool, at, 1, 1, 0, Micros::Of(now_))) at += 1;
  c.Write("waits");
  Poll();
  AdvanceBy(Duration::Seconds(3));
  EXPECT_TRUE(TakeSent().empty());
  hog.Clear(pool);
  UntilSent(Duration::Seconds(20));
  EXPECT_THAT(TakeOne(), HasPayload("waits"));
}

TEST_P(FaultsTest, TheDataPathAllocatesNothing) {
  Connection c = Open();
  const std::string text(1000, 'r');
  const std::vector<uint8_t> answer(500, 'a');
  std::vector<uint8_t> buffer(4096);
  uint64_t allocations = 0;
  for (int i = 0; i < 100; ++i) {
    const Bytes frame = Ack().Data(text);
    peer_nxt_ = peer_nxt_ + 1000;
    ASSERT_TRUE(port_->Inject(frame));  // the port's own queues may allocate
    g_allocations = 0;
    g_counting = true;
    stack_->Poll(0, now_);
    c.Read(buffer);
    c.Write(answer);
    g_counting = false;
    allocations += g_allocations;
    Poll();
    TakeSent();
    now_ = now_ + Duration::Micros(100);
  }
  EXPECT_EQ(allocations, 0u);
  EXPECT_EQ(Peek(c).rcv_nxt(), P(100'000));
}

}  // namespace
}  // namespace usher::test
