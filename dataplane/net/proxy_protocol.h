// The PROXY protocol, versions 1 and 2 (HAProxy, proxy-protocol.txt, 2020): the header by which a balancer tells a server who
// its client is. We write it toward endpoints, and read what a proxy before us has written. Pure; allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/net/flow_key.h"

namespace sluice {

enum class ProxyProtocol : std::uint8_t { none, version_1, version_2 };

inline constexpr std::size_t proxy_header_bytes_max = 107;  // of version 1; version 2 takes at most 52

// Writes the header for a connection that the client opened as `from_client`; how many bytes. None: 0.
std::size_t write_proxy_header(ProxyProtocol version, const FlowKey& from_client,
                               std::span<std::byte, proxy_header_bytes_max> out);

inline constexpr std::size_t proxy_header_read_max = 4'096;  // of version 2 with all that it carries

enum class ProxyHeaderStatus : std::uint8_t {
  need_more,  // well formed so far
  complete,
  not_proxy,  // begins like neither version
  malformed,
  checksum_wrong,  // of a version 2 that carries one
  too_long,   // a line of more than 107 bytes, or a version 2 that says it ends beyond proxy_header_read_max
};

struct ProxyHeader {
  ProxyHeaderStatus status = ProxyHeaderStatus::need_more;
  std::uint16_t bytes = 0;  // complete: where it ends
  // complete: the client's connection to the proxy. Nothing when the header names none: UNKNOWN, LOCAL (the proxy speaks for
  // itself), and of version 2 what is neither TCP over IPv4 nor over IPv6 (UNSPEC, UDP, UNIX). The specification wants such a
  // connection to be taken with the addresses that it has.
  std::optional<FlowKey> from_client;
};

// Either version, from the first bytes of a connection; what follows the header is not looked at. The bytes may be cut
// anywhere: the answer for a prefix is either `need_more` or what it will be for every continuation. What version 2 carries
// behind the addresses (TLVs) must add up and is stepped over, but for a checksum (PP2_TYPE_CRC32C), which must be right. Addresses ::ffff:a.b.c.d are IPv4, as
// everywhere; the two must be of one family.
ProxyHeader read_proxy_header(std::span<const std::byte> bytes);

}  // namespace sluice
