#include "dataplane/flow/toeplitz.h"

#include "dataplane/base/assert.h"

namespace sluice {
namespace {

// The 32 bits of the key that begin at bit `first`, the most significant being bit 0.
std::uint32_t window(std::span<const std::uint8_t> key, std::size_t first) {
  std::uint32_t bits = 0;
  for (std::size_t bit = first; bit < first + 32; ++bit) bits = bits << 1 | (key[bit / 8] >> (7 - bit % 8) & 1u);
  return bits;
}

}  // namespace

Toeplitz::Toeplitz(std::span<const std::uint8_t> key) {
  LB_ASSERT(key.size() >= toeplitz_key_bytes_min);
  for (std::size_t place = 0; place < input_bytes_max; ++place) {
    auto& added = added_[place];
    added[0] = 0;
    for (std::size_t bit = 0; bit < 8; ++bit) added[0x80u >> bit] = window(key, place * 8 + bit);
    for (std::size_t value = 1; value < added.size(); ++value) {
      const std::size_t lowest = value & (~value + 1);
      added[value] = added[lowest] ^ added[value ^ lowest];
    }
  }
}

std::uint32_t Toeplitz::of_address(IpAddress address, std::size_t place) const {
  const auto bytes = address.bytes();
  std::uint32_t hash = 0;
  for (std::size_t i = address.is_v4() ? 12 : 0; i < bytes.size(); ++i) hash ^= added_[place++][bytes[i]];
  return hash;
}

}  // namespace sluice
