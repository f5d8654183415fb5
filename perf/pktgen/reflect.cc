#include "perf/pktgen/reflect.h"

#include <algorithm>
#include <utility>

#include "perf/common/frame.h"

namespace sluice::perf {
namespace {

template <class Header>
Header& header_at(std::span<std::byte> frame, std::size_t offset) {
  return *reinterpret_cast<Header*>(frame.data() + offset);
}

void swap_macs(std::span<std::byte> frame) {
  auto& ethernet = header_at<EthernetHeader>(frame, 0);
  const MacAddress from = ethernet.source;
  ethernet.source = ethernet.destination;
  ethernet.destination = from;
}

template <class Field>
void swap_fields(Field& a, Field& b) {
  const Field kept = a;
  a = b;
  b = kept;
}

void swap_addresses(std::span<std::byte> frame, const ParsedFrame& parsed) {
  if (parsed.key.source.is_v4()) {
    auto& ip = header_at<Ipv4Header>(frame, parsed.l3_offset);
    swap_fields(ip.source, ip.destination);
  } else {
    auto& ip = header_at<Ipv6Header>(frame, parsed.l3_offset);
    std::swap_ranges(ip.source, ip.source + 16, ip.destination);
  }
}

// Sequence number, acknowledgment and flags of the answer; false when there is none.
bool answer_tcp(TcpHeader& tcp, std::uint32_t payload_bytes) {
  using namespace tcp_flag;
  const std::uint32_t sequence = tcp.sequence.host(), acknowledgment = tcp.acknowledgment.host();
  if ((tcp.flags & rst) != 0) return false;
  if ((tcp.flags & syn) != 0) {
    if ((tcp.flags & ack) != 0) return false;
    tcp.flags = syn | ack;
    tcp.sequence = be32(~sequence);  // any number will do that the client cannot know
    tcp.acknowledgment = be32(sequence + 1);
    return true;
  }
  const bool is_last = (tcp.flags & fin) != 0;
  if (payload_bytes == 0 && !is_last) return false;
  tcp.sequence = be32(acknowledgment);
  tcp.acknowledgment = be32(sequence + payload_bytes + (is_last ? 1 : 0));
  return true;
}

std::uint64_t sum_of_header(const TcpHeader& tcp) {
  // Ports change sides, which changes no sum; the checksum itself is not among these bytes.
  return checksum_sum({reinterpret_cast<const std::byte*>(&tcp) + 4, 12});
}

constexpr std::uint32_t advertisement_flags = 0x60000000;  // solicited, override: RFC 4861 4.4

struct Solicitation {  // or advertisement, with the one option that both carry
  NeighborMessage message;
  LinkLayerOption option;
};
static_assert(sizeof(Solicitation) == 32);
constexpr std::size_t solicitation_offset = sizeof(EthernetHeader) + sizeof(Ipv6Header);

void write_neighbor_message(std::byte* out, MacAddress to, MacAddress from, const IpAddress& source,
                            const IpAddress& destination, std::uint8_t type, std::uint32_t flags,
                            const IpAddress& target) {
  auto* ethernet = reinterpret_cast<EthernetHeader*>(out);
  *ethernet = {to, from, ether_type::ipv6};
  auto* ip = reinterpret_cast<Ipv6Header*>(out + sizeof(EthernetHeader));
  *ip = {};
  ip->version_class_flow = be32(6u << 28);
  ip->payload_bytes = be16(sizeof(Solicitation));
  ip->next_header = protocol::icmpv6;
  ip->hop_limit = 255;
  std::memcpy(ip->source, &source, 16);
  std::memcpy(ip->destination, &destination, 16);
  auto* body = reinterpret_cast<Solicitation*>(out + solicitation_offset);
  *body = {};
  body->message.type = type;
  body->message.flags = be32(flags);
  std::memcpy(body->message.target, &target, 16);
  const bool is_question = type == icmp_type::neighbor_solicitation;
  body->option = {static_cast<std::uint8_t>(is_question ? 1 : 2), 1, from};
  body->message.checksum =
      checksum_of({out + solicitation_offset, sizeof(Solicitation)},
                  pseudo_header_sum(source, destination, protocol::icmpv6, sizeof(Solicitation)));
}

const NeighborMessage* neighbor_message(std::span<const std::byte> frame, const ParsedFrame& parsed,
                                        std::uint8_t type) {
  if (parsed.kind != FrameKind::icmpv6 || parsed.l4_bytes < sizeof(NeighborMessage)) return nullptr;
  const auto* message = reinterpret_cast<const NeighborMessage*>(frame.data() + parsed.l4_offset);
  return message->type == type ? message : nullptr;
}

bool is_among(std::span<const IpAddress> addresses, const IpAddress& address) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

}  // namespace

bool reflect(std::span<std::byte> frame, const ParsedFrame& parsed) {
  if (parsed.kind == FrameKind::tcp) {
    auto& tcp = header_at<TcpHeader>(frame, parsed.l4_offset);
    const std::uint64_t before = sum_of_header(tcp);
    if (!answer_tcp(tcp, parsed.l4_bytes - tcp.header_bytes())) return false;
    swap_fields(tcp.source_port, tcp.destination_port);
    const auto was = static_cast<std::uint16_t>(~fold_checksum(before));
    tcp.checksum = static_cast<std::uint16_t>(
        ~fold_checksum(static_cast<std::uint16_t>(~tcp.checksum) + was + sum_of_header(tcp)));
  } else if (parsed.kind == FrameKind::udp) {
    auto& udp = header_at<UdpHeader>(frame, parsed.l4_offset);
    swap_fields(udp.source_port, udp.destination_port);
  } else {
    return false;
  }
  swap_addresses(frame, parsed);
  swap_macs(frame);
  return true;
}

bool answer_neighbor(std::span<std::byte> frame, const ParsedFrame& parsed, MacAddress mac,
                     std::span<const IpAddress> spared) {
  if (parsed.kind == FrameKind::arp) {
    auto& arp = header_at<ArpHeader>(frame, parsed.l3_offset);
    if (arp.operation != be16(1) || arp.target_ip == arp.sender_ip ||
        is_among(spared, IpAddress::v4(arp.target_ip))) {
      return false;
    }
    const Be32 wanted = arp.target_ip;
    arp.operation = be16(2);
    arp.target_mac = arp.sender_mac;
    arp.target_ip = arp.sender_ip;
    arp.sender_mac = mac;
    arp.sender_ip = wanted;
    header_at<EthernetHeader>(frame, 0) = {arp.target_mac, mac, ether_type::arp};
    return true;
  }
  const auto* question = neighbor_message(frame, parsed, icmp_type::neighbor_solicitation);
  if (question == nullptr || frame.size() < solicitation_offset + sizeof(Solicitation) ||
      parsed.l3_offset != sizeof(EthernetHeader) || parsed.key.source.is_unset()) {
    return false;
  }
  const IpAddress wanted = IpAddress::v6(question->target);
  if (wanted == parsed.key.source || is_among(spared, wanted)) return false;
  const MacAddress asker = header_at<EthernetHeader>(frame, 0).source;
  write_neighbor_message(frame.data(), asker, mac, wanted, parsed.key.source,
                         icmp_type::neighbor_advertisement, advertisement_flags, wanted);
  return true;
}

bool read_neighbor_answer(std::span<const std::byte> frame, const ParsedFrame& parsed,
                          NeighborAnswer& answer) {
  if (parsed.kind == FrameKind::arp) {
    const auto& arp = *reinterpret_cast<const ArpHeader*>(frame.data() + parsed.l3_offset);
    if (arp.operation != be16(2)) return false;
    answer = {IpAddress::v4(arp.sender_ip), arp.sender_mac};
    return true;
  }
  const auto* message = neighbor_message(frame, parsed, icmp_type::neighbor_advertisement);
  if (message == nullptr) return false;
  const MacAddress from = reinterpret_cast<const EthernetHeader*>(frame.data())->source;
  answer = {IpAddress::v6(message->target), from};
  return true;
}

std::uint16_t write_neighbor_question(std::byte* out, MacAddress own_mac, const IpAddress& own,
                                      const IpAddress& wanted) {
  if (wanted.is_v4()) {
    std::memset(out, 0, frame_bytes_least);
    *reinterpret_cast<EthernetHeader*>(out) = {MacAddress::broadcast(), own_mac, ether_type::arp};
    auto* arp = reinterpret_cast<ArpHeader*>(out + sizeof(EthernetHeader));
    *arp = {be16(1), ether_type::ipv4, 6, 4, be16(1), own_mac, own.as_v4(), {}, wanted.as_v4()};
    return frame_bytes_least;
  }
  // The group of the solicited node, ff02::1:ffXX:XXXX, RFC 4291 2.7.1.
  auto group = IpAddress::parse("ff02::1:ff00:0")->bytes();
  const auto bytes = wanted.bytes();
  std::copy(bytes.begin() + 13, bytes.end(), group.begin() + 13);
  const MacAddress to{{0x33, 0x33, 0xff, bytes[13], bytes[14], bytes[15]}};
  write_neighbor_message(out, to, own_mac, own, IpAddress::v6(group.data()),
                         icmp_type::neighbor_solicitation, 0, wanted);
  return solicitation_offset + sizeof(Solicitation);
}

}  // namespace sluice::perf
