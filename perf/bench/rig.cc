#include "perf/bench/rig.h"

#include <fmt/format.h>

#include <algorithm>

#include "dataplane/base/assert.h"
#include "mgmt/compile/slots.h"
#include "perf/bench/measure.h"

namespace sluice::perf {
namespace {

IpAddress address(const std::string& text) {
  return *IpAddress::parse(text);
}

void add_links(SnapshotWriter& writer, bool is_v6) {
  AddressRow own{};
  own.address = address(is_v6 ? "2001:db8:2::1" : "172.16.0.1");
  own.prefix_length = is_v6 ? 64 : 96 + 16;
  writer.add(own);
  RouteRow connected{};
  const IpPrefix network = IpPrefix::of(own.address, own.prefix_length);
  connected.network = network.network;
  connected.prefix_length = network.length;
  writer.add(connected);
  RouteRow gateway{};
  gateway.network = is_v6 ? IpAddress{} : IpAddress::v4(be32(0));
  gateway.prefix_length = is_v6 ? 0 : 96;
  gateway.next_hop = address(is_v6 ? "2001:db8:2::fe" : "172.16.255.254");
  writer.add(gateway);
}

void add_network(SnapshotWriter& writer, const Setup& setup) {
  add_links(writer, setup.is_v6);
  if (setup.is_translated) add_links(writer, !setup.is_v6);
  const bool is_v6 = setup.is_v6 != setup.is_translated;
  std::vector<IpAddress> snat;
  for (int i = 0; i < 4; ++i) {
    snat.push_back(
        address(is_v6 ? fmt::format("2001:db8:2::10{}", i) : fmt::format("172.16.200.1{}", i)));
  }
  writer.add_snat_pool("pool", snat, 1'024, 65'535);
}

// A cluster with a Maglev table over `count` endpoints, built by the product's own builder.
std::uint32_t add_cluster(SnapshotWriter& writer, const Setup& setup, std::uint32_t first_id,
                          std::uint32_t count, std::uint32_t slots) {
  std::vector<EndpointRow> rows;
  std::vector<SlotEndpoint> members;
  for (std::uint32_t i = 0; i < count; ++i) {
    EndpointRow row{};
    const std::uint32_t id = first_id + i;
    row.address =
        address(setup.is_v6 != setup.is_translated ? fmt::format("2001:db8:2::2:{}", i + 1)
                                                   : fmt::format("172.16.1.{}", i + 1));
    row.id = id;
    row.port = be16(static_cast<std::uint16_t>(8'080 + (id - i) / 16));
    row.weight = 1;
    row.protocol = setup.protocol_number;
    rows.push_back(row);
    members.push_back({endpoint_identity(row.address, row.port.host(), row.protocol),
                       static_cast<std::uint16_t>(i), 1, 1});
  }
  ClusterRow cluster{};
  cluster.forwarding = setup.forwarding;
  cluster.choice = Choice::hash;
  return writer.add_cluster(
      cluster, rows, count == 0 ? std::vector<std::uint16_t>{} : maglev_slots(members, slots));
}

}  // namespace

void broken(const std::string& what) {
  fmt::print(stderr, "sluice-bench: {}\n", what);
  std::exit(1);
}

SnapshotBuffer make_snapshot(const Setup& setup, std::uint64_t generation) {
  SnapshotWriter writer;
  writer.node.worker_count = 1;
  writer.node.flow_capacity =
      setup.capacity != 0 ? setup.capacity : setup.flows + setup.flows / 8 + 110'000;
  writer.node.tcp_opening_ms = writer.node.tcp_closing_ms = 60'000;
  writer.node.tcp_closed_ms = writer.node.tcp_reset_ms = setup.closed_ms;
  PortRow port{};
  port.queue_count = 1;
  port.mtu = 1'500;
  port.is_rss_stable = 1;
  writer.add(port);
  add_network(writer, setup);
  const FlowKey key = key_of(0, setup.protocol_number, setup.is_v6);
  const auto add_vip = [&](std::uint32_t id, std::uint32_t cluster, std::uint16_t port_number) {
    VipRow vip{};
    vip.prefix_length = 128;
    vip.address = key.destination;
    vip.id = id;
    vip.cluster = cluster;
    vip.port = be16(port_number);
    vip.protocol = setup.protocol_number;
    vip.idle_timeout_ms = 3'600'000;
    writer.add(vip);
  };
  add_vip(0, add_cluster(writer, setup, 0, endpoint_count, 65'537), key.destination_port.host());
  add_vip(1, add_cluster(writer, setup, endpoint_count, 0, 0), empty_port);
  for (std::uint32_t i = 2; i <= setup.vip_count; ++i) {
    const std::uint32_t cluster = add_cluster(writer, setup, endpoint_count + 16 * i, 10, 1'009);
    add_vip(i, cluster, static_cast<std::uint16_t>(10'000 + i));
  }
  auto buffer = writer.finish(generation);
  if (!buffer) broken(buffer.error().message);
  return std::move(*buffer);
}

Rig::Rig(const Setup& setup)
    : setup_(setup),
      buffer_(make_snapshot(setup, 1)),
      tables_(*Snapshot::verify(buffer_.bytes())),
      records_(tables_.node().flow_capacity),
      replies_(std::max(1u, setup.flows)),
      order_(std::max(1u, setup.flows)) {
  const std::size_t before = mapped_bytes();
  world_ = std::make_unique<World>(
      Conntrack(records_.rows(), {0x1234567887654321, 0x8765432112345678}), 0, 1);
  bytes_of_world_ = mapped_bytes() - before + records_.rows().size_bytes();
  world_->tables = &tables_;
  world_->ports[0] = {our_mac, 9'000, 0, 0, true};
  world_->now = setup.now;
  world_->swept = world_->now;
  adopt_snapshot(*world_);
  answer_neighbors();
  establish();
}

void Rig::answer_neighbors() {
  const auto learn = [&](IpAddress neighbor) {
    world_->neighbors.find_or_add(neighbor, 0, world_->now);
    world_->neighbors.learn(neighbor, 0, client_mac, world_->now);
  };
  for (std::uint32_t i = 0; i < endpoint_count; ++i) learn(tables_.endpoints()[i].address);
  for (const RouteRow& route : tables_.routes()) {
    if (!route.next_hop.is_unset()) learn(route.next_hop);
  }
  world_->generated.clear();
}

void Rig::advance(Milliseconds time) {
  world_->now = world_->now + time;
  answer_neighbors();
}

void Rig::establish() {
  std::size_t established = 0;
  const auto snat = tables_.snat_addresses();
  Batch batch;
  for (std::uint32_t flow = 0; flow < setup_.flows;) {
    batch.clear();
    while (!batch.is_full() && flow < setup_.flows) batch.add(client_key(flow++), tcp_flag::syn);
    batch.run(*world_, [&](Burst& burst, std::size_t) {
      for (const Packet& packet : burst.all()) {
        check_opened(packet);
        packet.flow->state = FlowState::established;
        const FlowKey reply = arriving_key(*packet.flow, Direction::to_client);
        const auto at = static_cast<std::uint32_t>(
            std::find(snat.begin(), snat.end(), reply.destination) - snat.begin());
        replies_[established++] = {at << 16 | reply.destination_port.raw, packet.flow->endpoint_id};
      }
    });
  }
  // Each flow is answered once, so that none looks up a route in the timed part.
  for (std::uint32_t flow = 0; flow < setup_.flows;) {
    batch.clear();
    while (!batch.is_full() && flow < setup_.flows) batch.add(reply_key(flow++), tcp_flag::ack);
    batch.run(*world_, [&](Burst& burst, std::size_t) {
      for (const Packet& packet : burst.all()) {
        if (packet.verdict == Verdict::forward) continue;
        broken(fmt::format("the first reply of a flow ended as {}", name_of(packet.verdict)));
      }
    });
  }
}

FlowKey Rig::reply_key(std::uint32_t flow) const {
  const Reply reply = replies_[flow];
  const EndpointRow& endpoint = tables_.endpoints()[reply.endpoint];
  FlowKey key;
  key.source = endpoint.address;
  key.source_port = endpoint.port;
  key.protocol = setup_.protocol_number;
  if (setup_.forwarding == Forwarding::full_nat) {
    key.destination = tables_.snat_addresses()[reply.snat >> 16];
    key.destination_port = Be16{static_cast<std::uint16_t>(reply.snat)};
  } else {
    const FlowKey client = client_key(flow);
    key.destination = client.source;
    key.destination_port = client.source_port;
  }
  return key;
}

void Rig::check_opened(const Packet& packet) const {
  if (packet.verdict != Verdict::forward) {
    broken(fmt::format("the first packet of a flow ended as {}", name_of(packet.verdict)));
  }
  const FlowKey key = key_in(packet.data);
  const EndpointRow* endpoint = tables_.endpoint_by_id(packet.flow->endpoint_id);
  if (endpoint == nullptr || key.destination != endpoint->address ||
      key.destination_port != endpoint->port) {
    broken("the first packet of a flow left for something that is no endpoint");
  }
  const auto snat = tables_.snat_addresses();
  if (setup_.forwarding == Forwarding::full_nat &&
      std::find(snat.begin(), snat.end(), key.source) == snat.end()) {
    broken("the first packet of a flow left with a source that is not ours");
  }
}

void Batch::fill(Burst& burst, std::size_t first) {
  burst.count = 0;
  for (std::size_t i = first; i < std::min(first + burst_count_max, count_); ++i) {
    Packet& packet = burst.add();
    packet.data = frame(i);
    packet.bytes = bytes_[i];
    packet.headroom = headroom;
  }
}

std::uint64_t Batch::run(World& world, const std::function<void(Burst&, std::size_t)>& visit) {
  std::uint64_t spent = 0;
  for (std::size_t i = 0; i < count_; i += burst_count_max) {
    fill(burst_, i);
    const std::uint64_t begin = tsc();
    process_burst(world, burst_);
    maintain(world);
    count_verdicts(world, burst_);
    spent += tsc() - begin;
    visit(burst_, i);
  }
  return spent;
}

void check_leaves_as(Packet& packet, const FlowKey& expected) {
  if (packet.verdict != Verdict::forward) {
    broken(fmt::format("a packet of a known flow ended as {}", name_of(packet.verdict)));
  }
  if (key_in(packet.data) != expected) broken("a packet left with the wrong addresses or ports");
  if (!has_right_checksums(packet.span(), expected, packet.frame.l3_offset, packet.frame.l4_offset,
                           packet.frame.l4_bytes)) {
    broken("a packet left with a wrong checksum");
  }
}

}  // namespace sluice::perf
