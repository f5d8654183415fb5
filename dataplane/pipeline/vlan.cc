// VLAN sub-interfaces (IEEE 802.1Q): ports that share a wire with their parent and are told apart by the tag.
//
// A frame keeps its tag while it is looked at: all that is behind it is found by frame.l3_offset, and what is handed to
// another lcore, copied or captured is what was on the wire. Next hop gives it the tag of the port by which it leaves.
// A tag with VLAN id 0 carries only a priority (IEEE 802.1Q 6.9): such a frame is the port's own, as if it had none.
#include <cstring>

#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// Of the bytes that precede what is carried: the type of that stays where it is, before the IP header.
constexpr std::size_t type_offset = sizeof(EthernetHeader) - sizeof(Be16);

void write_tag(std::byte* frame, std::uint16_t vlan) {
  const VlanTag tag{ether_type::vlan, be16(vlan)};
  std::memcpy(frame + type_offset, &tag, sizeof tag);
}

}  // namespace

void enter_vlan(World& world, Packet& packet) {
  const std::uint16_t id = packet.at<VlanTag>(type_offset).id();
  if (id == 0 || packet.port == exception_port) return;
  const std::uint16_t parent = world.ports[packet.port].parent;
  for (std::uint16_t row = 0; row < ports_max; ++row) {
    const PortFacts& port = world.ports[row];
    if (!port.is_present || port.vlan != id || port.parent != parent) continue;
    packet.port = row;
    return;
  }
  packet.verdict = Verdict::drop_vlan_unknown;
}

bool fit_tag(Packet& packet, const PortFacts& port) {
  const std::size_t wanted = sizeof(EthernetHeader) + (port.vlan != 0 ? sizeof(VlanTag) : 0);
  const int more = static_cast<int>(wanted) - packet.frame.l3_offset;
  if (more > packet.headroom) {
    packet.verdict = Verdict::drop_no_buffer;
    return false;
  }
  packet.data -= more;
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - more);
  packet.bytes = static_cast<std::uint16_t>(packet.bytes + more);
  packet.frame.l3_offset = static_cast<std::uint16_t>(packet.frame.l3_offset + more);
  packet.frame.l4_offset = static_cast<std::uint16_t>(packet.frame.l4_offset + more);
  if (port.vlan != 0) write_tag(packet.data, port.vlan);
  return true;
}

std::size_t write_link_header(const World& world, std::byte* out, std::uint16_t port, MacAddress destination, Be16 type) {
  const PortFacts& facts = world.ports[port];
  const EthernetHeader ethernet{destination, facts.mac, type};
  std::memcpy(out, &ethernet, sizeof ethernet);
  if (facts.vlan == 0) return sizeof ethernet;
  write_tag(out, facts.vlan);
  std::memcpy(out + type_offset + sizeof(VlanTag), &type, sizeof type);
  return sizeof ethernet + sizeof(VlanTag);
}

}  // namespace sluice
