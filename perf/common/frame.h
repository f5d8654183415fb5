// Frames as all programs here write and check them: Ethernet, IPv4 or IPv6 without options, TCP or
// UDP, checksums in software. Byte counts of frames are without the FCS, which no port shows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/net/headers.h"

namespace sluice::perf {

inline constexpr std::size_t fcs_bytes = 4;
inline constexpr std::size_t frame_bytes_least = 60;    // 64 with FCS
inline constexpr std::size_t wire_overhead_bytes = 20;  // preamble and the gap between two frames

inline std::size_t l4_offset_of(bool is_v4) {
  return sizeof(EthernetHeader) + (is_v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header));
}
inline std::size_t l4_header_bytes_of(std::uint8_t protocol_number) {
  return protocol_number == protocol::tcp ? sizeof(TcpHeader) : sizeof(UdpHeader);
}
inline std::size_t payload_offset_of(const FlowKey& key) {
  return l4_offset_of(key.source.is_v4()) + l4_header_bytes_of(key.protocol);
}

struct FrameFields {
  MacAddress to, from;
  std::uint8_t tcp_flags = 0;
  std::uint32_t sequence = 1'000, acknowledgment = 0;
  std::size_t payload_bytes = 0;
  std::uint64_t payload_sum = 0;  // checksum_sum() of the payload, which the caller writes
};

// Writes the headers of a frame at `out`, every byte of them; returns the frame's bytes.
inline std::uint16_t write_headers(std::byte* out, const FlowKey& key, const FrameFields& fields) {
  const bool is_v4 = key.source.is_v4();
  const bool is_tcp = key.protocol == protocol::tcp;
  const std::size_t l4_offset = l4_offset_of(is_v4);
  const std::size_t header_bytes = l4_header_bytes_of(key.protocol);
  const std::size_t l4_bytes = header_bytes + fields.payload_bytes;
  auto* ethernet = reinterpret_cast<EthernetHeader*>(out);
  *ethernet = {fields.to, fields.from, is_v4 ? ether_type::ipv4 : ether_type::ipv6};
  if (is_v4) {
    auto* ip = reinterpret_cast<Ipv4Header*>(out + sizeof(EthernetHeader));
    *ip = {};
    ip->version_and_words = 0x45;
    ip->total_bytes = be16(static_cast<std::uint16_t>(sizeof(Ipv4Header) + l4_bytes));
    ip->ttl = 64;
    ip->protocol = key.protocol;
    ip->source = key.source.as_v4();
    ip->destination = key.destination.as_v4();
    ip->checksum = checksum_of({out + sizeof(EthernetHeader), sizeof(Ipv4Header)});
  } else {
    auto* ip = reinterpret_cast<Ipv6Header*>(out + sizeof(EthernetHeader));
    ip->version_class_flow = be32(6u << 28);
    ip->payload_bytes = be16(static_cast<std::uint16_t>(l4_bytes));
    ip->next_header = key.protocol;
    ip->hop_limit = 64;
    std::memcpy(ip->source, &key.source, 16);
    std::memcpy(ip->destination, &key.destination, 16);
  }
  const std::uint64_t sum =
      fields.payload_sum + pseudo_header_sum(key.source, key.destination, key.protocol,
                                             static_cast<std::uint32_t>(l4_bytes));
  if (is_tcp) {
    auto* tcp = reinterpret_cast<TcpHeader*>(out + l4_offset);
    *tcp = {};
    tcp->source_port = key.source_port;
    tcp->destination_port = key.destination_port;
    tcp->sequence = be32(fields.sequence);
    tcp->acknowledgment = be32(fields.acknowledgment);
    tcp->data_offset = 5 << 4;
    tcp->flags = fields.tcp_flags;
    tcp->window = be16(65'535);
    tcp->checksum = checksum_of({out + l4_offset, header_bytes}, sum);
  } else {
    auto* udp = reinterpret_cast<UdpHeader*>(out + l4_offset);
    *udp = {};
    udp->source_port = key.source_port;
    udp->destination_port = key.destination_port;
    udp->bytes = be16(static_cast<std::uint16_t>(l4_bytes));
    const std::uint16_t checksum = checksum_of({out + l4_offset, header_bytes}, sum);
    udp->checksum =
        checksum == 0 ? 0xffff : checksum;  // zero would say that there is none, RFC 768
  }
  return static_cast<std::uint16_t>(std::max(l4_offset + l4_bytes, frame_bytes_least));
}

// Whether IP and transport checksums of the frame are right.
inline bool has_right_checksums(std::span<const std::byte> frame, const FlowKey& key,
                                std::size_t l3, std::size_t l4, std::size_t l4_bytes) {
  if (key.source.is_v4() && checksum_of(frame.subspan(l3, sizeof(Ipv4Header))) != 0) return false;
  return checksum_of(frame.subspan(l4, l4_bytes),
                     pseudo_header_sum(key.source, key.destination, key.protocol,
                                       static_cast<std::uint32_t>(l4_bytes))) == 0;
}

}  // namespace sluice::perf
