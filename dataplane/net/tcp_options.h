// The options of a TCP header: a checked view, and the form in which we write them.
//
// RFC 9293 3.1 (format, MSS), RFC 7323 (window scale, timestamps), RFC 2018 (SACK).
// What is malformed ends the walk: what was read before it counts, as in other stacks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/base/byte_order.h"

namespace sluice {

namespace tcp_option {
inline constexpr std::uint8_t end = 0, no_operation = 1, mss = 2, window_scale = 3, sack_permitted = 4, sack = 5,
                              timestamps = 8;
}
inline constexpr std::size_t tcp_options_bytes_max = 40;
inline constexpr std::uint8_t window_scale_max = 14;  // RFC 7323 2.3
inline constexpr std::size_t timestamps_bytes = 12;   // as we write them: NOP, NOP, option

// What the two ends agree on in their SYNs.
struct TcpOffer {
  std::uint16_t mss = 0;              // 0: not offered
  std::uint8_t window_scale = 0;      // at most window_scale_max
  bool has_window_scale = false;
  bool has_sack = false;
  bool has_timestamps = false;
  std::uint32_t timestamp = 0;        // TSval, with has_timestamps
  std::uint32_t timestamp_echo = 0;   // TSecr

  friend bool operator==(const TcpOffer&, const TcpOffer&) = default;
};

// `options`: what lies between the fixed header and the payload.
TcpOffer read_offer(std::span<const std::byte> options);

// Writes the offer of a SYN or SYN-ACK into `options`; how many bytes, a multiple of 4. Never more than any header takes
// that carries the same options, so an answer fits where the question lay.
std::size_t write_offer(const TcpOffer& offer, std::span<std::byte, tcp_options_bytes_max> options);
// NOP, NOP, timestamps: the form that every segment of a connection with timestamps carries.
void write_timestamps(std::span<std::byte, timestamps_bytes> options, std::uint32_t value, std::uint32_t echo);

// Where in the header's options the parts lie that change on the way, from the first option byte; 0xff: absent.
struct TcpOptionPlaces {
  static constexpr std::uint8_t absent = 0xff;
  std::uint8_t timestamps = absent;    // the kind byte
  std::uint8_t sack = absent;          // the kind byte
  std::uint8_t sack_block_count = 0;
};
TcpOptionPlaces find_options(std::span<const std::byte> options);

}  // namespace sluice
