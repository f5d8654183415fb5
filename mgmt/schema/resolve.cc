#include "mgmt/schema/resolve.h"

#include <fmt/core.h>

#include <algorithm>

#include "mgmt/model/port_ranges.h"

namespace sluice {
namespace {

constexpr std::uint32_t tcp_idle_timeout_ms = 3'600'000;
constexpr std::uint32_t udp_idle_timeout_ms = 60'000;

std::vector<PortRange> ports_of(const api::AdvertisePolicySpec& spec) {
  if (spec.sluice().has_all_ports()) return {all_ports};
  if (spec.has_port_ranges()) return parse_port_ranges(spec.port_ranges()).value_or(std::vector<PortRange>{});
  const auto port = static_cast<std::uint16_t>(spec.port());
  if (!spec.has_port()) return {};
  return {{port, port}};
}

}  // namespace

std::string ResolvedVip::text() const {
  return vip_text(where(), ports, protocol);
}

bool ResolvedVip::is_named() const {
  return virtual_host_spec(*virtual_host).proxy() == api::VirtualHostSpec::TCP_PROXY_WITH_SNI;
}

std::vector<std::string> ResolvedVip::proxies() const {
  std::vector<std::string> texts;
  for (const std::string& prefix : advertise_policy_spec(*policy).sluice().accept_proxy_protocol().trusted_prefixes()) {
    if (const auto network = IpPrefix::parse(prefix)) texts.push_back(network->text());
  }
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return texts;
}

std::uint8_t protocol_number(api::Protocol protocol) {
  return protocol == api::UDP ? protocol_udp : protocol_tcp;
}

const char* protocol_text(std::uint8_t protocol) {
  return protocol == protocol_udp ? "udp" : "tcp";
}

std::uint8_t protocol_of(const api::VirtualHostSpec& spec) {
  return spec.proxy() == api::VirtualHostSpec::UDP_PROXY ? protocol_udp : protocol_tcp;
}

std::uint32_t idle_timeout_ms_of(const api::VirtualHostSpec& spec) {
  if (spec.has_idle_timeout()) return spec.idle_timeout();
  return protocol_of(spec) == protocol_udp ? udp_idle_timeout_ms : tcp_idle_timeout_ms;
}

ObjectPtr cluster_of(const ObjectStore& objects, const Object& virtual_host) {
  const api::VirtualHostSpec& spec = virtual_host_spec(virtual_host);
  if (spec.routes().empty()) return nullptr;
  const ObjectPtr route =
      objects.find(target_of(spec.routes(0), "route", virtual_host.key().space));
  if (route == nullptr) return nullptr;
  const api::RouteSpec& route_spec = static_cast<const api::Route&>(route->effective()).spec();
  if (route_spec.routes().empty() || !route_spec.routes(0).has_route_destination()) return nullptr;
  const auto& destinations = route_spec.routes(0).route_destination().destinations();
  if (destinations.empty() || destinations[0].cluster().empty()) return nullptr;
  return objects.find(target_of(destinations[0].cluster(0), "cluster", route->key().space));
}

std::vector<ResolvedEndpoint> endpoints_of(const ObjectStore& objects, const Object& cluster) {
  std::vector<ResolvedEndpoint> endpoints;
  for (const api::ObjectRef& reference : cluster_spec(cluster).endpoints()) {
    ResolvedEndpoint endpoint;
    endpoint.object = objects.find(target_of(reference, "endpoint", cluster.key().space));
    if (endpoint.object == nullptr) continue;
    const auto address = IpAddress::parse(endpoint.spec().ip());
    if (!address) continue;
    endpoint.address = *address;
    endpoint.port = static_cast<std::uint16_t>(endpoint.spec().port());
    endpoint.protocol = protocol_number(endpoint.spec().protocol());
    endpoint.weight = static_cast<std::uint16_t>(endpoint.spec().sluice().weight());
    endpoint.priority = static_cast<std::uint8_t>(endpoint.spec().sluice().priority());
    endpoints.push_back(std::move(endpoint));
  }
  std::sort(endpoints.begin(), endpoints.end(),
            [](const ResolvedEndpoint& a, const ResolvedEndpoint& b) {
              return a.object->key() < b.object->key();
            });
  return endpoints;
}

std::vector<ResolvedVip> vips_of(const ObjectStore& objects) {
  std::vector<ResolvedVip> vips;
  for (const ObjectPtr& virtual_host : objects.of_kind("virtual_host")) {
    const ObjectPtr cluster = cluster_of(objects, *virtual_host);
    if (cluster == nullptr) continue;
    for (const api::ObjectRef& reference : virtual_host_spec(*virtual_host).advertise_policies()) {
      const ObjectPtr policy =
          objects.find(target_of(reference, "advertise_policy", virtual_host->key().space));
      if (policy == nullptr) continue;
      const api::AdvertisePolicySpec& spec = advertise_policy_spec(*policy);
      const auto address = IpAddress::parse(spec.address());
      const auto ports = ports_of(spec);
      if (!address || ports.empty()) continue;
      const std::uint32_t own_bits = spec.sluice().has_prefix_length() ? spec.sluice().prefix_length() : address->is_v4() ? 32 : 128;
      const std::uint32_t bits = own_bits + (address->is_v4() ? 96 : 0);
      if (bits > 128) continue;  // refused by validation
      const auto prefix_length = static_cast<std::uint8_t>(bits);
      vips.push_back({virtual_host, policy, cluster, *address, ports, protocol_number(spec.protocol()), prefix_length});
    }
  }
  std::sort(vips.begin(), vips.end(), [](const ResolvedVip& a, const ResolvedVip& b) {
    return std::pair(a.virtual_host->key(), a.policy->key()) <
           std::pair(b.virtual_host->key(), b.policy->key());
  });
  return vips;
}

ObjectPtr node_of(const ObjectStore& objects) {
  const auto nodes = objects.of_kind("node");
  return nodes.empty() ? nullptr : nodes.front();
}

}  // namespace sluice
