// What is a packet without a flow to us? The destination address decides, one lookup.
//
// Which lcore a flow belongs to:
//   FULL_NAT  the lcore that saw its first packet; it chose a SNAT port by which replies are its own, so any lcore
//             can compute the owner from the reply (ReplyOwner). Later packets from the client arrive where the
//             first did as long as RSS is stable; a segment that finds no flow visits the other lcores in
//             turn before it is dropped, and a packet whose flow a fragment may have opened (fragments.cc) before it
//             opens one.
//   NAT       replies name only the client, so the owner is a hash of the client's address and port, both ways.
//   ICMP errors belong where the flow does whose packet they quote, see icmp_error.cc.
//   When RSS is not stable (a profile says so), FULL_NAT flows are owned by that hash as well.
#include "dataplane/pipeline/owner.h"
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/splice.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// Hands the packet to its owner and says so; false when we are the owner, or it was handed to us already.
bool is_handed_to(const World& world, Packet& packet, std::uint32_t owner) {
  if (owner == world.lcore || packet.hops > 0) return false;
  hand_to(packet, owner);
  return true;
}

bool is_source_possible(const World& world, IpAddress source) {
  return source.may_be_source() && world.tables->find_address(source).kind == AddressKind::none;  // LAND: nobody else sends as us
}

bool is_echo_request(Packet& packet) {
  if (packet.at<EthernetHeader>(0).destination.is_multicast()) return false;  // RFC 1122 3.2.2.6: none to all at once
  const auto type = packet.at<IcmpHeader>(packet.frame.l4_offset).type;
  return (packet.frame.kind == FrameKind::icmp && type == icmp_type::echo_request) ||
         (packet.frame.kind == FrameKind::icmpv6 && type == icmp_type::v6_echo_request);
}

bool is_icmp(const Packet& packet) {
  return packet.frame.kind == FrameKind::icmp || packet.frame.kind == FrameKind::icmpv6;
}

bool is_neighbor_discovery(Packet& packet) {
  if (packet.frame.kind != FrameKind::icmpv6) return false;
  const auto type = packet.at<IcmpHeader>(packet.frame.l4_offset).type;
  return type == icmp_type::neighbor_solicitation || type == icmp_type::neighbor_advertisement;
}

void classify_icmp(World& world, Packet& packet) {
  if (is_echo_request(packet)) {
    answer_echo(world, packet);
  } else if (is_icmp_error(packet)) {
    handle_icmp_error(world, packet);
  } else {
    packet.verdict = Verdict::drop_icmp_unhandled;
  }
}

bool is_owned_by_client(const World& world, const VipRow& vip) {
  return !world.is_rss_stable || vip.forwarding == Forwarding::nat;
}

// A packet in a packet would come past every check of its source (CVE-2020-10136). Before the kernel, which may think
// otherwise; UDP to a VIP is the VIP's own business.
bool is_tunnel(const Packet& packet, AddressKind destination) {
  const FlowKey& key = packet.frame.key;
  if (packet.frame.kind == FrameKind::udp) return destination == AddressKind::own && key.destination_port == gue_port;
  return key.protocol == protocol::ipv4 || key.protocol == protocol::ipv6 || key.protocol == protocol::gre;
}

// A first fragment of its flow went by here, or by the lcore that has handed it on, and lcores are left to be asked.
bool may_be_open_elsewhere(const World& world, const Packet& packet) {
  if (packet.hops + 1u >= world.lcore_count) return false;
  const bool is_on_its_way = packet.hops > 0 || world.fragments.has_passed(packet.hash);
  return is_on_its_way && !packet.is_fragment && !is_owned_by_client(world, *packet.vip);
}

void classify_to_vip(World& world, Packet& packet) {
  if (is_icmp(packet)) return classify_icmp(world, packet);
  if (packet.frame.kind != FrameKind::tcp && packet.frame.kind != FrameKind::udp) {
    packet.verdict = Verdict::drop_protocol_unsupported;
    return;
  }
  const FlowKey& key = packet.frame.key;
  const VipRow* vip = world.tables->find_vip(key.destination, key.destination_port, key.protocol);
  if (vip == nullptr) {
    packet.verdict = Verdict::drop_no_vip;
    return;
  }
  packet.vip = vip;
  if (vip->is_one_packet != 0) {  // any lcore will do
    if (packet.is_fragment) packet.verdict = Verdict::drop_fragment_one_packet;
    return;
  }
  if (is_owned_by_client(world, *vip) &&
      is_handed_to(world, packet, owner_by_client(*world.tables, key.source, key.source_port, world.lcore_count))) {
    return;
  }
  if (packet.frame.kind == FrameKind::tcp && is_peeked(world, *vip, packet.frame.tcp_flags)) {
    ++world.peek_count;
    return;
  }
  const bool may_open =
      packet.frame.kind == FrameKind::udp ||
      (packet.frame.tcp_flags & (tcp_flag::syn | tcp_flag::ack)) == tcp_flag::syn;
  if (may_open && !may_be_open_elsewhere(world, packet)) return;  // to open_flow
  if (!is_handed_to_next(world, packet)) packet.verdict = Verdict::drop_no_flow;
}

void classify_to_snat(World& world, Packet& packet, const SnatPoolRow& pool) {
  if (is_icmp(packet)) return classify_icmp(world, packet);
  if (packet.frame.kind == FrameKind::tcp || packet.frame.kind == FrameKind::udp) {
    const auto owner = world.replies->of(pool, packet.frame.key);
    if (owner && is_handed_to(world, packet, *owner)) return;
    packet.verdict = Verdict::drop_no_flow;
    return;
  }
  packet.verdict = Verdict::drop_protocol_unsupported;
}

void classify_to_own(World& world, Packet& packet, const AddressRow& own) {
  if (own.port == exception_port) {  // for connections that we lead there, and nobody else
    packet.verdict = Verdict::drop_not_local;
    return;
  }
  if (is_icmp(packet) && is_echo_request(packet)) return answer_echo(world, packet);
  if (is_icmp_error(packet) && handle_tunnel_error(world, packet)) return;
  if (!world.has_exception_port) {
    packet.verdict = Verdict::drop_exception_full;
    return;
  }
  if (packet.frame.l3_offset != sizeof(EthernetHeader)) {
    const EthernetHeader ethernet = packet.at<EthernetHeader>(0);
    fit_tag(packet, PortFacts{});  // the kernel is told by the address where it was meant for
    packet.at<EthernetHeader>(0).source = ethernet.source;
  }
  packet.at<EthernetHeader>(0).destination = world.exception_mac;
  packet.verdict = Verdict::punt;
}

// Our own kernel's packets are routed as they are, unless they are meant for its link only. Endpoints that it serves itself
// answer to SNAT addresses, as all do.
void classify_from_kernel(World& world, Packet& packet) {
  const IpAddress destination = packet.frame.key.destination;
  if (destination.is_multicast() || destination.is_link_local() || destination.is_broadcast()) {
    packet.verdict = Verdict::drop_not_local;
    return;
  }
  const OwnAddress local = world.tables->find_address(destination);
  if (local.kind == AddressKind::snat) classify_to_snat(world, packet, world.tables->snat_pools()[local.index]);
  if (local.kind == AddressKind::vip && world.has_probes) handle_probe(world, packet);
}

void classify_one(World& world, Packet& packet) {
  if (packet.frame.kind == FrameKind::arp) return handle_arp(world, packet);
  if (is_neighbor_discovery(packet)) return handle_neighbor_discovery(world, packet);
  const FlowKey& key = packet.frame.key;
  if (packet.port == exception_port) return classify_from_kernel(world, packet);
  if (world.has_probes && is_probe_answer(world, packet)) {
    return classify_to_own(world, packet, world.tables->addresses()[world.tables->find_address(key.destination).index]);
  }
  if (!is_source_possible(world, key.source)) {
    packet.verdict = Verdict::drop_source_invalid;
    return;
  }
  if (world.tables->is_blocked(key.source)) {
    packet.verdict = Verdict::drop_blocklisted;
    return;
  }
  const OwnAddress destination = world.tables->find_address(key.destination);
  if (destination.kind != AddressKind::none && is_tunnel(packet, destination.kind)) {
    packet.verdict = Verdict::drop_tunnel_refused;
    return;
  }
  if (packet.frame.kind == FrameKind::fragment && destination.kind != AddressKind::own) {
    if (!handle_fragment(world, packet) || packet.flow != nullptr) return;
  }
  switch (destination.kind) {
    case AddressKind::vip: return classify_to_vip(world, packet);
    case AddressKind::snat: return classify_to_snat(world, packet, world.tables->snat_pools()[destination.index]);
    case AddressKind::own: return classify_to_own(world, packet, world.tables->addresses()[destination.index]);
    case AddressKind::none: break;
  }
  if (pass_answer(world, packet)) return;
  if (world.tables->is_return_source(key.source, key.source_port, key.protocol)) {
    const std::uint32_t owner = owner_by_client(*world.tables, key.destination, key.destination_port, world.lcore_count);
    if (!is_handed_to(world, packet, owner)) packet.verdict = Verdict::drop_no_flow;
    return;
  }
  if (is_icmp_error(packet)) return handle_icmp_error(world, packet);  // of NAT: about a client's packet, to the client
  packet.verdict = Verdict::drop_not_local;
}

}  // namespace

bool is_handed_to_next(const World& world, Packet& packet) {
  if (is_owned_by_client(world, *packet.vip) || packet.hops + 1u >= world.lcore_count) return false;
  packet.target_lcore = static_cast<std::uint8_t>((world.lcore + 1) % world.lcore_count);
  packet.verdict = Verdict::handoff;
  return true;
}

void classify(World& world, Burst& burst) {
  world.passing_count = world.peek_count = 0;
  for_each_live(burst, [&](Packet& packet) {
    if (packet.flow == nullptr) classify_one(world, packet);
  });
}

}  // namespace sluice
