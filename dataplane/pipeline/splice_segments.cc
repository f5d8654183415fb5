// TCP segments of our own: answers in place, and frames from scratch.
#include "dataplane/pipeline/splice.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr Be16 dont_fragment = be16(0x4000);

void write_tcp(TcpHeader& tcp, const FlowKey& key, const OwnSegment& segment) {
  tcp.source_port = key.source_port;
  tcp.destination_port = key.destination_port;
  tcp.sequence = be32(segment.sequence);
  tcp.acknowledgment = be32((segment.flags & tcp_flag::ack) != 0 ? segment.acknowledgment : 0);
  tcp.data_offset = static_cast<std::uint8_t>((sizeof tcp + segment.options.size()) / 4 << 4);
  tcp.flags = segment.flags;
  tcp.window = be16(segment.window);
  tcp.checksum = 0;
  tcp.urgent = be16(0);
}

std::size_t write_ip(std::byte* at, const FlowKey& key, std::size_t l4_bytes) {
  if (key.source.is_v4()) {
    auto& ip = *reinterpret_cast<Ipv4Header*>(at);
    ip = {0x45, 0, be16(static_cast<std::uint16_t>(sizeof ip + l4_bytes)), be16(0), dont_fragment, initial_ttl,
          protocol::tcp, 0, key.source.as_v4(), key.destination.as_v4()};
    ip.checksum = checksum_of({at, sizeof ip});
    return sizeof ip;
  }
  auto& ip = *reinterpret_cast<Ipv6Header*>(at);
  ip.version_class_flow = be32(0x60000000);
  ip.payload_bytes = be16(static_cast<std::uint16_t>(l4_bytes));
  ip.next_header = protocol::tcp;
  ip.hop_limit = initial_ttl;
  std::memcpy(ip.source, &key.source, sizeof ip.source);
  std::memcpy(ip.destination, &key.destination, sizeof ip.destination);
  return sizeof ip;
}

void append(GeneratedFrame& frame, std::span<const std::byte> bytes) {
  if (!bytes.empty()) std::memcpy(frame.data.data() + frame.bytes, bytes.data(), bytes.size());
  frame.bytes = static_cast<std::uint16_t>(frame.bytes + bytes.size());
}

bool send_frame(World& world, const FlowKey& key, std::uint16_t port, MacAddress destination, const OwnSegment& segment) {
  GeneratedFrame* frame = world.generated.add();
  if (frame == nullptr) return false;
  const std::size_t l4_bytes = sizeof(TcpHeader) + segment.options.size() + segment.payload.size() + segment.tail.size();
  const Be16 type = key.source.is_v4() ? ether_type::ipv4 : ether_type::ipv6;
  const std::size_t link_bytes = write_link_header(world, frame->data.data(), port, destination, type);
  const std::size_t l4_offset = link_bytes + write_ip(frame->data.data() + link_bytes, key, l4_bytes);
  auto& tcp = *reinterpret_cast<TcpHeader*>(frame->data.data() + l4_offset);
  write_tcp(tcp, key, segment);
  frame->bytes = static_cast<std::uint16_t>(l4_offset + sizeof tcp);
  append(*frame, segment.options);
  append(*frame, segment.payload);
  frame->tail = segment.tail;
  frame->tx_port = port;
  // The tail may begin at an odd place: then its bytes stand the other way round in their words (RFC 1071, 2B).
  const std::uint16_t tail_sum = fold_checksum(checksum_sum(segment.tail));
  const bool is_odd = segment.payload.size() % 2 != 0;
  tcp.checksum = checksum_of(std::span(frame->data).subspan(l4_offset, frame->bytes - l4_offset),
                             pseudo_header_sum(key.source, key.destination, protocol::tcp, static_cast<std::uint32_t>(l4_bytes)) +
                                 (is_odd ? __builtin_bswap16(tail_sum) : tail_sum));
  return true;
}

}  // namespace

void answer(Packet& packet, const OwnSegment& segment, Verdict verdict) {
  const std::size_t room = packet.frame.l4_bytes - sizeof(TcpHeader);
  OwnSegment fitting = segment;
  if (fitting.options.size() > room) fitting.options = {};
  if (fitting.options.size() + fitting.payload.size() > room) fitting.payload = {};
  auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const FlowKey back = packet.frame.key.reversed();
  write_tcp(tcp, back, fitting);
  std::byte* after = packet.data + packet.frame.l4_offset + sizeof tcp;
  if (!fitting.options.empty()) std::memcpy(after, fitting.options.data(), fitting.options.size());
  if (!fitting.payload.empty()) std::memcpy(after + fitting.options.size(), fitting.payload.data(), fitting.payload.size());
  const std::size_t l4_bytes = sizeof tcp + fitting.options.size() + fitting.payload.size();
  tcp.checksum = checksum_of(packet.span().subspan(packet.frame.l4_offset, l4_bytes),
                             pseudo_header_sum(back.source, back.destination, protocol::tcp, static_cast<std::uint32_t>(l4_bytes)));
  send_back(packet, packet.frame.l4_offset - packet.frame.l3_offset + l4_bytes, verdict);
}

bool send_to_endpoint(World& world, const FlowRecord& flow, const OwnSegment& segment) {
  const FlowKey key = leaving_key(flow, Direction::to_endpoint);
  const Neighbor* next_hop = next_hop_to(world, key.destination);
  return next_hop != nullptr && send_frame(world, key, next_hop->port, next_hop->mac, segment);
}

bool send_to_client(World& world, const PendingSplice& pending, const OwnSegment& segment) {
  return send_frame(world, pending.from_client.reversed(), pending.client_port, pending.client_mac, segment);
}

}  // namespace sluice
