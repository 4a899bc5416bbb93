// Big-endian numbers at any alignment. Each function touches exactly its own width at `p`.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

namespace usher {

using ByteSpan = std::span<const uint8_t>;

constexpr uint16_t ByteSwap(uint16_t v) { return __builtin_bswap16(v); }
constexpr uint32_t ByteSwap(uint32_t v) { return __builtin_bswap32(v); }
constexpr uint64_t ByteSwap(uint64_t v) { return __builtin_bswap64(v); }

template <typename T>
constexpr T BigEndian(T v) {
  if constexpr (std::endian::native == std::endian::little) return ByteSwap(v);
  return v;
}

// The bytes as they lie, without a change of order.
template <typename T>
inline T LoadRaw(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <typename T>
inline void StoreRaw(uint8_t* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

inline uint16_t Load16(const uint8_t* p) { return BigEndian(LoadRaw<uint16_t>(p)); }
inline uint32_t Load32(const uint8_t* p) { return BigEndian(LoadRaw<uint32_t>(p)); }
inline uint64_t Load64(const uint8_t* p) { return BigEndian(LoadRaw<uint64_t>(p)); }
inline void Store16(uint8_t* p, uint16_t v) { StoreRaw(p, BigEndian(v)); }
inline void Store32(uint8_t* p, uint32_t v) { StoreRaw(p, BigEndian(v)); }
inline void Store64(uint8_t* p, uint64_t v) { StoreRaw(p, BigEndian(v)); }

}  // namespace usher
