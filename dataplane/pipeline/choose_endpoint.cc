#include "dataplane/pipeline/choose_endpoint.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::uint32_t least_candidates_max = 256;  // a larger cluster is sampled

std::uint32_t scale(std::uint64_t hash, std::uint32_t count) {  // 0 .. count-1 without a division (Lemire)
  return static_cast<std::uint32_t>((hash >> 32) * count >> 32);
}

std::uint64_t next_random(World& world) {  // splitmix64 (Steele, Lea, Flood)
  std::uint64_t z = world.random_state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

std::uint64_t active_flows(const World& world, const EndpointRow& endpoint) {
  return world.counters.endpoints[endpoint.id].flows_active.read();
}

// Whether `a` carries less for its weight than `b`, counting the flow that is about to come.
bool is_less_loaded(const World& world, const EndpointRow& a, const EndpointRow& b) {
  return (active_flows(world, a) + 1) * b.weight < (active_flows(world, b) + 1) * a.weight;
}

// What of a packet decides: all that names its flow, or only where its client is.
FlowKey choice_key(const ClusterRow& cluster, const FlowKey& key) {
  const std::uint8_t length = key.source.is_v4() ? cluster.source_length_v4 : cluster.source_length_v6;
  if (length == 0) return key;
  FlowKey source_only;
  source_only.source = source_only.destination = IpPrefix::of(key.source, length).network;
  return source_only;
}

std::uint16_t choose_by_hash(const World& world, std::span<const std::uint16_t> slots, const ClusterRow& cluster,
                             const FlowKey& key) {
  // Every box with this configuration must come to the same slot: the secret is the configuration's.
  const FlowHash hash = hash_of(choice_key(cluster, key), world.tables->node().choice_secret);
  return slots[scale(hash, static_cast<std::uint32_t>(slots.size()))];
}

std::uint16_t choose_in_turn(World& world, std::span<const std::uint16_t> slots, const ClusterRow& cluster) {
  std::uint32_t& turn = world.rotation[cluster.id % world.rotation.size()];
  return slots[turn++ % slots.size()];
}

std::uint16_t choose_at_random(World& world, std::span<const std::uint16_t> slots) {
  return slots[scale(next_random(world), static_cast<std::uint32_t>(slots.size()))];
}

std::uint16_t choose_least(World& world, std::span<const EndpointRow> endpoints, std::span<const std::uint16_t> slots,
                           const ClusterRow& cluster) {
  const auto count = static_cast<std::uint32_t>(slots.size());
  std::uint32_t& turn = world.rotation[cluster.id % world.rotation.size()];
  const std::uint32_t first = turn++ % count;  // ties go round
  std::uint16_t best = slots[first];
  for (std::uint32_t i = 1; i < std::min(count, least_candidates_max); ++i) {
    const std::uint16_t candidate = slots[(first + i) % count];
    if (is_less_loaded(world, endpoints[candidate], endpoints[best])) best = candidate;
  }
  return best;
}

}  // namespace

const EndpointRow* choose_by_connection_id(World& world, Packet& packet) {
  const VipRow& vip = *packet.vip;
  const auto l4 = packet.span().subspan(packet.frame.l4_offset, packet.frame.l4_bytes);
  const std::size_t udp_bytes = packet.at<UdpHeader>(packet.frame.l4_offset).bytes.host();
  const auto destination = read_quic_destination(l4.first(std::min(udp_bytes, l4.size())).subspan(sizeof(UdpHeader)));
  if (!destination) {
    packet.verdict = Verdict::drop_quic_malformed;
    return nullptr;
  }
  const QuicServerId id = read_quic_server_id(destination->cid, QuicRouting::unpacked(vip.quic));
  if (id.status == QuicServerId::Status::by_five_tuple) return nullptr;
  const EndpointRow* endpoint =
      id.status == QuicServerId::Status::found ? world.tables->find_quic_server(vip.cluster, id.bytes) : nullptr;
  const bool is_serving = endpoint != nullptr && (endpoint->state == EndpointState::up || endpoint->state == EndpointState::draining);
  if (is_serving) return endpoint;
  // In a long header that may be what the client made up for its first packets; else a connection that is no more.
  if (!destination->is_long) packet.verdict = Verdict::drop_quic_unroutable;
  return nullptr;
}

std::uint16_t choose_endpoint(World& world, const ClusterRow& cluster, const FlowKey& key) {
  const auto slots = world.tables->slots_of(cluster);
  switch (cluster.choice) {
    case Choice::hash: return choose_by_hash(world, slots, cluster, key);
    case Choice::rotate: return choose_in_turn(world, slots, cluster);
    case Choice::random: return choose_at_random(world, slots);
    case Choice::least: return choose_least(world, world.tables->endpoints_of(cluster), slots, cluster);
  }
  return slots[0];
}

}  // namespace sluice
