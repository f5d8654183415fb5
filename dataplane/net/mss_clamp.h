// MSS clamp: lowers what an end of a TCP connection states in its SYN (RFC 9293 3.7.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

// Lowers the maximum segment size that a SYN states to `mss_max` and keeps the checksum true.
// `tcp_header`: a whole TCP header with its options, as parse_frame has checked. Without the
// option, or with a smaller one, nothing changes.
void clamp_mss(std::span<std::byte> tcp_header, std::uint16_t mss_max);

}  // namespace sluice
