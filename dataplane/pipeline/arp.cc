// ARP (RFC 826): answers for our addresses, learns the hardware addresses we asked for, asks, announces.
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr Be16 arp_request = be16(1);
constexpr Be16 arp_reply = be16(2);

ArpHeader arp_of(Be16 operation, MacAddress sender_mac, Be32 sender_ip, MacAddress target_mac, Be32 target_ip) {
  return {be16(1), ether_type::ipv4, 6, 4, operation, sender_mac, sender_ip, target_mac, target_ip};
}

bool send_arp(World& world, std::uint16_t port, MacAddress destination, const ArpHeader& arp) {
  GeneratedFrame* frame = world.generated.add();
  if (frame == nullptr) return false;
  const std::size_t link_bytes = write_link_header(world, frame->data.data(), port, destination, ether_type::arp);
  std::memcpy(frame->data.data() + link_bytes, &arp, sizeof arp);
  frame->bytes = static_cast<std::uint16_t>(link_bytes + sizeof arp);
  frame->tx_port = port;
  return true;
}

// The request itself stays as it is: other lcores learn from a copy of it.
void answer_arp(World& world, Packet& packet, MacAddress our_mac) {
  const auto& arp = packet.at<ArpHeader>(packet.frame.l3_offset);
  const bool is_sent = send_arp(world, packet.port, arp.sender_mac,
                                arp_of(arp_reply, our_mac, arp.target_ip, arp.sender_mac, arp.sender_ip));
  packet.verdict = is_sent ? Verdict::absorb : Verdict::drop_no_buffer;
}

}  // namespace

void handle_arp(World& world, Packet& packet) {
  const auto& arp = packet.at<ArpHeader>(packet.frame.l3_offset);
  if (packet.port == exception_port) {
    if (arp.operation == arp_request) return answer_arp(world, packet, exception_gateway_mac);
    packet.verdict = Verdict::drop_arp_not_ours;
    return;
  }
  if (arp.sender_mac.is_multicast()) {
    packet.verdict = Verdict::drop_arp_malformed;  // one frame to such a neighbour would reach everybody
    return;
  }
  const bool is_for_us = world.tables->answers_for(IpAddress::v4(arp.target_ip), packet.port);
  const std::uint16_t learned =
      world.neighbors.learn(IpAddress::v4(arp.sender_ip), packet.port, arp.sender_mac, world.now);
  if (learned != no_neighbor) release_held(world, learned);
  packet.is_shared = world.lcore_count > 1 && packet.hops == 0;
  if (packet.hops > 0 || (arp.operation == arp_reply && (is_for_us || learned != no_neighbor))) {
    packet.verdict = Verdict::absorb;
  } else if (arp.operation == arp_request && is_for_us) {
    answer_arp(world, packet, world.ports[packet.port].mac);
  } else {
    packet.verdict = learned != no_neighbor ? Verdict::absorb : Verdict::drop_arp_not_ours;
  }
}

bool send_arp_request(World& world, const Neighbor& neighbor) {
  const AddressRow* own = world.tables->source_for(neighbor.address, neighbor.port);
  if (own == nullptr) return false;
  const MacAddress our_mac = world.ports[neighbor.port].mac;
  // A stale neighbour is asked directly first (RFC 1122 2.3.2.1).
  const bool is_known = neighbor.state == NeighborState::stale && neighbor.probes < 2;
  return send_arp(world, neighbor.port, is_known ? neighbor.mac : MacAddress::broadcast(),
                  arp_of(arp_request, our_mac, own->address.as_v4(), MacAddress{}, neighbor.address.as_v4()));
}

bool announce_by_arp(World& world, IpAddress address, std::uint16_t port) {
  return send_arp(world, port, MacAddress::broadcast(),
                  arp_of(arp_request, world.ports[port].mac, address.as_v4(), MacAddress{}, address.as_v4()));
}

}  // namespace sluice
