#include "dataplane/net/icmp_inner.h"

#include <algorithm>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice {
namespace {

constexpr unsigned ipv6_extensions_max = 8;
constexpr std::size_t tcp_checksum_offset = offsetof(TcpHeader, checksum);
constexpr std::size_t udp_checksum_offset = offsetof(UdpHeader, checksum);

template <class Header>
const Header& header_in(std::span<const std::byte> bytes, std::size_t offset = 0) {
  return *reinterpret_cast<const Header*>(bytes.data() + offset);
}

// Offset of the transport header; the protocol stands in inner.key.
InnerFault walk_ipv4(std::span<const std::byte> quoted, InnerPacket& inner, std::size_t& offset) {
  if (quoted.size() < sizeof(Ipv4Header)) return InnerFault::truncated;
  const auto& ip = header_in<Ipv4Header>(quoted);
  if ((ip.version_and_words >> 4) != 4 || ip.header_bytes() < sizeof ip)
    return InnerFault::header_invalid;
  inner.key.source = IpAddress::v4(ip.source);
  inner.key.destination = IpAddress::v4(ip.destination);
  inner.key.protocol = ip.protocol;
  offset = ip.header_bytes();
  inner.is_fragment = ip.is_fragment();
  return (ip.flags_and_fragment.host() & 0x1fff) != 0 ? InnerFault::no_ports : InnerFault::none;
}

InnerFault walk_ipv6(std::span<const std::byte> quoted, InnerPacket& inner, std::size_t& offset) {
  if (quoted.size() < sizeof(Ipv6Header)) return InnerFault::truncated;
  const auto& ip = header_in<Ipv6Header>(quoted);
  if ((ip.version_class_flow.host() >> 28) != 6) return InnerFault::header_invalid;
  inner.key.source = IpAddress::v6(ip.source);
  inner.key.destination = IpAddress::v6(ip.destination);
  if (inner.key.source.is_v4() || inner.key.destination.is_v4()) return InnerFault::header_invalid;
  offset = sizeof ip;
  std::uint8_t next = ip.next_header;
  for (unsigned count = 0; next == protocol::hop_by_hop || next == protocol::routing ||
                           next == protocol::destination_options || next == protocol::fragment;
       ++count) {
    if (count == ipv6_extensions_max) return InnerFault::header_invalid;
    if (offset + 8 > quoted.size()) return InnerFault::truncated;
    const bool is_fragment = next == protocol::fragment;
    if (is_fragment && (header_in<Be16>(quoted, offset + 2).host() & 0xfff8) != 0)
      return InnerFault::no_ports;
    if (is_fragment) inner.is_fragment = header_in<FragmentHeader>(quoted, offset).offset_and_more.raw != 0;
    next = static_cast<std::uint8_t>(quoted[offset]);
    offset += is_fragment ? 8 : (static_cast<std::size_t>(quoted[offset + 1]) + 1) * 8;
  }
  inner.key.protocol = next;
  return InnerFault::none;
}

void change_checksum(std::byte* field, ChecksumDelta delta, bool is_udp) {
  std::uint16_t checksum;
  std::memcpy(&checksum, field, sizeof checksum);
  if (is_udp && checksum == 0) return;  // none was sent
  checksum = delta.apply_to(checksum);
  if (is_udp && checksum == 0) checksum = 0xffff;
  std::memcpy(field, &checksum, sizeof checksum);
}

}  // namespace

InnerPacket parse_inner(std::span<const std::byte> quoted, bool is_v4) {
  InnerPacket inner;
  std::size_t offset = 0;
  inner.fault = is_v4 ? walk_ipv4(quoted, inner, offset) : walk_ipv6(quoted, inner, offset);
  if (inner.fault != InnerFault::none) return inner;
  if (inner.key.protocol == protocol::icmp || inner.key.protocol == protocol::icmpv6) {
    inner.fault = InnerFault::icmp;
  } else if (inner.key.protocol != protocol::tcp && inner.key.protocol != protocol::udp) {
    inner.fault = InnerFault::no_ports;
  } else if (offset + sizeof(UdpHeader) >
             quoted.size()) {  // eight bytes are what every error quotes
    inner.fault = InnerFault::truncated;
  }
  if (inner.fault != InnerFault::none) return inner;
  inner.l4_offset = static_cast<std::uint16_t>(offset);
  inner.l4_bytes = static_cast<std::uint16_t>(quoted.size() - offset);
  inner.key.source_port = header_in<Be16>(quoted, offset);
  inner.key.destination_port = header_in<Be16>(quoted, offset + 2);
  return inner;
}

std::optional<InnerTunnel> parse_inner_tunnel(std::span<const std::byte> quoted, bool is_v4) {
  InnerPacket outer;
  std::size_t offset = 0;
  const InnerFault fault = is_v4 ? walk_ipv4(quoted, outer, offset) : walk_ipv6(quoted, outer, offset);
  if (fault != InnerFault::none) return std::nullopt;
  std::uint8_t inside = outer.key.protocol;
  if (inside == protocol::udp) {
    if (offset + sizeof(UdpHeader) > quoted.size()) return std::nullopt;
    const auto& udp = header_in<UdpHeader>(quoted, offset);
    outer.key.source_port = udp.source_port;
    outer.key.destination_port = udp.destination_port;
    offset += sizeof(UdpHeader);
    if (offset + sizeof(GueHeader) > quoted.size()) {
      offset = quoted.size();
      inside = protocol::ipv4;  // whichever: nothing of it is here
    } else {
      const auto& gue = header_in<GueHeader>(quoted, offset);
      if (gue.variant_and_words != 0 || gue.flags.raw != 0) return std::nullopt;
      inside = gue.protocol;
      offset += sizeof gue;
    }
  }
  if (inside != protocol::ipv4 && inside != protocol::ipv6) return std::nullopt;
  const std::size_t end = std::min(offset, quoted.size());
  return InnerTunnel{outer.key, static_cast<std::uint16_t>(end), inside == protocol::ipv4};
}

void readdress(std::span<std::byte> quoted, const InnerPacket& inner, const FlowKey& to) {
  ChecksumDelta delta;
  delta.change(inner.key.source, to.source).change(inner.key.destination, to.destination);
  if (to.source.is_v4()) {
    auto& ip = *reinterpret_cast<Ipv4Header*>(quoted.data());
    ip.source = to.source.as_v4();
    ip.destination = to.destination.as_v4();
    ip.checksum = delta.apply_to(ip.checksum);
  } else {
    auto& ip = *reinterpret_cast<Ipv6Header*>(quoted.data());
    std::memcpy(ip.source, &to.source, sizeof ip.source);
    std::memcpy(ip.destination, &to.destination, sizeof ip.destination);
  }
  readdress_transport(quoted.subspan(inner.l4_offset), inner, to);
}

void readdress_transport(std::span<std::byte> quoted_transport, const InnerPacket& inner, const FlowKey& to) {
  ChecksumDelta delta;
  delta.change(inner.key.source, to.source)
      .change(inner.key.destination, to.destination)
      .change(inner.key.source_port.raw, to.source_port.raw)
      .change(inner.key.destination_port.raw, to.destination_port.raw);
  std::byte* l4 = quoted_transport.data();
  std::memcpy(l4, &to.source_port, sizeof to.source_port);
  std::memcpy(l4 + sizeof to.source_port, &to.destination_port, sizeof to.destination_port);
  const bool is_udp = inner.key.protocol == protocol::udp;
  const std::size_t checksum_offset = is_udp ? udp_checksum_offset : tcp_checksum_offset;
  if (inner.l4_bytes >= checksum_offset + 2) change_checksum(l4 + checksum_offset, delta, is_udp);
}

}  // namespace sluice
