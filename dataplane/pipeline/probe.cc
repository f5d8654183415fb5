// Health checks that go the way of clients' packets: of direct server return (dsr.cc), where only that way proves that
// the endpoint takes packets out of the tunnel and has the VIP.
//
// A check is a TCP connection of our kernel, from an address of the box to the VIP. It comes by the exception port and
// carries a mark (net/probe_mark.h) that names the endpoint. The mark is taken off, the rest goes to that endpoint as a
// client's packet would, without a flow: a check may reach an endpoint that takes no flows. The endpoint answers the
// address of the box itself, from the VIP: the one packet with a source of ours that comes in by a port and is no forgery,
// or cannot be told from one. It goes to the kernel, which knows its connections.
#include "dataplane/net/probe_mark.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// The endpoint id of a marked packet, from which the mark is then gone.
std::optional<std::uint32_t> take_mark(Packet& packet) {
  const bool is_v4 = packet.frame.key.source.is_v4();
  const std::size_t base = is_v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
  const std::size_t l3 = packet.frame.l3_offset;
  const bool has_room = packet.frame.l4_offset == l3 + base + probe_mark_bytes;
  if (!has_room || (!is_v4 && packet.at<Ipv6Header>(l3).next_header != protocol::destination_options)) return std::nullopt;
  const std::byte* mark = packet.data + l3 + base;
  const auto id = read_probe_mark(std::span<const std::byte, probe_mark_bytes>(mark, probe_mark_bytes), is_v4);
  if (!id) return std::nullopt;
  const auto next = static_cast<std::uint8_t>(*mark);  // IPv6: the header behind it
  std::memmove(packet.data + probe_mark_bytes, packet.data, l3 + base);
  packet.data += probe_mark_bytes;
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + probe_mark_bytes);
  packet.bytes = static_cast<std::uint16_t>(packet.bytes - probe_mark_bytes);
  packet.frame.l4_offset = static_cast<std::uint16_t>(l3 + base);
  if (is_v4) {
    auto& ip = packet.at<Ipv4Header>(l3);
    ip.version_and_words = 0x45;
    ip.total_bytes = be16(static_cast<std::uint16_t>(ip.total_bytes.host() - probe_mark_bytes));
    ip.checksum = 0;
    ip.checksum = checksum_of(packet.span().subspan(l3, sizeof ip));
  } else {
    auto& ip = packet.at<Ipv6Header>(l3);
    ip.next_header = next;
    ip.payload_bytes = be16(static_cast<std::uint16_t>(ip.payload_bytes.host() - probe_mark_bytes));
  }
  return id;
}

}  // namespace

void handle_probe(World& world, Packet& packet) {
  if (packet.frame.kind != FrameKind::tcp || packet.frame.ttl <= 1) return;
  const auto id = take_mark(packet);
  if (!id) return;
  const EndpointRow* endpoint = world.tables->endpoint_by_id(*id);
  if (endpoint == nullptr || !is_dsr(world.tables->clusters()[endpoint->cluster].forwarding)) {
    packet.verdict = Verdict::drop_probe_lost;
    return;
  }
  FlowOpening opening;
  opening.from_client = packet.frame.key;
  set_direct(*world.tables, *endpoint, packet.hash, opening);
  FlowRecord way;
  write_record(way, opening, world.now.stamp());
  packet.direction = Direction::to_endpoint;
  if (!fits_direct(world, packet, way)) return;
  send_direct(world, packet, way);
  packet.frame.key.destination = endpoint->address;  // by which it is routed
}

bool is_probe_answer(const World& world, const Packet& packet) {
  const FlowKey& key = packet.frame.key;
  return packet.frame.kind == FrameKind::tcp &&
         world.tables->find_address(key.source).kind == AddressKind::vip &&
         world.tables->find_address(key.destination).kind == AddressKind::own;
}

}  // namespace sluice
