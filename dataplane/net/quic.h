// QUIC as far as a balancer may look at it: the destination connection ID, which every version of QUIC has in the same
// place (RFC 8999), and the server ID in it, as servers write it that follow QUIC-LB (draft-ietf-quic-load-balancers-21,
// the plaintext algorithm):
//
//   first octet: config rotation (3 bits), length or random bits (5) | server ID | nonce
//
// Pure: reads the bytes it is given, and none beyond.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sluice {

inline constexpr std::size_t quic_server_id_bytes_max = 15;
inline constexpr std::size_t quic_nonce_bytes_min = 4;
inline constexpr std::uint8_t quic_rotation_max = 6;
inline constexpr std::uint8_t quic_rotation_unset = 7;  // of a server that has no configuration: to be routed by five-tuple

// The configuration that servers share with us. One byte in a row of the snapshot; 0 there: no QUIC.
struct QuicRouting {
  std::uint8_t rotation = 0;         // 0 to 6
  std::uint8_t server_id_bytes = 0;  // 1 to 15

  std::uint8_t packed() const { return static_cast<std::uint8_t>(rotation << 4 | server_id_bytes); }
  static QuicRouting unpacked(std::uint8_t byte) {
    return {static_cast<std::uint8_t>(byte >> 4), static_cast<std::uint8_t>(byte & 15)};
  }
};

struct QuicDestination {
  bool is_long = false;                // a header with a version, as in handshakes
  std::span<const std::byte> cid;      // of a short header: all that follows, for its length stands nowhere
};

// Nothing: `datagram` is no QUIC packet, or ends before its connection ID does.
std::optional<QuicDestination> read_quic_destination(std::span<const std::byte> datagram);

struct QuicServerId {
  enum class Status : std::uint8_t {
    found,
    by_five_tuple,  // the server has no configuration, and says so
    unroutable,     // another configuration, or too short for this one: also what a client chose for its first packets
  } status = Status::unroutable;
  std::span<const std::byte> bytes;
};

QuicServerId read_quic_server_id(std::span<const std::byte> cid, QuicRouting routing);

}  // namespace sluice
