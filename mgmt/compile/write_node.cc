// The node: its row, ports, addresses, routes, blocklist and SNAT pools.
#include <algorithm>
#include <cstring>

#include "dataplane/base/assert.h"
#include "dataplane/net/headers.h"
#include "mgmt/compile/sections.h"
#include "mgmt/schema/resolve.h"

namespace sluice {
namespace {

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

void write_node_row(SnapshotWriter& writer, const Object& node) {
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

SnatPoolRows write_snat_pools(SnapshotWriter& writer, const api::NodeSpec& spec) {
  std::map<std::string, const api::SnatPool*> sorted;
  for (const api::SnatPool& pool : spec.snat_pools()) sorted.emplace(pool.name(), &pool);
  SnatPoolRows rows;
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

}  // namespace

SnatPoolRows write_node(SnapshotWriter& writer, const ObjectPtr& node, const NicProfiles& profiles, SlotCache* cache) {
  const api::NodeSpec& spec = node_spec(*node);
  write_node_row(writer, *node);
  write_ports(writer, spec, profiles);
  write_addresses_and_routes(writer, spec);
  write_blocklist(writer, node, cache);
  return write_snat_pools(writer, spec);
}

}  // namespace sluice
