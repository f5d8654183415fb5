// The header by which a balancer tells an endpoint who its client is: the PROXY protocol, versions 1 and 2 (HAProxy,
// proxy-protocol.txt, 2020). Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/net/flow_key.h"

namespace sluice {

enum class ProxyProtocol : std::uint8_t { none, version_1, version_2 };

inline constexpr std::size_t proxy_header_bytes_max = 107;  // of version 1; version 2 takes at most 52

// Writes the header for a connection that the client opened as `from_client`; how many bytes. None: 0.
std::size_t write_proxy_header(ProxyProtocol version, const FlowKey& from_client,
                               std::span<std::byte, proxy_header_bytes_max> out);

}  // namespace sluice
