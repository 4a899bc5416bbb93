// Signed segments (RFC 2385) for tests: frames signed, and signatures of frames looked at.
#pragma once

#include <algorithm>
#include <string_view>

#include "tests/support/md5_digest.h"
#include "tests/support/segment_builder.h"

namespace usher::test {

inline constexpr size_t kSignatureRoom = 20;

// The segment with a signature behind its other options.
inline Bytes Signed(const SegmentBuilder& segment, std::string_view key) {
  Bytes frame = segment;
  const bool v4 = frame[12] == 0x08;
  const size_t at = v4 ? 34 : 54;
  const auto from = v4 ? Ipv4View::Parse(ByteSpan(frame).subspan(14))->src()
                       : Ipv6View::Parse(ByteSpan(frame).subspan(14))->src();
  const auto to = v4 ? Ipv4View::Parse(ByteSpan(frame).subspan(14))->dst()
                     : Ipv6View::Parse(ByteSpan(frame).subspan(14))->dst();
  Bytes tcp(frame.begin() + static_cast<ptrdiff_t>(at), frame.end());
  const ptrdiff_t end = tcp[12] / 16 * 4;
  Bytes room(kSignatureRoom);
  room[0] = room[1] = TcpOptionKind::kNop;
  room[2] = TcpOptionKind::kMd5;
  room[3] = 18;
  tcp.insert(tcp.begin() + end, room.begin(), room.end());
  tcp[12] = static_cast<uint8_t>(tcp[12] + (kSignatureRoom / 4 << 4));
  const auto digest = Md5DigestOf(from, to, tcp, key);
  std::copy(digest.begin(), digest.end(), tcp.begin() + end + 4);
  FillTcpChecksum(tcp.data(), tcp.size(), from, to);
  frame.resize(at);
  frame.insert(frame.end(), tcp.begin(), tcp.end());
  const auto length = static_cast<uint16_t>(tcp.size());
  if (v4)
    Ipv4Header{.src = from, .dst = to, .payload_length = length}.Emit(frame.data() + 14);
  else
    Ipv6Header{.src = from, .dst = to, .payload_length = length}.Emit(frame.data() + 14);
  return frame;
}

// Whether a frame that the stack sent is signed with `key`, in the place where Linux has it.
inline bool IsSigned(const Bytes& frame, std::string_view key) {
  const size_t at = frame[12] == 0x08 ? 34 : 54;
  const auto sent = ParseSent(frame);
  if (!sent || frame.size() < at + 40) return false;
  const Bytes tcp(frame.begin() + static_cast<ptrdiff_t>(at), frame.end());
  const Bytes kind{1, 1, TcpOptionKind::kMd5, 18};
  if (!std::equal(kind.begin(), kind.end(), tcp.begin() + 20)) return false;
  const auto digest = Md5DigestOf(sent->tuple.local, sent->tuple.remote, tcp, key);
  return std::equal(digest.begin(), digest.end(), tcp.begin() + 24);
}

}  // namespace usher::test
