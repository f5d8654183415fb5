// Neighbour discovery (RFC 4861): answers solicitations for our addresses, learns, asks, announces.
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::uint8_t source_link_layer = 1;
constexpr std::uint8_t target_link_layer = 2;
constexpr std::uint32_t flag_solicited = 0x4000'0000;
constexpr std::uint32_t flag_override = 0x2000'0000;

IpAddress all_nodes() { return *IpAddress::parse("ff02::1"); }

IpAddress solicited_node(IpAddress target) {  // RFC 4291 2.7.1
  auto bytes = IpAddress::parse("ff02::1:ff00:0")->bytes();
  const auto low = target.bytes();
  std::copy(low.begin() + 13, low.end(), bytes.begin() + 13);
  return IpAddress::v6(bytes.data());
}

MacAddress multicast_mac(IpAddress group) {  // RFC 2464 7
  const auto bytes = group.bytes();
  return {{0x33, 0x33, bytes[12], bytes[13], bytes[14], bytes[15]}};
}

// The MAC in the option of this type; nothing when it is absent. False in `is_valid` when the options cannot be.
std::optional<MacAddress> find_option(std::span<const std::byte> options, std::uint8_t type, bool& is_valid) {
  std::optional<MacAddress> found;
  while (is_valid && !options.empty()) {
    const std::size_t option_bytes = options.size() < 8 ? 0 : static_cast<std::size_t>(options[1]) * 8;
    if (option_bytes == 0 || option_bytes > options.size()) {
      is_valid = false;
    } else {
      const auto& option = *reinterpret_cast<const LinkLayerOption*>(options.data());
      if (option.type == type && option_bytes == sizeof option) found = option.mac;
      if (found && found->is_multicast()) is_valid = false;  // one frame to such a neighbour would reach everybody
      options = options.subspan(option_bytes);
    }
  }
  return found;
}

struct NeighborFrame {
  std::uint8_t type;
  std::uint32_t flags;
  IpAddress source, destination, target;
  MacAddress destination_mac;
  std::uint8_t option_type;
};

bool send_message(World& world, std::uint16_t port, const NeighborFrame& message) {
  GeneratedFrame* frame = world.generated.add();
  if (frame == nullptr) return false;
  const MacAddress our_mac = world.ports[port].mac;
  Ipv6Header ip{be32(6u << 28), be16(sizeof(NeighborMessage) + sizeof(LinkLayerOption)), protocol::icmpv6, 255, {}, {}};
  std::memcpy(ip.source, &message.source, sizeof ip.source);
  std::memcpy(ip.destination, &message.destination, sizeof ip.destination);
  NeighborMessage body{message.type, 0, 0, be32(message.flags), {}};
  std::memcpy(body.target, &message.target, sizeof body.target);
  const LinkLayerOption option{message.option_type, 1, our_mac};

  std::byte* out = frame->data.data();
  const std::size_t link_bytes = write_link_header(world, out, port, message.destination_mac, ether_type::ipv6);
  std::memcpy(out += link_bytes, &ip, sizeof ip);
  std::memcpy(out += sizeof ip, &body, sizeof body);
  std::memcpy(out + sizeof body, &option, sizeof option);
  const std::uint16_t checksum =
      checksum_of({out, sizeof body + sizeof option},
                  pseudo_header_sum(message.source, message.destination, protocol::icmpv6, sizeof body + sizeof option));
  std::memcpy(out + offsetof(NeighborMessage, checksum), &checksum, sizeof checksum);
  frame->bytes = static_cast<std::uint16_t>(link_bytes + sizeof ip + sizeof body + sizeof option);
  frame->tx_port = port;
  return true;
}

void handle_solicitation(World& world, Packet& packet, IpAddress target, std::span<const std::byte> options) {
  bool is_valid = true;
  const auto source_mac = find_option(options, source_link_layer, is_valid);
  const IpAddress source = packet.frame.key.source;
  const bool is_probe = source.is_unset();  // duplicate address detection, RFC 4862 5.4.3
  const bool is_probe_elsewhere = is_probe && packet.frame.key.destination != solicited_node(target);
  if (!is_valid || target.is_multicast() || (is_probe && source_mac) || is_probe_elsewhere || source.is_multicast()) {
    packet.verdict = Verdict::drop_nd_malformed;
    return;
  }
  if (!world.tables->answers_for(target, packet.port) && packet.port != exception_port) {
    packet.verdict = Verdict::drop_nd_not_ours;
    return;
  }
  if (source_mac && packet.port != exception_port) {
    const std::uint16_t learned = world.neighbors.learn(source, packet.port, *source_mac, world.now);
    if (learned != no_neighbor) release_held(world, learned);
  }
  packet.verdict = Verdict::absorb;
  packet.is_shared = world.lcore_count > 1 && packet.hops == 0 && packet.port != exception_port;
  if (packet.hops > 0 || packet.port == exception_port) return;
  const IpAddress destination = is_probe ? all_nodes() : source;
  const MacAddress destination_mac = is_probe ? multicast_mac(destination) : packet.at<EthernetHeader>(0).source;
  const bool is_answered = send_message(world, packet.port,
                                        {icmp_type::neighbor_advertisement, (is_probe ? 0 : flag_solicited) | flag_override,
                                         target, destination, target, destination_mac, target_link_layer});
  if (!is_answered) packet.verdict = Verdict::drop_no_buffer;
}

void handle_advertisement(World& world, Packet& packet, IpAddress target, std::span<const std::byte> options) {
  bool is_valid = true;
  const auto target_mac = find_option(options, target_link_layer, is_valid);
  const bool is_solicited = (packet.at<NeighborMessage>(packet.frame.l4_offset).flags.host() & flag_solicited) != 0;
  if (!is_valid || target.is_multicast() || (is_solicited && packet.frame.key.destination.is_multicast())) {
    packet.verdict = Verdict::drop_nd_malformed;
    return;
  }
  const MacAddress mac = target_mac.value_or(packet.at<EthernetHeader>(0).source);
  const std::uint16_t learned = world.neighbors.learn(target, packet.port, mac, world.now);
  if (learned != no_neighbor) release_held(world, learned);
  packet.is_shared = world.lcore_count > 1 && packet.hops == 0;
  const bool is_for_us = world.tables->answers_for(packet.frame.key.destination, packet.port);
  packet.verdict = is_for_us || learned != no_neighbor || packet.hops > 0 ? Verdict::absorb : Verdict::drop_nd_not_ours;
}

}  // namespace

void handle_neighbor_discovery(World& world, Packet& packet) {
  // RFC 4861 7.1.1 and 7.1.2.
  const auto icmp_bytes = packet.span().subspan(packet.frame.l4_offset, packet.frame.l4_bytes);
  const FlowKey& key = packet.frame.key;
  const bool is_valid =
      packet.frame.ttl == 255 && icmp_bytes.size() >= sizeof(NeighborMessage) &&
      checksum_of(icmp_bytes, pseudo_header_sum(key.source, key.destination, protocol::icmpv6,
                                                static_cast<std::uint32_t>(icmp_bytes.size()))) == 0;
  auto& message = packet.at<NeighborMessage>(packet.frame.l4_offset);
  if (!is_valid || message.code != 0) {
    packet.verdict = Verdict::drop_nd_malformed;
    return;
  }
  const IpAddress target = IpAddress::v6(message.target);
  const auto options = icmp_bytes.subspan(sizeof(NeighborMessage));
  if (message.type == icmp_type::neighbor_solicitation) {
    handle_solicitation(world, packet, target, options);
  } else {
    handle_advertisement(world, packet, target, options);
  }
}

bool ask_for_neighbor(World& world, const Neighbor& neighbor) {
  if (neighbor.address.is_v4()) return send_arp_request(world, neighbor);
  const AddressRow* own = world.tables->source_for(neighbor.address, neighbor.port);
  if (own == nullptr) return false;
  const bool is_known = neighbor.state == NeighborState::stale && neighbor.probes < 2;  // RFC 4861 7.3.3
  const IpAddress destination = is_known ? neighbor.address : solicited_node(neighbor.address);
  return send_message(world, neighbor.port,
                      {icmp_type::neighbor_solicitation, 0, own->address, destination, neighbor.address,
                       is_known ? neighbor.mac : multicast_mac(destination), source_link_layer});
}

bool announce_address(World& world, IpAddress address, std::uint16_t port) {
  if (address.is_v4()) return announce_by_arp(world, address, port);
  return send_message(world, port,
                      {icmp_type::neighbor_advertisement, flag_override, address, all_nodes(), address,
                       multicast_mac(all_nodes()), target_link_layer});
}

}  // namespace sluice
