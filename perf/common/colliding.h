// Five-tuples that an unkeyed hash takes for one, as an attacker makes them: what a client may choose, its IPv4 address and port,
// so that the low bits of a linear hash (CRC-32C, Toeplitz) never change. For measuring and testing what they do to a table that
// is not keyed by such a hash.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "dataplane/base/crc32c.h"
#include "dataplane/net/flow_key.h"

namespace sluice::perf {

inline constexpr unsigned chosen_bits = 48;     // address and port
inline constexpr unsigned colliding_bits = 20;  // of the hash: the buckets of a table of a million

// What a client chose, as it arrives at a VIP that is given.
inline FlowKey key_of_choice(std::uint64_t choice) {
  FlowKey key;
  key.source = IpAddress::v4(be32(static_cast<std::uint32_t>(choice >> 16)));
  key.source_port = be16(static_cast<std::uint16_t>(choice));
  key.destination = IpAddress::v4(be32(0x0a090001));
  key.destination_port = be16(443);
  key.protocol = 6;
  return key;
}

// The bytes that NICs hash: addresses, then ports.
inline std::array<std::uint8_t, 12> hashed_bytes(std::uint64_t choice) {
  const FlowKey key = key_of_choice(choice);
  const Be32 source = key.source.as_v4(), destination = key.destination.as_v4();
  std::array<std::uint8_t, 12> bytes;
  std::memcpy(&bytes[0], &source, 4);
  std::memcpy(&bytes[4], &destination, 4);
  std::memcpy(&bytes[8], &key.source_port, 2);
  std::memcpy(&bytes[10], &key.destination_port, 2);
  return bytes;
}

inline std::uint32_t crc_of_choice(std::uint64_t choice) {
  const auto bytes = hashed_bytes(choice);
  return crc32c(std::as_bytes(std::span(bytes)));
}

// With the key that most drivers begin with, Microsoft's.
inline std::uint32_t toeplitz_of_choice(std::uint64_t choice) {
  static constexpr std::uint8_t key[] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
                                         0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
                                         0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};
  const auto bytes = hashed_bytes(choice);
  std::uint32_t hash = 0;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    if ((bytes[bit / 8] >> (7 - bit % 8) & 1) == 0) continue;
    for (std::size_t i = 0; i < 32; ++i) hash ^= static_cast<std::uint32_t>(key[(bit + i) / 8] >> (7 - (bit + i) % 8) & 1) << (31 - i);
  }
  return hash;
}

// `count` (up to 2^28) different choices whose hash has the same low bits: sums of the differences that leave these as they are,
// which elimination finds because the hash is linear (the CRC but for a constant).
template <class Hash>
std::vector<std::uint64_t> colliding_choices(Hash hash, std::uint64_t count) {
  constexpr std::uint32_t mask = (1u << colliding_bits) - 1;
  const std::uint32_t of_zero = hash(0);
  std::array<std::uint64_t, colliding_bits> pivot_choice{};
  std::array<std::uint32_t, colliding_bits> pivot_hash{};
  std::vector<std::uint64_t> differences;
  for (unsigned bit = 0; bit < chosen_bits; ++bit) {
    std::uint64_t choice = 1ull << bit;
    std::uint32_t image = (hash(choice) ^ of_zero) & mask;
    bool is_pivot = false;
    for (unsigned i = 0; i < colliding_bits && !is_pivot; ++i) {
      if ((image >> i & 1) == 0) continue;
      if (pivot_hash[i] == 0) {
        pivot_hash[i] = image;
        pivot_choice[i] = choice;
        is_pivot = true;
      } else {
        image ^= pivot_hash[i];
        choice ^= pivot_choice[i];
      }
    }
    if (!is_pivot) differences.push_back(choice);
  }
  std::vector<std::uint64_t> choices(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    for (std::size_t bit = 0; bit < differences.size(); ++bit) {
      if ((i >> bit & 1) != 0) choices[i] ^= differences[bit];
    }
  }
  return choices;
}

}  // namespace sluice::perf
