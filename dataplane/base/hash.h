// Keyed 64-bit mixing for tables that strangers can aim at (flows) and for choices that every box
// must make alike (endpoint selection). Multiply-fold as in wyhash (Wang Yi): unlike CRC and
// Toeplitz it is not linear, so keys that collide under one secret do not collide under another.
#pragma once

#include <cstdint>

namespace sluice {

struct HashSecret {
  std::uint64_t a;
  std::uint64_t b;
};

inline std::uint64_t fold(std::uint64_t x, std::uint64_t y) {
  const unsigned __int128 product = static_cast<unsigned __int128>(x) * y;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t keyed_hash(HashSecret secret, std::uint64_t word0, std::uint64_t word1) {
  return fold(fold(word0 ^ secret.a, word1 ^ secret.b) ^ secret.b, 0xa0761d6478bd642full);
}

inline std::uint64_t keyed_hash(HashSecret secret, std::uint64_t word0, std::uint64_t word1,
                                std::uint64_t word2, std::uint64_t word3, std::uint64_t word4) {
  const std::uint64_t first = fold(word0 ^ secret.a, word1 ^ secret.b);
  const std::uint64_t second = fold(word2 ^ secret.b, word3 ^ 0xe7037ed1a0b428dbull);
  return fold(first ^ word4 ^ secret.a, second ^ 0xa0761d6478bd642full);
}

}  // namespace sluice
