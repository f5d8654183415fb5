// libFuzzer: the packet that an ICMP error quotes. Besides memory errors it looks for a rewrite that does not come back.
#include "dataplane/net/icmp_inner.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

using sluice::FlowKey;
using sluice::InnerFault;
using sluice::InnerPacket;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

FlowKey other_addresses(bool is_v4, std::uint8_t protocol) {
  constexpr std::uint8_t wide[2][16] = {{0xfd, 1}, {0xfd, 2}};
  FlowKey key;
  key.source = is_v4 ? sluice::IpAddress::v4(sluice::be32(0x0a090001)) : sluice::IpAddress::v6(wide[0]);
  key.destination = is_v4 ? sluice::IpAddress::v4(sluice::be32(0xc6336407)) : sluice::IpAddress::v6(wide[1]);
  key.source_port = sluice::be16(80);
  key.destination_port = sluice::be16(4'000);
  key.protocol = protocol;
  return key;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  for (const bool is_v4 : {true, false}) {
    const std::unique_ptr<std::byte[]> exact(new std::byte[bytes]);
    if (bytes > 0) std::memcpy(exact.get(), data, bytes);
    const std::span<std::byte> quoted(exact.get(), bytes);
    if (const auto tunnel = sluice::parse_inner_tunnel(quoted, is_v4)) {
      require(tunnel->inner_offset <= bytes);
      sluice::parse_inner(quoted.subspan(tunnel->inner_offset), tunnel->is_inner_v4);
    }
    const InnerPacket inner = sluice::parse_inner(quoted, is_v4);
    if (inner.fault != InnerFault::none) continue;
    require(std::size_t{inner.l4_offset} + inner.l4_bytes == bytes && inner.l4_bytes >= 8);
    const FlowKey other = other_addresses(is_v4, inner.key.protocol);
    sluice::readdress(quoted, inner, other);
    const InnerPacket changed = sluice::parse_inner(quoted, is_v4);
    require(changed.fault == InnerFault::none && changed.key == other && changed.l4_offset == inner.l4_offset);
    sluice::readdress(quoted, changed, inner.key);
    require(sluice::parse_inner(quoted, is_v4).key == inner.key);
  }
  return 0;
}
