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
  const std::size_t l4_bytes = l4_header_bytes_of(key.protocol) + fields.payload_bytes;
  auto* ethernet = reinterpret_cast<EthernetHeader*>(out);
  *ethernet = {fields.to, fields.from, is_v4 ? ether_type::ipv4 : ether_type::ipv6};
  // Both sums are made of the values at hand: to read back what was just written in other pieces
  // would cost more than all the rest.
  const std::uint64_t pseudo = pseudo_header_sum(key.source, key.destination, key.protocol,
                                                 static_cast<std::uint32_t>(l4_bytes));
  if (is_v4) {
    auto* ip = reinterpret_cast<Ipv4Header*>(out + sizeof(EthernetHeader));
    const Be16 total_bytes = be16(static_cast<std::uint16_t>(sizeof(Ipv4Header) + l4_bytes));
    constexpr std::uint8_t version_and_words = 0x45, ttl = 64;
    const std::uint64_t sum = version_and_words + std::uint64_t{total_bytes.raw} +
                              (ttl | std::uint64_t{key.protocol} << 8) + key.source.as_v4().raw +
                              key.destination.as_v4().raw;
    *ip = {version_and_words,
           0,
           total_bytes,
           be16(0),
           be16(0),
           ttl,
           key.protocol,
           static_cast<std::uint16_t>(~fold_checksum(sum)),
           key.source.as_v4(),
           key.destination.as_v4()};
  } else {
    auto* ip = reinterpret_cast<Ipv6Header*>(out + sizeof(EthernetHeader));
    ip->version_class_flow = be32(6u << 28);
    ip->payload_bytes = be16(static_cast<std::uint16_t>(l4_bytes));
    ip->next_header = key.protocol;
    ip->hop_limit = 64;
    std::memcpy(ip->source, &key.source, 16);
    std::memcpy(ip->destination, &key.destination, 16);
  }
  std::uint64_t sum = fields.payload_sum + pseudo + key.source_port.raw + key.destination_port.raw;
  if (is_tcp) {
    auto* tcp = reinterpret_cast<TcpHeader*>(out + l4_offset);
    const Be32 sequence = be32(fields.sequence), acknowledgment = be32(fields.acknowledgment);
    constexpr std::uint8_t data_offset = 5 << 4;
    constexpr Be16 window = be16(65'535);
    sum += std::uint64_t{sequence.raw} + acknowledgment.raw + window.raw +
           (data_offset | std::uint64_t{fields.tcp_flags} << 8);
    *tcp = {key.source_port, key.destination_port,
            sequence,        acknowledgment,
            data_offset,     fields.tcp_flags,
            window,          static_cast<std::uint16_t>(~fold_checksum(sum)),
            be16(0)};
  } else {
    auto* udp = reinterpret_cast<UdpHeader*>(out + l4_offset);
    const Be16 bytes = be16(static_cast<std::uint16_t>(l4_bytes));
    const auto checksum = static_cast<std::uint16_t>(~fold_checksum(sum + bytes.raw));
    // Zero would say that there is none, RFC 768.
    *udp = {key.source_port, key.destination_port, bytes,
            checksum == 0 ? std::uint16_t{0xffff} : checksum};
  }
  return static_cast<std::uint16_t>(std::max(l4_offset + l4_bytes, frame_bytes_least));
}

inline bool has_right_l4_checksum(std::span<const std::byte> frame, const FlowKey& key,
                                  std::size_t l4, std::size_t l4_bytes) {
  return checksum_of(frame.subspan(l4, l4_bytes),
                     pseudo_header_sum(key.source, key.destination, key.protocol,
                                       static_cast<std::uint32_t>(l4_bytes))) == 0;
}

// Whether IP and transport checksums of the frame are right.
inline bool has_right_checksums(std::span<const std::byte> frame, const FlowKey& key,
                                std::size_t l3, std::size_t l4, std::size_t l4_bytes) {
  if (key.source.is_v4() && checksum_of(frame.subspan(l3, sizeof(Ipv4Header))) != 0) return false;
  return has_right_l4_checksum(frame, key, l4, l4_bytes);
}

}  // namespace sluice::perf
