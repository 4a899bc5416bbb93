// Frames that differ in a few fields only, made as fast as a port can take them.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/checksum.h"

namespace usher::load {

// A SYN with Linux's options, or a bare ACK, over IPv4: everything is written and summed once but
// source, port, sequence and acknowledgment number.
class FrameTemplate {
 public:
  static constexpr size_t kMaxSize = 14 + 20 + 40;

  struct Addresses {
    MacAddress src_mac;
    MacAddress dst_mac;
    IpAddress dst;  // IPv4
    uint16_t dst_port = 0;
  };
  static FrameTemplate Syn(const Addresses& a);
  static FrameTemplate Ack(const Addresses& a);

  size_t size() const { return size_; }
  // Writes size() bytes at `out`, checksums included. `src` in host order.
  void Write(uint8_t* out, uint32_t src, uint16_t src_port, uint32_t seq, uint32_t ack) const {
    std::memcpy(out, bytes_.data(), size_);
    Store32(out + kIpAt + 12, src);
    Store16(out + kTcpAt, src_port);
    Store32(out + kTcpAt + 4, seq);
    Store32(out + kTcpAt + 8, ack);
    // The sums are in the machine's byte order, hence of what lies in memory.
    const uint32_t s = LoadRaw<uint32_t>(out + kIpAt + 12);
    Store16(out + kIpAt + 10, checksum::Finish(checksum::Add(ip_sum_, s)));
    uint64_t sum = tcp_sum_;
    sum += s;
    sum += LoadRaw<uint32_t>(out + kTcpAt);
    sum += LoadRaw<uint32_t>(out + kTcpAt + 4);
    sum += LoadRaw<uint32_t>(out + kTcpAt + 8);
    Store16(out + kTcpAt + 16, checksum::Finish(checksum::internal::Fold64(sum)));
  }

 private:
  static constexpr size_t kIpAt = 14;
  static constexpr size_t kTcpAt = kIpAt + 20;

  FrameTemplate(const Addresses& a, uint16_t flags, bool with_options);

  std::array<uint8_t, kMaxSize> bytes_{};
  size_t size_ = 0;
  // Of all but the fields that Write fills in.
  uint32_t ip_sum_ = 0;
  uint32_t tcp_sum_ = 0;
};

}  // namespace usher::load
