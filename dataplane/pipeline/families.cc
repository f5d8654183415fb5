// Between the families (RFC 7915, with addresses of our own on both sides): a client of one, an endpoint of the other.
//
// The transport stays where it is; an IP header of the other family is put before it, which moves the frame's start by
// the 20 bytes in which the headers differ. The transport checksum needs nothing more than within a family: the two
// pseudo headers differ by the addresses, which the flow's delta covers, and by 0xffff, which is nothing.
// Options and extension headers stay behind (RFC 7915 4.1, 5.1). Fragments are not translated.
#include "dataplane/net/icmp_inner.h"
#include "dataplane/net/ip_writer.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::uint16_t bytes_never_told = 1'260;  // RFC 7915 5.1: below it an IPv6 sender cannot go, so routers may cut

struct HeaderFacts {
  std::uint8_t traffic_class = 0;
  std::uint8_t ttl = 0;
};

HeaderFacts facts_of(const std::byte* ip, bool is_v4) {
  if (is_v4) {
    const auto& header = *reinterpret_cast<const Ipv4Header*>(ip);
    return {header.tos, header.ttl};
  }
  const auto& header = *reinterpret_cast<const Ipv6Header*>(ip);
  return {static_cast<std::uint8_t>(header.version_class_flow.host() >> 20), header.hop_limit};
}

// A packet that an IPv6 sender could not make shorter may be cut.
IpFields fields_of(std::uint8_t protocol_number, std::size_t payload_bytes, HeaderFacts facts, std::uint16_t id) {
  const bool may_be_cut = sizeof(Ipv4Header) + payload_bytes <= bytes_never_told;
  return {protocol_number, facts.traffic_class, facts.ttl, !may_be_cut, id, 0};
}

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

void move_start(Packet& packet, std::byte* payload, std::size_t l3_bytes, bool is_v4) {
  std::byte* const end = packet.data + packet.frame.l4_offset + packet.frame.l4_bytes;  // padding stays behind
  std::byte* const data = payload - l3_bytes - sizeof(EthernetHeader);
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + (data - packet.data));
  packet.data = data;
  packet.bytes = static_cast<std::uint16_t>(end - data);
  packet.frame.l3_offset = sizeof(EthernetHeader);  // a VLAN tag is the next hop's business too
  packet.at<EthernetHeader>(0).type = is_v4 ? ether_type::ipv4 : ether_type::ipv6;
}

bool may_fit_other_family(World& world, Packet& packet, bool is_v4) {
  if (packet.is_fragment) {
    packet.verdict = Verdict::drop_fragment_family;
    return false;
  }
  const std::size_t l3_bytes = (is_v4 ? sizeof(Ipv6Header) : sizeof(Ipv4Header)) + std::size_t{packet.frame.l4_bytes};
  if (l3_bytes > port_mtu_min) {
    const std::uint16_t mtu = mtu_ahead(world, packet, *packet.flow);
    if (!packet.is_live()) return false;
    if (l3_bytes > mtu) {
      // What fits of his family: the header that he writes is shorter, or longer.
      refuse_unrewritten(world, packet, static_cast<std::uint16_t>(is_v4 ? mtu - header_difference : mtu + header_difference));
      return false;
    }
  }
  if (packet.headroom < header_difference) packet.verdict = Verdict::drop_no_buffer;
  return packet.is_live();
}

void exchange_header_for_v6(Packet& packet, const IpAddress& source, const IpAddress& destination) {
  HeaderFacts facts = facts_of(packet.data + packet.frame.l3_offset, true);
  --facts.ttl;
  std::byte* const l4 = packet.data + packet.frame.l4_offset;
  if (packet.frame.kind == FrameKind::udp) {
    auto& udp = *reinterpret_cast<UdpHeader*>(l4);
    if (udp.checksum == 0) {  // which IPv6 does not allow
      udp.checksum = checksum_of({l4, udp.bytes.host()}, pseudo_header_sum(source, destination, protocol::udp, udp.bytes.host()));
      if (udp.checksum == 0) udp.checksum = 0xffff;
    }
  }
  move_start(packet, l4, sizeof(Ipv6Header), false);
  write_ipv6(packet.data + sizeof(EthernetHeader), source, destination, packet.frame.l4_bytes,
             fields_of(packet.frame.key.protocol, packet.frame.l4_bytes, facts, 0));
  packet.frame.l4_offset = sizeof(EthernetHeader) + sizeof(Ipv6Header);
}

void exchange_header_for_v4(Packet& packet, Be32 source, Be32 destination, std::uint16_t id) {
  HeaderFacts facts = facts_of(packet.data + packet.frame.l3_offset, false);
  --facts.ttl;
  move_start(packet, packet.data + packet.frame.l4_offset, sizeof(Ipv4Header), true);
  write_ipv4(packet.data + sizeof(EthernetHeader), source, destination, packet.frame.l4_bytes,
             fields_of(packet.frame.key.protocol, packet.frame.l4_bytes, facts, id));
  packet.frame.l4_offset = sizeof(EthernetHeader) + sizeof(Ipv4Header);
}

bool exchange_error(World& world, Packet& packet, const FlowKey& leaving, const InnerPacket& inner) {
  const bool is_v4_now = leaving.source.is_v4();
  const IcmpHeader before = packet.at<IcmpHeader>(packet.frame.l4_offset);
  const auto kind = is_v4_now ? kind_in_v4(before) : kind_in_v6(before);
  const std::size_t l3_bytes = header_bytes(leaving);
  const std::size_t new_headers = 2 * l3_bytes + sizeof(IcmpHeader) + sizeof(EthernetHeader);
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
    icmp.sequence = be16(static_cast<std::uint16_t>(std::min<std::uint32_t>(mtu, 65'535) - header_difference));
  } else if (!is_v4_now && before.type == icmp_type::unreachable && before.code == icmp_code_too_long) {
    icmp.sequence = be16(std::max<std::uint16_t>(mtu_min_v6, static_cast<std::uint16_t>(before.sequence.host() + header_difference)));
  }
  move_start(packet, packet.data + inner_l4, 2 * l3_bytes + sizeof icmp, is_v4_now);
  const std::size_t payload_bytes = sizeof icmp + l3_bytes + inner.l4_bytes;
  std::byte* out = packet.data + sizeof(EthernetHeader);
  write_header(out, leaving, is_v4_now ? protocol::icmp : protocol::icmpv6, payload_bytes,
               {outer.traffic_class, static_cast<std::uint8_t>(outer.ttl - 1)}, static_cast<std::uint16_t>(++world.fragment_id));
  out += l3_bytes;
  std::memcpy(out, &icmp, sizeof icmp);
  inner_facts.ttl = std::max<std::uint8_t>(inner_facts.ttl, 1);
  write_header(out + sizeof icmp, leaving.reversed(), inner.key.protocol, inner_payload, inner_facts, 0);
  packet.frame.kind = is_v4_now ? FrameKind::icmp : FrameKind::icmpv6;
  packet.frame.l4_offset = static_cast<std::uint16_t>(sizeof(EthernetHeader) + l3_bytes);
  packet.frame.l4_bytes = static_cast<std::uint16_t>(payload_bytes);
  return true;
}

}  // namespace sluice
