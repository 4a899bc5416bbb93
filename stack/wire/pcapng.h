// Captures that Wireshark reads: pcapng (draft-ietf-opsawg-pcapng), Ethernet, nanoseconds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace usher {

// Appends blocks to a string, which the owner writes and empties when it likes.
class PcapngWriter {
 public:
  enum class Direction : uint8_t { kUnknown = 0, kIn = 1, kOut = 2 };

  explicit PcapngWriter(std::string* out) : out_(*out) {
    Begin(kSectionHeader, 16);
    Put32(0x1a2b3c4d);  // byte order
    Put32(1);           // version 1.0
    Put32(UINT32_MAX);  // section length: not told
    Put32(UINT32_MAX);
    End();
  }

  // Interfaces are numbered from 0 in this order; all before the first packet. `snaplen` 0: none.
  void Interface(std::string_view name, uint32_t snaplen = 0) {
    Begin(kInterface, 8 + 4 + Padded(name.size()) + 8 + 4);
    Put32(kEthernet);
    Put32(snaplen);
    Put32(kIfName | static_cast<uint32_t>(name.size()) << 16);
    PutPadded({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
    Put32(kIfTsresol | 1u << 16);
    Put32(9);  // 10^-9 s
    Put32(kEndOfOptions);
    End();
  }

  // `frame`: what was kept of `original` bytes, at `ns` since the epoch.
  void Packet(uint32_t interface, uint64_t ns, std::span<const uint8_t> frame, size_t original,
              Direction direction = Direction::kUnknown) {
    Begin(kPacket, 20 + Padded(frame.size()) + 12);
    Put32(interface);
    Put32(static_cast<uint32_t>(ns >> 32));
    Put32(static_cast<uint32_t>(ns));
    Put32(static_cast<uint32_t>(frame.size()));
    Put32(static_cast<uint32_t>(original));
    PutPadded(frame);
    Put32(kEpbFlags | 4u << 16);
    Put32(static_cast<uint32_t>(direction));
    Put32(kEndOfOptions);
    End();
  }

 private:
  static constexpr uint32_t kSectionHeader = 0x0a0d0d0a;
  static constexpr uint32_t kInterface = 1;
  static constexpr uint32_t kPacket = 6;
  static constexpr uint32_t kEthernet = 1;
  static constexpr uint32_t kEndOfOptions = 0;
  static constexpr uint32_t kIfName = 2;
  static constexpr uint32_t kEpbFlags = 2;
  static constexpr uint32_t kIfTsresol = 9;

  static uint32_t Padded(size_t size) { return static_cast<uint32_t>((size + 3) & ~size_t{3}); }
  void Begin(uint32_t type, uint32_t body) {
    total_ = body + 12;
    Put32(type);
    Put32(total_);
  }
  void End() { Put32(total_); }
  void Put32(uint32_t x) { out_.append(reinterpret_cast<const char*>(&x), 4); }
  void PutPadded(std::span<const uint8_t> bytes) {
    out_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    out_.append(Padded(bytes.size()) - bytes.size(), '\0');
  }

  std::string& out_;
  uint32_t total_ = 0;
};

}  // namespace usher
