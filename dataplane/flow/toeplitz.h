// Toeplitz: the hash by which network cards spread packets over their queues (Microsoft, "RSS hashing functions"; the
// one that DPDK's rte_softrss computes), for the packet that carries a given five-tuple.
//
// The input is source address, destination address, source port, destination port, as on the wire. The hash of a tuple
// is the exclusive or of what each of its bytes adds by itself. So whoever varies only the destination port, to find one
// whose packets hash to a wanted queue, pays two table look-ups for each.
// Memory: 36 KiB of tables, of which IPv4 reads 12. Threads: immutable.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/net/flow_key.h"

namespace sluice {

inline constexpr std::size_t toeplitz_key_bytes_min = 40;  // of which IPv6 uses all

class Toeplitz {
 public:
  // The first toeplitz_key_bytes_min bytes count; NICs with longer keys hash more than a five-tuple with the rest.
  explicit Toeplitz(std::span<const std::uint8_t> key);

  std::uint32_t hash(const FlowKey& key) const {
    const bool is_v4 = key.source.is_v4();
    return of_source(key.source, key.source_port) ^ of_destination(key.destination) ^
           of_destination_port(key.destination_port, is_v4);
  }

  // What the parts of a tuple add.
  std::uint32_t of_source(IpAddress source, Be16 port) const {
    const bool is_v4 = source.is_v4();
    return of_address(source, 0) ^ of_port(port, is_v4 ? source_port_v4 : source_port_v6);
  }
  std::uint32_t of_destination(IpAddress destination) const { return of_address(destination, destination.is_v4() ? 4 : 16); }
  std::uint32_t of_destination_port(Be16 port, bool is_v4) const {
    return of_port(port, is_v4 ? destination_port_v4 : destination_port_v6);
  }

 private:
  static constexpr std::size_t input_bytes_max = 36;
  static constexpr std::size_t source_port_v4 = 8, destination_port_v4 = 10, source_port_v6 = 32, destination_port_v6 = 34;

  std::uint32_t of_port(Be16 port, std::size_t place) const {
    return added_[place][port.raw & 0xff] ^ added_[place + 1][port.raw >> 8];
  }
  std::uint32_t of_address(IpAddress address, std::size_t place) const;

  std::array<std::array<std::uint32_t, 256>, input_bytes_max> added_;  // by place in the input, by value of the byte
};

}  // namespace sluice
