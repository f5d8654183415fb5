#include "tests/tools/frames.h"

#include <cstring>

namespace sluice::tools {
namespace {

constexpr std::size_t ethernet_bytes = 14, ipv4_bytes = 20, ipv6_bytes = 40, tcp_bytes = 20, udp_bytes = 8;
constexpr std::uint8_t tcp_protocol = 6, udp_protocol = 17;
constexpr std::uint8_t initial_ttl = 64;

void put16(std::uint8_t* at, std::uint32_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}
void put32(std::uint8_t* at, std::uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value);
}
std::uint16_t get16(const std::uint8_t* at) { return static_cast<std::uint16_t>(at[0] << 8 | at[1]); }
std::uint32_t get32(const std::uint8_t* at) { return std::uint32_t{get16(at)} << 16 | get16(at + 2); }

// RFC 1071. `sum` goes on where an earlier part of even length stopped.
std::uint32_t add_words(std::uint32_t sum, const std::uint8_t* at, std::size_t bytes) {
  for (; bytes > 1; at += 2, bytes -= 2) sum += get16(at);
  return bytes == 1 ? sum + static_cast<std::uint32_t>(*at << 8) : sum;
}
std::uint16_t checksum(std::uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::size_t address_bytes(const Tuple& tuple) { return tuple.is_v6 ? 16 : 4; }

std::uint32_t pseudo_header(const Tuple& tuple, std::uint8_t protocol, std::size_t bytes) {
  const std::uint32_t sum = add_words(0, tuple.source.data(), address_bytes(tuple));
  return add_words(sum, tuple.destination.data(), address_bytes(tuple)) + protocol + static_cast<std::uint32_t>(bytes);
}

// Ethernet and IP; where the transport header goes.
std::uint8_t* write_head(std::uint8_t* out, const Link& link, const Tuple& tuple, std::uint8_t protocol, std::size_t l4_bytes,
                         std::uint16_t id = 0, std::uint16_t fragment_bits = 0x4000) {
  std::memcpy(out, link.destination.data(), 6);
  std::memcpy(out + 6, link.source.data(), 6);
  put16(out + 12, tuple.is_v6 ? 0x86dd : 0x0800);
  std::uint8_t* ip = out + ethernet_bytes;
  if (tuple.is_v6) {
    put32(ip, 0x60000000);
    put16(ip + 4, static_cast<std::uint32_t>(l4_bytes));
    ip[6] = protocol;
    ip[7] = initial_ttl;
    std::memcpy(ip + 8, tuple.source.data(), 16);
    std::memcpy(ip + 24, tuple.destination.data(), 16);
    return ip + ipv6_bytes;
  }
  put16(ip, 0x4500);
  put16(ip + 2, static_cast<std::uint32_t>(ipv4_bytes + l4_bytes));
  put16(ip + 4, id);
  put16(ip + 6, fragment_bits);
  ip[8] = initial_ttl;
  ip[9] = protocol;
  put16(ip + 10, 0);
  std::memcpy(ip + 12, tuple.source.data(), 4);
  std::memcpy(ip + 16, tuple.destination.data(), 4);
  put16(ip + 10, checksum(add_words(0, ip, ipv4_bytes)));
  return ip + ipv4_bytes;
}

}  // namespace

std::size_t TupleHash::operator()(const Tuple& tuple) const {
  std::uint64_t hash = std::uint64_t{tuple.source_port} << 16 | tuple.destination_port;
  for (std::size_t i = 0; i < 16; i += 8) {
    std::uint64_t source, destination;
    std::memcpy(&source, tuple.source.data() + i, 8);
    std::memcpy(&destination, tuple.destination.data() + i, 8);
    hash = (hash ^ source) * 0x9e3779b97f4a7c15;
    hash = (hash ^ (hash >> 29) ^ destination) * 0xbf58476d1ce4e5b9;
  }
  return hash ^ (hash >> 32);
}

void set_address(Tuple& tuple, const Address& address, bool is_source) {
  IpBytes& bytes = is_source ? tuple.source : tuple.destination;
  std::uint16_t& port = is_source ? tuple.source_port : tuple.destination_port;
  tuple.is_v6 = address.family() == AF_INET6;
  if (tuple.is_v6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage);
    std::memcpy(bytes.data(), &v6.sin6_addr, 16);
    port = ntohs(v6.sin6_port);
  } else {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
    std::memcpy(bytes.data(), &v4.sin_addr, 4);
    port = ntohs(v4.sin_port);
  }
}

std::size_t write_tcp(std::uint8_t* out, const Link& link, const Tuple& tuple, const Segment& segment) {
  const std::size_t l4_bytes = tcp_bytes + segment.options.size() + segment.payload.size();
  std::uint8_t* tcp = write_head(out, link, tuple, tcp_protocol, l4_bytes);
  put16(tcp, tuple.source_port);
  put16(tcp + 2, tuple.destination_port);
  put32(tcp + 4, segment.sequence);
  put32(tcp + 8, segment.acknowledgment);
  tcp[12] = static_cast<std::uint8_t>((tcp_bytes + segment.options.size()) / 4 << 4);
  tcp[13] = segment.flags;
  put16(tcp + 14, segment.window);
  put32(tcp + 16, 0);
  if (!segment.options.empty()) std::memcpy(tcp + tcp_bytes, segment.options.data(), segment.options.size());
  std::uint8_t* payload = tcp + tcp_bytes + segment.options.size();
  if (!segment.payload.empty()) std::memcpy(payload, segment.payload.data(), segment.payload.size());
  put16(tcp + 16, checksum(add_words(pseudo_header(tuple, tcp_protocol, l4_bytes), tcp, l4_bytes)));
  return static_cast<std::size_t>(tcp - out) + l4_bytes;
}

std::size_t write_udp(std::uint8_t* out, const Link& link, const Tuple& tuple, std::span<const std::uint8_t> payload) {
  const std::size_t l4_bytes = udp_bytes + payload.size();
  std::uint8_t* udp = write_head(out, link, tuple, udp_protocol, l4_bytes);
  put16(udp, tuple.source_port);
  put16(udp + 2, tuple.destination_port);
  put16(udp + 4, static_cast<std::uint32_t>(l4_bytes));
  put16(udp + 6, 0);
  if (!payload.empty()) std::memcpy(udp + udp_bytes, payload.data(), payload.size());
  const std::uint16_t sum = checksum(add_words(pseudo_header(tuple, udp_protocol, l4_bytes), udp, l4_bytes));
  put16(udp + 6, sum == 0 ? 0xffff : sum);
  return static_cast<std::size_t>(udp - out) + l4_bytes;
}

std::size_t write_fragment(std::uint8_t* out, const Link& link, const Tuple& tuple, std::uint16_t datagram_id, std::uint16_t offset,
                           bool is_last, std::span<const std::uint8_t> bytes) {
  const auto bits = static_cast<std::uint16_t>(offset / 8 | (is_last ? 0 : 0x2000));
  std::uint8_t* at = write_head(out, link, tuple, udp_protocol, bytes.size(), datagram_id, bits);
  std::memcpy(at, bytes.data(), bytes.size());
  return static_cast<std::size_t>(at - out) + bytes.size();
}

std::optional<HeardSegment> read_tcp(std::span<const std::uint8_t> frame) {
  if (frame.size() < ethernet_bytes + ipv4_bytes + tcp_bytes) return std::nullopt;
  HeardSegment heard;
  const std::uint8_t* ip = frame.data() + ethernet_bytes;
  std::size_t ip_bytes = 0, l4_bytes = 0;
  const std::uint16_t type = get16(frame.data() + 12);
  if (type == 0x0800 && ip[9] == tcp_protocol && (get16(ip + 6) & 0x3fff) == 0) {
    ip_bytes = (ip[0] & 0xf) * 4u;
    if (get16(ip + 2) < ip_bytes) return std::nullopt;
    l4_bytes = get16(ip + 2) - ip_bytes;
    std::memcpy(heard.tuple.source.data(), ip + 12, 4);
    std::memcpy(heard.tuple.destination.data(), ip + 16, 4);
  } else if (type == 0x86dd && ip[6] == tcp_protocol) {
    ip_bytes = ipv6_bytes;
    l4_bytes = get16(ip + 4);
    heard.tuple.is_v6 = true;
    std::memcpy(heard.tuple.source.data(), ip + 8, 16);
    std::memcpy(heard.tuple.destination.data(), ip + 24, 16);
  } else {
    return std::nullopt;
  }
  if (l4_bytes < tcp_bytes || ethernet_bytes + ip_bytes + l4_bytes > frame.size()) return std::nullopt;
  const std::uint8_t* tcp = ip + ip_bytes;
  const std::size_t header_bytes = (tcp[12] >> 4) * 4u;
  if (header_bytes < tcp_bytes || header_bytes > l4_bytes) return std::nullopt;
  heard.tuple.source_port = get16(tcp);
  heard.tuple.destination_port = get16(tcp + 2);
  heard.segment = {get32(tcp + 4), get32(tcp + 8), tcp[13], get16(tcp + 14),
                   {tcp + tcp_bytes, header_bytes - tcp_bytes}, {tcp + header_bytes, l4_bytes - header_bytes}};
  return heard;
}

}  // namespace sluice::tools
