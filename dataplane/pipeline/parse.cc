#include "dataplane/net/parse.h"

#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::size_t frames_ahead = 4;

Verdict verdict_of(ParseFault fault) {
  switch (fault) {
    case ParseFault::none: return Verdict::undecided;
    case ParseFault::frame_truncated: return Verdict::drop_frame_truncated;
    case ParseFault::ether_type_unknown: return Verdict::drop_ether_type_unknown;
    case ParseFault::vlan_stacked: return Verdict::drop_vlan_stacked;
    case ParseFault::arp_malformed: return Verdict::drop_arp_malformed;
    case ParseFault::ip_header_invalid: return Verdict::drop_ip_header_invalid;
    case ParseFault::ip_checksum_wrong: return Verdict::drop_ip_checksum_wrong;
    case ParseFault::ipv6_extension_invalid: return Verdict::drop_ipv6_extension_invalid;
    case ParseFault::l4_header_invalid: return Verdict::drop_l4_header_invalid;
    case ParseFault::tcp_flags_invalid: return Verdict::drop_tcp_flags_invalid;
    case ParseFault::udp_checksum_missing: return Verdict::drop_udp_checksum_missing;
  }
  return Verdict::drop_ip_header_invalid;
}

// Unicast frames must carry our hardware address; broadcast and multicast may only be ARP and ICMPv6. A multicast
// source is nobody's (IEEE 802.3, 3.2.3): an answer to it would go to everybody.
Verdict check_mac(const World& world, Packet& packet) {
  const auto& ethernet = packet.at<EthernetHeader>(0);
  if (packet.port == exception_port) return Verdict::undecided;
  if (ethernet.source.is_multicast()) [[unlikely]] return Verdict::drop_source_invalid;
  if (ethernet.destination == world.ports[packet.port].mac) [[likely]] return Verdict::undecided;
  const bool may_be_shared = packet.frame.kind == FrameKind::arp || packet.frame.kind == FrameKind::icmpv6;
  return ethernet.destination.is_multicast() && may_be_shared ? Verdict::undecided : Verdict::drop_mac_not_ours;
}

}  // namespace

void parse(World& world, Burst& burst) {
  pipelined(
      burst.all(), frames_ahead, [](Packet& packet) { __builtin_prefetch(packet.data); },
      [&](Packet& packet) {
        parse_frame(packet.span(), packet.frame);
        if (packet.frame.fault != ParseFault::none) [[unlikely]] {
          packet.verdict = verdict_of(packet.frame.fault);
          return;
        }
        if (packet.frame.l3_offset != sizeof(EthernetHeader)) [[unlikely]] {
          enter_vlan(world, packet);
          if (!packet.is_live()) return;
        }
        packet.verdict = check_mac(world, packet);
        if (!packet.is_live()) [[unlikely]] return;
        if (packet.frame.kind == FrameKind::tcp || packet.frame.kind == FrameKind::udp) {
          packet.hash = world.flows.hash(packet.frame.key);
          world.flows.prefetch_bucket(packet.hash);
        }
      });
}

}  // namespace sluice
