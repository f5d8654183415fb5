// The mark on packets of a health check that are to take the way of clients' packets to one endpoint.
//
// The kernel's connection of a check carries it in each of its packets, put there by a socket option: an IPv4 option
// (RFC 791 3.1) or an IPv6 destination option (RFC 8200 4.6) of a number for experiments (RFC 4727 3.3, 3.4). It never
// leaves the box: the dataplane takes it off.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "dataplane/base/byte_order.h"

namespace sluice {

inline constexpr std::size_t probe_mark_bytes = 8;
using ProbeMark = std::array<std::byte, probe_mark_bytes>;

// What IP_OPTIONS takes, and what stands behind the fixed IPv4 header.
inline ProbeMark probe_mark_v4(std::uint32_t endpoint_id) {
  ProbeMark mark{std::byte{158}, std::byte{probe_mark_bytes}, std::byte{'S'}, std::byte{'L'}};
  const Be32 id = be32(endpoint_id);
  std::memcpy(&mark[4], &id, sizeof id);
  return mark;
}

// What IPV6_DSTOPTS takes, and what stands behind the IPv6 header; the kernel fills in the first byte.
inline ProbeMark probe_mark_v6(std::uint32_t endpoint_id) {
  ProbeMark mark{std::byte{0}, std::byte{0}, std::byte{0x1e}, std::byte{4}};
  const Be32 id = be32(endpoint_id);
  std::memcpy(&mark[4], &id, sizeof id);
  return mark;
}

// The endpoint, by its id in the snapshot; nothing: another option.
inline std::optional<std::uint32_t> read_probe_mark(std::span<const std::byte, probe_mark_bytes> bytes, bool is_v4) {
  const ProbeMark expected = is_v4 ? probe_mark_v4(0) : probe_mark_v6(0);
  const std::size_t first = is_v4 ? 0 : 1;
  if (std::memcmp(&bytes[first], &expected[first], 4 - first) != 0) return std::nullopt;
  Be32 id;
  std::memcpy(&id, &bytes[4], sizeof id);
  return id.host();
}

}  // namespace sluice
