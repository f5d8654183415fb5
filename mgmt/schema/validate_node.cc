// Rules of the node: ports, addresses, routes, SNAT pools.
#include <fmt/core.h>

#include <map>
#include <set>

#include "mgmt/model/suggest.h"
#include "mgmt/model/table_limits.h"
#include "mgmt/schema/rules.h"

namespace sluice {
namespace {

struct Network {
  IpAddress own;
  IpPrefix prefix;
  std::string port;
};

std::vector<Network> networks_of(const api::NodeSpec& spec) {
  std::vector<Network> networks;
  for (const api::NodePort& port : spec.ports()) {
    for (const std::string& text : port.addresses()) {
      networks.push_back(
          {*IpAddress::parse(text.substr(0, text.find('/'))), *IpPrefix::parse(text), port.name()});
    }
  }
  return networks;
}

std::string unusable_reason(IpAddress address) {
  if (address.is_multicast()) return "a multicast address";
  if (address.is_loopback()) return "a loopback address";
  if (address.is_unspecified()) return "the unspecified address";
  if (address.is_broadcast()) return "the broadcast address";
  return {};
}

void check_sub_interface(const ObjectKey& key, const api::NodeSpec& spec, int index, Findings& findings) {
  const api::NodePort& port = spec.ports(index);
  const std::string path = fmt::format("spec.ports[{}]", index);
  std::vector<std::string> parents;
  const api::NodePort* parent = nullptr;
  for (const api::NodePort& other : spec.ports()) {
    if (!other.parent().empty()) continue;
    parents.push_back(other.name());
    if (other.name() == port.parent()) parent = &other;
  }
  if (parent == nullptr) {
    findings.error(key, path + ".parent", fmt::format("no port '{}' that could have sub-interfaces", port.parent()),
                   "one of " + list_text(parents), closest(port.parent(), parents));
    return;
  }
  if (port.vlan() == 0) {
    findings.error(key, path + ".vlan", fmt::format("sub-interface {} has no VLAN id", port.name()), "1 to 4094");
  }
  if (!port.profile().empty() || !port.device().empty()) {
    findings.error(key, path + (port.profile().empty() ? ".device" : ".profile"),
                   fmt::format("sub-interface {} has the device of its parent {}", port.name(), port.parent()),
                   "neither profile nor device");
  }
  if (port.mtu() > parent->mtu()) {
    findings.error(key, path + ".mtu", fmt::format("MTU {} is above that of its parent {}", port.mtu(), port.parent()),
                   fmt::format("at most {}", parent->mtu()));
  }
  for (int i = 0; i < index; ++i) {
    if (spec.ports(i).parent() != port.parent() || spec.ports(i).vlan() != port.vlan()) continue;
    findings.error(key, path + ".vlan",
                   fmt::format("VLAN {} of port {} is that of sub-interface {} already", port.vlan(), port.parent(), spec.ports(i).name()),
                   "a VLAN of its own");
  }
}

void check_ports(const ObjectKey& key, const api::NodeSpec& spec, const NicProfiles& profiles,
                 Findings& findings) {
  std::map<std::string, int> names;
  std::map<std::string, int> devices;
  for (int i = 0; i < spec.ports_size(); ++i) {
    const api::NodePort& port = spec.ports(i);
    const std::string path = fmt::format("spec.ports[{}]", i);
    if (const auto [first, is_new] = names.try_emplace(port.name(), i); !is_new) {
      findings.error(key, path + ".name",
                     fmt::format("two ports are called '{}': ports[{}] and ports[{}]", port.name(),
                                 first->second, i),
                     "a name of its own");
    }
    if (!port.parent().empty()) {
      check_sub_interface(key, spec, i, findings);
      continue;
    }
    if (port.vlan() != 0) {
      findings.error(key, path + ".vlan", fmt::format("port {} has a VLAN id and no parent", port.name()),
                     "the port that carries the VLAN as parent");
    }
    if (port.device().empty()) {
      findings.error(key, path + ".device", fmt::format("port {} has no device", port.name()),
                     "an interface, PCI address or socket, as the profile wants it");
    }
    if (const auto [first, is_new] = devices.try_emplace(port.device(), i); !is_new) {
      findings.error(key, path + ".device",
                     fmt::format("device {} is used by two ports: {} and {}", port.device(),
                                 spec.ports(first->second).name(), port.name()),
                     "a device of its own");
    }
    const auto profile = profiles.find(port.profile());
    if (profile == profiles.end()) {
      const auto known = profile_names(profiles);
      findings.error(key, path + ".profile",
                     fmt::format("unknown NIC profile '{}'", port.profile()),
                     "one of " + list_text(known), closest(port.profile(), known));
      continue;
    }
    const api::NicProfileSpec& limits = profile->second.spec();
    if (port.queues() > limits.queues_max()) {
      findings.error(
          key, path + ".queues",
          fmt::format("{} queues are more than profile {} has", port.queues(), port.profile()),
          fmt::format("at most {}", limits.queues_max()));
    }
    if (port.mtu() > limits.mtu_max()) {
      findings.error(key, path + ".mtu",
                     fmt::format("MTU {} is above that of profile {}", port.mtu(), port.profile()),
                     fmt::format("at most {}", limits.mtu_max()));
    }
  }
}

void check_addresses(const ObjectKey& key, const api::NodeSpec& spec, Findings& findings) {
  std::map<IpAddress, std::string> owners;
  for (int p = 0; p < spec.ports_size(); ++p) {
    for (int a = 0; a < spec.ports(p).addresses_size(); ++a) {
      const std::string& text = spec.ports(p).addresses(a);
      const std::string path = fmt::format("spec.ports[{}].addresses[{}]", p, a);
      const IpAddress address = *IpAddress::parse(text.substr(0, text.find('/')));
      if (const std::string reason = unusable_reason(address); !reason.empty()) {
        findings.error(key, path, fmt::format("{} is {}", address.text(), reason),
                       "a unicast address");
      }
      const auto [owner, is_new] = owners.try_emplace(address, "port " + spec.ports(p).name());
      if (!is_new) {
        findings.error(key, path,
                       fmt::format("{} is claimed twice: by {} and by port {}", address.text(),
                                   owner->second, spec.ports(p).name()),
                       "an address of its own");
      }
    }
  }
  for (int a = 0; a < spec.exception_port().addresses_size(); ++a) {
    const std::string& text = spec.exception_port().addresses(a);
    const std::string path = fmt::format("spec.exception_port.addresses[{}]", a);
    const IpAddress address = *IpAddress::parse(text);
    const std::string reason = address.is_link_local() ? "a link-local address" : unusable_reason(address);
    if (!reason.empty()) findings.error(key, path, fmt::format("{} is {}", text, reason), "a unicast address");
    const auto [owner, is_new] = owners.try_emplace(address, "the exception port");
    if (is_new) continue;
    findings.error(key, path,
                   fmt::format("{} is claimed twice: by {} and by the exception port", text, owner->second),
                   "an address of its own");
  }
  for (int p = 0; p < spec.snat_pools_size(); ++p) {
    for (int a = 0; a < spec.snat_pools(p).addresses_size(); ++a) {
      const std::string path = fmt::format("spec.snat_pools[{}].addresses[{}]", p, a);
      const IpAddress address = *IpAddress::parse(spec.snat_pools(p).addresses(a));
      if (const std::string reason = unusable_reason(address); !reason.empty()) {
        findings.error(key, path, fmt::format("{} is {}", address.text(), reason),
                       "a unicast address");
      }
      const auto [owner, is_new] =
          owners.try_emplace(address, "SNAT pool " + spec.snat_pools(p).name());
      if (!is_new) {
        findings.error(key, path,
                       fmt::format("{} is claimed twice: by {} and by SNAT pool {}", address.text(),
                                   owner->second, spec.snat_pools(p).name()),
                       "an address of its own");
      }
    }
  }
}

void check_pools(const ObjectKey& key, const api::NodeSpec& spec, Findings& findings) {
  std::set<std::string> names;
  for (int i = 0; i < spec.snat_pools_size(); ++i) {
    const api::SnatPool& pool = spec.snat_pools(i);
    const std::string path = fmt::format("spec.snat_pools[{}]", i);
    if (!names.insert(pool.name()).second) {
      findings.error(key, path + ".name",
                     fmt::format("two SNAT pools are called '{}'", pool.name()),
                     "a name of its own");
    }
    if (pool.port_first() > pool.port_last()) {
      findings.error(key, path + ".port_first",
                     fmt::format("the first port {} is above the last port {}", pool.port_first(),
                                 pool.port_last()),
                     "port_first <= port_last");
    } else if (pool.port_last() - pool.port_first() + 1 <
               static_cast<std::uint32_t>(spec.workers_size())) {
      findings.error(key, path,
                     fmt::format("{} ports are fewer than the {} workers that share them",
                                 pool.port_last() - pool.port_first() + 1, spec.workers_size()),
                     "at least one port for each worker");
    }
  }
}

void check_routes(const ObjectKey& key, const api::NodeSpec& spec, Findings& findings) {
  const std::vector<Network> networks = networks_of(spec);
  std::set<std::string> prefixes;
  for (int i = 0; i < spec.routes_size(); ++i) {
    const api::NodeRoute& route = spec.routes(i);
    const std::string path = fmt::format("spec.routes[{}]", i);
    const IpPrefix prefix = *IpPrefix::parse(route.prefix());
    const IpAddress next_hop = *IpAddress::parse(route.next_hop());
    if (!prefixes.insert(prefix.text()).second) {
      findings.error(key, path + ".prefix", fmt::format("two routes lead to {}", prefix.text()),
                     "one next hop");
    }
    if (prefix.is_v4() != next_hop.is_v4() && !(prefix.length == 96 && next_hop.is_v4())) {
      findings.error(key, path + ".next_hop",
                     fmt::format("{} is not of the family of {}", route.next_hop(), route.prefix()),
                     "a next hop of the same family");
      continue;
    }
    bool is_reachable = false;
    std::vector<std::string> known;
    for (const Network& network : networks) {
      if (network.own == next_hop) {
        findings.error(
            key, path + ".next_hop",
            fmt::format("{} is this box's own address on port {}", route.next_hop(), network.port),
            "the address of a neighbour");
      }
      is_reachable = is_reachable || network.prefix.contains(next_hop);
      known.push_back(fmt::format("{} (port {})", network.prefix.text(), network.port));
    }
    if (!is_reachable) {
      findings.error(key, path + ".next_hop",
                     fmt::format("{} is in the network of no port", route.next_hop()),
                     known.empty() ? "an address on a port" : "an address in " + list_text(known));
    }
  }
  const std::size_t route_count =
      networks.size() + static_cast<std::size_t>(spec.routes_size() + spec.exception_port().addresses_size());
  if (route_count > limits::routes) {
    findings.error(key, "spec.routes",
                   fmt::format("{} routes, connected networks included, are too many", route_count),
                   fmt::format("at most {}", limits::routes));
  }
}

void check_host_addresses(const ObjectKey& key, const api::NodeSpec& spec,
                          const ValidationWorld& world, Findings& findings) {
  const std::string tap = spec.has_exception_port() ? spec.exception_port().interface() : "";
  for (const HostAddress& host : world.host_addresses) {
    if (host.interface == tap) continue;
    for (int p = 0; p < spec.snat_pools_size(); ++p) {
      for (int a = 0; a < spec.snat_pools(p).addresses_size(); ++a) {
        if (*IpAddress::parse(spec.snat_pools(p).addresses(a)) != host.address) continue;
        findings.error(key, fmt::format("spec.snat_pools[{}].addresses[{}]", p, a),
                       fmt::format("{} is an address of this host, on interface {}",
                                   host.address.text(), host.interface),
                       "an address that the kernel does not hold");
      }
    }
    for (const Network& network : networks_of(spec)) {
      if (network.own != host.address) continue;
      findings.warnings.push_back(
          fmt::format("node {}: port {} takes {} from the host, which holds it on interface {}: "
                      "connections of the host with that address stop working",
                      key.name, network.port, host.address.text(), host.interface));
    }
  }
}

}  // namespace

void validate_node(const ObjectStore& objects, const ValidationWorld& world, Findings& findings) {
  const auto nodes = objects.of_kind("node");
  for (std::size_t i = 1; i < nodes.size(); ++i) {
    findings.error(nodes[i]->key(), "metadata.name",
                   fmt::format("a second node; {} exists already", nodes[0]->key().text()),
                   "one node for a box", nodes[0]->key().name);
  }
  if (nodes.empty()) {
    const auto virtual_hosts = objects.of_kind("virtual_host");
    if (!virtual_hosts.empty()) {
      findings.error(virtual_hosts[0]->key(), "",
                     fmt::format("{} has no box to run on: there is no node object",
                                 virtual_hosts[0]->key().text()),
                     "a node object with at least one port");
    }
    return;
  }
  const ObjectKey& key = nodes[0]->key();
  const api::NodeSpec& spec = node_spec(*nodes[0]);
  std::set<std::uint32_t> cpus;
  for (int i = 0; i < spec.workers_size(); ++i) {
    if (cpus.insert(spec.workers(i)).second) continue;
    findings.error(key, fmt::format("spec.workers[{}]", i),
                   fmt::format("CPU {} is given twice", spec.workers(i)),
                   "a CPU of its own for each worker");
  }
  check_ports(key, spec, world.profiles, findings);
  check_addresses(key, spec, findings);
  check_pools(key, spec, findings);
  check_routes(key, spec, findings);
  check_host_addresses(key, spec, world, findings);
}

}  // namespace sluice
