#include "mgmt/compile/compile.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "dataplane/base/assert.h"
#include "dataplane/net/headers.h"
#include "mgmt/api/service_policy.pb.h"
#include "mgmt/compile/slots.h"
#include "mgmt/model/table_limits.h"
#include "mgmt/schema/paths.h"

namespace sluice {
namespace {

static_assert(limits::routes == routes_max && limits::vips == vips_max &&
              limits::endpoints == endpoints_max);

std::string replaced(std::string text, std::string_view placeholder, std::string_view value) {
  for (std::size_t at = text.find(placeholder); at != std::string::npos;
       at = text.find(placeholder, at + value.size())) {
    text.replace(at, placeholder.size(), value);
  }
  return text;
}

// The bits of rte_ethdev.h, DPDK 22.11; mgmt is built without DPDK.
std::uint64_t rss_bit(api::RssProfile::HashField field) {
  switch (field) {
    case api::RssProfile::IPV4:
      return 1ull << 2;
    case api::RssProfile::IPV4_FRAGMENT:
      return 1ull << 3;
    case api::RssProfile::IPV4_TCP:
      return 1ull << 4;
    case api::RssProfile::IPV4_UDP:
      return 1ull << 5;
    case api::RssProfile::IPV6:
      return 1ull << 8;
    case api::RssProfile::IPV6_FRAGMENT:
      return 1ull << 9;
    case api::RssProfile::IPV6_TCP:
      return 1ull << 10;
    case api::RssProfile::IPV6_UDP:
      return 1ull << 11;
    default:
      return 0;
  }
}

Steering steering_of(int value) {
  switch (value) {
    case api::NicProfileSpec::SNAT_PORT_HASH:
      return Steering::snat_port_hash;
    case api::NicProfileSpec::FLOW_RULES:
      return Steering::flow_rules;
    case api::NicProfileSpec::HANDOFF:
      return Steering::handoff;
    default:
      return Steering::none;
  }
}

HashSecret choice_secret_of(const std::string& seed) {
  HashSecret secret = {0x5eed5eed5eed5eedull, 0x0123456789abcdefull};
  for (std::size_t at = 0; at < seed.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, seed.data() + at, std::min<std::size_t>(8, seed.size() - at));
    const std::uint64_t mixed = keyed_hash(secret, word, seed.size());
    secret = {secret.b ^ mixed, keyed_hash(secret, mixed, at)};
  }
  return secret;
}

void write_node(SnapshotWriter& writer, const Object& node) {
  const api::NodeSpec& spec = node_spec(node);
  NodeRow& row = writer.node;
  row.name = writer.name(node.key().name);
  row.flow_capacity = spec.flows().capacity();
  row.splice_capacity = std::min(spec.flows().splice_capacity(), spec.flows().capacity());
  row.worker_count = static_cast<std::uint32_t>(spec.workers_size());
  for (int i = 0; i < spec.workers_size(); ++i) {
    row.worker_cpus[i] = static_cast<std::uint16_t>(spec.workers(i));
  }
  row.tcp_opening_ms = spec.timeouts().tcp_opening();
  row.tcp_closing_ms = spec.timeouts().tcp_closing();
  row.tcp_closed_ms = spec.timeouts().tcp_closed();
  row.tcp_reset_ms = spec.timeouts().tcp_reset();
  row.fragment_datagrams_max = spec.fragments().datagrams();
  row.fragment_held_bytes_max = spec.fragments().held_bytes();
  row.fragment_timeout_ms = spec.fragments().timeout();
  row.icmp_errors_per_second = spec.icmp().errors_per_second();
  row.icmp_echoes_per_second = spec.icmp().echoes_per_second();
  row.choice_secret = choice_secret_of(spec.choice_seed());
  row.exception_interface = writer.name(spec.exception_port().interface());
  row.is_idle_backoff = spec.idle_backoff() ? 1 : 0;
}

PortRow port_row(SnapshotWriter& writer, const api::NodePort& port, int index, const NicProfiles& profiles) {
  const auto found = profiles.find(port.profile());
  LB_ASSERT(found != profiles.end());  // validated
  const api::NicProfileSpec& profile = found->second.spec();
  std::string option = profile.eal_option();
  option = replaced(option, "{index}", std::to_string(index));
  option = replaced(option, "{name}", port.name());
  option = replaced(option, "{device}", port.device());
  option = replaced(option, "{queues}", std::to_string(port.queues()));
  const std::uint32_t frame_bytes = frame_room(static_cast<std::uint16_t>(port.mtu()));
  option = replaced(option, "{frame_bytes}", std::to_string(frame_bytes));
  option = replaced(option, "{page_bytes}", std::to_string((frame_bytes + 4'095) / 4'096 * 4'096));
  PortRow row{};
  row.name = writer.name(port.name());
  row.profile = writer.name(port.profile());
  row.driver = writer.name(profile.driver());
  row.device = writer.name(port.device());
  row.eal_option = writer.name(option);
  for (const int field : profile.rss().hash_fields()) {
    row.rss_hash_fields |= rss_bit(static_cast<api::RssProfile::HashField>(field));
  }
  row.rss_key = writer.name(profile.rss().key());
  row.rss_table_size = static_cast<std::uint16_t>(profile.rss().table_size());
  row.queue_count = static_cast<std::uint16_t>(port.queues());
  row.rx_descriptors = static_cast<std::uint16_t>(profile.rx_descriptors());
  row.tx_descriptors = static_cast<std::uint16_t>(profile.tx_descriptors());
  row.mtu = static_cast<std::uint16_t>(port.mtu());
  row.is_bifurcated = profile.bifurcated() ? 1 : 0;
  row.is_rss_stable = profile.rss().stable() ? 1 : 0;
  for (int i = 0; i < profile.steering_size() && i < 3; ++i)
    row.steering[i] = steering_of(profile.steering(i));
  return row;
}

void write_ports(SnapshotWriter& writer, const api::NodeSpec& spec, const NicProfiles& profiles) {
  for (int i = 0; i < spec.ports_size(); ++i) {
    const api::NodePort& port = spec.ports(i);
    if (port.parent().empty()) {
      writer.add(port_row(writer, port, i, profiles));
      continue;
    }
    const auto parent = std::find_if(spec.ports().begin(), spec.ports().end(),
                                     [&](const api::NodePort& other) { return other.name() == port.parent(); });
    LB_ASSERT(parent != spec.ports().end());  // validated
    const auto parent_index = static_cast<int>(parent - spec.ports().begin());
    PortRow row = port_row(writer, *parent, parent_index, profiles);  // what it says of the device is its parent's
    row.name = writer.name(port.name());
    row.vlan = static_cast<std::uint16_t>(port.vlan());
    row.parent = static_cast<std::uint16_t>(parent_index);
    row.mtu = static_cast<std::uint16_t>(port.mtu());
    writer.add(row);
  }
}

void write_addresses_and_routes(SnapshotWriter& writer, const api::NodeSpec& spec) {
  struct Connected {
    IpPrefix prefix;
    std::uint16_t port;
  };
  std::vector<Connected> connected;
  for (int p = 0; p < spec.ports_size(); ++p) {
    for (const std::string& text : spec.ports(p).addresses()) {
      AddressRow row{};
      row.address = *IpAddress::parse(text.substr(0, text.find('/')));
      row.port = static_cast<std::uint16_t>(p);
      row.prefix_length = IpPrefix::parse(text)->length;
      writer.add(row);
      const IpPrefix prefix = *IpPrefix::parse(text);
      const bool is_known = std::any_of(connected.begin(), connected.end(),
                                        [&](const Connected& c) { return c.prefix == prefix; });
      if (!is_known) connected.push_back({prefix, row.port});
    }
  }
  for (const std::string& text : spec.exception_port().addresses()) {
    constexpr std::uint8_t whole = 128;
    const IpAddress address = *IpAddress::parse(text);
    writer.add(AddressRow{address, exception_port, whole, {}});
    writer.add(RouteRow{address, {}, exception_port, whole, {}});
  }
  for (const Connected& network : connected) {
    writer.add(RouteRow{network.prefix.network, {}, network.port, network.prefix.length, {}});
  }
  std::vector<RouteRow> routes;
  for (const api::NodeRoute& route : spec.routes()) {
    const IpPrefix prefix = *IpPrefix::parse(route.prefix());
    const IpAddress next_hop = *IpAddress::parse(route.next_hop());
    const Connected* via = nullptr;  // the narrowest network that holds the next hop
    for (const Connected& network : connected) {
      if (!network.prefix.contains(next_hop)) continue;
      if (via == nullptr || network.prefix.length > via->prefix.length) via = &network;
    }
    LB_ASSERT(via != nullptr);  // validated
    routes.push_back({prefix.network, next_hop, via->port, prefix.length, {}});
  }
  std::sort(routes.begin(), routes.end(),
            [](const RouteRow& a, const RouteRow& b) { return a.network < b.network; });
  for (const RouteRow& row : routes) writer.add(row);
}

std::map<std::string, std::uint32_t> write_snat_pools(SnapshotWriter& writer,
                                                      const api::NodeSpec& spec) {
  std::map<std::string, const api::SnatPool*> sorted;
  for (const api::SnatPool& pool : spec.snat_pools()) sorted.emplace(pool.name(), &pool);
  std::map<std::string, std::uint32_t> rows;
  for (const auto& [name, pool] : sorted) {
    std::vector<IpAddress> addresses;
    for (const std::string& text : pool->addresses()) addresses.push_back(*IpAddress::parse(text));
    std::sort(addresses.begin(), addresses.end());
    rows[name] =
        writer.add_snat_pool(name, addresses, static_cast<std::uint16_t>(pool->port_first()),
                             static_cast<std::uint16_t>(pool->port_last()));
  }
  return rows;
}

std::uint64_t unit_ns(api::RateLimit::Unit unit) {
  constexpr std::uint64_t second = 1'000'000'000;
  return unit == api::RateLimit::HOUR     ? 3'600 * second
         : unit == api::RateLimit::MINUTE ? 60 * second
                                          : second;
}

RateLimitRow rate_row(const api::RateLimit& limit) {
  const std::uint64_t unit = unit_ns(limit.unit());
  return {unit / limit.total_number(), unit * limit.burst_multiplier()};
}

// The prefixes of the policies in order, and what becomes of sources that none of them lists.
std::vector<PrefixRule> source_rules(const std::vector<ObjectPtr>& policies) {
  std::vector<PrefixRule> rules;
  const auto add_default = [&](std::uint8_t action) {
    rules.push_back({*IpPrefix::parse("0.0.0.0/0"), action});
    rules.push_back({*IpPrefix::parse("::/0"), action});
  };
  for (const ObjectPtr& policy : policies) {
    const auto& spec = static_cast<const api::ServicePolicy&>(policy->effective()).spec();
    const bool is_allow = spec.has_allow_list();
    const api::SourceList& list = is_allow ? spec.allow_list() : spec.deny_list();
    for (const std::string& prefix : list.prefix_list().prefixes()) {
      rules.push_back(
          {*IpPrefix::parse(prefix), is_allow ? source_action::allow : source_action::deny});
    }
    const bool is_given =
        list.default_action_choice_case() != api::SourceList::DEFAULT_ACTION_CHOICE_NOT_SET;
    if (list.has_default_action_allow()) {
      add_default(source_action::allow);
    } else if (list.has_default_action_deny() || (is_allow && !is_given)) {
      add_default(source_action::deny);
    }
  }
  return rules;
}

void write_blocklist(SnapshotWriter& writer, const ObjectPtr& node, SlotCache* cache) {
  std::vector<IpPrefix> networks;
  std::vector<PrefixRule> rules;
  for (const std::string& text : node_spec(*node).blocklist()) {
    networks.push_back(*IpPrefix::parse(text));
    rules.push_back({networks.back(), 1});
  }
  if (networks.empty()) return;
  if (cache == nullptr) return writer.set_blocklist(networks, build_prefix_table(rules));
  std::erase_if(cache->blocklist, [&](const auto& known) { return known.first != node; });
  const auto [table, is_fresh] = cache->blocklist.try_emplace(node);
  if (is_fresh) table->second = build_prefix_table(rules);
  writer.set_blocklist(networks, table->second);
}

// What VIPs admit; VIPs with the same policies share a table.
class LimitsCompiler {
 public:
  LimitsCompiler(const ObjectStore& objects, SnapshotWriter& writer, SlotCache* cache)
      : objects_(objects), writer_(writer), cache_(cache) {}

  // For the VIP that was written last.
  void write(const ResolvedVip& vip) {
    const api::VirtualHostExtension& spec = virtual_host_spec(*vip.virtual_host).sluice();
    VipLimitsRow row = no_limits;
    row.flows_max = spec.connection_limit();
    if (spec.syn_cookies() == api::VirtualHostExtension::ON_THRESHOLD) row.cookie_threshold = spec.syn_cookie_threshold();
    if (spec.has_new_connections()) row.new_flows = rate_row(spec.new_connections());
    if (spec.has_new_connections_per_source()) {
      row.source_new_flows = rate_row(spec.new_connections_per_source());
    }
    if (spec.has_packets()) row.packets = rate_row(spec.packets());
    if (spec.has_packets_per_source()) row.source_packets = rate_row(spec.packets_per_source());
    if (spec.service_policies_size() > 0) row.sources = table_of(*vip.virtual_host);
    if (std::memcmp(&row, &no_limits, sizeof row) != 0) writer_.add_limits(row);
  }

  // Tables that no virtual host uses any more are forgotten.
  void finish() {
    if (cache_ != nullptr) {
      std::erase_if(cache_->sources,
                    [&](const auto& known) { return !rows_.contains(known.first); });
    }
  }

 private:
  std::uint32_t table_of(const Object& virtual_host) {
    std::vector<ObjectPtr> policies;
    for (const api::ObjectRef& reference :
         virtual_host_spec(virtual_host).sluice().service_policies()) {
      policies.push_back(
          objects_.find(target_of(reference, "service_policy", virtual_host.key().space)));
    }
    const auto [row, is_new] = rows_.try_emplace(policies, 0);
    if (!is_new) return row->second;
    if (cache_ == nullptr)
      return row->second = writer_.add(build_prefix_table(source_rules(policies)));
    const auto [table, is_fresh] = cache_->sources.try_emplace(policies);
    if (is_fresh) table->second = build_prefix_table(source_rules(policies));
    return row->second = writer_.add(table->second);
  }

  const ObjectStore& objects_;
  SnapshotWriter& writer_;
  SlotCache* cache_;
  std::map<std::vector<ObjectPtr>, std::uint32_t> rows_;
};

// Who may stand before VIPs with accept_proxy_protocol; equal lists share a table.
class ProxiesCompiler {
 public:
  explicit ProxiesCompiler(SnapshotWriter& writer) : writer_(writer) {}

  std::uint16_t row_of(const ResolvedVip& vip) {  // as VipRow::proxies
    const std::vector<std::string> prefixes = vip.proxies();
    if (prefixes.empty()) return 0;
    const auto [row, is_new] = rows_.try_emplace(prefixes, std::uint16_t{0});
    if (!is_new) return row->second;
    std::vector<PrefixRule> rules;
    for (const std::string& prefix : prefixes) rules.push_back({*IpPrefix::parse(prefix), 1});
    return row->second = static_cast<std::uint16_t>(writer_.add(build_prefix_table(rules)) + 1);
  }

 private:
  SnapshotWriter& writer_;
  std::map<std::vector<std::string>, std::uint16_t> rows_;
};

using Algorithm = api::ClusterExtension::Algorithm;

Algorithm algorithm_of(const api::ClusterSpec& spec) {
  if (spec.sluice().has_algorithm()) return spec.sluice().algorithm();
  switch (spec.loadbalancer_algorithm()) {
    case api::ClusterSpec::LEAST_REQUEST:
      return api::ClusterExtension::LEAST_REQUEST;
    case api::ClusterSpec::RING_HASH:
      return api::ClusterExtension::RING_HASH;
    case api::ClusterSpec::RANDOM:
      return api::ClusterExtension::RANDOM;
    default:
      return api::ClusterExtension::ROUND_ROBIN;
  }
}

Choice choice_of(Algorithm algorithm) {
  switch (algorithm) {
    case api::ClusterExtension::MAGLEV:
    case api::ClusterExtension::RING_HASH:
      return Choice::hash;
    case api::ClusterExtension::LEAST_REQUEST:
      return Choice::least;
    case api::ClusterExtension::RANDOM:
      return Choice::random;
    default:
      return Choice::rotate;
  }
}

std::vector<std::uint16_t> build_slots(Algorithm algorithm, std::uint32_t maglev_size,
                                       const std::vector<SlotEndpoint>& endpoints) {
  switch (algorithm) {
    case api::ClusterExtension::MAGLEV:
      return maglev_slots(endpoints, maglev_size);
    case api::ClusterExtension::RING_HASH:
      return ring_slots(endpoints);
    case api::ClusterExtension::LEAST_REQUEST: {  // each once: the dataplane compares load by
                                                  // weight itself
      std::vector<std::uint16_t> slots;
      for (const SlotEndpoint& endpoint : endpoints) {
        if (endpoint.takes_flows != 0) slots.push_back(endpoint.index);
      }
      return slots;
    }
    default:
      return sequence_slots(endpoints);
  }
}

std::string made_from(Algorithm algorithm, std::uint32_t maglev_size,
                      const std::vector<SlotEndpoint>& endpoints) {
  std::string text = fmt::format("{} {}", static_cast<int>(algorithm), maglev_size);
  text.append(reinterpret_cast<const char*>(endpoints.data()),
              endpoints.size() * sizeof(SlotEndpoint));
  return text;
}
static_assert(sizeof(SlotEndpoint) == 16);

std::optional<std::uint64_t> drain_deadline(const Object& cluster, const ObjectKey& endpoint,
                                            const Drains& drains) {
  const auto since = drains.find(endpoint);
  if (since == drains.end() || !cluster_spec(cluster).sluice().has_drain_timeout())
    return std::nullopt;
  return since->second + cluster_spec(cluster).sluice().drain_timeout();
}

// How far an endpoint that came up has been let in: tenths of its weight, and when there will be one more.
constexpr std::uint16_t ramp_steps = 10;
struct Ramp {
  std::uint16_t tenths = ramp_steps;
  std::optional<std::uint64_t> next_unix_ms;
};

Ramp ramp_of(const Object& cluster, const EndpointStatus& status, std::uint64_t now_unix_ms) {
  const api::ClusterExtension& spec = cluster_spec(cluster).sluice();
  if (!spec.has_slow_start() || status.state != EndpointState::up || !status.is_checked) return {};
  const std::uint64_t age_ms = now_unix_ms > status.since_unix_ms ? now_unix_ms - status.since_unix_ms : 0;
  const std::uint64_t step_ms = spec.slow_start() / ramp_steps;
  const std::uint64_t step = age_ms / step_ms;
  if (step + 1 >= ramp_steps) return {};
  return {static_cast<std::uint16_t>(step + 1), status.since_unix_ms + (step + 1) * step_ms};
}

struct ClusterResult {
  std::uint32_t row = 0;
  bool is_pending = false;  // no health verdict says yet whether anything answers
};

Forwarding forwarding_of(const api::ClusterSpec& spec) {
  switch (spec.sluice().forwarding()) {
    case api::ClusterExtension::NAT:
      return Forwarding::nat;
    case api::ClusterExtension::SPLICE:
      return Forwarding::splice;
    case api::ClusterExtension::DSR_L2:
      return Forwarding::dsr_l2;
    case api::ClusterExtension::DSR_IPIP:
      return Forwarding::dsr_ipip;
    case api::ClusterExtension::DSR_GUE:
      return Forwarding::dsr_gue;
    default:
      return Forwarding::full_nat;
  }
}

ProxyProtocol proxy_protocol_of(const api::ClusterSpec& spec) {
  if (spec.has_proxy_protocol_v1()) return ProxyProtocol::version_1;
  return spec.has_proxy_protocol_v2() ? ProxyProtocol::version_2 : ProxyProtocol::none;
}

std::string bytes_of_hex(const std::string& digits) {
  std::string bytes;
  for (std::size_t at = 0; at + 2 <= digits.size(); at += 2) {
    bytes += static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16));
  }
  return bytes;
}

class ClusterCompiler {
 public:
  ClusterCompiler(const CompileInput& input, SnapshotWriter& writer,
                  const std::map<std::string, std::uint32_t>& snat_pools, const NodePaths& paths,
                  SlotCache* cache)
      : input_(input), writer_(writer), snat_pools_(snat_pools), paths_(paths), cache_(cache) {}

  ClusterResult write(const Object& cluster) {
    const api::ClusterSpec& spec = cluster_spec(cluster);
    const auto endpoints = endpoints_of(input_.objects, cluster);
    std::vector<EndpointRow> rows;
    std::vector<SlotEndpoint> members;
    bool has_unknown = false;
    bool has_up = false;
    std::uint8_t first_priority = UINT8_MAX;
    std::vector<std::uint16_t> tenths;
    for (const ResolvedEndpoint& endpoint : endpoints) {
      const EndpointState state = state_of(cluster, endpoint.object->key(), endpoint.protocol);
      EndpointRow row{};
      row.address = endpoint.address;
      row.name = writer_.name(endpoint.object->key().name);
      row.id = *input_.ids.endpoints.find(endpoint_id_key(cluster, endpoint));
      row.port = be16(endpoint.port);
      row.weight = endpoint.weight;
      row.protocol = endpoint.protocol;
      row.state = state;
      row.tunnel_source = tunnel_source(spec, endpoint.address);
      SlotEndpoint member{};
      member.identity = endpoint_identity(endpoint.address, endpoint.port, endpoint.protocol);
      member.index = static_cast<std::uint16_t>(rows.size());
      member.weight = endpoint.weight;
      tenths.push_back(ramp_of(cluster, endpoint_health(cluster, endpoint.object->key(), input_.health), input_.now_unix_ms).tenths);
      member.takes_flows = state == EndpointState::up ? 1 : 0;
      if (member.takes_flows != 0) first_priority = std::min(first_priority, endpoint.priority);
      members.push_back(member);
      has_unknown = has_unknown || state == EndpointState::unknown;
      has_up = has_up || state == EndpointState::up;
      rows.push_back(row);
    }

    // While one is let in slowly, all weights are tenths.
    if (std::any_of(tenths.begin(), tenths.end(), [](std::uint16_t share) { return share < ramp_steps; })) {
      for (std::size_t i = 0; i < members.size(); ++i) {
        members[i].weight = rows[i].weight = static_cast<std::uint16_t>(members[i].weight * tenths[i]);
      }
    }
    // Backups wait while an endpoint of a lower number is up.
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (endpoints[i].priority != first_priority) members[i].takes_flows = 0;
    }

    const Algorithm algorithm = algorithm_of(spec);
    ClusterRow row{};
    row.endpoint_flows_max = spec.sluice().endpoint_connection_limit();
    row.name = writer_.name(cluster.key().name);
    row.id = *input_.ids.clusters.find(cluster_id_key(cluster));
    row.forwarding = forwarding_of(spec);
    row.proxy_protocol = proxy_protocol_of(spec);
    row.is_lb_port = spec.sluice().has_lb_port() ? 1 : 0;
    if (spec.sluice().has_source_persistence()) {
      row.source_length_v4 = static_cast<std::uint8_t>(96 + spec.sluice().source_persistence().ipv4_prefix_length());
      row.source_length_v6 = static_cast<std::uint8_t>(spec.sluice().source_persistence().ipv6_prefix_length());
    }
    row.snat_pool =
        has_snat(row.forwarding) ? snat_pools_.at(spec.sluice().snat_pool()) : no_row;
    row.gue_port = spec.sluice().has_gue_port()
                       ? be16(static_cast<std::uint16_t>(spec.sluice().gue_port()))
                       : gue_port;
    row.choice = choice_of(algorithm);
    std::vector<std::uint16_t> fresh;
    const auto& slots =
        slots_for(cluster.key(), algorithm, spec.sluice().maglev_size(), members, fresh);
    const std::uint32_t added = writer_.add_cluster(row, rows, slots);
    for (std::uint32_t i = 0; i < endpoints.size(); ++i) {
      const std::string& digits = endpoints[i].spec().sluice().quic_server_id();
      if (!digits.empty()) writer_.add_quic_server(added, i, bytes_of_hex(digits));
    }
    return {added, has_unknown && !has_up};
  }

 private:
  std::uint16_t tunnel_source(const api::ClusterSpec& spec, IpAddress endpoint) const {
    if (!has_tunnel(forwarding_of(spec))) return 0;
    const auto path = paths_.toward(endpoint);
    LB_ASSERT(path && path->source);  // validated
    return *path->source;
  }

  static bool flows_end_when_down(const Object& cluster, std::uint8_t protocol) {
    const auto what = cluster_spec(cluster).sluice().on_endpoint_down();
    return what == api::ClusterExtension::RESET ||
           (what == api::ClusterExtension::REPICK && protocol == protocol_udp);
  }

  EndpointState state_of(const Object& cluster, const ObjectKey& endpoint, std::uint8_t protocol) const {
    if (!input_.drains.contains(endpoint)) {
      const EndpointState state = endpoint_health(cluster, endpoint, input_.health).state;
      return state == EndpointState::down && flows_end_when_down(cluster, protocol) ? EndpointState::ended : state;
    }
    const auto deadline = drain_deadline(cluster, endpoint, input_.drains);
    return deadline && *deadline <= input_.now_unix_ms ? EndpointState::ended
                                                       : EndpointState::draining;
  }

  const std::vector<std::uint16_t>& slots_for(const ObjectKey& cluster, Algorithm algorithm,
                                              std::uint32_t maglev_size,
                                              const std::vector<SlotEndpoint>& members,
                                              std::vector<std::uint16_t>& fresh) {
    if (cache_ == nullptr) return fresh = build_slots(algorithm, maglev_size, members);
    std::string key = made_from(algorithm, maglev_size, members);
    if (const auto* kept = cache_->find(cluster, key)) return *kept;
    return cache_->keep(cluster, std::move(key), build_slots(algorithm, maglev_size, members));
  }

  const CompileInput& input_;
  SnapshotWriter& writer_;
  const std::map<std::string, std::uint32_t>& snat_pools_;
  const NodePaths& paths_;
  SlotCache* cache_;
};

std::uint8_t quic_of(const api::VirtualHostSpec& spec) {
  if (!spec.sluice().has_quic()) return 0;
  const api::QuicRouting& quic = spec.sluice().quic();
  return QuicRouting{static_cast<std::uint8_t>(quic.config_rotation()), static_cast<std::uint8_t>(quic.server_id_length())}.packed();
}

VipPorts ports_kind_of(const ResolvedVip& vip) {
  if (vip.has_all_ports()) return VipPorts::all;
  return vip.ports.size() == 1 && vip.ports.front().is_single() ? VipPorts::one : VipPorts::ranges;
}

SynCookies syn_cookies_of(const api::VirtualHostSpec& spec) {
  switch (spec.sluice().syn_cookies()) {
    case api::VirtualHostExtension::ALWAYS:
      return SynCookies::always;
    case api::VirtualHostExtension::ON_THRESHOLD:
      return SynCookies::on_threshold;
    default:
      return SynCookies::never;
  }
}

}  // namespace

const std::vector<std::uint16_t>* SlotCache::find(const ObjectKey& cluster,
                                                  const std::string& made_from) const {
  const auto found = entries_.find(cluster);
  return found != entries_.end() && found->second.made_from == made_from ? &found->second.slots
                                                                         : nullptr;
}

const std::vector<std::uint16_t>& SlotCache::keep(const ObjectKey& cluster, std::string made_from,
                                                  std::vector<std::uint16_t> slots) {
  Entry& entry = entries_[cluster];
  entry = {std::move(made_from), std::move(slots)};
  return entry.slots;
}

EndpointStatus endpoint_health(const Object& cluster, const ObjectKey& endpoint,
                               const HealthRecords& health) {
  EndpointStatus status;
  bool is_unknown = false;
  bool is_down = false;
  for (const api::ObjectRef& reference : cluster_spec(cluster).health_checks()) {
    const ObjectKey check = target_of(reference, "healthcheck", cluster.key().space);
    const auto found = health.find({endpoint, check});
    status.is_checked = true;
    if (found == health.end() || found->second.verdict == HealthVerdict::unknown) {
      is_unknown = true;
      if (status.reason.empty()) status.reason = "no probe has finished yet";
      continue;
    }
    status.since_unix_ms = std::max(status.since_unix_ms, found->second.since_unix_ms);
    if (found->second.verdict == HealthVerdict::down) {
      is_down = true;
      status.reason = check.name + ": " + found->second.reason;
    }
  }
  status.state = is_down      ? EndpointState::down
                 : is_unknown ? EndpointState::unknown
                              : EndpointState::up;
  if (status.state == EndpointState::up) status.reason.clear();
  return status;
}

std::optional<std::uint64_t> next_change(const ObjectStore& objects, const Drains& drains, const HealthRecords& health,
                                         std::uint64_t now_unix_ms) {
  std::optional<std::uint64_t> next;
  const auto consider = [&](std::optional<std::uint64_t> moment) {
    if (moment && *moment > now_unix_ms && (!next || *moment < *next)) next = moment;
  };
  for (const ObjectPtr& cluster : objects.of_kind("cluster")) {
    const bool has_ramp = cluster_spec(*cluster).sluice().has_slow_start();
    if (drains.empty() && !has_ramp) continue;
    for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *cluster)) {
      const ObjectKey& key = endpoint.object->key();
      consider(drain_deadline(*cluster, key, drains));
      if (has_ramp) consider(ramp_of(*cluster, endpoint_health(*cluster, key, health), now_unix_ms).next_unix_ms);
    }
  }
  return next;
}

namespace {

// What virtual hosts share that are told apart by server name.
struct Listener {
  std::uint32_t row = 0;
  std::vector<SnapshotWriter::NamePattern> patterns;  // in the order in which they are asked
};
using Listeners = std::map<std::string, Listener>;  // by address and port

// A virtual host with server names, and before it the VIP that it shares with others.
void write_named(SnapshotWriter& writer, const ResolvedVip& vip, VipRow row, std::uint32_t listener_id,
                 Listeners& listeners) {
  const api::VirtualHostSpec& spec = virtual_host_spec(*vip.virtual_host);
  const auto [known, is_new] = listeners.try_emplace(vip.text());
  Listener& listener = known->second;
  if (is_new) {
    VipRow shared = row;
    shared.id = static_cast<std::uint16_t>(listener_id);
    shared.virtual_host = writer.name("");
    shared.state = VipState::ready;
    shared.is_peeking = 1;
    listener.row = writer.add(shared);
  }
  row.is_named = 1;
  const std::uint32_t own = writer.add(row);
  for (const std::string& domain : spec.domains()) {
    if (spec.sluice().alpn().empty()) writer.add_server_name(listener.row, domain, "", own);
    for (const std::string& protocol : spec.sluice().alpn()) {
      writer.add_server_name(listener.row, domain, protocol, own);
    }
  }
  std::string protocols;
  for (const std::string& protocol : spec.sluice().alpn()) {
    protocols += static_cast<char>(protocol.size());
    protocols += protocol;
  }
  for (const std::string& expression : spec.sluice().domain_regexes()) {
    listener.patterns.push_back({expression, protocols, own});
  }
  if (spec.has_default_loadbalancer()) writer.set_default_vip(listener.row, own);
  writer.raise_hello_timeout(listener.row, row.hello_timeout_ms);
}

Result<void> write_name_patterns(SnapshotWriter& writer, const Listeners& listeners, SlotCache* cache) {
  std::map<std::vector<std::string>, std::vector<std::byte>> databases;  // those of this snapshot
  for (const auto& [place, listener] : listeners) {
    if (listener.patterns.empty()) continue;
    std::vector<std::string> expressions;
    for (const auto& pattern : listener.patterns) expressions.push_back(pattern.expression);
    if (cache != nullptr) databases.insert(cache->name_patterns.extract(expressions));
    auto database = databases.find(expressions);
    if (database == databases.end()) {
      auto built = build_name_patterns(expressions);
      if (!built) return fail(fmt::format("{}: the domain_regexes of its virtual hosts: {}", place, built.error().message));
      database = databases.emplace(std::move(expressions), std::move(*built)).first;
    }
    writer.add_name_patterns(listener.row, listener.patterns, database->second);
  }
  if (cache != nullptr) cache->name_patterns = std::move(databases);
  return {};
}

}  // namespace

Result<SnapshotBuffer> compile(const CompileInput& input, SlotCache* cache) {
  const ObjectPtr node = node_of(input.objects);
  if (node == nullptr) return fail("there is no node object: apply one with at least one port");
  SnapshotWriter writer;
  write_node(writer, *node);
  const api::NodeSpec& spec = node_spec(*node);
  write_ports(writer, spec, input.profiles);
  write_addresses_and_routes(writer, spec);
  write_blocklist(writer, node, cache);
  const auto snat_pools = write_snat_pools(writer, spec);

  const auto vips = vips_of(input.objects);
  LimitsCompiler limits(input.objects, writer, cache);
  ProxiesCompiler proxies(writer);
  const NodePaths paths(spec);
  ClusterCompiler clusters(input, writer, snat_pools, paths, cache);
  std::map<ObjectKey, ClusterResult> cluster_rows;
  for (const ObjectPtr& cluster : compiled_clusters(vips))
    cluster_rows[cluster->key()] = clusters.write(*cluster);
  Listeners listeners;
  for (const ResolvedVip& vip : vips) {
    const ClusterResult& cluster = cluster_rows.at(vip.cluster->key());
    VipRow row{};
    row.address = vip.address;
    row.name = writer.name(vip.policy->key().name);
    row.virtual_host = writer.name(vip.virtual_host->key().name);
    row.id = static_cast<std::uint16_t>(*input.ids.vips.find(vip_id_key(vip)));
    row.cluster = cluster.row;
    row.idle_timeout_ms = idle_timeout_ms_of(virtual_host_spec(*vip.virtual_host));
    row.ports = ports_kind_of(vip);
    row.port = be16(vip.has_all_ports() ? std::uint16_t{0} : vip.ports.front().first);
    row.prefix_length = vip.prefix_length;
    row.protocol = vip.protocol;
    row.is_reset_on_expiry = virtual_host_spec(*vip.virtual_host).sluice().reset_on_expiry() ? 1 : 0;
    row.mss_max =
        static_cast<std::uint16_t>(virtual_host_spec(*vip.virtual_host).sluice().mss_max());
    row.state = cluster.is_pending ? VipState::pending : VipState::ready;
    row.syn_cookies = syn_cookies_of(virtual_host_spec(*vip.virtual_host));
    row.hello_timeout_ms = virtual_host_spec(*vip.virtual_host).sluice().hello_timeout();
    row.proxies = proxies.row_of(vip);
    row.default_vip = no_row;
    row.quic = quic_of(virtual_host_spec(*vip.virtual_host));
    row.is_one_packet = virtual_host_spec(*vip.virtual_host).sluice().one_packet() ? 1 : 0;
    if (vip.is_named()) {
      write_named(writer, vip, row, *input.ids.vips.find(listener_id_key(vip)), listeners);
    } else {
      const std::uint32_t added = writer.add(row);
      if (row.ports == VipPorts::ranges) {
        for (const PortRange& ports : vip.ports) writer.add_ports(added, ports);
      }
    }
    limits.write(vip);
  }
  limits.finish();
  if (auto written = write_name_patterns(writer, listeners, cache); !written) return tl::unexpected(written.error());
  return writer.finish(input.generation);
}

}  // namespace sluice
