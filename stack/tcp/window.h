// Sizes of receive windows, as Linux chooses them (tcp_select_initial_window, tcp_win_from_space).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "stack/base/sysctl.h"

namespace usher {

// How much of a receive buffer of `bytes` may be advertised; the rest pays for buffers that are not
// full.
inline uint32_t WindowFromSpace(uint32_t bytes) { return bytes / 2; }

struct InitialWindow {
  uint32_t rcv_wnd = 0;       // bytes; what a SYN's field cannot say counts all the same
  uint32_t window_clamp = 0;  // bytes, the most that may ever be advertised
  uint8_t wscale = 0;         // the shift to offer

  // The window field of a SYN or SYN-ACK, which is never scaled (RFC 7323 section 2.2).
  uint16_t on_syn() const { return static_cast<uint16_t>(std::min(rcv_wnd, 65535u)); }
};

// `buffer_bytes` is the receive buffer, `mss` what the peer will send in one segment. A locked
// buffer (SO_RCVBUF) bounds the window for good; otherwise it may grow to tcp_rmem's maximum.
inline InitialWindow SelectInitialWindow(const Sysctls& sysctls, uint32_t buffer_bytes,
                                         uint32_t mss, bool wscale_ok, bool locked) {
  constexpr uint8_t kMaxScale = 14;
  const uint32_t full = WindowFromSpace(buffer_bytes);
  uint32_t clamp = locked ? full : 65535u << kMaxScale;
  uint32_t space = std::min(full, clamp);
  if (mss != 0 && space > mss) space -= space % mss;
  InitialWindow w;
  w.rcv_wnd = space;
  if (wscale_ok) {
    const uint32_t most = std::min(std::max({space, static_cast<uint32_t>(sysctls.tcp_rmem[2]),
                                             static_cast<uint32_t>(sysctls.rmem_max)}),
                                   clamp);
    w.wscale = static_cast<uint8_t>(std::clamp<int>(std::bit_width(most) - 16, 0, kMaxScale));
  }
  w.window_clamp = std::min(65535u << w.wscale, clamp);
  w.rcv_wnd = std::min(w.rcv_wnd, w.window_clamp);
  return w;
}

}  // namespace usher
