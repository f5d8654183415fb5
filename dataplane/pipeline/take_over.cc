#include "dataplane/pipeline/take_over.h"

#include <algorithm>

#include "dataplane/net/headers.h"
#include "dataplane/pipeline/owner.h"

namespace sluice {
namespace {

// What one bit of damage can make of a state: the seal does not cover it, because packets change it.
bool has_possible_state(const FlowRecord& record) {
  if (record.protocol == protocol::tcp) return record.state != FlowState::unused && record.state != FlowState::one_way;
  return record.protocol == protocol::udp && (record.state == FlowState::one_way || record.state == FlowState::established);
}

// Without SNAT the endpoint talks to the client itself: else a reply could be of two flows on two lcores.
bool has_possible_client(const FlowRecord& record) {
  if ((record.flags & flow_flag::is_snat) != 0 || is_one_sided(record)) return true;
  const FlowKey from_client = arriving_key(record, Direction::to_endpoint);
  const FlowKey from_endpoint = arriving_key(record, Direction::to_client);
  return from_client.source == from_endpoint.destination && from_client.source_port == from_endpoint.destination_port;
}

bool is_configured(const Snapshot& tables, const FlowRecord& record) {
  return record.vip_id < vips_max && record.endpoint_id < endpoints_max &&
         is_known(tables, record, tables.vip_by_id(record.vip_id), tables.endpoint_by_id(record.endpoint_id));
}

// A flow that lay elsewhere, with its SpliceRecord when it is spliced. Full, or known already: it is left out.
void import_flow(World& world, const LeftoverFlow& left) {
  FlowRecord flow = left.flow;
  const bool is_spliced = (flow.flags & flow_flag::is_spliced) != 0;
  if (is_spliced) {
    flow.splice_slot = world.splices.import(left.splice, left.client);
    if (flow.splice_slot == no_splice) return;
  }
  if (world.flows.import(flow) == nullptr && is_spliced) world.splices.close(flow.splice_slot);
}

void count_taken_over(World& world, const Snapshot& tables) {
  for (const FlowRecord& record : world.flows.records()) {
    if (record.state == FlowState::unused) continue;
    VipCounters& vip = world.counters.vips[record.vip_id];
    vip.flows_active.add(1);
    if (is_half_open(record)) vip.half_open.add(1);
    world.counters.endpoints[record.endpoint_id].flows_active.add(1);
  }
  world.flow_limits.follow(tables, world.counters);  // every lcore's, before the first of them opens another
}

}  // namespace

bool is_known(const Snapshot& tables, const FlowRecord& record, const VipRow* vip, const EndpointRow* endpoint) {
  if (vip == nullptr || endpoint == nullptr) return false;
  const FlowKey from_client = arriving_key(record, Direction::to_endpoint);
  const FlowKey from_endpoint = arriving_key(record, Direction::to_client);
  return tables.covers(*vip, from_client.destination, from_client.destination_port) &&
         endpoint->address == from_endpoint.source &&
         tables.port_of(*endpoint, from_client.destination_port) == from_endpoint.source_port;
}

std::uint64_t take_over(const Snapshot& tables, std::span<const std::unique_ptr<World>> worlds, bool is_adoptable,
                        std::vector<LeftoverFlow> strays) {
  // A flow of direct server return has no reply that must find it: it stays where the client's packets arrive.
  const bool is_rss_stable = std::all_of(tables.ports().begin(), tables.ports().end(),
                                         [](const PortRow& port) { return port.is_rss_stable != 0; });
  const auto is_ours = [&](const FlowRecord& record, const World& world) {
    return owner_of_record(tables, record, *world.replies) == world.lcore;
  };
  const auto may_go_on = [&](const FlowRecord& record) {
    return has_possible_state(record) && is_sealed(record) && has_possible_client(record) && is_configured(tables, record);
  };
  for (const auto& world : worlds) {
    if (!is_adoptable) break;
    const auto stays = [&](const FlowRecord& record) {
      return (is_one_sided(record) && is_rss_stable) || is_ours(record, *world);
    };
    for (const FlowRecord& record : world->flows.records()) {
      if (!may_go_on(record) || stays(record) || !world->splices.is_adoptable(record)) continue;
      strays.push_back({record, world->splices.copy_for(record), world->splices.named_client_of(record)});
    }
    world->flows.adopt_all(
        [&](const FlowRecord& record) { return may_go_on(record) && stays(record) && world->splices.is_adoptable(record); });
    world->splices.adopt(world->flows.records());
  }
  for (const LeftoverFlow& left : strays) {
    if (!may_go_on(left.flow)) continue;
    for (const auto& world : worlds) {
      if (is_ours(left.flow, *world)) import_flow(*world, left);
    }
  }
  std::uint64_t count = 0;
  for (const auto& world : worlds) {
    count_taken_over(*world, tables);
    count += world->flows.count();
  }
  return count;
}

}  // namespace sluice
