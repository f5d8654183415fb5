// What a change of configuration does to traffic, read off the two snapshots: for `diff` and
// `apply`.
#pragma once

#include <string>
#include <vector>

#include "dataplane/tables/snapshot.h"

namespace sluice {

struct RemovedEndpoint {
  std::uint32_t id = 0;  // the dataplane's counters know how many flows it has
  std::string name;
  std::string cluster;
};

struct Consequences {
  std::vector<std::string> sentences;  // for the operator
  std::vector<RemovedEndpoint> removed_endpoints;
};

// `before` may be null: nothing was published yet.
Consequences compare(const Snapshot* before, const Snapshot& after);

// Share of the slots, 0 to 1, that lead to another endpoint. Tables of different size are compared
// by the flows they would send elsewhere.
double remapped_share(const Snapshot& before, const ClusterRow& cluster_before,
                      const Snapshot& after, const ClusterRow& cluster_after);

// The bytes of a snapshot without generation and CRC are equal.
bool is_same_content(std::span<const std::byte> a, std::span<const std::byte> b);

}  // namespace sluice
