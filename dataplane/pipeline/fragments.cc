// Fragments: forwarded one by one, as the flow of the datagram's first says, each with its addresses rewritten and with
// an identification of ours; ports and transport checksum are in the first alone, which goes the way of any packet.
// Those that come before the first wait in the FragmentTable and come in again one burst after it.
//
// NICs spread fragments over queues by addresses only, or not alike for the first and the others. So all fragments
// between two addresses go to one lcore first, by a hash of these. From there they go to the flow's owner when the ports
// tell it (classify.cc); else they visit the lcores in turn until one has the flow, and the last one opens it: the one where
// whole packets of the flow arrive, when RSS is known. First and others take the same way, and rings keep their order.
// Where it is not known, whole packets may come to a lcore that has not opened the flow. Each has seen the first fragment go
// by and remembers it: a packet that would open the same flow visits the others too (classify.cc).
#include "dataplane/net/fragment.h"

#include "dataplane/net/parse.h"
#include "dataplane/pipeline/owner.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

Verdict verdict_of(FragmentFault fault) {
  switch (fault) {
    case FragmentFault::none: return Verdict::undecided;
    case FragmentFault::malformed: return Verdict::drop_fragment_malformed;
    case FragmentFault::tiny: return Verdict::drop_fragment_tiny;
    case FragmentFault::beyond: return Verdict::drop_fragment_beyond;
  }
  return Verdict::drop_fragment_malformed;
}

Verdict verdict_of(FragmentTable::Taken taken) {
  switch (taken) {
    case FragmentTable::Taken::added: return Verdict::undecided;
    case FragmentTable::Taken::duplicate: return Verdict::drop_fragment_duplicate;
    case FragmentTable::Taken::overlap: return Verdict::drop_fragment_overlap;
    case FragmentTable::Taken::scattered: return Verdict::drop_fragment_scattered;
  }
  return Verdict::drop_fragment_overlap;
}

// Addresses, protocol and identification name a datagram (RFC 791 3.2, RFC 8200 4.5).
FlowKey name_of(const Packet& packet, const Fragment& fragment) {
  FlowKey name = packet.frame.key;
  name.source_port = be16(static_cast<std::uint16_t>(fragment.id >> 16));
  name.destination_port = be16(static_cast<std::uint16_t>(fragment.id));
  return name;
}

std::uint32_t first_lcore_of(const World& world, const FlowKey& key) {
  return owner_by_client(*world.tables, {key.source.high ^ key.destination.high, key.source.low ^ key.destination.low}, Be16{0},
                         world.lcore_count);
}

// The ports, and what else the stages want to know of a whole packet. False: they are not as they should be.
bool become_packet(Packet& packet) {
  ParsedFrame& frame = packet.frame;
  if (frame.key.protocol == protocol::tcp) {
    const auto& tcp = packet.at<TcpHeader>(frame.l4_offset);
    if (tcp.header_bytes() < sizeof tcp || tcp.header_bytes() > frame.l4_bytes) {
      packet.verdict = Verdict::drop_fragment_tiny;
    } else if (!parsing::are_tcp_flags_possible(tcp.flags)) {
      packet.verdict = Verdict::drop_tcp_flags_invalid;
    }
    frame.kind = FrameKind::tcp;
    frame.tcp_flags = tcp.flags;
    frame.key.source_port = tcp.source_port;
    frame.key.destination_port = tcp.destination_port;
  } else {
    const auto& udp = packet.at<UdpHeader>(frame.l4_offset);
    if (udp.checksum == 0 && !frame.key.source.is_v4()) packet.verdict = Verdict::drop_udp_checksum_missing;
    frame.kind = FrameKind::udp;
    frame.key.source_port = udp.source_port;
    frame.key.destination_port = udp.destination_port;
  }
  return packet.is_live();
}

void hold(World& world, Packet& packet, Datagram& datagram, const FragmentLimits& limits) {
  const HeldFragment held{packet.handle, packet.bytes, packet.port, packet.hops};
  packet.verdict = world.fragments.hold(datagram, held, limits) ? Verdict::hold : Verdict::drop_fragment_hold_full;
}

// All lcores in turn, from the first to the one that opens; nothing when we are that. When that is the first, it is seen twice.
std::optional<std::uint32_t> next_in_turn(const World& world, const FlowKey& key, std::uint32_t first_lcore, std::uint8_t hops) {
  const std::uint32_t count = world.lcore_count;
  const std::uint32_t last = world.replies->arrival_of(key).value_or((first_lcore + count - 1) % count);
  const bool is_seen_twice = last == first_lcore;
  if (world.lcore == last && (!is_seen_twice || hops >= count || count == 1)) return std::nullopt;
  std::uint32_t next = (world.lcore + 1) % count;
  if (next == last && !is_seen_twice) next = (next + 1) % count;
  return next == first_lcore ? last : next;
}

// The lcore that may have the flow, when we have not; nothing when nobody else may.
std::optional<std::uint32_t> next_lcore(const World& world, const FlowKey& key, std::uint32_t first_lcore, std::uint8_t hops) {
  const Snapshot& tables = *world.tables;
  const OwnAddress local = tables.find_address(key.destination);
  std::optional<std::uint32_t> owner;
  if (local.kind == AddressKind::snat) {
    owner = world.replies->of(tables.snat_pools()[local.index], key);
  } else if (local.kind == AddressKind::none) {
    owner = owner_by_client(tables, key.destination, key.destination_port, world.lcore_count);
  } else if (const VipRow* vip = tables.find_vip(key.destination, key.destination_port, key.protocol); vip != nullptr) {
    const bool is_owned_by_client_hash = !world.is_rss_stable || vip->forwarding == Forwarding::nat;
    if (is_owned_by_client_hash) {
      owner = owner_by_client(tables, key.source, key.source_port, world.lcore_count);
    } else {
      owner = next_in_turn(world, key, first_lcore, hops);
    }
  }
  if (owner && *owner == world.lcore) owner.reset();
  return owner;
}

// Whether the flow's packets are left as they are, which their identification is a part of.
bool is_left_alone(const World& world, const FlowRecord* flow, const FlowKey& key) {
  if (flow != nullptr) return is_one_sided(*flow);
  const VipRow* vip = world.tables->find_vip(key.destination, key.destination_port, key.protocol);
  return vip != nullptr && is_dsr(vip->forwarding);
}

// To the other family, as its first went.
void send_to_other_family(World& world, Packet& packet, FlowRecord& flow, const Datagram& datagram, const FlowKey& leaving) {
  const bool is_v4 = !leaving.source.is_v4();
  if (is_v4 && datagram.lacks_checksum) {
    packet.verdict = Verdict::drop_fragment_checksum_missing;
  } else if (may_fit_other_family(world, packet, flow, is_v4)) {
    exchange_fragment(world, packet, flow, leaving);
  }
}

// A fragment without ports, rewritten as its flow says; left to be routed.
void forward(World& world, Packet& packet, const Datagram& datagram, FlowRecord& flow, Direction direction) {
  if (packet.frame.ttl <= 1 || flow.state == FlowState::ended) {
    packet.verdict = packet.frame.ttl <= 1 ? Verdict::drop_ttl_expired : Verdict::drop_fragment_no_flow;
    packet.flow = &flow;
    return;
  }
  const FlowKey leaving = leaving_key(flow, direction);
  const std::uint16_t bytes = packet.bytes;
  packet.direction = direction;
  if (is_one_sided(flow)) {
    if (!fits_direct(world, packet, flow)) {
      if (packet.verdict == Verdict::drop_mtu_exceeded) packet.flow = &flow;
      return;
    }
    send_direct(world, packet, flow);
  } else if (leaving.source.is_v4() != packet.frame.key.source.is_v4()) {
    send_to_other_family(world, packet, flow, datagram, leaving);
    if (!packet.is_live()) {
      packet.flow = &flow;
      return;
    }
  } else {
    set_ends(packet, leaving, static_cast<std::uint8_t>(packet.frame.ttl - 1));
  }
  packet.frame.key.destination = leaving.destination;
  flow.last_seen = world.now.stamp();
  VipCounters& vip = world.counters.vips[flow.vip_id];
  EndpointCounters& endpoint = world.counters.endpoints[flow.endpoint_id];
  const bool is_to_endpoint = direction == Direction::to_endpoint;
  (is_to_endpoint ? vip.rx_packets : vip.tx_packets).add(1);
  (is_to_endpoint ? vip.rx_bytes : vip.tx_bytes).add(bytes);
  (is_to_endpoint ? endpoint.to_packets : endpoint.from_packets).add(1);
  (is_to_endpoint ? endpoint.to_bytes : endpoint.from_bytes).add(bytes);
}

// Notes the bytes as forwarded and gives the fragment our identification. False: they were, or may not be.
bool take(World& world, Packet& packet, Datagram& datagram, const Fragment& fragment, const FlowRecord* flow) {
  packet.verdict = verdict_of(world.fragments.take(datagram, fragment));
  if (!packet.is_live()) return false;
  if (datagram.leaving_id == 0) {
    datagram.leaving_id = is_left_alone(world, flow, datagram.key) ? fragment.id : next_datagram_id(world);
  }
  // Not of one that goes no further: what an error quotes is as it came.
  if (packet.frame.ttl > 1) set_fragment_id(packet.span(), packet.frame, datagram.leaving_id);
  packet.frame.fragment_id = fragment.id;
  return true;
}

bool is_for_us(const World& world, const FlowKey& key) {
  return world.tables->find_address(key.destination).kind != AddressKind::none ||
         world.tables->is_return_source(key.source, Be16{0}, key.protocol);
}

}  // namespace

std::uint32_t next_datagram_id(World& world) {
  const std::uint32_t turn = ++world.fragment_id & 0x0fff'ffff;
  return std::max(1u, turn * world.lcore_count + world.lcore);
}

bool handle_fragment(World& world, Packet& packet) {
  const Fragment fragment = read_fragment(packet.span(), packet.frame);
  const FlowKey addresses = packet.frame.key;
  if (!is_for_us(world, addresses)) {
    packet.verdict = Verdict::drop_not_local;
  } else if (addresses.protocol != protocol::tcp && addresses.protocol != protocol::udp) {
    packet.verdict = Verdict::drop_fragment_protocol;
  } else {
    packet.verdict = verdict_of(fragment.fault);
  }
  if (!packet.is_live()) return false;
  const std::uint32_t first_lcore = first_lcore_of(world, addresses);
  if (packet.hops == 0 && first_lcore != world.lcore) {
    hand_to(packet, first_lcore);
    return false;
  }

  const NodeRow& node = world.tables->node();
  const FragmentLimits limits{node.fragment_datagrams_max, node.fragment_held_bytes_max, node.fragment_timeout_ms};
  const FlowKey name = name_of(packet, fragment);
  Datagram& datagram = world.fragments.find_or_add(name, world.flows.hash(name), world.now, limits);
  if (datagram.is_refused) {
    packet.verdict = Verdict::drop_fragment_overlap;
    return false;
  }
  if (fragment.is_first()) {
    if (!become_packet(packet)) return false;
    datagram.key = packet.frame.key;
    datagram.has_key = true;
    datagram.lacks_checksum = packet.frame.kind == FrameKind::udp && packet.at<UdpHeader>(packet.frame.l4_offset).checksum == 0;
    world.fragments.make_ready(datagram);
  } else if (!datagram.has_key) {
    hold(world, packet, datagram, limits);
    return false;
  }

  const FlowHash hash = world.flows.hash(datagram.key);
  const FlowMatch match = world.flows.find(datagram.key, hash);
  if (match.record == nullptr) {
    if (const auto next = next_lcore(world, datagram.key, first_lcore, packet.hops)) {
      if (fragment.is_first()) world.fragments.note_passed(hash);
      hand_to(packet, *next);
      return false;
    }
    const bool may_open = packet.frame.kind == FrameKind::udp ||
                          (packet.frame.kind == FrameKind::tcp && (packet.frame.tcp_flags & (tcp_flag::syn | tcp_flag::ack)) == tcp_flag::syn);
    if (fragment.is_first()) {
      if (!may_open) packet.verdict = Verdict::drop_no_flow;
    } else if (packet.is_resumed) {
      packet.verdict = Verdict::drop_fragment_no_flow;
    } else {  // the first may be in this very burst, about to open the flow
      hold(world, packet, datagram, limits);
      world.fragments.make_ready(datagram);
    }
    if (!fragment.is_first() || !packet.is_live()) return false;
  }
  if (!take(world, packet, datagram, fragment, match.record)) return false;
  if (!fragment.is_first()) {
    forward(world, packet, datagram, *match.record, match.direction);
    return false;
  }
  packet.is_fragment = true;
  packet.hash = hash;
  packet.flow = match.record;
  packet.direction = match.direction;
  return true;
}

}  // namespace sluice
