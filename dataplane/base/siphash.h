// SipHash-2-4 (Aumasson, Bernstein, 2012): a keyed hash that those who see its outputs cannot predict. For what strangers
// must not be able to forge (SYN cookies); tables that only have to scatter use hash.h, which is faster.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace sluice {

struct SipKey {
  std::uint64_t a;
  std::uint64_t b;
};

inline std::uint64_t siphash(SipKey key, std::span<const std::byte> bytes) {
  std::uint64_t v0 = key.a ^ 0x736f6d6570736575ull, v1 = key.b ^ 0x646f72616e646f6dull;
  std::uint64_t v2 = key.a ^ 0x6c7967656e657261ull, v3 = key.b ^ 0x7465646279746573ull;
  const auto round = [&] {
    v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
  };
  const auto take = [&](std::uint64_t word) {
    v3 ^= word;
    round(), round();
    v0 ^= word;
  };
  std::uint64_t last = static_cast<std::uint64_t>(bytes.size()) << 56;
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    take(word);
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) last |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
  take(last);
  v2 ^= 0xff;
  round(), round(), round(), round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace sluice
