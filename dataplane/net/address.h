// Addresses. An IpAddress is 128 bits in network order; IPv4 is held as an IPv4-mapped IPv6 address
// (::ffff:a.b.c.d, RFC 4291 2.5.5.2), so that tables need one kind of row for both families.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/base/byte_order.h"

namespace sluice {

struct IpAddress {
  std::uint64_t high = 0;  // bytes 0..7 as they lie on the wire
  std::uint64_t low = 0;   // bytes 8..15

  static constexpr std::uint64_t mapped_prefix = 0xffff0000;  // 00 00 ff ff, little-endian low half of `low`

  static constexpr IpAddress v4(Be32 address) {
    return {0, mapped_prefix | static_cast<std::uint64_t>(address.raw) << 32};
  }
  static IpAddress v6(const void* sixteen_bytes) {
    IpAddress address;
    std::memcpy(&address, sixteen_bytes, sizeof address);
    return address;
  }
  // "192.0.2.1" or "2001:db8::1"; nothing else.
  static std::optional<IpAddress> parse(std::string_view text);

  constexpr bool is_v4() const { return high == 0 && (low & 0xffffffff) == mapped_prefix; }
  constexpr bool is_unset() const { return high == 0 && low == 0; }
  constexpr Be32 as_v4() const { return Be32{static_cast<std::uint32_t>(low >> 32)}; }
  constexpr bool is_multicast() const { return is_v4() ? (as_v4().host() >> 28) == 0xe : (high & 0xff) == 0xff; }
  constexpr bool is_loopback() const { return is_v4() ? (as_v4().host() >> 24) == 127 : high == 0 && low == 1ull << 56; }
  // fe80::/10, 169.254/16
  constexpr bool is_link_local() const { return is_v4() ? (as_v4().host() >> 16) == 0xa9fe : (high & 0xc0ff) == 0x80fe; }
  constexpr bool is_unspecified() const { return is_v4() ? (as_v4().host() >> 24) == 0 : is_unset(); }  // 0/8, ::
  constexpr bool is_broadcast() const { return is_v4() && as_v4().raw == 0xffffffff; }

  // What a packet may come from; loopback, multicast, unspecified and broadcast addresses are nobody's. IPv4 by the first byte.
  constexpr bool may_be_source() const {
    if (!is_v4()) return !is_multicast() && !is_loopback() && !is_unspecified();
    const auto first = static_cast<std::uint8_t>(low >> 32);
    return (first >= 1 && first <= 126) || (first >= 128 && first <= 223) || (first >= 240 && !is_broadcast());
  }

  std::array<std::uint8_t, 16> bytes() const {
    std::array<std::uint8_t, 16> copy;
    std::memcpy(copy.data(), this, sizeof *this);
    return copy;
  }
  std::string text() const;

  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;
};
static_assert(sizeof(IpAddress) == 16);

// A network: `length` counts bits of the 128-bit form, so 10.0.0.0/8 has length 96 + 8.
struct IpPrefix {
  IpAddress network;
  std::uint8_t length = 0;

  // "10.0.0.0/8", "2001:db8::/32", or a bare address (a full-length prefix). Host bits are kept out.
  static std::optional<IpPrefix> parse(std::string_view text);
  static constexpr IpPrefix of(IpAddress address, std::uint8_t length) {
    const unsigned high_bits = length > 64 ? 64 : length;
    return {{address.high & mask_of(high_bits), address.low & mask_of(length - high_bits)}, length};
  }

  // An IPv6 prefix shorter than ::ffff:0:0/96 holds no IPv4 address, or ::/0 would be every family's default route.
  constexpr bool contains(IpAddress address) const {
    return address.is_v4() == is_v4() && of(address, length).network == network;
  }
  constexpr bool is_v4() const { return length >= 96 && network.is_v4(); }
  std::string text() const;

  friend bool operator==(const IpPrefix&, const IpPrefix&) = default;

 private:
  // The first bits, 64 at most, of eight bytes as they lie on the wire.
  static constexpr std::uint64_t mask_of(unsigned bits) {
    return bits == 0 ? 0 : __builtin_bswap64(~std::uint64_t{0} << (64 - bits));
  }
};

struct MacAddress {
  std::array<std::uint8_t, 6> bytes;

  static std::optional<MacAddress> parse(std::string_view text);
  static constexpr MacAddress broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  constexpr bool is_multicast() const { return (bytes[0] & 1) != 0; }
  std::string text() const;

  // By hand: the default compares byte by byte or calls memcmp, on every packet.
  friend bool operator==(const MacAddress& a, const MacAddress& b) {
    std::uint32_t head[2];
    std::uint16_t tail[2];
    std::memcpy(&head[0], a.bytes.data(), 4);
    std::memcpy(&head[1], b.bytes.data(), 4);
    std::memcpy(&tail[0], a.bytes.data() + 4, 2);
    std::memcpy(&tail[1], b.bytes.data() + 4, 2);
    return head[0] == head[1] && tail[0] == tail[1];
  }
};
static_assert(sizeof(MacAddress) == 6);

// "192.0.2.1:80", "[2001:db8::1]:80"
std::string address_port_text(IpAddress address, Be16 port);

}  // namespace sluice
