// Rules between virtual_host, route, cluster, endpoint and the rest.
#include "mgmt/schema/validate.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "dataplane/net/name_patterns.h"
#include "mgmt/api/healthcheck.pb.h"
#include "mgmt/model/field_rules.h"
#include "mgmt/model/fields.h"
#include "mgmt/model/suggest.h"
#include "mgmt/model/table_limits.h"
#include "mgmt/schema/paths.h"
#include "mgmt/schema/resolve.h"

namespace sluice {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool is_prime(std::uint32_t number) {
  if (number < 2) return false;
  for (std::uint32_t d = 2; d * d <= number; ++d) {
    if (number % d == 0) return false;
  }
  return true;
}

std::uint32_t next_prime(std::uint32_t number) {
  while (!is_prime(number)) ++number;
  return number;
}

// Every reference of an object names an object that exists. Found by the schema's `refers_to`.
class ReferenceChecker {
 public:
  ReferenceChecker(const ObjectStore& objects, Findings& findings)
      : objects_(objects), findings_(findings) {}

  void check(const Object& object) { walk(object, object.effective(), ""); }

 private:
  void walk(const Object& object, const Message& message, const std::string& path) {
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
      const std::string field_path = path.empty() ? field->name() : path + "." + field->name();
      const Reflection& reflection = *message.GetReflection();
      if (!field->is_repeated()) {
        walk(object, reflection.GetMessage(message, field), field_path);
        continue;
      }
      const std::string& kind = rule_of(*field).refers_to();
      std::set<ObjectKey> seen;
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        const Message& item = reflection.GetRepeatedMessage(message, field, i);
        const std::string item_path = fmt::format("{}[{}]", field_path, i);
        if (kind.empty()) {
          walk(object, item, item_path);
        } else {
          check_reference(object, static_cast<const api::ObjectRef&>(item), kind, item_path, seen);
        }
      }
    }
  }

  void check_reference(const Object& object, const api::ObjectRef& reference,
                       const std::string& kind, const std::string& path,
                       std::set<ObjectKey>& seen) {
    if (reference.has_kind() && reference.kind() != kind) {
      findings_.error(object.key(), path + ".kind",
                      fmt::format("a reference of kind '{}' does not fit here", reference.kind()),
                      kind);
      return;
    }
    const ObjectKey target = target_of(reference, kind, object.key().space);
    if (!seen.insert(target).second) {
      findings_.error(object.key(), path + ".name",
                      fmt::format("{} is listed twice", target.text()), "one reference to it");
      return;
    }
    if (objects_.find(target) != nullptr) return;
    const auto names = objects_.names(kind, target.space);
    findings_.error(
        object.key(), path + ".name",
        fmt::format("{} refers to {}, which does not exist", object.key().text(), target.text()),
        names.empty() ? fmt::format("a {} object of that name", kind)
                      : fmt::format("one of the {} objects: {}", kind, list_text(names, 8)),
        closest(target.name, names));
  }

  const ObjectStore& objects_;
  Findings& findings_;
};

void check_vip_address(const ResolvedVip& vip, Findings& findings) {
  const char* reason = vip.address.is_multicast()     ? "a multicast address"
                       : vip.address.is_loopback()    ? "a loopback address"
                       : vip.address.is_unspecified() ? "the unspecified address"
                       : vip.address.is_broadcast()   ? "the broadcast address"
                       : vip.address.is_link_local()  ? "a link-local address"
                                                      : nullptr;
  if (reason == nullptr) return;
  findings.error(vip.policy->key(), "spec.address",
                 fmt::format("{} is {}", vip.address.text(), reason), "a unicast address");
}

// A single port counts before a range that holds it, and both before all ports: each of these once.
void check_port_claims(const std::vector<ResolvedVip>& vips, Findings& findings) {
  struct Claim {
    std::tuple<IpAddress, std::uint8_t, std::uint8_t, int> among;  // where, protocol, kind: claims that may conflict
    PortRange ports;
    const ResolvedVip* vip;
  };
  std::vector<Claim> claims;
  for (const ResolvedVip& vip : vips) {
    for (const PortRange& ports : vip.ports) {
      const int kind = vip.has_all_ports() ? 2 : ports.is_single() ? 0 : 1;
      claims.push_back({{vip.address, vip.prefix_length, vip.protocol, kind}, ports, &vip});
    }
  }
  std::stable_sort(claims.begin(), claims.end(), [](const Claim& a, const Claim& b) {
    return std::tie(a.among, a.ports.first) < std::tie(b.among, b.ports.first);
  });
  const Claim* widest = nullptr;  // of those before, the one that reaches furthest
  for (const Claim& claim : claims) {
    const bool is_overlapping =
        widest != nullptr && widest->among == claim.among && claim.ports.first <= widest->ports.last;
    if (is_overlapping && !(claim.vip->is_named() && widest->vip->is_named())) {  // told apart by server name
      const PortRange both{claim.ports.first, std::min(claim.ports.last, widest->ports.last)};
      const ResolvedVip& first = *widest->vip;
      const ResolvedVip& vip = *claim.vip;
      findings.error(vip.virtual_host->key(), "spec.advertise_policies",
                     fmt::format("{} is claimed twice: by {} ({}) and by {} ({})",
                                 vip_text(vip.where(), std::span(&both, 1), vip.protocol),
                                 first.virtual_host->key().text(), first.policy->key().text(),
                                 vip.virtual_host->key().text(), vip.policy->key().text()),
                     "an address, port and protocol of its own");
    }
    if (!is_overlapping || claim.ports.last > widest->ports.last) widest = &claim;
  }
}

// The VIPs that hold an address: one with the address itself, or of a network around it.
class VipAddresses {
 public:
  explicit VipAddresses(const std::vector<ResolvedVip>& vips) {
    for (const ResolvedVip& vip : vips) {
      lengths_.insert(vip.prefix_length);
      vips_.try_emplace({vip.prefix_length, vip.address}, &vip);
    }
  }
  const ResolvedVip* find(IpAddress address) const {
    for (const std::uint8_t length : lengths_) {
      const auto vip = vips_.find({length, IpPrefix::of(address, length).network});
      if (vip != vips_.end()) return vip->second;
    }
    return nullptr;
  }

 private:
  std::set<std::uint8_t, std::greater<>> lengths_;
  std::map<std::pair<std::uint8_t, IpAddress>, const ResolvedVip*> vips_;
};

// Which addresses are something else than a VIP.
void check_vip_conflicts(const ObjectStore& objects, const std::vector<ResolvedVip>& vips,
                         const ValidationWorld& world, Findings& findings) {
  check_port_claims(vips, findings);
  const VipAddresses addresses(vips);
  for (const ObjectPtr& object : objects.of_kind("endpoint")) {
    const auto address =
        IpAddress::parse(static_cast<const api::Endpoint&>(object->effective()).spec().ip());
    const ResolvedVip* vip = addresses.find(*address);
    if (vip == nullptr) continue;
    findings.error(
        object->key(), "spec.ip",
        fmt::format(
            "{} is the address of {} and also of {} ({}): packets would go round in a circle",
            address->text(), object->key().text(), vip->virtual_host->key().text(),
            vip->policy->key().text()),
        "an endpoint with an address of its own");
  }
  const ObjectPtr node = node_of(objects);
  if (node == nullptr) return;
  const api::NodeSpec& spec = node_spec(*node);
  const auto claim = [&](IpAddress address, const std::string& what) {
    const ResolvedVip* vip = addresses.find(address);
    if (vip == nullptr) return;
    findings.error(vip->policy->key(), "spec.address",
                   fmt::format("{} is claimed twice: by {} as a VIP and by {}", address.text(),
                               vip->policy->key().text(), what),
                   "an address of its own for the VIP");
  };
  for (const api::NodePort& port : spec.ports()) {
    for (const std::string& text : port.addresses()) {
      claim(*IpAddress::parse(text.substr(0, text.find('/'))),
            fmt::format("port {} of {}", port.name(), node->key().text()));
    }
  }
  for (const api::NodeRoute& route : spec.routes()) {
    claim(*IpAddress::parse(route.next_hop()), fmt::format("the next hop of {}", route.prefix()));
  }
  for (const std::string& text : spec.exception_port().addresses()) claim(*IpAddress::parse(text), "the exception port");
  for (const api::SnatPool& pool : spec.snat_pools()) {
    for (const std::string& text : pool.addresses()) {
      claim(*IpAddress::parse(text),
            fmt::format("SNAT pool {} of {}", pool.name(), node->key().text()));
    }
  }
  const std::string tap = spec.has_exception_port() ? spec.exception_port().interface() : "";
  for (const HostAddress& host : world.host_addresses) {
    if (host.interface != tap)
      claim(host.address, fmt::format("this host, on interface {}", host.interface));
  }
}

// An endpoint's address is neither ours nor the host's.
void check_endpoint_addresses(const ObjectStore& objects, Findings& findings) {
  std::map<IpAddress, std::string> ours;
  if (const ObjectPtr node = node_of(objects)) {
    for (const api::NodePort& port : node_spec(*node).ports()) {
      for (const std::string& text : port.addresses()) {
        ours.emplace(*IpAddress::parse(text.substr(0, text.find('/'))),
                     fmt::format("port {}", port.name()));
      }
    }
    for (const api::SnatPool& pool : node_spec(*node).snat_pools()) {
      for (const std::string& text : pool.addresses()) {
        ours.emplace(*IpAddress::parse(text), fmt::format("SNAT pool {}", pool.name()));
      }
    }
  }
  for (const ObjectPtr& object : objects.of_kind("endpoint")) {
    const IpAddress address =
        *IpAddress::parse(static_cast<const api::Endpoint&>(object->effective()).spec().ip());
    if (address.is_multicast() || address.is_unspecified() || address.is_broadcast() ||
        address.is_loopback() || address.is_link_local()) {
      findings.error(object->key(), "spec.ip",
                     fmt::format("{} cannot be reached through a port", address.text()),
                     "a unicast address beyond a port");
    }
    if (const auto owner = ours.find(address); owner != ours.end()) {
      findings.error(object->key(), "spec.ip",
                     fmt::format("{} is claimed twice: by {} and by {} of the node", address.text(),
                                 object->key().text(), owner->second),
                     "an endpoint on another box, or at one of node.exception_port.addresses");
    }
  }
}

void check_routes(const ObjectStore& objects, Findings& findings) {
  for (const ObjectPtr& object : objects.of_kind("route")) {
    const api::RouteSpec& spec = static_cast<const api::Route&>(object->effective()).spec();
    for (int i = 0; i < spec.routes_size(); ++i) {
      const std::string path = fmt::format("spec.routes[{}]", i);
      const api::RouteEntry& entry = spec.routes(i);
      if (entry.has_route_redirect()) {
        findings.error(
            object->key(), path + ".route_redirect",
            "route_redirect belongs to HTTP and is not allowed for TCP_PROXY and UDP_PROXY",
            "route_destination");
      } else if (entry.has_route_direct_response()) {
        findings.error(
            object->key(), path + ".route_direct_response",
            "route_direct_response belongs to HTTP and is not allowed for TCP_PROXY and UDP_PROXY",
            "route_destination");
      } else if (entry.route_destination().destinations_size() > 1) {
        findings.error(object->key(), path + ".route_destination.destinations[1]",
                       "more than one destination is not supported by this version",
                       "one destination");
      }
      if (entry.match_size() > 0) {
        findings.warnings.push_back(fmt::format(
            "{}: {}.match is ignored: TCP_PROXY and UDP_PROXY choose by address and port only",
            object->key().text(), path));
      }
    }
    if (spec.routes_size() > 1) {
      findings.warnings.push_back(fmt::format(
          "{}: only the first of {} entries is reached: TCP_PROXY and UDP_PROXY ignore match",
          object->key().text(), spec.routes_size()));
    }
  }
}

const api::SnatPool* pool_of(const ObjectStore& objects, const std::string& name) {
  const ObjectPtr node = node_of(objects);
  if (node == nullptr) return nullptr;
  for (const api::SnatPool& pool : node_spec(*node).snat_pools()) {
    if (pool.name() == name) return &pool;
  }
  return nullptr;
}

bool has_family(const api::SnatPool& pool, bool is_v4) {
  for (const std::string& text : pool.addresses()) {
    if (IpAddress::parse(text)->is_v4() == is_v4) return true;
  }
  return false;
}

void check_snat_pool(const ObjectStore& objects, const Object& cluster,
                     const std::vector<ResolvedEndpoint>& endpoints, Findings& findings) {
  const api::ClusterExtension& options = cluster_spec(cluster).sluice();
  std::vector<std::string> names;
  if (const ObjectPtr node = node_of(objects)) {
    for (const api::SnatPool& pool : node_spec(*node).snat_pools()) names.push_back(pool.name());
  } else {
    return;  // without a node there are no pools to look among
  }
  if (options.forwarding() == api::ClusterExtension::NAT || is_dsr(cluster)) {
    if (options.has_snat_pool()) {
      findings.error(cluster.key(), "spec.sluice.snat_pool",
                     fmt::format("forwarding {} uses no SNAT pool",
                                 api::ClusterExtension::Forwarding_Name(options.forwarding())),
                     "no snat_pool, or forwarding FULL_NAT");
    }
    return;
  }
  const std::string known =
      names.empty() ? "a pool in spec.snat_pools of the node" : "one of " + list_text(names);
  if (!options.has_snat_pool()) {
    findings.error(
        cluster.key(), "spec.sluice.snat_pool",
        fmt::format("{} forwards by {} and names no SNAT pool", cluster.key().text(),
                    api::ClusterExtension::Forwarding_Name(options.forwarding())),
        known);
    return;
  }
  const api::SnatPool* pool = pool_of(objects, options.snat_pool());
  if (pool == nullptr) {
    findings.error(cluster.key(), "spec.sluice.snat_pool",
                   fmt::format("the node has no SNAT pool '{}'", options.snat_pool()), known,
                   closest(options.snat_pool(), names));
    return;
  }
  for (const ResolvedEndpoint& endpoint : endpoints) {
    const bool is_v4 = endpoint.address.is_v4();
    if (has_family(*pool, is_v4)) continue;
    findings.error(cluster.key(), "spec.sluice.snat_pool",
                   fmt::format("SNAT pool {} has no {} address for {} ({})", pool->name(),
                               is_v4 ? "IPv4" : "IPv6", endpoint.object->key().text(),
                               endpoint.address.text()),
                   fmt::format("a pool with an {} address", is_v4 ? "IPv4" : "IPv6"));
    return;
  }
}

// What only a spliced connection can do.
void check_splice(const Object& cluster, const std::vector<ResolvedEndpoint>& endpoints,
                  Findings& findings) {
  const api::ClusterSpec& spec = cluster_spec(cluster);
  const bool is_splice = spec.sluice().forwarding() == api::ClusterExtension::SPLICE;
  if (!is_splice && (spec.has_proxy_protocol_v1() || spec.has_proxy_protocol_v2())) {
    findings.error(cluster.key(),
                   spec.has_proxy_protocol_v1() ? "spec.proxy_protocol_v1" : "spec.proxy_protocol_v2",
                   fmt::format("forwarding {} cannot put a PROXY header before a client's bytes",
                               api::ClusterExtension::Forwarding_Name(spec.sluice().forwarding())),
                   "spec.sluice.forwarding SPLICE");
  }
  for (const ResolvedEndpoint& endpoint : endpoints) {
    if (!is_splice || endpoint.protocol == protocol_tcp) continue;
    findings.error(cluster.key(), "spec.sluice.forwarding",
                   fmt::format("{} is UDP, and SPLICE is for TCP", endpoint.object->key().text()),
                   "forwarding FULL_NAT or NAT");
    return;
  }
}

// Whether and how the node reaches endpoints that get packets as they are.
void check_dsr(const Object& cluster, const Object& node, const NodePaths& paths,
               const std::vector<ResolvedEndpoint>& endpoints, Findings& findings) {
  const auto forwarding = cluster_spec(cluster).sluice().forwarding();
  const std::string mode = api::ClusterExtension::Forwarding_Name(forwarding);
  const bool is_l2 = forwarding == api::ClusterExtension::DSR_L2;
  for (const ResolvedEndpoint& endpoint : endpoints) {
    const std::string who =
        fmt::format("{} ({})", endpoint.object->key().text(), endpoint.address.text());
    const auto path = paths.toward(endpoint.address);
    if (!path) {
      findings.error(cluster.key(), "spec.sluice.forwarding",
                     fmt::format("{}: no route of {} leads to {}", mode, node.key().text(), who),
                     "a route to it in spec.routes of the node");
      return;
    }
    const std::string port = node_spec(node).ports(path->port).name();
    if (is_l2 && !path->is_connected) {
      findings.error(cluster.key(), "spec.sluice.forwarding",
                     fmt::format("{} reaches neighbours only, and {} is behind a router of port {}",
                                 mode, who, port),
                     "an endpoint in a network of a port, or forwarding DSR_IPIP or DSR_GUE");
      return;
    }
    if (!is_l2 && !path->source) {
      const char* family = endpoint.address.is_v4() ? "IPv4" : "IPv6";
      findings.error(cluster.key(), "spec.sluice.forwarding",
                     fmt::format("{}: port {}, which leads to {}, has no {} address for the outer "
                                 "header",
                                 mode, port, who, family),
                     fmt::format("an {} address on port {}", family, port));
      return;
    }
  }
}

// Only a hash leads the same client to the same endpoint.
void check_persistence(const Object& cluster, Findings& findings) {
  const api::ClusterSpec& spec = cluster_spec(cluster);
  if (!spec.sluice().has_source_persistence()) return;
  const bool is_hash = spec.sluice().has_algorithm()
                           ? spec.sluice().algorithm() == api::ClusterExtension::MAGLEV ||
                                 spec.sluice().algorithm() == api::ClusterExtension::RING_HASH
                           : spec.loadbalancer_algorithm() == api::ClusterSpec::RING_HASH;
  if (is_hash) return;
  findings.error(cluster.key(), "spec.sluice.source_persistence",
                 fmt::format("{} does not choose by a hash, so it cannot choose by the client's address",
                             cluster.key().text()),
                 "algorithm MAGLEV or RING_HASH");
}

void check_clusters(const ObjectStore& objects, Findings& findings) {
  const ObjectPtr node = node_of(objects);
  std::optional<NodePaths> paths;
  if (node != nullptr) paths.emplace(node_spec(*node));
  std::size_t row_count = 0;
  for (const ObjectPtr& cluster : objects.of_kind("cluster")) {
    const auto endpoints = endpoints_of(objects, *cluster);
    row_count += endpoints.size();
    const api::ClusterSpec& spec = cluster_spec(*cluster);
    if (!is_prime(spec.sluice().maglev_size())) {
      findings.error(cluster->key(), "spec.sluice.maglev_size",
                     fmt::format("{} is not a prime number", spec.sluice().maglev_size()),
                     "a prime number, such as 65537 or 655373",
                     std::to_string(next_prime(spec.sluice().maglev_size())));
    }
    const bool is_maglev =
        spec.sluice().has_algorithm() && spec.sluice().algorithm() == api::ClusterExtension::MAGLEV;
    if (is_maglev && endpoints.size() > spec.sluice().maglev_size()) {
      findings.error(cluster->key(), "spec.sluice.maglev_size",
                     fmt::format("{} slots are fewer than the {} endpoints",
                                 spec.sluice().maglev_size(), endpoints.size()),
                     "at least a hundred slots for each endpoint");
    }
    std::map<std::tuple<IpAddress, std::uint16_t, std::uint8_t>, const ResolvedEndpoint*> places;
    for (const ResolvedEndpoint& endpoint : endpoints) {
      const auto [first, is_new] =
          places.try_emplace({endpoint.address, endpoint.port, endpoint.protocol}, &endpoint);
      if (is_new) continue;
      findings.error(cluster->key(), "spec.endpoints",
                     fmt::format("{} and {} are both {}", first->second->object->key().text(),
                                 endpoint.object->key().text(),
                                 address_port_text(endpoint.address, be16(endpoint.port))),
                     "one endpoint for an address and port");
    }
    check_snat_pool(objects, *cluster, endpoints, findings);
    check_splice(*cluster, endpoints, findings);
    if (node != nullptr && is_dsr(*cluster)) {
      check_dsr(*cluster, *node, *paths, endpoints, findings);
      if (!spec.health_checks().empty() && !node_spec(*node).has_exception_port()) {
        findings.warnings.push_back(fmt::format(
            "{}: its health checks ask the endpoints' own addresses; they go the way of clients, to "
            "the VIP, when {} has an exception_port",
            cluster->key().text(), node->key().text()));
      }
    }
    if (spec.sluice().forwarding() != api::ClusterExtension::DSR_GUE &&
        spec.sluice().has_gue_port()) {
      findings.error(cluster->key(), "spec.sluice.gue_port",
                     fmt::format("forwarding {} puts nothing into UDP",
                                 api::ClusterExtension::Forwarding_Name(spec.sluice().forwarding())),
                     "no gue_port, or forwarding DSR_GUE");
    }
    check_persistence(*cluster, findings);
    for (const api::ObjectRef& reference : spec.health_checks()) {
      const ObjectPtr check =
          objects.find(target_of(reference, "healthcheck", cluster->key().space));
      if (check == nullptr) continue;
      for (const ResolvedEndpoint& endpoint : endpoints) {
        if (endpoint.protocol != protocol_udp || endpoint.spec().has_health_check_port()) continue;
        findings.warnings.push_back(fmt::format(
            "{}: {} checks the UDP endpoint {} by TCP on its UDP port {}; set health_check_port",
            cluster->key().text(), check->key().text(), endpoint.object->key().name,
            endpoint.port));
      }
    }
  }
  if (row_count > limits::endpoints) {
    findings.error(objects.of_kind("cluster")[0]->key(), "spec.endpoints",
                   fmt::format("all clusters together have {} endpoints", row_count),
                   fmt::format("at most {}", limits::endpoints));
  }
}

void check_healthchecks(const ObjectStore& objects, Findings& findings) {
  for (const ObjectPtr& object : objects.of_kind("healthcheck")) {
    const api::HealthcheckSpec& spec =
        static_cast<const api::Healthcheck&>(object->effective()).spec();
    if (spec.has_http_health_check() || spec.has_udp_icmp_health_check()) {
      findings.error(object->key(), "spec", "this health check is not supported by this version",
                     "tcp_health_check");
    }
    if (spec.timeout() > spec.interval()) {
      findings.warnings.push_back(fmt::format(
          "{}: timeout {}s is longer than interval {}s: a failing endpoint is probed every {}s",
          object->key().text(), spec.timeout(), spec.interval(), spec.timeout()));
    }
  }
}

// Servers and we agree on the length of server IDs, and each belongs to one endpoint.
void check_quic(const ObjectStore& objects, const Object& virtual_host, const Object& cluster, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  if (!spec.sluice().has_quic()) return;
  if (protocol_of(spec) != protocol_udp) {
    findings.error(virtual_host.key(), "spec.sluice.quic",
                   fmt::format("QUIC is UDP, and {} is a {}", virtual_host.key().text(),
                               api::VirtualHostSpec::Proxy_Name(spec.proxy())),
                   "proxy UDP_PROXY");
    return;
  }
  const std::uint32_t bytes = spec.sluice().quic().server_id_length();
  std::map<std::string, ObjectKey> owners;
  for (const ResolvedEndpoint& endpoint : endpoints_of(objects, cluster)) {
    const ObjectKey& key = endpoint.object->key();
    std::string id = endpoint.spec().sluice().quic_server_id();
    std::transform(id.begin(), id.end(), id.begin(), [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
    if (id.empty()) {
      findings.warnings.push_back(fmt::format(
          "{}: {} has no quic_server_id: its connections do not survive a change of the client's address",
          virtual_host.key().text(), key.text()));
      continue;
    }
    if (id.size() != 2 * bytes) {
      findings.error(key, "spec.sluice.quic_server_id",
                     fmt::format("'{}' is {} bytes, but {} has server IDs of {}", id, id.size() / 2,
                                 virtual_host.key().text(), bytes),
                     fmt::format("{} hexadecimal digits", 2 * bytes));
    }
    const auto [owner, is_new] = owners.try_emplace(id, key);
    if (is_new) continue;
    findings.error(key, "spec.sluice.quic_server_id",
                   fmt::format("{} and {} of {} have the server ID {}", owner->second.text(), key.text(),
                               cluster.key().text(), id),
                   "a server ID of its own for each endpoint");
  }
  if (!owners.empty()) return;
  findings.error(virtual_host.key(), "spec.sluice.quic",
                 fmt::format("no endpoint of {} has a quic_server_id", cluster.key().text()),
                 "a quic_server_id for each endpoint");
}

// Nothing is kept of a datagram, so whatever asks for a record does not go with it.
void check_one_packet(const Object& virtual_host, const Object& cluster, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  if (!spec.sluice().one_packet()) return;
  const api::ClusterExtension& options = cluster_spec(cluster).sluice();
  const auto refuse = [&](const std::string& message, const std::string& expected) {
    findings.error(virtual_host.key(), "spec.sluice.one_packet", message, expected);
  };
  if (protocol_of(spec) != protocol_udp) {
    return refuse(fmt::format("one_packet is for UDP, and {} is a {}", virtual_host.key().text(),
                              api::VirtualHostSpec::Proxy_Name(spec.proxy())),
                  "proxy UDP_PROXY");
  }
  if (options.forwarding() != api::ClusterExtension::NAT) {
    return refuse(fmt::format("{} forwards by {}, whose answers need a record to find their client", cluster.key().text(),
                              api::ClusterExtension::Forwarding_Name(options.forwarding())),
                  "forwarding NAT, or no one_packet");
  }
  const char* kept = spec.sluice().has_connection_limit()    ? "connection_limit"
                     : options.has_endpoint_connection_limit() ? "endpoint_connection_limit"
                     : spec.sluice().has_quic()                ? "quic"
                     : options.has_lb_port()                   ? "lb_port"
                                                               : nullptr;
  if (kept != nullptr) refuse(fmt::format("{} does not go with one_packet, which keeps no flows", kept), "one of the two");
}

// The source of an answer is all that tells through which VIP it was asked.
void check_one_packet_answers(const ObjectStore& objects, const std::vector<ResolvedVip>& vips, Findings& findings) {
  const auto is_one_packet = [](const ResolvedVip& vip) { return virtual_host_spec(*vip.virtual_host).sluice().one_packet(); };
  if (std::none_of(vips.begin(), vips.end(), is_one_packet)) return;
  std::map<std::pair<IpAddress, std::uint16_t>, const ResolvedVip*> owners;
  std::set<const ResolvedVip*> refused;
  for (const ResolvedVip& vip : vips) {
    if (vip.protocol != protocol_udp) continue;
    if (is_one_packet(vip) && !vip.is_exact()) {
      findings.error(vip.policy->key(), "spec",
                     fmt::format("{} is more than one address and port, and {} has one_packet: answers would not tell "
                                 "which was asked",
                                 vip.text(), vip.virtual_host->key().text()),
                     "one address and one port");
    }
    for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *vip.cluster)) {
      const auto [owner, is_new] = owners.try_emplace({endpoint.address, endpoint.port}, &vip);
      const ResolvedVip& first = *owner->second;
      if (is_new || (!is_one_packet(vip) && !is_one_packet(first)) || !refused.insert(&vip).second) continue;
      findings.error(vip.virtual_host->key(), "spec.sluice.one_packet",
                     fmt::format("{} answers for {} ({}) and for {} ({}): with one_packet nothing would tell which was asked",
                                 endpoint.object->key().text(), first.text(), first.virtual_host->key().text(), vip.text(),
                                 vip.virtual_host->key().text()),
                     "endpoints of its own for a virtual host with one_packet");
    }
  }
}

// What a virtual_host needs to serve anybody, listed when something is missing.
void check_virtual_host(const ObjectStore& objects, const Object& virtual_host,
                        Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  const ObjectPtr cluster = cluster_of(objects, virtual_host);
  std::vector<std::string> missing;
  if (spec.advertise_policies().empty()) missing.push_back("advertise_policy");
  if (spec.routes().empty()) missing.push_back("route");
  if (cluster == nullptr) {
    missing.push_back("cluster");
    missing.push_back("endpoint");
  } else if (cluster_spec(*cluster).endpoints().empty()) {
    missing.push_back("endpoint");
  }
  if (!missing.empty()) {
    findings.error(virtual_host.key(), "spec",
                   fmt::format("{} is not complete: it has no {}", virtual_host.key().text(),
                               list_text(missing)),
                   "at least one advertise_policy and a route to a cluster with an endpoint");
    return;
  }
  const std::uint8_t protocol = protocol_of(spec);
  const std::string proxy = api::VirtualHostSpec::Proxy_Name(spec.proxy());
  for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *cluster)) {
    if (endpoint.protocol == protocol) continue;
    findings.error(endpoint.object->key(), "spec.protocol",
                   fmt::format("{} is {} but {} is a {}", endpoint.object->key().text(),
                               protocol_text(endpoint.protocol), virtual_host.key().text(), proxy),
                   protocol == protocol_udp ? "UDP" : "TCP");
  }
  const bool is_named = spec.proxy() == api::VirtualHostSpec::TCP_PROXY_WITH_SNI;
  if (is_named) {
    if (spec.domains().empty() && spec.sluice().domain_regexes().empty() && !spec.has_default_loadbalancer()) {
      findings.error(virtual_host.key(), "spec.domains",
                     fmt::format("{} needs a server name to be chosen by", proxy),
                     "at least one domain or sluice.domain_regexes, or default_loadbalancer");
    }
    if (cluster_spec(*cluster).sluice().forwarding() != api::ClusterExtension::SPLICE) {
      findings.error(
          cluster->key(), "spec.sluice.forwarding",
          fmt::format("{} is a {}: its clients are answered before an endpoint is chosen",
                      virtual_host.key().text(), proxy),
          "SPLICE");
    }
  } else {
    const char* given = !spec.domains().empty()              ? "domains"
                        : spec.has_default_loadbalancer()     ? "default_loadbalancer"
                        : spec.has_non_default_loadbalancer() ? "non_default_loadbalancer"
                        : !spec.sluice().alpn().empty()       ? "sluice.alpn"
                        : !spec.sluice().domain_regexes().empty() ? "sluice.domain_regexes"
                                                              : nullptr;
    if (given != nullptr) {
      findings.error(virtual_host.key(), fmt::format("spec.{}", given),
                     fmt::format("{} looks at no server names", proxy),
                     "proxy TCP_PROXY_WITH_SNI");
    }
  }
  if (protocol == protocol_udp && spec.sluice().has_mss_max()) {
    findings.error(
        virtual_host.key(), "spec.sluice.mss_max",
        fmt::format("mss_max belongs to TCP, and {} is a {}", virtual_host.key().text(), proxy),
        "no mss_max");
  }
  if (protocol == protocol_udp &&
      spec.sluice().syn_cookies() != api::VirtualHostExtension::NEVER) {
    findings.error(virtual_host.key(), "spec.sluice.syn_cookies",
                   fmt::format("{} has no SYN", proxy), "no syn_cookies");
  }
  if (is_dsr(*cluster) && spec.sluice().syn_cookies() != api::VirtualHostExtension::NEVER) {
    findings.error(virtual_host.key(), "spec.sluice.syn_cookies",
                   fmt::format("{} forwards by {}: an endpoint that answers clients itself cannot "
                               "take over a connection that we have answered",
                               cluster->key().text(),
                               api::ClusterExtension::Forwarding_Name(
                                   cluster_spec(*cluster).sluice().forwarding())),
                   "no syn_cookies, or forwarding FULL_NAT");
  }
  check_quic(objects, virtual_host, *cluster, findings);
  check_one_packet(virtual_host, *cluster, findings);
  if (spec.routes_size() > 1) {
    findings.warnings.push_back(
        fmt::format("{}: only the first of {} routes is reached: {} ignores match",
                    virtual_host.key().text(), spec.routes_size(), proxy));
  }
}

constexpr std::uint32_t ipv6_mtu_min = 1280;

// Clients' packets reach an endpoint of direct server return as they came: its port is the VIP's, and its family too
// unless a tunnel takes IPv4 through IPv6.
void check_dsr_vip(const ObjectStore& objects, const ResolvedVip& vip, Findings& findings) {
  const auto& options = cluster_spec(*vip.cluster).sluice();
  const std::string mode = api::ClusterExtension::Forwarding_Name(options.forwarding());
  const bool is_l2 = options.forwarding() == api::ClusterExtension::DSR_L2;
  if (!vip.is_exact()) {
    findings.error(vip.policy->key(), "spec",
                   fmt::format("{} is more than one address and port, and {} forwards by {}", vip.text(),
                               vip.cluster->key().text(), mode),
                   "one address and one port, or forwarding FULL_NAT or NAT");
    return;
  }
  const std::uint16_t port_of_vip = vip.ports.front().first;
  const ObjectPtr node = node_of(objects);
  std::optional<NodePaths> paths;
  if (node != nullptr) paths.emplace(node_spec(*node));
  for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *vip.cluster)) {
    const std::string who = endpoint.object->key().text();
    if (endpoint.port != port_of_vip) {
      findings.error(endpoint.object->key(), "spec.port",
                     fmt::format("{} is reached by {} of {}, which leaves packets as they are, so "
                                 "its port {} cannot differ from port {} of {} ({})",
                                 who, mode, vip.cluster->key().text(), endpoint.port, port_of_vip,
                                 vip.policy->key().text(), vip.text()),
                     fmt::format("port {}", port_of_vip));
      return;
    }
    const bool is_4_in_6 = vip.address.is_v4() && !endpoint.address.is_v4() && !is_l2;
    if (vip.address.is_v4() != endpoint.address.is_v4() && !is_4_in_6) {
      findings.error(vip.policy->key(), "spec.address",
                     fmt::format("the {} VIP {} leads to the {} {} ({}) by {}",
                                 vip.address.is_v4() ? "IPv4" : "IPv6", vip.text(),
                                 endpoint.address.is_v4() ? "IPv4" : "IPv6", who,
                                 endpoint.address.text(), mode),
                     "a VIP and endpoints of one family; DSR_IPIP and DSR_GUE also take IPv4 to "
                     "IPv6 endpoints");
      return;
    }
    const auto path = paths ? paths->toward(endpoint.address) : std::nullopt;
    if (is_l2 || vip.address.is_v4() || !path) continue;
    const api::NodePort& port = node_spec(*node).ports(path->port);
    const std::uint32_t added = options.forwarding() == api::ClusterExtension::DSR_GUE ? 52 : 40;
    if (port.mtu() >= ipv6_mtu_min + added) continue;
    findings.error(node->key(), fmt::format("spec.ports[{}].mtu", path->port),
                   fmt::format("MTU {} of port {} leaves {} bytes inside {} to {}, and IPv6 needs {}",
                               port.mtu(), port.name(), port.mtu() - added, mode, who, ipv6_mtu_min),
                   fmt::format("at least {}", ipv6_mtu_min + added));
    return;
  }
}

void check_prefix_length(const Object& policy, const api::AdvertisePolicySpec& spec, Findings& findings) {
  if (!spec.sluice().has_prefix_length()) return;
  const IpAddress address = *IpAddress::parse(spec.address());
  const std::uint32_t length = spec.sluice().prefix_length();
  const std::uint32_t min = address.is_v4() ? 8 : 32, max = address.is_v4() ? 32 : 128;
  if (length < min || length > max) {
    findings.error(policy.key(), "spec.sluice.prefix_length",
                   fmt::format("{} is no length for a network of {} VIPs", length, address.is_v4() ? "IPv4" : "IPv6"),
                   fmt::format("{} to {}", min, max));
    return;
  }
  const IpPrefix network = IpPrefix::of(address, static_cast<std::uint8_t>(length + (address.is_v4() ? 96 : 0)));
  if (network.network == address) return;
  findings.error(policy.key(), "spec.address", fmt::format("{} lies inside of {}", address.text(), network.text()),
                 fmt::format("the network's own address: {}", network.network.text()));
}

constexpr const char* accept_proxy_protocol_path = "spec.sluice.accept_proxy_protocol";

// To trust nobody would refuse every client, to trust everybody lets anyone say who he is: the first is never meant.
void check_trusted_prefixes(const Object& policy, const api::AdvertisePolicySpec& spec, Findings& findings) {
  if (!spec.sluice().has_accept_proxy_protocol()) return;
  const auto& prefixes = spec.sluice().accept_proxy_protocol().trusted_prefixes();
  if (prefixes.empty()) {
    findings.error(policy.key(), std::string(accept_proxy_protocol_path) + ".trusted_prefixes",
                   fmt::format("{} trusts no proxy, so it would refuse every client", policy.key().text()),
                   "the networks of the proxies before it, such as trusted_prefixes: [192.0.2.0/24, 2001:db8:1::/64]");
  }
  for (const std::string& prefix : prefixes) {
    if (!prefix.ends_with("/0")) continue;
    findings.warnings.push_back(fmt::format("{}: accept_proxy_protocol trusts {}: whoever reaches the VIP can say that he is anybody",
                                            policy.key().text(), prefix));
  }
}

// The header is taken off where clients are answered before an endpoint is chosen.
void check_accept_proxy_protocol(const ResolvedVip& vip, Findings& findings) {
  if (!advertise_policy_spec(*vip.policy).sluice().has_accept_proxy_protocol()) return;
  const std::string host = vip.virtual_host->key().text();
  const auto forwarding = cluster_spec(*vip.cluster).sluice().forwarding();
  if (vip.protocol == protocol_udp) {
    findings.error(vip.policy->key(), accept_proxy_protocol_path,
                   fmt::format("the PROXY protocol belongs to TCP, and {} ({}) is UDP", vip.text(), host), "no accept_proxy_protocol");
  } else if (forwarding != api::ClusterExtension::SPLICE) {
    findings.error(vip.policy->key(), accept_proxy_protocol_path,
                   fmt::format("{} leads to {}, which forwards by {}: a PROXY header can be taken off only where clients are answered "
                               "before an endpoint is chosen",
                               host, vip.cluster->key().text(), api::ClusterExtension::Forwarding_Name(forwarding)),
                   "forwarding SPLICE of the cluster");
  }
}

// A PROXY header comes before the server name: all virtual hosts on one VIP read it, from the same proxies, or none does.
void check_proxies_agree(const std::vector<ResolvedVip>& vips, Findings& findings) {
  std::map<std::string, const ResolvedVip*> firsts;
  for (const ResolvedVip& vip : vips) {
    if (!vip.is_named()) continue;
    const auto [first, is_new] = firsts.try_emplace(vip.text(), &vip);
    if (is_new || first->second->proxies() == vip.proxies()) continue;
    const ResolvedVip& other = *first->second;
    findings.error(vip.policy->key(), accept_proxy_protocol_path,
                   fmt::format("{} is shared by {} ({}) and {} ({}), which do not accept the PROXY protocol from the same proxies",
                               vip.text(), other.virtual_host->key().text(), other.policy->key().text(),
                               vip.virtual_host->key().text(), vip.policy->key().text()),
                   "the same trusted_prefixes in both, or one advertise_policy for both");
  }
}

void check_advertise_policies(const ObjectStore& objects, Findings& findings) {
  for (const ObjectPtr& object : objects.of_kind("advertise_policy")) {
    const api::AdvertisePolicySpec& spec = advertise_policy_spec(*object);
    check_prefix_length(*object, spec, findings);
    check_trusted_prefixes(*object, spec, findings);
    const bool has_list = spec.port_choice_case() != api::AdvertisePolicySpec::PORT_CHOICE_NOT_SET;
    if (has_list != spec.sluice().has_all_ports()) continue;
    const char* given = spec.has_port() ? "port" : "port_ranges";
    findings.error(object->key(), has_list ? "spec.sluice.all_ports" : "spec",
                   has_list ? fmt::format("all_ports and {} are both given", given) : "no port is given",
                   "one of port, port_ranges and sluice.all_ports");
  }
}

void check_vip(const ObjectStore& objects, const ResolvedVip& vip, Findings& findings) {
  const std::uint8_t protocol = protocol_of(virtual_host_spec(*vip.virtual_host));
  if (vip.protocol != protocol) {
    findings.error(
        vip.policy->key(), "spec.protocol",
        fmt::format("{} is {} but {} is a {}", vip.policy->key().text(),
                    protocol_text(vip.protocol), vip.virtual_host->key().text(),
                    api::VirtualHostSpec::Proxy_Name(virtual_host_spec(*vip.virtual_host).proxy())),
        protocol == protocol_udp ? "UDP" : "TCP");
  }
  check_vip_address(vip, findings);
  if (vip.is_named() && !vip.is_exact()) {
    findings.error(vip.policy->key(), "spec",
                   fmt::format("{} is more than one address and port, and {} is chosen by server name", vip.text(),
                               vip.virtual_host->key().text()),
                   "one address and one port");
  }
  check_accept_proxy_protocol(vip, findings);
  if (is_dsr(*vip.cluster)) return check_dsr_vip(objects, vip, findings);
  if (cluster_spec(*vip.cluster).sluice().forwarding() != api::ClusterExtension::NAT) return;
  for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *vip.cluster)) {
    if (endpoint.address.is_v4() == vip.address.is_v4()) continue;
    findings.error(vip.policy->key(), "spec.address",
                   fmt::format("the {} VIP {} leads to the {} {} ({}): NAT does not translate "
                               "between the families",
                               vip.address.is_v4() ? "IPv4" : "IPv6", vip.text(),
                               endpoint.address.is_v4() ? "IPv4" : "IPv6",
                               endpoint.object->key().text(), endpoint.address.text()),
                   "a VIP and endpoints of one family, or forwarding FULL_NAT or SPLICE");
    return;
  }
}

// Virtual hosts that share a VIP: each name leads to one of them, and one at most takes the rest.
void check_server_names(const std::vector<ResolvedVip>& vips, Findings& findings) {
  // By VIP, name or expression, protocol. An expression cannot be taken for a name: its path stands before it.
  std::map<std::tuple<std::string, std::string, std::string>, const ResolvedVip*> owners;
  std::map<std::string, const ResolvedVip*> defaults;
  std::map<std::string, std::uint32_t> pattern_counts;
  const auto claim = [&](const ResolvedVip& vip, const char* field, const auto& names) {
    const api::VirtualHostSpec& spec = virtual_host_spec(*vip.virtual_host);
    std::vector<std::string> protocols(spec.sluice().alpn().begin(), spec.sluice().alpn().end());
    if (protocols.empty()) protocols.emplace_back();
    for (int i = 0; i < names.size(); ++i) {
      for (const std::string& protocol : protocols) {
        const auto [owner, is_new] = owners.try_emplace({vip.text(), field + names[i], protocol}, &vip);
        if (is_new) continue;
        findings.error(vip.virtual_host->key(), fmt::format("{}[{}]", field, i),
                       fmt::format("{} on {} is claimed twice: by {} and by {}", names[i],
                                   vip.text(), owner->second->virtual_host->key().text(),
                                   vip.virtual_host->key().text()),
                       "each name once, or once for each ALPN protocol");
        break;
      }
    }
  };
  for (const ResolvedVip& vip : vips) {
    if (!vip.is_named()) continue;
    const api::VirtualHostSpec& spec = virtual_host_spec(*vip.virtual_host);
    claim(vip, "spec.domains", spec.domains());
    claim(vip, "spec.sluice.domain_regexes", spec.sluice().domain_regexes());
    const auto own_count = static_cast<std::uint32_t>(spec.sluice().domain_regexes_size());
    std::uint32_t& count = pattern_counts[vip.text()];
    if (count <= name_patterns_max && count + own_count > name_patterns_max) {
      findings.error(vip.virtual_host->key(), "spec.sluice.domain_regexes",
                     fmt::format("the virtual hosts on {} have more than {} regular expressions", vip.text(),
                                 name_patterns_max),
                     fmt::format("at most {} on one VIP", name_patterns_max));
    }
    count += own_count;
    if (!spec.has_default_loadbalancer()) continue;
    const auto [first, is_new] = defaults.try_emplace(vip.text(), &vip);
    if (is_new) continue;
    findings.error(vip.virtual_host->key(), "spec.default_loadbalancer",
                   fmt::format("{} has two defaults: {} and {}", vip.text(),
                               first->second->virtual_host->key().text(),
                               vip.virtual_host->key().text()),
                   "at most one for a VIP");
  }
}

}  // namespace

void validate_services(const ObjectStore& objects, const ValidationWorld& world,
                       Findings& findings) {
  check_routes(objects, findings);
  check_clusters(objects, findings);
  check_healthchecks(objects, findings);
  check_endpoint_addresses(objects, findings);
  for (const ObjectPtr& virtual_host : objects.of_kind("virtual_host")) {
    check_virtual_host(objects, *virtual_host, findings);
  }
  check_advertise_policies(objects, findings);
  const auto vips = vips_of(objects);
  for (const ResolvedVip& vip : vips) check_vip(objects, vip, findings);
  check_vip_conflicts(objects, vips, world, findings);
  check_server_names(vips, findings);
  check_proxies_agree(vips, findings);
  check_one_packet_answers(objects, vips, findings);
  if (vips.size() > limits::vips) {
    findings.error(vips[0].virtual_host->key(), "spec.advertise_policies",
                   fmt::format("there are {} VIPs", vips.size()),
                   fmt::format("at most {}", limits::vips));
  }
}

void check_fields(const Object& object, Findings& findings) {
  const Message& written = object.written();
  const FieldDescriptor* spec = written.GetDescriptor()->FindFieldByName("spec");
  if (!written.GetReflection()->HasField(written, spec)) {
    findings.error(object.key(), "spec", "spec is required", "the fields of the object");
    return;
  }
  for (BrokenRule& rule : broken_rules(object.effective())) {
    findings.error(object.key(), std::move(rule.path), std::move(rule.message),
                   std::move(rule.expected));
  }
}

Findings validate(const ObjectStore& objects, const ValidationWorld& world) {
  Findings findings;
  for (const auto& entry : objects.all()) check_fields(*entry.second, findings);
  if (!findings.errors.empty()) return findings;
  ReferenceChecker references(objects, findings);
  for (const auto& entry : objects.all()) references.check(*entry.second);
  if (!findings.errors.empty()) return findings;
  validate_node(objects, world, findings);
  validate_services(objects, world, findings);
  return findings;
}

}  // namespace sluice
