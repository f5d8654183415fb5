// Slot tables: which endpoint a new flow gets, worked out beforehand. Weights, health and drain are
// in the table already: no slot names an endpoint that takes no new flows. A table is empty when
// none does.
//
// The result depends on nothing but the arguments. Each slot is the `index` of an endpoint.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/net/address.h"

namespace sluice {

struct SlotEndpoint {
  std::uint64_t identity = 0;  // endpoint_identity(): who it is, whatever its name and place
  std::uint16_t index = 0;     // in its cluster
  std::uint16_t weight = 1;    // at least 1
  std::uint32_t takes_flows =
      1;  // 0: down, draining or unknown; 32 bits, so that there is no padding
};

// Depends on address, port and protocol only, so that a renamed endpoint keeps its slots.
std::uint64_t endpoint_identity(IpAddress address, std::uint16_t port, std::uint8_t protocol);

// Maglev (Eisenbud et al., NSDI 2016, section 3.4), turns in proportion to weight. `size` is a
// prime. The table is built for all endpoints first; then those that take flows go on to fill the
// slots of those that do not. So an endpoint that fails or is drained moves its own slots and no
// others; only a change of the set itself moves some more, as in the paper (0.57 % at 65537 slots
// when 1 of 100 is removed, 0.70 % for the worst choice of the one).
std::vector<std::uint16_t> maglev_slots(std::span<const SlotEndpoint> endpoints,
                                        std::uint32_t size);

// A hash ring of points in proportion to weight, flattened into ring_slot_count slots.
inline constexpr std::uint32_t ring_slot_count = 65'536;
std::vector<std::uint16_t> ring_slots(std::span<const SlotEndpoint> endpoints);

// Each endpoint `weight` times (weights are scaled down when the table would exceed
// sequence_slots_max), spread evenly: to be walked in turn or drawn from at random.
inline constexpr std::uint32_t sequence_slots_max = 65'536;
std::vector<std::uint16_t> sequence_slots(std::span<const SlotEndpoint> endpoints);

}  // namespace sluice
