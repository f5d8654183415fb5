// Fragments (RFC 791 3.2, RFC 8200 4.5): what one of them says of itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/net/parsed_frame.h"

namespace sluice {

enum class FragmentFault : std::uint8_t {
  none,
  malformed,  // no payload, or not the last and no multiple of eight bytes
  tiny,       // the first ends within the transport header, or the second begins within it (RFC 1858)
  beyond,     // ends where no datagram ends
};

struct Fragment {
  std::uint32_t id = 0;            // 16 bits of it in IPv4
  std::uint32_t offset_bytes = 0;  // of its payload in the datagram's
  std::uint32_t payload_bytes = 0;
  bool has_more = false;
  FragmentFault fault = FragmentFault::none;

  bool is_first() const { return offset_bytes == 0; }
  // As the headers say it: flags and offset of IPv4 without DF, offset and flag of an IPv6 fragment header.
  std::uint16_t word_in_v4() const { return static_cast<std::uint16_t>(offset_bytes / 8 | (has_more ? 0x2000u : 0u)); }
  std::uint16_t word_in_v6() const { return static_cast<std::uint16_t>(offset_bytes | (has_more ? 1u : 0u)); }
};

// `parsed` is what parse_frame said of the frame: of kind fragment, without a fault.
Fragment read_fragment(std::span<const std::byte> frame, const ParsedFrame& parsed);
// Gives it another identification, IPv4's header checksum included.
void set_fragment_id(std::span<std::byte> frame, const ParsedFrame& parsed, std::uint32_t id);

}  // namespace sluice
