// What health checks ask, and what they still know after a change: from the configuration to the prober's targets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "mgmt/compile/ids.h"
#include "mgmt/health/prober.h"

namespace sluice {

// Every endpoint with every health check of a cluster it is in.
std::vector<ProbeSpec> probes_of(const ObjectStore& objects, const IdMap& ids);

// Where a target is probed: elsewhere it is another question.
struct ProbePlace {
  IpAddress address;
  std::uint16_t port = 0;
  std::optional<std::uint32_t> direct_id;
  friend bool operator==(const ProbePlace&, const ProbePlace&) = default;
};
using ProbePlaces = std::map<HealthTarget, ProbePlace>;

ProbePlaces places_of(const std::vector<ProbeSpec>& probes);

// What is still known when the configuration changes from `before` to `after`. A target that is
// probed at another place is unknown again. An endpoint that takes flows already and gets a check
// it did not have counts as up until the check says otherwise: to add a check must not stop the
// traffic.
HealthRecords health_after(const ObjectStore& before, const ObjectStore& after,
                           const HealthRecords& health, const ProbePlaces& places_before,
                           const ProbePlaces& places_after, std::uint64_t now_unix_ms);

}  // namespace sluice
