// What an ICMP error quotes: the packet, or its beginning, that made somebody complain (RFC 792,
// RFC 4443 2.4 c).
//
// Written by strangers, so nothing in it is believed but that it is here: the lengths it states may
// exceed what is quoted. parse_inner reads, readdress rewrites in place and keeps the checksums
// true as far as they are quoted. Pure: keeps nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/net/flow_key.h"

namespace sluice {

enum class InnerFault : std::uint8_t {
  none,
  truncated,       // cut off before the ports
  header_invalid,  // version, header length or extension headers cannot be
  icmp,            // ICMP about ICMP
  no_ports,        // neither TCP nor UDP, or a fragment that is not the first
};

struct InnerPacket {
  InnerFault fault = InnerFault::none;
  bool is_fragment = false;     // the first of several
  std::uint16_t l4_offset = 0;  // bytes from the start of the quoted IP header
  std::uint16_t l4_bytes = 0;   // of the transport segment, as far as it is quoted
  FlowKey
      key;  // as quoted: from the one who gets the error, to the one who did not take the packet
};

// `quoted`: from the inner IP header on.
InnerPacket parse_inner(std::span<const std::byte> quoted, bool is_v4);

// A packet in a packet that an error quotes: IP in IP, or GUE.
struct InnerTunnel {
  FlowKey outer;                   // as quoted; of GUE with the ports of its UDP header
  std::uint16_t inner_offset = 0;  // of the packet inside, from the start of what is quoted; its end when that is cut off before
  bool is_inner_v4 = false;
};

// Nothing when no tunnel of ours looks like this. `quoted`: from the outer IP header on.
std::optional<InnerTunnel> parse_inner_tunnel(std::span<const std::byte> quoted, bool is_v4);

// Gives a quoted packet other addresses and ports of the same family. `inner` is what parse_inner
// said of these bytes.
void readdress(std::span<std::byte> quoted, const InnerPacket& inner, const FlowKey& to);

// The transport part of readdress: ports, and the checksum if it is quoted. `quoted_transport`: from its header on; the
// families of `inner.key` and `to` may differ.
void readdress_transport(std::span<std::byte> quoted_transport, const InnerPacket& inner, const FlowKey& to);

}  // namespace sluice
