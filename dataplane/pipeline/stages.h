// The stages of the pipeline, in the order in which process_burst calls them. Each is one loop over the
// packets that are still undecided, and knows nothing of the others but what they leave in the Packet.
#pragma once

#include "dataplane/net/icmp_inner.h"
#include "dataplane/pipeline/packet.h"
#include "dataplane/pipeline/world.h"

namespace sluice {

// Bytes -> offsets, five-tuple, hash. Faults become drops.        Leaves: frame, hash.
void parse(World& world, Burst& burst);
// Packets of tracked flows find their record; how many do not.    Leaves: flow, direction.
std::uint32_t find_flow(World& world, Burst& burst);
// For the others: what is the destination to us? Answers ARP, ND and ping; punts; hands off; drops.
//                                                                 Leaves: vip, on packets that may open a flow.
void classify(World& world, Burst& burst);
// Packets a second of VIPs that limit them; called only while some VIP does.
void limit_packets(World& world, Burst& burst);
// VIPs whose connections begin with a SYN cookie: all that comes before their endpoint is chosen, see splice.h. Decides
// their packets, or leaves: flow, direction.
void peek(World& world, Burst& burst);
// Admission, endpoint choice, SNAT port, record.                  Leaves: flow, direction.
void open_flow(World& world, Burst& burst);
// TCP state, addresses, ports, TTL, checksums; per-VIP and per-endpoint counters.
void rewrite(World& world, Burst& burst);
// Route, neighbour, Ethernet header.                              Leaves: tx_port, verdict.
void resolve_next_hop(World& world, Burst& burst);

// VLANs, see vlan.cc. A tagged frame that came in by `packet.port` belongs to one of its sub-interfaces: sets packet.port.
void enter_vlan(World& world, Packet& packet);
// Gives the frame the tag of `port`, or none. What stands before the tag is the caller's to write. False: no room for it.
bool fit_tag(Packet& packet, const PortFacts& port);
// Writes the Ethernet header, with its tag, of a frame of our own that will leave by `port`; how long it is.
std::size_t write_link_header(const World& world, std::byte* out, std::uint16_t port, MacAddress destination, Be16 type);

// Protocol handlers that classify() calls; each decides the packet.
void handle_arp(World& world, Packet& packet);
void handle_neighbor_discovery(World& world, Packet& packet);
void answer_echo(World& world, Packet& packet);  // an ICMP or ICMPv6 echo request to one of our addresses
// A fragment, to be forwarded as its datagram's first says. True: it is the first, now of kind tcp or udp with its ports,
// and goes the way of any packet; its flow is found already if there is one. False: decided, held, or to be routed.
bool handle_fragment(World& world, Packet& packet);
// An identification for a datagram that leaves under an address of ours. The lcores take turns, so that no two of them
// give out the same.
std::uint32_t next_datagram_id(World& world);
bool is_icmp_error(Packet& packet);
void handle_icmp_error(World& world, Packet& packet);  // leaves: a packet to be routed by its new destination
// An error to an address of the box, about a packet in a tunnel of ours: leaves, as the other. False: about something else.
bool handle_tunnel_error(World& world, Packet& packet);
// A hop's answers, as far as the configured rate allows: reject_*, else drop_*. For packets of a flow or about to open one.
void refuse_ttl(World& world, Packet& packet);
void refuse_length(World& world, Packet& packet, std::uint16_t mtu);      // after rewrite()
void refuse_unrewritten(World& world, Packet& packet, std::uint16_t mtu);  // before; splice_packet() may have been
// MTU of the port by which a packet of `flow` will leave; 0 with a verdict when there is none.
std::uint16_t mtu_ahead(World& world, Packet& packet, FlowRecord& flow);

// Direct server return, see dsr.cc: whether the packet, as it came, fits into the tunnel of its flow. False: it has its
// verdict. Then: one hop less to live, and the outer headers.
void send_direct(World& world, Packet& packet, const FlowRecord& flow);
// One that is too long with them, and for which may_fit_direct() has found Packet::may_be_cut: into fragments of the outer packet,
// of which the first stays in `packet` and the others are frames of our own.
void cut_tunnel(World& world, Packet& packet, const Neighbor& next_hop);
bool may_fit_direct(World& world, Packet& packet, FlowRecord& flow);
inline std::uint16_t tunnel_bytes(const FlowRecord& flow) {  // of the outer headers
  constexpr std::uint8_t v4 = sizeof(Ipv4Header), v6 = sizeof(Ipv6Header), gue = sizeof(UdpHeader) + sizeof(GueHeader);
  static constexpr std::uint8_t bytes[][2] = {{0, 0}, {0, 0}, {v4, v6}, {v4 + gue, v6 + gue}};  // by Dsr
  return bytes[static_cast<std::size_t>(flow.dsr)][(flow.flags & flow_flag::endpoint_is_v6) != 0];
}
// From the inner IP header to the end of the packet; Ethernet's padding stays behind.
inline std::size_t inner_bytes_of(const Packet& packet) {
  return std::size_t{packet.frame.l4_offset} - packet.frame.l3_offset + packet.frame.l4_bytes;
}
inline bool fits_direct(World& world, Packet& packet, FlowRecord& flow) {
  const std::uint16_t added = tunnel_bytes(flow);
  if (inner_bytes_of(packet) + added <= world.mtu_min && packet.headroom >= added) [[likely]] return true;
  return may_fit_direct(world, packet, flow);
}
// The way to the endpoint, for a packet of `opening.from_client`: the outer header of its cluster.
void set_direct(const Snapshot& tables, const EndpointRow& endpoint, FlowHash hash, FlowOpening& opening);
// A packet of our kernel to a VIP: if it is marked as a health check's (probe.cc), it leaves as a client's would.
void handle_probe(World& world, Packet& packet);
bool is_probe_answer(const World& world, const Packet& packet);

// Between the families, see families.cc. `is_v4`: of the packet as it came. False: the packet has its verdict.
inline constexpr std::uint16_t header_difference = sizeof(Ipv6Header) - sizeof(Ipv4Header);
inline constexpr std::size_t port_mtu_min = 576;  // no port has less (Snapshot::verify)
bool may_fit_other_family(World& world, Packet& packet, FlowRecord& flow, bool is_v4);
inline bool fits_other_family(World& world, Packet& packet, FlowRecord& flow, bool is_v4) {
  const bool is_small = packet.frame.l4_bytes + sizeof(Ipv6Header) <= port_mtu_min;
  if (is_small && packet.headroom >= header_difference && !packet.is_fragment) [[likely]] return true;
  return may_fit_other_family(world, packet, flow, is_v4);
}
// families.h exchanges the header. Here for a packet that leaves as a fragment (packet.is_fragment), as fits_other_family() has
// found it; ports and transport checksum are rewritten already.
void exchange_fragment(World& world, Packet& packet, FlowRecord& flow, const FlowKey& leaving);
// An ICMP error with all that it quotes, but for its checksum. False: the packet has its verdict.
bool exchange_error(World& world, Packet& packet, const FlowKey& leaving, const InnerPacket& inner);
// The IP header of a packet off the main path: other ends (ports are not looked at), another time to live, its checksum anew.
void set_ends(Packet& packet, const FlowKey& ends, std::uint8_t ttl);
// Turns a packet of `l3_bytes` around: addresses, lengths, TTL, header checksum. The transport is the caller's.
void send_back(Packet& packet, std::size_t l3_bytes, Verdict verdict);
// Answers a TCP segment, which is no RST itself, with the RST that its sender will believe.
void reject(Packet& packet, Verdict verdict);

// VIPs with is_one_packet: a datagram of a client, and an endpoint's answer (false: it is none). Each leaves: flow,
// direction; the flow is over with the burst.
void pass_question(World& world, Packet& packet);
bool pass_answer(World& world, Packet& packet);

// A segment without a flow may belong to another lcore: hands it on, until all have seen it. False: they have.
bool is_handed_to_next(const World& world, Packet& packet);
// Whether the limits of a VIP admit one more TCP connection from there: `undecided`, or the verdict that says why not.
Verdict admit_by_vip(World& world, const VipRow& vip, IpAddress source);
// One flow more on the endpoint, or on the VIP: counted from here on, until its flow is closed or, when none comes about,
// leave_*() gives it back. False: the limit is reached.
bool take_endpoint(World& world, const EndpointRow& endpoint);
void leave_endpoint(World& world, std::uint32_t endpoint_id);
bool take_vip(World& world, const VipRow& vip);
void leave_vip(World& world, std::uint32_t vip_id);
// take_endpoint() of the one that was chosen, or of one behind it in the slots that has room; nullptr: none has.
const EndpointRow* take_endpoint_of(World& world, const ClusterRow& cluster, const EndpointRow& chosen, FlowHash hash);
// The flow of a new connection through `vip` to `endpoint`, which the caller has taken: SNAT port, record, counters. Also set are
// from_client, whose hash it has, state, client_isn and is_spliced. `undecided` when `flow` is open; otherwise why it is not, and
// the endpoint is left.
Verdict open_toward(World& world, const VipRow& vip, const EndpointRow& endpoint, const FlowOpening& wanted,
                    FlowHash client_hash, FlowRecord*& flow);

// Spliced flows: see splice.h.
void forget_splice(World& world, FlowRecord& flow);
void attend_to_pending(World& world, PendingSplice& pending);

// The next hop toward a destination; nullptr when there is no route or its hardware address is not known yet, and
// was asked for.
const Neighbor* next_hop_to(World& world, IpAddress destination);

// Frames of our own, put into world.generated. False when there is no room or no address to ask from.
bool ask_for_neighbor(World& world, const Neighbor& neighbor);
bool send_arp_request(World& world, const Neighbor& neighbor);
bool announce_address(World& world, IpAddress address, std::uint16_t port);
bool announce_by_arp(World& world, IpAddress address, std::uint16_t port);

// A neighbour answered: its waiting packets leave.
void release_held(World& world, std::uint16_t neighbor_index);

// Ends a TCP flow: both ends are made to speak, and told with a reset when they do. Without room for that, later.
void end_flow(World& world, FlowRecord& record);
// Asks whoever knows (tcp_state.h) whether the connection was reset: who has none any more answers with a RST of the number
// proof_of_reset(). False: no room, or no way there yet.
bool ask_whether_reset(World& world, const FlowRecord& record);
std::uint32_t proof_of_reset(const World& world, const FlowRecord& record);
// From here on each end is told with a reset when it speaks.
void mark_ended(World& world, FlowRecord& record);
// Closes a flow and settles the counters that know of it.
void close_flow(World& world, FlowRecord& record);

}  // namespace sluice
