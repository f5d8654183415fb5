// Virtual hosts with their routes: whether they are complete, and what goes with their cluster.
#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "mgmt/model/suggest.h"
#include "mgmt/schema/rules.h"

namespace sluice {
namespace {

std::string proxy_text(const Object& virtual_host) {
  return api::VirtualHostSpec::Proxy_Name(virtual_host_spec(virtual_host).proxy());
}

// Servers and we agree on the length of server IDs, and each belongs to one endpoint.
void check_quic(const ObjectStore& objects, const Object& virtual_host, const Object& cluster, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  if (!spec.sluice().has_quic()) return;
  if (protocol_of(spec) != protocol_udp) {
    findings.error(virtual_host.key(), "spec.sluice.quic",
                   fmt::format("QUIC is UDP, and {} is a {}", virtual_host.key().text(), proxy_text(virtual_host)),
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
    return refuse(fmt::format("one_packet is for UDP, and {} is a {}", virtual_host.key().text(), proxy_text(virtual_host)),
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

// What a virtual_host needs to serve anybody, listed when something is missing.
std::vector<std::string> missing_parts(const Object& virtual_host, const Object* cluster) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  std::vector<std::string> missing;
  if (spec.advertise_policies().empty()) missing.push_back("advertise_policy");
  if (spec.routes().empty()) missing.push_back("route");
  if (cluster == nullptr) {
    missing.push_back("cluster");
    missing.push_back("endpoint");
  } else if (cluster_spec(*cluster).endpoints().empty()) {
    missing.push_back("endpoint");
  }
  return missing;
}

void check_protocol(const ObjectStore& objects, const Object& virtual_host, const Object& cluster, Findings& findings) {
  const std::uint8_t protocol = protocol_of(virtual_host_spec(virtual_host));
  for (const ResolvedEndpoint& endpoint : endpoints_of(objects, cluster)) {
    if (endpoint.protocol == protocol) continue;
    findings.error(endpoint.object->key(), "spec.protocol",
                   fmt::format("{} is {} but {} is a {}", endpoint.object->key().text(),
                               protocol_text(endpoint.protocol), virtual_host.key().text(), proxy_text(virtual_host)),
                   protocol == protocol_udp ? "UDP" : "TCP");
  }
}

void check_chosen_by_name(const Object& virtual_host, const Object& cluster, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  if (spec.domains().empty() && spec.sluice().domain_regexes().empty() && !spec.has_default_loadbalancer()) {
    findings.error(virtual_host.key(), "spec.domains",
                   fmt::format("{} needs a server name to be chosen by", proxy_text(virtual_host)),
                   "at least one domain or sluice.domain_regexes, or default_loadbalancer");
  }
  if (cluster_spec(cluster).sluice().forwarding() != api::ClusterExtension::SPLICE) {
    findings.error(
        cluster.key(), "spec.sluice.forwarding",
        fmt::format("{} is a {}: its clients are answered before an endpoint is chosen",
                    virtual_host.key().text(), proxy_text(virtual_host)),
        "SPLICE");
  }
}

void check_has_no_names(const Object& virtual_host, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  const char* given = !spec.domains().empty()              ? "domains"
                      : spec.has_default_loadbalancer()     ? "default_loadbalancer"
                      : spec.has_non_default_loadbalancer() ? "non_default_loadbalancer"
                      : !spec.sluice().alpn().empty()       ? "sluice.alpn"
                      : !spec.sluice().domain_regexes().empty() ? "sluice.domain_regexes"
                                                            : nullptr;
  if (given == nullptr) return;
  findings.error(virtual_host.key(), fmt::format("spec.{}", given),
                 fmt::format("{} looks at no server names", proxy_text(virtual_host)),
                 "proxy TCP_PROXY_WITH_SNI");
}

void check_tcp_options(const Object& virtual_host, const Object& cluster, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  const bool is_udp = protocol_of(spec) == protocol_udp;
  const bool has_cookies = spec.sluice().syn_cookies() != api::VirtualHostExtension::NEVER;
  if (is_udp && spec.sluice().has_mss_max()) {
    findings.error(
        virtual_host.key(), "spec.sluice.mss_max",
        fmt::format("mss_max belongs to TCP, and {} is a {}", virtual_host.key().text(), proxy_text(virtual_host)),
        "no mss_max");
  }
  if (is_udp && has_cookies) {
    findings.error(virtual_host.key(), "spec.sluice.syn_cookies",
                   fmt::format("{} has no SYN", proxy_text(virtual_host)), "no syn_cookies");
  }
  if (is_dsr(cluster) && has_cookies) {
    findings.error(virtual_host.key(), "spec.sluice.syn_cookies",
                   fmt::format("{} forwards by {}: an endpoint that answers clients itself cannot "
                               "take over a connection that we have answered",
                               cluster.key().text(),
                               api::ClusterExtension::Forwarding_Name(cluster_spec(cluster).sluice().forwarding())),
                   "no syn_cookies, or forwarding FULL_NAT");
  }
}

// Settings that were written, are right, and do nothing.
void warn_of_idle_settings(const Object& virtual_host, const Object& cluster, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  const auto& written = static_cast<const api::VirtualHost&>(virtual_host.written()).spec().sluice();
  const auto warn = [&](const char* field, const std::string& why) {
    findings.warnings.push_back(fmt::format("{}: sluice.{} does nothing: {}", virtual_host.key().text(), field, why));
  };
  if (written.has_syn_cookie_threshold() && spec.sluice().syn_cookies() != api::VirtualHostExtension::ON_THRESHOLD) {
    warn("syn_cookie_threshold", fmt::format("syn_cookies is {}, not ON_THRESHOLD",
                                             api::VirtualHostExtension::SynCookies_Name(spec.sluice().syn_cookies())));
  }
  if (written.has_hello_timeout() && cluster_spec(cluster).sluice().forwarding() != api::ClusterExtension::SPLICE) {
    warn("hello_timeout", fmt::format("{} forwards by {}, which waits for no first bytes of a client", cluster.key().text(),
                                      api::ClusterExtension::Forwarding_Name(cluster_spec(cluster).sluice().forwarding())));
  }
  if (written.reset_on_expiry() && protocol_of(spec) == protocol_udp) {
    warn("reset_on_expiry", fmt::format("{} has no resets", proxy_text(virtual_host)));
  }
}

void check_virtual_host(const ObjectStore& objects, const Object& virtual_host, Findings& findings) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  const ObjectPtr cluster = cluster_of(objects, virtual_host);
  if (const auto missing = missing_parts(virtual_host, cluster.get()); !missing.empty()) {
    findings.error(virtual_host.key(), "spec",
                   fmt::format("{} is not complete: it has no {}", virtual_host.key().text(),
                               list_text(missing)),
                   "at least one advertise_policy and a route to a cluster with an endpoint");
    return;
  }
  check_protocol(objects, virtual_host, *cluster, findings);
  if (spec.proxy() == api::VirtualHostSpec::TCP_PROXY_WITH_SNI) {
    check_chosen_by_name(virtual_host, *cluster, findings);
  } else {
    check_has_no_names(virtual_host, findings);
  }
  check_tcp_options(virtual_host, *cluster, findings);
  warn_of_idle_settings(virtual_host, *cluster, findings);
  check_quic(objects, virtual_host, *cluster, findings);
  check_one_packet(virtual_host, *cluster, findings);
  if (spec.routes_size() > 1) {
    findings.warnings.push_back(
        fmt::format("{}: only the first of {} routes is reached: {} ignores match",
                    virtual_host.key().text(), spec.routes_size(), proxy_text(virtual_host)));
  }
}

}  // namespace

void validate_routes(const ObjectStore& objects, Findings& findings) {
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

void validate_virtual_hosts(const ObjectStore& objects, Findings& findings) {
  for (const ObjectPtr& virtual_host : objects.of_kind("virtual_host")) {
    check_virtual_host(objects, *virtual_host, findings);
  }
}

}  // namespace sluice
