// CRC-32C (Castagnoli, RFC 3720 appendix B.4) with the SSE4.2 instruction: guards snapshots and flow
// records against damage. Not for hash tables: it is linear, see hash.h.
#pragma once

#include <nmmintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace sluice {

inline std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0) {
  std::uint64_t state = ~crc;
  while (bytes.size() >= 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    state = _mm_crc32_u64(state, word);
    bytes = bytes.subspan(8);
  }
  for (std::byte byte : bytes) {
    state = _mm_crc32_u8(static_cast<std::uint32_t>(state), static_cast<std::uint8_t>(byte));
  }
  return ~static_cast<std::uint32_t>(state);
}

}  // namespace sluice
