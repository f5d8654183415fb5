// The exchange of an IP header for one of the other family (RFC 7915; families.cc tells all of it), inlined into the stage that does
// it for every packet of such a flow.
#pragma once

#include "dataplane/net/ip_writer.h"
#include "dataplane/pipeline/packet.h"

namespace sluice {

inline constexpr std::uint16_t bytes_never_told = 1'260;  // RFC 7915 5.1: below it an IPv6 sender cannot go, so routers may cut

struct HeaderFacts {
  std::uint8_t traffic_class = 0;
  std::uint8_t ttl = 0;
};

inline HeaderFacts facts_of(const std::byte* ip, bool is_v4) {
  if (is_v4) {
    const auto& header = *reinterpret_cast<const Ipv4Header*>(ip);
    return {header.tos, header.ttl};
  }
  const auto& header = *reinterpret_cast<const Ipv6Header*>(ip);
  return {static_cast<std::uint8_t>(header.version_class_flow.host() >> 20), header.hop_limit};
}

// A packet that an IPv6 sender could not make shorter may be cut.
inline IpFields fields_of(std::uint8_t protocol_number, std::size_t payload_bytes, HeaderFacts facts, std::uint16_t id) {
  const bool may_be_cut = sizeof(Ipv4Header) + payload_bytes <= bytes_never_told;
  return {protocol_number, facts.traffic_class, facts.ttl, !may_be_cut, id, 0};
}

// For a datagram whose sender computed none, which IPv6 does not allow. `key`: of the addresses that the packet has, or will.
void give_checksum(const FlowKey& key, std::byte* l4);
// A whole packet with a fragment header (RFC 6946): its sender was told that IPv4 may have to cut it.
bool is_atomic_fragment(const Packet& packet);

// Lets the frame begin so that `l3_bytes` of headers end at `payload`, a place in it. Of the Ethernet header only the type is
// written: the hardware addresses are the next hop's business.
inline void move_start(Packet& packet, std::byte* payload, std::size_t l3_bytes, bool is_v4) {
  std::byte* const end = packet.data + packet.frame.l4_offset + packet.frame.l4_bytes;  // padding stays behind
  std::byte* const data = payload - l3_bytes - sizeof(EthernetHeader);
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + (data - packet.data));
  packet.data = data;
  packet.bytes = static_cast<std::uint16_t>(end - data);
  packet.frame.l3_offset = sizeof(EthernetHeader);  // a VLAN tag is the next hop's business too
  packet.at<EthernetHeader>(0).type = is_v4 ? ether_type::ipv4 : ether_type::ipv6;
}

// Ports and transport checksum are rewritten already.
inline void exchange_header_for_v6(Packet& packet, const IpAddress& source, const IpAddress& destination) {
  HeaderFacts facts = facts_of(packet.data + packet.frame.l3_offset, true);
  --facts.ttl;
  std::byte* const l4 = packet.data + packet.frame.l4_offset;
  if (packet.frame.kind == FrameKind::udp && reinterpret_cast<UdpHeader*>(l4)->checksum == 0) {
    give_checksum({source, destination, {}, {}, protocol::udp}, l4);
  }
  move_start(packet, l4, sizeof(Ipv6Header), false);
  write_ipv6(packet.data + sizeof(EthernetHeader), source, destination, packet.frame.l4_bytes,
             fields_of(packet.frame.key.protocol, packet.frame.l4_bytes, facts, 0));
  packet.frame.l4_offset = sizeof(EthernetHeader) + sizeof(Ipv6Header);
}

inline void exchange_header_for_v4(Packet& packet, Be32 source, Be32 destination, std::uint16_t id) {
  HeaderFacts facts = facts_of(packet.data + packet.frame.l3_offset, false);
  --facts.ttl;
  IpFields fields = fields_of(packet.frame.key.protocol, packet.frame.l4_bytes, facts, id);
  const bool has_extensions = packet.frame.l4_offset - packet.frame.l3_offset != sizeof(Ipv6Header);
  if (has_extensions && is_atomic_fragment(packet)) [[unlikely]] fields.is_kept_whole = false;  // RFC 7915 5.1.1
  move_start(packet, packet.data + packet.frame.l4_offset, sizeof(Ipv4Header), true);
  write_ipv4(packet.data + sizeof(EthernetHeader), source, destination, packet.frame.l4_bytes, fields);
  packet.frame.l4_offset = sizeof(EthernetHeader) + sizeof(Ipv4Header);
}

}  // namespace sluice
