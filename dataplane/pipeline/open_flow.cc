#include "dataplane/pipeline/choose_endpoint.h"
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

bool choose_source(World& world, Packet& packet, const ClusterRow& cluster, const EndpointRow& endpoint,
                   FlowKey& to_endpoint) {
  const SnatPoolRow& pool = world.tables->snat_pools()[cluster.snat_pool];
  const std::uint64_t in_use = world.counters.endpoints[endpoint.id].flows_active.read();
  const SnatChoice choice =
      world.snat_ports.choose(*world.tables, pool, endpoint, in_use, world.flows, world.lcore, world.lcore_count);
  world.counters.snat_port_probes.add(choice.probes);
  switch (choice.outcome) {
    case SnatChoice::Outcome::found:
      to_endpoint.source = choice.address;
      to_endpoint.source_port = choice.port;
      return true;
    case SnatChoice::Outcome::exhausted: packet.verdict = Verdict::drop_snat_ports_exhausted; return false;
    case SnatChoice::Outcome::no_address: packet.verdict = Verdict::drop_no_snat_address; return false;
  }
  return false;
}

void refuse(Packet& packet) {
  if (packet.frame.kind == FrameKind::tcp) return reject(packet, Verdict::reject_no_endpoint);
  packet.verdict = Verdict::drop_no_endpoint;
}

void open_one(World& world, Packet& packet) {
  const VipRow& vip = *packet.vip;
  const ClusterRow& cluster = world.tables->clusters()[vip.cluster];
  const bool is_tcp = packet.frame.kind == FrameKind::tcp;
  if (vip.state == VipState::pending) {
    packet.verdict = Verdict::drop_vip_pending;
    return;
  }
  if (cluster.slot_count == 0) return refuse(packet);
  if (world.flows.is_full()) {  // before any work: this is what a flood meets
    packet.verdict = Verdict::drop_flows_full;
    return;
  }
  const FlowKey& key = packet.frame.key;
  const EndpointRow& endpoint = world.tables->endpoints_of(cluster)[choose_endpoint(world, cluster, key)];
  if (endpoint.address.is_v4() != key.destination.is_v4()) [[unlikely]] {
    return refuse(packet);  // families are not translated
  }

  FlowOpening opening;
  opening.from_client = key;
  opening.to_endpoint = key;
  opening.to_endpoint.destination = endpoint.address;
  opening.to_endpoint.destination_port = endpoint.port;
  opening.is_snat = cluster.forwarding == Forwarding::full_nat;
  if (opening.is_snat && !choose_source(world, packet, cluster, endpoint, opening.to_endpoint)) return;
  if (!opening.is_snat && world.flows.contains(opening.to_endpoint.reversed())) {
    packet.verdict = Verdict::drop_flow_conflict;  // replies of both could not be told apart
    return;
  }
  opening.state = is_tcp ? FlowState::opening : FlowState::one_way;
  opening.vip_id = static_cast<std::uint16_t>(vip.id);
  opening.endpoint_id = endpoint.id;
  opening.idle_timeout_ms = vip.idle_timeout_ms;
  if (is_tcp) opening.client_isn = packet.at<TcpHeader>(packet.frame.l4_offset).sequence.host();

  packet.flow = world.flows.open(opening, world.now);
  packet.direction = Direction::to_endpoint;
  if (packet.flow == nullptr) {
    packet.verdict = Verdict::drop_flows_full;
    return;
  }
  VipCounters& vip_counters = world.counters.vips[vip.id];
  EndpointCounters& endpoint_counters = world.counters.endpoints[endpoint.id];
  vip_counters.flows_opened.add(1);
  vip_counters.flows_active.add(1);
  endpoint_counters.flows_opened.add(1);
  endpoint_counters.flows_active.add(1);
}

}  // namespace

void open_flow(World& world, Burst& burst) {
  bool has_opened = false;
  for_each_live(burst, [&](Packet& packet) {
    if (packet.vip == nullptr) return;
    if (has_opened) {
      // An earlier packet of this burst may have opened the very flow.
      const FlowMatch match = world.flows.find(packet.frame.key, packet.hash);
      packet.flow = match.record;
      packet.direction = match.direction;
      if (packet.flow != nullptr) return;
    }
    open_one(world, packet);
    has_opened = true;
  });
}

}  // namespace sluice
