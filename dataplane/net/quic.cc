#include "dataplane/net/quic.h"

namespace sluice {
namespace {

constexpr std::size_t long_header_bytes = 6;  // flags, version, length of the connection ID (RFC 8999 5.1)

}  // namespace

std::optional<QuicDestination> read_quic_destination(std::span<const std::byte> datagram) {
  if (datagram.size() < 2) return std::nullopt;
  const bool is_long = (datagram[0] & std::byte{0x80}) != std::byte{0};
  if (!is_long) return QuicDestination{false, datagram.subspan(1)};
  if (datagram.size() < long_header_bytes) return std::nullopt;
  const auto cid_bytes = std::to_integer<std::size_t>(datagram[long_header_bytes - 1]);
  if (cid_bytes > datagram.size() - long_header_bytes) return std::nullopt;
  return QuicDestination{true, datagram.subspan(long_header_bytes, cid_bytes)};
}

QuicServerId read_quic_server_id(std::span<const std::byte> cid, QuicRouting routing) {
  if (cid.empty()) return {};
  const auto rotation = std::to_integer<std::uint8_t>(cid[0] >> 5);
  if (rotation == quic_rotation_unset) return {QuicServerId::Status::by_five_tuple, {}};
  if (rotation != routing.rotation || cid.size() < 1u + routing.server_id_bytes + quic_nonce_bytes_min) return {};
  return {QuicServerId::Status::found, cid.subspan(1, routing.server_id_bytes)};
}

}  // namespace sluice
