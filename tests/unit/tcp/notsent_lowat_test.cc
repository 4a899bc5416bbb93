// TCP_NOTSENT_LOWAT (stack/tcp/user.cc): how much may wait to be sent, and when one who was refused
// is told to write again.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class NotsentLowatTest : public ConnectionTest {
 protected:
  static constexpr uint32_t kLowat = 3000;
  static constexpr uint32_t kMss = 1000;

  NotsentLowatTest() {
    mss_ = kMss;
    window_ = syn_window_ = 4000;  // pieces of 2000 bytes
    listen_options_.notsent_lowat_bytes = kLowat;
    listen_options_.no_delay = true;
  }
  size_t Write(size_t n) { return c_.Write(std::string(n, 'x')).bytes; }
};
USHER_FOR_BOTH_FAMILIES(NotsentLowatTest);

// What may leave at once, and then whole pieces until the mark is reached; half as much or more is
// too much to be told that there is room.
TEST_P(NotsentLowatTest, WritesAreTakenWhileLittleIsUnsent) {
  Open();
  EXPECT_EQ(Write(100'000), 4000u + 4000u);
  EXPECT_EQ(Write(1), 0u);
  EXPECT_EQ(c_.writable_bytes(), 0u);
  EXPECT_THAT(TakeAfterPoll(), SizeIs(4));  // 4000 wait
  EXPECT_EQ(c_.writable_bytes(), 0u);
  app_.writable = 0;
  Give(Ack(2000));  // 2000 wait: below the mark, but not below its half
  EXPECT_THAT(TakeSent(), SizeIs(2));
  EXPECT_EQ(app_.writable, 0);
  EXPECT_EQ(c_.writable_bytes(), 2000u);
  Give(Ack(3000));
  EXPECT_THAT(TakeSent(), SizeIs(1));
  Poll();
  EXPECT_EQ(app_.writable, 1);
  EXPECT_EQ(c_.writable_bytes(), 3000u);
}

// All is sent, though nothing is acknowledged yet: room again.
TEST_P(NotsentLowatTest, WhatIsSentIsNoLongerInTheWay) {
  window_ = syn_window_ = 60'000;
  listen_options_.notsent_lowat_bytes = 1;
  Open();
  app_.writable = 0;
  const size_t taken = Write(1'000'000);  // ten segments of the congestion window, one piece more
  EXPECT_EQ(taken, 10'000u + 30'000u);
  Poll();
  Poll();
  TakeSent();
  EXPECT_EQ(app_.writable, 0);
  for (int64_t acked = 1000; acked <= 40'000 && app_.writable == 0; acked += 1000) Give(Ack(acked));
  EXPECT_EQ(app_.writable, 1);
  EXPECT_EQ(tcp(c_)->Info(shard().context()).not_sent, 0u);
  EXPECT_GT(c_.unacked_bytes(), 0u);
}

TEST_P(NotsentLowatTest, AClosedWindowDoesNotTellOfRoom) {
  Open();
  Write(4000);
  Poll();
  Give(Ack(4000).Window(0));
  EXPECT_EQ(Write(10'000), 4000u);  // nothing may leave: pieces up to the mark
  app_.writable = 0;
  AdvanceBy(Duration::Seconds(1));  // window probes
  EXPECT_EQ(app_.writable, 0);
  EXPECT_EQ(c_.writable_bytes(), 0u);
  TakeSent();
  Give(Ack(4000).Window(4000));
  EXPECT_THAT(TakeSent(), SizeIs(4));
  Poll();
  EXPECT_EQ(app_.writable, 1);
}

TEST_P(NotsentLowatTest, TheSysctlHoldsForWhoSetsNothing) {
  listen_options_.notsent_lowat_bytes = 0;
  options_.sysctls.tcp_notsent_lowat = 2000;
  Open();
  EXPECT_EQ(Write(100'000), 4000u + 2000u);
  TcpOptionsSet options = c_.options();
  options.notsent_lowat_bytes = 4001;  // its own, higher: room at once
  app_.writable = 0;
  EXPECT_THAT(TakeAfterPoll(), SizeIs(4));
  EXPECT_EQ(app_.writable, 0);
  c_.SetOptions(options);
  Poll();
  EXPECT_EQ(app_.writable, 1);
  EXPECT_EQ(c_.writable_bytes(), 4000u);
}

// Zero for a mark would let nothing be written, ever.
TEST_P(NotsentLowatTest, ASysctlOfZeroIsOne) {
  listen_options_.notsent_lowat_bytes = 0;
  options_.sysctls.tcp_notsent_lowat = 0;
  Open();
  EXPECT_EQ(Write(100'000), 4000u + 2000u);
  EXPECT_THAT(TakeAfterPoll(), SizeIs(4));
}

// Who was not refused is not told.
TEST_P(NotsentLowatTest, WhatWasTakenWholeRaisesNoEvent) {
  Open();
  app_.writable = 0;
  EXPECT_EQ(Write(1000), 1000u);
  Poll();
  Give(Ack(1000));
  Poll();
  EXPECT_EQ(app_.writable, 0);
}

TEST_P(NotsentLowatTest, AWriteBehindTheEndTakesNothing) {
  Open();
  EXPECT_EQ(c_.Shutdown(ShutdownHow::kWrite), Error::kNone);
  const IoResult r = c_.Write("late");
  EXPECT_EQ(r.error, Error::kBrokenPipe);
  EXPECT_EQ(r.bytes, 0u);
}

TEST_P(NotsentLowatTest, WithoutAMarkTheBufferIsTheLimit) {
  listen_options_.notsent_lowat_bytes = 0;
  Open();
  EXPECT_GT(Write(100'000), 8000u);
}

TEST_P(NotsentLowatTest, ZeroCopyWritesAreRefusedWhole) {
  Open();
  static const std::vector<uint8_t> kData(5000, 'z');
  int released = 0;
  const auto release = [](void* count) { ++*static_cast<int*>(count); };
  EXPECT_EQ(c_.WriteExternal(kData, release, &released).bytes, kData.size());
  EXPECT_EQ(c_.WriteExternal(kData, release, &released).bytes, kData.size());  // 1000 would wait
  EXPECT_EQ(c_.WriteExternal(kData, release, &released).error, Error::kAgain);
  app_.writable = 0;
  for (int64_t acked = 1000; acked <= 10'000; acked += 1000) {
    Poll();
    TakeSent();
    EXPECT_EQ(app_.writable, acked > 5000 ? 1 : 0) << acked;
    Give(Ack(acked));
  }
  EXPECT_EQ(released, 2);
  EXPECT_THAT(TakeSent(), IsEmpty());
}

}  // namespace
}  // namespace usher::test
