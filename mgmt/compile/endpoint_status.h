// What health checks, drains and the time say of an endpoint as a member of a cluster.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "dataplane/tables/snapshot.h"
#include "mgmt/health/verdicts.h"
#include "mgmt/model/objects.h"

namespace sluice {

// The endpoints that an operator drains, and since when (wall clock, so that it survives a
// restart).
using Drains = std::map<ObjectKey, std::uint64_t>;

// What health checks say of it, drained or not.
struct EndpointStatus {
  EndpointState state = EndpointState::up;
  bool is_checked = false;  // some health check watches it
  std::string reason;       // why it is not up
  std::uint64_t since_unix_ms = 0;
};
EndpointStatus endpoint_health(const Object& cluster, const ObjectKey& endpoint,
                               const HealthRecords& health);

// When its flows end; nothing when it is not drained or may take its time.
std::optional<std::uint64_t> drain_deadline(const Object& cluster, const ObjectKey& endpoint,
                                            const Drains& drains);

// How far an endpoint that came up has been let in: tenths of its weight, and when there will be one more.
inline constexpr std::uint16_t ramp_steps = 10;
struct Ramp {
  std::uint16_t tenths = ramp_steps;
  std::optional<std::uint64_t> next_unix_ms;
};
Ramp ramp_of(const Object& cluster, const EndpointStatus& status, std::uint64_t now_unix_ms);

// The next moment after `now_unix_ms` at which time alone changes the tables: a drain deadline passes, an endpoint that
// came up gets a larger share. Nothing when none will.
std::optional<std::uint64_t> next_change(const ObjectStore& objects, const Drains& drains, const HealthRecords& health,
                                         std::uint64_t now_unix_ms);

}  // namespace sluice
