// Packets that go back where they came from. Ping (RFC 792, RFC 4443 4.2): an echo request to one of our
// addresses returns as its reply.
#include "dataplane/pipeline/stages.h"

namespace sluice {

void set_ends(Packet& packet, const FlowKey& ends, std::uint8_t ttl) {
  if (ends.source.is_v4()) {
    auto& ip = packet.at<Ipv4Header>(packet.frame.l3_offset);
    ip.source = ends.source.as_v4();
    ip.destination = ends.destination.as_v4();
    ip.ttl = ttl;
    ip.checksum = 0;
    ip.checksum = checksum_of(packet.span().subspan(packet.frame.l3_offset, ip.header_bytes()));
  } else {
    auto& ip = packet.at<Ipv6Header>(packet.frame.l3_offset);
    std::memcpy(ip.source, &ends.source, sizeof ip.source);
    std::memcpy(ip.destination, &ends.destination, sizeof ip.destination);
    ip.hop_limit = ttl;
  }
}

void send_back(Packet& packet, std::size_t l3_bytes, Verdict verdict) {
  auto& ethernet = packet.at<EthernetHeader>(0);
  std::swap(ethernet.source, ethernet.destination);
  const FlowKey back = packet.frame.key.reversed();
  if (back.source.is_v4()) {
    packet.at<Ipv4Header>(packet.frame.l3_offset).total_bytes = be16(static_cast<std::uint16_t>(l3_bytes));
  } else {
    packet.at<Ipv6Header>(packet.frame.l3_offset).payload_bytes = be16(static_cast<std::uint16_t>(l3_bytes - sizeof(Ipv6Header)));
  }
  set_ends(packet, back, initial_ttl);
  packet.bytes = static_cast<std::uint16_t>(packet.frame.l3_offset + l3_bytes);
  packet.tx_port = packet.port;
  packet.verdict = verdict;
}

// RFC 9293 3.10.7.1. In place, headers only.
void reject(Packet& packet, Verdict verdict) {
  auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const FlowKey back = packet.frame.key.reversed();
  const bool has_ack = (tcp.flags & tcp_flag::ack) != 0;
  const std::uint32_t segment_length = packet.frame.l4_bytes - tcp.header_bytes() +
                                       ((tcp.flags & tcp_flag::syn) != 0) + ((tcp.flags & tcp_flag::fin) != 0);
  const Be32 sequence = has_ack ? tcp.acknowledgment : be32(0);
  tcp.acknowledgment = has_ack ? be32(0) : be32(tcp.sequence.host() + segment_length);
  tcp.sequence = sequence;
  tcp.source_port = back.source_port;
  tcp.destination_port = back.destination_port;
  tcp.data_offset = sizeof(TcpHeader) / 4 << 4;
  tcp.flags = has_ack ? tcp_flag::rst : tcp_flag::rst | tcp_flag::ack;
  tcp.window = be16(0);
  tcp.urgent = be16(0);
  tcp.checksum = 0;
  tcp.checksum = checksum_of(packet.span().subspan(packet.frame.l4_offset, sizeof tcp),
                             pseudo_header_sum(back.source, back.destination, protocol::tcp, sizeof tcp));
  send_back(packet, packet.frame.l4_offset - packet.frame.l3_offset + sizeof tcp, verdict);
}

void answer_echo(World& world, Packet& packet) {
  if (!world.rate_limits.take(RateLimits::Icmp::echoes, world.tables->node().icmp_echoes_per_second, world.now)) {
    packet.verdict = Verdict::drop_icmp_rate_limited;
    return;
  }
  const std::size_t l3_bytes = packet.frame.l4_offset - packet.frame.l3_offset + std::size_t{packet.frame.l4_bytes};
  if (l3_bytes > world.ports[packet.port].mtu) {  // who sends frames longer than ours may not take them either
    packet.verdict = Verdict::drop_mtu_exceeded;
    return;
  }
  auto& icmp = packet.at<IcmpHeader>(packet.frame.l4_offset);
  const std::uint8_t reply_type =
      packet.frame.kind == FrameKind::icmp ? icmp_type::echo_reply : icmp_type::v6_echo_reply;
  // Type and code are one 16-bit word; the pseudo header of ICMPv6 does not care which address is which.
  const auto word_of = [&](std::uint8_t type) { return static_cast<std::uint16_t>(type | icmp.code << 8); };
  icmp.checksum = ChecksumDelta().change(word_of(icmp.type), word_of(reply_type)).apply_to(icmp.checksum);
  icmp.type = reply_type;
  send_back(packet, l3_bytes, Verdict::reply);
}

}  // namespace sluice
