// Both ends of a flow that we forget are told. A reset is believed only with the sequence number
// that its receiver expects next (RFC 5961 3), which a record does not hold. So each end is sent an
// ACK that cannot be: it answers with where it stands (RFC 9293 3.10.7.4), and the answer finds a
// flow that has ended, which is reset in its own terms.
#include "dataplane/flow/tcp_state.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// An ACK of what cannot have been sent. False: there is no way to the one who is asked.
bool send_question(World& world, const FlowKey& key, std::uint32_t acknowledgment = 0) {
  const Neighbor* neighbor = next_hop_to(world, key.destination);
  if (neighbor == nullptr) return false;  // it is told when it speaks by itself
  GeneratedFrame& frame = *world.generated.add();
  const bool is_v4 = key.source.is_v4();
  const std::size_t link_bytes = write_link_header(world, frame.data.data(), neighbor->port, neighbor->mac,
                                                   is_v4 ? ether_type::ipv4 : ether_type::ipv6);
  std::byte* const l3 = frame.data.data() + link_bytes;
  std::size_t l3_bytes = 0;
  if (is_v4) {
    Ipv4Header ip{0x45,
                  0,
                  be16(sizeof(Ipv4Header) + sizeof(TcpHeader)),
                  be16(0),
                  be16(0x4000),
                  initial_ttl,
                  protocol::tcp,
                  0,
                  key.source.as_v4(),
                  key.destination.as_v4()};
    ip.checksum = checksum_of(std::as_bytes(std::span(&ip, 1)));
    std::memcpy(l3, &ip, l3_bytes = sizeof ip);
  } else {
    Ipv6Header ip{be32(6u << 28), be16(sizeof(TcpHeader)), protocol::tcp, initial_ttl, {}, {}};
    std::memcpy(ip.source, &key.source, sizeof ip.source);
    std::memcpy(ip.destination, &key.destination, sizeof ip.destination);
    std::memcpy(l3, &ip, l3_bytes = sizeof ip);
  }
  TcpHeader tcp{key.source_port,
                key.destination_port,
                be32(0),
                be32(acknowledgment),
                sizeof(TcpHeader) / 4 << 4,
                tcp_flag::ack,
                be16(0),
                0,
                be16(0)};
  tcp.checksum =
      checksum_of(std::as_bytes(std::span(&tcp, 1)),
                  pseudo_header_sum(key.source, key.destination, protocol::tcp, sizeof tcp));
  std::memcpy(l3 + l3_bytes, &tcp, sizeof tcp);
  frame.bytes = static_cast<std::uint16_t>(link_bytes + l3_bytes + sizeof tcp);
  frame.tx_port = neighbor->port;
  return true;
}

}  // namespace

void end_flow(World& world, FlowRecord& record) {
  if (world.generated.room() < 2) return;
  send_question(world, leaving_key(record, Direction::to_client));
  // An endpoint of direct server return would answer to the client; it hears of the end from the client's reset.
  if (!is_one_sided(record)) send_question(world, leaving_key(record, Direction::to_endpoint));
  mark_ended(world, record);
}

std::uint32_t proof_of_reset(const World& world, const FlowRecord& record) {
  const FlowKey key = leaving_key(record, to_who_knows(record));
  const struct {
    IpAddress source, destination;
    Be16 source_port, destination_port;
    std::uint32_t purpose;
  } input{key.source, key.destination, key.source_port, key.destination_port, 0x7273743f};  // not a cookie's
  static_assert(sizeof input == 40, "no padding");
  return static_cast<std::uint32_t>(siphash(world.cookie_secret, std::as_bytes(std::span(&input, 1))));
}

bool ask_whether_reset(World& world, const FlowRecord& record) {
  if (world.generated.room() < 2) return false;  // one for the question, one for the next hop's address
  return send_question(world, leaving_key(record, to_who_knows(record)), proof_of_reset(world, record));
}

void mark_ended(World& world, FlowRecord& record) {
  if (is_half_open(record)) world.counters.vips[record.vip_id].half_open.subtract(1);
  record.state = FlowState::ended;
  record.last_seen = world.now.stamp();
}

}  // namespace sluice
