#include "dataplane/pipeline/flow_limits.h"

namespace sluice {

void FlowLimits::follow(const Snapshot& tables, const Counters& counters) {
  const auto of_vip = [&](std::uint32_t id) { return static_cast<std::uint32_t>(counters.vips[id].flows_active.read()); };
  const auto of_endpoint = [&](std::uint32_t id) { return static_cast<std::uint32_t>(counters.endpoints[id].flows_active.read()); };
  vips_.begin_round();
  for (const VipRow& vip : tables.vips()) {
    const VipLimitsRow* limits = tables.limits_of(vip);
    if (limits == nullptr) break;  // no VIP has any
    if (limits->flows_max == 0) continue;
    vips_.keep(vip.id, [&](std::uint32_t id) { shared_.vips[id].flows.add(of_vip(id)); });
  }
  vips_.end_round([&](std::uint32_t id) { shared_.vips[id].flows.subtract(of_vip(id)); });
  endpoints_.begin_round();
  for (const ClusterRow& cluster : tables.clusters()) {
    if (cluster.endpoint_flows_max == 0) continue;
    for (const EndpointRow& endpoint : tables.endpoints_of(cluster)) {
      endpoints_.keep(endpoint.id, [&](std::uint32_t id) { shared_.endpoints[id].add(of_endpoint(id)); });
    }
  }
  endpoints_.end_round([&](std::uint32_t id) { shared_.endpoints[id].subtract(of_endpoint(id)); });
}

}  // namespace sluice
