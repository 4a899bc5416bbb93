// The TCP header (RFC 9293 section 3.1).
#pragma once

#include <cstddef>
#include <optional>

#include "stack/base/seq.h"
#include "stack/wire/address.h"
#include "stack/wire/bytes.h"
#include "stack/wire/checksum.h"
#include "stack/wire/ip_protocol.h"
#include "stack/wire/tcp_options.h"
#include "stack/wire/wire_error.h"

namespace usher {

// Bits of the flags field, as a number of 9 bits.
struct TcpFlags {
  static constexpr uint16_t kFin = 0x001;
  static constexpr uint16_t kSyn = 0x002;
  static constexpr uint16_t kRst = 0x004;
  static constexpr uint16_t kPsh = 0x008;
  static constexpr uint16_t kAck = 0x010;
  static constexpr uint16_t kUrg = 0x020;
  static constexpr uint16_t kEce = 0x040;
  static constexpr uint16_t kCwr = 0x080;
  static constexpr uint16_t kAe = 0x100;  // accurate ECN, once the NS bit of RFC 3540
  static constexpr uint16_t kAll = 0x1ff;
};

// A segment whose data offset holds: 20 <= header_size() <= the segment. Nothing else is checked;
// any combination of flags is read.
class TcpView {
 public:
  static constexpr size_t kMinHeaderSize = 20;
  static constexpr size_t kMaxHeaderSize = 60;

  // `segment` ends where the IP payload ends. On refusal *why says the reason.
  static std::optional<TcpView> Parse(ByteSpan segment, WireError* why = nullptr) {
    const WireError error = Check(segment);
    if (error == WireError::kNone) [[likely]]
      return TcpView(segment);
    if (why != nullptr) *why = error;
    return std::nullopt;
  }

  uint16_t src_port() const { return Load16(p()); }
  uint16_t dst_port() const { return Load16(p() + 2); }
  Seq seq() const { return Seq(Load32(p() + 4)); }
  Seq ack() const { return Seq(Load32(p() + 8)); }
  size_t header_size() const { return static_cast<size_t>(p()[12] >> 4) * 4; }
  uint16_t flags() const { return Load16(p() + 12) & TcpFlags::kAll; }
  bool has(uint16_t any_of) const { return (flags() & any_of) != 0; }
  uint16_t window() const { return Load16(p() + 14); }  // not scaled
  uint16_t checksum() const { return Load16(p() + 16); }
  uint16_t urgent() const { return Load16(p() + 18); }
  ByteSpan option_bytes() const {
    return segment_.subspan(kMinHeaderSize, header_size() - kMinHeaderSize);
  }
  TcpOptions options() const { return TcpOptions::Parse(option_bytes(), has(TcpFlags::kSyn)); }
  ByteSpan payload() const { return segment_.subspan(header_size()); }
  ByteSpan segment() const { return segment_; }
  // SEG.LEN: payload bytes, and one each for SYN and FIN.
  uint32_t sequence_length() const {
    const uint16_t f = flags();
    return static_cast<uint32_t>(segment_.size() - header_size()) + ((f & TcpFlags::kSyn) != 0) +
           ((f & TcpFlags::kFin) != 0);
  }

  bool VerifyChecksum(const IpAddress& src, const IpAddress& dst) const {
    const uint32_t pseudo =
        checksum::PseudoHeader(src, dst, IpProtocol::kTcp, static_cast<uint32_t>(segment_.size()));
    return checksum::IsIntact(checksum::Sum(segment_, pseudo));
  }

 private:
  explicit TcpView(ByteSpan segment) : segment_(segment) {}
  const uint8_t* p() const { return segment_.data(); }

  static WireError Check(ByteSpan segment) {
    if (segment.size() < kMinHeaderSize) return WireError::kTruncated;
    const size_t header = static_cast<size_t>(segment[12] >> 4) * 4;
    if (header < kMinHeaderSize || header > segment.size()) return WireError::kHeaderLength;
    return WireError::kNone;
  }

  ByteSpan segment_;
};

struct TcpHeader {
  static constexpr size_t kSize = 20;

  uint16_t src_port = 0;
  uint16_t dst_port = 0;
  Seq seq;
  Seq ack;
  uint16_t flags = 0;  // of TcpFlags
  uint16_t window = 0;
  uint16_t urgent = 0;

  // Writes kSize bytes at `out` with a checksum of zero, for `options_size` bytes of options (a
  // multiple of 4, at most 40) that the caller writes behind them. Returns their partial sum.
  uint32_t Emit(uint8_t* out, size_t options_size = 0) const {
    checksum::SummedWriter w(out);
    w.Put32(static_cast<uint32_t>(src_port) << 16 | dst_port);
    w.Put32(seq.value());
    w.Put32(ack.value());
    w.Put32(static_cast<uint32_t>((kSize + options_size) / 4 << 28) |
            static_cast<uint32_t>(flags) << 16 | window);
    w.Put32(urgent);
    return w.sum();
  }

  // Emits header and options; returns kSize + options.EmitSize(), and in *sum, if that is wanted,
  // the partial sum of them.
  size_t Emit(uint8_t* out, const TcpOptions& options, uint32_t* sum = nullptr) const {
    checksum::SummedWriter w(out + kSize);
    options.Emit(w);
    const uint32_t header = Emit(out, w.size());
    if (sum != nullptr) *sum = checksum::Add(header, w.sum());
    return kSize + w.size();
  }
};

// Writes the checksum of a segment, `sum` being the partial sum of pseudo-header, header (with a
// checksum of zero) and payload.
inline void StoreTcpChecksum(uint8_t* header, uint32_t sum) {
  Store16(header + 16, checksum::Finish(sum));
}

// Sums a whole segment of `size` bytes, header first, and writes its checksum.
inline void FillTcpChecksum(uint8_t* segment, size_t size, const IpAddress& src,
                            const IpAddress& dst) {
  Store16(segment + 16, 0);
  const uint32_t pseudo =
      checksum::PseudoHeader(src, dst, IpProtocol::kTcp, static_cast<uint32_t>(size));
  StoreTcpChecksum(segment, checksum::Sum({segment, size}, pseudo));
}

}  // namespace usher
