// TCP options: read by the rules of Linux's tcp_parse_options, written in Linux's order and
// padding, so that a peer or a capture cannot tell the two apart by them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

#include "stack/base/seq.h"
#include "stack/wire/bytes.h"
#include "stack/wire/checksum.h"

namespace usher {

struct TcpOptionKind {
  static constexpr uint8_t kEnd = 0;
  static constexpr uint8_t kNop = 1;
  static constexpr uint8_t kMss = 2;
  static constexpr uint8_t kWindowScale = 3;
  static constexpr uint8_t kSackPermitted = 4;
  static constexpr uint8_t kSack = 5;
  static constexpr uint8_t kTimestamps = 8;
  static constexpr uint8_t kMd5 = 19;
  static constexpr uint8_t kFastOpen = 34;
  static constexpr uint8_t kExperimental = 254;
};

struct TcpTimestamps {
  uint32_t value = 0;  // TSval
  uint32_t echo = 0;   // TSecr
  friend constexpr bool operator==(const TcpTimestamps&, const TcpTimestamps&) = default;
};

// One block [begin, end) as received: it may be empty, inverted or out of window.
struct SackBlock {
  Seq begin;
  Seq end;
  friend constexpr bool operator==(const SackBlock&, const SackBlock&) = default;
};

// RFC 7413. Length 0 asks for a cookie; otherwise 4 to 16 bytes, an even number.
struct FastOpenOption {
  static constexpr uint8_t kMinCookie = 4;
  static constexpr uint8_t kMaxCookie = 16;

  uint8_t length = 0;
  bool experimental = false;  // kind 254 with 0xF989 instead of kind 34
  std::array<uint8_t, kMaxCookie> cookie{};
  ByteSpan bytes() const { return {cookie.data(), length}; }
  friend constexpr bool operator==(const FastOpenOption&, const FastOpenOption&) = default;
};

// What the options of one segment say, or are to say.
struct TcpOptions {
  static constexpr size_t kMaxSize = 40;
  static constexpr size_t kMaxSackBlocks = 4;
  static constexpr size_t kMd5Size = 20;          // with two NOPs in front
  static constexpr uint8_t kMaxWindowScale = 14;  // RFC 7323 section 2.3
  static constexpr uint16_t kFastOpenMagic = 0xf989;

  std::optional<uint16_t> mss;          // SYN only; never 0 when parsed
  std::optional<uint8_t> window_scale;  // SYN only; at most 14 when parsed
  bool window_scale_clamped = false;    // what was received was above 14 (not written)
  bool sack_permitted = false;          // SYN only
  bool md5 = false;                     // a signature is there, or room is to be left for one
  uint8_t sack_count = 0;
  std::optional<TcpTimestamps> timestamps;
  std::array<SackBlock, kMaxSackBlocks> sack{};
  std::optional<FastOpenOption> fast_open;  // SYN only

  std::span<const SackBlock> sack_blocks() const { return {sack.data(), sack_count}; }

  // Reads the option bytes of a segment whose SYN flag is `syn`. Never refuses: an option of length
  // 0 or 1, or one that runs past the end, stops the reading with what was found before (as Linux;
  // RFC 9293 section 3.1 leaves it open). Of an option that occurs twice the last one counts.
  static TcpOptions Parse(ByteSpan options, bool syn);

  // Bytes that Emit writes: a multiple of 4. More than kMaxSize does not fit into a segment.
  size_t EmitSize() const;
  // Writes EmitSize() bytes.
  void Emit(checksum::SummedWriter& out) const;
  size_t Emit(uint8_t* out) const {  // returns their number
    checksum::SummedWriter w(out);
    Emit(w);
    return w.size();
  }

 private:
  void ParseEach(ByteSpan options, bool syn);
  void ReadOne(uint8_t kind, const uint8_t* value, size_t size, bool syn);
  void ReadSack(const uint8_t* value, size_t size);
  void ReadFastOpen(const uint8_t* cookie, size_t size, bool is_experimental);
  void EmitSack(checksum::SummedWriter& out) const;
  size_t EmitFastOpen(uint8_t* out) const;
  void SetWindowScale(uint8_t received) {
    window_scale_clamped = received > kMaxWindowScale;
    window_scale = std::min(received, kMaxWindowScale);
  }
};

// The options of nearly every segment of an established connection: NOP NOP timestamps.
inline constexpr size_t kTimestampsOnlySize = 12;
inline void EmitTimestampsOnly(checksum::SummedWriter& out, TcpTimestamps timestamps) {
  out.Put32(0x0101080a);
  out.Put32(timestamps.value);
  out.Put32(timestamps.echo);
}

// Leaves room for an MD5 signature (RFC 2385), which stands in front of all else.
inline void EmitMd5Room(checksum::SummedWriter& out) {
  out.Put32(0x01010000u | TcpOptionKind::kMd5 << 8 | 18);
  for (int i = 0; i < 4; ++i) out.Put32(0);
}

inline TcpOptions TcpOptions::Parse(ByteSpan options, bool syn) {
  TcpOptions result;
  const uint8_t* p = options.data();
  if (options.size() == kTimestampsOnlySize && Load32(p) == 0x0101080a) [[likely]] {
    result.timestamps = TcpTimestamps{Load32(p + 4), Load32(p + 8)};
    return result;
  }
  // The SYN of Linux, Android and others: MSS, SACK permitted, timestamps, NOP, window scale.
  if (syn && options.size() == 20 &&
      ((Load64(p) ^ 0x02040000'0402080aull) & 0xffff0000'ffffffffull) == 0 &&
      (Load32(p + 16) & 0xffffff00) == 0x01030300) [[likely]] {
    if (const uint16_t mss = Load16(p + 2); mss != 0) result.mss = mss;
    result.sack_permitted = true;
    result.timestamps = TcpTimestamps{Load32(p + 8), Load32(p + 12)};
    result.SetWindowScale(p[19]);
    return result;
  }
  if (!options.empty()) result.ParseEach(options, syn);
  return result;
}

inline void TcpOptions::ParseEach(ByteSpan options, bool syn) {
  const uint8_t* p = options.data();
  const uint8_t* const end = p + options.size();
  while (p < end) {
    const uint8_t kind = *p++;
    if (kind == TcpOptionKind::kEnd) return;
    if (kind == TcpOptionKind::kNop) continue;
    if (p == end) return;
    const size_t size = *p++;  // of the option, kind and length included
    if (size < 2 || size - 2 > static_cast<size_t>(end - p)) return;
    ReadOne(kind, p, size - 2, syn);
    p += size - 2;
  }
}

// `size` is that of the value, without kind and length.
inline void TcpOptions::ReadOne(uint8_t kind, const uint8_t* value, size_t size, bool syn) {
  switch (kind) {
    case TcpOptionKind::kMss:
      if (syn && size == 2 && Load16(value) != 0) mss = Load16(value);
      break;
    case TcpOptionKind::kWindowScale:
      if (syn && size == 1) SetWindowScale(*value);
      break;
    case TcpOptionKind::kSackPermitted:
      if (syn && size == 0) sack_permitted = true;
      break;
    case TcpOptionKind::kSack:
      if (size != 0 && size % 8 == 0) ReadSack(value, size);
      break;
    case TcpOptionKind::kTimestamps:
      if (size == 8) timestamps = TcpTimestamps{Load32(value), Load32(value + 4)};
      break;
    case TcpOptionKind::kMd5:
      md5 = true;
      break;
    case TcpOptionKind::kFastOpen:
      if (syn) ReadFastOpen(value, size, false);
      break;
    case TcpOptionKind::kExperimental:
      if (syn && size >= 2 && Load16(value) == kFastOpenMagic)
        ReadFastOpen(value + 2, size - 2, true);
      break;
    default:
      break;
  }
}

inline void TcpOptions::ReadSack(const uint8_t* value, size_t size) {
  // 40 bytes of options hold no more than four; a caller's longer span must not either.
  sack_count = static_cast<uint8_t>(std::min(size / 8, kMaxSackBlocks));
  for (size_t i = 0; i < sack_count; ++i)
    sack[i] = {Seq(Load32(value + 8 * i)), Seq(Load32(value + 8 * i + 4))};
}

inline void TcpOptions::ReadFastOpen(const uint8_t* cookie, size_t size, bool is_experimental) {
  if (size % 2 != 0) return;
  fast_open.reset();
  if (size != 0 && (size < FastOpenOption::kMinCookie || size > FastOpenOption::kMaxCookie)) return;
  fast_open.emplace();
  fast_open->length = static_cast<uint8_t>(size);
  fast_open->experimental = is_experimental;
  if (size != 0) std::memcpy(fast_open->cookie.data(), cookie, size);
}

inline size_t TcpOptions::EmitSize() const {
  size_t size = md5 ? kMd5Size : 0;
  if (mss) size += 4;
  if (timestamps) size += kTimestampsOnlySize;  // SACK permitted takes the place of its NOPs
  if (sack_permitted && !timestamps) size += 4;
  if (window_scale) size += 4;
  if (sack_count != 0) size += 4 + size_t{sack_count} * 8;
  if (fast_open) size += ((fast_open->experimental ? 4u : 2u) + fast_open->length + 3) / 4 * 4;
  return size;
}

inline void TcpOptions::Emit(checksum::SummedWriter& out) const {
  if (md5) EmitMd5Room(out);
  if (mss) out.Put32(0x02040000u | *mss);
  if (timestamps) {
    out.Put32(sack_permitted ? 0x0402080a : 0x0101080a);
    out.Put32(timestamps->value);
    out.Put32(timestamps->echo);
  } else if (sack_permitted) {
    out.Put32(0x01010402u);
  }
  if (window_scale) out.Put32(0x01030300u | *window_scale);
  if (sack_count != 0) EmitSack(out);
  if (fast_open) out.Skip(EmitFastOpen(out.position()));
}

inline void TcpOptions::EmitSack(checksum::SummedWriter& out) const {
  out.Put32(0x01010500u | (2u + sack_count * 8u));
  for (const SackBlock& block : sack_blocks()) {
    out.Put32(block.begin.value());
    out.Put32(block.end.value());
  }
}

inline size_t TcpOptions::EmitFastOpen(uint8_t* out) const {
  const uint8_t* const begin = out;
  if (fast_open->experimental) {
    *out++ = TcpOptionKind::kExperimental;
    *out++ = static_cast<uint8_t>(4 + fast_open->length);
    Store16(out, kFastOpenMagic);
    out += 2;
  } else {
    *out++ = TcpOptionKind::kFastOpen;
    *out++ = static_cast<uint8_t>(2 + fast_open->length);
  }
  std::memcpy(out, fast_open->cookie.data(), fast_open->length);
  out += fast_open->length;
  while ((out - begin) % 4 != 0) *out++ = TcpOptionKind::kNop;
  return static_cast<size_t>(out - begin);
}

}  // namespace usher
