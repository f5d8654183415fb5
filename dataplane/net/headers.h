// Wire structs, as the RFCs draw them: Ethernet II, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200),
// ICMP (RFC 792), ICMPv6 (RFC 4443), neighbour discovery (RFC 4861), UDP (RFC 768), TCP (RFC 9293).
// They are laid over packet bytes only by parse.h, which has checked the lengths.
#pragma once

#include <cstdint>

#include "dataplane/base/byte_order.h"
#include "dataplane/net/address.h"

namespace sluice {

// Packet bytes may be aliased by any of these, and lie at any address.
#define SLUICE_WIRE __attribute__((packed, may_alias))

struct SLUICE_WIRE EthernetHeader {
  MacAddress destination;
  MacAddress source;
  Be16 type;
};
static_assert(sizeof(EthernetHeader) == 14);

struct SLUICE_WIRE VlanTag {  // IEEE 802.1Q, between the hardware addresses and the type of what is carried
  Be16 type;     // ether_type::vlan
  Be16 control;  // priority, drop eligible, VLAN id

  std::uint16_t id() const { return control.host() & 0x0fff; }
};
static_assert(sizeof(VlanTag) == 4);

namespace ether_type {
inline constexpr Be16 ipv4 = be16(0x0800), arp = be16(0x0806), vlan = be16(0x8100), ipv6 = be16(0x86dd),
                      qinq = be16(0x88a8);
}

struct SLUICE_WIRE ArpHeader {  // for Ethernet and IPv4, the only kind we speak
  Be16 hardware_type;
  Be16 protocol_type;
  std::uint8_t hardware_bytes;
  std::uint8_t protocol_bytes;
  Be16 operation;
  MacAddress sender_mac;
  Be32 sender_ip;
  MacAddress target_mac;
  Be32 target_ip;
};
static_assert(sizeof(ArpHeader) == 28);

struct SLUICE_WIRE Ipv4Header {
  std::uint8_t version_and_words;
  std::uint8_t tos;
  Be16 total_bytes;
  Be16 id;
  Be16 flags_and_fragment;
  std::uint8_t ttl;
  std::uint8_t protocol;
  std::uint16_t checksum;
  Be32 source;
  Be32 destination;

  unsigned header_bytes() const { return (version_and_words & 0xfu) * 4; }
  bool is_kept_whole() const { return (flags_and_fragment.raw & be16(0x4000).raw) != 0; }  // DF
  bool is_fragment() const { return (flags_and_fragment.raw & be16(0x3fff).raw) != 0; }
};
static_assert(sizeof(Ipv4Header) == 20);

struct SLUICE_WIRE Ipv6Header {
  Be32 version_class_flow;
  Be16 payload_bytes;
  std::uint8_t next_header;
  std::uint8_t hop_limit;
  std::uint8_t source[16];
  std::uint8_t destination[16];
};
static_assert(sizeof(Ipv6Header) == 40);

struct SLUICE_WIRE FragmentHeader {  // of IPv6, RFC 8200 4.5
  std::uint8_t next_header;
  std::uint8_t reserved;
  Be16 offset_and_more;  // the offset in units of eight bytes; the lowest bit: more fragments follow
  Be32 id;
};
static_assert(sizeof(FragmentHeader) == 8);

inline constexpr std::uint8_t initial_ttl = 64;       // RFC 1700, of packets that we make
// The TTL is the low byte of its 16-bit word in memory: one less is, for the checksum, an addition of -1 in one's complement.
inline constexpr std::uint32_t ttl_delta = 0xfffe;
inline constexpr std::uint16_t mtu_min_v6 = 1'280;    // RFC 8200 5

namespace protocol {
inline constexpr std::uint8_t icmp = 1, tcp = 6, udp = 17, icmpv6 = 58;
inline constexpr std::uint8_t ipv4 = 4, ipv6 = 41, gre = 47;  // a packet in a packet
inline constexpr std::uint8_t hop_by_hop = 0, routing = 43, fragment = 44, destination_options = 60;
}  // namespace protocol

struct SLUICE_WIRE TcpHeader {
  Be16 source_port;
  Be16 destination_port;
  Be32 sequence;
  Be32 acknowledgment;
  std::uint8_t data_offset;  // upper four bits, in words
  std::uint8_t flags;
  Be16 window;
  std::uint16_t checksum;
  Be16 urgent;

  unsigned header_bytes() const { return (data_offset >> 4u) * 4u; }
};
static_assert(sizeof(TcpHeader) == 20);

namespace tcp_flag {
inline constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10, urg = 0x20;
}

struct SLUICE_WIRE UdpHeader {
  Be16 source_port;
  Be16 destination_port;
  Be16 bytes;
  std::uint16_t checksum;
};
static_assert(sizeof(UdpHeader) == 8);

struct SLUICE_WIRE GueHeader {  // draft-ietf-intarea-gue-09 3.1: variant 0, no flags, no extension fields
  std::uint8_t variant_and_words;
  std::uint8_t protocol;  // of what follows
  Be16 flags;
};
static_assert(sizeof(GueHeader) == 4);
inline constexpr Be16 gue_port = be16(6'080);  // as IANA has assigned it

struct SLUICE_WIRE IcmpHeader {
  std::uint8_t type;
  std::uint8_t code;
  std::uint16_t checksum;
  Be16 identifier;
  Be16 sequence;
};
static_assert(sizeof(IcmpHeader) == 8);

namespace icmp_type {
inline constexpr std::uint8_t echo_reply = 0, unreachable = 3, echo_request = 8, time_exceeded = 11,
                              parameter_problem = 12;
inline constexpr std::uint8_t v6_unreachable = 1, v6_packet_too_big = 2, v6_time_exceeded = 3, v6_parameter_problem = 4,
                              v6_echo_request = 128, v6_echo_reply = 129, router_solicitation = 133,
                              router_advertisement = 134, neighbor_solicitation = 135,
                              neighbor_advertisement = 136;
}  // namespace icmp_type
inline constexpr std::uint8_t icmp_code_too_long = 4;  // of icmp_type::unreachable: fragmentation needed and DF set

struct SLUICE_WIRE NeighborMessage {  // solicitation and advertisement, RFC 4861 4.3 and 4.4
  std::uint8_t type;
  std::uint8_t code;
  std::uint16_t checksum;
  Be32 flags;
  std::uint8_t target[16];
};
static_assert(sizeof(NeighborMessage) == 24);

struct SLUICE_WIRE LinkLayerOption {  // source (1) or target (2) link-layer address, RFC 4861 4.6.1
  std::uint8_t type;
  std::uint8_t units;  // of 8 bytes
  MacAddress mac;
};
static_assert(sizeof(LinkLayerOption) == 8);

#undef SLUICE_WIRE

inline constexpr unsigned frame_bytes_min = sizeof(EthernetHeader);
inline constexpr std::uint16_t vlan_id_max = 4'094;
inline constexpr unsigned frame_bytes_max = 9'216;  // jumbo
// Room that a driver wants for a frame whose IP packet has at most `mtu` bytes: with Ethernet header and two tags, and with
// what AF_XDP (256 bytes) and AF_PACKET (80) put before it. A multiple of 16, as the kernel wants it.
constexpr std::uint16_t frame_room(std::uint16_t mtu) {
  const unsigned bytes = (mtu + 22u + 256u + 15u) & ~15u;
  return static_cast<std::uint16_t>(bytes < 2'048 ? 2'048 : bytes);
}

}  // namespace sluice
