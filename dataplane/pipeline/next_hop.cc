#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// Looks the next hop up: no_neighbor with the reason in `verdict` when there is none.
std::uint16_t look_up(World& world, IpAddress destination, Verdict& verdict) {
  const RouteRow* route = world.tables->find_route(destination);
  if (route == nullptr || !world.ports[route->port].is_present) {
    verdict = Verdict::drop_no_route;
    return no_neighbor;
  }
  const IpAddress next_hop = route->next_hop.is_unset() ? destination : route->next_hop;
  const std::uint16_t index = world.neighbors.find_or_add(next_hop, route->port, world.now);
  if (index == no_neighbor) {
    verdict = Verdict::drop_neighbors_full;
  } else if (route->port == exception_port) {  // nobody is to be asked
    world.neighbors.learn(next_hop, exception_port, world.exception_mac, world.now);
  }
  return index;
}

// A flow remembers its two next hops while the neighbour table and the routes stay as they are.
std::uint16_t look_up_for_flow(World& world, Packet& packet, FlowRecord& flow) {
  if (flow.neighbor_epoch != world.neighbors.epoch()) {
    flow.neighbor[0] = flow.neighbor[1] = no_neighbor;
    flow.neighbor_epoch = world.neighbors.epoch();
  }
  std::uint16_t& index = flow.neighbor[static_cast<std::size_t>(packet.direction)];
  if (index == no_neighbor) [[unlikely]] {
    index = look_up(world, leaving_key(flow, packet.direction).destination, packet.verdict);
  }
  return index;
}

void ask_once(World& world, Neighbor& neighbor) {
  if (neighbor.probes != 0 || !ask_for_neighbor(world, neighbor)) return;
  neighbor.probes = 1;
  neighbor.probed_stamp = world.now.stamp();
}

// The others leave at once: so nothing is held.
void cut(World& world, Packet& packet, Neighbor& neighbor) {
  if (neighbor.state != NeighborState::incomplete) return cut_tunnel(world, packet, neighbor);
  ask_once(world, neighbor);
  packet.verdict = Verdict::drop_neighbor_unresolved;
}

void send_or_hold(World& world, Packet& packet, std::uint16_t index) {
  Neighbor& neighbor = world.neighbors[index];
  const PortFacts& port = world.ports[neighbor.port];
  if (packet.bytes > port.mtu + packet.frame.l3_offset) [[unlikely]] {
    if (!packet.may_be_cut) return refuse_length(world, packet, port.mtu);
    cut(world, packet, neighbor);
    if (!packet.is_live()) return;
  }
  neighbor.used_stamp = world.now.stamp();
  packet.tx_port = neighbor.port;
  if (((packet.frame.l3_offset ^ sizeof(EthernetHeader)) | port.vlan) != 0 && !fit_tag(packet, port)) [[unlikely]] return;
  if (neighbor.state == NeighborState::incomplete) [[unlikely]] {
    ask_once(world, neighbor);
    const bool is_held = world.neighbors.hold(index, {packet.handle, packet.data, packet.bytes, index});
    packet.verdict = is_held ? Verdict::hold : Verdict::drop_hold_full;
    return;
  }
  auto& ethernet = packet.at<EthernetHeader>(0);
  ethernet.destination = neighbor.mac;
  ethernet.source = port.mac;
  packet.verdict = Verdict::forward;
}

}  // namespace

std::uint16_t mtu_ahead(World& world, Packet& packet, FlowRecord& flow) {
  const std::uint16_t index = look_up_for_flow(world, packet, flow);
  return index == no_neighbor ? std::uint16_t{0} : world.ports[world.neighbors[index].port].mtu;
}

void resolve_next_hop(World& world, Burst& burst) {
  for_each_live(burst, [&](Packet& packet) {
    const std::uint16_t index = packet.flow != nullptr ? look_up_for_flow(world, packet, *packet.flow)
                                                       : look_up(world, packet.frame.key.destination, packet.verdict);
    if (index != no_neighbor) send_or_hold(world, packet, index);
  });
}

const Neighbor* next_hop_to(World& world, IpAddress destination) {
  Verdict why = Verdict::undecided;
  const std::uint16_t index = look_up(world, destination, why);
  if (index == no_neighbor) return nullptr;
  Neighbor& neighbor = world.neighbors[index];
  neighbor.used_stamp = world.now.stamp();
  if (neighbor.state != NeighborState::incomplete) return &neighbor;
  ask_once(world, neighbor);
  return nullptr;
}

void release_held(World& world, std::uint16_t neighbor_index) {
  const Neighbor& neighbor = world.neighbors[neighbor_index];
  HeldPacket held;
  while (world.released.room() > 0 && world.neighbors.take_held(neighbor_index, held)) {
    auto& ethernet = *reinterpret_cast<EthernetHeader*>(held.data);
    ethernet.destination = neighbor.mac;
    ethernet.source = world.ports[neighbor.port].mac;
    *world.released.add() = {held.handle, held.bytes, neighbor.port, Verdict::forward};
  }
}

}  // namespace sluice
