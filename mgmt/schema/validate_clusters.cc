// Clusters with their endpoints and health checks: choice, forwarding, where packets leave.
#include <fmt/core.h>

#include <map>
#include <optional>
#include <tuple>

#include "mgmt/api/healthcheck.pb.h"
#include "mgmt/model/suggest.h"
#include "mgmt/model/table_limits.h"
#include "mgmt/schema/paths.h"
#include "mgmt/schema/rules.h"

namespace sluice {
namespace {

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

void check_maglev_size(const Object& cluster, std::size_t endpoint_count, Findings& findings) {
  const api::ClusterExtension& options = cluster_spec(cluster).sluice();
  if (!is_prime(options.maglev_size())) {
    findings.error(cluster.key(), "spec.sluice.maglev_size",
                   fmt::format("{} is not a prime number", options.maglev_size()),
                   "a prime number, such as 65537 or 655373",
                   std::to_string(next_prime(options.maglev_size())));
  }
  const bool is_maglev = options.has_algorithm() && options.algorithm() == api::ClusterExtension::MAGLEV;
  if (is_maglev && endpoint_count > options.maglev_size()) {
    findings.error(cluster.key(), "spec.sluice.maglev_size",
                   fmt::format("{} slots are fewer than the {} endpoints", options.maglev_size(), endpoint_count),
                   "at least a hundred slots for each endpoint");
  }
}

void check_places(const Object& cluster, const std::vector<ResolvedEndpoint>& endpoints, Findings& findings) {
  std::map<std::tuple<IpAddress, std::uint16_t, std::uint8_t>, const ResolvedEndpoint*> places;
  for (const ResolvedEndpoint& endpoint : endpoints) {
    const auto [first, is_new] =
        places.try_emplace({endpoint.address, endpoint.port, endpoint.protocol}, &endpoint);
    if (is_new) continue;
    findings.error(cluster.key(), "spec.endpoints",
                   fmt::format("{} and {} are both {}", first->second->object->key().text(),
                               endpoint.object->key().text(),
                               address_port_text(endpoint.address, be16(endpoint.port))),
                   "one endpoint for an address and port");
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
void check_dsr_paths(const Object& cluster, const Object& node, const NodePaths& paths,
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

void check_dsr(const Object& cluster, const Object& node, const NodePaths& paths,
               const std::vector<ResolvedEndpoint>& endpoints, Findings& findings) {
  check_dsr_paths(cluster, node, paths, endpoints, findings);
  if (cluster_spec(cluster).health_checks().empty() || node_spec(node).has_exception_port()) return;
  findings.warnings.push_back(fmt::format(
      "{}: its health checks ask the endpoints' own addresses; they go the way of clients, to "
      "the VIP, when {} has an exception_port",
      cluster.key().text(), node.key().text()));
}

void check_gue_port(const Object& cluster, Findings& findings) {
  const api::ClusterExtension& options = cluster_spec(cluster).sluice();
  if (options.forwarding() == api::ClusterExtension::DSR_GUE || !options.has_gue_port()) return;
  findings.error(cluster.key(), "spec.sluice.gue_port",
                 fmt::format("forwarding {} puts nothing into UDP",
                             api::ClusterExtension::Forwarding_Name(options.forwarding())),
                 "no gue_port, or forwarding DSR_GUE");
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

// What listens on a UDP port hardly answers TCP there.
void check_probed_ports(const ObjectStore& objects, const Object& cluster,
                        const std::vector<ResolvedEndpoint>& endpoints, Findings& findings) {
  for (const api::ObjectRef& reference : cluster_spec(cluster).health_checks()) {
    const ObjectPtr check = objects.find(target_of(reference, "healthcheck", cluster.key().space));
    if (check == nullptr) continue;
    for (const ResolvedEndpoint& endpoint : endpoints) {
      if (endpoint.protocol != protocol_udp || endpoint.spec().has_health_check_port()) continue;
      findings.warnings.push_back(fmt::format(
          "{}: {} checks the UDP endpoint {} by TCP on its UDP port {}; set health_check_port",
          cluster.key().text(), check->key().text(), endpoint.object->key().name,
          endpoint.port));
    }
  }
}

}  // namespace

void validate_clusters(const ObjectStore& objects, Findings& findings) {
  const ObjectPtr node = node_of(objects);
  std::optional<NodePaths> paths;
  if (node != nullptr) paths.emplace(node_spec(*node));
  std::size_t row_count = 0;
  for (const ObjectPtr& cluster : objects.of_kind("cluster")) {
    const auto endpoints = endpoints_of(objects, *cluster);
    row_count += endpoints.size();
    check_maglev_size(*cluster, endpoints.size(), findings);
    check_places(*cluster, endpoints, findings);
    check_snat_pool(objects, *cluster, endpoints, findings);
    check_splice(*cluster, endpoints, findings);
    if (node != nullptr && is_dsr(*cluster)) check_dsr(*cluster, *node, *paths, endpoints, findings);
    check_gue_port(*cluster, findings);
    check_persistence(*cluster, findings);
    check_probed_ports(objects, *cluster, endpoints, findings);
  }
  if (row_count > limits::endpoints) {
    findings.error(objects.of_kind("cluster")[0]->key(), "spec.endpoints",
                   fmt::format("all clusters together have {} endpoints", row_count),
                   fmt::format("at most {}", limits::endpoints));
  }
}

void validate_healthchecks(const ObjectStore& objects, Findings& findings) {
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

}  // namespace sluice
