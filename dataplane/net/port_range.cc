#include "dataplane/net/port_range.h"

#include <fmt/core.h>

#include "dataplane/net/headers.h"

namespace sluice {

std::string ports_text(std::span<const PortRange> ports) {
  std::string text;
  for (const PortRange& range : ports) {
    if (range == all_ports) return "*";
    if (!text.empty()) text += ',';
    text += range.is_single() ? std::to_string(range.first) : fmt::format("{}-{}", range.first, range.last);
  }
  return text;
}

std::string vip_text(IpPrefix where, std::span<const PortRange> ports, std::uint8_t protocol_number) {
  const std::string address = where.length == 128 ? where.network.text() : where.text();
  return fmt::format("{}:{}/{}", where.network.is_v4() ? address : fmt::format("[{}]", address), ports_text(ports),
                     protocol_number == protocol::udp ? "udp" : "tcp");
}

}  // namespace sluice
