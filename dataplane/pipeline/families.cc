// Between the families (RFC 7915, with addresses of our own on both sides): a client of one, an endpoint of the other.
//
// The transport stays where it is; an IP header of the other family is put before it, which moves the frame's start by
// the 20 bytes in which the headers differ. The transport checksum needs nothing more than within a family: the two
// pseudo headers differ by the addresses, which the flow's delta covers, and by 0xffff, which is nothing.
// Options and extension headers stay behind (RFC 7915 4.1, 5.1).
//
// Fragments: offset and flag go from one header to the other, the identification is ours (fragments.cc), of which IPv4 has
// the lower half. One that is whole (RFC 6946) comes without its fragment header into IPv4, where it may be cut, and none is
// made of a whole packet (RFC 8021).
//   Longer  An IPv6 header with a fragment header is 28 bytes longer than IPv4's, which is more than a link between has: a
//           sender of IPv4 who did not set DF is owed that it is cut, once more or for the first time (RFC 7915 4.1). What
//           does not fit leaves behind the packet, in fragments of our own; they need a next hop whose address is known. What
//           fits is what the next link takes, not 1,280 bytes: of a narrower one behind it the sender is told, DF or not.
//   UDP     A datagram without checksum cannot be given one from its first fragment: a drop of its own (RFC 7915 4.5).
#include "dataplane/pipeline/families.h"

#include "dataplane/net/fragment.h"
#include "dataplane/net/icmp_inner.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::size_t fragment_headers_v6 = sizeof(Ipv6Header) + sizeof(FragmentHeader);
constexpr std::uint16_t fragment_difference = fragment_headers_v6 - sizeof(Ipv4Header);

// Writes a header for `payload_bytes` of payload at `out`.
void write_header(std::byte* out, const FlowKey& key, std::uint8_t protocol_number, std::size_t payload_bytes, HeaderFacts facts,
                  std::uint16_t id) {
  const IpFields fields = fields_of(protocol_number, payload_bytes, facts, id);
  if (key.source.is_v4()) {
    write_ipv4(out, key.source.as_v4(), key.destination.as_v4(), payload_bytes, fields);
  } else {
    write_ipv6(out, key.source, key.destination, payload_bytes, fields);
  }
}

std::size_t header_bytes(const FlowKey& key) { return key.source.is_v4() ? sizeof(Ipv4Header) : sizeof(Ipv6Header); }

// Behind the link header, with its fragment header.
std::size_t write_fragment_headers(std::byte* out, const FlowKey& key, HeaderFacts facts, const Fragment& fragment) {
  if (key.source.is_v4()) {
    write_ipv4(out, key.source.as_v4(), key.destination.as_v4(), fragment.payload_bytes,
               {key.protocol, facts.traffic_class, facts.ttl, false, static_cast<std::uint16_t>(fragment.id), 0, fragment.word_in_v4()});
    return sizeof(Ipv4Header);
  }
  write_ipv6(out, key.source, key.destination, sizeof(FragmentHeader) + fragment.payload_bytes,
             {protocol::fragment, facts.traffic_class, facts.ttl});
  const FragmentHeader header{key.protocol, 0, be16(fragment.word_in_v6()), be32(fragment.id)};
  std::memcpy(out + sizeof(Ipv6Header), &header, sizeof header);
  return fragment_headers_v6;
}

// Payload of a fragment that `mtu` lets through as IPv6.
std::uint32_t fragment_payload_max(std::uint16_t mtu) { return (mtu - static_cast<std::uint32_t>(fragment_headers_v6)) & ~7u; }

bool leaves_as_fragment(const Packet& packet) { return packet.is_fragment || packet.frame.kind == FrameKind::fragment; }

// Whether a packet of IPv4 that is too long may leave in fragments. False: it has its verdict.
bool may_be_cut(World& world, Packet& packet, const FlowRecord& flow, std::uint16_t mtu) {
  const std::uint32_t fitting = fragment_payload_max(mtu);
  if (world.generated.room() < (packet.frame.l4_bytes - 1) / fitting) {
    packet.verdict = Verdict::drop_no_buffer;
  } else if (next_hop_to(world, leaving_key(flow, packet.direction).destination) == nullptr) {
    packet.verdict = Verdict::drop_neighbor_unresolved;
  }
  return packet.is_live();
}

// A whole packet becomes the only fragment of its datagram, to be cut.
void become_fragment(World& world, Packet& packet) {
  std::byte* const l4 = packet.data + packet.frame.l4_offset;
  if (packet.frame.kind == FrameKind::udp && reinterpret_cast<UdpHeader*>(l4)->checksum == 0) give_checksum(packet.frame.key, l4);
  set_fragment_id(packet.span(), packet.frame, next_datagram_id(world));
  packet.is_fragment = true;
}

// Tells the sender what fits, if he wants to know.
void refuse_to_cut(World& world, Packet& packet, std::uint16_t mtu) {
  packet.verdict = Verdict::drop_mtu_exceeded;
  const bool is_first = packet.frame.kind != FrameKind::fragment;  // RFC 1122 3.2.2: no error about another
  if (!is_first) return;
  // What fits of his family: the headers that he writes are shorter, or longer.
  const int more = packet.is_fragment ? fragment_difference : header_difference;
  refuse_unrewritten(world, packet, static_cast<std::uint16_t>(packet.frame.key.source.is_v4() ? mtu - more : mtu + more));
}

// What is too long leaves in fragments of our own, behind the packet, which keeps the beginning.
void cut_to(std::uint32_t fitting, World& world, Packet& packet, const FlowKey& leaving, HeaderFacts facts, Fragment& fragment) {
  const std::byte* const payload = packet.data + packet.frame.l4_offset;
  const Neighbor& next_hop = *next_hop_to(world, leaving.destination);
  for (std::uint32_t begin = fitting; begin < fragment.payload_bytes; begin += fitting) {
    Fragment piece = fragment;
    piece.offset_bytes += begin;
    piece.payload_bytes = std::min(fitting, fragment.payload_bytes - begin);
    piece.has_more = fragment.has_more || begin + fitting < fragment.payload_bytes;
    GeneratedFrame& frame = *world.generated.add();
    const std::size_t link_bytes = write_link_header(world, frame.data.data(), next_hop.port, next_hop.mac, ether_type::ipv6);
    frame.bytes = static_cast<std::uint16_t>(link_bytes + write_fragment_headers(frame.data.data() + link_bytes, leaving, facts, piece));
    frame.tx_port = next_hop.port;
    frame.tail = {payload + begin, piece.payload_bytes};
  }
  fragment.payload_bytes = fitting;
  fragment.has_more = true;
  packet.frame.l4_bytes = static_cast<std::uint16_t>(fitting);
}

struct ErrorKind {
  std::uint8_t type, code;
};

// RFC 7915 4.2 and 5.2; nothing: an error that has no like in the other family.
std::optional<ErrorKind> kind_in_v6(const IcmpHeader& icmp) {
  if (icmp.type == icmp_type::time_exceeded) return ErrorKind{icmp_type::v6_time_exceeded, icmp.code};
  if (icmp.type != icmp_type::unreachable) return std::nullopt;
  switch (icmp.code) {
    case 0: case 1: case 5: case 6: case 7: case 8: case 11: case 12: return ErrorKind{icmp_type::v6_unreachable, 0};
    case 3: return ErrorKind{icmp_type::v6_unreachable, 4};
    case icmp_code_too_long: return ErrorKind{icmp_type::v6_packet_too_big, 0};
    case 9: case 10: case 13: case 15: return ErrorKind{icmp_type::v6_unreachable, 1};
    default: return std::nullopt;
  }
}

std::optional<ErrorKind> kind_in_v4(const IcmpHeader& icmp) {
  if (icmp.type == icmp_type::v6_time_exceeded) return ErrorKind{icmp_type::time_exceeded, icmp.code};
  if (icmp.type == icmp_type::v6_packet_too_big) return ErrorKind{icmp_type::unreachable, icmp_code_too_long};
  if (icmp.type != icmp_type::v6_unreachable) return std::nullopt;
  switch (icmp.code) {
    case 0: case 2: case 3: return ErrorKind{icmp_type::unreachable, 1};
    case 1: return ErrorKind{icmp_type::unreachable, 10};
    case 4: return ErrorKind{icmp_type::unreachable, 3};
    default: return std::nullopt;
  }
}

}  // namespace

void give_checksum(const FlowKey& key, std::byte* l4) {
  auto& udp = *reinterpret_cast<UdpHeader*>(l4);
  udp.checksum = checksum_of({l4, udp.bytes.host()}, pseudo_header_sum(key.source, key.destination, protocol::udp, udp.bytes.host()));
  if (udp.checksum == 0) udp.checksum = 0xffff;
}

bool is_atomic_fragment(const Packet& packet) {
  const std::byte* const ip = packet.data + packet.frame.l3_offset;
  const std::size_t end = packet.frame.l4_offset - packet.frame.l3_offset;
  std::uint8_t next = reinterpret_cast<const Ipv6Header*>(ip)->next_header;
  for (std::size_t at = sizeof(Ipv6Header); at < end && next != protocol::fragment;) {
    next = static_cast<std::uint8_t>(ip[at]);
    at += (static_cast<std::size_t>(ip[at + 1]) + 1) * 8;
  }
  return next == protocol::fragment;
}
bool may_fit_other_family(World& world, Packet& packet, FlowRecord& flow, bool is_v4) {
  const bool is_part = leaves_as_fragment(packet);
  if (is_v4 && packet.is_fragment && packet.frame.kind == FrameKind::udp && packet.at<UdpHeader>(packet.frame.l4_offset).checksum == 0) {
    packet.verdict = Verdict::drop_fragment_checksum_missing;
    return false;
  }
  const std::size_t headers = !is_v4 ? sizeof(Ipv4Header) : is_part ? fragment_headers_v6 : sizeof(Ipv6Header);
  if (headers + packet.frame.l4_bytes > port_mtu_min) {
    const std::uint16_t mtu = mtu_ahead(world, packet, flow);
    if (!packet.is_live()) return false;
    if (headers + packet.frame.l4_bytes > mtu) {
      const bool is_told = !is_v4 || packet.at<Ipv4Header>(packet.frame.l3_offset).is_kept_whole();
      if (is_told) refuse_to_cut(world, packet, mtu);
      if (is_told || !may_be_cut(world, packet, flow, mtu)) return false;
      if (!is_part) become_fragment(world, packet);
    }
  }
  if (packet.headroom < (leaves_as_fragment(packet) ? fragment_difference : header_difference)) packet.verdict = Verdict::drop_no_buffer;
  return packet.is_live();
}

void exchange_fragment(World& world, Packet& packet, FlowRecord& flow, const FlowKey& leaving) {
  const bool is_to_v4 = leaving.source.is_v4();
  Fragment fragment = read_fragment(packet.span(), packet.frame);
  HeaderFacts facts = facts_of(packet.data + packet.frame.l3_offset, !is_to_v4);
  --facts.ttl;
  if (!is_to_v4) {
    const std::uint16_t mtu = mtu_ahead(world, packet, flow);
    if (fragment_headers_v6 + fragment.payload_bytes > mtu) cut_to(fragment_payload_max(mtu), world, packet, leaving, facts, fragment);
  }
  std::byte* const l4 = packet.data + packet.frame.l4_offset;
  const std::size_t l3_bytes = is_to_v4 ? sizeof(Ipv4Header) : fragment_headers_v6;
  move_start(packet, l4, l3_bytes, is_to_v4);
  write_fragment_headers(packet.data + sizeof(EthernetHeader), leaving, facts, fragment);
  packet.frame.l4_offset = static_cast<std::uint16_t>(sizeof(EthernetHeader) + l3_bytes);
}

bool exchange_error(World& world, Packet& packet, const FlowKey& leaving, const InnerPacket& inner) {
  const bool is_v4_now = leaving.source.is_v4();
  const IcmpHeader before = packet.at<IcmpHeader>(packet.frame.l4_offset);
  const auto kind = is_v4_now ? kind_in_v4(before) : kind_in_v6(before);
  const std::size_t l3_bytes = header_bytes(leaving);
  const std::size_t inner_l3_bytes = inner.is_fragment && !is_v4_now ? fragment_headers_v6 : l3_bytes;
  const std::size_t new_headers = l3_bytes + inner_l3_bytes + sizeof(IcmpHeader) + sizeof(EthernetHeader);
  const std::size_t inner_l3 = packet.frame.l4_offset + sizeof(IcmpHeader);
  const std::size_t inner_l4 = inner_l3 + inner.l4_offset;
  if (!kind || inner_l4 + packet.headroom < new_headers) {
    packet.verdict = kind ? Verdict::drop_no_buffer : Verdict::drop_icmp_unhandled;
    return false;
  }
  const std::byte* const quoted = packet.data + inner_l3;
  const HeaderFacts outer = facts_of(packet.data + packet.frame.l3_offset, !is_v4_now);
  HeaderFacts inner_facts = facts_of(quoted, !is_v4_now);
  // How long the quoted packet was, which is more than what is quoted of it.
  const std::size_t stated =
      is_v4_now ? reinterpret_cast<const Ipv6Header*>(quoted)->payload_bytes.host() + sizeof(Ipv6Header)
                : reinterpret_cast<const Ipv4Header*>(quoted)->total_bytes.host();
  const std::size_t inner_payload = std::max<std::size_t>(stated, inner.l4_offset + inner.l4_bytes) - inner.l4_offset;
  readdress_transport({packet.data + inner_l4, inner.l4_bytes}, inner, leaving.reversed());

  IcmpHeader icmp{kind->type, kind->code, 0, be16(0), be16(0)};
  if (is_v4_now && before.type == icmp_type::v6_packet_too_big) {
    const std::uint32_t mtu = std::uint32_t{before.identifier.host()} << 16 | before.sequence.host();
    const std::uint16_t longer = inner.is_fragment ? fragment_difference : header_difference;
    icmp.sequence = be16(static_cast<std::uint16_t>(std::min<std::uint32_t>(mtu, 65'535) - longer));
  } else if (!is_v4_now && before.type == icmp_type::unreachable && before.code == icmp_code_too_long) {
    icmp.sequence = be16(std::max<std::uint16_t>(mtu_min_v6, static_cast<std::uint16_t>(before.sequence.host() + header_difference)));
  }
  const std::uint32_t inner_id = !inner.is_fragment ? 0
                                 : is_v4_now        ? reinterpret_cast<const FragmentHeader*>(packet.data + inner_l4)[-1].id.host()
                                                    : reinterpret_cast<const Ipv4Header*>(quoted)->id.host();
  move_start(packet, packet.data + inner_l4, l3_bytes + inner_l3_bytes + sizeof icmp, is_v4_now);
  const std::size_t payload_bytes = sizeof icmp + inner_l3_bytes + inner.l4_bytes;
  std::byte* out = packet.data + sizeof(EthernetHeader);
  write_header(out, leaving, is_v4_now ? protocol::icmp : protocol::icmpv6, payload_bytes,
               {outer.traffic_class, static_cast<std::uint8_t>(outer.ttl - 1)}, static_cast<std::uint16_t>(++world.fragment_id));
  out += l3_bytes;
  std::memcpy(out, &icmp, sizeof icmp);
  inner_facts.ttl = std::max<std::uint8_t>(inner_facts.ttl, 1);
  if (inner.is_fragment) {
    write_fragment_headers(out + sizeof icmp, leaving.reversed(), inner_facts, {inner_id, 0, static_cast<std::uint32_t>(inner_payload), true});
  } else {
    write_header(out + sizeof icmp, leaving.reversed(), inner.key.protocol, inner_payload, inner_facts, 0);
  }
  packet.frame.kind = is_v4_now ? FrameKind::icmp : FrameKind::icmpv6;
  packet.frame.l4_offset = static_cast<std::uint16_t>(sizeof(EthernetHeader) + l3_bytes);
  packet.frame.l4_bytes = static_cast<std::uint16_t>(payload_bytes);
  return true;
}

}  // namespace sluice
