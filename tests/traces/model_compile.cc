// The snapshot that the statements of a trace describe.
#include "tests/traces/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace sluice::trace {
namespace {

// Each weight's share of slots, spread evenly: what mgmt does for weighted round robin.
std::vector<std::uint16_t> slots_for(const ClusterModel& cluster) {
  std::vector<std::uint16_t> slots;
  for (std::uint16_t round = 0;; ++round) {
    bool has_any = false;
    for (std::size_t i = 0; i < cluster.endpoints.size(); ++i) {
      const EndpointModel& endpoint = cluster.endpoints[i];
      if (endpoint.state != EndpointState::up || endpoint.weight <= round) continue;
      slots.push_back(static_cast<std::uint16_t>(i));
      has_any = true;
    }
    if (!has_any) return slots;
  }
}

}  // namespace

// The first address of the port that leads there, in the order in which compile() writes them.
std::uint16_t Model::tunnel_source_for(IpAddress endpoint) const {
  const auto hop = hop_to(endpoint);
  std::uint16_t row = 0;
  for (std::size_t i = 0; i < ports().size(); ++i) {
    for (const std::string& text : ports()[i].addresses) {
      if (hop && hop->port == i && IpPrefix::parse(text)->is_v4() == endpoint.is_v4()) return row;
      ++row;
    }
  }
  return 0xffff;
}

std::uint32_t Model::row_of(const std::string& cluster) const {
  for (std::size_t c = 0; c < clusters_.size(); ++c) {
    if (clusters_[c].name == cluster) return static_cast<std::uint32_t>(c);
  }
  return no_row;
}

void Model::write_node(SnapshotWriter& writer) const {
  writer.node.name = writer.name("trace");
  writer.node.flow_capacity = flow_capacity;
  writer.node.splice_capacity = splice_capacity;
  writer.node.worker_count = lcore_count;
  writer.node.tcp_opening_ms = opening_ms_;
  writer.node.tcp_closing_ms = closing_ms_;
  writer.node.tcp_closed_ms = closed_ms_;
  writer.node.tcp_reset_ms = reset_ms_;
  writer.node.fragment_datagrams_max = fragment_datagrams_;
  writer.node.fragment_held_bytes_max = fragment_held_bytes_;
  writer.node.fragment_timeout_ms = 5'000;
  writer.node.icmp_errors_per_second = icmp_errors_;
  writer.node.icmp_echoes_per_second = icmp_echoes_;
  writer.node.choice_secret = {0x0123456789abcdefull, 0xfedcba9876543210ull};
}

void Model::write_ports(SnapshotWriter& writer) const {
  for (std::size_t i = 0; i < ports().size(); ++i) {
    const PortModel& port = ports()[i];
    PortRow row{};
    row.name = writer.name(port.name);
    row.queue_count = static_cast<std::uint16_t>(lcore_count);
    row.mtu = port.mtu;
    row.is_rss_stable = port.is_rss_stable;
    row.vlan = port.vlan;
    for (std::size_t p = 0; p < ports().size(); ++p) {
      if (port.vlan != 0 && ports()[p].name == port.parent) row.parent = static_cast<std::uint16_t>(p);
    }
    writer.add(row);
    for (const std::string& text : port.addresses) {
      AddressRow address{};
      address.address = *IpAddress::parse(text.substr(0, text.find('/')));
      address.port = static_cast<std::uint16_t>(i);
      address.prefix_length = IpPrefix::parse(text)->length;
      writer.add(address);
    }
  }
  if (has_exception_port) writer.node.exception_interface = writer.name("kernel");
  for (const IpAddress& address : kernel_addresses) {
    writer.add(AddressRow{address, exception_port, 128, {}});
    writer.add(RouteRow{address, {}, exception_port, 128, {}});
  }
}

Result<void> Model::write_routes(SnapshotWriter& writer) const {
  for (const RouteModel& route : routes()) {
    RouteRow row{};
    row.network = route.prefix.network;
    row.prefix_length = route.prefix.length;
    row.next_hop = route.next_hop;
    bool is_known = false;
    for (std::size_t i = 0; i < ports().size(); ++i) {
      if (ports()[i].name != route.port) continue;
      row.port = static_cast<std::uint16_t>(i);
      is_known = true;
    }
    if (!is_known) return fail(fmt::format("route {}: no port leads there", route.prefix.text()));
    writer.add(row);
  }
  return {};
}

void Model::write_clusters(SnapshotWriter& writer) const {
  std::vector<SnatModel> snats = snats_;
  if (is_usual_snats_) {
    snats.push_back({"inside", {*IpAddress::parse("10.2.0.100"), *IpAddress::parse("fd00:2::100")}, 1'024, 65'535});
  }
  for (const SnatModel& snat : snats) writer.add_snat_pool(snat.name, snat.addresses, snat.port_first, snat.port_last);
  for (std::size_t c = 0; c < clusters_.size(); ++c) {
    const ClusterModel& cluster = clusters_[c];
    ClusterRow row{};
    row.name = writer.name(cluster.name);
    row.id = static_cast<std::uint32_t>(c);
    row.forwarding = cluster.forwarding;
    row.choice = cluster.choice;
    row.endpoint_flows_max = cluster.endpoint_flows_max;
    row.proxy_protocol = cluster.proxy_protocol;
    row.gue_port = be16(6'080);
    row.snat_pool = has_snat(cluster.forwarding) ? 0 : no_row;
    row.is_lb_port = cluster.is_lb_port ? 1 : 0;
    row.source_length_v4 = cluster.source_length_v4;
    row.source_length_v6 = cluster.source_length_v6;
    for (std::size_t i = 0; i < snats.size(); ++i) {
      if (has_snat(cluster.forwarding) && snats[i].name == cluster.snat) {
        row.snat_pool = static_cast<std::uint32_t>(i);
      }
    }
    std::uint8_t protocol = 6;
    for (const VipModel& vip : vips_) {
      if (vip.cluster == cluster.name) protocol = vip.protocol;
    }
    std::vector<EndpointRow> endpoints;
    for (const EndpointModel& endpoint : cluster.endpoints) {
      EndpointRow endpoint_row{};
      endpoint_row.address = endpoint.address;
      endpoint_row.name = writer.name(endpoint.text);
      endpoint_row.id = endpoint.id;
      endpoint_row.port = be16(endpoint.port);
      endpoint_row.weight = endpoint.weight;
      endpoint_row.protocol = protocol;
      endpoint_row.state = endpoint.state;
      endpoint_row.tunnel_source = tunnel_source_for(endpoint.address);
      endpoints.push_back(endpoint_row);
    }
    const std::uint32_t added = writer.add_cluster(row, endpoints, slots_for(cluster));
    for (std::uint32_t i = 0; i < cluster.endpoints.size(); ++i) {
      const std::string& id = cluster.endpoints[i].quic_server_id;
      if (!id.empty()) writer.add_quic_server(added, i, id);
    }
  }
}

Result<void> Model::write_vip(SnapshotWriter& writer, const VipModel& vip) const {
  VipRow row{};
  row.address = vip.where.network;
  row.prefix_length = vip.where.length;
  row.name = writer.name(vip.text);
  row.virtual_host = row.name;
  row.id = static_cast<std::uint16_t>(vip.id);
  row.quic = vip.quic.packed();
  row.is_one_packet = vip.is_one_packet ? 1 : 0;
  row.idle_timeout_ms = vip.idle_ms;
  row.ports = vip.ports.front() == all_ports                              ? VipPorts::all
              : vip.ports.size() == 1 && vip.ports.front().is_single() ? VipPorts::one
                                                                       : VipPorts::ranges;
  row.port = be16(row.ports == VipPorts::all ? std::uint16_t{0} : vip.ports.front().first);
  row.protocol = vip.protocol;
  row.state = vip.state;
  row.is_reset_on_expiry = vip.is_reset_on_expiry ? 1 : 0;
  row.mss_max = vip.mss_max;
  row.hello_timeout_ms = vip.hello_ms;
  row.default_vip = no_row;
  row.syn_cookies = vip.syn_cookies;
  if (!vip.proxies.empty()) row.proxies = static_cast<std::uint16_t>(writer.add(build_prefix_table(vip.proxies)) + 1);
  row.is_peeking = !vip.names.empty() || !vip.patterns.empty() || !vip.default_cluster.empty();
  const bool is_peeking = row.is_peeking != 0;
  row.cluster = row_of(!is_peeking              ? vip.cluster
                       : !vip.names.empty()     ? vip.names[0].cluster
                       : !vip.patterns.empty()  ? vip.patterns[0].cluster
                                                : vip.default_cluster);
  if (row.cluster == no_row) return fail(fmt::format("vip {}: no cluster '{}'", vip.text, vip.cluster));
  const std::uint32_t listener = writer.add(row);
  for (const PortRange& ports : vip.ports) {
    if (row.ports == VipPorts::ranges) writer.add_ports(listener, ports);
  }
  if (vip.has_limits) {
    VipLimitsRow limits = vip.limits;
    if (!vip.sources.empty()) limits.sources = writer.add(build_prefix_table(vip.sources));
    writer.add_limits(limits);
  }
  return is_peeking ? write_names(writer, vip, row, listener) : Result<void>{};
}

Result<void> Model::write_names(SnapshotWriter& writer, const VipModel& vip, const VipRow& row, std::uint32_t listener) const {
  // A row for each cluster that a name leads to, as if it were a virtual host.
  std::map<std::string, std::uint32_t> named;
  const auto named_row = [&](const std::string& cluster) {
    const auto [known, is_new] = named.try_emplace(cluster, 0);
    if (!is_new) return known->second;
    VipRow target = row;
    target.is_peeking = 0;
    target.is_named = 1;
    target.id = static_cast<std::uint16_t>(1'000 + clusters_.size() * vip.id + row_of(cluster));
    target.cluster = row_of(cluster);
    target.virtual_host = writer.name(cluster);
    return known->second = writer.add(target);
  };
  for (const ServerNameModel& name : vip.names) {
    if (row_of(name.cluster) == no_row) return fail(fmt::format("vip {}: no cluster '{}'", vip.text, name.cluster));
    writer.add_server_name(listener, name.name, name.alpn, named_row(name.cluster));
  }
  std::vector<SnapshotWriter::NamePattern> patterns;
  std::vector<std::string> expressions;
  for (const ServerNameModel& pattern : vip.patterns) {
    if (row_of(pattern.cluster) == no_row) return fail(fmt::format("vip {}: no cluster '{}'", vip.text, pattern.cluster));
    std::string protocol;
    if (!pattern.alpn.empty()) protocol = static_cast<char>(pattern.alpn.size()) + pattern.alpn;
    patterns.push_back({pattern.name, protocol, named_row(pattern.cluster)});
    expressions.push_back(pattern.name);
  }
  if (!patterns.empty()) {
    const auto database = build_name_patterns(expressions);
    if (!database) return tl::unexpected(database.error());
    writer.add_name_patterns(listener, patterns, *database);
  }
  if (!vip.default_cluster.empty()) writer.set_default_vip(listener, named_row(vip.default_cluster));
  return {};
}

Result<SnapshotBuffer> Model::compile() const {
  SnapshotWriter writer;
  write_node(writer);
  write_ports(writer);
  if (auto done = write_routes(writer); !done) return tl::unexpected(done.error());
  write_clusters(writer);
  for (const VipModel& vip : vips_) {
    if (auto done = write_vip(writer, vip); !done) return tl::unexpected(done.error());
  }
  if (!blocked.empty()) {
    std::vector<PrefixRule> rules;
    for (const IpPrefix& prefix : blocked) rules.push_back({prefix, 1});
    writer.set_blocklist(blocked, build_prefix_table(rules));
  }
  return writer.finish(++generation_);
}

}  // namespace sluice::trace
