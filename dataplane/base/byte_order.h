// Big-endian integers as types. A field of a wire struct is a Be16 or Be32; it is compared with
// be16(53), and only host() turns it into a number one may add to. Conversion is free where the
// value is a constant. They may lie at any address: a header begins wherever the frame says.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>

namespace sluice {

static_assert(std::endian::native == std::endian::little, "the packet path is written for x86-64");

struct [[gnu::packed]] Be16 {
  std::uint16_t raw;  // as it lies on the wire
  constexpr std::uint16_t host() const { return __builtin_bswap16(raw); }
  friend constexpr bool operator==(Be16, Be16) = default;
};

struct [[gnu::packed]] Be32 {
  std::uint32_t raw;  // as it lies on the wire
  constexpr std::uint32_t host() const { return __builtin_bswap32(raw); }
  friend constexpr bool operator==(Be32, Be32) = default;
};

constexpr Be16 be16(std::uint16_t host) { return Be16{__builtin_bswap16(host)}; }
constexpr Be32 be32(std::uint32_t host) { return Be32{__builtin_bswap32(host)}; }

static_assert(alignof(Be16) == 1 && alignof(Be32) == 1);

}  // namespace sluice
