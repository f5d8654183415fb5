// parse_frame: bytes -> ParsedFrame. Pure: reads the bytes, keeps nothing, reads nothing beyond
// them. In a header so that the one stage that calls it for every packet has it inlined.
#pragma once

#include <cstddef>
#include <span>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/parsed_frame.h"

namespace sluice {
namespace parsing {

inline constexpr unsigned ipv6_extensions_max = 8;

template <class Header>
const Header* header_at(std::span<const std::byte> frame, std::size_t offset) {
  if (offset + sizeof(Header) > frame.size()) return nullptr;
  return reinterpret_cast<const Header*>(frame.data() + offset);
}

constexpr bool is_possible(std::uint8_t tcp_flags) {
  using namespace tcp_flag;
  if ((tcp_flags & syn) != 0) return (tcp_flags & (fin | rst)) == 0;
  if ((tcp_flags & rst) != 0) return (tcp_flags & fin) == 0;
  return (tcp_flags & ack) != 0;
}

// A bit for each combination of FIN, SYN, RST, PSH and ACK, the lowest five flags.
inline constexpr std::uint32_t possible_tcp_flags = [] {
  std::uint32_t bits = 0;
  for (std::uint8_t flags = 0; flags < 32; ++flags) bits |= std::uint32_t{is_possible(flags)} << flags;
  return bits;
}();

inline bool are_tcp_flags_possible(std::uint8_t flags) { return (possible_tcp_flags >> (flags & 31) & 1) != 0; }

inline ParseFault parse_tcp(std::span<const std::byte> l4, ParsedFrame& parsed) {
  if (l4.size() < sizeof(TcpHeader)) return ParseFault::l4_header_invalid;
  const auto& tcp = *reinterpret_cast<const TcpHeader*>(l4.data());
  const unsigned header_bytes = tcp.header_bytes();
  if (header_bytes < sizeof(TcpHeader) || header_bytes > l4.size()) return ParseFault::l4_header_invalid;
  const std::uint8_t flags = tcp.flags;
  if (!are_tcp_flags_possible(flags)) return ParseFault::tcp_flags_invalid;
  parsed.kind = FrameKind::tcp;
  parsed.tcp_flags = flags;
  parsed.key.source_port = tcp.source_port;
  parsed.key.destination_port = tcp.destination_port;
  return ParseFault::none;
}

inline ParseFault parse_udp(std::span<const std::byte> l4, bool is_v4, ParsedFrame& parsed) {
  if (l4.size() < sizeof(UdpHeader)) return ParseFault::l4_header_invalid;
  const auto& udp = *reinterpret_cast<const UdpHeader*>(l4.data());
  const unsigned bytes = udp.bytes.host();
  if (bytes < sizeof(UdpHeader) || bytes > l4.size()) return ParseFault::l4_header_invalid;
  if (udp.checksum == 0 && !is_v4) return ParseFault::udp_checksum_missing;
  parsed.kind = FrameKind::udp;
  parsed.key.source_port = udp.source_port;
  parsed.key.destination_port = udp.destination_port;
  return ParseFault::none;
}

inline ParseFault parse_icmp(std::span<const std::byte> l4, bool is_v4, ParsedFrame& parsed) {
  if (l4.size() < sizeof(IcmpHeader)) return ParseFault::l4_header_invalid;
  parsed.kind = is_v4 ? FrameKind::icmp : FrameKind::icmpv6;
  return ParseFault::none;
}

// `l4`: the transport header and all that follows it within the packet. Inlined with what calls it: the offsets and
// addresses that were just found then stay in registers.
[[gnu::always_inline]] inline ParseFault parse_transport(std::span<const std::byte> l4, std::uint8_t protocol_number, bool is_v4,
                                                         ParsedFrame& parsed) {
  if (protocol_number == protocol::tcp) [[likely]] return parse_tcp(l4, parsed);
  if (protocol_number == protocol::udp) return parse_udp(l4, is_v4, parsed);
  if (protocol_number == (is_v4 ? protocol::icmp : protocol::icmpv6)) return parse_icmp(l4, is_v4, parsed);
  parsed.kind = FrameKind::ip_other;
  return ParseFault::none;
}

// `header_bytes`: a constant where there are no options, and so are then the lengths and sums that come of it.
[[gnu::always_inline]] inline ParseFault parse_ipv4_packet(std::span<const std::byte> packet, std::size_t header_bytes,
                                                           ParsedFrame& parsed) {
  const auto& ip = *reinterpret_cast<const Ipv4Header*>(packet.data());
  const std::size_t total_bytes = ip.total_bytes.host();
  if (total_bytes < header_bytes) return ParseFault::ip_header_invalid;
  if (total_bytes > packet.size()) return ParseFault::frame_truncated;
  if (!is_right_sum(checksum_sum(packet.first(header_bytes)))) return ParseFault::ip_checksum_wrong;
  parsed.key.source = IpAddress::v4(ip.source);
  parsed.key.destination = IpAddress::v4(ip.destination);
  parsed.key.protocol = ip.protocol;
  parsed.ttl = ip.ttl;
  parsed.l4_offset = static_cast<std::uint16_t>(parsed.l3_offset + header_bytes);
  parsed.l4_bytes = static_cast<std::uint16_t>(total_bytes - header_bytes);
  if (ip.is_fragment()) [[unlikely]] {
    parsed.kind = FrameKind::fragment;
    return ParseFault::none;
  }
  return parse_transport({packet.data() + header_bytes, total_bytes - header_bytes}, ip.protocol, true, parsed);
}

[[gnu::noinline]] inline ParseFault parse_ipv4_with_options(std::span<const std::byte> packet, ParsedFrame& parsed) {
  const auto& ip = *reinterpret_cast<const Ipv4Header*>(packet.data());
  if ((ip.version_and_words >> 4) != 4 || ip.header_bytes() < sizeof(Ipv4Header)) return ParseFault::ip_header_invalid;
  return parse_ipv4_packet(packet, ip.header_bytes(), parsed);
}

[[gnu::always_inline]] inline ParseFault parse_ipv4(std::span<const std::byte> frame, ParsedFrame& parsed) {
  constexpr std::uint8_t version_4_without_options = 0x45;
  const auto packet = frame.subspan(parsed.l3_offset);
  if (packet.size() < sizeof(Ipv4Header)) return ParseFault::frame_truncated;
  const auto& ip = *reinterpret_cast<const Ipv4Header*>(packet.data());
  if (ip.version_and_words == version_4_without_options) [[likely]] return parse_ipv4_packet(packet, sizeof(Ipv4Header), parsed);
  return parse_ipv4_with_options(packet, parsed);
}

inline ParseFault parse_ipv6(std::span<const std::byte> frame, ParsedFrame& parsed) {
  const auto* ip = header_at<Ipv6Header>(frame, parsed.l3_offset);
  if (ip == nullptr) return ParseFault::frame_truncated;
  if ((ip->version_class_flow.host() >> 28) != 6) return ParseFault::ip_header_invalid;
  const std::size_t end = parsed.l3_offset + sizeof(Ipv6Header) + ip->payload_bytes.host();
  if (end > frame.size()) return ParseFault::frame_truncated;
  parsed.key.source = IpAddress::v6(ip->source);
  parsed.key.destination = IpAddress::v6(ip->destination);
  // An IPv4-mapped address on an IPv6 wire would be taken for an IPv4 flow by every table (RFC
  // 4942 2.2).
  if (parsed.key.source.is_v4() || parsed.key.destination.is_v4()) return ParseFault::ip_header_invalid;
  parsed.ttl = ip->hop_limit;

  std::size_t offset = parsed.l3_offset + sizeof(Ipv6Header);
  std::uint8_t next = ip->next_header;
  bool is_fragment = false;
  for (unsigned count = 0; next != protocol::tcp && !is_fragment; ++count) {
    const bool is_fragment_header = next == protocol::fragment;
    if (next != protocol::hop_by_hop && next != protocol::routing && next != protocol::destination_options && !is_fragment_header) break;
    if (count == ipv6_extensions_max || offset + 8 > end) return ParseFault::ipv6_extension_invalid;
    // Who still has hops to visit wants us to route for him (RFC 5095, RFC 8200 4.4).
    if (next == protocol::routing && frame[offset + 3] != std::byte{0}) return ParseFault::ipv6_extension_invalid;
    next = static_cast<std::uint8_t>(frame[offset]);
    if (is_fragment_header) {
      // One that is first and last is whole (RFC 6946): its header is carried like any other extension.
      is_fragment = (header_at<Be16>(frame, offset + 2)->raw & be16(0xfff9).raw) != 0;
      offset += 8;
      continue;
    }
    offset += (static_cast<std::size_t>(frame[offset + 1]) + 1) * 8;
    if (offset > end) return ParseFault::ipv6_extension_invalid;
  }
  parsed.key.protocol = next;
  parsed.l4_offset = static_cast<std::uint16_t>(offset);
  parsed.l4_bytes = static_cast<std::uint16_t>(end - offset);
  if (is_fragment) [[unlikely]] {
    parsed.kind = FrameKind::fragment;
    return ParseFault::none;
  }
  return parse_transport(frame.subspan(offset, end - offset), next, false, parsed);
}

inline ParseFault parse_arp(std::span<const std::byte> frame, ParsedFrame& parsed) {
  const auto* arp = header_at<ArpHeader>(frame, parsed.l3_offset);
  if (arp == nullptr) return ParseFault::frame_truncated;
  const bool is_ethernet_ipv4 = arp->hardware_type == be16(1) && arp->protocol_type == ether_type::ipv4 &&
                                arp->hardware_bytes == 6 && arp->protocol_bytes == 4;
  const bool is_known_operation = arp->operation == be16(1) || arp->operation == be16(2);
  if (!is_ethernet_ipv4 || !is_known_operation) return ParseFault::arp_malformed;
  parsed.kind = FrameKind::arp;
  return ParseFault::none;
}

// ARP; or IP behind a VLAN tag, which must be the only one.
[[gnu::noinline, gnu::cold]] inline ParseFault parse_uncommon(std::span<const std::byte> frame, Be16 type, ParsedFrame& parsed) {
  if (type == ether_type::vlan) {
    const auto* behind = header_at<Be16>(frame, sizeof(EthernetHeader) + sizeof(VlanTag) - sizeof(Be16));
    if (behind == nullptr) return ParseFault::frame_truncated;
    parsed.l3_offset = sizeof(EthernetHeader) + sizeof(VlanTag);
    type = *behind;
    if (type == ether_type::ipv4) return parse_ipv4(frame, parsed);
    if (type == ether_type::ipv6) return parse_ipv6(frame, parsed);
  }
  if (type == ether_type::arp) return parse_arp(frame, parsed);
  return type == ether_type::vlan || type == ether_type::qinq ? ParseFault::vlan_stacked : ParseFault::ether_type_unknown;
}

}  // namespace parsing

[[gnu::always_inline]] inline void parse_frame(std::span<const std::byte> frame, ParsedFrame& parsed) {
  parsed.kind = FrameKind::other;
  parsed.tcp_flags = 0;  // of what is not TCP
  parsed.ttl = 0;
  const auto* ethernet = parsing::header_at<EthernetHeader>(frame, 0);
  if (ethernet == nullptr) {
    parsed.fault = ParseFault::frame_truncated;
    return;
  }
  parsed.l3_offset = sizeof(EthernetHeader);
  if (ethernet->type == ether_type::ipv4) [[likely]] {
    parsed.fault = parsing::parse_ipv4(frame, parsed);
  } else if (ethernet->type == ether_type::ipv6) {
    parsed.fault = parsing::parse_ipv6(frame, parsed);
  } else {
    parsed.fault = parsing::parse_uncommon(frame, ethernet->type, parsed);
  }
}

}  // namespace sluice
