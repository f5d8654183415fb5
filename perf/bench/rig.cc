#include "perf/bench/rig.h"

#include <fmt/core.h>

#include <algorithm>

#include "dataplane/base/assert.h"
#include "dataplane/tables/prefix_table.h"
#include "mgmt/compile/slots.h"
#include "perf/bench/handshakes.h"
#include "perf/bench/measure.h"

namespace sluice::perf {
namespace {

constexpr std::uint32_t first_named_id = 8'000;  // behind all others

IpAddress address(const std::string& text) {
  return *IpAddress::parse(text);
}

void add_routes(SnapshotWriter& writer, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    RouteRow route{};
    const IpPrefix network = IpPrefix::of(IpAddress::v4(be32(0x14000000 + (i << 16))), static_cast<std::uint8_t>(96 + 16 + i % 9));
    route.network = network.network;
    route.prefix_length = network.length;
    route.next_hop = address("172.16.255.254");
    writer.add(route);
  }
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
  add_routes(writer, setup.route_count);
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
    row.tunnel_source = setup.is_translated ? 1 : 0;  // as add_links() came
    row.protocol = setup.protocol_number;
    rows.push_back(row);
    members.push_back({endpoint_identity(row.address, row.port.host(), row.protocol),
                       static_cast<std::uint16_t>(i), 1, 1});
  }
  ClusterRow cluster{};
  cluster.forwarding = setup.forwarding;
  cluster.choice = Choice::hash;
  cluster.gue_port = gue_port;
  return writer.add_cluster(
      cluster, rows, count == 0 ? std::vector<std::uint16_t>{} : maglev_slots(members, slots));
}

IpPrefix listed_prefix(std::uint32_t first, std::uint32_t number) {
  return IpPrefix::of(IpAddress::v4(be32(listed_network(first, number))), 96 + 24);
}

// Networks that may come and as many that may not; in the end all may.
std::uint32_t add_sources(SnapshotWriter& writer, std::uint32_t count) {
  std::vector<PrefixRule> rules;
  for (std::uint32_t i = 0; i < count; ++i) {
    const bool is_denied = (i & 1) != 0;
    rules.push_back({listed_prefix(is_denied ? first_denied_client : first_spread_client, i / 2),
                     is_denied ? source_action::deny : source_action::allow});
  }
  rules.push_back({IpPrefix::of(IpAddress::v4(be32(0)), 96), source_action::allow});
  return writer.add(build_prefix_table(rules));
}

void block(SnapshotWriter& writer, std::uint32_t count) {
  std::vector<PrefixRule> rules;
  std::vector<IpPrefix> networks;
  for (std::uint32_t i = 0; i < count; ++i) {
    networks.push_back(listed_prefix(first_denied_client, i));
    rules.push_back({networks.back(), 1});
  }
  writer.set_blocklist(networks, build_prefix_table(rules));
}

// The VIP `row`, which leads to others by the server name that a client says.
void add_named(SnapshotWriter& writer, VipRow row) {
  row.syn_cookies = SynCookies::always;
  row.is_peeking = 1;
  const std::uint32_t listener = writer.add(row);
  row.is_peeking = 0;
  row.is_named = 1;
  for (std::uint32_t i = 0; i < server_name_count; ++i) {
    row.id = first_named_id + i;
    writer.add_server_name(listener, server_name(i), "", writer.add(row));
  }
}

}  // namespace

std::string server_name(std::uint32_t number) {
  return fmt::format("site-{}.example", number);
}

void broken(const std::string& what) {
  fmt::print(stderr, "sluice-bench: {}\n", what);
  std::exit(1);
}

SnapshotBuffer make_snapshot(const Setup& setup, std::uint64_t generation) {
  SnapshotWriter writer;
  writer.node.worker_count = 1;
  writer.node.flow_capacity =
      setup.capacity != 0 ? setup.capacity : setup.flows + setup.flows / 8 + 110'000;
  if (setup.forwarding == Forwarding::splice) writer.node.splice_capacity = writer.node.flow_capacity;
  writer.node.tcp_opening_ms = writer.node.tcp_closing_ms = 60'000;
  writer.node.tcp_closed_ms = writer.node.tcp_reset_ms = setup.closed_ms;
  PortRow port{};
  port.queue_count = 1;
  port.mtu = 1'500;
  port.is_rss_stable = 1;
  writer.add(port);
  add_network(writer, setup);
  const FlowKey key = key_of(0, setup.protocol_number, setup.is_v6);
  const auto vip_row = [&](std::uint32_t id, std::uint32_t cluster, std::uint16_t port_number) {
    VipRow vip{};
    vip.prefix_length = 128;
    vip.address = key.destination;
    vip.id = id;
    vip.cluster = cluster;
    vip.port = be16(port_number);
    vip.protocol = setup.protocol_number;
    vip.idle_timeout_ms = 3'600'000;
    vip.hello_timeout_ms = 10'000;
    vip.default_vip = no_row;
    return vip;
  };
  const auto add_vip = [&](std::uint32_t id, std::uint32_t cluster, std::uint16_t port_number) {
    writer.add(vip_row(id, cluster, port_number));
  };
  const std::uint32_t first_cluster = add_cluster(writer, setup, 0, endpoint_count, 65'537);
  if (setup.forwarding == Forwarding::splice) {
    add_named(writer, vip_row(0, first_cluster, key.destination_port.host()));
  } else {
    add_vip(0, first_cluster, key.destination_port.host());
  }
  if (setup.prefix_count > 0) {
    VipLimitsRow limits{};
    limits.sources = add_sources(writer, setup.prefix_count);
    writer.add_limits(limits);
  }
  if (setup.blocked_count > 0) block(writer, setup.blocked_count);
  add_vip(1, add_cluster(writer, setup, endpoint_count, 0, 0), empty_port);
  for (std::uint32_t i = 2; i <= setup.vip_count; ++i) {
    const std::uint32_t cluster = add_cluster(writer, setup, endpoint_count + 16 * i, 10, 1'009);
    add_vip(i, cluster, static_cast<std::uint16_t>(10'000 + i));
  }
  if (setup.protocol_number == protocol::tcp) {
    VipRow cookies = vip_row(first_named_id - 1, first_cluster, cookie_port);
    cookies.syn_cookies = SynCookies::always;
    writer.add(cookies);
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
      splice_records_(std::max<std::uint64_t>(1, tables_.node().splice_capacity)),
      replies_(std::max(1u, setup.flows)),
      order_(std::max(1u, setup.flows)) {
  const std::size_t before = mapped_bytes();
  world_ = std::make_unique<World>(
      Conntrack(records_.rows(), {0x1234567887654321, 0x8765432112345678}), 0, 1, shared_limits_);
  bytes_of_world_ = mapped_bytes() - before + records_.rows().size_bytes();
  world_->tables = &tables_;
  world_->ports[0] = {.mac = our_mac, .mtu = 9'000, .is_present = true};
  world_->splices = Splices(splice_records_.rows());
  world_->now = setup.now;
  world_->swept = world_->now;
  adopt_snapshot(*world_);
  answer_neighbors();
  if (setup_.forwarding == Forwarding::splice) {
    establish_spliced();
  } else {
    establish();
  }
  pass_each();
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

void Rig::note_reply(std::uint32_t flow, const FlowRecord& record) {
  const auto snat = tables_.snat_addresses();
  const FlowKey reply = arriving_key(record, Direction::to_client);
  const auto at = static_cast<std::uint32_t>(std::find(snat.begin(), snat.end(), reply.destination) - snat.begin());
  replies_[flow] = {at << 16 | reply.destination_port.raw, record.endpoint_id};
}

void Rig::establish_spliced() {
  Handshakes handshakes(*this);
  for (std::uint32_t flow = 0; flow < setup_.flows;) {
    std::vector<FlowKey> clients;
    while (clients.size() < Handshakes::count_max && flow < setup_.flows) clients.push_back(client_key(flow++));
    handshakes.run(clients);
    std::uint32_t first = flow - static_cast<std::uint32_t>(clients.size());
    for (const FlowRecord* record : handshakes.joined()) note_reply(first++, *record);
  }
}

void Rig::establish() {
  std::uint32_t established = 0;
  Batch batch;
  for (std::uint32_t flow = 0; flow < setup_.flows;) {
    batch.clear();
    while (!batch.is_full() && flow < setup_.flows) batch.add(client_key(flow++), tcp_flag::syn);
    batch.run(*world_, [&](Burst& burst, std::size_t) {
      for (Packet& packet : burst.all()) {
        if (has_tunnel(setup_.forwarding)) {
          check_tunneled(packet, client_key(established++));
        } else {
          check_opened(packet);
          note_reply(established++, *packet.flow);
        }
        packet.flow->state = FlowState::established;
      }
    });
  }
}

// A packet of each flow both ways, so that none looks up a route in the timed part.
void Rig::pass_each() {
  Batch batch;
  for (std::uint32_t packet = 0; packet < 2 * setup_.flows;) {
    batch.clear();
    while (!batch.is_full() && packet < 2 * setup_.flows) {
      const bool is_clients = (packet & 1) != 0 || has_tunnel(setup_.forwarding);
      batch.add(is_clients ? client_key(packet / 2) : reply_key(packet / 2), tcp_flag::ack);
      ++packet;
    }
    batch.run(*world_, [&](Burst& burst, std::size_t) {
      for (const Packet& passed : burst.all()) check_forwarded(passed);
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
  if (setup_.forwarding != Forwarding::nat) {
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
  if (setup_.forwarding != Forwarding::nat &&
      std::find(snat.begin(), snat.end(), key.source) == snat.end()) {
    broken("the first packet of a flow left with a source that is not ours");
  }
}

void Rig::check_tunneled(Packet& packet, const FlowKey& client) const {
  check_forwarded(packet);
  const bool is_outer_v4 = reinterpret_cast<const EthernetHeader*>(packet.data)->type == ether_type::ipv4;
  const bool is_gue = setup_.forwarding == Forwarding::dsr_gue;
  const FlowKey outer = key_at(packet.data + sizeof(EthernetHeader), is_outer_v4);
  const EndpointRow* endpoint = tables_.endpoint_by_id(packet.flow->endpoint_id);
  if (endpoint == nullptr || outer.destination != endpoint->address || outer.source != tables_.addresses()[endpoint->tunnel_source].address) {
    broken("a packet left in a tunnel between wrong ends");
  }
  const std::uint8_t inner_protocol = client.source.is_v4() ? protocol::ipv4 : protocol::ipv6;
  if (outer.protocol != (is_gue ? protocol::udp : inner_protocol) || (is_gue && outer.destination_port != gue_port)) {
    broken("a packet left in another tunnel than its cluster's");
  }
  const std::size_t outer_bytes = (is_outer_v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header)) +
                                  (is_gue ? sizeof(UdpHeader) + sizeof(GueHeader) : 0);
  const std::size_t inner = sizeof(EthernetHeader) + outer_bytes;
  const std::size_t l4 = outer_bytes + l4_offset_of(client.source.is_v4());
  if (packet.bytes < l4 || key_at(packet.data + inner, client.source.is_v4()) != client) {
    broken("what left in a tunnel is not the client's packet");
  }
  const std::size_t l4_bytes = l4_header_bytes_of(client.protocol) + (client.protocol == protocol::tcp ? 0 : 12);
  if (!has_right_checksums(packet.span(), client, inner, l4, l4_bytes)) broken("a packet in a tunnel has a wrong checksum");
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

void check_forwarded(const Packet& packet) {
  if (packet.verdict == Verdict::forward) return;
  broken(fmt::format("a packet of a known flow ended as {}", name_of(packet.verdict)));
}

void check_leaves_as(Packet& packet, const FlowKey& expected) {
  check_forwarded(packet);
  check_leaves_as(packet.span(), expected);
}

void check_leaves_as(std::span<const std::byte> frame, const FlowKey& expected) {
  if (key_in(frame.data()) != expected) broken("a packet left with the wrong addresses or ports");
  const bool is_v4 = expected.source.is_v4();
  const std::byte* const l3 = frame.data() + sizeof(EthernetHeader);
  const std::size_t l3_bytes =
      is_v4 ? reinterpret_cast<const Ipv4Header*>(l3)->total_bytes.host()
            : reinterpret_cast<const Ipv6Header*>(l3)->payload_bytes.host() + sizeof(Ipv6Header);
  const std::size_t l4 = l4_offset_of(is_v4);
  if (l3_bytes + sizeof(EthernetHeader) > frame.size() || l3_bytes + sizeof(EthernetHeader) < l4) {
    broken("a packet left with a wrong length");
  }
  if (!has_right_checksums(frame, expected, sizeof(EthernetHeader), l4, l3_bytes + sizeof(EthernetHeader) - l4)) {
    broken("a packet left with a wrong checksum");
  }
}

}  // namespace sluice::perf
