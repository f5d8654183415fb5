#include "mgmt/compile/endpoint_status.h"

#include <algorithm>

#include "mgmt/schema/resolve.h"

namespace sluice {

EndpointStatus endpoint_health(const Object& cluster, const ObjectKey& endpoint,
                               const HealthRecords& health) {
  EndpointStatus status;
  bool is_unknown = false;
  bool is_down = false;
  for (const api::ObjectRef& reference : cluster_spec(cluster).health_checks()) {
    const ObjectKey check = target_of(reference, "healthcheck", cluster.key().space);
    const auto found = health.find({endpoint, check});
    status.is_checked = true;
    if (found == health.end() || found->second.verdict == HealthVerdict::unknown) {
      is_unknown = true;
      if (status.reason.empty()) status.reason = "no probe has finished yet";
      continue;
    }
    status.since_unix_ms = std::max(status.since_unix_ms, found->second.since_unix_ms);
    if (found->second.verdict == HealthVerdict::down) {
      is_down = true;
      status.reason = check.name + ": " + found->second.reason;
    }
  }
  status.state = is_down      ? EndpointState::down
                 : is_unknown ? EndpointState::unknown
                              : EndpointState::up;
  if (status.state == EndpointState::up) status.reason.clear();
  return status;
}

std::optional<std::uint64_t> drain_deadline(const Object& cluster, const ObjectKey& endpoint,
                                            const Drains& drains) {
  const auto since = drains.find(endpoint);
  if (since == drains.end() || !cluster_spec(cluster).sluice().has_drain_timeout())
    return std::nullopt;
  return since->second + cluster_spec(cluster).sluice().drain_timeout();
}

Ramp ramp_of(const Object& cluster, const EndpointStatus& status, std::uint64_t now_unix_ms) {
  const api::ClusterExtension& spec = cluster_spec(cluster).sluice();
  if (!spec.has_slow_start() || status.state != EndpointState::up || !status.is_checked) return {};
  const std::uint64_t age_ms = now_unix_ms > status.since_unix_ms ? now_unix_ms - status.since_unix_ms : 0;
  const std::uint64_t step_ms = spec.slow_start() / ramp_steps;
  const std::uint64_t step = age_ms / step_ms;
  if (step + 1 >= ramp_steps) return {};
  return {static_cast<std::uint16_t>(step + 1), status.since_unix_ms + (step + 1) * step_ms};
}

std::optional<std::uint64_t> next_change(const ObjectStore& objects, const Drains& drains, const HealthRecords& health,
                                         std::uint64_t now_unix_ms) {
  std::optional<std::uint64_t> next;
  const auto consider = [&](std::optional<std::uint64_t> moment) {
    if (moment && *moment > now_unix_ms && (!next || *moment < *next)) next = moment;
  };
  for (const ObjectPtr& cluster : objects.of_kind("cluster")) {
    const bool has_ramp = cluster_spec(*cluster).sluice().has_slow_start();
    if (drains.empty() && !has_ramp) continue;
    for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *cluster)) {
      const ObjectKey& key = endpoint.object->key();
      consider(drain_deadline(*cluster, key, drains));
      if (has_ramp) consider(ramp_of(*cluster, endpoint_health(*cluster, key, health), now_unix_ms).next_unix_ms);
    }
  }
  return next;
}

}  // namespace sluice
