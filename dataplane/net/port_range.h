// Ports of a VIP: ranges, and how they are written.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "dataplane/net/address.h"

namespace sluice {

struct PortRange {
  std::uint16_t first, last;  // both included

  bool is_single() const { return first == last; }
  bool contains(std::uint16_t port) const { return first <= port && port <= last; }
  friend bool operator==(const PortRange&, const PortRange&) = default;
};

inline constexpr PortRange all_ports{1, 65'535};

std::string ports_text(std::span<const PortRange> ports);  // "80", "80,8080-8191", "*" for all
// "10.9.0.1:80/tcp", "10.9.0.0/28:80,8080-8191/udp", "[fd00:9::/124]:*/tcp".
std::string vip_text(IpPrefix where, std::span<const PortRange> ports, std::uint8_t protocol);

}  // namespace sluice
