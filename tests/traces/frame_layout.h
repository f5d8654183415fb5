// Where things are in an IP frame, and the plain checksums of RFC 1071: what the writer and the reader of frames share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "tests/traces/packet_text.h"

namespace sluice::trace {

inline constexpr std::size_t ethernet_bytes = 14;
inline constexpr std::uint32_t gue_port = 6080;
inline const std::array<std::string, 6> tcp_flag_names = {"fin", "syn", "rst", "psh", "ack", "urg"};  // by bit

inline std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); }
// Numbers in network byte order.
std::uint32_t read(std::span<const std::byte> bytes, std::size_t at, std::size_t count);
void write(std::span<std::byte> bytes, std::size_t at, std::size_t count, std::uint64_t value);

struct Layout {
  bool is_v4 = false;
  std::size_t l3 = ethernet_bytes, l4 = 0, end = 0;
  std::uint8_t protocol = 0;
  bool is_fragment = false, has_more = false;
  std::size_t fragment_offset = 0;
  std::uint32_t fragment_id = 0;
};
std::optional<Layout> layout_of(std::span<const std::byte> frame);  // of one that is long enough

std::size_t l4_header_bytes_min(std::uint8_t protocol);
inline std::size_t checksum_offset(std::uint8_t protocol) { return protocol == 6 ? 16 : protocol == 17 ? 6 : 2; }
// What the checksums should be, sixteen bits at a time.
std::uint16_t ip_checksum(std::span<const std::byte> frame, const Layout& at);
std::uint16_t l4_checksum(std::span<const std::byte> frame, const Layout& at);

}  // namespace sluice::trace
