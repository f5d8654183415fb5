// Direct server return: the client's packet goes to an endpoint as it is, with the VIP, which the endpoint has too, as its
// destination; the endpoint answers the client itself. Only the time to live changes, by one, as at any hop.
//
//   DSR_L2    Ethernet | packet                              the endpoint is a neighbour
//   DSR_IPIP  Ethernet | IP | packet                         RFC 2003 (4 in 4), RFC 2473 (4 or 6 in 6)
//   DSR_GUE   Ethernet | IP | UDP | GUE variant 0 | packet   draft-ietf-intarea-gue-09, as Linux's fou module takes it
//
// Outer headers:
//   DSCP, ECN      copied (RFC 2983 uniform model, RFC 6040 normal mode).
//   IPv4           DF as inside, so that whoever asked not to be cut is told of narrow links and others are cut; an
//                  identification that means something only where DF is not set (RFC 6864).
//   IPv6           a flow label from the flow (RFC 6438).
//   UDP            source port from the flow, 49152 to 65535: NICs and routers spread flows by it. Checksum: none over
//                  IPv4 (RFC 768). Over IPv6 it is there, for an endpoint would have to be told to do without (RFC 6936);
//                  it costs no look at the payload, whose own checksum says what it sums up to.
//
// A packet that a tunnel makes too long is refused before it is put in, in the terms of who sent it: he is told what fits
// inside. Who cannot send less gets fragments, of the outer packet: the endpoint puts it together before it takes the inner one
// out, which is whole or as it came. That is IPv6 of at most 1,280 bytes (RFC 2473 7.1) and IPv4 without DF, of which some are
// fragments already (RFC 2473 7.2; for IPv4 outside RFC 2003 5.1, whose outer DF is the inner one). No MSS is lowered for it: the MSS in the
// client's SYN is about what the endpoint sends, which passes no tunnel, and the one in the SYN-ACK does not pass us. Jumbo
// frames toward the endpoints or `advmss` on them spare every connection the first refusal. A router behind us that finds the
// tunnel too long, or its end out of reach, tells us; we tell the client (icmp_error.cc).
//
// A flow that is ended here (drain deadline, reset on expiry) ends for the client. Its endpoint learns of it when it speaks
// next, by the client's own reset, which is sent on while the flow is remembered; one that is silent keeps its half until
// its keepalive ends it.
#include "dataplane/net/ip_writer.h"
#include "dataplane/pipeline/families.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::uint16_t checksum_of_nothing = 0xffff;  // one's complement zero
constexpr std::size_t gue_bytes = sizeof(UdpHeader) + sizeof(GueHeader);
constexpr std::uint64_t sum_of_nothing = 0xffffull << 32;  // likewise, and more than any pseudo header's

bool is_outer_v6(const FlowRecord& flow) { return (flow.flags & flow_flag::endpoint_is_v6) != 0; }

std::uint8_t pass_hop(std::byte* ip, bool is_v4) {  // the traffic class
  if (is_v4) {
    auto& header = *reinterpret_cast<Ipv4Header*>(ip);
    --header.ttl;
    header.checksum = ChecksumDelta(ttl_delta).apply_to(header.checksum);
    return header.tos;
  }
  auto& header = *reinterpret_cast<Ipv6Header*>(ip);
  --header.hop_limit;
  return static_cast<std::uint8_t>(header.version_class_flow.host() >> 20);
}

bool is_checksum_telling(const Packet& packet, const std::byte* l4) {
  if (packet.is_fragment) return false;
  return packet.frame.kind == FrameKind::tcp ||
         (packet.frame.kind == FrameKind::udp && reinterpret_cast<const UdpHeader*>(l4)->checksum != 0);
}

// The sum of the inner packet. A transport with a right checksum sums up, with its pseudo header, to nothing, and so does an
// IPv4 header, whose checksum was right when it came; a wrong transport is found out by the endpoint one header earlier.
std::uint64_t inner_sum(const Packet& packet, const std::byte* inner, std::size_t inner_bytes) {
  const std::size_t headers = packet.frame.l4_offset - packet.frame.l3_offset;
  if (!is_checksum_telling(packet, inner + headers)) return checksum_sum({inner, inner_bytes});
  const FlowKey& key = packet.frame.key;
  const std::uint64_t transport =
      sum_of_nothing - pseudo_header_sum(key.source, key.destination, key.protocol, packet.frame.l4_bytes);
  return key.source.is_v4() ? transport : checksum_sum({inner, headers}, transport);
}

template <bool is_outer_v6>
void write_gue(std::byte* out, const Packet& packet, const FlowRecord& flow, std::uint8_t inner_protocol, const std::byte* inner,
               std::size_t inner_bytes) {
  const Be16 udp_bytes = be16(static_cast<std::uint16_t>(gue_bytes + inner_bytes));
  std::uint16_t checksum = 0;
  if constexpr (is_outer_v6) {
    // The length is in the pseudo header too. Nothing that was just written is read: it would wait for its parts.
    checksum = static_cast<std::uint16_t>(
        ~fold_checksum(std::uint64_t{flow.l4_delta} + 2u * udp_bytes.raw + inner_sum(packet, inner, inner_bytes)));
    if (checksum == 0) checksum = checksum_of_nothing;
  }
  *reinterpret_cast<UdpHeader*>(out) = {flow.ports[1].local, flow.tunnel_port, udp_bytes, checksum};
  *reinterpret_cast<GueHeader*>(out + sizeof(UdpHeader)) = {0, inner_protocol, be16(0)};
}

// The outer headers. One function for each kind of tunnel: what they have in common is little, and every packet pays for asking.
template <Dsr dsr, bool is_outer_v6>
void put_in(World& world, Packet& packet, const FlowRecord& flow, std::uint8_t inner_protocol, std::uint8_t traffic_class) {
  constexpr bool is_gue = dsr == Dsr::gue;
  constexpr std::size_t added = (is_outer_v6 ? sizeof(Ipv6Header) : sizeof(Ipv4Header)) + (is_gue ? gue_bytes : 0);
  std::byte* const inner = packet.data + packet.frame.l3_offset;
  const std::size_t inner_bytes = inner_bytes_of(packet), payload_bytes = (is_gue ? gue_bytes : 0) + inner_bytes;
  if constexpr (is_gue) write_gue<is_outer_v6>(inner - gue_bytes, packet, flow, inner_protocol, inner, inner_bytes);
  IpFields fields{is_gue ? protocol::udp : inner_protocol, traffic_class, initial_ttl, true, 0, flow.ports[1].local.host()};
  if constexpr (is_outer_v6) {
    const SideView ends = world.flows.wide_side(flow, 1);
    write_ipv6(inner - added, *ends.local, *ends.remote, payload_bytes, fields);
  } else {
    fields.is_kept_whole = reinterpret_cast<const Ipv4Header*>(inner)->is_kept_whole();  // IPv4 carries IPv4 alone
    if (!fields.is_kept_whole) fields.id = static_cast<std::uint16_t>(next_datagram_id(world));
    write_ipv4(inner - added, flow.v4[1].local, flow.v4[1].remote, payload_bytes, fields);
  }
  move_start(packet, inner, added, !is_outer_v6);
}

// Whether its sender could not have sent less, or does not mind.
bool may_be_cut(Packet& packet, std::size_t inner_bytes) {
  if (!packet.frame.key.source.is_v4()) return inner_bytes <= mtu_min_v6;
  return !packet.at<Ipv4Header>(packet.frame.l3_offset).is_kept_whole();
}

std::uint16_t mtu_told(const Packet& packet, std::uint16_t fitting) {
  return packet.frame.key.source.is_v4() ? fitting : std::max(fitting, mtu_min_v6);
}

// The fragment of an outer packet that begins at `begin` of its payload. `outer`: its header, without a fragment header.
struct OuterFragment {
  std::span<const std::byte> outer;
  std::size_t begin, bytes;
  bool has_more;
  std::uint32_t id;
};

// Behind the link header; how many bytes.
std::size_t write_outer(std::byte* out, const OuterFragment& piece) {
  std::memcpy(out, piece.outer.data(), piece.outer.size());
  if (piece.outer.size() == sizeof(Ipv4Header)) {
    auto& ip = *reinterpret_cast<Ipv4Header*>(out);
    ip.total_bytes = be16(static_cast<std::uint16_t>(sizeof ip + piece.bytes));
    ip.flags_and_fragment = be16(static_cast<std::uint16_t>(piece.begin / 8 | (piece.has_more ? 0x2000u : 0u)));
    ip.checksum = 0;
    ip.checksum = checksum_of({out, sizeof ip});
    return sizeof ip;
  }
  auto& ip = *reinterpret_cast<Ipv6Header*>(out);
  const FragmentHeader header{ip.next_header, 0, be16(static_cast<std::uint16_t>(piece.begin | piece.has_more)), be32(piece.id)};
  ip.next_header = protocol::fragment;
  ip.payload_bytes = be16(static_cast<std::uint16_t>(sizeof header + piece.bytes));
  std::memcpy(out + sizeof ip, &header, sizeof header);
  return sizeof ip + sizeof header;
}

}  // namespace

void cut_tunnel(World& world, Packet& packet, const Neighbor& next_hop) {
  const Be16 type = packet.at<EthernetHeader>(0).type;
  const bool is_v4 = type == ether_type::ipv4;
  const std::size_t ip_bytes = is_v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header), added = is_v4 ? 0 : sizeof(FragmentHeader);
  const std::size_t fitting = (world.ports[next_hop.port].mtu - ip_bytes - added) & ~std::size_t{7};
  const std::size_t payload_bytes = packet.bytes - sizeof(EthernetHeader) - ip_bytes;
  if (packet.headroom < added || world.generated.room() < (payload_bytes - 1) / fitting) {
    packet.verdict = Verdict::drop_no_buffer;
    return;
  }
  std::array<std::byte, sizeof(Ipv6Header)> outer;
  std::memcpy(outer.data(), packet.data + sizeof(EthernetHeader), ip_bytes);
  const std::uint32_t id = is_v4 ? 0 : next_datagram_id(world);  // IPv4 has one in its header
  const auto piece_at = [&](std::size_t begin) {
    const std::size_t bytes = std::min(fitting, payload_bytes - begin);
    return OuterFragment{std::span(outer).first(ip_bytes), begin, bytes, begin + bytes < payload_bytes, id};
  };
  const std::byte* const payload = packet.data + sizeof(EthernetHeader) + ip_bytes;
  for (std::size_t begin = fitting; begin < payload_bytes; begin += fitting) {
    const OuterFragment piece = piece_at(begin);
    GeneratedFrame& frame = *world.generated.add();
    const std::size_t link_bytes = write_link_header(world, frame.data.data(), next_hop.port, next_hop.mac, type);
    frame.bytes = static_cast<std::uint16_t>(link_bytes + write_outer(frame.data.data() + link_bytes, piece));
    frame.tx_port = next_hop.port;
    frame.tail = {payload + begin, piece.bytes};
  }
  packet.data -= added;
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - added);
  packet.at<EthernetHeader>(0).type = type;
  const std::size_t headers = write_outer(packet.data + sizeof(EthernetHeader), piece_at(0));
  packet.bytes = static_cast<std::uint16_t>(sizeof(EthernetHeader) + headers + fitting);
}

bool may_fit_direct(World& world, Packet& packet, FlowRecord& flow) {
  const std::uint16_t added = tunnel_bytes(flow);
  const std::size_t inner_bytes = inner_bytes_of(packet);
  if (inner_bytes + added > world.mtu_min) [[unlikely]] {
    const std::uint16_t mtu = mtu_ahead(world, packet, flow);
    if (!packet.is_live()) return false;
    if (inner_bytes + added > mtu) packet.may_be_cut = may_be_cut(packet, inner_bytes);
    if (inner_bytes + added > mtu && !packet.may_be_cut) {
      refuse_unrewritten(world, packet, mtu_told(packet, static_cast<std::uint16_t>(mtu - added)));
      return false;
    }
  }
  if (packet.headroom < added) packet.verdict = Verdict::drop_no_buffer;
  return packet.is_live();
}

void send_direct(World& world, Packet& packet, const FlowRecord& flow) {
  std::byte* const inner = packet.data + packet.frame.l3_offset;
  const bool is_inner_v4 = packet.frame.key.source.is_v4();
  const std::uint8_t traffic_class = pass_hop(inner, is_inner_v4);
  if (flow.dsr == Dsr::l2) return;
  using PutIn = void (*)(World&, Packet&, const FlowRecord&, std::uint8_t, std::uint8_t);
  static constexpr PutIn put_in_tunnel[2][2] = {{put_in<Dsr::ipip, false>, put_in<Dsr::ipip, true>},
                                                {put_in<Dsr::gue, false>, put_in<Dsr::gue, true>}};
  put_in_tunnel[flow.dsr == Dsr::gue][is_outer_v6(flow)](world, packet, flow, is_inner_v4 ? protocol::ipv4 : protocol::ipv6, traffic_class);
}

}  // namespace sluice
