// Two passes over the packets that may open a flow. The first decides (endpoint, SNAT port) and
// asks for the memory that the new flow will lie in; the second, when that memory has come, opens.
// One at a time, each would wait for DRAM thrice.
#include <algorithm>
#include <array>
#include <memory>

#include "dataplane/pipeline/choose_endpoint.h"
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::size_t slots_searched_max = 256;  // for an endpoint below its limit

// A flow on its way to its record. Its endpoint is taken before take_place(), its VIP in finish().
struct Opening {
  const VipRow* vip = nullptr;
  const ClusterRow* cluster = nullptr;
  const EndpointRow* endpoint = nullptr;
  FlowOpening flow;
  FlowHash client_hash = 0, reply_hash = 0;
  bool is_by_connection_id = false;  // QUIC
};

// RFC 6335 6: dynamic ports; the flow's hash gives each flow one, which spreads tunnels over queues and paths.
Be16 spreading_port(FlowHash hash) { return be16(static_cast<std::uint16_t>(0xc000u | (hash >> 20 & 0x3fffu))); }

Dsr dsr_of(Forwarding forwarding) {
  switch (forwarding) {
    case Forwarding::dsr_l2: return Dsr::l2;
    case Forwarding::dsr_ipip: return Dsr::ipip;
    case Forwarding::dsr_gue: return Dsr::gue;
    default: return Dsr::none;
  }
}

// IPv4 packets may go inside IPv6; else only FULL_NAT has an address of the other family for the client to be seen with.
bool may_cross_families(Forwarding forwarding, IpAddress endpoint) {
  return forwarding == Forwarding::full_nat || (has_tunnel(forwarding) && !endpoint.is_v4());
}

void refuse(Packet& packet) {
  if (packet.frame.kind == FrameKind::tcp) return reject(packet, Verdict::reject_no_endpoint);
  packet.verdict = Verdict::drop_no_endpoint;
}

// How many flows of this lcore need a SNAT port of their own toward the endpoint, beside the one that is opening. One that
// is reached at many ports has as many spaces of SNAT ports, and nobody counts how full one of them is: the search will tell.
std::uint64_t flows_toward_port(const World& world, const ClusterRow& cluster, const EndpointRow& endpoint) {
  return cluster.is_lb_port != 0 ? 0 : world.counters.endpoints[endpoint.id].flows_active.read() - 1;
}

// The endpoint as SNAT ports are looked for toward it: at the port that the flow goes to.
EndpointRow at_port(const EndpointRow& endpoint, Be16 port) {
  EndpointRow place = endpoint;
  place.port = port;
  return place;
}

Verdict take_source(World& world, const SnatChoice& choice, Opening& opening) {
  world.counters.snat_port_probes.add(choice.probes);
  switch (choice.outcome) {
    case SnatChoice::Outcome::found: break;
    case SnatChoice::Outcome::exhausted: return Verdict::drop_snat_ports_exhausted;
    case SnatChoice::Outcome::no_address: return Verdict::drop_no_snat_address;
  }
  opening.flow.to_endpoint.source = choice.address;
  opening.flow.to_endpoint.source_port = choice.port;
  opening.reply_hash = world.flows.hash(opening.flow.to_endpoint.reversed());
  return Verdict::undecided;
}

// Addresses and ports of a flow through `vip` to `endpoint`. The caller has set from_client and its hash, state, client_isn
// and is_spliced. Unless it is `undecided`, the endpoint is left.
Verdict take_place(World& world, const VipRow& vip, const EndpointRow& endpoint, Opening& opening) {
  const ClusterRow& cluster = world.tables->clusters()[endpoint.cluster];
  opening.vip = &vip;
  opening.cluster = &cluster;
  opening.endpoint = &endpoint;
  FlowOpening& flow = opening.flow;
  flow.to_endpoint = flow.from_client;
  flow.to_endpoint.destination = endpoint.address;
  if (cluster.is_lb_port == 0) flow.to_endpoint.destination_port = endpoint.port;
  flow.is_snat = has_snat(cluster.forwarding);
  flow.vip_id = static_cast<std::uint16_t>(vip.id);
  flow.endpoint_id = endpoint.id;
  flow.idle_timeout_ms = vip.idle_timeout_ms;
  if (is_dsr(cluster.forwarding)) [[unlikely]] {
    set_direct(*world.tables, endpoint, opening.client_hash, flow);
    if (flow.state == FlowState::one_way) flow.state = FlowState::established;  // no answer will be seen
  } else if (flow.is_snat) {
    const SnatPoolRow& pool = world.tables->snat_pools()[cluster.snat_pool];
    const SnatChoice choice =
        world.snat_ports.next(*world.tables, pool, at_port(endpoint, flow.to_endpoint.destination_port),
                              flows_toward_port(world, cluster, endpoint), *world.replies, world.lcore);
    const Verdict verdict = take_source(world, choice, opening);
    if (verdict != Verdict::undecided) leave_endpoint(world, endpoint.id);
    return verdict;
  } else {
    opening.reply_hash = world.flows.hash(flow.to_endpoint.reversed());
  }
  return Verdict::undecided;
}

// Whether the endpoint's packets of this flow can be told from those of all others, with another
// SNAT port if need be.
Verdict make_unique(World& world, Opening& opening) {
  if (opening.flow.dsr != Dsr::none) return Verdict::undecided;  // none come
  if (!world.flows.contains(opening.flow.to_endpoint.reversed(), opening.reply_hash)) [[likely]]
    return Verdict::undecided;
  if (!opening.flow.is_snat) return Verdict::drop_flow_conflict;
  const SnatPoolRow& pool = world.tables->snat_pools()[opening.cluster->snat_pool];
  return take_source(world,
                     world.snat_ports.choose(*world.tables, pool,
                                             at_port(*opening.endpoint, opening.flow.to_endpoint.destination_port),
                                             flows_toward_port(world, *opening.cluster, *opening.endpoint), world.flows,
                                             *world.replies, world.lcore),
                     opening);
}

// The record, and those who count it. `undecided` when `record` is open; otherwise why it is not.
Verdict finish(World& world, Opening& opening, FlowRecord*& record) {
  if (!take_vip(world, *opening.vip)) [[unlikely]] {
    leave_endpoint(world, opening.endpoint->id);
    return Verdict::drop_connection_limit;
  }
  Verdict verdict = make_unique(world, opening);
  if (verdict == Verdict::undecided) {
    record = world.flows.open(opening.flow, opening.client_hash, opening.reply_hash, world.now);
    if (record == nullptr) verdict = Verdict::drop_flows_full;
  }
  if (verdict != Verdict::undecided) {
    leave_vip(world, opening.vip->id);
    leave_endpoint(world, opening.endpoint->id);
    return verdict;
  }
  VipCounters& vip = world.counters.vips[opening.flow.vip_id];
  vip.flows_opened.add(1);
  if (opening.is_by_connection_id) world.counters.flows_by_connection_id[opening.flow.vip_id].add(1);
  if (is_half_open(opening.flow)) vip.half_open.add(1);
  world.counters.endpoints[opening.endpoint->id].flows_opened.add(1);
  return Verdict::undecided;
}

void refuse_for_limit(Packet& packet) {
  if (packet.frame.kind == FrameKind::tcp) return reject(packet, Verdict::reject_connection_limit);
  packet.verdict = Verdict::drop_connection_limit;
}

// By now: take_vip() will tell.
bool has_flows_left(const World& world, const VipLimitsRow& limits, std::uint32_t vip_id) {
  return limits.flows_max == 0 || world.flow_limits.flows_of_vip(vip_id) < limits.flows_max;
}

PrefixTable sources_of(const World& world, const VipLimitsRow& limits) {
  return world.tables->prefix_table(world.tables->prefix_tables()[limits.sources]);
}

// Packets from where nobody may come are dropped: those of one virtual host at a time, which share a list.
void deny_sources(World& world, Burst& burst) {
  std::array<Packet*, burst_count_max> asking;
  std::array<std::uint8_t, burst_count_max> actions;
  std::size_t count = 0;
  std::uint32_t list = no_row;
  const VipLimitsRow* limits_asked = nullptr;
  const auto ask = [&] {
    if (count == 0) return;
    const PrefixTable sources = sources_of(world, *limits_asked);
    sources.values_of(std::span(actions).first(count), [&](std::size_t i) { return asking[i]->frame.key.source; });
    for (std::size_t i = 0; i < count; ++i) {
      if (actions[i] == source_action::deny) asking[i]->verdict = Verdict::drop_source_denied;
    }
    count = 0;
  };
  for_each_live(burst, [&](Packet& packet) {
    if (packet.vip == nullptr || packet.flow != nullptr) return;
    const VipLimitsRow* limits = world.tables->limits_of(*packet.vip);
    if (limits == nullptr || limits->sources == no_row) return;
    if (limits->sources != list) {
      ask();
      list = limits->sources;
      limits_asked = limits;
    }
    asking[count++] = &packet;
  });
  ask();
}

// What the virtual host's operator admits, sources apart.
Verdict verdict_by_limits(World& world, const VipLimitsRow& limits, std::uint32_t vip_id, IpAddress source) {
  const auto within = [&](const RateLimitRow& rate, auto... who) {
    return rate.interval_ns == 0 ||
           world.rate_limits.take(who..., vip_id, RateLimits::Of::new_flows, rate, world.now);
  };
  if (!has_flows_left(world, limits, vip_id)) return Verdict::drop_connection_limit;
  if (!within(limits.source_new_flows, source)) return Verdict::drop_rate_source_connections;
  return within(limits.new_flows) ? Verdict::undecided : Verdict::drop_rate_connections;
}

// Whether the packet may open a flow, before any work is done for it: this is what a flood meets.
bool admit(World& world, Packet& packet) {
  if (packet.frame.ttl <= 1) [[unlikely]] {
    refuse_ttl(world, packet);  // traceroute opens no flows
    return false;
  }
  if (world.is_leaving) [[unlikely]] {
    packet.verdict = Verdict::drop_leaving;
    return false;
  }
  if (const VipLimitsRow* limits = world.tables->limits_of(*packet.vip)) {
    packet.verdict = verdict_by_limits(world, *limits, packet.vip->id, packet.frame.key.source);
    if (packet.verdict == Verdict::drop_connection_limit) refuse_for_limit(packet);
    if (!packet.is_live()) return false;
  }
  if (packet.vip->state == VipState::pending) {
    packet.verdict = Verdict::drop_vip_pending;
  } else if (world.tables->clusters()[packet.vip->cluster].slot_count == 0 && packet.vip->quic == 0) {
    refuse(packet);
  } else if (world.flows.is_full() && packet.vip->is_one_packet == 0) {
    packet.verdict = Verdict::drop_flows_full;
  }
  return packet.is_live();
}

// Fills `opening`; false: the packet has its verdict.
bool decide(World& world, Packet& packet, Opening& opening) {
  const VipRow& vip = *packet.vip;
  const ClusterRow& cluster = world.tables->clusters()[vip.cluster];
  const bool is_tcp = packet.frame.kind == FrameKind::tcp;
  const FlowKey& key = packet.frame.key;
  const EndpointRow* endpoint = vip.quic != 0 ? choose_by_connection_id(world, packet) : nullptr;
  if (!packet.is_live()) return false;
  opening.is_by_connection_id = endpoint != nullptr;
  if (endpoint == nullptr && cluster.slot_count == 0) [[unlikely]] {
    refuse(packet);
    return false;
  }
  if (opening.is_by_connection_id) {
    if (!take_endpoint(world, *endpoint)) endpoint = nullptr;
  } else {
    endpoint = take_endpoint_of(world, cluster, world.tables->endpoints_of(cluster)[choose_endpoint(world, cluster, key)], packet.hash);
  }
  if (endpoint == nullptr) [[unlikely]] {
    refuse_for_limit(packet);
    return false;
  }
  const bool is_translated = endpoint->address.is_v4() != key.destination.is_v4();
  if (is_translated && !may_cross_families(cluster.forwarding, endpoint->address)) [[unlikely]] {
    leave_endpoint(world, endpoint->id);
    refuse(packet);
    return false;
  }
  opening.flow.from_client = key;
  opening.client_hash = packet.hash;
  opening.flow.state = is_tcp ? FlowState::opening : FlowState::one_way;
  opening.flow.client_isn = is_tcp ? packet.at<TcpHeader>(packet.frame.l4_offset).sequence.host() : 0;
  packet.verdict = take_place(world, vip, *endpoint, opening);
  return packet.is_live();
}

void open(World& world, Packet& packet, Opening& opening) {
  packet.verdict = finish(world, opening, packet.flow);
  // Those before it in the burst, or on another lcore, may have taken the last ones.
  if (packet.verdict == Verdict::drop_connection_limit) [[unlikely]] return refuse_for_limit(packet);
  packet.direction = Direction::to_endpoint;
  if (packet.vip->syn_cookies == SynCookies::on_threshold) [[unlikely]] {
    world.cookie_switches.opened({world.counters, world.shared_limits.counters}, packet.vip->id,
                                 world.tables->limits_of(*packet.vip)->cookie_threshold, world.now);
  }
}

// An earlier packet of this burst may have opened the very flow.
bool has_flow_by_now(World& world, Packet& packet) {
  const FlowMatch match = world.flows.find(packet.frame.key, packet.hash);
  packet.flow = match.record;
  packet.direction = match.direction;
  return packet.flow != nullptr;
}

}  // namespace

void set_direct(const Snapshot& tables, const EndpointRow& endpoint, FlowHash hash, FlowOpening& opening) {
  const ClusterRow& cluster = tables.clusters()[endpoint.cluster];
  opening.dsr = dsr_of(cluster.forwarding);
  opening.is_snat = false;
  opening.to_endpoint = opening.from_client;
  opening.to_endpoint.destination = endpoint.address;
  opening.to_endpoint.destination_port = endpoint.port;
  if (!has_tunnel(cluster.forwarding)) return;
  opening.to_endpoint.source = tables.addresses()[endpoint.tunnel_source].address;
  opening.to_endpoint.source_port = spreading_port(hash);
  opening.tunnel_port = cluster.gue_port;
}

Verdict admit_by_vip(World& world, const VipRow& vip, IpAddress source) {
  const VipLimitsRow* limits = world.tables->limits_of(vip);
  if (limits == nullptr) return Verdict::undecided;
  const bool is_denied = limits->sources != no_row && sources_of(world, *limits).value_of(source) == source_action::deny;
  if (is_denied) return Verdict::drop_source_denied;
  const Verdict verdict = verdict_by_limits(world, *limits, vip.id, source);
  return verdict == Verdict::drop_connection_limit ? Verdict::reject_connection_limit : verdict;
}

bool take_endpoint(World& world, const EndpointRow& endpoint) {
  const std::uint32_t max = world.tables->clusters()[endpoint.cluster].endpoint_flows_max;
  if (max != 0 && !world.flow_limits.take_endpoint(endpoint.id, max)) [[unlikely]] return false;
  world.counters.endpoints[endpoint.id].flows_active.add(1);
  return true;
}

void leave_endpoint(World& world, std::uint32_t endpoint_id) {
  world.counters.endpoints[endpoint_id].flows_active.subtract(1);
  world.flow_limits.leave_endpoint(endpoint_id);
}

bool take_vip(World& world, const VipRow& vip) {
  const VipLimitsRow* limits = world.tables->limits_of(vip);
  if (limits != nullptr && limits->flows_max != 0 && !world.flow_limits.take_vip(vip.id, limits->flows_max)) return false;
  world.counters.vips[vip.id].flows_active.add(1);
  return true;
}

void leave_vip(World& world, std::uint32_t vip_id) {
  world.counters.vips[vip_id].flows_active.subtract(1);
  world.flow_limits.leave_vip(vip_id);
}

const EndpointRow* take_endpoint_of(World& world, const ClusterRow& cluster, const EndpointRow& chosen, FlowHash hash) {
  if (take_endpoint(world, chosen)) [[likely]] return &chosen;
  const auto slots = world.tables->slots_of(cluster);
  const auto endpoints = world.tables->endpoints_of(cluster);
  for (std::size_t i = 0; i < std::min(slots.size(), slots_searched_max); ++i) {
    const EndpointRow& next = endpoints[slots[(hash + i) % slots.size()]];
    if (take_endpoint(world, next)) return &next;
  }
  return nullptr;
}

Verdict open_toward(World& world, const VipRow& vip, const EndpointRow& endpoint, const FlowOpening& wanted,
                    FlowHash client_hash, FlowRecord*& flow) {
  Opening opening;
  opening.flow = wanted;
  opening.client_hash = client_hash;
  const Verdict verdict = take_place(world, vip, endpoint, opening);
  return verdict == Verdict::undecided ? finish(world, opening, flow) : verdict;
}

void open_flow(World& world, Burst& burst) {
  union Room {  // is not written before it is used: of most bursts few packets open a flow, or none
    Room() {}
    Opening opening;
  };
  std::array<Room, burst_count_max> rooms;
  std::array<Packet*, burst_count_max> openers;  // whose they are
  std::array<Packet*, burst_count_max> repeats;  // the five-tuple came before in this burst
  std::size_t count = 0, repeat_count = 0;
  if (!world.tables->vip_limits().empty()) deny_sources(world, burst);
  for_each_live(burst, [&](Packet& packet) {
    if (packet.vip == nullptr || packet.flow != nullptr || !admit(world, packet)) return;
    if (packet.vip->is_one_packet != 0) [[unlikely]] return pass_question(world, packet);
    const auto opened = std::span(openers).first(count);
    if (std::any_of(opened.begin(), opened.end(), [&](const Packet* opener) { return opener->hash == packet.hash; })) {
      repeats[repeat_count++] = &packet;
    } else if (Opening& opening = *std::construct_at(&rooms[count].opening); decide(world, packet, opening)) {
      world.flows.prefetch_bucket(opening.reply_hash);
      world.flows.prefetch_unused(count);
      openers[count++] = &packet;
    }
  });
  for (std::size_t i = 0; i < count; ++i) open(world, *openers[i], rooms[i].opening);
  for (Packet* packet : std::span(repeats).first(repeat_count)) {
    Opening opening;
    if (!has_flow_by_now(world, *packet) && admit(world, *packet) && decide(world, *packet, opening)) {
      open(world, *packet, opening);
    }
  }
}

}  // namespace sluice
