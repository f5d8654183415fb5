// ParsedFrame: what parse_frame (parse.h) finds out about a frame: offsets and keys that the
// pipeline may trust.
//
// Holding one with `fault == ParseFault::none` proves that every header up to the transport header
// lies within the frame, that its lengths agree, and that the IPv4 header checksum is right.
#pragma once

#include <cstdint>

#include "dataplane/net/flow_key.h"
#include "dataplane/net/headers.h"

namespace sluice {

enum class ParseFault : std::uint8_t {
  none,
  frame_truncated,     // shorter than its headers say
  ether_type_unknown,  // neither ARP, IPv4 nor IPv6
  vlan_stacked,        // a VLAN tag that is not 802.1Q, or one behind another (QinQ)
  arp_malformed,
  ip_header_invalid,  // version, header length or total length cannot be
  ip_checksum_wrong,
  ipv6_extension_invalid,  // too many, cut off, or a routing header that is not at its end
  l4_header_invalid,       // TCP data offset or UDP length cannot be
  tcp_flags_invalid,       // null, SYN+FIN, SYN+RST, FIN+RST, or FIN without ACK (RFC 9293 3.10.7)
  udp_checksum_missing,    // zero over IPv6 (RFC 8200 8.1)
};

enum class FrameKind : std::uint8_t {
  other,
  arp,
  tcp,
  udp,
  icmp,
  icmpv6,
  ip_other,
  fragment  // l4_offset and l4_bytes: its payload; key.protocol: of the whole
};

struct ParsedFrame {
  ParseFault fault = ParseFault::none;
  FrameKind kind = FrameKind::other;
  std::uint16_t l3_offset = 0;  // bytes from the start of the frame; more than an Ethernet header: there is a VLAN tag
  std::uint16_t l4_offset = 0;
  std::uint16_t l4_bytes = 0;  // transport header and payload, without Ethernet padding
  std::uint8_t tcp_flags = 0;
  std::uint8_t ttl = 0;
  std::uint32_t fragment_id = 0;  // not of parse_frame: as the fragment came, once it was given another
  FlowKey key;  // addresses for every IP packet; ports for TCP and UDP
};

}  // namespace sluice
