// ICMP errors (RFC 792, RFC 4443): those about packets that we sent, handed on to who sent them to
// us (RFC 5508 4.2), and those that we make ourselves as a hop on the way (RFC 1812 4.3.2, RFC
// 4443 2.4).
//
// An error that comes from one side of a flow is about a packet that we sent to that side, so the
// quoted addresses, turned around, are the five-tuple with which packets of that side arrive: it
// leads to the flow as any packet does. The error leaves from the address that we show to the other
// side, whoever made it: the networks stay strangers.
//
// One that comes to an address of the box is about a packet of our kernel's, or of a tunnel (dsr.cc): then the packet inside
// is the client's, who is told in the terms of his family (RFC 2003 4, RFC 2473 8) when the tunnel is that of his flow:
//   too long       what fits inside; to IPv6 never less than 1,280 bytes, which is the least that it has to fit
//   anything else  the VIP is out of reach: that the tunnel's end is, or that packets loop, is nobody's business
#include "dataplane/net/fragment.h"
#include "dataplane/net/icmp_inner.h"
#include "dataplane/net/ip_writer.h"
#include "dataplane/pipeline/families.h"
#include "dataplane/pipeline/owner.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::uint16_t mtu_min_v4 = 552;          // whoever claims less, or less than mtu_min_v6, wants to slow a flow down
constexpr std::size_t error_bytes_max_v4 = 576;    // RFC 1812 4.3.2.3
constexpr std::size_t error_bytes_max_v6 = 1'280;  // RFC 4443 2.4 c
constexpr std::uint32_t handshake_window_bytes = 1u << 20;
constexpr std::uint32_t quoted_distance_max = 1u << 20;  // in bytes, either way; a guess of another number is right once in 2,048

bool is_v4(const Packet& packet) {
  return packet.frame.kind == FrameKind::icmp;
}

std::span<std::byte> quoted_by(Packet& packet) {
  return packet.span().subspan(packet.frame.l4_offset + sizeof(IcmpHeader),
                               packet.frame.l4_bytes - sizeof(IcmpHeader));
}

bool is_checksum_right(Packet& packet) {
  const auto icmp = packet.span().subspan(packet.frame.l4_offset, packet.frame.l4_bytes);
  const FlowKey& key = packet.frame.key;
  const std::uint64_t pseudo =
      is_v4(packet)
          ? 0
          : pseudo_header_sum(key.source, key.destination, protocol::icmpv6, packet.frame.l4_bytes);
  return checksum_of(icmp, pseudo) == 0;
}

void set_checksum(std::span<std::byte> icmp, IpAddress source, IpAddress destination) {
  auto& header = *reinterpret_cast<IcmpHeader*>(icmp.data());
  header.checksum = 0;
  const std::uint64_t pseudo = source.is_v4()
                                   ? 0
                                   : pseudo_header_sum(source, destination, protocol::icmpv6,
                                                       static_cast<std::uint32_t>(icmp.size()));
  header.checksum = checksum_of(icmp, pseudo);
}

Verdict verdict_of(InnerFault fault) {
  switch (fault) {
    case InnerFault::none:
      return Verdict::undecided;
    case InnerFault::icmp:
      return Verdict::drop_icmp_in_icmp;
    case InnerFault::no_ports:
      return Verdict::drop_icmp_no_flow;
    case InnerFault::truncated:
    case InnerFault::header_invalid:
      break;
  }
  return Verdict::drop_icmp_inner_invalid;
}

// A packet too long for the next link, and an MTU that no link has.
bool is_mtu_refused(Packet& packet) {
  const auto& icmp = packet.at<IcmpHeader>(packet.frame.l4_offset);
  if (is_v4(packet)) {
    const bool is_too_long = icmp.type == icmp_type::unreachable && icmp.code == icmp_code_too_long;
    return is_too_long && icmp.sequence.host() < mtu_min_v4;
  }
  const std::uint32_t mtu = std::uint32_t{icmp.identifier.host()} << 16 | icmp.sequence.host();
  return icmp.type == icmp_type::v6_packet_too_big && mtu < mtu_min_v6;
}

// Whether the quoted segment can have been sent (RFC 5927 4.1), as far as we know:
//   from the clients' side   anybody on the Internet may send errors. Of an established flow the last segment to the client is
//                            known. A true error about one that was much earlier is lost, and comes again when that is sent
//                            again, for then it is the last.
//   from the endpoints'      the client's handshake is known. Later the client judges: its endpoint's network is ours.
bool is_in_window(const World& world, const FlowRecord& flow, Direction direction, std::span<const std::byte> quoted,
                  const InnerPacket& inner) {
  if (flow.protocol != protocol::tcp) return true;
  const bool is_spliced = (flow.flags & flow_flag::is_spliced) != 0;
  Be32 number;
  std::memcpy(&number, quoted.data() + inner.l4_offset + offsetof(TcpHeader, sequence), sizeof number);
  const std::uint32_t sequence = number.host();
  if (direction == Direction::to_endpoint) {
    if (flow.state != FlowState::established || is_one_sided(flow)) return true;
    const Be32 last = is_spliced ? world.splices[flow.splice_slot].sent_to_client : flow.sent_to_client;
    return sequence - (last.host() - quoted_distance_max) <= 2 * quoted_distance_max;
  }
  if (flow.state > FlowState::answered) return true;
  if (is_spliced) return false;  // what we send before both sides are joined, we send again ourselves
  return sequence - flow.client_isn <= handshake_window_bytes;
}

// Of a flow that a client has, of which the packets of `from_client` are.
std::optional<std::uint32_t> owner_of_client(const World& world, const Packet& packet, const FlowKey& from_client) {
  const Snapshot& tables = *world.tables;
  const VipRow* vip = tables.find_vip(from_client.destination, from_client.destination_port, from_client.protocol);
  if (vip == nullptr) return std::nullopt;
  if (world.is_rss_stable && vip->forwarding != Forwarding::nat) {
    if (packet.hops + 1u >= world.lcore_count) return std::nullopt;
    return (world.lcore + 1) % world.lcore_count;
  }
  if (packet.hops > 0) return std::nullopt;
  return owner_by_client(tables, from_client.source, from_client.source_port, world.lcore_count);
}

void hand_to_owner(const World& world, Packet& packet, std::optional<std::uint32_t> owner) {
  if (owner && *owner != world.lcore) return hand_to(packet, *owner);
  packet.verdict = Verdict::drop_icmp_no_flow;
}

// The flow is not ours: who may have it? By the rules of classify.cc, told from the quoted packet.
void seek_owner(const World& world, Packet& packet, const FlowKey& sent) {
  const Snapshot& tables = *world.tables;
  const OwnAddress local = tables.find_address(sent.source);
  if (local.kind == AddressKind::vip) return hand_to_owner(world, packet, owner_of_client(world, packet, sent.reversed()));
  std::optional<std::uint32_t> owner;
  if (packet.hops > 0) {
    // it was told from the same already
  } else if (local.kind == AddressKind::snat) {
    owner = world.replies->of(tables.snat_pools()[local.index], sent.reversed());
  } else if (tables.is_return_source(sent.destination, sent.destination_port, sent.protocol)) {
    owner = owner_by_client(tables, sent.source, sent.source_port, world.lcore_count);
  }
  hand_to_owner(world, packet, owner);
}

// What a client knows of a spliced flow is not what its endpoint sent. `quoted` was sent to the client; it becomes the
// endpoint's again, as far as its sender looks at it (RFC 5927 4.1): the sequence number.
void unsplice(World& world, const FlowRecord& flow, std::span<std::byte> quoted_tcp) {
  if ((flow.flags & flow_flag::is_spliced) == 0 || quoted_tcp.size() < 8) return;
  Be32 sequence;
  std::memcpy(&sequence, quoted_tcp.data() + offsetof(TcpHeader, sequence), sizeof sequence);
  const Be32 sent = be32(sequence.host() - world.splices[flow.splice_slot].sequence_delta);
  std::memcpy(quoted_tcp.data() + offsetof(TcpHeader, sequence), &sent, sizeof sent);
  if (quoted_tcp.size() < offsetof(TcpHeader, urgent)) return;
  std::uint16_t checksum;
  std::memcpy(&checksum, quoted_tcp.data() + offsetof(TcpHeader, checksum), sizeof checksum);
  checksum = ChecksumDelta()
                 .change(static_cast<std::uint16_t>(sequence.raw), static_cast<std::uint16_t>(sent.raw))
                 .change(static_cast<std::uint16_t>(sequence.raw >> 16), static_cast<std::uint16_t>(sent.raw >> 16))
                 .apply_to(checksum);
  std::memcpy(quoted_tcp.data() + offsetof(TcpHeader, checksum), &checksum, sizeof checksum);
}

// Direct server return: what the error quotes is what the endpoint itself has sent.
void hand_on_unchanged(World& world, Packet& packet, FlowRecord& flow) {
  packet.direction = Direction::to_endpoint;
  if (!fits_direct(world, packet, flow)) {
    packet.flow = &flow;
    return;
  }
  send_direct(world, packet, flow);
  packet.frame.key.destination = arriving_key(flow, Direction::to_client).source;  // by which it is routed
}

void rewrite_within_family(Packet& packet, const FlowKey& leaving, const InnerPacket& inner) {
  readdress(quoted_by(packet), inner, leaving.reversed());
  set_ends(packet, leaving, static_cast<std::uint8_t>(packet.frame.ttl - 1));
}

void translate(World& world, Packet& packet, const FlowKey& leaving, const InnerPacket& inner) {
  if (leaving.source.is_v4() == is_v4(packet)) {
    rewrite_within_family(packet, leaving, inner);
  } else if (!exchange_error(world, packet, leaving, inner)) {
    return;
  }
  set_checksum(packet.span().subspan(packet.frame.l4_offset, packet.frame.l4_bytes), leaving.source,
               leaving.destination);
  packet.frame.key.destination = leaving.destination;  // by which it is routed
}

// Where the sender's own router would answer from: our address on his side.
IpAddress own_address_toward(const World& world, const Packet& packet) {
  const AddressRow* own = world.tables->source_for(packet.frame.key.source, packet.port);
  return own != nullptr ? own->address : packet.frame.key.destination;
}

std::size_t error_headers_bytes(bool is_ipv4) { return (is_ipv4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header)) + sizeof(IcmpHeader); }

// How much of so many bytes an error quotes.
std::size_t quoted_bytes_of(std::size_t bytes, bool is_ipv4) {
  return std::min(bytes, (is_ipv4 ? error_bytes_max_v4 : error_bytes_max_v6) - error_headers_bytes(is_ipv4));
}

// An error of our own, from its IP header on, before what it quotes.
void write_error(std::byte* l3, IpAddress source, IpAddress destination, const IcmpHeader& icmp, std::size_t quoted_bytes) {
  const std::size_t payload_bytes = sizeof icmp + quoted_bytes;
  const bool is_ipv4 = source.is_v4();
  if (is_ipv4) {
    write_ipv4(l3, source.as_v4(), destination.as_v4(), payload_bytes, {protocol::icmp, 0, initial_ttl, false});
  } else {
    write_ipv6(l3, source, destination, payload_bytes, {protocol::icmpv6, 0, initial_ttl});
  }
  std::byte* const at = l3 + error_headers_bytes(is_ipv4) - sizeof icmp;
  std::memcpy(at, &icmp, sizeof icmp);
  set_checksum({at, payload_bytes}, source, destination);
}

// Puts an error about the packet before the packet, which ends where an error may end. False when
// there is no room.
bool turn_into_error(World& world, Packet& packet, IcmpHeader icmp) {
  const bool is_ipv4 = packet.frame.key.source.is_v4();
  const std::size_t new_bytes = error_headers_bytes(is_ipv4);
  if (packet.headroom < new_bytes) return false;
  const std::size_t quoted_bytes =
      quoted_bytes_of(packet.frame.l4_offset - packet.frame.l3_offset + std::size_t{packet.frame.l4_bytes}, is_ipv4);
  const IpAddress source = own_address_toward(world, packet);
  const std::size_t l3 = packet.frame.l3_offset;
  std::memmove(packet.data - new_bytes, packet.data, l3);
  packet.data -= new_bytes;
  auto& ethernet = packet.at<EthernetHeader>(0);
  std::swap(ethernet.source, ethernet.destination);
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - new_bytes);
  packet.bytes = static_cast<std::uint16_t>(l3 + new_bytes + quoted_bytes);
  write_error(packet.data + l3, source, packet.frame.key.source, icmp, quoted_bytes);
  packet.tx_port = packet.port;
  return true;
}

bool may_make_error(World& world, const Packet& packet) {
  return packet.port != exception_port &&
         world.rate_limits.take(RateLimits::Icmp::errors, world.tables->node().icmp_errors_per_second, world.now);
}

bool is_ipv4_on_wire(Packet& packet) { return packet.at<Be16>(packet.frame.l3_offset - sizeof(Be16)) == ether_type::ipv4; }

// Of UDP only what a tunnel of some cluster can have sent.
bool is_of_tunnel(const Snapshot& tables, const FlowKey& outer) {
  if (outer.protocol != protocol::udp) return true;
  const auto clusters = tables.clusters();
  return std::any_of(clusters.begin(), clusters.end(), [&](const ClusterRow& cluster) {
    return cluster.forwarding == Forwarding::dsr_gue && cluster.gue_port == outer.destination_port;
  });
}

// Whether packets of the flow leave with these outer headers.
bool is_tunnel_of(const FlowRecord& flow, const FlowKey& outer) {
  const FlowKey sent = leaving_key(flow, Direction::to_endpoint);
  if (flow.dsr <= Dsr::l2 || sent.source != outer.source || sent.destination != outer.destination) return false;
  if (flow.dsr == Dsr::ipip) return outer.protocol != protocol::udp;
  return outer.protocol == protocol::udp && outer.source_port == sent.source_port && outer.destination_port == flow.tunnel_port;
}

// What the sender of a packet that is `added` bytes longer outside is told; nothing: that no header of his can be the cause.
std::optional<IcmpHeader> error_inside(Packet& packet, std::uint16_t added, bool is_inner_v4) {
  const IcmpHeader icmp = packet.at<IcmpHeader>(packet.frame.l4_offset);
  const bool is_outer_v4 = is_v4(packet);
  if (icmp.type == (is_outer_v4 ? icmp_type::parameter_problem : icmp_type::v6_parameter_problem)) return std::nullopt;
  const bool is_too_long = is_outer_v4 ? icmp.type == icmp_type::unreachable && icmp.code == icmp_code_too_long
                                       : icmp.type == icmp_type::v6_packet_too_big;
  if (!is_too_long) {  // host unreachable, address unreachable
    return is_inner_v4 ? IcmpHeader{icmp_type::unreachable, 1, 0, {}, {}} : IcmpHeader{icmp_type::v6_unreachable, 3, 0, {}, {}};
  }
  const std::uint32_t outer_mtu = (is_outer_v4 ? 0u : std::uint32_t{icmp.identifier.host()} << 16) | icmp.sequence.host();
  const auto mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(outer_mtu, 0xffff) - added);
  if (is_inner_v4) return IcmpHeader{icmp_type::unreachable, icmp_code_too_long, 0, {}, be16(mtu)};
  return IcmpHeader{icmp_type::v6_packet_too_big, 0, 0, {}, be16(std::max(mtu, mtu_min_v6))};
}

bool is_mtu_inside_refused(const IcmpHeader& icmp) {
  return icmp.type == icmp_type::unreachable && icmp.code == icmp_code_too_long && icmp.sequence.host() < mtu_min_v4;
}

// The error becomes one to `client`, about what begins `inner_offset` bytes into the quote.
void tell_client(const World& world, Packet& packet, const FlowKey& from_client, std::size_t inner_offset, const IcmpHeader& icmp) {
  const IpAddress client = from_client.source;
  const RouteRow* route = world.tables->find_route(client);
  const AddressRow* own = route != nullptr ? world.tables->source_for(client, route->port) : nullptr;
  const IpAddress source = own != nullptr ? own->address : from_client.destination;
  const std::size_t inner = packet.frame.l4_offset + sizeof(IcmpHeader) + inner_offset;
  const std::size_t quoted_bytes = quoted_bytes_of(packet.frame.l4_offset + std::size_t{packet.frame.l4_bytes} - inner, client.is_v4());
  packet.frame.l4_bytes = static_cast<std::uint16_t>(inner + quoted_bytes - packet.frame.l4_offset);
  move_start(packet, packet.data + inner, error_headers_bytes(client.is_v4()), client.is_v4());
  write_error(packet.data + packet.frame.l3_offset, source, client, icmp, quoted_bytes);
  packet.frame.kind = client.is_v4() ? FrameKind::icmp : FrameKind::icmpv6;
  packet.frame.l4_offset = static_cast<std::uint16_t>(packet.frame.l3_offset + error_headers_bytes(client.is_v4()) - sizeof icmp);
  packet.frame.l4_bytes = static_cast<std::uint16_t>(sizeof icmp + quoted_bytes);
  packet.frame.key.source = source;
  packet.frame.key.destination = client;  // by which it is routed
}

// Makes the packet what its sender had sent.
void undo_rewrite(Packet& packet, const FlowRecord& flow) {
  const auto l3 = packet.span().subspan(packet.frame.l3_offset);
  const InnerPacket rewritten = parse_inner(l3, packet.frame.key.source.is_v4());
  readdress(l3, rewritten, arriving_key(flow, packet.direction));
  if (packet.frame.key.source.is_v4()) {
    auto& ip = packet.at<Ipv4Header>(packet.frame.l3_offset);
    ip.ttl = packet.frame.ttl;
    ip.checksum = 0;
    ip.checksum = checksum_of(packet.span().subspan(packet.frame.l3_offset, ip.header_bytes()));
  } else {
    packet.at<Ipv6Header>(packet.frame.l3_offset).hop_limit = packet.frame.ttl;
  }
}

}  // namespace

bool is_icmp_error(Packet& packet) {
  const bool is_v4 = packet.frame.kind == FrameKind::icmp;
  if (!is_v4 && packet.frame.kind != FrameKind::icmpv6) return false;
  const auto type = packet.at<IcmpHeader>(packet.frame.l4_offset).type;
  if (is_v4) {
    return type == icmp_type::unreachable || type == icmp_type::time_exceeded ||
           type == icmp_type::parameter_problem;
  }
  return type >= icmp_type::v6_unreachable && type <= icmp_type::v6_parameter_problem;
}

void handle_icmp_error(World& world, Packet& packet) {
  const InnerPacket inner = parse_inner(quoted_by(packet), is_v4(packet));
  packet.verdict =
      !is_checksum_right(packet) ? Verdict::drop_icmp_checksum_wrong : verdict_of(inner.fault);
  if (!packet.is_live()) return;
  // Told to the one who sent the packet, or it was made up.
  if (inner.key.source != packet.frame.key.destination) {
    packet.verdict = Verdict::drop_icmp_no_flow;
    return;
  }
  const FlowKey arriving = inner.key.reversed();
  const FlowMatch match = world.flows.find(arriving, world.flows.hash(arriving));
  if (match.record == nullptr) return seek_owner(world, packet, inner.key);
  const bool is_over = match.record->state == FlowState::ended;
  packet.verdict = is_over                  ? Verdict::drop_icmp_no_flow
                   : is_mtu_refused(packet) ? Verdict::drop_icmp_mtu_refused
                   : !is_in_window(world, *match.record, match.direction, quoted_by(packet), inner)
                       ? Verdict::drop_icmp_out_of_window
                   : packet.frame.ttl <= 1 ? Verdict::drop_ttl_expired
                                           : Verdict::undecided;
  if (!packet.is_live()) {
    packet.flow = match.record;  // whose VIP counts the loss
    return;
  }
  if (is_one_sided(*match.record)) return hand_on_unchanged(world, packet, *match.record);
  if (match.direction == Direction::to_endpoint) {
    unsplice(world, *match.record, quoted_by(packet).subspan(inner.l4_offset, inner.l4_bytes));
  }
  translate(world, packet, leaving_key(*match.record, match.direction), inner);
}

bool handle_tunnel_error(World& world, Packet& packet) {
  const auto tunnel = parse_inner_tunnel(quoted_by(packet), is_v4(packet));
  if (!tunnel || tunnel->outer.source != packet.frame.key.destination || !is_of_tunnel(*world.tables, tunnel->outer)) return false;
  const InnerPacket inner = parse_inner(quoted_by(packet).subspan(tunnel->inner_offset), tunnel->is_inner_v4);
  packet.verdict = !is_checksum_right(packet)                ? Verdict::drop_icmp_checksum_wrong
                   : inner.fault == InnerFault::truncated ? Verdict::drop_icmp_tunnel_truncated
                                                          : verdict_of(inner.fault);
  if (!packet.is_live()) return true;
  const FlowMatch match = world.flows.find(inner.key, world.flows.hash(inner.key));
  if (match.record == nullptr) {
    hand_to_owner(world, packet, owner_of_client(world, packet, inner.key));
    return true;
  }
  const FlowRecord& flow = *match.record;
  const auto quoted = quoted_by(packet).subspan(tunnel->inner_offset);
  const bool is_its = is_tunnel_of(flow, tunnel->outer) && flow.state != FlowState::ended;
  const auto icmp = error_inside(packet, tunnel_bytes(flow), tunnel->is_inner_v4);
  packet.verdict = !is_its                                                            ? Verdict::drop_icmp_no_flow
                   : !icmp                                                            ? Verdict::drop_icmp_unhandled
                   : is_mtu_refused(packet) || is_mtu_inside_refused(*icmp)           ? Verdict::drop_icmp_mtu_refused
                   : !is_in_window(world, flow, Direction::to_client, quoted, inner) ? Verdict::drop_icmp_out_of_window
                   : !may_make_error(world, packet)                                   ? Verdict::drop_icmp_rate_limited
                                                                                      : Verdict::undecided;
  if (packet.is_live()) tell_client(world, packet, inner.key, tunnel->inner_offset, *icmp);
  else packet.flow = match.record;  // whose VIP counts the loss
  return true;
}

void refuse_ttl(World& world, Packet& packet) {
  packet.verdict = Verdict::drop_ttl_expired;
  if (!may_make_error(world, packet)) return;
  const std::uint8_t type =
      packet.frame.key.source.is_v4() ? icmp_type::time_exceeded : icmp_type::v6_time_exceeded;
  if (turn_into_error(world, packet, {type, 0, 0, be16(0), be16(0)}))
    packet.verdict = Verdict::reject_ttl_expired;
}

void refuse_unrewritten(World& world, Packet& packet, std::uint16_t mtu) {
  packet.verdict = Verdict::drop_mtu_exceeded;
  const bool is_ipv4 = packet.frame.key.source.is_v4();
  // No error about an error, nor of IPv4 about another fragment than the first (RFC 1122 3.2.2; RFC 4443 2.4 has no such rule).
  const FrameKind kind = packet.frame.kind;
  if (kind == FrameKind::icmp || kind == FrameKind::icmpv6 || (is_ipv4 && kind == FrameKind::fragment)) return;
  const bool is_kept_whole = !is_ipv4 || packet.at<Ipv4Header>(packet.frame.l3_offset).is_kept_whole();
  if (!is_kept_whole || !may_make_error(world, packet)) return;
  if (packet.is_fragment) set_fragment_id(packet.span(), packet.frame, packet.frame.fragment_id);
  if (packet.direction == Direction::to_client) {  // its numbers were the client's already
    unsplice(world, *packet.flow, packet.span().subspan(packet.frame.l4_offset, packet.frame.l4_bytes));
  }
  const IcmpHeader icmp =
      is_ipv4 ? IcmpHeader{icmp_type::unreachable, icmp_code_too_long, 0, be16(0), be16(mtu)}
              : IcmpHeader{icmp_type::v6_packet_too_big, 0, 0, be16(0), be16(mtu)};
  if (turn_into_error(world, packet, icmp)) packet.verdict = Verdict::reject_mtu_exceeded;
}

void refuse_length(World& world, Packet& packet, std::uint16_t mtu) {
  packet.verdict = Verdict::drop_mtu_exceeded;
  // Of another family than it came, or in a tunnel: its length was looked at before.
  if (packet.flow == nullptr || packet.flow->dsr > Dsr::l2 || is_ipv4_on_wire(packet) != packet.frame.key.source.is_v4()) return;
  undo_rewrite(packet, *packet.flow);
  refuse_unrewritten(world, packet, mtu);
}

}  // namespace sluice
