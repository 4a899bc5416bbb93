#include "stack/listen/syn_cookie.h"

#include <gtest/gtest.h>

#include "tests/support/segment_builder.h"

namespace usher {
namespace {

using test::Ip;

const FourTuple kV4{Ip("198.18.0.2"), Ip("198.18.0.1"), 80, 40000};
const FourTuple kV6{Ip("2001:2::2"), Ip("2001:2::1"), 80, 40000};

Instant At(int64_t seconds) { return Instant::FromNanos(seconds * 1'000'000'000); }

class SynCookieTest : public ::testing::Test {
 protected:
  uint16_t MssOf(const FourTuple& t, Seq irs, Seq iss, Instant now) {
    return cookies_.Check(t, irs + 1, iss + 1, now).mss;
  }
  SeededRandom random_{7};
  SynCookies cookies_{random_};
};

TEST_F(SynCookieTest, KeepsTheLargestMssNotAboveTheOffered) {
  struct Row {
    const FourTuple& tuple;
    uint16_t offered;
    uint16_t kept;
  };
  const Row rows[] = {{kV4, 1, 536},      {kV4, 536, 536},   {kV4, 1299, 536},  {kV4, 1300, 1300},
                      {kV4, 1439, 1300},  {kV4, 1440, 1440}, {kV4, 1459, 1440}, {kV4, 1460, 1460},
                      {kV4, 65535, 1460}, {kV6, 536, 1220},  {kV6, 1419, 1220}, {kV6, 1420, 1420},
                      {kV6, 1440, 1440},  {kV6, 8939, 1440}, {kV6, 8940, 8940}, {kV6, 65535, 8940}};
  for (const Row& r : rows) {
    const Seq irs(0xfffffff0);
    const SynCookies::Cookie c = cookies_.Make(r.tuple, irs, r.offered, At(1000));
    EXPECT_EQ(c.mss, r.kept) << "offered " << r.offered;
    EXPECT_EQ(MssOf(r.tuple, irs, c.iss, At(1000)), r.kept) << "offered " << r.offered;
  }
}

TEST_F(SynCookieTest, IsGoodForThisPeriodAndTheNext) {
  const Seq irs(77);
  for (const int64_t made : {600, 630, 659}) {  // period 10
    const Seq iss = cookies_.Make(kV4, irs, 1460, At(made)).iss;
    EXPECT_EQ(MssOf(kV4, irs, iss, At(made)), 1460);
    EXPECT_EQ(MssOf(kV4, irs, iss, At(659)), 1460);
    EXPECT_EQ(MssOf(kV4, irs, iss, At(719)), 1460);
    EXPECT_EQ(MssOf(kV4, irs, iss, At(720)), 0);
    EXPECT_EQ(MssOf(kV4, irs, iss, At(5000)), 0);
    EXPECT_EQ(MssOf(kV4, irs, iss, At(599)), 0) << "a cookie of the future";
  }
}

// Eight bits of the count travel; after 256 periods they come round, and only H1 tells.
TEST_F(SynCookieTest, TheCountsReturnIsNotACookie) {
  const Seq iss = cookies_.Make(kV4, Seq(77), 1460, At(600)).iss;
  EXPECT_EQ(MssOf(kV4, Seq(77), iss, At(600 + 256 * 60)), 0);
}

TEST_F(SynCookieTest, EveryPartOfTheNameCounts) {
  const Seq irs(77);
  const Seq iss = cookies_.Make(kV4, irs, 1460, At(600)).iss;
  FourTuple other = kV4;
  other.remote_port++;
  EXPECT_EQ(MssOf(other, irs, iss, At(600)), 0);
  other = kV4;
  other.local_port++;
  EXPECT_EQ(MssOf(other, irs, iss, At(600)), 0);
  other = kV4;
  other.remote = Ip("198.18.0.3");
  EXPECT_EQ(MssOf(other, irs, iss, At(600)), 0);
  other = kV4;
  other.local = Ip("198.18.0.3");
  EXPECT_EQ(MssOf(other, irs, iss, At(600)), 0);
  EXPECT_EQ(MssOf(kV4, irs + 64, iss, At(600)), 0);
  EXPECT_NE(cookies_.Make(kV6, irs, 1460, At(600)).iss, iss);
  SeededRandom other_random(8);
  EXPECT_NE(SynCookies(other_random).Make(kV4, irs, 1460, At(600)).iss, iss);
}

// Of a sample of 2^24 acknowledgment numbers around a good one: all those with its top byte, and
// the few on either side. Exactly the four MSS values of that count pass.
TEST_F(SynCookieTest, FourOfTheNumbersOfACountPass) {
  const Seq irs(123456);
  const Seq lowest = cookies_.Make(kV4, irs, 1, At(600)).iss;
  const SynCookies::Prepared prepared = cookies_.Prepare(kV4, irs + 1, At(630));
  uint32_t passed = 0;
  for (uint32_t i = 0; i < 1u << 23; ++i) {
    const Seq ack = lowest + 1 - (1u << 22) + i;
    if (prepared.Check(ack).mss == 0) continue;
    ++passed;
    EXPECT_EQ(prepared.Check(ack).mss, cookies_.Check(kV4, irs + 1, ack, At(630)).mss);
  }
  EXPECT_EQ(passed, 4u);
}

TEST_F(SynCookieTest, RotationKeepsHonestCookiesAndAddsNoForgeable) {
  const Seq irs(5);
  const Seq before = cookies_.Make(kV4, irs, 1460, At(630)).iss;  // period 10
  ASSERT_TRUE(cookies_.Rotate(random_, At(640)));
  EXPECT_EQ(cookies_.Make(kV4, irs, 1460, At(650)).iss, before) << "the period keeps its key";
  EXPECT_EQ(MssOf(kV4, irs, before, At(650)), 1460);
  const Seq after = cookies_.Make(kV4, irs, 1460, At(660)).iss;  // period 11, new key
  EXPECT_EQ(MssOf(kV4, irs, before, At(719)), 1460);
  EXPECT_EQ(MssOf(kV4, irs, after, At(719)), 1460);
  EXPECT_EQ(MssOf(kV4, irs, before, At(720)), 0);
  EXPECT_EQ(MssOf(kV4, irs, after, At(779)), 1460);
  EXPECT_EQ(MssOf(kV4, irs, after, At(780)), 0);
}

TEST_F(SynCookieTest, RotationWaitsUntilTheOldKeyIsDone) {
  ASSERT_TRUE(cookies_.Rotate(random_, At(640)));
  EXPECT_FALSE(cookies_.Rotate(random_, At(641)));
  EXPECT_FALSE(cookies_.Rotate(random_, At(719)));
  EXPECT_TRUE(cookies_.Rotate(random_, At(720)));
}

TEST(CookieOptionsTest, TravelInTheLowSixBits) {
  for (const uint32_t clock : {0u, 5u, 63u, 64u, 1'000'000u, 0xffffffffu}) {
    for (uint8_t scale = 0; scale <= 15; ++scale) {
      for (int options = 0; options < 4; ++options) {
        CookieOptions sent;
        if (scale < 15) sent.window_scale = scale;
        sent.sack = (options & 1) != 0;
        sent.ecn = (options & 2) != 0;
        const uint32_t stamp = sent.PutInto(clock);
        const CookieOptions back = CookieOptions::TakeFrom(stamp);
        EXPECT_EQ(back.window_scale, sent.window_scale);
        EXPECT_EQ(back.sack, sent.sack);
        EXPECT_EQ(back.ecn, sent.ecn);
        const uint32_t set_back = clock - stamp;
        EXPECT_LT(set_back, 64u) << "clock " << clock << " stamp " << stamp;
      }
    }
  }
}

TEST(CookieOptionsTest, EchoMustBeOfTheCookiesPeriod) {
  const auto stamp = [](int64_t ms) { return static_cast<uint32_t>(ms); };
  const Instant now = At(700);  // period 11
  EXPECT_TRUE(SynCookies::EchoFits(stamp(700'000), 11, now));
  EXPECT_TRUE(SynCookies::EchoFits(stamp(660'000), 11, now));
  EXPECT_FALSE(SynCookies::EchoFits(stamp(659'000), 11, now));
  EXPECT_TRUE(SynCookies::EchoFits(stamp(659'000), 10, now));
  EXPECT_FALSE(SynCookies::EchoFits(stamp(700'000), 10, now));
  EXPECT_FALSE(SynCookies::EchoFits(stamp(700'001), 11, now)) << "not sent yet";
  EXPECT_FALSE(SynCookies::EchoFits(stamp(579'000), 9, now)) << "too old";
  // The options may have set the clock back over the edge.
  EXPECT_TRUE(SynCookies::EchoFits(stamp(659'960), 11, now));
}

}  // namespace
}  // namespace usher
