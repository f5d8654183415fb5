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

inline bool are_tcp_flags_possible(std::uint8_t flags) {
  using namespace tcp_flag;
  const std::uint8_t kind = flags & (syn | fin | rst | ack);
  if ((kind & syn) != 0) return (kind & (fin | rst)) == 0;
  if ((kind & rst) != 0) return (kind & fin) == 0;
  return (kind & ack) != 0;
}

inline ParseFault parse_transport(std::span<const std::byte> frame, std::uint8_t protocol_number, ParsedFrame& parsed) {
  const std::size_t l4_end = parsed.l4_offset + parsed.l4_bytes;
  const auto l4 = frame.first(l4_end);
  switch (protocol_number) {
    case protocol::tcp: {
      const auto* tcp = header_at<TcpHeader>(l4, parsed.l4_offset);
      if (tcp == nullptr || tcp->header_bytes() < sizeof(TcpHeader) || tcp->header_bytes() > parsed.l4_bytes) {
        return ParseFault::l4_header_invalid;
      }
      if (!are_tcp_flags_possible(tcp->flags)) return ParseFault::tcp_flags_invalid;
      parsed.kind = FrameKind::tcp;
      parsed.tcp_flags = tcp->flags;
      parsed.key.source_port = tcp->source_port;
      parsed.key.destination_port = tcp->destination_port;
      return ParseFault::none;
    }
    case protocol::udp: {
      const auto* udp = header_at<UdpHeader>(l4, parsed.l4_offset);
      if (udp == nullptr || udp->bytes.host() < sizeof(UdpHeader) || udp->bytes.host() > parsed.l4_bytes) {
        return ParseFault::l4_header_invalid;
      }
      if (udp->checksum == 0 && !parsed.key.source.is_v4()) return ParseFault::udp_checksum_missing;
      parsed.kind = FrameKind::udp;
      parsed.key.source_port = udp->source_port;
      parsed.key.destination_port = udp->destination_port;
      return ParseFault::none;
    }
    case protocol::icmp:
    case protocol::icmpv6: {
      const bool is_v4 = parsed.key.source.is_v4();
      if (is_v4 != (protocol_number == protocol::icmp)) {
        parsed.kind = FrameKind::ip_other;
        return ParseFault::none;
      }
      if (header_at<IcmpHeader>(l4, parsed.l4_offset) == nullptr) return ParseFault::l4_header_invalid;
      parsed.kind = is_v4 ? FrameKind::icmp : FrameKind::icmpv6;
      return ParseFault::none;
    }
    default: parsed.kind = FrameKind::ip_other; return ParseFault::none;
  }
}

inline ParseFault parse_ipv4(std::span<const std::byte> frame, ParsedFrame& parsed) {
  const auto* ip = header_at<Ipv4Header>(frame, parsed.l3_offset);
  if (ip == nullptr) return ParseFault::frame_truncated;
  const unsigned header_bytes = ip->header_bytes();
  const unsigned total_bytes = ip->total_bytes.host();
  if ((ip->version_and_words >> 4) != 4 || header_bytes < sizeof(Ipv4Header) || total_bytes < header_bytes) {
    return ParseFault::ip_header_invalid;
  }
  if (parsed.l3_offset + total_bytes > frame.size()) return ParseFault::frame_truncated;
  const auto header = frame.subspan(parsed.l3_offset);
  const bool is_plain = header_bytes == sizeof(Ipv4Header);  // no options: a sum of known length, unrolled
  if ((is_plain ? checksum_of(header.first(sizeof(Ipv4Header))) : checksum_of(header.first(header_bytes))) != 0) {
    return ParseFault::ip_checksum_wrong;
  }
  parsed.key.source = IpAddress::v4(ip->source);
  parsed.key.destination = IpAddress::v4(ip->destination);
  parsed.key.protocol = ip->protocol;
  parsed.ttl = ip->ttl;
  parsed.l4_offset = static_cast<std::uint16_t>(parsed.l3_offset + header_bytes);
  parsed.l4_bytes = static_cast<std::uint16_t>(total_bytes - header_bytes);
  if (ip->is_fragment()) [[unlikely]] {
    parsed.kind = FrameKind::fragment;
    return ParseFault::none;
  }
  return parse_transport(frame, ip->protocol, parsed);
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
  for (unsigned count = 0; !is_fragment; ++count) {
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
  return parse_transport(frame, next, parsed);
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

}  // namespace parsing

inline void parse_frame(std::span<const std::byte> frame, ParsedFrame& parsed) {
  parsed.kind = FrameKind::other;
  parsed.tcp_flags = 0;
  parsed.ttl = 0;
  const auto* ethernet = parsing::header_at<EthernetHeader>(frame, 0);
  if (ethernet == nullptr) {
    parsed.fault = ParseFault::frame_truncated;
    return;
  }
  parsed.l3_offset = sizeof(EthernetHeader);
  if (ethernet->type == ether_type::ipv4) {
    parsed.fault = parsing::parse_ipv4(frame, parsed);
  } else if (ethernet->type == ether_type::ipv6) {
    parsed.fault = parsing::parse_ipv6(frame, parsed);
  } else if (ethernet->type == ether_type::arp) {
    parsed.fault = parsing::parse_arp(frame, parsed);
  } else if (ethernet->type == ether_type::vlan || ethernet->type == ether_type::qinq) {
    parsed.fault = ParseFault::vlan_unexpected;
  } else {
    parsed.fault = ParseFault::ether_type_unknown;
  }
}

}  // namespace sluice
