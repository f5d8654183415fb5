// UDP one packet at a time: each datagram of a client is its own decision, and nothing is kept of it. What a question was
// rewritten to, its answer can be rewritten from without a record, because NAT leaves the client's address and port as they
// are, and because mgmt lets an endpoint answer for one such VIP only: the answer's source names the VIP.
//
// The stages behind want a flow all the same: addresses, checksum deltas, whom to count for. It gets one that is not in the
// index and lasts as long as the burst. ICMP errors about such datagrams find no flow, and are dropped.
#include "dataplane/pipeline/choose_endpoint.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// `from_client`: as packets of the client arrive; `to_endpoint`: as they leave.
void pass_once(World& world, Packet& packet, Direction direction, const VipRow& vip, const EndpointRow& endpoint,
               const FlowKey& from_client, const FlowKey& to_endpoint) {
  FlowOpening opening;
  opening.from_client = from_client;
  opening.to_endpoint = to_endpoint;
  opening.state = FlowState::one_way;
  opening.is_snat = false;
  opening.vip_id = vip.id;
  opening.endpoint_id = endpoint.id;
  FlowRecord& record = world.passing[world.passing_count++];
  write_record(record, opening, world.now.stamp());
  packet.flow = &record;
  packet.direction = direction;
}

}  // namespace

void pass_question(World& world, Packet& packet) {
  const FlowKey& key = packet.frame.key;
  const ClusterRow& cluster = world.tables->clusters()[packet.vip->cluster];
  const EndpointRow& endpoint = world.tables->endpoints_of(cluster)[choose_endpoint(world, cluster, key)];
  FlowKey to_endpoint = key;
  to_endpoint.destination = endpoint.address;
  to_endpoint.destination_port = endpoint.port;
  pass_once(world, packet, Direction::to_endpoint, *packet.vip, endpoint, key, to_endpoint);
}

bool pass_answer(World& world, Packet& packet) {
  const FlowKey& key = packet.frame.key;
  const ReturnIndexRow* row = world.tables->find_one_packet_return(key.source, key.source_port, key.protocol);
  if (row == nullptr || packet.frame.kind != FrameKind::udp) return false;
  if (packet.is_fragment) {
    packet.verdict = Verdict::drop_fragment_one_packet;
    return true;
  }
  const VipRow& vip = world.tables->vips()[row->one_packet_vip];
  FlowKey from_client = key.reversed();
  from_client.destination = vip.address;
  from_client.destination_port = vip.port;
  pass_once(world, packet, Direction::to_client, vip, world.tables->endpoints()[row->endpoint], from_client, key.reversed());
  return true;
}

}  // namespace sluice
