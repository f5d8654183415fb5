#include "dataplane/net/fragment.h"

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice {
namespace {

constexpr std::uint32_t datagram_bytes_max = 65'535;
constexpr std::uint32_t tcp_flags_end = 14;  // of a TCP header: from here on nothing decides about the segment

FragmentFault fault_of(const Fragment& fragment, const ParsedFrame& parsed, std::uint32_t header_bytes) {
  if (fragment.payload_bytes == 0 || (fragment.has_more && fragment.payload_bytes % 8 != 0)) return FragmentFault::malformed;
  if (header_bytes + fragment.offset_bytes + fragment.payload_bytes > datagram_bytes_max) return FragmentFault::beyond;
  const bool is_tcp = parsed.key.protocol == protocol::tcp;
  const std::uint32_t first_bytes_min = is_tcp ? sizeof(TcpHeader) : sizeof(UdpHeader);
  if (fragment.is_first() && fragment.payload_bytes < first_bytes_min) return FragmentFault::tiny;
  if (is_tcp && !fragment.is_first() && fragment.offset_bytes < tcp_flags_end) return FragmentFault::tiny;
  return FragmentFault::none;
}

}  // namespace

Fragment read_fragment(std::span<const std::byte> frame, const ParsedFrame& parsed) {
  Fragment fragment;
  fragment.payload_bytes = parsed.l4_bytes;
  std::uint32_t header_bytes = 0;  // that count toward the 65,535
  if (parsed.key.source.is_v4()) {
    const auto& ip = *reinterpret_cast<const Ipv4Header*>(frame.data() + parsed.l3_offset);
    const std::uint16_t word = ip.flags_and_fragment.host();
    fragment.id = ip.id.host();
    fragment.offset_bytes = (word & 0x1fffu) * 8;
    fragment.has_more = (word & 0x2000) != 0;
    header_bytes = ip.header_bytes();
  } else {
    const auto& header = *reinterpret_cast<const FragmentHeader*>(frame.data() + parsed.l4_offset - sizeof(FragmentHeader));
    const std::uint16_t word = header.offset_and_more.host();
    fragment.id = header.id.host();
    fragment.offset_bytes = word & 0xfff8u;
    fragment.has_more = (word & 1) != 0;
  }
  fragment.fault = fault_of(fragment, parsed, header_bytes);
  return fragment;
}

void set_fragment_id(std::span<std::byte> frame, const ParsedFrame& parsed, std::uint32_t id) {
  if (parsed.key.source.is_v4()) {
    auto& ip = *reinterpret_cast<Ipv4Header*>(frame.data() + parsed.l3_offset);
    const Be16 wire = be16(static_cast<std::uint16_t>(id));
    ip.checksum = ChecksumDelta().change(ip.id.raw, wire.raw).apply_to(ip.checksum);
    ip.id = wire;
  } else {
    reinterpret_cast<FragmentHeader*>(frame.data() + parsed.l4_offset - sizeof(FragmentHeader))->id = be32(id);
  }
}

}  // namespace sluice
