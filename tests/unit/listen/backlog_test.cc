#include "stack/listen/backlog.h"

#include <gtest/gtest.h>

#include <climits>

namespace usher {
namespace {

struct Row {
  ListenModel model;
  int backlog;
  int somaxconn;
  int max_syn_backlog;
  uint32_t accept_limit;
  uint32_t half_open_capacity;
  uint8_t held_back_by;
};

constexpr auto kClassic = ListenModel::kLinuxClassic;
constexpr auto kLinux = ListenModel::kLinux;
constexpr auto kBsd = ListenModel::kBsd;

constexpr Row kRows[] = {
    // The worked examples of the literature: raising somaxconn alone, or tcp_max_syn_backlog alone,
    // may do nothing.
    {kClassic, 5, 128, 8192, 5, 16, HeldBackBy::kBacklog},
    {kClassic, 5, 4096, 8192, 5, 16, HeldBackBy::kBacklog},
    {kClassic, 512, 128, 8192, 128, 256, HeldBackBy::kSomaxconn},
    {kClassic, 512, 128, 1 << 20, 128, 256, HeldBackBy::kSomaxconn},
    {kClassic, 512, 4096, 8192, 512, 1024, HeldBackBy::kBacklog},
    {kClassic, 4096, 4096, 256, 4096, 512, HeldBackBy::kMaxSynBacklog},
    {kClassic, 128, 128, 8192, 128, 256, HeldBackBy::kBacklog | HeldBackBy::kSomaxconn},
    {kClassic, 512, 128, 128, 128, 256, HeldBackBy::kSomaxconn | HeldBackBy::kMaxSynBacklog},
    // Bounds of the classic table: never below 16, and a power of two above the smallest of three.
    {kClassic, 0, 128, 8192, 0, 16, HeldBackBy::kBacklog},
    {kClassic, 7, 128, 8192, 7, 16, HeldBackBy::kBacklog},
    {kClassic, 15, 128, 8192, 15, 16, HeldBackBy::kBacklog},
    {kClassic, 16, 128, 8192, 16, 32, HeldBackBy::kBacklog},
    {kClassic, 255, 4096, 8192, 255, 256, HeldBackBy::kBacklog},
    {kClassic, 256, 4096, 8192, 256, 512, HeldBackBy::kBacklog},
    {kClassic, 100, 4096, 0, 100, 16, HeldBackBy::kMaxSynBacklog},
    {kClassic, INT_MAX, INT_MAX, INT_MAX, INT_MAX, 1u << 31,
     HeldBackBy::kBacklog | HeldBackBy::kSomaxconn | HeldBackBy::kMaxSynBacklog},
    // A negative backlog is a huge unsigned one.
    {kClassic, -1, 128, 8192, 128, 256, HeldBackBy::kSomaxconn},
    {kLinux, -1, 4096, 8192, 4096, 4097, HeldBackBy::kSomaxconn},
    {kLinux, INT_MIN, 4096, 8192, 4096, 4097, HeldBackBy::kSomaxconn},
    {kBsd, -1, 128, 8192, 0, 1, HeldBackBy::kBacklog},
    // So is a negative tcp_max_syn_backlog.
    {kClassic, 512, 4096, -1, 512, 1024, HeldBackBy::kBacklog},
    {kClassic, 4096, 4096, INT_MIN, 4096, 8192, HeldBackBy::kBacklog | HeldBackBy::kSomaxconn},
    // Linux today: tcp_max_syn_backlog does not size anything.
    {kLinux, 5, 128, 8192, 5, 6, HeldBackBy::kBacklog},
    {kLinux, 0, 128, 8192, 0, 1, HeldBackBy::kBacklog},
    {kLinux, 4096, 4096, 128, 4096, 4097, HeldBackBy::kBacklog | HeldBackBy::kSomaxconn},
    {kLinux, 512, 128, 16, 128, 129, HeldBackBy::kSomaxconn},
    {kLinux, 512, 0, 16, 0, 1, HeldBackBy::kSomaxconn},
    // 4.4BSD's fudge: one and a half times.
    {kBsd, 5, 128, 8192, 5, 8, HeldBackBy::kBacklog},
    {kBsd, 0, 128, 8192, 0, 1, HeldBackBy::kBacklog},
    {kBsd, 1, 128, 8192, 1, 2, HeldBackBy::kBacklog},
    {kBsd, 512, 128, 8192, 128, 193, HeldBackBy::kSomaxconn},
};

TEST(BacklogTest, ClampsAsEachModelDoes) {
  for (const Row& r : kRows) {
    SCOPED_TRACE(std::string(ToString(r.model)) + " backlog " + std::to_string(r.backlog) +
                 " somaxconn " + std::to_string(r.somaxconn) + " max_syn_backlog " +
                 std::to_string(r.max_syn_backlog));
    const BacklogLimits limits = ClampBacklog(r.model, r.backlog, r.somaxconn, r.max_syn_backlog);
    EXPECT_EQ(limits.accept_limit, r.accept_limit);
    EXPECT_EQ(limits.half_open_capacity, r.half_open_capacity);
    EXPECT_EQ(limits.held_back_by, r.held_back_by)
        << HeldBackBy::ToString(limits.held_back_by) << ", not "
        << HeldBackBy::ToString(r.held_back_by);
  }
}

TEST(BacklogTest, TheNamedLimitIsTheOneThatHelps) {
  // Whatever the three are: raising those that are not named changes nothing, the named ones do.
  for (const int backlog : {1, 5, 60, 128, 700})
    for (const int somaxconn : {1, 64, 128, 4096})
      for (const int syn : {16, 128, 256, 8192}) {
        const BacklogLimits limits = ClampBacklog(kClassic, backlog, somaxconn, syn);
        const auto capacity_with = [&](uint8_t raised) {
          const auto at = [raised](HeldBackBy::Bit limit, int value) {
            return (raised & limit) != 0 ? 1 << 20 : value;
          };
          return ClampBacklog(kClassic, at(HeldBackBy::kBacklog, backlog),
                              at(HeldBackBy::kSomaxconn, somaxconn),
                              at(HeldBackBy::kMaxSynBacklog, syn))
              .half_open_capacity;
        };
        EXPECT_EQ(capacity_with(static_cast<uint8_t>(~limits.held_back_by)),
                  limits.half_open_capacity);
        if (limits.half_open_capacity > 16) {  // the least there is
          EXPECT_GT(capacity_with(limits.held_back_by), limits.half_open_capacity);
        }
      }
}

TEST(BacklogTest, WithoutCookiesTheLastQuarterIsKept) {
  const BacklogLimits wide = ClampBacklog(kLinux, 4096, 8192, 128);
  EXPECT_EQ(WithoutCookies(wide, 128).half_open_capacity, 97u);
  EXPECT_EQ(WithoutCookies(wide, 128).held_back_by, HeldBackBy::kMaxSynBacklog);
  EXPECT_EQ(WithoutCookies(wide, 128).accept_limit, 4096u);
  const BacklogLimits narrow = ClampBacklog(kLinux, 5, 4096, 128);
  EXPECT_EQ(WithoutCookies(narrow, 128).half_open_capacity, 6u);
  EXPECT_EQ(WithoutCookies(narrow, 128).held_back_by, HeldBackBy::kBacklog);
  const BacklogLimits equal = ClampBacklog(kLinux, 96, 4096, 128);
  EXPECT_EQ(WithoutCookies(equal, 128).half_open_capacity, 97u);
  EXPECT_EQ(HeldBackBy::ToString(WithoutCookies(equal, 128).held_back_by),
            "backlog,tcp_max_syn_backlog");
  // Linux compares max_syn_backlog - qlen with max_syn_backlog >> 2, signed.
  EXPECT_EQ(WithoutCookies(wide, 0).half_open_capacity, 1u);
  EXPECT_EQ(WithoutCookies(wide, -1).half_open_capacity, 1u);
  EXPECT_EQ(WithoutCookies(wide, -2).half_open_capacity, 0u);
  EXPECT_EQ(WithoutCookies(wide, INT_MIN).half_open_capacity, 0u);
  EXPECT_EQ(WithoutCookies(wide, INT_MAX).half_open_capacity, 4097u);
}

TEST(BacklogTest, DealtPlacesAddUpToTheWhole) {
  for (const ListenModel model : {kClassic, kLinux, kBsd})
    for (const int backlog : {0, 1, 7, 8, 100, 1000})
      for (const uint32_t shards : {1u, 2u, 3u, 8u}) {
        const uint32_t whole = PlacesOf(model, ClampBacklog(model, backlog, 4096, 8192));
        uint32_t sum = 0;
        for (uint32_t i = 0; i < shards; ++i) {
          const uint32_t places = DealtPlaces(whole, i, shards);
          EXPECT_LE(places, whole / shards + 1);
          EXPECT_GE(places, whole / shards);
          sum += places;
        }
        EXPECT_EQ(sum, whole);
      }
}

TEST(BacklogTest, PlacesAreOneMoreThanTheLimit) {
  EXPECT_EQ(PlacesOf(kLinux, ClampBacklog(kLinux, 5, 4096, 8192)), 6u);
  EXPECT_EQ(PlacesOf(kClassic, ClampBacklog(kClassic, 5, 4096, 8192)), 6u);
  EXPECT_EQ(PlacesOf(kBsd, ClampBacklog(kBsd, 5, 4096, 8192)), 8u);  // 3 * 5 / 2 + 1
}

TEST(BacklogTest, DeferAcceptCountsInSynAckTimeouts) {
  // Timeouts of 1, 2, 4, ... seconds: their sums are 1, 3, 7, 15, 31, 63, 127.
  EXPECT_EQ(DeferAcceptRetries(0), 0);
  EXPECT_EQ(DeferAcceptRetries(1), 1);
  EXPECT_EQ(DeferAcceptRetries(2), 2);
  EXPECT_EQ(DeferAcceptRetries(3), 2);
  EXPECT_EQ(DeferAcceptRetries(4), 3);
  EXPECT_EQ(DeferAcceptRetries(63), 6);
  EXPECT_EQ(DeferAcceptRetries(127), 7);
  EXPECT_EQ(DeferAcceptRetries(128), 8);  // the next ones are 120 s each
  EXPECT_EQ(DeferAcceptRetries(247), 8);
  EXPECT_EQ(DeferAcceptRetries(248), 9);
  EXPECT_EQ(DeferAcceptRetries(UINT32_MAX), 255);
  EXPECT_EQ(DeferAcceptSeconds(0), 0u);
  EXPECT_EQ(DeferAcceptSeconds(3), 7u);
  EXPECT_EQ(DeferAcceptSeconds(8), 247u);
}

TEST(BacklogTest, NamesAreThoseOfTheSettings) {
  EXPECT_STREQ(ToString(ListenModel::kLinuxClassic), "linux-classic");
  EXPECT_STREQ(ToString(ListenModel::kLinux), "linux");
  EXPECT_STREQ(ToString(ListenModel::kBsd), "bsd");
  EXPECT_STREQ(ToString(static_cast<ListenModel>(200)), "?");
  EXPECT_EQ(HeldBackBy::ToString(HeldBackBy::kSomaxconn), "somaxconn");
  EXPECT_EQ(HeldBackBy::ToString(7), "backlog,somaxconn,tcp_max_syn_backlog");
}

}  // namespace
}  // namespace usher
