// ICMP errors (RFC 792, RFC 4443): those about packets that we sent, handed on to who sent them to
// us (RFC 5508 4.2), and those that we make ourselves as a hop on the way (RFC 1812 4.3.2, RFC
// 4443 2.4).
//
// An error that comes from one side of a flow is about a packet that we sent to that side, so the
// quoted addresses, turned around, are the five-tuple with which packets of that side arrive: it
// leads to the flow as any packet does. The error leaves from the address that we show to the other
// side, whoever made it: the networks stay strangers.
#include "dataplane/net/fragment.h"
#include "dataplane/net/icmp_inner.h"
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

// The flow is not ours: who may have it? By the rules of classify.cc, told from the quoted packet.
void seek_owner(const World& world, Packet& packet, const FlowKey& sent) {
  const Snapshot& tables = *world.tables;
  std::optional<std::uint32_t> owner;
  const AddressIndexRow local = tables.find_address(sent.source);
  if (local.kind == AddressKind::snat) {
    owner = world.replies->of(tables.snat_pools()[local.index], sent.reversed());
  } else if (local.kind == AddressKind::vip) {
    const VipRow* vip = tables.find_vip(sent.source, sent.source_port, sent.protocol);
    if (vip != nullptr && world.is_rss_stable &&
        tables.clusters()[vip->cluster].forwarding != Forwarding::nat) {
      if (packet.hops + 1u < world.lcore_count)
        return hand_to(packet, (world.lcore + 1) % world.lcore_count);
    } else if (vip != nullptr) {
      owner = owner_by_client(tables, sent.destination, sent.destination_port, world.lcore_count);
    }
  } else if (tables.is_return_source(sent.destination, sent.destination_port, sent.protocol)) {
    owner = owner_by_client(tables, sent.source, sent.source_port, world.lcore_count);
  }
  if (owner && *owner != world.lcore && packet.hops == 0) return hand_to(packet, *owner);
  packet.verdict = Verdict::drop_icmp_no_flow;
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
  if (is_v4(packet)) {
    auto& ip = packet.at<Ipv4Header>(packet.frame.l3_offset);
    ip.source = leaving.source.as_v4();
    ip.destination = leaving.destination.as_v4();
    --ip.ttl;
    ip.checksum = 0;
    ip.checksum = checksum_of(packet.span().subspan(packet.frame.l3_offset, ip.header_bytes()));
  } else {
    auto& ip = packet.at<Ipv6Header>(packet.frame.l3_offset);
    std::memcpy(ip.source, &leaving.source, sizeof ip.source);
    std::memcpy(ip.destination, &leaving.destination, sizeof ip.destination);
    --ip.hop_limit;
  }
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

// Puts an error about the packet before the packet, which ends where an error may end. False when
// there is no room.
bool turn_into_error(World& world, Packet& packet, IcmpHeader icmp) {
  const bool is_ipv4 = packet.frame.key.source.is_v4();
  const std::size_t new_bytes =
      (is_ipv4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header)) + sizeof(IcmpHeader);
  if (packet.headroom < new_bytes) return false;
  const std::size_t quoted_bytes = std::min<std::size_t>(
      packet.frame.l4_offset - packet.frame.l3_offset + std::size_t{packet.frame.l4_bytes},
      (is_ipv4 ? error_bytes_max_v4 : error_bytes_max_v6) - new_bytes);
  const IpAddress source = own_address_toward(world, packet);
  const IpAddress destination = packet.frame.key.source;
  const std::size_t l3 = packet.frame.l3_offset;
  std::memmove(packet.data - new_bytes, packet.data, l3);
  packet.data -= new_bytes;
  auto& ethernet = packet.at<EthernetHeader>(0);
  std::swap(ethernet.source, ethernet.destination);
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - new_bytes);
  packet.bytes = static_cast<std::uint16_t>(l3 + new_bytes + quoted_bytes);
  const auto payload_bytes = static_cast<std::uint16_t>(sizeof icmp + quoted_bytes);
  if (is_ipv4) {
    auto& ip = packet.at<Ipv4Header>(l3);
    ip = {0x45,
          0,
          be16(static_cast<std::uint16_t>(sizeof ip + payload_bytes)),
          be16(0),
          be16(0),
          initial_ttl,
          protocol::icmp,
          0,
          source.as_v4(),
          destination.as_v4()};
    ip.checksum = checksum_of(packet.span().subspan(l3, sizeof ip));
  } else {
    auto& ip = packet.at<Ipv6Header>(l3);
    ip = {be32(6u << 28), be16(payload_bytes), protocol::icmpv6, initial_ttl, {}, {}};
    std::memcpy(ip.source, &source, sizeof ip.source);
    std::memcpy(ip.destination, &destination, sizeof ip.destination);
  }
  packet.at<IcmpHeader>(l3 + new_bytes - sizeof icmp) = icmp;
  set_checksum(packet.span().subspan(l3 + new_bytes - sizeof icmp), source, destination);
  packet.tx_port = packet.port;
  return true;
}

bool may_make_error(World& world, const Packet& packet) {
  return packet.port != exception_port &&
         world.icmp_errors.take(
             world.now, share_of(world.tables->node().icmp_errors_per_second, world.lcore_count));
}

bool is_ipv4_on_wire(Packet& packet) { return packet.at<Be16>(packet.frame.l3_offset - sizeof(Be16)) == ether_type::ipv4; }

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
