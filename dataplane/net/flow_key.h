// FlowKey: the five-tuple of a packet as it came in, source first.
#pragma once

#include <cstdint>

#include "dataplane/base/hash.h"
#include "dataplane/net/address.h"

namespace sluice {

struct FlowKey {
  IpAddress source;
  IpAddress destination;
  Be16 source_port{};
  Be16 destination_port{};
  std::uint8_t protocol = 0;

  FlowKey reversed() const { return {destination, source, destination_port, source_port, protocol}; }
  friend bool operator==(const FlowKey&, const FlowKey&) = default;
};

using FlowHash = std::uint64_t;

inline FlowHash hash_of(const FlowKey& key, HashSecret secret) {
  const std::uint64_t ports = static_cast<std::uint64_t>(key.protocol) << 32 |
                              static_cast<std::uint64_t>(key.source_port.raw) << 16 | key.destination_port.raw;
  if (key.source.is_v4()) {
    const std::uint64_t addresses =
        (key.source.low & 0xffffffff00000000ull) | static_cast<std::uint64_t>(key.destination.as_v4().raw);
    return keyed_hash(secret, addresses, ports);
  }
  return keyed_hash(secret, key.source.high, key.source.low, key.destination.high, key.destination.low, ports);
}

}  // namespace sluice
