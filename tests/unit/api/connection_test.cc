#include "stack/api/connection.h"

#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::ElementsAre;

void CountRelease(void* context) { ++*static_cast<int*>(context); }

std::string Text(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

class ConnectionHandleTest : public ConnectionTest {
 protected:
  std::string Peeked(Connection c) {
    std::span<const uint8_t> bytes;
    const IoResult r = c.Peek(&bytes);
    last_error_ = r.error;
    EXPECT_EQ(r.bytes, bytes.size());
    return Text(bytes);
  }
};
USHER_FOR_BOTH_FAMILIES(ConnectionHandleTest);

TEST(ConnectionHandle, ADefaultOneIsNoConnection) {
  const Connection c;
  EXPECT_FALSE(c.valid());
  EXPECT_FALSE(c);
  EXPECT_EQ(c.state(), TcpState::kClosed);
  EXPECT_EQ(c.tuple(), FourTuple());
  EXPECT_EQ(c.user_data(), nullptr);
  EXPECT_EQ(c, Connection());
}

TEST(ConnectionHandle, EveryCallOnADefaultOneSaysSo) {
  Connection c;
  uint8_t byte = 0;
  Slice slice;
  std::span<const uint8_t> bytes(&byte, 1);
  int released = 0;
  EXPECT_EQ(c.Read({&byte, 1}).error, Error::kBadHandle);
  EXPECT_EQ(c.Read({&byte, 1}).bytes, 0u);
  EXPECT_EQ(c.ReadSlice(&slice).error, Error::kBadHandle);
  EXPECT_EQ(c.Peek(&bytes).error, Error::kBadHandle);
  EXPECT_TRUE(bytes.empty());
  EXPECT_EQ(c.Discard(1), Error::kBadHandle);
  EXPECT_EQ(c.Write("x").error, Error::kBadHandle);
  EXPECT_EQ(c.WriteExternal({&byte, 1}, &CountRelease, &released).error, Error::kBadHandle);
  EXPECT_EQ(released, 0);
  EXPECT_EQ(c.writable_bytes(), 0u);
  EXPECT_EQ(c.Shutdown(ShutdownHow::kBoth), Error::kBadHandle);
  EXPECT_EQ(c.SetTimer(Instant::Never()), Error::kBadHandle);
  EXPECT_EQ(c.SetOptions({}), Error::kBadHandle);
  EXPECT_EQ(c.SetNoDelay(true), Error::kBadHandle);
  EXPECT_FALSE(c.options().no_delay);
  c.set_user_data(&byte);
  EXPECT_EQ(c.user_data(), nullptr);
  EXPECT_EQ(c.Abort(), Error::kBadHandle);
  EXPECT_EQ(c.Close(), Error::kBadHandle);
}

TEST_P(ConnectionHandleTest, EveryCallOnADeadOneSaysSoAndDoesNothing) {
  Connection c = Open();
  Connection copy = c;
  c.set_user_data(this);
  EXPECT_EQ(c.Close(), Error::kNone);
  uint8_t byte;
  Slice slice;
  std::span<const uint8_t> bytes(&byte, 1);
  int released = 0;
  EXPECT_EQ(copy.Read({&byte, 1}).error, Error::kBadHandle);
  EXPECT_EQ(copy.ReadSlice(&slice).error, Error::kBadHandle);
  EXPECT_EQ(copy.Peek(&bytes).error, Error::kBadHandle);
  EXPECT_TRUE(bytes.empty());
  EXPECT_EQ(copy.Discard(1), Error::kBadHandle);
  EXPECT_EQ(copy.Write("x").error, Error::kBadHandle);
  EXPECT_EQ(copy.WriteExternal({&byte, 1}, &CountRelease, &released).error, Error::kBadHandle);
  EXPECT_EQ(copy.writable_bytes(), 0u);
  EXPECT_EQ(copy.Shutdown(ShutdownHow::kBoth), Error::kBadHandle);
  EXPECT_EQ(copy.SetTimer(now_), Error::kBadHandle);
  EXPECT_EQ(copy.SetOptions({}), Error::kBadHandle);
  EXPECT_EQ(copy.SetNoDelay(true), Error::kBadHandle);
  EXPECT_EQ(copy.Abort(), Error::kBadHandle);
  EXPECT_EQ(copy.Close(), Error::kBadHandle);
  EXPECT_FALSE(copy);
  EXPECT_EQ(copy.state(), TcpState::kClosed);
  EXPECT_EQ(copy.user_data(), nullptr);
  // The connection itself goes its way: a FIN, no reset.
  EXPECT_THAT(TakeAfterPoll(), ElementsAre(HasFlags("FA")));
  EXPECT_EQ(released, 0);
}

TEST_P(ConnectionHandleTest, CopiesNameTheSameConnection) {
  Connection c = Open();
  Connection copy = c;
  EXPECT_EQ(c, copy);
  EXPECT_EQ(c.tuple(), tuple_);
  EXPECT_EQ(c.user_data(), nullptr);
  copy.set_user_data(this);
  EXPECT_EQ(c.user_data(), this);
  ++tuple_.remote_port;
  EXPECT_NE(Open(), copy);
}

TEST_P(ConnectionHandleTest, PeekShowsAndDiscardTakes) {
  Connection c = Open();
  EXPECT_EQ(Peeked(c), "");
  EXPECT_EQ(last_error_, Error::kAgain);
  Give(Ack().Data("hello"));
  EXPECT_EQ(Peeked(c), "hello");
  EXPECT_EQ(Peeked(c), "hello");
  EXPECT_EQ(c.Discard(2), Error::kNone);
  EXPECT_EQ(Peeked(c), "llo");
  EXPECT_EQ(Read(c, 1), "l");
  EXPECT_EQ(Peeked(c), "lo");
  Give(Ack().Data("!"));
  EXPECT_EQ(Peeked(c).substr(0, 2), "lo");
  EXPECT_EQ(c.Discard(2), Error::kNone);
  EXPECT_EQ(Peeked(c), "!");
  EXPECT_EQ(c.Discard(1), Error::kNone);
  Give(Ack().Flags("FA"));
  EXPECT_EQ(Peeked(c), "");
  EXPECT_EQ(last_error_, Error::kNone) << "the end of the stream";
}

TEST_P(ConnectionHandleTest, WhatWasOnlyPeekedAtIsUnread) {
  Connection c = Open();
  Give(Ack().Data("hello"));
  EXPECT_EQ(Peeked(c), "hello");
  TakeSent();
  c.Close();
  EXPECT_THAT(TakeAfterPoll(), ElementsAre(HasFlags("RA")));  // RFC 2525 section 2.17
}

TEST_P(ConnectionHandleTest, ExternalBytesThatAreRefusedAreNotReleased) {
  listen_options_.send_buffer_bytes = 8192;
  Connection c = Open();
  static const std::string kData(4000, 'z');
  const std::span data(reinterpret_cast<const uint8_t*>(kData.data()), kData.size());
  int taken = 0, released = 0;
  while (c.WriteExternal(data, &CountRelease, &released).error == Error::kNone)
    ASSERT_LT(++taken, 100);
  EXPECT_GT(taken, 0);
  int refused = 0;
  const IoResult r = c.WriteExternal(data, &CountRelease, &refused);
  EXPECT_EQ(r.error, Error::kAgain);
  EXPECT_EQ(r.bytes, 0u);
  EXPECT_EQ(released, 0);
  for (int i = 0; i < 100 && released < taken; ++i) {
    Poll();
    TakeSent();
    Give(Ack());
  }
  EXPECT_EQ(released, taken);
  EXPECT_EQ(refused, 0);
  c.Abort();
  Poll();
  EXPECT_EQ(released, taken);
}

TEST_P(ConnectionHandleTest, SetNoDelayLeavesTheOtherOptions) {
  listen_options_.keepalive = true;
  listen_options_.user_timeout_ms = 5000;
  Connection c = Open();
  EXPECT_FALSE(c.options().no_delay);
  EXPECT_EQ(c.SetNoDelay(true), Error::kNone);
  EXPECT_TRUE(c.options().no_delay);
  EXPECT_TRUE(c.options().keepalive);
  EXPECT_EQ(c.options().user_timeout_ms, 5000u);
}

// What a call between two passes makes the stack send does not wait for some other timer.
TEST_P(ConnectionHandleTest, CallsBetweenPassesAreDueAtOnce) {
  Connection c = Open();
  AdvanceBy(Duration::Millis(1));
  EXPECT_GT(stack_->NextDeadline(0), now_);
  EXPECT_EQ(c.Abort(), Error::kNone);
  EXPECT_LE(stack_->NextDeadline(0), now_);
  Poll();
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  Connection other;
  ASSERT_EQ(stack_->Connect(0, remote_, 8080, app_, &other), Error::kNone);
  EXPECT_LE(stack_->NextDeadline(0), now_);
  Poll();
  EXPECT_THAT(TakeOne(), HasFlags("S"));
  EXPECT_GT(stack_->NextDeadline(0), now_);
}

// ---- The timer ----

TEST_P(ConnectionHandleTest, TheTimerComesOnceAndNotEarly) {
  Connection c = Open();
  EXPECT_EQ(c.SetTimer(now_ + Duration::Seconds(2)), Error::kNone);
  EXPECT_LE(stack_->NextDeadline(0), now_ + Duration::Seconds(2)) << "slept over";
  AdvanceBy(Duration::Millis(1990));
  EXPECT_EQ(app_.timers, 0);
  AdvanceBy(Duration::Millis(10));
  EXPECT_EQ(app_.timers, 1);
  AdvanceBy(Duration::Seconds(10));
  EXPECT_EQ(app_.timers, 1);
}

TEST_P(ConnectionHandleTest, TheTimerIsReplacedAndUnset) {
  Connection c = Open();
  c.SetTimer(now_ + Duration::Seconds(1));
  c.SetTimer(now_ + Duration::Seconds(5));
  AdvanceBy(Duration::Seconds(4));
  EXPECT_EQ(app_.timers, 0);
  c.SetTimer(Instant::Never());
  AdvanceBy(Duration::Seconds(10));
  EXPECT_EQ(app_.timers, 0);
}

TEST_P(ConnectionHandleTest, NoTimerComesForAClosedConnectionNorForItsSlotsNextOwner) {
  Connection c = Open();
  c.SetTimer(now_ + Duration::Seconds(1));
  c.Abort();
  Poll();
  ++tuple_.remote_port;
  Connection next = Open();
  EXPECT_EQ(next.handle().index, c.handle().index);
  AdvanceBy(Duration::Seconds(5));
  EXPECT_EQ(app_.timers, 0);
}

TEST_P(ConnectionHandleTest, TheTimersCallbackMaySetItAgainWriteOrClose) {
  Connection c = Open();
  c.SetTimer(now_ + Duration::Seconds(1));
  app_.on_timer = [this](Connection x) {
    EXPECT_EQ(x.Write("tick").bytes, 4u);
    if (app_.timers < 3)
      x.SetTimer(now_ + Duration::Millis(10));
    else
      x.Close();
  };
  AdvanceBy(Duration::Millis(1015));
  EXPECT_EQ(app_.timers, 2);
  std::string ticks;
  for (const SentTcp& s : TakeSent()) ticks += s.payload;
  EXPECT_EQ(ticks.substr(0, 4), "tick") << "written by the timer's callback, sent in its pass";
  AdvanceBy(Duration::Millis(10));
  EXPECT_EQ(app_.timers, 3);
  EXPECT_FALSE(c.valid());
  AdvanceBy(Duration::Seconds(3));
  EXPECT_EQ(app_.timers, 3);
}

// ---- Its own end, in every callback ----

TEST_P(ConnectionHandleTest, NoEventFollowsACloseInACallback) {
  app_.on_readable = [](Connection x) { x.Abort(); };
  Connection c = Open();
  Inject(Ack().Data("x"));
  Give(Ack().Flags("FA"));  // readable and end of stream in one burst
  EXPECT_EQ(app_.readable, 1);
  EXPECT_EQ(app_.closed, 0);
  EXPECT_FALSE(c.valid());
  Poll();
  ExpectNothingLeft();
}

TEST_P(ConnectionHandleTest, ACallbackMayCloseAnotherConnectionOfTheBurst) {
  Connection first = Open();
  ++tuple_.remote_port;
  Connection second = Open();
  app_.on_readable = [&](Connection x) { (x == first ? second : first).Abort(); };
  const Seq at = peer_nxt_;
  for (const Connection& c : {first, second})
    ASSERT_TRUE(port_->Inject(From(c.tuple()).Ack(at, Peek(c).snd_nxt()).Data("x").Frame()));
  Poll();
  EXPECT_EQ(app_.readable, 1) << "told of a connection that was closed";
  EXPECT_TRUE(first.valid());
  EXPECT_FALSE(second.valid());
}

}  // namespace
}  // namespace usher::test
