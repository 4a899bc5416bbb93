#include "stack/tcp/window.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

Sysctls WithMost(int32_t bytes) {
  Sysctls s;
  s.tcp_rmem = {4096, 131072, bytes};
  return s;
}

TEST(Window, HalfABufferIsAdvertised) {
  EXPECT_EQ(WindowFromSpace(131072), 65536u);
  EXPECT_EQ(WindowFromSpace(1), 0u);
}

// What Linux advertises with its defaults and 1460 bytes a segment: 65160 is 44 segments of 1460
// rounded down from 65536; without scaling it is cut at 16 bits.
TEST(Window, TheDefaultIsWholeSegments) {
  const InitialWindow w = SelectInitialWindow(WithMost(6291456), 131072, 1460, true, false);
  EXPECT_EQ(w.rcv_wnd, 64240u);
  EXPECT_EQ(w.rcv_wnd % 1460, 0u);
  EXPECT_EQ(w.wscale, 7);
  EXPECT_EQ(w.window_clamp, 65535u << 7);
}

TEST(Window, WithoutScalingItFitsSixteenBits) {
  const InitialWindow w = SelectInitialWindow(WithMost(6291456), 4 << 20, 1460, false, false);
  EXPECT_EQ(w.wscale, 0);
  EXPECT_EQ(w.window_clamp, 65535u);
  EXPECT_EQ(w.rcv_wnd, 65535u);
}

TEST(Window, ALockedBufferBoundsItForGood) {
  const InitialWindow w = SelectInitialWindow(WithMost(6291456), 20000, 1460, true, true);
  EXPECT_EQ(w.rcv_wnd, 8760u);
  EXPECT_EQ(w.window_clamp, 10000u);
  EXPECT_EQ(w.wscale, 0);
}

TEST(Window, ASmallWindowIsNotRoundedToNothing) {
  EXPECT_EQ(SelectInitialWindow(WithMost(6291456), 2000, 1460, true, true).rcv_wnd, 1000u);
  EXPECT_EQ(SelectInitialWindow(WithMost(6291456), 2000, 0, true, true).rcv_wnd, 1000u);
}

// The scale is the least with which the most that may ever be advertised can be.
TEST(Window, TheScaleIsTheLeastThatDoes) {
  const auto only_rmem = [](int32_t most) {
    Sysctls s = WithMost(most);
    s.rmem_max = 0;  // the other bound Linux takes the larger of
    return s;
  };
  for (const int32_t most : {65535, 65536, 131071, 131072, 1 << 20, 6291456, 1 << 29, 1 << 30}) {
    const InitialWindow w = SelectInitialWindow(only_rmem(most), 65535, 1460, true, false);
    EXPECT_GE(uint64_t{65536} << w.wscale, static_cast<uint64_t>(most)) << most;
    if (w.wscale > 0) {
      EXPECT_LT(uint64_t{65535} << (w.wscale - 1), static_cast<uint64_t>(most)) << most;
    }
  }
  EXPECT_EQ(SelectInitialWindow(WithMost(INT32_MAX), 65535, 1460, true, false).wscale, 14)
      << "RFC 7323 section 2.3";
}

TEST(Window, NeverMoreThanItsClamp) {
  const Sysctls sysctls = WithMost(6291456);
  for (const uint32_t buffer : {0u, 1u, 4096u, 65535u, 131072u, 1u << 20, 1u << 30}) {
    for (const bool scale : {false, true}) {
      for (const bool locked : {false, true}) {
        const InitialWindow w = SelectInitialWindow(sysctls, buffer, 1460, scale, locked);
        EXPECT_LE(w.rcv_wnd, w.window_clamp);
        EXPECT_LE(w.rcv_wnd, WindowFromSpace(buffer));
        EXPECT_LE(w.window_clamp, 65535u << w.wscale);
      }
    }
  }
}

}  // namespace
}  // namespace usher
