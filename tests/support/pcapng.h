// A capture that Wireshark reads: pcapng (draft-ietf-opsawg-pcapng), Ethernet, nanoseconds.
#pragma once

#include <cstdint>
#include <fstream>
#include <initializer_list>
#include <span>
#include <string>

#include "stack/base/time.h"

namespace usher::test {

class PcapngWriter {
 public:
  // One interface per name. Errors show as !good().
  PcapngWriter(const std::string& path, std::initializer_list<std::string> interfaces)
      : out_(path, std::ios::binary) {
    Begin(kSectionHeader, 16);
    Put32(0x1a2b3c4d);  // byte order
    Put32(1);           // version 1.0
    Put32(UINT32_MAX);  // section length: not told
    Put32(UINT32_MAX);
    End();
    for (const std::string& name : interfaces) {
      const auto padded = static_cast<uint32_t>((name.size() + 3) & ~size_t{3});
      Begin(kInterface, 8 + 4 + padded + 8 + 4);
      Put32(kEthernet);
      Put32(0);                                             // no snap length
      Put32(2 | static_cast<uint32_t>(name.size()) << 16);  // if_name
      PutPadded({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
      Put32(9 | 1u << 16);  // if_tsresol, one byte: 10^-9 s
      Put32(9);
      Put32(0);  // end of options
      End();
    }
  }

  void Write(uint32_t interface, Instant at, std::span<const uint8_t> frame) {
    const auto ns = static_cast<uint64_t>(at.ns());
    const auto size = static_cast<uint32_t>(frame.size());
    Begin(kPacket, 20 + ((size + 3) & ~3u));
    Put32(interface);
    Put32(static_cast<uint32_t>(ns >> 32));
    Put32(static_cast<uint32_t>(ns));
    Put32(size);
    Put32(size);
    PutPadded(frame);
    End();
  }
  bool good() const { return out_.good(); }

 private:
  static constexpr uint32_t kSectionHeader = 0x0a0d0d0a;
  static constexpr uint32_t kInterface = 1;
  static constexpr uint32_t kPacket = 6;
  static constexpr uint32_t kEthernet = 1;

  void Begin(uint32_t type, uint32_t body) {
    total_ = body + 12;
    Put32(type);
    Put32(total_);
  }
  void End() { Put32(total_); }
  void Put32(uint32_t x) { out_.write(reinterpret_cast<const char*>(&x), 4); }
  void PutPadded(std::span<const uint8_t> bytes) {
    out_.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    out_.write("\0\0\0", static_cast<std::streamsize>(-bytes.size() & 3));
  }

  std::ofstream out_;
  uint32_t total_ = 0;
};

}  // namespace usher::test
